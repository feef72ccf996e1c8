"""The photo's own background, behind a subject that must not show in it."""

from math import erf, sqrt

import numpy as np
import pytest

from alphacut.output.background import fit_image
from alphacut.output.geometry import Placement
from alphacut.output.scene import (
    apply_effect,
    blur,
    crop_mirrored,
    make_scene,
    recover_background,
)
from alphacut.values import parse_background


def ramp(H: int, W: int, dtype: type = np.uint8) -> np.ndarray:
    y, x = np.mgrid[:H, :W]
    white = np.iinfo(dtype).max
    return np.stack([x * white // W, y * white // H, x * 0], 2).astype(dtype)


def given(dtype: type = np.uint8) -> tuple:
    """A red disc with a soft edge before a plain blue wall: photo, foreground, alpha."""
    y, x = np.mgrid[:120, :150]
    alpha = np.clip((35 - np.hypot(y - 60, x - 75)) / 6 + 0.5, 0, 1).astype(np.float32)
    white = np.iinfo(dtype).max
    foreground = np.zeros((120, 150, 3), dtype)
    foreground[:] = np.array([0.9, 0.1, 0.1]) * white
    wall = np.array([0.1, 0.3, 0.8]) * white
    a = alpha[..., np.newaxis]
    photo = np.rint(a * foreground + (1 - a) * wall).astype(dtype)
    return photo, foreground, alpha, wall


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_subject_is_taken_out(dtype: type) -> None:
    photo, foreground, alpha, wall = given(dtype)
    background = recover_background(photo, foreground, alpha)
    assert background.dtype == dtype
    error = np.abs(background.astype(float) - wall) / np.iinfo(dtype).max
    assert error.max() < 0.05  # the wall goes on behind the disc
    np.testing.assert_array_equal(background[alpha == 0], photo[alpha == 0])


@pytest.mark.parametrize("words", ["blur:2", "blur:9", "blur:40", "disc:3", "disc:20", "blur:20%"])
def test_no_blur_smears_the_subject(words: str) -> None:
    photo, foreground, alpha, wall = given()
    rest = recover_background(photo, foreground, alpha)
    blurred = apply_effect(rest, alpha, parse_background(words))
    assert np.abs(blurred.astype(float) - wall).max() < 8  # of 255; plain blurs reach 100


@pytest.mark.parametrize("disc", [False, True])
@pytest.mark.parametrize("strength_px", [1.5, 5.0, 17.0, 60.0])
def test_blur_is_a_convolution(disc: bool, strength_px: float) -> None:
    """Of a step it makes the known edge, at any strength, also where it works on less pixels."""
    image = np.zeros((90, 400, 3), np.uint8)
    image[:, 200:] = 200
    blurred = blur(image, np.zeros((90, 400), np.float32), strength_px, disc=disc)
    x = np.arange(400) + 0.5 - 200
    if disc:
        t = np.clip(x / strength_px, -1, 1)
        expected = 200 * (0.5 + (t * np.sqrt(1 - t * t) + np.arcsin(t)) / np.pi)
    else:
        expected = np.array([100 * (1 + erf(at / strength_px / sqrt(2))) for at in x])
    np.testing.assert_allclose(blurred[45, 30:370, 0], expected[30:370], atol=7)
    assert np.ptp(blurred[:, 150, 0]) <= 1


def test_bands_leave_no_seams() -> None:
    image = ramp(1200, 20)
    alpha = np.zeros((1200, 20), np.float32)
    for strength_px in (3.0, 30.0):
        steps = np.diff(blur(image, alpha, strength_px, disc=False)[150:-150, 10, 1].astype(int))
        assert steps.min() >= 0
        assert steps.max() <= 1


def test_grey_and_darker() -> None:
    image, alpha = ramp(4, 5, np.uint16), np.zeros((4, 5), np.float32)
    grey = apply_effect(image, alpha, parse_background("desaturate"))
    assert (grey == grey[..., :1]).all()
    dark = apply_effect(image, alpha, parse_background("darken:25"))
    np.testing.assert_array_equal(dark, np.rint(image * 0.75))


def test_a_scene_is_mirrored_beyond_the_border() -> None:
    row = np.arange(3, dtype=np.uint8)[np.newaxis, :, np.newaxis] * np.ones((1, 1, 3), np.uint8)
    mirrored = crop_mirrored(row, (0, -2, 1, 8), (1, 10))
    assert mirrored[0, :, 0].tolist() == [1, 0, 0, 1, 2, 2, 1, 0, 0, 1]
    assert crop_mirrored(row, (0, 0, 1, 3), (1, 3)) is row


def test_a_scene_many_times_the_picture_is_no_larger_than_its_canvas() -> None:
    """A panorama on a tall canvas shows itself 20 times, one above the other."""
    image = ramp(100, 2000)
    shown = crop_mirrored(image, (-950, 0, 1050, 2000), (200, 200))
    assert shown.shape == (200, 200, 3)
    np.testing.assert_allclose(shown[95:105], fit_image(image, (10, 200), "stretch"), atol=1)
    np.testing.assert_array_equal(shown[85:95], shown[95:105][::-1])


def test_a_scene_goes_where_its_subject_goes() -> None:
    photo, foreground, alpha, wall = given()
    placement = Placement((20, 30, 100, 120), (20, 30, 100, 120), (80, 90), (0, 0, 80, 90))
    background = recover_background(photo, foreground, alpha)
    scene = make_scene(background, alpha, parse_background("darken:50"), placement)
    assert scene.shape == (80, 90, 3)
    np.testing.assert_allclose(scene, np.broadcast_to(wall / 2, scene.shape), atol=8)
