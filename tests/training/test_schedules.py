"""Learning rates at the steps where one can say what they are."""

import json
import math
from pathlib import Path

import notebook_numbers as original
import pytest
import torch

from alphacut.training.network import prepare
from alphacut.training.recipe import Rate, read_recipe
from alphacut.training.schedules import make_schedule
from alphacut.training.train import make_pace

RECIPES = Path(__file__).parents[2] / "recipes"


def rates(rate: Rate, steps: int) -> list[float]:
    optimizer = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=rate.peak)
    schedule = make_schedule(optimizer, rate, steps)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def test_the_schedule_is_the_notebooks() -> None:
    """All 26,250 rates and betas against its own code in its own PyTorch."""
    numbers = json.loads(original.FILE.read_text())
    recipe = read_recipe(RECIPES / "easyportrait-cyclical.toml")
    network = torch.nn.Linear(1, 1)
    _, optimizer = prepare(network, recipe, torch.device("cpu"))
    schedule = make_schedule(optimizer, recipe.rate, make_pace(recipe, 14_000).steps)
    (group,) = optimizer.param_groups
    found = []
    for _ in range(26_250):
        found.append((group["lr"], group["betas"][0]))
        optimizer.step()
        schedule.step()
    assert isinstance(optimizer, torch.optim.Adam)
    assert group["eps"] == numbers["Adam"]["eps"]
    assert group["weight_decay"] == numbers["Adam"]["weight_decay"]
    assert group["betas"][1] == numbers["Adam"]["betas"][1]
    for step, expected in numbers["rates"].items():
        assert found[int(step)] == pytest.approx(expected, rel=1e-12), step
    assert math.fsum(rate for rate, _ in found) == pytest.approx(numbers["sum of rates"], rel=1e-12)
    assert math.fsum(beta for _, beta in found) == pytest.approx(numbers["sum of betas"], rel=1e-12)


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
