"""InSPyReNet on both backbones: keys, golden outputs, what changes with the base size."""

from __future__ import annotations

import pytest
import torch

from alphacut.models import nets
from alphacut.models.nets.inspyrenet import expand

PARAMETERS = {"inspyrenet_res2net50": 28_104_339, "inspyrenet_swinb": 90_721_443}


@pytest.mark.slow
@pytest.mark.parametrize("arch", PARAMETERS)
def test_the_authors_network(arch, seeded, oracle):
    network = seeded(nets.build(arch), arch)
    golden = oracle(arch)
    golden.check_keys(network)
    assert sum(p.numel() for p in network.parameters()) == PARAMETERS[arch]
    with torch.no_grad():
        outputs = network.forward_all(golden.picture())
        assert torch.equal(network(golden.picture()), outputs["d0"])
    outputs["p0"] = outputs["p0"][:, :, ::2, ::2]
    golden.check_samples(outputs)
    golden.check_whole(network, outputs)


@pytest.mark.slow
def test_the_base_size_counts():
    torch.manual_seed(0)
    network = nets.build("inspyrenet_res2net50", base_size=64).eval()
    state, picture = network.state_dict(), torch.rand(1, 3, 64, 96)
    other = nets.build("inspyrenet_res2net50", base_size=128).eval()
    other.load_state_dict(state)
    with torch.no_grad():
        assert not torch.allclose(network(picture), other(picture))


def test_expanding_keeps_the_level():
    torch.testing.assert_close(
        expand(torch.full((2, 1, 5, 7), 3.0)).mean(), torch.tensor(3.0), rtol=1e-3, atol=0
    )
    assert expand(torch.zeros(1, 1, 4, 6)).shape == (1, 1, 8, 12)
