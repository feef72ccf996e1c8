"""Parts: what hangs together, from left to right, and whose the rest of the picture is."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from alphacut.errors import ImageError
from alphacut.pipeline.parts import find_parts


def alpha_of(*boxes: tuple[int, int, int, int]) -> NDArray[np.float32]:
    """(40, 60) float32: 1 in boxes (top, left, bottom, right)."""
    alpha = np.zeros((40, 60), np.float32)
    for top, left, bottom, right in boxes:
        alpha[top:bottom, left:right] = 1
    return alpha


def test_parts_come_from_left_to_right_and_divide_the_picture() -> None:
    alpha = alpha_of((5, 40, 35, 50), (20, 5, 30, 15), (2, 22, 12, 30))
    parts = find_parts(alpha)
    assert parts.boxes == ((20, 5, 30, 15), (2, 22, 12, 30), (5, 40, 35, 50))
    assert [parts.labels[25, 10], parts.labels[5, 25], parts.labels[20, 45]] == [1, 2, 3]
    assert parts.labels[39, 0] == 1  # nothing is there: the nearest part's
    assert parts.labels[0, 59] == 3
    assert parts.distance_px[25, 10] == 0
    assert parts.distance_px[25, 3] == pytest.approx(2, abs=0.1)


def test_a_soft_fringe_belongs_to_its_part() -> None:
    alpha = alpha_of((10, 10, 30, 20), (10, 40, 30, 50))
    alpha[10:30, 20:29] = 0.3
    alpha[10:30, 31:40] = 0.3
    labels = find_parts(alpha).labels
    assert (labels[10:30, 20:29] == 1).all()
    assert (labels[10:30, 31:40] == 2).all()


def test_small_parts_belong_to_their_nearest() -> None:
    alpha = alpha_of((5, 5, 35, 20), (5, 40, 35, 55), (20, 33, 23, 36))  # 9 of 2400 pixels
    parts = find_parts(alpha)
    assert len(parts.boxes) == 2
    assert parts.labels[21, 34] == 2
    assert parts.boxes[1] == (5, 33, 35, 55)
    assert len(find_parts(alpha, 0.001).boxes) == 3


def test_of_small_parts_alone_the_largest_is_the_one() -> None:
    parts = find_parts(alpha_of((5, 5, 8, 8), (5, 30, 9, 34), (20, 50, 22, 52)))
    assert parts.boxes == ((5, 5, 22, 52),)
    assert (parts.labels == 1).all()


def test_nothing_has_no_parts() -> None:
    parts = find_parts(np.full((8, 9), 0.4, np.float32))
    assert parts.boxes == ()
    assert not parts.labels.any()
    assert np.isinf(parts.distance_px).all()


def test_a_full_picture_is_one_part() -> None:
    parts = find_parts(np.ones((6, 7), np.float32))
    assert parts.boxes == ((0, 0, 6, 7),)


def test_a_wrong_plane_is_refused() -> None:
    with pytest.raises(ImageError, match="alpha"):
        find_parts(np.zeros((4, 4)))  # type: ignore[arg-type]


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(2, 40), st.integers(2, 40))
def test_every_pixel_belongs_to_exactly_one_part(seed: int, H: int, W: int) -> None:
    alpha = np.random.default_rng(seed).random((H, W)).astype(np.float32)
    parts = find_parts(alpha)
    if parts.boxes:
        assert set(np.unique(parts.labels)) == set(range(1, len(parts.boxes) + 1))
    for number, (top, left, bottom, right) in enumerate(parts.boxes, 1):
        own = (parts.labels == number) & (alpha >= 0.5)
        assert own[top:bottom, left:right].sum() == own.sum() > 0
