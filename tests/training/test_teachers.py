"""How far teachers are trusted: areas of contradiction count less, edges do not matter."""

import numpy as np
import pytest

from alphacut.training.teachers import weigh


def square(left: int, right: int, side: int = 100) -> np.ndarray:
    answer = np.zeros((side, side), np.float32)
    answer[20:80, left:right] = 1
    return answer


def test_agreement_counts_in_full() -> None:
    assert (weigh([square(20, 80)], ()) == 1).all()
    assert (weigh([square(20, 80), square(20, 80)], (1.0,)) == 1).all()
    assert (weigh([square(20, 80), square(21, 81)], (1.0,)) == 1).all()  # a blurred edge


def test_contradiction_counts_less_by_the_doubt() -> None:
    best, other = square(20, 80), square(20, 60)
    loss_weight = weigh([best, other], (0.5,))
    assert loss_weight[50, 70] == pytest.approx(0.5)
    assert loss_weight[50, 40] == loss_weight[5, 5] == 1
    loss_weight = weigh([best, other, square(20, 60)], (0.5, 0.3))
    assert loss_weight[50, 70] == pytest.approx(0.2)


def test_a_teacher_unsure_over_an_area_does_not_count_there() -> None:
    best = square(20, 80)
    best[20:80, 60:80] = 0.5
    loss_weight = weigh([best], ())
    assert loss_weight[50, 70] == 0
    assert loss_weight[50, 40] == 1


def test_pictures_that_teachers_see_differently_are_left_out() -> None:
    assert not weigh([square(10, 30), square(50, 90)], (1.0,)).any()
    assert weigh([square(10, 30), square(50, 90)], (0.4,)).any()
    assert (weigh([square(0, 0), square(0, 0)], (1.0,)) == 1).all()  # nothing is an answer, too
