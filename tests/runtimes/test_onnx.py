from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from alphacut import runtimes
from alphacut.errors import RuntimeFailure, UnknownName
from alphacut.models import catalogue
from alphacut.runtimes.onnx import ONNXRuntime

LITE = catalogue.find_model("u2net-lite")


@pytest.fixture(scope="module")
def network() -> runtimes.Runtime:
    return runtimes.load(LITE, runtime="onnx", device="cpu")


def batch(pictures: int = 1) -> np.ndarray:
    return np.random.default_rng(5).random((pictures, 3, 320, 320), np.float32)


def test_it_answers_as_openvino_does(network: runtimes.Runtime) -> None:
    assert network.device == "CPU"
    three = batch(3)
    output = network(three)
    assert output.shape == (3, 1, 320, 320)
    np.testing.assert_allclose(output, runtimes.load(LITE, precision="fp32")(three), atol=1e-3)


def test_threads(network: runtimes.Runtime) -> None:
    alone = network(batch())
    with ThreadPoolExecutor(3) as pool:
        for found in pool.map(network, [batch()] * 4):
            np.testing.assert_allclose(found, alone, atol=1e-5)


def test_devices_are_never_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnknownName, match="unknown device of ONNX Runtime 'tpu'"):
        runtimes.load(LITE, runtime="onnx", device="tpu")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(RuntimeFailure, match=r"no cuda here: it needs CUDAExec.*onnxruntime-gpu"):
        runtimes.load(LITE, runtime="onnx", device="cuda")
    assert runtimes.load(LITE, runtime="onnx").device == "CPU"


def test_a_device_that_cannot_start_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where CUDA is built in and its libraries are missing, ONNX Runtime only logs and goes on."""

    class Fallen:
        def __init__(self, *_: object, **__: object) -> None: ...

        def get_providers(self) -> list[str]:
            return ["CPUExecutionProvider"]

    both = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: both)
    monkeypatch.setattr(onnxruntime, "InferenceSession", Fallen)
    for device in ("cuda", "auto"):
        with pytest.raises(RuntimeFailure, match="offers CUDAExecutionProvider but cannot start"):
            runtimes.load(LITE, runtime="onnx", device=device)


def test_what_it_cannot_do_is_told(network: runtimes.Runtime, tmp_path: Path) -> None:
    path = tmp_path / "text.onnx"
    path.write_text("not a network")
    with pytest.raises(RuntimeFailure, match=r"cannot load .*text\.onnx on CPU"):
        ONNXRuntime(path)
    with pytest.raises(RuntimeFailure, match="ONNX Runtime failed on CPU"):
        network(np.zeros((1, 3, 100, 100), np.float32))
