from typing import Any

import numpy as np
import pytest

from alphacut.options import Shadow
from alphacut.output.shadow import make_shadow


def block() -> np.ndarray:
    alpha = np.zeros((100, 120), np.float32)
    alpha[20:70, 40:80] = 1
    return alpha


def shadow(alpha: np.ndarray, kind: Shadow = "drop", **asked: Any) -> np.ndarray:
    made = make_shadow(alpha, kind, **asked)
    assert made is not None
    return made


def test_drop_by_hand() -> None:
    hard = shadow(block(), offset="5px -10px", blur="0")
    expected = np.zeros_like(block())
    expected[10:60, 45:85] = 0.5
    np.testing.assert_array_equal(hard, expected)
    percent = shadow(block(), offset="10% 20%", blur="0")  # of the longer side, 50 pixels
    np.testing.assert_array_equal(percent[30:80, 45:85], 0.5)


@pytest.mark.parametrize("kind", ["drop", "contact"])
@pytest.mark.parametrize("blur", [None, "1px", "30px", "50%"])
def test_shadows_are_soft_and_not_darker_than_asked(kind: Shadow, blur: str | None) -> None:
    made = shadow(block(), kind, opacity=80, blur=blur)
    assert made.shape == (100, 120)
    assert made.dtype == np.float32
    assert 0 <= made.min() < 0.3
    assert 0.01 < made.max() <= 0.8 + 1e-6


def test_contact_lies_where_the_subject_stands() -> None:
    made = shadow(block(), "contact")
    rows = made.sum(axis=1)
    assert 66 <= int(rows.argmax()) <= 72
    assert rows[:50].max() == 0
    assert made[70, 60] > 0.05  # half of it lies before the subject
    np.testing.assert_allclose(made[:, 40:80], made[:, 40:80][:, ::-1], atol=1e-4)


def test_nothing_casts_no_shadow() -> None:
    assert not shadow(np.full((9, 9), 0.01, np.float32)).any()
    assert not shadow(block(), opacity=0).any()
    assert make_shadow(block(), "none") is None


def test_the_subject_is_not_modified() -> None:
    alpha = block()
    for kind in ("drop", "contact"):
        shadow(alpha, kind)
    np.testing.assert_array_equal(alpha, block())
