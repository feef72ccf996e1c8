"""The portrait recipe's augmentation against the numbers of the library its notebook uses.

`albumentations_numbers.py` says how those were made.
"""

from collections.abc import Callable
from pathlib import Path

import albumentations_numbers as original
import cv2
import numpy as np
import pytest

from alphacut.errors import TrainingError
from alphacut.training import steps
from alphacut.training.recipe import read_recipe
from alphacut.training.steps import OneOf, Rng

RECIPE = read_recipe(Path(__file__).parents[2] / "recipes" / "easyportrait-cyclical.toml")
GROUPS = RECIPE.source[0].one_of
STEPS = {name: step for group in GROUPS for name, step in group.steps.items()}
with np.load(original.FILE) as kept:
    NUMBERS = dict(kept)
IMAGE, MASK, NOISE = NUMBERS["picture"], NUMBERS["mask"], NUMBERS["noise"]


def iso_noise() -> np.ndarray:
    hls = np.asarray(cv2.cvtColor(IMAGE * np.float32(1 / 255), cv2.COLOR_RGB2HLS))
    rng = np.random.RandomState(5)
    light = rng.poisson(hls[..., 1].std() * 0.4 * 255, MASK.shape)
    return steps.add_iso_noise(hls, rng.normal(0, 0.03 * 360 * 0.4, MASK.shape), light)


class Fixed:
    """Answers each draw with one number."""

    def __init__(self, number: float) -> None:
        self.number = number

    def integers(self, *_: object, **__: object) -> int:
        return int(self.number)

    def choice(self, *_: object) -> int:
        return int(self.number)

    def uniform(self, *_: object) -> float:
        return self.number

    def standard_normal(self, *_: object) -> np.ndarray:
        return NOISE


EXACT: dict[str, Callable[[], np.ndarray]] = {
    "shift_rgb": lambda: steps.shift_rgb(IMAGE, np.array([11.3, -7.8, 19.9])),
    "shift_hsv": lambda: steps.shift_hsv(IMAGE, 17.4, -22.6, 13.2),
    "scale_levels": lambda: steps.scale_levels(IMAGE, 1.13, -0.07),
    "apply_gamma": lambda: steps.apply_gamma(IMAGE, 0.83),
    "equalise": lambda: steps.equalise(IMAGE, 2.7, 8),
    "brighten": lambda: steps.JITTERS[0](IMAGE, 0.17),
    "contrast": lambda: steps.JITTERS[1](IMAGE, -0.16),
    "saturate": lambda: steps.JITTERS[2](IMAGE, 0.19),
    "turn_hue": lambda: steps.JITTERS[3](IMAGE, -0.15),
    "gauss_noise": lambda: STEPS["gauss_noise"](IMAGE, Fixed(1)),
    "iso_noise": iso_noise,
    "blur": lambda: STEPS["blur"](IMAGE, Fixed(5)),
    "gaussian_blur": lambda: STEPS["gaussian_blur"](IMAGE, Fixed(6)),  # grows to 7
    "median_blur": lambda: STEPS["median_blur"](IMAGE, Fixed(5)),
    "motion_blur": lambda: steps.smear(IMAGE, 7, (1, 0), (3, 5)),
    "glass_blur": lambda: steps.scatter(IMAGE, NUMBERS["moves"], 0.7, 4),
}


def test_every_step_has_its_numbers() -> None:
    assert {f"exact {name}" for name in EXACT} == {n for n in NUMBERS if n.startswith("exact")}
    drawn = {name.removeprefix("draws ") for name in NUMBERS if name.startswith("draws")}
    assert drawn == {*STEPS, "all"} - {"crop", "mirror"}


@pytest.mark.parametrize("name", EXACT)
def test_the_same_values_give_the_same_pixels(name: str) -> None:
    apart = np.abs(EXACT[name]().astype(int) - NUMBERS[f"exact {name}"])
    assert apart.max() <= 1  # another version of OpenCV may round otherwise
    assert (apart > 0).mean() < 0.01


def furthest(rows: list[list[float]], kept: np.ndarray) -> float:
    """Largest distance of the distributions of any figure (Kolmogorov and Smirnov)."""
    ours = np.sort(np.array(rows, np.float32).T, axis=1)
    return max(
        float(np.abs(np.searchsorted(mine, at + 1e-3, side="right") / mine.size - shares).max())
        for mine, (at, shares) in zip(ours, kept, strict=True)
    )


def draw(step: Callable[[np.ndarray, Rng], np.ndarray], count: int = 1200) -> list[list[float]]:
    rng = np.random.default_rng(1)
    return [original.figures(step(IMAGE, rng), IMAGE) for _ in range(count)]


@pytest.mark.parametrize("name", [name for name in STEPS if name not in ("crop", "mirror")])
def test_draws_are_distributed_alike(name: str) -> None:
    # twenty-four levels of seven figures; by chance, 1,200 draws are further apart once in 5,000
    assert furthest(draw(STEPS[name]), NUMBERS[f"draws {name}"]) < 0.065


def test_all_together_are_distributed_alike() -> None:
    rng, rows = np.random.default_rng(2), []
    alpha = (MASK / 255).astype(np.float32)
    for _ in range(1500):
        planes = IMAGE, alpha, np.ones_like(alpha)
        for group in GROUPS:
            planes = group(planes, rng)
        rows.append(original.placed(planes[0], planes[1], IMAGE))
        assert planes[0].shape[:2] == planes[1].shape == planes[2].shape
    assert furthest(rows, NUMBERS["draws all"]) < 0.06


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("hue_saturation_value", steps.HueSaturationValue(hue=10, saturation=30, value=20)),
        ("color_jitter",
         steps.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0)),
        ("gaussian_blur", steps.MedianBlur(side_px=(3, 7))),
        ("gauss_noise", steps.GaussNoise(variance=(10, 30))),
    ],
)  # fmt: skip
def test_other_values_are_told_apart(name: str, wrong: Callable) -> None:
    assert furthest(draw(wrong, 400), NUMBERS[f"draws {name}"]) > 0.1


def test_a_group_without_steps() -> None:
    with pytest.raises(TrainingError, match="names no step"):
        OneOf(odds=1)
