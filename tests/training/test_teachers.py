"""How far teachers are trusted: areas of contradiction count less, edges do not matter."""

import numpy as np
import pytest

from alphacut.training.teachers import vote, weigh


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


def test_most_teachers_decide_what_the_best_one_left_out() -> None:
    best, second, third = square(20, 60), square(20, 80), square(20, 80)
    best[20:80, 20:22] = 0.7  # its soft edge
    truth, loss_weight = vote([best, second, third], (1.0, 1.0, 0.0))
    assert truth[50, 70] == 1
    assert (loss_weight == 1).all()
    assert truth[50, 21] == pytest.approx(0.7)
    truth, _ = vote([best, second, square(20, 60)], (1.0, 1.0, 0.0))
    assert truth[50, 70] == 0


def test_what_one_teacher_alone_sees_counts_less_by_its_doubt() -> None:
    agreed = square(20, 60)
    for k, less in enumerate((1.0, 0.4, 0.0)):
        masks = [agreed, agreed, agreed]
        masks[k] = square(20, 80)
        truth, loss_weight = vote(masks, (1.0, 0.4, 0.0))
        assert truth[50, 70] == 0
        assert loss_weight[50, 70] == pytest.approx(1 - less)
        assert loss_weight[50, 40] == loss_weight[5, 5] == 1


def test_a_vote_on_what_hardly_anyone_sees_is_left_out() -> None:
    _, loss_weight = vote([square(20, 80), square(0, 0), square(0, 0)], (1.0, 1.0, 0.0))
    assert not loss_weight.any()
