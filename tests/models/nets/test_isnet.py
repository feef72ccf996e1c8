"""IS-Net, whose graph RMBG-1.4 shares: keys, golden outputs, sizes."""

from __future__ import annotations

import pytest
import torch

from alphacut.models import nets


@pytest.fixture(scope="module")
def network(seeded):
    return seeded(nets.build("isnet"))


@pytest.fixture(scope="module")
def outputs(network, oracle):
    with torch.no_grad():
        maps = network.forward_all(oracle("isnet").picture())
    return {"d1": maps[0], "d4": maps[3], "d6": maps[5]}


def test_keys_are_the_published_ones(network, oracle):
    oracle("isnet").check_keys(network)


def test_outputs_are_those_of_the_authors(outputs, oracle):
    oracle("isnet").check_samples(outputs)


@pytest.mark.parametrize("name", ["isnet", "rmbg14"])
def test_every_value_agrees(network, outputs, oracle, name):
    oracle("isnet").check_whole(network, outputs, name)


def test_number_of_parameters(network):
    assert sum(p.numel() for p in network.parameters()) == 44_046_790


def test_forward_is_the_first_of_six_maps(network):
    batch = torch.rand(1, 3, 70, 51)
    with torch.no_grad():
        saliency, maps, features = (
            network(batch),
            network.forward_all(batch),
            network.features(batch),
        )
    assert saliency.shape == (1, 1, 70, 51)
    assert [m.shape for m in maps] == [saliency.shape] * 6
    assert torch.equal(saliency, maps[0])
    assert [tuple(g.shape[1:]) for g in features] == [
        (64, 35, 26),
        (64, 18, 13),
        (128, 9, 7),
        (256, 5, 4),
        (512, 3, 2),
        (512, 2, 1),
    ]
