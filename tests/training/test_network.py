"""The network in training: where it starts, its average, and its precision."""

import dataclasses

import numpy as np
import pytest
import torch

from alphacut import runtimes
from alphacut.models import weights
from alphacut.training.network import precision, prepare, start_network, update_average
from alphacut.training.recipe import Recipe


def test_average_of_the_weights() -> None:
    network = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(network.weight, 1.0)
    average = {"weight": torch.zeros(1, 1)}
    update_average(average, network, 0.9, step=1)
    assert average["weight"].item() == pytest.approx(10 / 11)  # early steps count for more
    update_average(average, network, 0.0, step=500)
    assert average["weight"].item() == 1
    average = {"weight": torch.zeros(1, 1)}
    update_average(average, network, 0.9, step=500)
    assert average["weight"].item() == pytest.approx(0.1)


def test_mixed_precision_spares_what_it_should(recipe: Recipe) -> None:
    network = start_network(recipe)
    settings = dataclasses.replace(recipe, amp="bf16", full_precision=("stage2d.rebnconv1d",))
    model, _ = prepare(network, settings, torch.device("cpu"))
    kinds = {}
    for name in ("stage2d.rebnconv1d", "stage1d.rebnconv1d"):
        network.get_submodule(name).conv_s1.register_forward_hook(
            lambda m, i, o, name=name: kinds.update({name: o.dtype})
        )
    amp, _ = precision(settings, torch.device("cpu"))
    with amp:
        alphas, _ = model(torch.rand(2, 3, 32, 32))
    assert kinds == {"stage2d.rebnconv1d": torch.float32, "stage1d.rebnconv1d": torch.bfloat16}
    assert alphas[0].dtype == torch.float32


def test_released_weights_give_what_they_gave(recipe: Recipe) -> None:
    network = start_network(dataclasses.replace(recipe, start="model"))
    assert network.training
    assert not [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    batch = np.random.default_rng(0).standard_normal((1, 3, 320, 320), np.float32)
    expected = runtimes.load(weights.find_model("u2net-lite"), precision="fp32")(batch)
    with torch.no_grad():
        assert np.allclose(network(torch.from_numpy(batch)).numpy(), expected, atol=1e-3)
