"""ViTMatte-S: keys, golden outputs, sizes."""

from __future__ import annotations

import pytest
import torch

from alphacut.models import nets


@pytest.fixture(scope="module")
def network(seeded):
    return seeded(nets.build("vitmatte_s"), "vitmatte_s")


@pytest.fixture(scope="module")
def outputs(network, oracle):
    picture = oracle("vitmatte_s").picture()
    with torch.no_grad():
        return {"alpha": network(picture), "feature": network.backbone(picture)[:, ::8]}


def test_keys_are_the_published_ones(network, oracle):
    oracle("vitmatte_s").check_keys(network)


@pytest.mark.slow
def test_outputs_are_those_of_the_authors(outputs, oracle):
    oracle("vitmatte_s").check_samples(outputs)


@pytest.mark.slow
def test_every_value_agrees(network, outputs, oracle):
    oracle("vitmatte_s").check_whole(network, outputs)


def test_number_of_parameters(network):
    assert sum(p.numel() for p in network.parameters()) == 25_814_753


def test_published_checkpoints_are_read(network):
    again = nets.load_state("vitmatte_s", {"model": network.state_dict(), "iteration": 1})
    assert torch.equal(again.backbone.pos_embed, network.backbone.pos_embed)
