"""Metrics against hand-made cases, and against figures of pysodmetrics 1.6.2.

pysodmetrics pins older versions of NumPy and OpenCV, so its figures are written down here. They
were computed with `normalize=False` on `disc()` and `corner()`.
"""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from alphacut.errors import ImageError
from alphacut.evaluation import metrics

Y, X = np.mgrid[:48, :64]
ALPHAS = hnp.arrays(np.float32, (7, 9), elements=st.floats(0, 1, width=32))


def disc() -> tuple[np.ndarray, np.ndarray]:
    """A soft disc, and a hard one that lies beside it."""
    true = (X - 30) ** 2 + (Y - 22) ** 2 < 15**2
    pred = 1 / (1 + np.exp((np.hypot(X - 33, Y - 20) - 14) / 2.5))
    return pred.astype(np.float32), true.astype(np.float32)


def corner() -> tuple[np.ndarray, np.ndarray]:
    return np.clip((X + Y) / 100, 0, 1).astype(np.float32), ((X > 50) & (Y > 40)).astype(np.float32)


def test_sums_and_means_have_their_scales():
    true = np.zeros((40, 50), np.float32)
    pred = true.copy()
    pred[:10] = 0.5
    assert metrics.sad(pred, true) == pytest.approx(0.25)  # 500 pixels x 0.5 / 1000
    assert metrics.mad(pred, true) == pytest.approx(0.125)
    assert metrics.mse(pred, true) == pytest.approx(0.0625)


def test_region_limits_what_counts():
    true = np.zeros((4, 5), np.float32)
    pred = np.ones((4, 5), np.float32)
    pred[:, 2:] = 0
    region = np.zeros((4, 5), bool)
    region[:, :2] = True
    assert metrics.mad(pred, true, region) == 1
    assert metrics.mad(pred, true, ~region) == 0


def test_grad_of_a_step_is_the_kernels_own_sum():
    step = np.zeros((30, 31), np.float32)
    step[:, 16:] = 1
    flat = np.zeros_like(step)
    x = np.arange(-4, 5)
    smooth = np.exp(-(x**2) / (2 * 1.4**2))
    derive = -x * smooth
    smooth, derive = smooth / np.linalg.norm(smooth), derive / np.linalg.norm(derive)
    response = np.cumsum(derive)[:-1] * smooth.sum()  # of the eight columns next to the step
    assert metrics.grad(step, flat) == pytest.approx(30 * np.sum(response**2) / 1000, rel=1e-4)
    assert metrics.grad(step, step) == pytest.approx(0, abs=1e-9)


def test_conn_counts_what_is_cut_off():
    true = np.zeros((6, 30), np.float32)
    true[:, :10] = 1
    pred = true.copy()
    pred[2:4, 20:25] = 1  # ten pixels that hang in the air
    assert metrics.conn(pred, true) == pytest.approx(0.010)
    pred[2:4, 20:25] = 0.1  # too little to count
    assert metrics.conn(pred, true) == 0
    assert metrics.conn(true, true) == 0


def test_iou():
    true = np.zeros((4, 4), np.float32)
    true[:2] = 1
    pred = np.zeros((4, 4), np.float32)
    pred[1:3] = 0.6
    assert metrics.iou(pred, true) == pytest.approx(4 / 12)
    assert metrics.iou(true * 0, true * 0) == 1


def test_f_beta_weighs_precision():
    true = np.zeros((4, 4), np.float32)
    true[:2] = 1
    pred = np.zeros((4, 4), np.float32)
    pred[0] = 1  # precision 1, recall 1/2
    assert metrics.f_beta(pred, true) == pytest.approx(1.3 * 0.5 / (0.3 + 0.5))
    assert metrics.f_beta(pred * 0, true) == 0


@pytest.mark.parametrize(
    ("case", "s", "e", "adaptive_f"),
    [(disc, 0.853626, 0.928203, 0.851831), (corner, 0.341678, 0.249789, 0.780279)],
)
def test_figures_agree_with_pysodmetrics(case, s, e, adaptive_f):
    pred, true = case()
    assert metrics.s_measure(pred, true) == pytest.approx(s, abs=1e-6)
    assert metrics.e_measure(pred, true) == pytest.approx(e, abs=1e-6)
    threshold = min(2 * float(pred.mean()), 1)
    assert metrics.f_beta(pred, true, threshold) == pytest.approx(adaptive_f, abs=1e-6)


def test_structure_and_alignment_with_an_empty_and_a_full_truth():
    pred, _ = disc()
    empty, full = np.zeros_like(pred), np.ones_like(pred)
    assert metrics.s_measure(pred, empty) == pytest.approx(1 - pred.mean(), abs=1e-6)
    assert metrics.s_measure(pred, full) == pytest.approx(pred.mean(), abs=1e-6)
    assert metrics.e_measure(pred, empty) == pytest.approx(0.800716, abs=1e-6)
    assert metrics.e_measure(pred, full) == pytest.approx(0.199609, abs=1e-6)


