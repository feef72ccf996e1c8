"""OpenVINO, the default runtime: it reads ONNX files and its own, and runs on any processor."""

import functools
import queue
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from alphacut.errors import RuntimeFailure, UnknownName, WeightsError
from alphacut.runtimes.fork import PerProcess, never_free, one_thread

# Importing OpenVINO's converter takes a tenth of a cold start and sends telemetry. OpenVINO works
# without it, so it is hidden from the import and loaded when it is called. Both hidden names are
# private: pyproject.toml bounds the version, and tests/runtimes/test_openvino.py watches them
_hidden = sys.modules.setdefault("openvino.tools.ovc", None) is None  # type: ignore[arg-type]
import openvino as openvino  # noqa: E402

if _hidden:
    del sys.modules["openvino.tools.ovc"]

    def _convert_model(*arguments: Any, **settings: Any) -> Any:
        silent = sys.modules.setdefault("openvino_telemetry", None) is None  # type: ignore[arg-type]
        from openvino.tools.ovc import convert_model

        if silent:
            del sys.modules["openvino_telemetry"]
        return convert_model(*arguments, **settings)

    openvino.convert_model = _convert_model

# The first call fills a table, and deadlocks if two threads make it at once
openvino.Type.f32.to_dtype()


# One per process. Each Core loads a CPU plugin that gives its thread a signal stack, and restores
# the previous one when it ends. If two end in the order they began, the second restores a stack
# that the first has unmapped, and the next signal with a handler kills the process
def _start_core() -> openvino.Core:
    started = openvino.Core()
    if one_thread():
        # All cores of a process share their threads' handles. A child's core would join the
        # parent's when it is freed: by then they may be those of other threads, which never end
        never_free(started)
    return started


core = PerProcess(_start_core)


def _convert_deform_conv(node: Any) -> list[Any]:
    """Convert an ONNX node DeformConv, which OpenVINO refuses; samples outside are zero."""
    opset = openvino.opset8

    def of(name: str, default: Any) -> Any:
        return node.get_attribute(name) if node.has_attribute(name) else default

    x, weight, offset = (node.get_input(k) for k in range(3))
    pads = of("pads", [0, 0, 0, 0])
    optional = [
        node.get_input(k) if node.get_input_size() > k else None for k in (3, 4)
    ]  # bias and mask
    bias, mask = (
        None if value is None or value.get_node().get_type_name() == "NullNode" else value
        for value in optional
    )
    y = opset.deformable_convolution(
        x, offset, weight, of("strides", [1, 1]), pads[:2], pads[2:], of("dilations", [1, 1]),
        mask=mask, group=of("group", 1), deformable_group=of("offset_group", 1),
        bilinear_interpolation_pad=True,
    )  # fmt: skip
    if bias is not None:
        each = opset.reshape(bias, opset.constant(np.array([1, -1, 1, 1])), False)
        y = opset.add(y, each)
    return [y.output(0)]


@functools.cache
def _extend(core: openvino.Core) -> None:
    """Make a core, once, read what OpenVINO refuses: importing that part of it takes time."""
    from openvino.frontend.onnx import ConversionExtension

    core.add_extension(ConversionExtension("DeformConv", _convert_deform_conv))


DEVICES = {"auto": "CPU", "cpu": "CPU", "gpu": "GPU", "npu": "NPU", "openvino-auto": "AUTO"}


class _Compiled:
    """A compiled network and its idle requests: one serves one call, so calls may be concurrent."""

    def __init__(self, model: openvino.CompiledModel) -> None:
        self.model = model
        self.requests: queue.SimpleQueue[openvino.InferRequest] = queue.SimpleQueue()


