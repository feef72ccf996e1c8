from pathlib import Path

import numpy as np
import pytest
import torch

from alphacut import runtimes
from alphacut.errors import OutputError, RuntimeFailure
from alphacut.models import nets, weights
from alphacut.runtimes import graph
from alphacut.runtimes.openvino import OpenVINORuntime
from alphacut.runtimes.pytorch import load_network

SIZE = (32, 64)


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    torch.manual_seed(3)
    return nets.build("indexnet").eval()


@pytest.mark.slow
@pytest.mark.parametrize(("to", "names"), [("onnx", {".onnx"}), ("openvino", {".xml", ".bin"})])
def test_half_weights_are_half_the_size(
    network: torch.nn.Module, to: str, names: set[str], tmp_path: Path
) -> None:
    target = tmp_path / ("net.onnx" if to == "onnx" else "net.xml")
    found = graph.write_graph(network, target, to=to, channels=4, sizes=(SIZE,), fp16=True)
    assert found.mean <= found.percentile <= found.largest
    assert found.mean < 1e-3
    files = list(tmp_path.iterdir())
    assert {path.suffix for path in files} == names
    numbers = sum(tensor.numel() for tensor in network.parameters())
    assert sum(path.stat().st_size for path in files) < 0.6 * 4 * numbers
    output = OpenVINORuntime(target)(np.zeros((1, 4, *SIZE), np.float32))
    assert output.dtype == np.float32


@pytest.mark.slow
@pytest.mark.parametrize("fp16", [False, True])
def test_pytorch_reads_back_what_it_wrote(fp16: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)  # most seeds give 0 everywhere, of which no share differs
    network = nets.build("indexnet").eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # as trained: equal tensors are written once
            torch.nn.init.normal_(module.bias, std=0.1)
    target = tmp_path / "net.onnx"
    graph.write_graph(network, target, to="onnx", channels=4, sizes=(SIZE,), fp16=fp16)
    again = load_network("indexnet", target).state_dict()
    for name, tensor in nets.fold_batch_norm(network).state_dict().items():
        assert torch.equal(again[name], tensor.half().float() if fp16 else tensor)


@pytest.mark.slow
def test_what_differs_is_not_written(
    network: torch.nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Wrong(OpenVINORuntime):
        def __call__(self, batch: np.ndarray) -> np.ndarray:
            return super().__call__(batch) + 1

    monkeypatch.setattr(graph, "OpenVINORuntime", Wrong)
    target = tmp_path / "net.onnx"
    target.write_text("what was there before")
    with pytest.raises(RuntimeFailure, match="not written, since its outputs differ"):
        graph.write_graph(network, target, to="onnx", channels=4, sizes=(SIZE,))
    assert target.read_text() == "what was there before"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(("weight", "answer"), [(0.0, "0 everywhere"), (np.nan, "not numbers")])
def test_outputs_that_say_nothing_are_told(weight: float, answer: str, tmp_path: Path) -> None:
    conv = torch.nn.Conv2d(3, 1, 1, bias=False).eval()
    torch.nn.init.constant_(conv.weight, weight)
    with pytest.raises(RuntimeFailure, match=f"outputs are {answer}"):
        graph.write_graph(conv, tmp_path / "net.onnx", to="onnx", channels=3, sizes=(SIZE,))
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_exported_is_told(tmp_path: Path) -> None:
    class Odd(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.linalg.eigvals(x).real

    with pytest.raises(RuntimeFailure, match="the network cannot be exported"):
        graph.write_graph(Odd(), tmp_path / "odd.onnx", to="onnx", channels=3, sizes=((32, 32),))
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written(network: torch.nn.Module, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        graph.write_graph(
            network, tmp_path / "file" / "net.onnx", to="onnx", channels=4, sizes=(SIZE,)
        )


def test_sizes_that_a_network_does_not_take(tmp_path: Path) -> None:
    with pytest.raises(RuntimeFailure, match="size 64x100: both sides must be multiples of 32"):
        runtimes.export(
            weights.find_model("indexnet"), tmp_path / "net.onnx", to="onnx", size=(100, 64)
        )
