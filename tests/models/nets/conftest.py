"""Weights and inputs that follow from names alone, and what the authors' code makes of them.

The golden outputs were computed with the authors' own networks. `../data/nets.json` keeps the
hash of each state dict's keys and shapes and a few values of each output; the whole arrays are in
the folder `shared/oracles` beside the checkout, where there is one.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pictures import SHARED

TESTS = Path(__file__).resolve().parents[2]
# What an oracle's state dict has and ours does not: computed here, a second name, or of training
DROPPED = {
    "deeplabv3_resnet101": r"aux_classifier\.",
    "birefnet_lite": r".*\.relative_position_index$|decoder\.gdt_convs_pred_",
    "birefnet": r".*\.relative_position_index$|decoder\.gdt_convs_pred_",
    "inspyrenet_swinb": r".*\.relative_position_index$",
    "modnet": r"backbone\.",
    "mobile_sam": r"image_encoder\.(norm_)?head\.",
}
# Where random weights would explode: network, key, factor, addend
TAMED = [
    (r"inspyrenet_.*", r"attention\d\.conv_(key|value)\.0\.conv\.weight", 1e-4, 0),
    (r"inspyrenet_.*", r"(decoder\.conv5|attention\d\.conv_out4)\.conv\.weight", 0.05, 0),
    (r"inspyrenet_.*", r".*threshold", 1, 0.5),
    (r"inspyrenet_res2net50", r".*\.bn3\.weight", 0.25, 0),
    (r"vitmatte_s", r"decoder\.matting_head\.matting_convs\.3\.weight", 0.2, 0),
]
PROMPTS = ("point", "box", "points", "labels")  # not outputs, though beside them
ORACLES = SHARED / "oracles"


def _generator(word: str) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(f"dev:{word}".encode()))


def _weights(key: str, shape: tuple[int, ...], name: str = "") -> Tensor:
    if key.endswith("num_batches_tracked"):
        return torch.zeros((), dtype=torch.int64)
    n = _generator(key).standard_normal(shape).astype("float32")
    if len(shape) >= 2:
        n = n * np.float32(math.sqrt(2 / math.prod(shape[1:])))
    elif key.endswith("running_var"):
        n = 1 + 0.1 * np.abs(n)
    elif key.endswith("weight"):
        n = 1 + 0.1 * n
    else:
        n = 0.1 * n
    for network, pattern, factor, addend in TAMED:
        if re.fullmatch(network, name) and re.fullmatch(pattern, key):
            n = n * np.float32(factor) + np.float32(addend)
    return torch.from_numpy(np.asarray(n))


@dataclass(frozen=True)
class Oracle:
    """What one network should have and give."""

    record: dict[str, Any]

    def picture(self, *size: int) -> Tensor:
        """The input, (1, C, H, W) float32 in [0, 1); the golden one where no size is given."""
        channels, *golden_size = self.record["input"]
        return self.noise(channels, *(size or golden_size), word="input")

    def noise(self, *shape: int, word: str) -> Tensor:
        """A batch of one, uniform in [0, 1), that follows from a word."""
        return torch.from_numpy(_generator(word).random((1, *shape)).astype("float32"))

    def check_keys(self, network: nn.Module) -> None:
        """Compares keys and shapes with the authors' state dict."""
        shapes = {key: list(t.shape) for key, t in network.state_dict().items()}
        text = "\n".join(f"{key} {shape}" for key, shape in sorted(shapes.items()))
        assert len(shapes) == self.record["entries"]
        assert hashlib.sha256(text.encode()).hexdigest() == self.record["keys_sha256"]

    def check_samples(self, outputs: dict[str, Tensor]) -> None:
        """Compares the values kept with the tests, relative to the largest of the array."""
        assert outputs.keys() == self.record["outputs"].keys()
        for name, golden in self.record["outputs"].items():
            ours = outputs[name].numpy()
            assert list(ours.shape) == golden["shape"]
            tolerance = 1e-4 * golden["max_abs"]
            np.testing.assert_allclose(
                ours.ravel()[:: golden["step"]], golden["samples"], rtol=0, atol=tolerance
            )
            assert abs(ours.mean(dtype="float64") - golden["mean"]) < tolerance

    def check_whole(
        self, network: nn.Module, outputs: dict[str, Tensor], name: str | None = None
    ) -> None:
        """Compares keys, shapes and every value with the files in shared/oracles, or skips."""
        if not ORACLES.is_dir():
            pytest.skip("no folder shared/oracles beside the checkout")
        name = name or self.record["oracle"]
        keys = json.loads((ORACLES / f"{name}.keys.json").read_text(encoding="utf-8"))
        shapes = {key: list(t.shape) for key, t in network.state_dict().items()}
        dropped = DROPPED.get(name, "$^")
        assert shapes == {k: s for k, s in keys.items() if not re.match(dropped, k)}
        with np.load(ORACLES / f"{name}.npz") as arrays:
            outputs_only = {key: a for key, a in arrays.items() if key not in PROMPTS}
            assert outputs.keys() == set(outputs_only)
            for key, golden in outputs_only.items():
                ours = outputs[key].numpy()
                assert ours.shape == golden.shape
                assert np.abs(ours - golden).max() < 1e-4 * np.abs(golden).max()


@pytest.fixture(scope="session")
def oracle() -> Callable[[str], Oracle]:
    """Oracle of an architecture, by name."""
    records = json.loads((TESTS / "data" / "nets.json").read_text(encoding="utf-8"))
    return lambda arch: Oracle(records[arch])


@pytest.fixture(scope="session")
def seeded() -> Callable[..., nn.Module]:
    """Fills a network with the weights that follow from its keys; eval mode."""

    def fill(network: nn.Module, name: str = "") -> nn.Module:
        state = network.state_dict()
        network.load_state_dict(
            {key: _weights(key, tuple(t.shape), name) for key, t in state.items()}
        )
        return network.eval()

    return fill
