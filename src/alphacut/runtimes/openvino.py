"""OpenVINO, the default runtime: reads ONNX files and its own, and runs them on any processor."""

import queue
import sys
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from alphacut.errors import RuntimeFailure, UnknownName, WeightsError

# OpenVINO's converter is a tenth of a cold start, and importing it reports to the maker over the
# network: OpenVINO does without it where it is missing, and here it is loaded when it is called
_hidden = sys.modules.setdefault("openvino.tools.ovc", None) is None  # type: ignore[arg-type]
import openvino as openvino  # noqa: E402

if _hidden:
    del sys.modules["openvino.tools.ovc"]

    def _convert_model(*arguments: Any, **settings: Any) -> Any:
        silenced = sys.modules.setdefault("openvino_telemetry", None) is None  # type: ignore[arg-type]
        from openvino.tools.ovc import convert_model

        if silenced:
            del sys.modules["openvino_telemetry"]
        return convert_model(*arguments, **settings)

    openvino.convert_model = _convert_model

# The first call fills a table; two threads that make it at once wait for each other for ever
openvino.Type.f32.to_dtype()

# One for the process. Each loads a CPU plugin that gives its thread a stack for signals, and at its
# end puts back the one before: of two that end in the order they began, the second puts back what
# the first has unmapped, and the next signal with a handler ends the process
CORE = openvino.Core()

DEVICES = {"auto": "CPU", "cpu": "CPU", "gpu": "GPU", "npu": "NPU"}


class OpenVINORuntime:
    """A network compiled by OpenVINO. Sizes may change from call to call if the graph allows it.

    Args:
        path: An ONNX file, or an OpenVINO .xml beside its .bin.
        device: "auto", "cpu", "gpu" or "npu".
        hint: What to compile for: the "latency" of one picture, or the "throughput" of many
            calls at once.
        cache: Folder where compiled networks are kept, for a quicker start; none by default.
        side_outputs: Whether the graph may have outputs besides the first, to be cut away.
        threads: How many processors it may use; all by default. Several processes on one machine
            share its processors by this.

    Raises:
        UnknownName: if there is no device of that name.
        RuntimeFailure: if the device is not there, or OpenVINO cannot use the file.
    """

    def __init__(
        self,
        path: Path,
        *,
        device: str = "auto",
        hint: Literal["latency", "throughput"] = "latency",
        cache: Path | None = None,
        side_outputs: bool = True,
        threads: int | None = None,
    ) -> None:
        if device not in DEVICES:
            raise UnknownName("device of OpenVINO", device, DEVICES)
        self.device = DEVICES[device]
        if device != "auto":  # the CPU is always there, and asking costs a look at every driver
            present = CORE.available_devices
            if not any(name.startswith(self.device) for name in present):
                raise RuntimeFailure(
                    f"OpenVINO finds no {self.device} here, only {', '.join(present)}: "
                    "install its driver or choose another --device"
                )
        settings: dict[str, Any] = {
            "PERFORMANCE_HINT": hint.upper(),
            # float32 arithmetic, so that a mask does not depend on what the processor could do
            "INFERENCE_PRECISION_HINT": "f32",
        }
        if threads is not None:  # not pinned: every process would take the first processors
            settings |= {"INFERENCE_NUM_THREADS": threads, "ENABLE_CPU_PINNING": False}
        if cache is not None:
            settings["CACHE_DIR"] = str(cache)
        try:
            if cache is not None and not side_outputs:  # a compiled network is found by its file
                self._model = CORE.compile_model(path, self.device, settings)
            else:
                model = CORE.read_model(path)
                # side outputs, where a graph has them, need not be computed
                first = openvino.Model([model.outputs[0]], model.get_parameters(), "network")
                self._model = CORE.compile_model(first, self.device, settings)
        except RuntimeError as error:
            message = f"OpenVINO cannot load {path} on {self.device}: {error}"
            raise RuntimeFailure(message) from error
        # one request serves one call at a time; a pool makes calls from several threads safe
        self._requests: queue.SimpleQueue[openvino.InferRequest] = queue.SimpleQueue()

    @property
    def calls_at_once(self) -> int:
        """How many calls keep the device busy."""
        return int(self._model.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))

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


def read_convolutions(path: Path) -> dict[str, NDArray[Any]]:
    """Return weight, then bias of each convolution of an ONNX file, in its order, by name.

    Raises:
        WeightsError: if the file cannot be read.
    """
    found: dict[str, NDArray[Any]] = {}
    for node in _read(path).get_ordered_ops():
        if node.get_type_name() not in ("Convolution", "GroupConvolution"):
            continue
        constants = [_constant(node.input_value(1).get_node())]
        for reader in node.output(0).get_target_inputs():
            if reader.get_node().get_type_name() == "Add":
                constants.append(_constant(reader.get_node().input_value(1).get_node()))
        found |= {node.get_friendly_name(): node.data for node in constants if node is not None}
    return found


def check_graph(path: Path, channels: int) -> None:
    """Make sure that a file is a network that takes one batch of so many channels.

    Raises:
        WeightsError: if it is not.
    """
    inputs = _read(path).inputs
    shape = inputs[0].get_partial_shape() if len(inputs) == 1 else None
    if shape is None or len(shape) != 4 or not shape[1].compatible(openvino.Dimension(channels)):
        taken = ", ".join(str(value.get_partial_shape()) for value in inputs)
        raise WeightsError(f"{path}: takes {taken or 'nothing'}, not a batch (N, {channels}, h, w)")


def devices() -> list[str]:
    """Return the devices of this machine, in alphacut's words."""
    present = CORE.available_devices
    return [word for word, name in DEVICES.items()
            if word != "auto" and any(found.startswith(name) for found in present)]  # fmt: skip


def _read(path: Path) -> openvino.Model:
    try:
        return CORE.read_model(path)
    except RuntimeError as error:
        raise WeightsError(f"{path}: is not a network that OpenVINO can read: {error}") from error


def _constant(node: Any) -> Any:
    """Follow a node's first input to the constant it begins with; None if there is none."""
    while node.get_type_name() != "Constant":
        if not node.get_input_size():
            return None
        node = node.input_value(0).get_node()
    return node
