"""ONNX Runtime: a second runtime for ONNX files, with devices of its own.

Since 1.29 its builds report their use over the network, by threads that start at its import, and
keep an identifier of the machine in the user's cache. A forked child that ends waits for those
threads, which only its parent has, and aborts. Here none of it starts.
"""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from alphacut.errors import MissingExtra, RuntimeFailure, UnknownName
from alphacut.runtimes.fork import PerProcess

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before ONNX Runtime looks
try:
    import onnxruntime

    onnxruntime.disable_telemetry_events()  # if the program had imported it before
except ImportError as missing:
    raise MissingExtra("ONNX Runtime", "onnx") from missing

# Execution providers of each device, best first; the CPU runs the nodes that a provider lacks
PROVIDERS = {
    "cpu": ("CPUExecutionProvider",),
    "cuda": ("CUDAExecutionProvider",),
    "gpu": (
        "CUDAExecutionProvider",
        "ROCMExecutionProvider",
        "MIGraphXExecutionProvider",
        "DmlExecutionProvider",
        "CoreMLExecutionProvider",
    ),
    "mps": ("CoreMLExecutionProvider",),
    "npu": ("QNNExecutionProvider", "VitisAIExecutionProvider"),
}
_AUTO = ("cuda", "cpu")


class ONNXRuntime:
    """A network run by ONNX Runtime.

    Args:
        path: An ONNX file.
        device: "auto", "cpu", "gpu", "cuda", "mps" or "npu"; auto takes CUDA if ONNX Runtime has
            it, else the CPU.
        size: (H, W) of the batches, if not the file's own.
        threads: Number of processors to use; all by default.

    Raises:
        UnknownName: if there is no such device.
        RuntimeFailure: if the device is absent, or ONNX Runtime cannot use the file, or not at
            this size.
    """

    def __init__(
        self,
        path: Path,
        *,
        device: str = "auto",
        size: tuple[int, int] | None = None,
        threads: int | None = None,
    ) -> None:
        if device != "auto" and device not in PROVIDERS:
            raise UnknownName("device of ONNX Runtime", device, ["auto", *PROVIDERS])
        present = onnxruntime.get_available_providers()
        if device == "auto":
            device = next(name for name in _AUTO if PROVIDERS[name][0] in present)
        provider = next((name for name in PROVIDERS[device] if name in present), None)
        if provider is None:
            raise RuntimeFailure(
                f"ONNX Runtime has no {device} here: that needs {' or '.join(PROVIDERS[device])}, "
                f"and this build has {', '.join(present)}. Install another build, such as "
                "onnxruntime-gpu for CUDA, or choose another --device"
            )
        self.device = device
        providers = [provider, *PROVIDERS["cpu"]][: 1 + (device != "cpu")]
        self._session = _start(path, threads, device, providers)
        session = self._session()
        if session.get_providers()[0] != provider:  # it fell back and only logged that
            raise RuntimeFailure(
                f"ONNX Runtime has {provider} but cannot start it: its libraries or driver are "
                "missing. Install them, or choose another --device"
            )
        value = session.get_inputs()[0]
        own = value.shape[2:]
        if size and any(isinstance(a, int) and a != b for a, b in zip(own, size, strict=True)):
            raise RuntimeFailure(
                f"{path}: ONNX Runtime cannot change this graph's size, {own[1]}x{own[0]}: choose "
                "--runtime openvino or torch, or export it at that size"
            )
        self._input, self._one_by_one = value.name, value.shape[0] == 1
        self.prefers_batches = device != "cpu" and not self._one_by_one
        self._output = session.get_outputs()[0].name

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the network's first output for a batch.

        Args:
            batch: (N, C, h, w) float32.

        Returns:
            (N, K, h', w') float32.

        Raises:
            RuntimeFailure: if ONNX Runtime fails.
        """
        parts = [batch[i : i + 1] for i in range(len(batch))] if self._one_by_one else [batch]
        session = self._session()
        try:
            outputs = [session.run([self._output], {self._input: x})[0] for x in parts]
        except Exception as error:  # its errors have no common base
            raise RuntimeFailure(f"ONNX Runtime failed on {self.device}: {error}") from error
        return np.concatenate(outputs, dtype=np.float32)  # some files answer in float16


class ONNXGraph:
    """A graph of several inputs, run by ONNX Runtime on the processor.

    Args:
        path: An ONNX file.
        threads: Number of processors to use; all by default.

    Attributes:
        inputs: Number of dimensions of each input, by its name.

    Raises:
        RuntimeFailure: if ONNX Runtime cannot use the file.
    """

    def __init__(self, path: Path, threads: int | None = None) -> None:
        self._session = _start(path, threads, "cpu", list(PROVIDERS["cpu"]))
        session = self._session()
        self.inputs: Mapping[str, int] = {
            value.name: len(value.shape) for value in session.get_inputs()
        }
        self._outputs = [value.name for value in session.get_outputs()]

    def __call__(self, feeds: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        """Return the outputs by their names.

        Raises:
            RuntimeFailure: if ONNX Runtime fails.
        """
        try:
            found = self._session().run(self._outputs, dict(feeds))
        except Exception as error:  # its errors have no common base
            raise RuntimeFailure(f"ONNX Runtime failed: {error}") from error
        return dict(zip(self._outputs, found, strict=True))


def _start(
    path: Path, threads: int | None, device: str, providers: list[str]
) -> PerProcess[onnxruntime.InferenceSession]:
    """Return what starts a session in each process."""
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3  # errors only, which are raised, not printed
    settings.intra_op_num_threads = threads or 0

    def start() -> onnxruntime.InferenceSession:
        try:
            return onnxruntime.InferenceSession(path, settings, providers=providers)
        except Exception as error:  # its errors have no common base
            raise RuntimeFailure(f"ONNX Runtime cannot load {path} on {device}: {error}") from error

    return PerProcess(start)


def devices() -> list[str]:
    """Return the devices of this machine that ONNX Runtime can use, by alphacut's names."""
    present = onnxruntime.get_available_providers()
    names = ("cpu", "cuda", "mps", "npu")
    return [name for name in names if any(each in present for each in PROVIDERS[name])]
