"""OpenVINO, the default runtime: reads ONNX files and runs them on any processor."""

import queue
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from alphacut.errors import RuntimeFailure, UnknownName

# Importing OpenVINO reports its use to the maker over the network, unless the sender is missing
_hidden = sys.modules.setdefault("openvino_telemetry", None) is None  # type: ignore[arg-type]
import openvino  # noqa: E402

if _hidden:
    del sys.modules["openvino_telemetry"]

DEVICES = {"auto": "CPU", "cpu": "CPU", "gpu": "GPU", "npu": "NPU"}

# float32 arithmetic, so that a mask does not depend on what else the processor could do
SETTINGS = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}


def available_devices() -> list[str]:
    """Return the devices that OpenVINO finds here, such as CPU and GPU.0."""
    return list(openvino.Core().available_devices)


class OpenVINORuntime:
    """A network compiled by OpenVINO.

    Args:
        path: An ONNX file, or an OpenVINO .xml beside its .bin.
        device: "auto", "cpu", "gpu" or "npu".

    Raises:
        UnknownName: if there is no device of that name.
        RuntimeFailure: if the device is not there, or OpenVINO cannot use the file.
    """

    def __init__(self, path: Path, *, device: str = "auto") -> None:
        if device not in DEVICES:
            raise UnknownName("device", device, DEVICES)
        self.device = DEVICES[device]
        core = openvino.Core()
        if device != "auto":  # the CPU is always there, and asking costs a look at every driver
            present = available_devices()
            if not any(name.startswith(self.device) for name in present):
                raise RuntimeFailure(
                    f"OpenVINO finds no {self.device} here, only {', '.join(present)}: "
                    "install its driver or choose another --device"
                )
        try:
            self._model = core.compile_model(core.read_model(path), self.device, SETTINGS)
        except RuntimeError as error:
            message = f"OpenVINO cannot load {path} on {self.device}: {error}"
            raise RuntimeFailure(message) from error
        # one request serves one call at a time; a pool makes calls from several threads safe
        self._requests: queue.SimpleQueue[openvino.InferRequest] = queue.SimpleQueue()

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the first output for a batch, one picture at a time.

        Args:
            batch: (N, C, h, w) float32.

        Returns:
            (N, K, h', w') float32.

        Raises:
            RuntimeFailure: if OpenVINO fails.
        """
        try:
            request = self._requests.get_nowait()
        except queue.Empty:
            request = self._model.create_infer_request()
        try:
            outputs = []
            for picture in batch:  # the embedded graph has a batch of one
                request.infer([picture[np.newaxis]], share_inputs=True)
                outputs.append(request.get_output_tensor(0).data.copy())
        except RuntimeError as error:
            raise RuntimeFailure(f"OpenVINO failed on {self.device}: {error}") from error
        finally:
            self._requests.put(request)
        return np.concatenate(outputs)
