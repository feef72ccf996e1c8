"""Trimaps from masks and from files."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from alphacut.errors import ImageError
from alphacut.pipeline.trimap import encode_trimap, make_trimap, read_trimap


def square() -> np.ndarray:
    mask = np.zeros((100, 100), np.float32)
    mask[30:70, 30:70] = 1
    return mask


def test_band_of_a_hard_mask_is_as_wide_as_asked():
    trimap = make_trimap(square(), erosions=5, dilations=10)
    row = trimap[50]
    assert (row[:20] == 0).all()
    assert (row[20:35] == 0.5).all()
    assert (row[35:65] == 1).all()


def test_carvekit_recipe_marks_every_soft_pixel_unknown():
    mask = square()
    mask[5, 5] = 0.1
    trimap = make_trimap(mask, foreground=231 / 255, background=0, erosions=5, dilations=30)
    assert trimap[5, 5] == 0.5
    assert trimap[50, 50] == 1
    assert trimap[99, 99] == 0.5  # 30 px reach the corner


def test_default_band_grows_with_the_image_and_with_doubt():
    assert (make_trimap(square())[50] == 0.5).sum() == 8  # 2 px on either side of two edges
    large = np.zeros((50, 2000), np.float32)
    large[:, 1000:] = 1
    assert (make_trimap(large)[25] == 0.5).sum() == 20
    doubtful = large.copy()
    doubtful[:, 900:1000] = np.linspace(0, 1, 100)
    assert (make_trimap(doubtful)[25] == 0.5).sum() > 100


def test_subject_at_the_frame_is_not_eroded_from_the_frame():
    assert (make_trimap(np.ones((20, 20), np.float32)) == 1).all()


@pytest.mark.parametrize("unknown", [102, 127, 128, 150])
@pytest.mark.parametrize(("dtype", "factor"), [(np.uint8, 1), (np.uint16, 257)])
def test_every_spelling_of_unknown_is_read(unknown, dtype, factor):
    levels = (np.array([[0, 2, unknown, 253, 255]]) * factor).astype(dtype)
    assert read_trimap(levels).tolist() == [[0, 0, 0.5, 1, 1]]


def test_colour_files_are_read_by_their_first_channel():
    levels = np.array([[0, 128, 255]], np.uint8)
    rgba = np.dstack([levels, levels, levels, np.full_like(levels, 255)])
    assert read_trimap(rgba).tolist() == [[0, 0.5, 1]]


@settings(max_examples=30, deadline=None)
@given(
    mask=hnp.arrays(np.float32, (12, 11), elements=st.floats(0, 1, width=32)),
    erosions=st.integers(0, 3),
    dilations=st.integers(0, 3),
)
def test_a_trimap_has_three_values_agrees_with_the_mask_and_survives_a_file(
    mask, erosions, dilations
):
    trimap = make_trimap(mask, erosions=erosions, dilations=dilations)
    assert trimap.dtype == np.float32
    assert set(np.unique(trimap)) <= {0, 0.5, 1}
    assert (mask[trimap == 1] > 0.9).all()
    assert (mask[trimap == 0] < 0.1).all()
    assert np.array_equal(read_trimap(encode_trimap(trimap)), trimap)


def test_encoding():
    levels = encode_trimap(np.array([[0, 0.5, 1]], np.float32))
    assert levels.dtype == np.uint8
    assert levels.tolist() == [[0, 128, 255]]


@pytest.mark.parametrize(
    "settings",
    [
        {"foreground": 0.2, "background": 0.5},
        {"kernel_px": (3, 0)},
        {"erosions": -1},
    ],
)
def test_senseless_settings_are_refused(settings):
    with pytest.raises(ImageError):
        make_trimap(square(), **settings)


def test_wrong_arrays_are_refused():
    with pytest.raises(ImageError, match="float32"):
        make_trimap(np.zeros((3, 3), np.uint8))
    with pytest.raises(ImageError, match="8 or 16 bits"):
        read_trimap(np.zeros((3, 3), np.float32))


@pytest.mark.parametrize("kernel", [(10, 10), (4, 7), (1, 2)])
def test_even_kernels_have_opencvs_anchor(kernel):
    """As the recipes do it: a hard mask of 0 and 255, eroded and dilated by OpenCV."""
    mask = square()
    levels = (mask * 255).astype(np.uint8)
    eroded = cv2.erode(levels, np.ones(kernel, np.uint8), iterations=2)
    dilated = cv2.dilate(levels, np.ones(kernel, np.uint8), iterations=3)
    theirs = np.where(eroded == 255, 255, np.where(dilated == 0, 0, 128))
    trimap = make_trimap(mask, kernel_px=kernel, erosions=2, dilations=3)
    np.testing.assert_array_equal(encode_trimap(trimap), theirs)
