"""Pictures that are made: their truths fit them."""

from pathlib import Path

import numpy as np
from small import write

from alphacut.training.data import Pictures
from alphacut.training.recipe import Recipe, Source


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


def test_plain_grounds_and_like_coloured_ones(recipe: Recipe, data: Path) -> None:
    def contrast(source: Source) -> float:
        samples = map(Pictures(recipe, (source,), data).sample, range(12))
        return float(np.mean([np.abs(s.contrast[s.alpha > 0.99]).mean() for s in samples]))

    common = {"kind": "composites", "coverage": (0.6, 0.8), "plain": 1.0}
    other, alike = Source(**common), Source(**common, alike=1.0)
    assert contrast(alike) < 0.6 * contrast(other)


def test_busts_stand_on_the_lower_border(tmp_path: Path, recipe: Recipe) -> None:
    bust = np.full((40, 30, 4), 200, np.uint8)
    bust[..., 3] = 255
    bust[:8, :8, 3] = 0
    for n in range(6):
        write(tmp_path / "cutouts" / f"{n}.png", bust)
        write(tmp_path / "backgrounds" / f"{n}.png", np.zeros((60, 80, 3), np.uint8))
    source = Source(kind="composites", coverage=(0.4, 0.6))
    samples = map(Pictures(recipe, (source,), tmp_path).sample, range(8))
    assert all((sample.alpha[-2] > 0.9).any() for sample in samples)