class OpenVINORuntime:
    """A network compiled by OpenVINO. Sizes may differ between calls if the graph allows it.

    Args:
        path: An ONNX file, or an OpenVINO .xml beside its .bin.
        device: "auto", "cpu", "gpu", "npu", or "openvino-auto", by which OpenVINO's AUTO plugin
            starts on the CPU and moves to a GPU once the network is compiled for it.
        precision: Of its arithmetic: "fp32", "bf16" on processors that have it, "fp16" on GPUs and
            NPUs; "int8" is the file's own, the rest float32.
        size: (H, W) of the batches, if not the file's own or left open by it.
        hint: What to compile for: the "latency" of one image, or the "throughput" of many
            concurrent calls.
        compiled: Folder for compiled networks, for a faster start; none by default.
        side_outputs: Whether the graph may have outputs besides the first, to be cut off.
        threads: Number of processors to use; all by default. It lets several processes share a
            machine.

    Raises:
        UnknownName: if there is no such device.
        RuntimeFailure: if the device is absent, or OpenVINO cannot use the file.
    """

    prefers_batches = False  # images of a batch are run one by one

    def __init__(
        self,
        path: Path,
        *,
        device: str = "auto",
        precision: str = "fp32",
        size: tuple[int, int] | None = None,
        hint: Literal["latency", "throughput"] = "latency",
        compiled: Path | None = None,
        side_outputs: bool = True,
        threads: int | None = None,
    ) -> None:
        if device not in DEVICES:
            raise UnknownName("device of OpenVINO", device, DEVICES)
        plugin = DEVICES[device]
        self._device = plugin.lower()
        if plugin not in ("CPU", "AUTO"):  # the CPU is always there, and asking probes every driver
            present = core().available_devices
            if not any(name.startswith(plugin) for name in present):
                raise RuntimeFailure(
                    f"OpenVINO finds no {plugin} here, only {', '.join(present)}: "
                    "install its driver or choose another --device"
                )
        if precision == "bf16" and not (plugin == "CPU" and computes_bf16()):
            raise RuntimeFailure(
                "OpenVINO finds no bfloat16 arithmetic here (AVX-512 BF16 or AMX): choose "
                "--precision fp32"
            )
        if precision == "fp16" and plugin == "CPU":
            raise RuntimeFailure(
                "OpenVINO computes in fp16 on GPUs and NPUs only: choose --precision fp32 or bf16, "
                "or another --device"
            )
        settings: dict[str, Any] = {
            "PERFORMANCE_HINT": hint.upper(),
            # never left to the plugin, so that masks do not depend on the processor's abilities
            "INFERENCE_PRECISION_HINT": {"bf16": "bf16", "fp16": "f16"}.get(precision, "f32"),
        }
        if compiled is not None:
            settings["CACHE_DIR"] = str(compiled)

        def compile_network() -> _Compiled:
            at_once = 1 if one_thread() else threads
            if at_once is not None:  # unpinned, or every process would take the first processors
                settings.update(INFERENCE_NUM_THREADS=at_once, ENABLE_CPU_PINNING=False)
            try:
                # compiled networks are keyed by file
                if compiled is not None and not side_outputs and size is None:
                    return _Compiled(core().compile_model(path, plugin, settings))
                model = read_model(path)
                # side outputs need not be computed
                first = openvino.Model([model.outputs[0]], model.get_parameters(), "network")
                if size is not None:
                    _resize(first, size, path)
                return _Compiled(core().compile_model(first, plugin, settings))
            except RuntimeError as error:
                message = f"OpenVINO cannot load {path} on {plugin}: {error}"
                raise RuntimeFailure(message) from error

        self._compiled = PerProcess(compile_network)

    @property
    def device(self) -> str:
        """Where the network runs now."""
        if self._device != "auto":
            return self._device
        running = self._compiled().model.get_property("EXECUTION_DEVICES")
        return str(running[0]).strip("()").partition(".")[0].lower()

    @property
    def calls_at_once(self) -> int:
        """Number of concurrent calls that keep the device busy."""
        return int(self._compiled().model.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the network's first output for a batch, one image at a time.

        Args:
            batch: (N, C, h, w) float32.

        Returns:
            (N, K, h', w') float32.

        Raises:
            RuntimeFailure: if OpenVINO fails.
        """
        model, requests = self._compiled().model, self._compiled().requests
        try:
            request = requests.get_nowait()
        except queue.Empty:
            request = model.create_infer_request()
        try:
            outputs = []
            for image in batch:  # the embedded graph has a batch size of one
                request.infer([image[np.newaxis]], share_inputs=True)
                outputs.append(request.get_output_tensor(0).data.copy())
        except RuntimeError as error:
            raise RuntimeFailure(f"OpenVINO failed on {self.device}: {error}") from error
        finally:
            requests.put(request)
        return np.concatenate(outputs, dtype=np.float32)  # some files answer in float16


class OpenVINOGraph:
    """A graph of several inputs, compiled by OpenVINO for the processor, in float32.

    Args:
        path: An ONNX file.
        threads: Number of processors to use; all by default.

    Attributes:
        inputs: Number of dimensions of each input, by its name.

    Raises:
        RuntimeFailure: if OpenVINO cannot use the file.
    """

    def __init__(self, path: Path, threads: int | None = None) -> None:
        def compile_graph() -> openvino.CompiledModel:
            settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32"}
            at_once = 1 if one_thread() else threads
            if at_once is not None:
                settings.update(INFERENCE_NUM_THREADS=at_once, ENABLE_CPU_PINNING=False)
            try:
                return core().compile_model(read_model(path), "CPU", settings)
            except RuntimeError as error:
                raise RuntimeFailure(f"OpenVINO cannot load {path}: {error}") from error

        self._compiled = PerProcess(compile_graph)
        self.inputs: Mapping[str, int] = {
            value.get_any_name(): value.get_partial_shape().rank.get_length()
            for value in self._compiled().inputs
        }

    def __call__(self, feeds: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        """Return the outputs by their names.

        Raises:
            RuntimeFailure: if OpenVINO fails.
        """
        request = self._compiled().create_infer_request()
        try:
            found = request.infer(dict(feeds))
        except RuntimeError as error:
            raise RuntimeFailure(f"OpenVINO failed: {error}") from error
        return {value.get_any_name(): np.array(array) for value, array in found.items()}


def read_convolutions(path: Path) -> dict[str, NDArray[Any]]:
    """Return the weight, then the bias of each convolution of an ONNX file, in order, by name.

    Raises:
        WeightsError: if the file cannot be read.
    """
    found: dict[str, NDArray[Any]] = {}
    for node in _read(path).get_ordered_ops():
        if node.get_type_name() not in ("Convolution", "GroupConvolution"):
            continue
        constants = [_restore(node.input_value(1).get_node())]
        for reader in node.output(0).get_target_inputs():
            if reader.get_node().get_type_name() == "Add":
                constants.append(_restore(reader.get_node().input_value(1).get_node()))
        found |= dict(named for named in constants if named is not None)
    return found


def check_graph(path: Path, channels: int, maps: int) -> tuple[int, int] | None:
    """Make sure that a file is a network that can be fed and read as a model's entry says.

    Args:
        path: An ONNX file, or an OpenVINO .xml beside its .bin.
        channels: Channels of the batch.
        maps: Channels of the output.

    Returns:
        (H, W) of its batches; None if any size will do.

    Raises:
        WeightsError: if it is not.
    """
    model = _read(path)
    inputs, output = model.inputs, model.outputs[0].get_partial_shape()
    shape = inputs[0].get_partial_shape() if len(inputs) == 1 else None
    if shape is None or not shape.compatible(openvino.PartialShape([1, channels, -1, -1])):
        taken = ", ".join(str(value.get_partial_shape()) for value in inputs)
        raise WeightsError(
            f"{path}: the network takes {taken or 'nothing'}, not one batch (1, {channels}, h, w)"
        )
    kind = inputs[0].get_element_type()
    if kind not in (openvino.Type.f32, openvino.Type.dynamic):
        raise WeightsError(f"{path}: the network takes {kind}, not f32")
    if not output.compatible(openvino.PartialShape([1, maps, -1, -1])):
        raise WeightsError(f"{path}: the network returns {output}, not (1, {maps}, h, w)")
    if shape.rank.is_dynamic or (shape[2].is_dynamic and shape[3].is_dynamic):
        return None
    if shape[2].is_dynamic or shape[3].is_dynamic:
        raise WeightsError(
            f"{path}: the network fixes one side of {shape}: export both sides fixed, or both open"
        )
    return shape[2].get_length(), shape[3].get_length()


def computes_bf16() -> bool:
    """Tell whether the processor has bfloat16 arithmetic, and OpenVINO uses it."""
    return "BF16" in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def devices() -> list[str]:
    """Return the devices of this machine that OpenVINO can use, by alphacut's names."""
    present = core().available_devices
    single = {name: plugin for name, plugin in DEVICES.items() if "auto" not in name}
    return [name for name, plugin in single.items()
            if any(each.startswith(plugin) for each in present)]  # fmt: skip


def read_model(path: Path) -> openvino.Model:
    """Read an ONNX file, or an OpenVINO .xml beside its .bin.

    Raises:
        RuntimeError: if it cannot be read.
    """
    _extend(core())
    return core().read_model(path)


def _read(path: Path) -> openvino.Model:
    numbers = path.with_suffix(".bin")
    if path.suffix == ".xml" and not numbers.exists():
        raise WeightsError(f"{numbers}: is missing: it belongs to {path.name}")
    try:
        return read_model(path)
    except RuntimeError as error:
        raise WeightsError(f"{path}: OpenVINO cannot read it as a network: {error}") from error


def _resize(model: openvino.Model, size: tuple[int, int], path: Path) -> None:
    """Make a network take batches of another size, if all its maps can grow or shrink alike.

    Exporters write into a graph to which sizes it resizes its maps: those are scaled, too.

    Raises:
        RuntimeFailure: if they cannot.
    """
    shape = model.inputs[0].get_partial_shape()
    if shape[2].is_dynamic or shape[3].is_dynamic:
        model.reshape([1, shape[1], *size])  # takes a quarter less memory than an open size
        return
    own = shape[2].get_length(), shape[3].get_length()
    if own == size:
        return
    refusal = (
        f"{path}: this network takes {own[1]}x{own[0]} and cannot be made to take "
        f"{size[1]}x{size[0]}"
    )
    try:
        model.reshape([1, shape[1], *own])
        targets = {node.input(1): node.get_output_shape(0) for node in model.get_ordered_ops()
                   if node.get_type_name() == "Interpolate"
                   and node.get_attributes()["shape_calculation_mode"] == "sizes"
                   and _is_fed(node)}  # fmt: skip
        model.get_parameters()[0].set_partial_shape(openvino.PartialShape([1, shape[1], *size]))
        for asked, (n, c, h, w) in targets.items():
            scaled = h * size[0] / own[0], w * size[1] / own[1]
            if any(side % 1 for side in scaled):
                raise RuntimeFailure(f"{refusal}: choose multiples of 32")
            axes = asked.get_shape()[0]  # all four, or the last two
            sides = np.array([n, c, *scaled][-axes:], np.int64)
            asked.replace_source_output(openvino.opset13.constant(sides).output(0))
        model.validate_nodes_and_infer_types()
    except (RuntimeError, ValueError) as error:
        raise RuntimeFailure(f"{refusal}: export it at that size") from error


def _restore(node: Any) -> tuple[str, NDArray[Any]] | None:
    """Return name and value of a weight, whatever it is stored as; None if it is not constant."""
    if (stored := _constant(node)) is None:
        return None
    value, name = stored.data, stored.get_friendly_name()
    while node is not stored and node.get_type_name() != "Divide":
        node = node.input_value(0).get_node()
    if node is not stored:  # 8 bits, and how many of their steps are 1
        per_unit = _constant(node.input_value(1).get_node()).data
        return name.removesuffix(".int8"), value.astype(np.float32) / per_unit
    return name, value


def _is_fed(node: Any) -> bool:
    """Tell whether a node's answer depends on the batch."""
    seen, rest = set(), [node]
    while rest:
        name = (node := rest.pop()).get_name()
        if node.get_type_name() == "Parameter":
            return True
        if name not in seen:
            seen.add(name)
            rest += [value.get_node() for value in node.input_values()]
    return False


def _constant(node: Any) -> Any:
    """Return the constant that a node's first inputs lead to; None if there is none."""
    while node.get_type_name() != "Constant":
        if not node.get_input_size():
            return None
        node = node.input_value(0).get_node()
    return node
