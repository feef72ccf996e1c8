"""PyTorch, ONNX Runtime and OpenVINO agree: every network, random weights, fixed and free sizes.

What the exporter compares by itself is OpenVINO with PyTorch; here all three meet, at sizes that
the exporter has not seen.
"""

import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from alphacut.models import nets
from alphacut.runtimes.graph import write_graph
from alphacut.runtimes.onnx import ONNXRuntime
from alphacut.runtimes.openvino import OpenVINORuntime
from alphacut.runtimes.pytorch import TorchRuntime

MADE_AT = (64, 96)
# A second size, odd where the network takes any; its batch has two pictures
OTHER = dict.fromkeys(
    (
        "indexnet", "alphacut_lite", "birefnet_lite", "inspyrenet_res2net50", "modnet",
        "vitmatte_s", "mobile_sam",
    ),
    (96, 64),
)  # fmt: skip
# Gigabytes, and the same code as a smaller one's
LARGE = ("birefnet", "inspyrenet_swinb")


def channels(arch: str) -> int:
    return 4 if arch in ("indexnet", "vitmatte_s") else 3


def seeded(arch: str) -> torch.nn.Module:
    """A network whose numbers follow from its name, none of them trivial."""
    torch.manual_seed(zlib.crc32(arch.encode()))
    network = nets.build(arch).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_var, 0.8, 1.2)
            torch.nn.init.normal_(module.running_mean, 0, 0.1)
    return network


def batch(arch: str, size: tuple[int, int], pictures: int) -> np.ndarray:
    rng = np.random.default_rng(7)
    return rng.random((pictures, channels(arch), *size), np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
@pytest.mark.parametrize("arch", [arch for arch in nets.ARCHITECTURES if arch not in LARGE])
def test_three_runtimes_agree(arch: str, dynamic: bool, tmp_path: Path) -> None:
    network = seeded(arch)
    path = tmp_path / "network.onnx"
    write_graph(
        network, path, to="onnx", channels=channels(arch), sizes=(MADE_AT,), dynamic=dynamic
    )
    batches = [batch(arch, MADE_AT, 2)]
    if dynamic:
        batches.append(batch(arch, OTHER.get(arch, (97, 131)), 2))
    theirs: list[Callable[[np.ndarray], np.ndarray]] = [
        OpenVINORuntime(path), ONNXRuntime(path, device="cpu")
    ]  # fmt: skip
    ours = TorchRuntime(network, device="cpu")
    for each in batches:
        expected = ours(each)
        assert arch == "mobile_sam" or expected.shape[2:] == each.shape[2:]
        for other in theirs:
            found = other(each)
            assert found.dtype == np.float32
            assert np.abs(found - expected).max() <= 1e-3 * np.abs(expected).max()


@pytest.mark.slow
def test_openvino_straight_from_pytorch(tmp_path: Path) -> None:
    network = seeded("indexnet")
    write_graph(
        network, tmp_path / "net.xml", to="openvino", channels=4, sizes=(MADE_AT,), dynamic=True
    )
    each = batch("indexnet", (96, 64), 1)
    expected = TorchRuntime(network)(each)
    found = OpenVINORuntime(tmp_path / "net.xml")(each)
    assert np.abs(found - expected).max() <= 1e-3 * np.abs(expected).max()
