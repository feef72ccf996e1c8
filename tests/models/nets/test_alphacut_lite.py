"""alphacut-lite: the encoder's published keys, what the second look may do, and folding."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

from alphacut import runtimes
from alphacut.models import nets, weights
from alphacut.models.nets.alphacut_lite import same_padding
from alphacut.runtimes.pytorch import load_network

KEYS = "555dc2c78a6d2368df7a98f56c6efe8fe1ddb1b7b39a4d8e25f483b1a1f3d495"


@pytest.fixture(scope="module")
def network(seeded):
    return seeded(nets.build("alphacut_lite"))


def test_encoder_has_the_published_keys(network):
    shapes = {key: list(t.shape) for key, t in network.encoder.state_dict().items()}
    text = "\n".join(f"{key} {shape}" for key, shape in sorted(shapes.items()))
    # of efficientnet-lite0-57934424.pth without `_conv_head`, `_bn1` and `_fc`
    assert hashlib.sha256(text.encode()).hexdigest() == KEYS
    assert len(shapes) == 288


def test_number_of_parameters(network):
    assert sum(p.numel() for p in network.parameters()) == 4_144_666


def test_padding_is_tensorflow_s():
    assert same_padding(torch.zeros(1, 1, 8, 8), 3, 2).shape[-2:] == (9, 9)
    row = same_padding(torch.ones(1, 1, 2, 2), 3, 2)[0, 0, 0]
    assert row.tolist() == [1, 1, 0]  # below and on the right only
    row = same_padding(torch.ones(1, 1, 2, 2), 5, 2)[0, 0, 1]
    assert row.tolist() == [0, 1, 1, 0, 0]
    assert same_padding(torch.zeros(1, 1, 8, 8), 5, 1).shape[-2:] == (12, 12)


def test_untrained_it_answers_as_the_first_network_does():
    torch.manual_seed(3)
    network = nets.build("alphacut_lite").eval()
    batch = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        assert torch.allclose(network(batch), network.first(batch), atol=1e-6)


@pytest.fixture
def correcting(network):
    """Returns a function that makes every correction the same number."""
    kept = network.fine.bias.data.clone(), network.fine.weight.data.clone()
    network.fine.weight.data.zero_()
    yield network.fine.bias.data.fill_
    network.fine.bias.data, network.fine.weight.data = kept
    network.eval()


def test_the_mean_of_both_looks_is_surer_the_more_they_contradict_each_other(network, correcting):
    batch = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        fused = network.first.logits(batch)[0].clamp(-8, 8)
        for correction, believed, surer in ((-8.0, -4.8, 2), (-0.5, -0.3, 1.0625), (4.0, 2.4, 1.5)):
            correcting(correction)
            expected = torch.sigmoid((fused + believed) * surer)
            assert torch.allclose(network(batch), expected, atol=1e-5)
            assert torch.allclose(network.logits(batch)[0], fused + correction, atol=1e-4)


def test_in_training_a_quarter_is_seen_without_the_first_look(network, correcting):
    torch.manual_seed(5)
    batch = torch.rand(1, 3, 32, 32).expand(64, -1, -1, -1)
    correcting(1.5)
    with torch.no_grad():
        helped = network.logits(batch[:1])[0][0]
        answers = network.train().logits(batch)[0]
    alone = [torch.equal(answer, torch.full_like(answer, 1.5)) for answer in answers]
    assert 8 <= sum(alone) <= 24
    for answer in answers[[not each for each in alone]]:
        assert torch.allclose(answer, helped, atol=1e-3)


def test_what_is_trained_already_keeps_its_statistics():
    network = nets.build("alphacut_lite").train()
    assert network.merge8.norm.training
    assert not network.encoder.training
    assert not network.first.training
    assert not any(m.training for m in network.encoder.modules())


def test_any_multiple_of_32(network):
    for size in ((32, 64), (96, 32)):
        batch = torch.rand(2, 3, *size)
        with torch.no_grad():
            saliency, logits = network(batch), network.logits(batch)
            strides = {s: tuple(m.shape[2:]) for s, m in network.encoder(batch).items()}
        assert [tuple(m.shape) for m in logits] == [(2, 1, *size)] * 2
        assert saliency.shape == logits[0].shape
        assert 0 <= float(saliency.min()) <= float(saliency.max()) <= 1
        assert strides == {s: (size[0] // s, size[1] // s) for s in (2, 4, 8, 16, 32)}


def test_folded_weights_are_read_back(network):
    folded = nets.fold_batch_norm(network)
    assert not any("running_var" in key for key in folded.state_dict())
    batch = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected = network(batch)
        again = nets.load_state("alphacut_lite", folded.state_dict())(batch)
    assert torch.allclose(again, expected, atol=1e-4)


def test_the_embedded_file_is_read_without_what_only_training_needs():
    spec = weights.find_model("alphacut-lite")
    network = load_network("alphacut_lite", weights.fetch(spec, "onnx"))
    batch = torch.rand(1, 3, 320, 320, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours = network(batch).numpy()
    assert np.abs(ours - runtimes.load(spec, precision="fp32")(batch.numpy())).max() < 1e-3
    assert float(network.coarse.weight.detach().abs().sum()) > 0  # as it began
