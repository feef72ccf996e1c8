"""Plain grounds: found, fitted, and told from what is not plain."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from alphacut.errors import ImageError
from alphacut.pipeline.ground import estimate_shadow, fit_ground
from alphacut.pipeline.surface import fit_surface
from pictures import disc

Array = NDArray[np.float32]
H, W = 120, 160


def lit(colour: tuple[float, float, float], slope: float = 0.1) -> Array:
    """A ground (H, W, 3) in [0, 1] whose light falls off to the right and to the corners."""
    y, x = np.mgrid[-1 : 1 : H * 1j, -1 : 1 : W * 1j].astype(np.float32)
    light = 1 - slope * x - 0.5 * slope * (x * x + y * y)
    return np.asarray(light[..., np.newaxis] * np.float32(colour))


def photograph(mixed: Array, noise: float = 1.0, seed: int = 0) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    noisy = np.rint(mixed * 255 + rng.normal(0, noise, mixed.shape))
    return np.clip(noisy, 0, 255).astype(np.uint8)


def scene(ground: Array, subject: tuple[float, ...] = (0.2, 0.3, 0.6)) -> tuple[Array, Array]:
    alpha = cv2.GaussianBlur(disc(H, W, 0.2), (0, 0), 1)
    a = alpha[..., np.newaxis]
    return np.asarray(a * np.float32(subject) + (1 - a) * ground, np.float32), alpha


def test_a_surface_of_three_terms_by_hand() -> None:
    # at the four corners of 2 x 2 px, x and y are -1/2 and 1/2: 0.5 + 0.2 x + 0.1 y
    y, x = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    levels = np.float32([0.35, 0.55, 0.45, 0.65])
    surface = fit_surface(np.stack([levels] * 3, axis=1), y, x, (2, 2), order=1)
    assert surface.terms[:, 0] == pytest.approx([0.5, 0.2, 0.1], abs=1e-4)
    assert surface.rows(slice(1, 2))[0, :, 0] == pytest.approx([0.45, 0.65], abs=1e-4)


def test_a_surface_leaves_out_what_is_not_of_it() -> None:
    ground = lit((0.8, 0.7, 0.6))
    y, x = (at.ravel() for at in np.mgrid[:H, :W])
    colours = ground.reshape(-1, 3).copy()
    colours[::4] = 0.1  # a quarter is something else
    surface = fit_surface(colours, y, x, (H, W))
    assert np.abs(surface.rows(slice(None)) - ground).max() < 1 / 255
    assert surface.share == pytest.approx(0.75, abs=0.01)


@settings(max_examples=15, deadline=None)
@given(st.tuples(*[st.floats(0.15, 0.85)] * 3), st.floats(0, 0.12), st.floats(0.3, 3))
def test_uneven_light_is_fitted_to_a_level(
    colour: tuple[float, float, float], slope: float, noise: float
) -> None:
    ground = lit(colour, slope)
    mixed, alpha = scene(ground, tuple(1 - level for level in colour))
    found = fit_ground(photograph(mixed, noise), alpha)
    assert found is not None
    assert found.clean.shape == (H, W, 3)
    assert np.abs(found.clean - ground).mean() < 1.5 / 255
    assert 0 < found.sure <= 1


def test_a_busy_ground_is_not_plain() -> None:
    rng = np.random.default_rng(1)
    busy = cv2.resize(rng.uniform(0, 1, (8, 10, 3)).astype(np.float32), (W, H))
    mixed, alpha = scene(busy)
    assert fit_ground(photograph(mixed), alpha) is None


def test_half_sky_half_field_is_not_plain() -> None:
    ground = lit((0.6, 0.7, 0.9))
    ground[H // 2 :] = (0.3, 0.5, 0.1)
    mixed, alpha = scene(ground)
    assert fit_ground(photograph(mixed), alpha) is None


def test_a_subject_that_fills_the_frame_leaves_no_ground() -> None:
    image = photograph(lit((0.5, 0.5, 0.5)))
    assert fit_ground(image, np.ones((H, W), np.float32)) is None


def test_a_colour_that_is_not_there_is_not_found() -> None:
    mixed, alpha = scene(lit((0.9, 0.9, 0.9)))
    assert fit_ground(photograph(mixed), alpha, (0, 0, 255)) is None
    assert fit_ground(photograph(mixed), alpha, (230, 230, 230)) is not None


def test_green_and_blue_are_screens_and_pastels_are_not() -> None:
    for colour, way, primary in (
        ((0.0, 0.7, 0.25), "screen", 1),
        ((0.1, 0.2, 0.75), "screen", 2),
        ((0.7, 0.9, 0.8), "plain", None),
        ((0.8, 0.1, 0.1), "plain", None),
    ):
        mixed, alpha = scene(lit(colour), (0.5, 0.5, 0.5))
        found = fit_ground(photograph(mixed), alpha)
        assert found is not None
        assert (found.way, found.primary) == (way, primary)


def test_a_shadow_is_measured_beside_and_under_the_subject() -> None:
    ground = lit((0.8, 0.75, 0.7))
    y, x = np.mgrid[:H, :W].astype(np.float32)
    shadow = 0.4 * np.exp(-(((x - 105) / 22) ** 2) - ((y - 75) / 12) ** 2)
    mixed, alpha = scene(ground * (1 - shadow[..., np.newaxis]))
    image = photograph(mixed)
    found = fit_ground(image, alpha)
    assert found is not None
    assert found.levels[75, 118].mean() < found.clean[75, 118].mean() * 0.85
    measured = estimate_shadow(image, alpha, found)
    beside = alpha == 0
    assert np.abs(measured - shadow)[beside & (shadow > 0.02)].mean() * 255 * 0.8 < 3
    assert (measured[beside & (shadow < 1e-3)] < 0.01).mean() > 0.95
    assert measured[70, 95] > 0.05  # under the subject's edge it goes on


def test_wrong_arrays_are_refused() -> None:
    with pytest.raises(ImageError, match="image must be"):
        fit_ground(np.zeros((4, 4), np.uint8), None)
    with pytest.raises(ImageError, match="rough must be"):
        fit_ground(np.zeros((4, 4, 3), np.uint8), np.zeros((3, 4), np.float32))
