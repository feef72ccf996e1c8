"""DeepLabV3: keys, golden logits, the dropped auxiliary head."""

from __future__ import annotations

import pytest
import torch

from alphacut.models import nets

HEAD = 2_365_205  # parameters of the auxiliary head, which is not built


@pytest.fixture(scope="module")
def network(seeded):
    return seeded(nets.build("deeplabv3_resnet101"))


@pytest.fixture(scope="module")
def outputs(network, oracle):
    with torch.no_grad():
        return {"out": network(oracle("deeplabv3_resnet101").picture())}


def test_keys_are_the_published_ones_without_the_auxiliary_head(network, oracle):
    oracle("deeplabv3_resnet101").check_keys(network)


@pytest.mark.slow
def test_logits_are_those_of_the_reference(outputs, oracle):
    oracle("deeplabv3_resnet101").check_samples(outputs)


def test_every_value_agrees(network, outputs, oracle):
    oracle("deeplabv3_resnet101").check_whole(network, outputs)


def test_number_of_parameters(network):
    assert sum(p.numel() for p in network.parameters()) == 60_996_202 - HEAD
    small = nets.build("deeplabv3_resnet50")
    assert sum(p.numel() for p in small.parameters()) == 42_004_074 - HEAD


def test_auxiliary_head_is_dropped():
    network = nets.build("deeplabv3_resnet50").eval()
    head = {"aux_classifier.0.weight": torch.zeros(256, 1024, 3, 3)}
    loaded = nets.load_state("deeplabv3_resnet50", network.state_dict() | head)
    batch = torch.rand(2, 3, 37, 50)
    with torch.no_grad():
        logits = loaded(batch)
        assert torch.equal(logits, network(batch))
    assert logits.shape == (2, 21, 37, 50)
    with pytest.raises(ValueError, match=r"aux_classifier\.0\.weight is unexpected"):
        nets.load_state("u2netp", nets.build("u2netp").state_dict() | head)
