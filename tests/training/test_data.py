"""Pictures to train on: same numbers, same pictures; truths that fit their pictures."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from small import photograph, write
from torch.utils.data import DataLoader

from alphacut.errors import TrainingError, UnknownName
from alphacut.training import augment
from alphacut.training.data import LAYOUTS, Batches, Pictures, make_training_trimap
from alphacut.training.recipe import Recipe, Source


def numbers(recipe: Recipe, data: Path, workers: int, rank: int = 0, processes: int = 1) -> list:
    loader = DataLoader(
        Pictures(recipe, recipe.source, data),
        batch_sampler=Batches(0, 3, 4, rank, processes),
        num_workers=workers,
        multiprocessing_context="spawn" if workers else None,
    )
    return [batch["image"] for batch in loader]


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


def test_composites_are_made_of_their_alpha(recipe: Recipe, data: Path) -> None:
    pictures = Pictures(recipe, recipe.source, data)
    for index in range(8):
        sample = pictures.sample(index)
        H, W = sample.alpha.shape
        assert sample.image.shape == sample.contrast.shape == (H, W, 3)
        assert sample.alpha.min() >= 0
        assert sample.alpha.max() <= 1 + 1e-6
        # image = background + alpha * (foreground - background); where alpha is 1, the foreground
        background = sample.image / 255 - sample.alpha[..., np.newaxis] * sample.contrast
        assert background.min() > -0.02
        assert background.max() < 1.02
        inside = sample.alpha > 0.999
        if inside.any():  # each disc has one colour
            assert np.ptp(sample.image[inside], axis=0).max() <= 2


def test_several_subjects_join(recipe: Recipe, data: Path) -> None:
    source = Source(kind="composites", subjects=(0.0, 0.0, 1.0), coverage=(0.9, 1.0))
    one = Source(kind="composites", coverage=(0.9, 1.0))
    spread = []  # of colours within subjects, each of which has one
    for sources in ((one,), (source,)):
        samples = map(Pictures(recipe, sources, data).sample, range(6))
        spread.append(max(np.ptp(s.image[s.alpha > 0.999], axis=0).max() for s in samples))
    assert spread[0] <= 2
    assert spread[1] > 50


def test_empty_and_unlabelled(recipe: Recipe, data: Path) -> None:
    empty = Pictures(recipe, (Source(kind="empty", augment="photo"),), data)
    assert all(empty[n]["alpha"].max() == 0 and empty[n]["known"] for n in range(6))
    assert len({empty[n]["image"].tobytes() for n in range(6)}) == 6
    assert not Pictures(recipe, (Source(kind="unlabelled"),), data)[0]["known"]


def test_batches_of_several_sizes(recipe: Recipe, data: Path) -> None:
    pictures = Pictures(dataclasses.replace(recipe, size=(32, 48)), recipe.source, data)
    sides = [pictures[n]["image"].shape[1] for n in range(40)]
    assert sides[0::2] == sides[1::2]  # a batch of two has one size
    assert set(sides) == {32, 48}


def test_batches() -> None:
    assert list(Batches(2, 4, 3)) == [[6, 7, 8], [9, 10, 11]]
    assert list(Batches(0, 1, 4, rank=1, processes=2)) == [[1, 3]]


def test_every_fifth_is_held_out(recipe: Recipe, data: Path) -> None:
    held_out = Pictures(recipe, (Source(kind="composites", part="valid"),), data)
    assert len({held_out.sample(n).image[0, 0].tobytes() for n in range(3)}) > 1
    files = held_out._files[0]
    assert [path.name for path, _ in files.subjects] == ["4.png"]
    assert [path.name for path in files.backgrounds] == ["4.png"]
    trained = Pictures(recipe, recipe.source, data)._files[0]
    assert "4.png" not in {path.name for path, _ in trained.subjects}


def test_pairs_without_parts_are_divided(recipe: Recipe, tmp_path: Path) -> None:
    for n in range(7):
        write(tmp_path / "image" / f"{n}.png", photograph(n))
        write(tmp_path / "alpha" / f"{n}.png", np.zeros((60, 80), np.uint8))
    names = {}
    for part in ("train", "valid", "test"):
        files = Pictures(
            recipe, (Source(kind="pairs", layout="plain", part=part),), tmp_path
        )._files
        names[part] = "".join(path.stem for path, _ in files[0].subjects)
    assert names == {"train": "012356", "valid": "4", "test": "4"}
    for n in range(1, 7):
        (tmp_path / "image" / f"{n}.png").unlink()
    with pytest.raises(TrainingError, match="needs 5 pictures"):
        Pictures(recipe, (Source(kind="pairs", layout="plain", part="valid"),), tmp_path)


def test_models_are_found_as_elsewhere(recipe: Recipe, data: Path) -> None:
    named, alias = (
        Pictures(dataclasses.replace(recipe, model=name), recipe.source, data)[0]["image"]
        for name in ("u2net-lite", "u2netp")
    )
    assert np.array_equal(named, alias)
    with pytest.raises(UnknownName, match="choose one of"):
        Pictures(dataclasses.replace(recipe, model="none"), recipe.source, data)


def test_blur_leaves_the_picture_in_its_place() -> None:
    picture = np.zeros((41, 41, 3), np.uint8)
    picture[20, 20] = 255
    for seed in range(30):
        blurred = augment._motion_blur(picture, np.random.default_rng(seed))[..., 0].astype(float)
        middle = [(np.arange(41) * blurred.sum(axis=axis)).sum() for axis in (0, 1)]
        assert np.abs(np.array(middle) / blurred.sum() - 20).max() < 1


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
    counted = Pictures(recipe, (source,), tmp_path).sample(0).counted
    assert np.nonzero(counted[35] == 0)[0].tolist() == [18, 19, 20, 21, 58, 59, 60, 61]


def test_portrait_augmentation_keeps_picture_and_truth_together(
    tmp_path: Path, recipe: Recipe
) -> None:
    picture = photograph(0)
    picture[20:50, 20:60] = 250
    write(tmp_path / "images/train" / "a.png", picture)
    classes = np.zeros((60, 80), np.uint8)
    classes[20:50, 20:60] = 1
    write(tmp_path / "annotations/train" / "a.png", classes)
    source = Source(kind="pairs", layout="easyportrait", augment="portrait")
    pictures = Pictures(recipe, (source,), tmp_path)
    sizes = set()
    for n in range(60):
        sample = pictures.sample(n)
        assert sample.image.shape[:2] == sample.alpha.shape
        sizes.add(sample.alpha.shape)
        inside = sample.image[sample.alpha > 0]
        assert np.median(inside) > np.median(sample.image[sample.alpha == 0])
    assert len(sizes) > 10


def test_layouts_of_pairs(tmp_path: Path, recipe: Recipe) -> None:
    for name, parts in LAYOUTS.items():
        for part, ((images, alphas), *_) in parts.items():
            write(tmp_path / name / images / "a.png", photograph(1))
            write(tmp_path / name / alphas / "a.png", np.full((60, 80), 128, np.uint8))
            source = Source(kind="pairs", layout=name, folder=name, part=part)
            alpha = Pictures(recipe, (source,), tmp_path).sample(0).alpha
            expected = 1.0 if name == "easyportrait" else 128 / 255
            assert alpha[0, 0] == pytest.approx(expected)


def test_subjects_of_photographs_lose_the_old_background(tmp_path: Path, recipe: Recipe) -> None:
    alpha = np.zeros((60, 80), np.float32)
    alpha[:, 30:50] = 1
    alpha[:, 25:30] = np.linspace(0.1, 0.9, 5)
    photo = np.rint(alpha[..., None] * (200, 0, 0) + (1 - alpha[..., None]) * (0, 0, 200))
    write(tmp_path / "train/image" / "a.png", photo.astype(np.uint8))
    write(tmp_path / "train/alpha" / "a.png", np.rint(alpha * 255).astype(np.uint8))
    for n in range(6):
        write(tmp_path / "backgrounds" / f"{n}.png", np.zeros((60, 80, 3), np.uint8))
    source = Source(kind="composites", layout="plain", coverage=(0.9, 0.9))
    blue = [Pictures(recipe, (source,), tmp_path).sample(n).image[..., 2].max() for n in range(4)]
    assert max(blue) < 40  # 180 without


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (Source(kind="composites", cutouts="none"), "there are no pictures"),
        (Source(kind="empty", only=("x*",)), "no background is like"),
        (Source(kind="pairs", layout="mine"), "choose one of plain"),
        (Source(kind="pairs", layout="p3m"), "has no train/blurred_image with train/mask"),
        (Source(kind="pairs", layout="duts", part="valid"), "has no valid part"),
    ],
)
def test_what_is_not_there_is_said(
    recipe: Recipe, data: Path, source: Source, message: str
) -> None:
    with pytest.raises(TrainingError, match=message):
        Pictures(recipe, (source,), data)


def test_cutouts_need_transparency_and_truths_their_size(recipe: Recipe, data: Path) -> None:
    for n in range(6):
        write(data / "solid" / f"{n}.png", photograph(n))
    with pytest.raises(TrainingError, match="no transparency"):
        Pictures(recipe, (Source(kind="composites", cutouts="solid"),), data).sample(0)
    write(data / "train/image" / "a.png", photograph(0))
    write(data / "train/alpha" / "a.png", np.zeros((10, 10), np.uint8))
    with pytest.raises(TrainingError, match="its picture"):
        Pictures(recipe, (Source(kind="pairs", layout="plain"),), data).sample(0)
    (data / "train/alpha/a.png").unlink()
    with pytest.raises(TrainingError, match=r"no alpha for a\.png"):
        Pictures(recipe, (Source(kind="pairs", layout="plain"),), data)


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
        assert np.array_equal(arrays["counted"][0] > 0, trimap == np.float32(128 / 255))
        assert (trimap == np.float32(128 / 255)).any()
