import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from alphacut import runtimes
from alphacut.errors import RuntimeFailure, UnknownName, WeightsError
from alphacut.models import nets, weights
from alphacut.runtimes import pytorch
from alphacut.runtimes.graph import write_graph as real_write_graph
from alphacut.runtimes.pytorch import TorchRuntime, load_network

LITE = weights.find_model("u2net-lite")


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return nets.build("u2netp").eval()


def batch(pictures: int = 1) -> np.ndarray:
    return np.random.default_rng(1).random((pictures, 3, 64, 96), np.float32)


def test_embedded_weights_answer_as_in_openvino() -> None:
    picture = np.random.default_rng(5).random((1, 3, 320, 320), np.float32)
    ours = runtimes.load(LITE, runtime="torch", device="cpu")
    assert ours.device == "cpu"
    assert not ours.prefers_batches
    np.testing.assert_allclose(
        ours(picture), runtimes.load(LITE, precision="fp32")(picture), atol=1e-3
    )


def test_the_output_is_the_callers(network: torch.nn.Module) -> None:
    runtime = TorchRuntime(network, device="cpu")
    first = runtime(batch())
    kept = first.copy()
    first[:] = 7
    np.testing.assert_array_equal(runtime(batch()), kept)
    assert kept.dtype == np.float32


def test_threads(network: torch.nn.Module) -> None:
    runtime = TorchRuntime(network, device="cpu")
    alone = runtime(batch())
    with ThreadPoolExecutor(3) as pool:
        for found in pool.map(runtime, [batch()] * 6):
            np.testing.assert_allclose(found, alone, atol=1e-5)


def test_devices(network: torch.nn.Module) -> None:
    with pytest.raises(UnknownName, match="unknown device of PyTorch 'npu'"):
        TorchRuntime(network, device="npu")
    if not torch.cuda.is_available():
        with pytest.raises(RuntimeFailure, match="finds no cuda here, only cpu"):
            TorchRuntime(network, device="cuda")
        with pytest.raises(RuntimeFailure, match="in fp16 on CUDA only, not on cpu"):
            TorchRuntime(network, precision="fp16")
    with pytest.raises(RuntimeFailure, match="choose --runtime openvino or torch"):
        runtimes.load(LITE, runtime="onnx", precision="fp16")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_cuda(network: torch.nn.Module) -> None:
    expected = TorchRuntime(network, device="cpu")(batch())
    assert TorchRuntime(network).device == "cuda"
    np.testing.assert_allclose(TorchRuntime(network, device="gpu")(batch()), expected, atol=1e-3)
    half = TorchRuntime(network, device="cuda", precision="fp16")(batch())
    assert half.dtype == np.float32
    assert np.abs(half - expected).mean() < 1e-2


def test_a_failure_is_told_once(network: torch.nn.Module) -> None:
    with pytest.raises(RuntimeFailure, match="PyTorch failed on cpu"):
        TorchRuntime(network, device="cpu")(np.zeros((1, 4, 64, 64), np.float32))


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_state_dicts_are_read(network: torch.nn.Module, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"net{suffix}"
    if suffix == ".pth":
        torch.save({f"module.{key}": t for key, t in network.state_dict().items()}, path)
    else:
        safetensors.torch.save_file(network.state_dict(), path)
    found = TorchRuntime(load_network("u2netp", path), device="cpu")(batch())
    np.testing.assert_array_equal(found, TorchRuntime(network, device="cpu")(batch()))
    with pytest.raises(WeightsError, match="cannot be read as weights of isnet"):
        load_network("isnet", path)


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "average"])
def test_checkpoints_are_read(network: torch.nn.Module, key: str, tmp_path: Path) -> None:
    """With an optimiser beside, and a schedule that keeps a method of itself, as OneCycleLR did."""
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-3, total_steps=9)
    state = {"anneal_func": schedule.get_lr, "total_steps": 9}
    torch.save(
        {"epoch": 3, key: network.state_dict(), "optimizer_state_dict": optimizer.state_dict(),
         "scheduler_state_dict": state}, tmp_path / "3.pth"
    )  # fmt: skip
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "3.pth", weights_only=True)
    found = load_network("u2netp", tmp_path / "3.pth").state_dict()
    assert all(torch.equal(found[name], t) for name, t in network.state_dict().items())


