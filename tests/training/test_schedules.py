"""Learning rates at the steps where one can say what they are."""

import pytest
import torch

from alphacut.training.recipe import Rate
from alphacut.training.schedules import make_schedule


def rates(rate: Rate, steps: int) -> list[float]:
    optimizer = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=rate.peak)
    schedule = make_schedule(optimizer, rate, steps)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def test_one_cycle_of_recipe_5() -> None:
    # 26,250 steps in the recipe: from 4e-5 to 1e-3 at step 7,874, down to 4e-9
    found = rates(Rate(shape="one-cycle", peak=1e-3), 2625)
    assert found[0] == pytest.approx(4e-5)
    assert max(found) == pytest.approx(1e-3)
    assert found.index(max(found)) in (786, 787)
    assert found[-1] == pytest.approx(4e-9, rel=0.01)


def test_triangles() -> None:
    rate = Rate(shape="triangular", peak=1.0, least=0.2, half_cycle=4)
    assert rates(rate, 17)[::4] == pytest.approx([0.2, 1.0, 0.2, 1.0, 0.2])
    assert rates(rate, 17)[2] == pytest.approx(0.6)


def test_triangles_that_shrink() -> None:
    halved = rates(Rate(shape="triangular2", peak=1.0, least=0.2, half_cycle=4), 21)
    assert halved[4::8] == pytest.approx([1.0, 0.6, 0.4])
    faded = rates(Rate(shape="exp-range", peak=1.0, least=0.2, half_cycle=4, gamma=0.9), 21)
    assert faded[4::8] == pytest.approx([0.2 + 0.8 * 0.9**n for n in (4, 12, 20)])


def test_steps_and_constant() -> None:
    found = rates(Rate(shape="steps", peak=1.0, drops=(0.5, 0.75)), 8)
    assert found == pytest.approx([1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01])
    assert rates(Rate(shape="constant", peak=0.3), 3) == [0.3] * 3
