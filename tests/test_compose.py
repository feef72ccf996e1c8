from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from alphacut.compose import Cutout, composite, parse_colour
from alphacut.errors import AlphacutWarning, ImageError, OutputError


def cutout(dtype: type = np.uint8) -> Cutout:
    """Three columns: hidden, half, whole; all of one colour."""
    foreground = np.empty((2, 3, 3), np.uint8)
    foreground[:] = (200, 180, 160)
    if dtype == np.uint16:
        foreground = foreground.astype(np.uint16) * 257
    alpha = np.array([[0, 0.5, 1], [0, 0.5, 1]], np.float32)
    return Cutout(foreground, alpha, alpha)


def test_composite_by_hand() -> None:
    white = cutout().on("white")
    assert white.tolist() == [[[255, 255, 255], [228, 218, 208], [200, 180, 160]]] * 2
    green = cutout().on((0, 255, 0))
    assert green[0].tolist() == [[0, 255, 0], [100, 218, 80], [200, 180, 160]]
    deep = cutout(np.uint16).on("white")
    assert deep.dtype == np.uint16
    assert deep[0, 0, 0] == 65535
    assert deep[0, 2].tolist() == [200 * 257, 180 * 257, 160 * 257]


PICTURES = arrays.arrays(np.uint8, (5, 4, 3))


@given(PICTURES, PICTURES, st.floats(0, 1, width=32))
def test_composite_lies_between(
    foreground: np.ndarray, background: np.ndarray, level: float
) -> None:
    alpha = np.full((5, 4), level, np.float32)
    image = composite(foreground, alpha, background)
    assert (image >= np.minimum(foreground, background)).all()
    assert (image <= np.maximum(foreground, background)).all()
    np.testing.assert_array_equal(composite(foreground, alpha * 0 + 1, background), foreground)
    np.testing.assert_array_equal(composite(foreground, alpha * 0, background), background)


def test_tall_pictures_are_composed_whole() -> None:
    foreground = np.full((600, 2, 3), 10, np.uint8)
    image = composite(foreground, np.zeros((600, 2), np.float32), (1, 2, 3))
    assert (image == (1, 2, 3)).all()


def test_views_of_a_cutout() -> None:
    cut = cutout()
    assert cut.size == (2, 3)
    assert cut.box == (0, 1, 2, 3)
    assert not cut.empty
    assert cut.image.mode == "RGBA"
    assert cut.image.getpixel((1, 0)) == (200, 180, 160, 128)
    assert cut.image.getpixel((0, 0)) == (0, 0, 0, 0)
    np.testing.assert_array_equal(np.asarray(cut), np.asarray(cut.image))
    assert np.asarray(cut, dtype=np.float32).dtype == np.float32
    assert cutout(np.uint16).image.getpixel((2, 1)) == (200, 180, 160, 255)
    assert cut._repr_png_().startswith(b"\x89PNG")
    assert cut.mask.shape == cut.size


def test_nothing_visible() -> None:
    alpha = np.full((4, 4), 0.001, np.float32)
    cut = Cutout(np.ones((4, 4, 3), np.uint8), alpha, alpha)
    assert cut.empty
    assert not np.asarray(cut).any()


@pytest.mark.parametrize(("name", "kind"), [
    ("a.png", "PNG"), ("a.webp", "WEBP"), ("a.tif", "TIFF"), ("a.avif", "AVIF"), ("a.JPG", "JPEG"),
])  # fmt: skip
def test_save_by_ending(tmp_path: Path, name: str, kind: str) -> None:
    path = cutout().save(tmp_path / name)
    with PIL.Image.open(path) as written:
        assert written.format == kind
        assert written.size == (3, 2)
        if kind != "JPEG":
            assert written.convert("RGBA").getpixel((0, 0))[3] == 0


def test_save_mask_and_composite(tmp_path: Path) -> None:
    cutout().save(tmp_path / "mask.png", mask=True)
    with PIL.Image.open(tmp_path / "mask.png") as mask:
        assert mask.mode == "L"
        assert np.asarray(mask).tolist() == [[0, 128, 255]] * 2
    cutout().save(tmp_path / "red.png", background="red")
    with PIL.Image.open(tmp_path / "red.png") as red:
        assert red.mode == "RGB"
        assert red.getpixel((0, 0)) == (255, 0, 0)


def test_save_refuses_what_it_cannot_do(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"\.gif"):
        cutout().save(tmp_path / "a.gif")
    with pytest.raises(OutputError, match="but the format is png"):
        cutout().save(tmp_path / "a.jpg", format="png")
    with pytest.raises(OutputError, match="cannot be written"):
        cutout().save(tmp_path / "none" / "a.png")
    assert not list(tmp_path.iterdir())


def test_frames_that_a_format_cannot_hold(tmp_path: Path) -> None:
    import dataclasses

    after = dataclasses.replace(cutout(), foreground=cutout().foreground // 2)
    moving = dataclasses.replace(cutout(), frames=(after,), duration_ms=40.0)
    with pytest.warns(AlphacutWarning, match="only the first of 2 frames"):
        moving.save(tmp_path / "a.jpg")
    moving.save(tmp_path / "a.png")
    with PIL.Image.open(tmp_path / "a.png") as written:
        assert written.n_frames == 2


@pytest.mark.parametrize(("name", "rgb"), [
    ("white", (255, 255, 255)), ("#fc0", (255, 204, 0)), ("#102030", (16, 32, 48)),
    ("rgb(1, 2, 3)", (1, 2, 3)),
])  # fmt: skip
def test_colours(name: str, rgb: tuple[int, int, int]) -> None:
    assert parse_colour(name) == rgb


def test_unlike_backgrounds_are_refused() -> None:
    with pytest.raises(ImageError, match="unknown colour 'puce-ish'"):
        cutout().on("puce-ish")
    with pytest.raises(ImageError, match=r"uint8 \(9, 9, 3\) is unlike"):
        cutout().on(np.zeros((9, 9, 3), np.uint8))