def test_recomp_by_hand():
    true_alpha = np.zeros((20, 20), np.float32)
    true_alpha[10, 10] = 0.5  # band: 9 x 9 around it
    red = np.zeros((20, 20, 3), np.uint8)
    red[..., 0] = 200
    assert metrics.recomp(red, true_alpha, red, true_alpha) == 0
    pred_alpha = true_alpha.copy()
    pred_alpha[10, 10] = 1
    # 0.5 x (200, 0, 0) less 0.5 of the background, over 81 pixels and 3 channels.
    white, black, green = 27.5 + 127.5 + 127.5, 100, 100 + 127.5
    expected = (white + black + green) / 3 / (81 * 3)
    assert metrics.recomp(red, pred_alpha, red, true_alpha) == pytest.approx(expected, rel=1e-5)
    deep = red.astype(np.uint16) * 257
    assert metrics.recomp(deep, pred_alpha, red, true_alpha) == pytest.approx(expected, rel=1e-5)
    assert metrics.recomp(red, pred_alpha, red, np.zeros_like(true_alpha)) == 0


@settings(max_examples=30, deadline=None)
@given(pred=ALPHAS, true=ALPHAS)
def test_errors_are_zero_for_equals_and_stay_in_range(pred, true):
    for metric in (metrics.sad, metrics.mad, metrics.mse, metrics.grad, metrics.conn):
        assert metric(true, true) == pytest.approx(0, abs=1e-9)
        assert metric(pred, true) >= 0
    for score in (metrics.iou, metrics.f_beta, metrics.s_measure):
        assert 0 <= score(pred, true) <= 1 + 1e-6


def test_different_shapes_are_refused():
    with pytest.raises(ImageError, match="differ in shape"):
        metrics.mad(np.zeros((2, 3), np.float32), np.zeros((3, 2), np.float32))


# --- alpha of films ---


def test_dtssd_of_hand_made_errors():
    true = [np.zeros((10, 10), np.float32) for _ in range(3)]
    still = [plane + np.float32(0.3) for plane in true]
    assert metrics.dtssd(still, true) == 0  # an error that does not change does not flicker
    flash = [true[0], true[1].copy(), true[2]]
    flash[1][:5, :5] = 0.4  # a quarter of the pixels, on and off again
    assert metrics.dtssd(flash, true) == pytest.approx(100 * np.sqrt(0.25 * 0.16), rel=1e-5)
    assert metrics.dtssd(true, flash) == metrics.dtssd(flash, true)


def test_dtssd_of_colours_counts_what_shows_in_the_band():
    alpha = np.zeros((32, 32), np.float32)
    alpha[:, 16:], alpha[:, 15] = 1, 0.5
    grey, light = (np.full((32, 32, 3), level, np.uint8) for level in (100, 151))
    true = [(grey, alpha)] * 3
    assert metrics.dtssd_colours([(light, alpha)] * 3, true) == 0  # wrong, but steady
    # 0.2 in five of the band's nine columns, half of it in the soft one, on and off again
    flash = [(grey, alpha), (light, alpha), (grey, alpha)]
    expected = 100 * np.sqrt((4 * 0.2**2 + 0.1**2) / 9)
    assert metrics.dtssd_colours(flash, true) == pytest.approx(expected, rel=1e-5)
    hidden = [(grey, alpha), (np.where(alpha[..., None] == 0, light, grey), alpha), (grey, alpha)]
    assert metrics.dtssd_colours(hidden, true) == 0  # what alpha hides does not count
    everywhere = [(grey, alpha * 0 + 1)] * 2
    assert metrics.dtssd_colours(everywhere, everywhere) == 0  # no band


def test_messddt_follows_the_truth():
    def square(left: int) -> np.ndarray:
        plane = np.zeros((64, 96), np.float32)
        plane[20:44, left : left + 24] = 1
        return np.asarray(cv2.GaussianBlur(plane, (0, 0), 1.5), np.float32)

    true = [square(20 + 2 * k) for k in range(5)]
    assert metrics.messddt(true, true) == 0
    carried = [np.clip(plane * 0.9, 0, 1) for plane in true]  # the error moves with the subject
    flicker = [np.clip(plane * (0.8, 1.0)[k % 2], 0, 1) for k, plane in enumerate(true)]
    assert metrics.messddt(carried, true) < 0.1 * metrics.messddt(flicker, true)
    plain = [np.ones((8, 8), np.float32)] * 2
    assert metrics.messddt([plane * 0 for plane in plain], plain) == 0  # no band


def test_messddt_of_a_still_band_by_hand():
    true = np.zeros((32, 32), np.float32)
    true[:, 16:] = 1
    true[:, 15] = 0.5
    pred = [true.copy(), true.copy()]
    pred[1][:, 15] = 0.9  # squared error 0.16 in one of the band's 9 columns
    assert metrics.messddt(pred, [true, true]) == pytest.approx(1000 * 0.16 / 9, rel=1e-3)


def test_films_of_different_lengths_are_refused():
    with pytest.raises(ImageError, match="there must be as many, two or more"):
        metrics.dtssd([np.zeros((2, 2), np.float32)], [np.zeros((2, 2), np.float32)])
