"""I = alpha F + (1 - alpha) B: by hand, by its properties, and against known composites."""

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from alphacut.cutout import Cutout
from alphacut.output.composite import Layers, composite
from pictures import SHARED, with_alpha

# Three columns: hidden, half, whole; all of one colour
FOREGROUND = np.full((2, 3, 3), (200, 180, 160), np.uint8)
ALPHA = np.array([[0, 0.5, 1]] * 2, np.float32)
PICTURES = arrays.arrays(np.uint8, (5, 4, 3))
COLOURS = st.tuples(*[st.integers(0, 255)] * 3)


def plain(colour: tuple[int, int, int]) -> np.ndarray:
    return np.broadcast_to(np.array(colour, np.uint8), FOREGROUND.shape)


def test_composite_by_hand() -> None:
    white = composite(FOREGROUND, ALPHA, (255, 255, 255))
    assert white.tolist() == [[[255, 255, 255], [228, 218, 208], [200, 180, 160]]] * 2
    green = composite(FOREGROUND, ALPHA, plain((0, 255, 0)))
    assert green[0].tolist() == [[0, 255, 0], [100, 218, 80], [200, 180, 160]]
    deep = composite(FOREGROUND * np.uint16(257), ALPHA, (255, 255, 255))
    assert deep.dtype == np.uint16
    assert deep[0, 0, 0] == 65535
    assert deep[0, 2].tolist() == [200 * 257, 180 * 257, 160 * 257]


@settings(deadline=None)
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


@settings(deadline=None)
@given(PICTURES, COLOURS, st.booleans(), st.sampled_from([np.uint8, np.uint16]))
def test_on_a_colour(
    foreground: np.ndarray, colour: tuple[int, int, int], linear_light: bool, dtype: type
) -> None:
    scale = 257 if dtype == np.uint16 else 1
    foreground = foreground.astype(dtype) * dtype(scale)
    ones = np.ones((5, 4), np.float32)
    whole = composite(foreground, ones, colour, linear_light=linear_light)
    np.testing.assert_array_equal(whole, foreground)
    hidden = composite(foreground, ones * 0, colour, linear_light=linear_light)
    expected = np.broadcast_to(np.array(colour) * scale, foreground.shape)
    np.testing.assert_array_equal(hidden, expected)


@settings(deadline=None)
@given(PICTURES, arrays.arrays(np.uint8, (5, 4)))
def test_white_stays_white(foreground: np.ndarray, levels: np.ndarray) -> None:
    alpha = levels.astype(np.float32) / 255
    a = alpha[..., np.newaxis].astype(np.float64)
    truth = a * foreground + (1 - a) * 255  # a picture on white, before any rounding
    assert np.abs(composite(foreground, alpha, (255, 255, 255)) - truth).max() <= 0.51


def test_tall_pictures_are_composited_whole() -> None:
    foreground = np.full((600, 2, 3), 10, np.uint8)
    image = composite(foreground, np.zeros((600, 2), np.float32), (1, 2, 3))
    assert (image == (1, 2, 3)).all()


def test_linear_light_by_hand() -> None:
    black, half = np.zeros((1, 1, 3), np.uint8), np.full((1, 1), 0.5, np.float32)
    assert composite(black, half, (255, 255, 255))[0, 0, 0] == 128
    light = composite(black, half, (255, 255, 255), linear_light=True)
    assert light[0, 0, 0] == 188  # half of the light


def test_translucent_backgrounds_by_hand() -> None:
    behind = 128 / 255
    opacity = np.full(ALPHA.shape, behind, np.float32)
    glass = composite(FOREGROUND, ALPHA, plain((0, 0, 255)), opacity=opacity)
    assert glass.shape == (2, 3, 4)
    assert glass[0, 0].tolist() == [0, 0, 255, 128]
    assert glass[0, 2].tolist() == [200, 180, 160, 255]
    total = 0.5 + 0.5 * behind
    assert glass[0, 1].tolist() == [
        round(0.5 * 200 / total), round(0.5 * 180 / total),
        round((0.5 * 160 + 0.5 * behind * 255) / total), round(255 * total),
    ]  # fmt: skip


