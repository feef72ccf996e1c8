import os
from pathlib import Path
from typing import Any, get_args

import numpy as np
import PIL.Image
import pytest

from alphacut.errors import ImageError
from alphacut.options import Fit
from alphacut.output.background import fit_image, forget, load_background, make_background
from alphacut.pipeline.image import Metadata, Picture
from alphacut.pipeline.profile import convert_profile
from alphacut.values import Backdrop, parse_background
from made import PROFILES


def ramp(H: int, W: int, dtype: type = np.uint8) -> np.ndarray:
    y, x = np.mgrid[:H, :W]
    peak = np.iinfo(dtype).max
    return np.stack([x * peak // W, y * peak // H, x * 0], 2).astype(dtype)


@pytest.mark.parametrize("fit", get_args(Fit))
@pytest.mark.parametrize("size", [(1, 1), (200, 50), (50, 200), (4000, 5000), (1, 7), (33, 31)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_fit_of_every_size(fit: Fit, size: tuple[int, int], dtype: type) -> None:
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


def made(text: str, size: tuple[int, int], dtype: type = np.uint8) -> Any:
    return make_background(parse_background(text), size, dtype=dtype)


def test_colours_and_patterns() -> None:
    image, opacity = made("#102030", (2, 3), np.uint16)
    assert image.dtype == np.uint16
    assert image[1, 2].tolist() == [16 * 257, 32 * 257, 48 * 257]
    assert opacity is None
    assert made("#10203080", (2, 3))[1] == pytest.approx(128 / 255)
    checks, _ = made("checkerboard", (40, 40))
    assert checks[0, 0, 0] == checks[8, 8, 0] == 255
    assert checks[0, 8, 0] == 204
    assert made("checkerboard", (40, 40), np.uint16)[0][0, 8, 0] == 204 * 257
    assert made("transparent", (2, 3)) == (None, None)


def test_images_from_anywhere(tmp_path: Path) -> None:
    array = ramp(6, 8)
    translucent = np.dstack([array, np.full((6, 8), 51, np.uint8)])
    path = tmp_path / "back.png"
    PIL.Image.fromarray(translucent).save(path)
    sources = (str(path), path, path.read_bytes(), PIL.Image.open(path), translucent)
    for source in sources:
        loaded = load_background(source)
        assert isinstance(loaded, Picture)
        image, opacity = make_background(loaded, (6, 8), dtype=np.uint16)
        np.testing.assert_array_equal(image, array.astype(np.uint16) * 257)
        assert opacity is not None
        np.testing.assert_allclose(opacity, 0.2)
    assert load_background((1, 2, 3)) == Backdrop("colour", (1, 2, 3, 255))


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "back.png"
    for level in (10, 20):
        PIL.Image.new("RGB", (2, 2), (level,) * 3).save(path)
        os.utime(path, ns=(level, level))
        loaded = load_background(str(path))
        assert isinstance(loaded, Picture)
        assert (loaded.image == level).all()


def test_a_file_is_read_once_until_it_is_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "back.png"
    PIL.Image.new("RGB", (2, 2), "red").save(path)
    first = load_background(path)
    assert load_background(path) is first
    forget()
    assert load_background(path) is not first


def test_a_background_above_the_limit_is_refused() -> None:
    with pytest.raises(ImageError, match=r"above the limit of 0\.001"):
        load_background(ramp(40, 40), max_megapixels=0.001)


@pytest.mark.parametrize("name", ["AdobeRGB", "P3", "ProPhoto"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_colours_meet_in_the_canvas_profile(name: str, dtype: type) -> None:
    profile = PROFILES[name]

    def expected(*colour: int) -> np.ndarray:
        pixel = np.array([[colour]], np.uint8).astype(dtype)
        pixel = pixel * dtype(257) if dtype == np.uint16 else pixel
        return convert_profile(pixel, None, profile)[0, 0]

    def made(text: str) -> np.ndarray:
        background = load_background(text)
        return make_background(background, (64, 64), dtype=dtype, icc_profile=profile)[0]

    assert (made("#81d4fa") == expected(0x81, 0xD4, 0xFA)).all()
    assert not (made("#81d4fa") == make_background(parse_background("#81d4fa"), (1, 1))[0]).any()
    checks = made("checkerboard")
    assert (checks[:8, 8:16] == expected(204, 204, 204)).all()
    assert (checks[:8, :8] == np.iinfo(dtype).max).all()

    photo = Picture(ramp(64, 64), metadata=Metadata(PROFILES["ProPhoto"]))
    image = make_background(photo, (64, 64), dtype=dtype, icc_profile=profile)[0]
    deep = photo.image.astype(dtype) * dtype(257 if dtype == np.uint16 else 1)
    np.testing.assert_array_equal(image, convert_profile(deep, PROFILES["ProPhoto"], profile))


def test_without_profiles_not_a_bit_changes() -> None:
    photo = Picture(ramp(30, 40))
    assert make_background(photo, (30, 40))[0] is photo.image
    checks = make_background(parse_background("checkerboard"), (40, 30))[0]
    y, x = np.mgrid[:40, :30] // 8
    expected = np.where((x + y) % 2, 204, 255)
    np.testing.assert_array_equal(checks, np.repeat(expected[..., np.newaxis], 3, axis=2))