def test_a_checkpoint_of_pytorch_1_9_is_read() -> None:
    """Of a 1 x 1 convolution after three steps of OneCycleLR, written by that version."""
    found = pytorch._read(Path(__file__).with_name("one-cycle-torch-1.9.1.pth"))
    assert found["epoch"] == 3
    assert found["model_state_dict"]["weight"].flatten().tolist() == pytest.approx(
        [-0.0076, 0.5363], abs=1e-4
    )
    assert found["optimizer_state_dict"]["param_groups"][0]["lr"] == pytest.approx(
        5.097e-5, rel=1e-4
    )
    assert isinstance(found["scheduler_state_dict"]["anneal_func"], pytorch._Ignored)


class Command:
    """Runs a command where it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.target}",)


@pytest.mark.parametrize("modern", [True, False])
def test_a_checkpoint_that_would_run_code_is_refused(
    network: torch.nn.Module, modern: bool, tmp_path: Path
) -> None:
    target, path = tmp_path / "was-run", tmp_path / "3.pth"
    content = {"model_state_dict": network.state_dict(), "more": Command(target)}
    torch.save(content, path, _use_new_zipfile_serialization=modern)
    with pytest.raises(WeightsError, match="which could run code on loading"):
        load_network("u2netp", path)
    assert not target.exists()
    torch.load(path, weights_only=False)  # the file is as dangerous as it seems
    assert target.exists()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".onnx"])
@pytest.mark.parametrize("data", [b"", b"not weights", bytes(range(256)) * 40])
def test_files_that_are_no_weights(suffix: str, data: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"net{suffix}"
    path.write_bytes(data)
    with pytest.raises(WeightsError, match=rf"net\{suffix}: "):
        load_network("u2netp", path)


def test_a_network_that_cannot_be_built() -> None:
    with pytest.raises(WeightsError, match="silueta: PyTorch cannot build this network"):
        runtimes.load(weights.find_model("silueta"), runtime="torch")


@pytest.mark.slow
def test_other_runtimes_get_a_graph_made_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of PyTorch weights a graph is written for OpenVINO, sealed, and made anew if damaged."""
    monkeypatch.setenv("ALPHACUT_HOME", str(tmp_path / "home"))
    torch.manual_seed(0)
    network = nets.build("indexnet").eval()
    torch.save({"state_dict": network.state_dict()}, tmp_path / "net.pth.tar")
    spec = weights.add(tmp_path / "net.pth.tar", weights.find_model("indexnet-adobe"), "torch")
    written: list[Path] = []

    def write_graph(network: torch.nn.Module, target: Path, **settings: Any) -> float:
        written.append(target)
        return real_write_graph(network, target, **settings)

    monkeypatch.setattr("alphacut.runtimes.graph.write_graph", write_graph)
    with ThreadPoolExecutor(2) as pool:  # the second waits for the first
        runtime, _ = pool.map(runtimes.load, [spec, spec])
    assert len(written) == 1
    picture = np.random.default_rng(0).random((1, 4, 96, 64), np.float32)
    expected = TorchRuntime(network, device="cpu")(picture)
    np.testing.assert_allclose(runtime(picture), expected, atol=1e-3 * np.abs(expected).max())
    (graph,) = (tmp_path / "home" / "converted").glob("*.onnx")
    graph.write_bytes(b"damaged")
    runtimes.load(spec)
    assert written == [graph, graph]
    assert graph.stat().st_size > 1_000_000
    weights.remove(spec)
    assert list((tmp_path / "home" / "converted").iterdir()) == []
