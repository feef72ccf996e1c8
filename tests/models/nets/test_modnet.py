"""MODNet: keys, golden outputs, sizes."""

from __future__ import annotations

import pytest
import torch

from alphacut.models import nets


@pytest.fixture(scope="module")
def network(seeded):
    return seeded(nets.build("modnet"))


@pytest.fixture(scope="module")
def outputs(network, oracle):
    with torch.no_grad():
        found = network.alphas(oracle("modnet").picture())
    return dict(zip(("matte", "semantic", "detail"), found, strict=True))


def test_keys_are_the_published_ones(network, oracle):
    oracle("modnet").check_keys(network)


def test_outputs_are_those_of_the_authors(outputs, oracle):
    oracle("modnet").check_samples(outputs)


def test_every_value_agrees(network, outputs, oracle):
    oracle("modnet").check_whole(network, outputs)


def test_forward_is_alpha(network, outputs, oracle):
    with torch.no_grad():
        assert torch.equal(network(oracle("modnet").picture()), outputs["matte"])


def test_number_of_parameters(network):
    assert sum(p.numel() for p in network.parameters()) == 6_487_075


def test_second_names_of_a_published_checkpoint_are_dropped(network):
    state = {f"module.{key}": t for key, t in network.state_dict().items()}
    key = "backbone.model.features.0.0.weight"
    state[f"module.{key}"] = state[f"module.lr_branch.{key}"]
    assert torch.equal(
        nets.load_state("modnet", state).state_dict()[f"lr_branch.{key}"],
        network.state_dict()[f"lr_branch.{key}"],
    )
