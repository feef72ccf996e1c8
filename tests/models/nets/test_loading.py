"""Building by name, and state dicts that fit or do not."""

from __future__ import annotations

import pytest
import torch

from alphacut.models import nets


@pytest.fixture(scope="module")
def state():
    return nets.build("u2netp").state_dict()


@pytest.mark.parametrize("arch", nets.ARCHITECTURES)
def test_every_architecture_is_built_and_loads_its_own_state(arch):
    network = nets.build(arch)
    assert network.training
    loaded = nets.load_state(arch, network.state_dict())
    assert not loaded.training
    assert all(map(torch.equal, loaded.parameters(), network.parameters()))


def test_unknown_architecture_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match="unknown architecture 'u3net': choose one of u2net"):
        nets.build("u3net")


def test_prefix_of_data_parallel_is_dropped(state):
    loaded = nets.load_state("u2netp", {f"module.{key}": t for key, t in state.items()})
    assert torch.equal(loaded.outconv.weight, state["outconv.weight"])


def test_counters_of_batch_norm_may_be_missing_and_nothing_else(state):
    nets.load_state("u2netp", {k: t for k, t in state.items() if "num_batches" not in k})
    with pytest.raises(ValueError, match=r"not the weights of u2netp: outconv.bias is missing$"):
        nets.load_state("u2netp", {k: t for k, t in state.items() if k != "outconv.bias"})


def test_unexpected_and_misshapen_tensors_are_named(state):
    with pytest.raises(ValueError, match=r"pool_in.weight is unexpected"):
        nets.load_state("u2netp", state | {"pool_in.weight": torch.zeros(1)})
    with pytest.raises(
        ValueError, match=r"outconv.weight has shape \(1, 7, 1, 1\) instead of \(1, 6"
    ):
        nets.load_state("u2netp", state | {"outconv.weight": torch.zeros(1, 7, 1, 1)})
    with pytest.raises(ValueError, match=r"not the weights of isnet: .*; and \d+ more$"):
        nets.load_state("isnet", state)


def test_state_is_copied_and_left_alone(state):
    before = state["outconv.weight"].clone()
    loaded = nets.load_state(
        "u2netp", {k: t.half() if t.is_floating_point() else t for k, t in state.items()}
    )
    assert loaded.outconv.weight.dtype == torch.float32
    loaded.outconv.weight.data.zero_()
    assert torch.equal(state["outconv.weight"], before)


@pytest.mark.parametrize("checkpoint", [{"epoch": 3}, {"state_dict": [1, 2]}, {"state_dict": None}])
def test_what_is_no_state_dict_is_refused(checkpoint):
    with pytest.raises(ValueError, match="not a state dict"):
        nets.load_state("u2netp", checkpoint)
