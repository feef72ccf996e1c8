import dataclasses
from pathlib import Path

import pytest
import torch

from alphacut.errors import TrainingError
from alphacut.training import losses
from alphacut.training.range_test import draw_rates, find_rates, suggest_rate
from alphacut.training.recipe import Loss, Recipe


@pytest.mark.slow
def test_rates_grow_by_one_factor_until_the_loss_does(
    recipe: Recipe, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = iter([1.0, 1.0, 0.5, 0.2, 0.1, 50.0])

    def total(alphas: list[torch.Tensor], *_: object) -> tuple[torch.Tensor, dict[str, float]]:
        return alphas[0].mean() * 0 + next(seen), {}

    monkeypatch.setattr(losses, "total", total)
    curve = find_rates(recipe, data, least=1e-6, largest=1e-1, steps=6, device="cpu")
    assert [rate for rate, _ in curve] == pytest.approx([1e-6, 1e-5, 1e-4, 1e-3, 1e-2])
    assert [loss for _, loss in curve][:2] == pytest.approx([1.0, 1.0])
    assert curve[2][1] == pytest.approx((0.81 + 0.9 + 0.5) / 2.71)
    assert suggest_rate(curve) == pytest.approx(10**-4.5)


def test_a_real_step(recipe: Recipe, data: Path) -> None:
    settings = dataclasses.replace(recipe, loss=Loss(l1=1.0, outputs=(1.0,) * 7))
    curve = find_rates(settings, data, steps=2, device="cpu")
    assert [rate for rate, _ in curve] == pytest.approx([1e-7, 1.0])
    assert 0 < curve[0][1] < 1


def test_a_first_loss_that_is_no_number(
    recipe: Recipe, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(losses, "total", lambda alphas, *_: (alphas[0].mean() * float("nan"), {}))
    with pytest.raises(TrainingError, match="first step is no number"):
        find_rates(recipe, data, steps=3, device="cpu")


def test_curves(tmp_path: Path) -> None:
    draw_rates([(1e-5, 1.0), (1e-4, 0.5), (1e-3, 0.9)]).savefig(tmp_path / "curve.png")
    assert (tmp_path / "curve.png").stat().st_size > 1000
    with pytest.raises(TrainingError, match="lower --least"):
        suggest_rate([(1e-5, 1.0), (1e-4, 1.5)])