def test_shadow_by_hand() -> None:
    shadow = np.array([[1.0, 0.5, 0.5]], np.float32)
    image = composite(FOREGROUND[:1], ALPHA[:1], (100, 200, 50), shadow=shadow)
    assert image[0].tolist() == [[0, 0, 0], [125, 140, 93], [200, 180, 160]]
    nothing = np.zeros((1, 3), np.float32)
    image = composite(FOREGROUND[:1], ALPHA[:1], (9, 9, 9), opacity=nothing, shadow=shadow)
    assert image[0].tolist() == [[0, 0, 0, 255], [133, 120, 107, 191], [200, 180, 160, 255]]


def test_a_subject_alone_is_not_copied() -> None:
    raster = Layers(FOREGROUND, ALPHA).flatten()
    assert raster.samples is FOREGROUND
    np.testing.assert_array_equal(raster.joined(), with_alpha(FOREGROUND, ALPHA))


@pytest.mark.parametrize("linear_light", [False, True])
@pytest.mark.parametrize("shadow", [None, np.array([[1.0, 0.5, 0.5]] * 2, np.float32)])
def test_what_shines_through_becomes_white(linear_light: bool, shadow: np.ndarray | None) -> None:
    """For formats without alpha: as if the background itself had been put on white before."""
    white, blue = plain((255, 255, 255)), plain((0, 0, 255))
    half = np.full(ALPHA.shape, 0.5, np.float32)
    glass = composite(blue, half, white, linear_light=linear_light)
    for layers, background in [
        (Layers(FOREGROUND, ALPHA, shadow), white),
        (Layers(FOREGROUND, ALPHA, shadow, blue, half), glass),
        (Layers(FOREGROUND, ALPHA, shadow, blue), blue),
    ]:
        raster = layers.flatten(linear_light=linear_light, opaque=True)
        expected = composite(
            FOREGROUND, ALPHA, background, shadow=shadow, linear_light=linear_light
        )
        assert raster.alpha is None
        np.testing.assert_array_equal(raster.samples, expected)


def test_layers_by_name_uppermost_first() -> None:
    named = Layers(FOREGROUND, ALPHA, 1 - ALPHA, plain((1, 2, 3))).named()
    assert [name for name, _ in named] == ["subject", "shadow", "background"]
    assert [raster.joined()[0, 1].tolist() for _, raster in named] == [
        [200, 180, 160, 128], [0, 0, 0, 128], [1, 2, 3, 255],
    ]  # fmt: skip
    assert [name for name, _ in Layers(FOREGROUND, ALPHA).named()] == ["subject"]


@pytest.mark.skipif(not (SHARED / "data" / "composites").exists(), reason="no ../shared/data")
def test_composites_have_the_cutouts_recomposition_error() -> None:
    """Mean |aF + (1 - a)B - truth| over known composites: the same from `on` as from RGBA."""
    folder = SHARED / "data" / "composites"
    backgrounds = sorted((SHARED / "data" / "backgrounds").glob("*.jpg"))
    pictures = sorted((folder / "foreground").glob("*.png"))
    assert len(pictures) == 40
    for index, path in enumerate(pictures):
        foreground = np.asarray(PIL.Image.open(path).convert("RGB"))
        true_alpha = PIL.Image.open(folder / "alpha" / path.name)
        truth = np.asarray(true_alpha, np.float32) / 255
        H, W = truth.shape
        coarse = true_alpha.resize((W // 4, H // 4)).resize((W, H))  # a mask of a small network
        cut = Cutout(foreground, np.asarray(coarse, np.float32) / 255, truth)
        with PIL.Image.open(backgrounds[index % len(backgrounds)]) as file:
            background = np.asarray(file.convert("RGB").resize((W, H)))
        rgba = np.asarray(cut).astype(np.float64)
        a, t = rgba[..., 3:] / 255, truth[..., np.newaxis]
        expected = t * foreground + (1 - t) * background
        by_hand = np.abs(a * rgba[..., :3] + (1 - a) * background - expected).mean()
        composed = np.abs(cut.on(background) - expected).mean()
        assert abs(composed - by_hand) < 0.1, path.name  # rounding, of 255
        exact = Cutout(foreground, truth, truth).on(background)
        assert np.abs(exact - expected).max() <= 0.51
