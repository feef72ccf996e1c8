import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphacut.pipeline.shrink import shrink, shrink_to


def test_means_of_blocks_by_hand() -> None:
    plane = np.arange(16, dtype=np.float32).reshape(4, 4)
    np.testing.assert_array_equal(shrink(plane, (2, 2)), [[2.5, 4.5], [10.5, 12.5]])
    np.testing.assert_array_equal(shrink(plane, (1, 1)), [[7.5]])
    np.testing.assert_array_equal(shrink(plane, (4, 4)), plane)


@given(
    height=st.integers(1, 90), width=st.integers(1, 90), h=st.integers(1, 90),
    w=st.integers(1, 90), colours=st.booleans(), dtype=st.sampled_from(["u1", "u2", "f4"]),
)  # fmt: skip
def test_is_nearly_the_area_filter(
    height: int, width: int, h: int, w: int, colours: bool, dtype: str
) -> None:
    y, x = np.mgrid[:height, :width]
    plane = (y + x).astype(dtype)  # steps at the blocks' borders may differ, by less than a pixel
    if colours:
        plane = np.dstack([plane, plane + 1, plane + 2]).astype(dtype)
    size = min(h, height), min(w, width)
    before = plane.copy()
    small = shrink(plane, size)
    expected = cv2.resize(plane, size[::-1], interpolation=cv2.INTER_AREA)
    assert small.dtype == plane.dtype
    assert small.shape[:2] == size
    np.testing.assert_allclose(small.astype(float), expected, atol=1.5)
    np.testing.assert_array_equal(plane, before)


@pytest.mark.parametrize(
    ("size", "small"), [((300, 100), (30, 10)), ((40, 1000), (1, 30)), ((30, 7), (30, 7))]
)
def test_no_side_is_longer(size: tuple[int, int], small: tuple[int, int]) -> None:
    plane = np.full((*size, 3), 9, np.uint8)
    assert shrink_to(plane, 30).shape == (*small, 3)


@pytest.mark.parametrize("level", [0, 7, 255])
def test_flat_stays_flat(level: int) -> None:
    assert np.all(shrink(np.full((64, 96, 3), level, np.uint8), (5, 7)) == level)
