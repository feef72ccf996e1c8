"""Pairs: alpha and colours by triangulation."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from alphacut.errors import ImageError
from alphacut.pipeline.pair import solve_pair
from pictures import disc

Array = NDArray[np.float32]
WHITE, BLACK = (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)


def soft_subject(H: int = 60, W: int = 80, radius: float = 0.35) -> tuple[Array, Array]:
    """Colours (H, W, 3) that change, and an alpha of every level, half of it glass."""
    y, x = np.mgrid[:H, :W].astype(np.float32)
    colours = np.stack([x / W, y / H, 0.5 + 0 * x], axis=2)
    alpha = cv2.GaussianBlur(disc(H, W, radius), (0, 0), 2)
    alpha[:, W // 2 :] *= np.float32(0.3)
    return colours, alpha


def on(
    colours: Array, alpha: Array, ground: tuple[float, ...] | Array, bits: int = 8
) -> NDArray[np.unsignedinteger]:
    a, levels = alpha[..., np.newaxis], 2**bits - 1
    mixed = a * colours + (1 - a) * np.asarray(ground, np.float32)
    return np.rint(mixed * levels).astype(np.uint8 if bits == 8 else np.uint16)


def test_one_pixel_by_hand() -> None:
    # half of red 200 before white and black: 100 + 127.5, 127.5, 127.5 and 100, 0, 0
    white, black = np.full((40, 40, 3), 255, np.uint8), np.zeros((40, 40, 3), np.uint8)
    white[20, 20], black[20, 20] = (228, 128, 128), (100, 0, 0)
    pair = solve_pair(white, black)
    assert pair.alpha[20, 20] == pytest.approx(0.5, abs=1 / 255)
    assert pair.foreground[20, 20].tolist() == pytest.approx([200, 0, 0], abs=1)
    assert pair.alpha[0, 0] == 0
    assert pair.shift_px == 0


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("grounds", [(WHITE, BLACK), ((0.1, 0.7, 0.2), (0.1, 0.2, 0.9))])
def test_glass_is_exact(bits: int, grounds: tuple[tuple[float, ...], tuple[float, ...]]) -> None:
    colours, alpha = soft_subject()
    pair = solve_pair(*(on(colours, alpha, ground, bits) for ground in grounds))
    assert np.abs(pair.alpha - alpha).max() <= 2 / 255
    # of 8 bits, rounding alone leaves half a level over alpha
    known = alpha > (0.1 if bits == 16 else 0.4)
    found = pair.foreground[known] / (2**bits - 1)
    assert np.abs(found - colours[known]).max() <= 3 / 255


def test_uneven_light_is_fitted() -> None:
    colours, alpha = soft_subject()
    y, x = np.mgrid[:60, :80].astype(np.float32)
    light = (0.85 + 0.1 * x / 80 - 0.1 * y / 60)[..., np.newaxis] * np.ones(3, np.float32)
    pair = solve_pair(on(colours, alpha, light), on(colours, alpha, 0.1 * light))
    assert np.abs(pair.alpha - alpha).max() <= 3 / 255


def test_noise_stays_out_of_the_ground() -> None:
    colours, alpha = soft_subject(radius=0.2)
    rng = np.random.default_rng(1)
    noisy = [
        np.clip(np.rint(on(colours, alpha, (level,) * 3) + rng.normal(0, 2, (60, 80, 3))), 0, 255)
        for level in (0.9, 0.1)
    ]
    pair = solve_pair(*(each.astype(np.uint8) for each in noisy))
    assert np.abs(pair.alpha - alpha).mean() <= 0.004
    assert (pair.alpha[alpha == 0] == 0).mean() > 0.95


def test_a_pair_shifted_by_two_pixels_is_aligned() -> None:
    colours, alpha = soft_subject(120, 160)
    colours = colours * (0.5 + 0.5 * (np.indices((120, 160)).sum(axis=0) // 9 % 2))[..., None]
    white, black = on(colours, alpha, WHITE), on(colours, alpha, BLACK)
    moved = np.roll(black, (1, 2), (0, 1))
    pair = solve_pair(white, moved)
    assert pair.shift_px == pytest.approx(np.hypot(1, 2), abs=0.15)
    assert np.abs(pair.alpha - alpha).mean() < 0.01


def test_another_scene_is_refused_with_its_error() -> None:
    colours, alpha = soft_subject()
    other = on(1 - colours, alpha[::-1, ::-1], BLACK)
    with pytest.raises(ImageError, match=r"by \d+\.\d levels where only the ground may differ"):
        solve_pair(on(colours, alpha, WHITE), other)


def test_equal_grounds_and_sizes_are_refused() -> None:
    colours, alpha = soft_subject()
    image = on(colours, alpha, WHITE)
    with pytest.raises(ImageError, match="differs from the picture's by 0 levels"):
        solve_pair(image, image)
    with pytest.raises(ImageError, match="is 70 x 60 pixels, but the picture 80 x 60"):
        solve_pair(image, image[:, :70])


@given(st.floats(0, 1), st.tuples(*[st.floats(0, 1)] * 3))
def test_any_colour_at_any_alpha(share: float, colour: tuple[float, float, float]) -> None:
    alpha = np.zeros((40, 40), np.float32)
    alpha[10:20, 10:20] = share
    colours = np.broadcast_to(np.float32(colour), (40, 40, 3))
    pair = solve_pair(on(colours, alpha, WHITE, 16), on(colours, alpha, BLACK, 16))
    assert np.abs(pair.alpha - alpha).max() <= 1 / 255
