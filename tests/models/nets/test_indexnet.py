"""IndexNet matting: keys, golden alpha, both forms, the index block by hand."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from alphacut.models import nets
from alphacut.models.nets.indexnet import IndexBlock, InvertedResidual


@pytest.fixture(scope="module")
def network(seeded):
    return seeded(nets.build("indexnet"))


@pytest.fixture(scope="module")
def outputs(network, oracle):
    with torch.no_grad():
        return {"alpha": network(oracle("indexnet").picture())}


def test_keys_are_the_published_ones(network, oracle):
    oracle("indexnet").check_keys(network)


def test_alpha_is_that_of_the_authors(outputs, oracle):
    oracle("indexnet").check_samples(outputs)


def test_every_value_agrees(network, outputs, oracle):
    oracle("indexnet").check_whole(network, outputs)


@pytest.mark.slow
@pytest.mark.parametrize(("expansion", "parameters"), [(1, 5_953_515), (2, 8_153_771)])
def test_expansion_is_read_from_the_weights(expansion, parameters):
    network = nets.build("indexnet", expansion=expansion).eval()
    loaded = nets.load_state("indexnet", network.state_dict())
    assert sum(p.numel() for p in loaded.parameters()) == parameters
    batch = torch.rand(2, 4, 32, 64)
    with torch.no_grad():
        assert torch.equal(loaded(batch), network(batch))


def test_published_form_of_the_checkpoint_loads(network):
    """A dictionary around the state dict, the prefix of DataParallel, no counters."""
    state = {
        f"module.{key}": t
        for key, t in network.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    loaded = nets.load_state("indexnet", {"state_dict": state, "epoch": 30})
    assert not loaded.training
    assert all(torch.equal(t, state[f"module.{key}"]) for key, t in loaded.named_parameters())


@pytest.mark.slow
def test_a_network_without_weights_learns():
    """As its authors draw it, its last layer halves this error at best, or is shut by a ReLU."""
    torch.manual_seed(0)
    network = nets.build("indexnet").train()
    values = torch.rand(4, 1, 32, 32)
    batch = torch.cat([values.expand(-1, 3, -1, -1) * 2 - 1, torch.full_like(values, 0.5)], dim=1)
    optimizer = torch.optim.Adam(network.parameters(), 2e-3)
    for _ in range(25):
        loss = (network(batch) - (values > 0.5).float()).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1  # an answer of 0.5 has 0.5


def test_index_block_by_hand():
    block = IndexBlock(2, expansion=1).eval()
    for k in range(1, 5):  # branch k answers k wherever it looks
        branch = block.get_submodule(f"indexnet{k}")
        nn.init.zeros_(branch[0].weight)
        nn.init.constant_(branch[1].bias, 1.0)
        branch[3].weight.data = torch.eye(2).reshape(2, 2, 1, 1) * k
    with torch.no_grad():
        en, de = block(torch.rand(1, 2, 6, 4))
    cell = torch.sigmoid(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    expected = cell.reshape(2, 2).tile(3, 2).expand(1, 2, 6, 4)  # 1 2 over 3 4
    torch.testing.assert_close(de, expected)
    torch.testing.assert_close(en, torch.softmax(cell, 0).reshape(2, 2).tile(3, 2).expand_as(de))
    torch.testing.assert_close(4 * F.avg_pool2d(en, 2), torch.ones(1, 2, 3, 2))


def test_ring_of_an_expanding_block_is_the_batch_norm_of_zero(seeded):
    block = seeded(InvertedResidual(3, 3, t=6))
    x = torch.rand(1, 3, 5, 7)
    with torch.no_grad():
        inner = block.conv[:3](x)
        ring = block.conv[:3](torch.zeros(1, 3, 1, 1))[:, :, 0, 0]
        assert inner.shape == (1, 18, 7, 9)
        assert torch.equal(inner[:, :, 0, 0], ring)
        assert torch.equal(inner[:, :, -1, 4], ring)
        assert ring.max() > 0
        torch.testing.assert_close(block(x), x + block.conv[3:](inner))


def test_size_must_be_a_multiple_of_32(network):
    with torch.no_grad(), pytest.raises(RuntimeError):
        network(torch.rand(1, 4, 33, 64))
