"""Pictures to train on: same numbers, same pictures; truths that fit their pictures."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from small import photograph, write
from torch.utils.data import DataLoader

from alphacut.errors import UnknownName
from alphacut.models.entry import IMAGENET_MEAN, IMAGENET_STD
from alphacut.training.data import Batches, Pictures, make_training_trimap
from alphacut.training.recipe import Recipe, Source, read_recipe

RECIPES = Path(__file__).parents[2] / "recipes"
PORTRAIT = read_recipe(RECIPES / "easyportrait-cyclical.toml").source[0].one_of


def numbers(recipe: Recipe, data: Path, workers: int, rank: int = 0, processes: int = 1) -> list:
    loader = DataLoader(
        Pictures(recipe, recipe.source, data),
        batch_sampler=Batches(0, 3, 4, rank, processes),
        num_workers=workers,
        multiprocessing_context="spawn" if workers else None,
    )
    return [batch["image"] for batch in loader]


@pytest.mark.slow
def test_workers_and_processes_see_the_same_pictures(recipe: Recipe, data: Path) -> None:
    alone = numbers(recipe, data, workers=0)
    assert len({image.numpy().tobytes() for batch in alone for image in batch}) == 12
    for batch, again in zip(alone, numbers(recipe, data, workers=2), strict=True):
        assert torch.equal(batch, again)
    shares = [numbers(recipe, data, 0, rank, 2) for rank in (0, 1)]
    for n, batch in enumerate(alone):
        assert torch.equal(batch[0::2], shares[0][n])
        assert torch.equal(batch[1::2], shares[1][n])


def test_another_seed_gives_other_pictures(recipe: Recipe, data: Path) -> None:
    other = dataclasses.replace(recipe, seed=1)
    a, b = (Pictures(r, r.source, data)[0]["image"] for r in (recipe, other))
    assert not np.array_equal(a, b)


def test_batches_of_several_sizes(recipe: Recipe, data: Path) -> None:
    pictures = Pictures(dataclasses.replace(recipe, size=(32, 48)), recipe.source, data)
    sides = [pictures[n]["image"].shape[1] for n in range(40)]
    assert sides[0::2] == sides[1::2]  # a batch of two has one size
    assert set(sides) == {32, 48}


def test_batches() -> None:
    assert list(Batches(2, 4, 3)) == [[6, 7, 8], [9, 10, 11]]
    assert list(Batches(0, 1, 4, rank=1, processes=2)) == [[1, 3]]


def test_models_are_found_as_elsewhere(recipe: Recipe, data: Path) -> None:
    named, alias = (
        Pictures(dataclasses.replace(recipe, model=name), recipe.source, data)[0]["image"]
        for name in ("u2net-lite", "u2netp")
    )
    assert np.array_equal(named, alias)
    with pytest.raises(UnknownName, match="choose one of"):
        Pictures(dataclasses.replace(recipe, model="nothing"), recipe.source, data)


@pytest.mark.parametrize("model", ["u2net", "u2net-lite"])
def test_pictures_are_divided_by_white(tmp_path: Path, recipe: Recipe, model: str) -> None:
    for n in range(5):  # the row of u2net divides by the picture's maximum
        write(tmp_path / "backgrounds" / f"{n}.png", np.full((60, 80, 3), 51, np.uint8))
    settings = dataclasses.replace(recipe, model=model)
    pictures = Pictures(settings, (Source(kind="unlabelled"),), tmp_path)
    expected = (0.2 - np.array(IMAGENET_MEAN)) / IMAGENET_STD
    assert np.allclose(pictures[0]["image"], expected[:, np.newaxis, np.newaxis], atol=1e-5)


def easyportrait(root: Path, images: str, annotations: str, names: int = 3) -> None:
    for n in range(names):
        write(root / images / f"{n}.png", photograph(n))
        classes = np.zeros((60, 80), np.uint8)
        classes[20:50, 20:60] = 1
        classes[25:30, 30:50] = 7  # lips are person, too
        write(root / annotations / f"{n}.png", classes)


@pytest.mark.parametrize(
    ("images", "annotations"),
    [
        ("images/train", "annotations/train"),
        ("train/images", "train/annotations"),
    ],
)
def test_easyportrait(tmp_path: Path, recipe: Recipe, images: str, annotations: str) -> None:
    easyportrait(tmp_path, images, annotations)
    source = Source(kind="pairs", layout="easyportrait")
    pictures = Pictures(recipe, (source,), tmp_path)
    expected = np.zeros((60, 80), np.float32)
    expected[20:50, 20:60] = 1
    assert np.array_equal(pictures.sample(0).alpha, expected)
    seen = {pictures.sample(n).image.tobytes() for n in range(3)}
    assert len(seen) == 3  # each picture once in a round
    assert {pictures.sample(n).image.tobytes() for n in range(3, 6)} == seen


def test_a_binary_truth_counts_outside_its_edge(tmp_path: Path, recipe: Recipe) -> None:
    easyportrait(tmp_path, "images/train", "annotations/train")
    source = Source(kind="pairs", layout="easyportrait", ignore_px=2)
    loss_weight = Pictures(recipe, (source,), tmp_path).sample(0).loss_weight
    assert np.nonzero(loss_weight[35] == 0)[0].tolist() == [18, 19, 20, 21, 58, 59, 60, 61]


def test_portrait_augmentation_keeps_picture_and_truth_together(
    tmp_path: Path, recipe: Recipe
) -> None:
    picture = photograph(0)
    picture[20:50, 20:60] = 250
    write(tmp_path / "images/train" / "a.png", picture)
    classes = np.zeros((60, 80), np.uint8)
    classes[20:50, 20:60] = 1
    write(tmp_path / "annotations/train" / "a.png", classes)
    source = Source(kind="pairs", layout="easyportrait", one_of=PORTRAIT)
    pictures = Pictures(recipe, (source,), tmp_path)
    sizes = set()
    for n in range(60):
        sample = pictures.sample(n)
        assert sample.image.shape[:2] == sample.alpha.shape
        sizes.add(sample.alpha.shape)
        inside = sample.image[sample.alpha > 0]
        assert np.median(inside) > np.median(sample.image[sample.alpha == 0])
    assert len(sizes) > 10


def test_training_trimap() -> None:
    alpha = np.zeros((21, 21), np.float32)
    alpha[10, 10] = 0.5
    trimap = make_training_trimap(alpha, 5)
    y, x = np.mgrid[:21, :21]
    assert np.array_equal(trimap == 0.5, np.hypot(y - 10, x - 10) <= 5)
    assert not make_training_trimap(np.zeros((8, 8), np.float32), 5).any()
    hard = np.zeros((9, 9), np.float32)
    hard[:, 5:] = 1
    assert make_training_trimap(hard, 1)[4].tolist() == [0, 0, 0, 0.5, 0.5, 0.5, 0.5, 1, 1]


def test_matting_network_gets_a_trimap_and_counts_the_unknown(recipe: Recipe, data: Path) -> None:
    matting = dataclasses.replace(
        recipe, model="indexnet", crop=(24, 32), size=(32,), unknown_px=(2, 2)
    )
    pictures = Pictures(matting, matting.source, data)
    for n in range(4):
        arrays = pictures[n]
        assert arrays["image"].shape == (4, 32, 32)
        trimap = arrays["image"][3]
        assert set(np.unique(trimap)) <= {0, np.float32(128 / 255), 1}
        assert np.array_equal(arrays["loss_weight"][0] > 0, trimap == np.float32(128 / 255))
        assert (trimap == np.float32(128 / 255)).any()
