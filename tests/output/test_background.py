from typing import get_args

import numpy as np
import PIL.Image
import pytest

from alphacut import Options
from alphacut.options import Fit
from alphacut.output.background import (
    blur,
    fit_image,
    load_background,
    make_background,
    scene_of,
    under_effect,
    without_subject,
)
from alphacut.pipeline.image import Picture
from alphacut.values import Backdrop, parse_background


def ramp(H: int, W: int, dtype: type = np.uint8) -> np.ndarray:
    y, x = np.mgrid[:H, :W]
    peak = np.iinfo(dtype).max
    return np.stack([x * peak // W, y * peak // H, x * 0], 2).astype(dtype)


@pytest.mark.parametrize("fit", get_args(Fit))
@pytest.mark.parametrize("size", [(1, 1), (200, 50), (50, 200), (4000, 5000), (1, 7), (33, 31)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_fit_of_every_size(fit: str, size: tuple[int, int], dtype: type) -> None:
    image = np.full((*size, 3), 77, dtype)
    for canvas in [(1, 1), (60, 90), (90, 60)]:
        fitted = fit_image(image, canvas, fit)
        assert fitted.shape == (*canvas, 3)
        assert fitted.dtype == dtype
        if fit != "contain":
            assert (fitted == 77).all()
    np.testing.assert_array_equal(fit_image(image, size, fit), image)


def test_cover_and_contain_by_hand() -> None:
    image = ramp(40, 100)
    cover = fit_image(image, (20, 20), "cover")  # columns 30..70, at half the size
    np.testing.assert_allclose(cover, fit_image(image[:, 30:70], (20, 20), "stretch"))
    contain = fit_image(image, (50, 50), "contain")  # 20 rows in the middle, white around them
    assert (contain[:15] == 255).all()
    assert (contain[35:] == 255).all()
    np.testing.assert_array_equal(contain[15:35], fit_image(image, (20, 50), "stretch"))


def test_center_crop_is_the_recipes() -> None:
    image = ramp(41, 100)
    np.testing.assert_array_equal(fit_image(image, (21, 40), "center-crop"), image[10:31, 30:70])
    small = fit_image(image, (82, 100), "center-crop")  # too small: enlarged until it covers
    np.testing.assert_array_equal(small, fit_image(image, (82, 100), "cover"))


def test_tile_begins_at_the_top_left() -> None:
    image = ramp(3, 4)
    tiled = fit_image(image, (7, 9), "tile")
    np.testing.assert_array_equal(tiled[3:6, 4:8], image)
    np.testing.assert_array_equal(tiled[6, 8], image[0, 0])


def made(text: str, size: tuple[int, int], dtype: type = np.uint8) -> tuple:
    return make_background(parse_background(text), size, dtype, "cover", own=lambda: ramp(*size))


def test_colours_and_patterns() -> None:
    image, opacity = made("#102030", (2, 3), np.uint16)
    assert image.dtype == np.uint16
    assert image[1, 2].tolist() == [16 * 257, 32 * 257, 48 * 257]
    assert opacity is None
    assert made("#10203080", (2, 3))[1] == pytest.approx(128 / 255)
    checks, _ = made("checkerboard", (40, 40))
    assert checks[0, 0, 0] == checks[8, 8, 0] == 255
    assert checks[0, 8, 0] == 204


def test_images_from_anywhere(tmp_path) -> None:  # type: ignore[no-untyped-def]
    array = ramp(6, 8)
    translucent = np.dstack([array, np.full((6, 8), 51, np.uint8)])
    path = tmp_path / "back.png"
    PIL.Image.fromarray(translucent).save(path)
    sources = (str(path), path, path.read_bytes(), PIL.Image.open(path), translucent)
    for source in sources:
        loaded = load_background(source, Options())
        assert isinstance(loaded, Picture)
        image, opacity = make_background(loaded, (6, 8), np.uint16, "cover", lambda: array)
        np.testing.assert_array_equal(image, array.astype(np.uint16) * 257)
        assert opacity is not None
        np.testing.assert_allclose(opacity, 0.2)
    assert load_background((1, 2, 3), Options()) == Backdrop("colour", (1, 2, 3, 255))


def test_a_changed_file_is_read_again(tmp_path) -> None:  # type: ignore[no-untyped-def]
    import os

    path = tmp_path / "back.png"
    for level in (10, 20):
        PIL.Image.new("RGB", (2, 2), (level,) * 3).save(path)
        os.utime(path, ns=(level, level))
        loaded = load_background(str(path), Options())
        assert isinstance(loaded, Picture)
        assert (loaded.image == level).all()


def scene(dtype: type = np.uint8) -> tuple:
    """A red disc with a soft edge before a plain blue wall: photo, foreground, alpha."""
    y, x = np.mgrid[:120, :150]
    alpha = np.clip((35 - np.hypot(y - 60, x - 75)) / 6 + 0.5, 0, 1).astype(np.float32)
    peak = np.iinfo(dtype).max
    foreground = np.zeros((120, 150, 3), dtype)
    foreground[:] = np.array([0.9, 0.1, 0.1]) * peak
    wall = np.array([0.1, 0.3, 0.8]) * peak
    a = alpha[..., np.newaxis]
    photo = np.rint(a * foreground + (1 - a) * wall).astype(dtype)
    return photo, foreground, alpha, wall


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_subject_is_taken_out(dtype: type) -> None:
    photo, foreground, alpha, wall = scene(dtype)
    background = without_subject(photo, foreground, alpha)
    assert background.dtype == dtype
    error = np.abs(background.astype(float) - wall) / np.iinfo(dtype).max
    assert error.max() < 0.05  # the wall goes on behind the disc
    np.testing.assert_array_equal(background[alpha == 0], photo[alpha == 0])


@pytest.mark.parametrize("words", ["blur:2", "blur:9", "blur:40", "disc:3", "disc:20", "blur:20%"])
def test_no_blur_smears_the_subject(words: str) -> None:
    photo, foreground, alpha, wall = scene()
    rest = without_subject(photo, foreground, alpha)
    blurred = under_effect(rest, alpha, parse_background(words))
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
        from math import erf, sqrt

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
    grey = under_effect(image, alpha, parse_background("grey"))
    assert (grey == grey[..., :1]).all()
    dark = under_effect(image, alpha, parse_background("darken:25"))
    np.testing.assert_array_equal(dark, np.rint(image * 0.75))


def test_a_scene_is_mirrored_beyond_the_border() -> None:
    row = np.arange(3, dtype=np.uint8)[np.newaxis, :, np.newaxis] * np.ones((1, 1, 3), np.uint8)
    mirrored = scene_of(row, (0, -2, 1, 8), (1, 10))
    assert mirrored[0, :, 0].tolist() == [1, 0, 0, 1, 2, 2, 1, 0, 0, 1]
    assert scene_of(row, (0, 0, 1, 3), (1, 3)) is row


def test_a_scene_many_times_the_picture_is_no_larger_than_its_canvas() -> None:
    """A panorama on a tall canvas shows itself 20 times, one above the other."""
    image = ramp(100, 2000)
    shown = scene_of(image, (-950, 0, 1050, 2000), (200, 200))
    assert shown.shape == (200, 200, 3)
    np.testing.assert_allclose(shown[95:105], fit_image(image, (10, 200), "stretch"), atol=1)
    np.testing.assert_array_equal(shown[85:95], shown[95:105][::-1])
