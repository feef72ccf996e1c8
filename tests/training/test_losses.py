"""Losses against values worked out by hand, and their gradients against finite differences."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import notebook_numbers as original
import pytest
import torch
from torch import Tensor

from alphacut.errors import TrainingError
from alphacut.training import losses
from alphacut.training.recipe import Loss, read_recipe

RECIPES = Path(__file__).parents[2] / "recipes"


def step_edge(side: int = 16) -> Tensor:
    """0 left, 1 right: the change lies between columns 7 and 8."""
    true = torch.zeros(1, 1, side, side)
    true[..., side // 2 :] = 1
    return true


def test_edges_reach_three_pixels_to_both_sides() -> None:
    columns = losses.edges(step_edge())[0, 0, 5].nonzero().flatten().tolist()
    assert columns == [5, 6, 7, 8, 9, 10]


def test_edges_take_in_what_is_soft_and_leave_borders_out() -> None:
    assert losses.edges(torch.ones(1, 1, 9, 9)).sum() == 0
    soft = torch.linspace(0, 1, 16).expand(1, 1, 16, 16)
    assert losses.edges(soft).mean() == 1


def test_edges_are_opencvs_morphological_gradient() -> None:
    import cv2
    import numpy as np

    true = (np.random.default_rng(0).random((40, 50)) > 0.97).astype(np.float32)
    expected = cv2.morphologyEx(true, cv2.MORPH_GRADIENT, np.ones((7, 7), np.uint8)) != 0
    found = losses.edges(torch.from_numpy(true)[None, None])[0, 0].numpy()
    assert (found == expected).all()


def test_rmse_is_a_thousandth_when_all_is_right() -> None:
    true = step_edge()
    assert losses.rmse(true, true).item() == pytest.approx(1e-3)
    assert losses.edge_rmse(true, true).item() == pytest.approx(5e-3)


def test_recipe_5_over_seven_outputs() -> None:
    # every output is wrong by k / 10 everywhere; edges are 6 of 16 columns
    true = step_edge()
    alphas = [(true - k / 10).abs() for k in range(7)]
    batch = {"alpha": true, "loss_weight": torch.ones_like(true)}
    loss, named = losses.total(alphas, [], batch, Loss(edge_rmse=1.0, outputs=(1.0,) * 7))
    expected = [
        math.sqrt((k / 10) ** 2 + 1e-6) + 4 * math.sqrt((k / 10) ** 2 * 6 / 16 + 1e-6)
        for k in range(7)
    ]
    assert loss.item() == pytest.approx(sum(expected) / 7, rel=1e-5)
    assert named == {"edge_rmse": pytest.approx(expected[0], rel=1e-5)}


def test_the_loss_is_the_notebooks() -> None:
    """Loss, gradient and held-out error against its own code in its own PyTorch."""
    numbers = json.loads(original.FILE.read_text())
    logits = original.answers().requires_grad_()
    alphas = [torch.sigmoid(each) for each in logits]
    true = original.truth()
    batch = {"alpha": true, "loss_weight": torch.ones_like(true)}
    settings = read_recipe(RECIPES / "easyportrait-cyclical.toml").loss
    loss, _ = losses.total(alphas, [], batch, settings)
    loss.backward()
    assert loss.item() == pytest.approx(numbers["loss"], rel=1e-6)
    held_out = sum(losses.rmse(alpha, true).item() for alpha in alphas) / len(alphas)
    assert held_out == pytest.approx(numbers["held out"], rel=1e-6)
    found = [[logits.grad[k][at].item() for at in original.PROBES] for k in range(7)]
    for row, expected in zip(found, numbers["gradient"], strict=True):
        assert row == pytest.approx(expected, rel=1e-3, abs=1e-8)
    sizes = logits.grad.abs().sum().item()
    assert sizes == pytest.approx(numbers["gradient, sum of sizes"], rel=1e-5)


def test_l1_and_band() -> None:
    true = step_edge()
    pred = true.clone()
    pred[..., 7] = 0.5  # half wrong in 1 of 16 columns, 1 of 6 on the edge
    pred[..., 0] = 0.25  # away from it
    assert losses.l1(pred, true).item() == pytest.approx(0.75 / 16)
    assert losses.band(pred, true).item() == pytest.approx(0.5 / 6)
    assert losses.band(torch.ones(1, 1, 9, 9), torch.zeros(1, 1, 9, 9)) == 0


def test_gradient_of_a_ramp() -> None:
    pred = torch.arange(8.0).expand(1, 1, 8, 8) * 0.1
    # slope 0.1 in x inside, half of it at the two borders; none in y; mean of x and y
    expected = 0.1 * (6 + 2 * 0.5) / 8 / 2
    assert losses.gradient(pred, torch.zeros_like(pred)).item() == pytest.approx(expected)


def test_laplacian_sees_detail_on_every_level_and_no_constant() -> None:
    flat = torch.full((1, 1, 64, 64), 0.3)
    assert losses.laplacian(flat, torch.zeros_like(flat)).item() == pytest.approx(0, abs=1e-6)
    checker = (torch.arange(64)[:, None] + torch.arange(64)).remainder(2).float()[None, None]
    # the binomial filter takes a chequered pattern away, but for its mean and the borders
    found = losses.laplacian(checker[..., 16:48, 16:48], torch.full((1, 1, 32, 32), 0.5))
    assert found.item() == pytest.approx(0.5, abs=0.15)
    coarse = torch.zeros(1, 1, 64, 64)
    coarse[..., 16:48, 16:48] = 1
    fine = torch.zeros(1, 1, 64, 64)
    fine[..., 31, 31] = 1024  # the same sum
    assert losses.laplacian(fine, coarse * 0) > losses.laplacian(coarse, fine * 0)


def test_composition_weighs_by_contrast() -> None:
    true = step_edge()
    pred = true - 0.5
    contrast = torch.zeros(1, 3, 16, 16)
    contrast[:, 0] = -0.6  # of one channel of three
    assert losses.composition(pred, true, contrast).item() == pytest.approx(0.5 * 0.6 / 3)


def test_bce() -> None:
    true = torch.tensor([1.0, 0.0]).view(1, 1, 1, 2)
    logits = torch.tensor([0.0, math.log(3)]).view(1, 1, 1, 2)  # 1/2 and 3/4
    assert losses.bce(logits, true).item() == pytest.approx((math.log(2) + math.log(4)) / 2)


@pytest.mark.parametrize("term", ["l1", "laplacian", "gradient", "band", "composition", "bce"])
def test_what_is_not_counted_does_not_matter(term: str) -> None:
    torch.manual_seed(0)
    true = step_edge()
    loss_weight = torch.ones_like(true)
    loss_weight[..., :3] = 0
    batch = {"alpha": true, "loss_weight": loss_weight, "contrast": torch.rand(1, 3, 16, 16)}
    logits = torch.randn(1, 1, 16, 16)
    other = logits.clone()
    other[..., :3] = 9
    settings = Loss(**{term: 1.0})
    first, second = (losses.total([x.sigmoid()], [x], batch, settings)[0] for x in (logits, other))
    assert first.item() == pytest.approx(second.item())
    assert first > 0


def test_mean_is_over_what_is_counted() -> None:
    true = torch.zeros(1, 1, 8, 8)
    loss_weight = torch.zeros_like(true)
    loss_weight[..., :2, :] = 1
    batch = {"alpha": true, "loss_weight": loss_weight}
    found, _ = losses.total([true + 0.25], [], batch, Loss(l1=2.0))
    assert found.item() == pytest.approx(0.5)


@pytest.mark.parametrize("term", ["l1", "gradient", "bce"])
def test_what_counts_half_matters_half(term: str) -> None:
    true, loss_weight = torch.zeros(1, 1, 8, 8), torch.ones(1, 1, 8, 8)
    loss_weight[..., :4] = 0.5
    values = []
    for place in (slice(0, 2), slice(6, 8)):
        alpha = torch.full_like(true, 1e-3)
        alpha[..., place] = 0.5
        batch = {"alpha": true, "loss_weight": loss_weight}
        values.append(losses.total([alpha], [alpha.logit()], batch, Loss(**{term: 1.0}))[0].item())
    assert values[0] / values[1] == pytest.approx(0.5, abs=0.02)


def test_settings_that_do_not_fit_the_network() -> None:
    true = step_edge()
    batch = {"alpha": true, "loss_weight": torch.ones_like(true)}
    with pytest.raises(TrainingError, match="the network has 2"):
        losses.total([true, true], [], batch, Loss(l1=1.0))
    with pytest.raises(TrainingError, match="no logits"):
        losses.total([true], [], batch, Loss(bce=1.0))


@pytest.mark.parametrize(
    "loss",
    [losses.rmse, losses.edge_rmse, losses.l1, losses.laplacian, losses.gradient, losses.band,
     losses.bce, lambda p, t: losses.composition(p, t, torch.ones(1, 3, 8, 8).double() * 0.3)],
)  # fmt: skip
def test_gradients(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    torch.manual_seed(1)
    true = step_edge(8).double()
    pred = torch.rand(1, 1, 8, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda p: loss(p, true), (pred,))
