"""The network in training: where it starts, its average, and its precision."""

import dataclasses
import functools
from pathlib import Path

import numpy as np
import pytest
import torch

from alphacut import runtimes
from alphacut.errors import TrainingError
from alphacut.files import sha256
from alphacut.models import nets, weights
from alphacut.training.data import Pictures
from alphacut.training.export import export
from alphacut.training.network import (
    AllOutputs,
    precision,
    prepare,
    save_weights,
    start_network,
    update_average,
)
from alphacut.training.recipe import Encoder, Recipe


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


def test_logits_become_alpha(recipe: Recipe) -> None:
    # a network that answers with its logit is not taken for one that answers with alpha
    larger = dataclasses.replace(recipe, model="birefnet-lite", size=(64,))
    network = start_network(larger).eval()
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        alphas, logits = AllOutputs(network)(image)
        assert torch.allclose(logits[0], network(image), atol=1e-6)
        assert torch.equal(alphas[0], torch.sigmoid(logits[0]))
    assert [alpha.shape for alpha in alphas] == [(1, 1, 64, 64)] * 4


def test_the_order_of_patches_is_the_models_own(recipe: Recipe, tmp_path: Path) -> None:
    larger = dataclasses.replace(recipe, model="birefnet-lite", size=(64,))
    network = start_network(larger)
    assert network.decoder.order == "column"
    save_weights(tmp_path / "start.safetensors", network.state_dict())
    again = start_network(dataclasses.replace(larger, start=str(tmp_path / "start.safetensors")))
    assert again.decoder.order == "column"


def test_a_size_the_network_cannot_take_is_refused_before_it_is_built(recipe: Recipe) -> None:
    with pytest.raises(TrainingError, match="size = 96: birefnet-lite needs multiples of 64"):
        start_network(dataclasses.replace(recipe, model="birefnet-lite", size=(64, 96)))


@pytest.mark.parametrize("model", ["mobile-sam", "ben2", "deeplabv3-resnet101", "none"])
def test_what_cannot_be_trained(recipe: Recipe, data: Path, tmp_path: Path, model: str) -> None:
    other = dataclasses.replace(recipe, model=model)
    trained, target = tmp_path / "best.safetensors", tmp_path / "a.onnx"
    for use in (
        functools.partial(start_network, other),
        functools.partial(Pictures, other, other.source, data),
        functools.partial(export, other, trained, target, "onnx"),
    ):
        with pytest.raises(TrainingError, match=f"model = '{model}': cannot be trained"):
            use()


def test_an_encoder_starts_from_published_weights(tmp_path: Path, recipe: Recipe) -> None:
    published = nets.build("alphacut_lite").encoder.state_dict()
    path = tmp_path / "encoder.pth"
    torch.save({**published, "_fc.weight": torch.zeros(2)}, path)
    light = dataclasses.replace(
        recipe, model="alphacut-lite", encoder=Encoder(file=str(path), sha256=sha256(path))
    )
    encoder = start_network(light).get_submodule("encoder")
    assert all(torch.equal(t, published[name]) for name, t in encoder.state_dict().items())
    model, _ = prepare(start_network(light), light, torch.device("cpu"))
    alphas, logits = model(torch.rand(2, 3, 32, 32))
    assert len(alphas) == len(logits) == 2
    for changed, message in (
        (Encoder(file=str(path), sha256="0"), "not the recipe's"),
        (Encoder(file="none.pth", sha256="0"), "there is no none.pth"),
    ):
        with pytest.raises(TrainingError, match=message):
            start_network(dataclasses.replace(light, encoder=changed))
    torch.save({"_fc.weight": torch.zeros(2)}, path)
    with pytest.raises(TrainingError, match="is not the encoder's"):
        start_network(
            dataclasses.replace(light, encoder=Encoder(file=str(path), sha256=sha256(path)))
        )
