"""MobileSAM: keys, and the answers to a point, a box, and points with a box and a mask."""

from __future__ import annotations

import pytest
import torch

from alphacut.models import nets

POINT = torch.tensor([[300.0, 620.0]]), torch.ones(1)
NONE = torch.zeros(0, 2), torch.zeros(0)
BOX = torch.tensor([200.0, 150.0, 800.0, 700.0])
MIXED = torch.tensor([[512.0, 400.0], [100.0, 900.0]]), torch.tensor([1.0, 0.0])


@pytest.fixture(scope="module")
def network(seeded):
    return seeded(nets.build("mobile_sam"))


def test_keys_are_the_published_ones(network, oracle):
    oracle("mobile_sam").check_keys(network)


def test_number_of_parameters(network):
    classifier = 2 * 320 + 1001 * 320 + 1000 - 320
    assert sum(p.numel() for p in network.parameters()) == 10_130_092 - classifier


@pytest.mark.slow
def test_answers_are_those_of_the_authors(network, oracle):
    golden = oracle("mobile_sam")
    mask = golden.noise(1, 256, 256, word="mask") * 20 - 10
    prompts = {
        "point": (*POINT, None, None),
        "box": (*NONE, BOX, None),
        "mixed": (*MIXED, BOX, mask),
    }
    with torch.no_grad():
        embedding = network(golden.picture())
        outputs = {"embedding": embedding[:, ::7, ::5, ::5]}
        for name, prompt in prompts.items():
            masks, scores = network.answer(embedding, *prompt)
            outputs |= {f"{name}_masks": masks[:, :, ::5, ::5], f"{name}_iou": scores}
    golden.check_samples(outputs)
    golden.check_whole(network, outputs)


def test_a_click_beside_the_box_changes_the_answer(network):
    with torch.no_grad():
        embedding = network(torch.zeros(1, 3, 64, 64))
        alone, _ = network.answer(embedding, *NONE, BOX)
        both, scores = network.answer(embedding, *POINT, BOX)
    assert alone.shape == (1, 4, 16, 16)
    assert scores.shape == (1, 4)
    assert not torch.allclose(alone, both)
