"""How far a cut-out is to be doubted."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from alphacut.errors import ImageError
from alphacut.pipeline.doubt import measure_doubt


def disc(size: int = 320) -> NDArray[np.float32]:
    y, x = np.mgrid[:size, :size]
    distance = np.hypot(y - size / 2 + 0.5, x - size / 2 + 0.5)
    return np.clip(size / 4 - distance + 0.5, 0, 1).astype(np.float32)


def test_a_sure_subject_with_soft_edges_is_not_doubted() -> None:
    alpha = disc(640)
    saliency = cv2.GaussianBlur(disc(), (0, 0), 1.5)
    assert measure_doubt(saliency, alpha) < 0.01


def test_what_is_half_subject_is_doubted_by_its_share() -> None:
    saliency = disc()
    saliency[:160] *= 0.5
    assert measure_doubt(saliency, disc(640)) == pytest.approx(0.5, abs=0.06)
    assert measure_doubt(saliency / 2, disc(640) / 2) > 0.4


def test_an_alpha_that_contradicts_its_saliency_is_doubted() -> None:
    torn = disc(640)
    torn[:320] = 0
    assert measure_doubt(disc(), torn) == pytest.approx(0.5, abs=0.06)
    assert measure_doubt(torn, disc(640)) == pytest.approx(0.5, abs=0.06)


def test_nothing_found_is_wholly_in_doubt() -> None:
    nothing = np.zeros((32, 32), np.float32)
    assert measure_doubt(nothing, nothing) == 1


def test_a_full_frame_is_sure() -> None:
    whole = np.ones((32, 32), np.float32)
    assert measure_doubt(whole, whole) == 0


def test_wrong_arrays_are_refused() -> None:
    with pytest.raises(ImageError, match="saliency"):
        measure_doubt(np.ones((3, 3)), disc(9))  # type: ignore[arg-type]
    with pytest.raises(ImageError, match="alpha"):
        measure_doubt(disc(9), np.ones(3, np.float32))


@settings(max_examples=50, deadline=None)
@given(
    *[hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=20),
                 elements=st.floats(0, 1, width=32))] * 2
)  # fmt: skip
def test_doubt_is_a_share(saliency: NDArray[np.float32], alpha: NDArray[np.float32]) -> None:
    assert 0 <= measure_doubt(saliency, alpha) <= 1
