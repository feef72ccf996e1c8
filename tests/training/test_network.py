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
from alphacut.runtimes.pytorch import load_network
from alphacut.training import losses
from alphacut.training.data import Pictures
from alphacut.training.export import export
from alphacut.training.network import (
    AllOutputs,
    find_gradients,
    memory_format,
    precision,
    prepare,
    save_weights,
    start_network,
    update_average,
)
from alphacut.training.recipe import Encoder, Loss, Recipe
from alphacut.training.train import to_device


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


@pytest.mark.parametrize("first", [1, 2, 4])
def test_outputs_that_do_not_count_are_not_calculated(recipe: Recipe, first: int) -> None:
    network = start_network(recipe).eval()
    model, image = AllOutputs(network), torch.rand(1, 3, 64, 64)
    ran: list[str] = []
    network.stage1d.register_forward_hook(lambda *_: ran.append("stage1d"))
    with torch.no_grad():
        alphas, logits = model(image, first)
        assert ran == (["stage1d"] if first == 1 else [])
        all_alphas, all_logits = model(image)
    assert all(map(torch.equal, alphas, all_alphas[first:]))
    assert all(map(torch.equal, logits, all_logits[first:]))
    assert len(alphas) == len(logits) == 7 - first


def test_the_loss_takes_the_outputs_that_count(recipe: Recipe) -> None:
    outputs = (0.0, 0.0, 1.0, 0.0, 0.5, 0.25, 0.25)
    settings = dataclasses.replace(recipe, loss=Loss(l1=1.0, bce=1.0, outputs=outputs))
    model, optimizer = prepare(start_network(settings).eval(), settings, torch.device("cpu"))
    image, true = torch.rand(2, 3, 64, 64), torch.rand(2, 1, 64, 64)
    batch = {"image": image, "alpha": true, "loss_weight": torch.ones_like(true)}
    amp, scaler = precision(settings, torch.device("cpu"))
    loss, terms = find_gradients(model, batch, settings.loss, optimizer, amp, scaler)
    alphas, logits = model(image)
    expected = sum(
        weight * (losses.l1(alpha, true) + losses.bce(logit, true))
        for weight, alpha, logit in zip(outputs, alphas, logits, strict=True)
    ) / sum(outputs)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert terms["l1"] == pytest.approx(losses.l1(alphas[2], true).item(), rel=1e-5)
    network = model.network
    assert network.stage1d.rebnconvin.conv_s1.weight.grad is None
    found = network.stage2.rebnconvin.conv_s1.weight.grad.clone()
    network.zero_grad()
    expected.backward()
    assert torch.allclose(found, network.stage2.rebnconvin.conv_s1.weight.grad, atol=1e-6)


@pytest.mark.parametrize(("amp", "last"), [("off", False), ("auto", False), ("bf16", True)])
def test_channels_come_last_where_that_is_quicker(recipe: Recipe, amp: str, last: bool) -> None:
    settings, cpu = dataclasses.replace(recipe, amp=amp), torch.device("cpu")
    model, _ = prepare(start_network(settings), settings, cpu)
    layout = memory_format(settings, cpu)
    weight = model.network.stage2.rebnconvin.conv_s1.weight
    assert weight.is_contiguous(memory_format=torch.channels_last) == last
    batch = to_device({"image": torch.rand(2, 3, 8, 8)}, cpu, layout)
    assert batch["image"].is_contiguous(memory_format=torch.channels_last) == last


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
    started = start_network(light)
    encoder = started.get_submodule("encoder")
    assert all(torch.equal(t, published[name]) for name, t in encoder.state_dict().items())
    lite = load_network("u2netp", weights.fetch(weights.find_model("u2net-lite"))).state_dict()
    first = started.get_submodule("first").state_dict()
    assert all(torch.equal(t, lite[name]) for name, t in first.items())
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
