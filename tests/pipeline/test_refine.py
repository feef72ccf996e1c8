"""Clean-up of a finished alpha."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from alphacut.errors import ImageError
from alphacut.pipeline import refine


def alpha_with(*boxes: tuple[int, int, int, int], size: tuple[int, int] = (20, 24)) -> np.ndarray:
    """Zeros with boxes (top, left, bottom, right) of ones."""
    alpha = np.zeros(size, np.float32)
    for top, left, bottom, right in boxes:
        alpha[top:bottom, left:right] = 1
    return alpha


BIG, SMALL = (2, 2, 10, 10), (14, 14, 17, 17)  # 64 and 9 pixels


def test_specks_below_the_area_go_with_their_fringe():
    alpha = alpha_with(BIG, SMALL)
    alpha[13, 14:17] = 0.3
    assert np.array_equal(refine.remove_specks(alpha, 10), alpha_with(BIG))
    assert np.array_equal(refine.remove_specks(alpha, 9), alpha)


def test_faint_haze_without_a_visible_pixel_is_a_speck():
    alpha = alpha_with(BIG)
    alpha[15:18, 15:18] = 0.2
    assert np.array_equal(refine.remove_specks(alpha, 1), alpha_with(BIG))


def test_the_largest_part_stays():
    assert np.array_equal(refine.keep_largest(alpha_with(SMALL, BIG)), alpha_with(BIG))
    empty = np.zeros((4, 5), np.float32)
    assert np.array_equal(refine.keep_largest(empty), empty)


def test_small_holes_are_filled_and_bays_are_not():
    alpha = alpha_with((0, 0, 20, 24))
    alpha[5:7, 5:7] = 0  # a pin-hole
    alpha[10:16, 10:16] = 0  # a true hole
    alpha[0, 3] = 0  # open to the frame
    filled = refine.fill_holes(alpha, 5)
    assert filled[5:7, 5:7].min() == 1
    assert filled[10:16, 10:16].max() == 0
    assert filled[0, 3] == 0


def test_hardening_puts_the_edge_at_the_threshold_and_keeps_it_smooth():
    ramp = np.tile(np.clip((np.arange(40) - 9.5) / 20, 0, 1), (8, 1)).astype(np.float32)
    hard = refine.harden_edges(ramp, 0.5)
    assert hard[4, 17] == 0
    assert hard[4, 22] == 1
    assert hard[4].sum() == pytest.approx(20, abs=0.1)  # the edge is at 19.5
    assert ((hard[4] > 0) & (hard[4] < 1)).sum() <= 2
    late = refine.harden_edges(ramp, 0.75)
    assert late[4].sum() == pytest.approx(15, abs=0.1)


def test_growing_and_shrinking_move_the_edge_by_pixels():
    alpha = alpha_with((8, 8, 12, 12))
    assert refine.grow(alpha, 2)[9].sum() == 8
    assert refine.grow(alpha, -1).sum() == 4
    assert np.array_equal(refine.grow(alpha, 0), alpha)


def test_growing_far_is_growing_by_a_disc():
    y, x = np.mgrid[:141, :141] - 70
    grown = refine.grow((np.hypot(y, x) < 1).astype(np.float32), 50)
    reach = np.hypot(y, x)[grown > 0]
    assert abs(reach.max() - 50) < 3
    assert grown.sum() == pytest.approx(np.pi * 50**2, rel=0.04)
    assert not refine.grow(1 - grown, 60)[70, 70] < 1
    assert refine.grow(grown, -46)[70, 70] == 1
    assert refine.grow(grown, -54).max() == 0


def test_wide_blurs_at_a_lower_resolution_are_nearly_those_at_full():
    alpha = alpha_with((40, 30, 140, 101), (90, 101, 100, 180), size=(201, 190))
    for sigma_px in (9, 25):
        exact = cv2.GaussianBlur(alpha, (0, 0), sigma_px, borderType=cv2.BORDER_REPLICATE)
        np.testing.assert_allclose(refine.feather(alpha, 2 * sigma_px), exact, atol=0.025)


def test_refine_does_what_it_is_told_in_order():
    alpha = alpha_with(BIG, SMALL)
    assert refine.refine(alpha) is alpha
    assert np.array_equal(refine.refine(alpha, largest=True), alpha_with(BIG))
    grown = refine.refine(alpha, specks_px=10, grow_px=1)
    assert np.array_equal(grown, refine.grow(alpha_with(BIG), 1))
    assert refine.refine(alpha, feather_px=3, harden=0.5)[9, 9] < 1  # feathered last


def test_feathering_keeps_the_edge_in_place():
    alpha = alpha_with((0, 0, 20, 12))
    soft = refine.feather(alpha, 4)
    assert soft[10, 11] + soft[10, 12] == pytest.approx(1, abs=1e-5)
    assert 0 < soft[10, 13] < 0.5 < soft[10, 10] < 1


def test_smoothing_removes_a_tooth_and_stays_sharp():
    alpha = alpha_with((0, 0, 40, 20), (20, 20, 21, 23), size=(40, 40))
    even = refine.smooth_edges(alpha, 3)
    assert even[20, 22] < 0.2
    assert even[5, 18] > 0.95
    assert even[5, 21] < 0.05


@pytest.mark.parametrize(
    "call",
    [
        lambda a: refine.remove_specks(a, 4),
        refine.keep_largest,
        lambda a: refine.fill_holes(a, 4),
        refine.harden_edges,
        lambda a: refine.feather(a, 3),
        lambda a: refine.grow(a, 2),
        lambda a: refine.grow(a, -2),
        lambda a: refine.smooth_edges(a, 2),
    ],
)
@settings(max_examples=20, deadline=None)
@given(
    alpha=hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=9),
        elements=st.floats(0, 1, width=32),
    )
)
def test_every_function_gives_an_alpha_and_leaves_its_input_alone(call, alpha):
    before = alpha.copy()
    after = call(alpha)
    assert after.shape == alpha.shape
    assert after.dtype == np.float32
    assert after.min() >= 0
    assert after.max() <= 1
    assert np.array_equal(alpha, before)
    assert not np.shares_memory(after, alpha)


@pytest.mark.parametrize("constant", [0, 1])
def test_flat_alphas_stay_flat(constant):
    alpha = np.full((12, 9), constant, np.float32)
    for call in (refine.harden_edges, refine.keep_largest, lambda a: refine.smooth_edges(a, 3)):
        assert np.array_equal(call(alpha), alpha)


def test_bad_input_is_named():
    with pytest.raises(ImageError, match="float32"):
        refine.keep_largest(np.zeros((3, 3), np.uint8))
    with pytest.raises(ImageError, match="threshold"):
        refine.harden_edges(np.zeros((3, 3), np.float32), 0)
    with pytest.raises(ImageError, match="negative"):
        refine.feather(np.zeros((3, 3), np.float32), -1)
