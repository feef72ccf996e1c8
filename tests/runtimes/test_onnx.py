import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest

from alphacut import runtimes
from alphacut.errors import RuntimeFailure, UnknownName
from alphacut.models import weights
from alphacut.runtimes.onnx import ONNXRuntime

LITE = weights.find_model("u2net-lite")
EMBEDDED = weights.ASSETS / "u2net-lite.onnx"


@pytest.fixture(scope="module")
def network() -> runtimes.Runtime:
    return runtimes.load(LITE, runtime="onnx", device="cpu")


def batch(pictures: int = 1) -> np.ndarray:
    return np.random.default_rng(5).random((pictures, 3, 320, 320), np.float32)


def test_it_answers_as_openvino_does(network: runtimes.Runtime) -> None:
    assert network.device == "cpu"
    assert not network.prefers_batches
    three = batch(3)
    output = network(three)
    assert output.shape == (3, 1, 320, 320)
    np.testing.assert_allclose(output, runtimes.load(LITE, precision="fp32")(three), atol=1e-3)


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for the threads of a process")
def test_it_reports_nothing(tmp_path: Path) -> None:
    """Its builds keep an identifier of the machine, and start threads that report its use."""
    program = f"""
import os
import numpy
before = len(os.listdir("/proc/self/task"))
from alphacut.runtimes.onnx import onnxruntime
print(len(os.listdir("/proc/self/task")) - before)
onnxruntime.InferenceSession({str(EMBEDDED)!r}, providers=["CPUExecutionProvider"])
"""
    hidden = ("ORT_DISABLE_TELEMETRY", "CI")
    known = {name: value for name, value in os.environ.items() if name not in hidden}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60,
        env={**known, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.stdout.strip() == "0", done.stderr
    assert list(tmp_path.rglob("*")) == []


def test_threads(network: runtimes.Runtime) -> None:
    alone = network(batch())
    with ThreadPoolExecutor(3) as pool:
        for found in pool.map(network, [batch()] * 4):
            np.testing.assert_allclose(found, alone, atol=1e-5)


def test_devices_are_never_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnknownName, match="unknown device of ONNX Runtime 'tpu'"):
        runtimes.load(LITE, runtime="onnx", device="tpu")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(RuntimeFailure, match=r"no cuda here: that needs CUDAExec.*onnxruntime-gpu"):
        runtimes.load(LITE, runtime="onnx", device="cuda")
    assert runtimes.load(LITE, runtime="onnx").device == "cpu"


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
        with pytest.raises(RuntimeFailure, match="has CUDAExecutionProvider but cannot start"):
            runtimes.load(LITE, runtime="onnx", device=device)


@pytest.mark.parametrize(("N", "prefers"), [("N", True), (2, True), (1, False)])
def test_a_gpu_prefers_batches_unless_the_graph_takes_one_image(
    N: int | str, prefers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Session:
        def __init__(self, *_: object, **__: object) -> None: ...

        def get_providers(self) -> list[str]:
            return ["CUDAExecutionProvider", "CPUExecutionProvider"]

        def get_inputs(self) -> list[SimpleNamespace]:
            return [SimpleNamespace(name="batch", shape=[N, 3, 320, 320])]

        get_outputs = get_inputs

    monkeypatch.setattr(onnxruntime, "get_available_providers", Session().get_providers)
    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    runtime = ONNXRuntime(Path("net.onnx"))
    assert (runtime.device, runtime.prefers_batches) == ("cuda", prefers)


def test_what_it_cannot_do_is_told(network: runtimes.Runtime, tmp_path: Path) -> None:
    path = tmp_path / "text.onnx"
    path.write_text("not a network")
    with pytest.raises(RuntimeFailure, match=r"cannot load .*text\.onnx on cpu"):
        ONNXRuntime(path)
    with pytest.raises(RuntimeFailure, match="ONNX Runtime failed on cpu"):
        network(np.zeros((1, 3, 100, 100), np.float32))
