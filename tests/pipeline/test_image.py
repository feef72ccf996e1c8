import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphacut.pipeline.image import downscale, downscale_to, limit_megapixels
from made import COLOUR, read
from pictures import make_photo


def test_means_of_blocks_by_hand() -> None:
    plane = np.arange(16, dtype=np.float32).reshape(4, 4)
    np.testing.assert_array_equal(downscale(plane, (2, 2)), [[2.5, 4.5], [10.5, 12.5]])
    np.testing.assert_array_equal(downscale(plane, (1, 1)), [[7.5]])
    np.testing.assert_array_equal(downscale(plane, (4, 4)), plane)


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
    small = downscale(plane, size)
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
    assert downscale_to(plane, 30).shape == (*small, 3)


@pytest.mark.parametrize("level", [0, 7, 255])
def test_flat_stays_flat(level: int) -> None:
    assert np.all(downscale(np.full((64, 96, 3), level, np.uint8), (5, 7)) == level)


def test_shrinking_keeps_what_is_hidden_out_of_edges() -> None:
    hidden = np.zeros((101, 101, 4), np.uint8)
    hidden[:, :51] = (*COLOUR, 255)
    for array in (hidden, hidden.astype(np.uint16) * 257):
        small = limit_megapixels(read(array), 0.002)
        assert small.image.shape == (44, 44, 3)
        assert small.image.dtype == array.dtype
        assert small.alpha is not None
        assert len(np.unique(small.alpha)) == 3  # hidden, an edge, and whole
        colours = small.image[small.alpha > 0] / (np.iinfo(array.dtype).max / 255)
        np.testing.assert_allclose(colours, np.broadcast_to(COLOUR, colours.shape), atol=2)
    opaque = read(make_photo())
    assert limit_megapixels(opaque, 1) is limit_megapixels(opaque, 0) is opaque
    assert limit_megapixels(opaque, 0.001).image.shape == (27, 36, 3)
