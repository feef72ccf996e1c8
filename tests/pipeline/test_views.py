"""Several views of one image, merged."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from alphacut.models.catalogue import MODELS
from alphacut.pipeline.transforms import preprocess
from alphacut.pipeline.views import merge, predict_views

SPEC = MODELS[0]


def value(*views: float) -> float:
    return float(merge(*(np.full((1, 1), view, np.float32) for view in views))[0, 0])


def test_views_that_agree_are_averaged_without_the_extremes() -> None:
    assert value(0.5, 0.6, 0.0, 1.0) == pytest.approx(0.55)
    assert value(0.9, 1.0, 1.0, 0.0) == pytest.approx(0.95)


def test_views_that_disagree_decide_instead_of_making_glass() -> None:
    assert value(0.0, 1.0, 1.0, 0.0) == 1  # their mean is a half
    assert value(0.0, 0.0, 0.9, 0.8) == 0
    assert value(0.1, 0.0, 1.0, 0.9) == pytest.approx(0.9)
    assert value(0.0, 0.0, 1.0, 0.0) == 0


def test_other_views_do_not_take_what_the_image_itself_shows() -> None:
    assert value(1.0, 0.0, 0.0, 0.0) == 1
    assert value(0.8, 0.0, 0.0, 0.0) == pytest.approx(0.8)
    assert value(0.5, 0.0, 0.0, 0.0) == 0


@settings(max_examples=50, deadline=None)
@given(hnp.arrays(np.float32, (4, 3, 5), elements=st.floats(0, 1, width=32)))
def test_a_merged_value_lies_between_the_middle_two_or_is_kept(views: NDArray[np.float32]) -> None:
    merged, ordered = merge(*views), np.sort(views, axis=0)
    assert merged.dtype == np.float32
    assert (merged >= ordered[1] - 1e-6).all()
    assert (merged <= np.maximum(ordered[2], views[0]) + 1e-6).all()


def reds(batch: NDArray[np.float32]) -> NDArray[np.float32]:
    """Confidence where a pixel is red."""
    return (batch[0, 0] > 1).astype(np.float32)


@pytest.mark.parametrize("size", [(240, 400), (400, 240), (300, 300)])
def test_every_view_shows_the_subject_in_its_place(size: tuple[int, int]) -> None:
    """A network that answers each pixel's red is right in every view, so all agree."""
    H, W = size
    image = np.zeros((H, W, 3), np.uint8)
    image[H // 4 : H // 2, W // 8 : W // 2, 0] = 255
    batch = preprocess(image, SPEC)
    shapes: list[tuple[int, ...]] = []

    def predict(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        shapes.append(batch.shape)
        return reds(batch)

    merged = predict_views(image, batch, SPEC, predict)
    assert shapes == [(1, 3, 320, 320)] * 4
    assert merged.shape == (320, 320)
    wrong = np.abs(merged - reds(batch)) > 0.5
    assert wrong.mean() < 0.01  # the edge may move by a pixel


def test_one_view_that_fails_is_outvoted() -> None:
    image = np.zeros((320, 320, 3), np.uint8)
    image[80:240, 80:240, 0] = 255
    calls: list[int] = []

    def predict(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        calls.append(len(calls))
        confidence = reds(batch)
        if len(calls) == 2:
            confidence[:160] = 0  # half of the subject is missing in the mirror
        return confidence

    merged = predict_views(image, preprocess(image, SPEC), SPEC, predict)
    assert merged[85:235, 85:235].min() == 1


def test_where_nothing_is_found_two_views_are_enough() -> None:
    image = np.zeros((50, 60, 3), np.uint8)
    calls: list[int] = []

    def predict(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        calls.append(1)
        return np.full(batch.shape[2:], 0.1, np.float32)

    assert predict_views(image, preprocess(image, SPEC), SPEC, predict).max() < 0.2
    assert len(calls) == 2


def test_models_of_any_size_get_a_square_of_their_own() -> None:
    spec = next(spec for spec in MODELS if spec.input_size is None and spec.output == "logits")
    image = np.zeros((200, 500, 3), np.uint8)
    image[50:150, 100:300, 0] = 255
    batch = preprocess(image, spec)
    merged = predict_views(image, batch, spec, reds)
    assert merged.shape == batch.shape[2:]
    assert (np.abs(merged - reds(batch)) > 0.5).mean() < 0.01


@pytest.mark.parametrize("size", [(1, 1), (1, 700), (900, 2), (5, 5)])
def test_images_of_any_shape(size: tuple[int, int]) -> None:
    image = np.full((*size, 3), 255, np.uint8)
    batch = preprocess(image, SPEC)
    merged = predict_views(image, batch, SPEC, reds)
    assert merged.shape == batch.shape[2:]
    assert merged.min() == 1


def test_a_long_thin_subject_needs_no_more_pixels_than_its_image() -> None:
    spec = next(spec for spec in MODELS if spec.input_size is None and spec.output == "logits")
    image = np.zeros((300, 2000, 3), np.uint8)
    image[140:150, 100:1900, 0] = 255
    batch = preprocess(image, spec)
    sizes: list[int] = []

    def predict(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        sizes.append(batch.size)
        return reds(batch)

    predict_views(image, batch, spec, predict)
    assert len(sizes) == 4
    assert max(sizes) < 1.1 * batch.size
