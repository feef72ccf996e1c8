"""Quantize a network: 8-bit weights and activations, in one ONNX file.

For U-shaped networks of convolutions and ReLUs, whose channels can be scaled freely. Four steps:

1. Equalise: divide each channel of each feature map by a power of its maximum, and multiply the
   next convolution by it. The network computes the same (ReLU(s x) = s ReLU(x), and pooling,
   resizing and concatenation keep channels apart), but all maps share one range and one scale
   (Nagel et al. 2019, arXiv 1906.04721).
2. Keep fragile convolutions in float32: those whose inputs hardly vary and whose weights and bias
   cancel. Rounding such weights costs more than the signal they carry.
3. Round the weights one input at a time, compensating each error with the inputs that follow
   (Frantar et al. 2022, arXiv 2210.17323), and correct the bias for the rest.
4. Write QuantizeLinear and DequantizeLinear around them, which runtimes fuse into 8-bit kernels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from alphacut import files
from alphacut.errors import MissingExtra, WeightsError

if TYPE_CHECKING:
    import onnx

Array = NDArray[np.float32]
Double = NDArray[np.float64]

_EQUALISED = 0.5  # exponent of the ranges: half of their spread moves into the weights
_QUIETEST = 0.02  # share of its map's maximum that every channel is assumed to reach
_HEADROOM = 1.25  # other images exceed the calibrated maxima, and values beyond the range are lost
_FRAGILE = 0.002  # rounding noise of the weights over the signal's variance; others have 1e-3 less
_MOMENT_BATCHES = 24  # batches from which covariances are estimated
_POSITIONS = 1200  # sampled in each of them
_DAMPING = 0.01  # share of the mean variance added to all, so that the inverse exists
_PASSING = {"MaxPool", "Resize"}  # each channel keeps its factor
_KNOWN = {"Conv", "Relu", "Add", "Concat", "Sigmoid", *_PASSING}


def round_weights(source: Path, target: Path, exact: str | None = None) -> None:
    """Write a float32 network with 8-bit weights, a scale for each output channel.

    That is a quarter of the space, whatever the network is made of; arithmetic stays float32, and
    runtimes restore the weights as they load the file.

    Args:
        source: ONNX file.
        target: The file; replaced if it exists.
        exact: What the names of weights begin with that stay float32, such as "first.".

    Raises:
        OutputError: if `target` cannot be written.
        MissingExtra: if onnx is not installed.
    """
    try:
        import onnx
        from onnx import helper, numpy_helper
    except ImportError as error:
        raise MissingExtra("onnx", "export") from error
    model = onnx.load(source)
    convolved = {node.input[1] for node in model.graph.node if node.op_type == "Conv"}
    restored, scales = [], []
    for tensor in model.graph.initializer:
        name = tensor.name
        if name not in convolved or (exact is not None and name.startswith(exact)):
            continue
        weight = numpy_helper.to_array(tensor)
        each = (len(weight), *[1] * (weight.ndim - 1))
        per_unit = (1 / _steps(weight.reshape(len(weight), -1))).astype(np.float32).reshape(each)
        levels = np.rint(weight * per_unit).astype(np.int8)
        whole, real, scale = f"{name}.int8", f"{name}.real", f"{name}.scale"
        tensor.CopyFrom(numpy_helper.from_array(levels, whole))
        scales.append(numpy_helper.from_array(per_unit, scale))
        # a division is worked out as the file is loaded. DequantizeLinear or a product is not, and
        # OpenVINO 2026.4 then answers nonsense in half of the processes that have two streams
        restored += [
            helper.make_node("Cast", [whole], [real], to=onnx.TensorProto.FLOAT),
            helper.make_node("Div", [real, scale], [name]),
        ]
    model.graph.initializer.extend(scales)
    nodes = [type(node).FromString(node.SerializeToString())
             for node in (*restored, *model.graph.node)]  # fmt: skip
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    files.write(target, [model.SerializeToString(deterministic=True)])


def quantize_first(full: Path, first: Path, target: Path) -> None:
    """Write alphacut-lite with its first look, U-2-Net-lite, in 8 bits.

    The first look is nearly all of its arithmetic, and is as it was published, so its part of the
    graph is replaced by the file that `quantize` made of U-2-Net-lite. The second look stays as it
    is: depth-wise convolutions gain little from 8-bit arithmetic.

    Args:
        full: ONNX file of alphacut-lite.
        first: ONNX file of U-2-Net-lite in 8 bits, at the same input size.
        target: The file; replaced if it exists.

    Raises:
        WeightsError: if one of the files is not such a network.
        OutputError: if `target` cannot be written.
        MissingExtra: if onnx is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise MissingExtra("onnx", "export") from error
    whole, part = (onnx.load(path) for path in (full, first))
    logits = ["outconv", *(f"side{k}" for k in range(1, 7))]  # what the second look is told
    ours, theirs = (
        [_output_of(graph, f"{prefix}{name}.weight") for name in logits]
        for graph, prefix in ((whole.graph, "first."), (part.graph, ""))
    )
    for path, found, name in ((full, ours, "alphacut-lite"), (first, theirs, "U-2-Net-lite")):
        if None in found:
            raise WeightsError(f"{path}: is not {name}")
    batch = whole.graph.input[0].name
    renamed = {part.graph.input[0].name: batch}
    part.graph.node.pop()  # its sigmoid
    for node in part.graph.node:
        for names in (node.input, node.output):
            names[:] = [renamed.get(name, f"8bit.{name}") if name else name for name in names]
    for tensor in part.graph.initializer:
        tensor.name = f"8bit.{tensor.name}"
    told = {mine: f"8bit.{other}" for mine, other in zip(ours, theirs, strict=True)}
    for node in whole.graph.node:
        node.input[:] = [told.get(name, name) for name in node.input]
    nodes = [*part.graph.node, *whole.graph.node]
    needed = {output.name for output in whole.graph.output}
    kept = []
    for node in reversed(nodes):
        if needed.intersection(node.output):
            needed.update(node.input)
            kept.append(type(node).FromString(node.SerializeToString()))
    tensors = [
        type(tensor).FromString(tensor.SerializeToString())
        for tensor in (*part.graph.initializer, *whole.graph.initializer)
        if tensor.name in needed
    ]
    for field, values in (("node", kept[::-1]), ("initializer", tensors)):
        whole.graph.ClearField(field)
        getattr(whole.graph, field).extend(values)
    files.write(target, [whole.SerializeToString()])


def _output_of(graph: "onnx.GraphProto", weight: str) -> str | None:
    """The name of what the convolution with a weight, exact or in 8 bits, puts out."""
    of_weight = {weight, f"{weight}.real", f"{weight}.float"}
    found = (node.output[0] for node in graph.node
             if node.op_type == "Conv" and node.input[1] in of_weight)  # fmt: skip
    return next(found, None)


@dataclass
class _Moments:
    """Mean (D,) and covariance (D, D) of a convolution's inputs; D = C * kh * kw."""

    mean: Double
    covariance: Double


def quantize(source: Path, batches: Sequence[Array], target: Path) -> list[str]:
    """Write an int8 version of a float32 network.

    This takes a few minutes: each batch is run once, some of them twice.

    Args:
        source: ONNX file with one input, made of convolutions, ReLUs, max pooling, resizes,
            concatenations, sums of two ReLUs, and sigmoids; batch norms folded.
        batches: (1, C, h, w) float32, preprocessed as for inference, from about 100 varied images;
            with too few, rare values are clipped.
        target: ONNX file to write, opset 13.

    Returns:
        Names of the convolutions that stay float32.

    Raises:
        MissingExtra: if onnx is not installed.
        WeightsError: if the network is of another kind, or there are no batches.
        OutputError: if the file cannot be written.
    """
    try:
        import onnx
        from onnx import numpy_helper, version_converter
    except ImportError as error:
        raise MissingExtra("onnx", "quantize") from error
    if not batches:
        raise WeightsError("no images to calibrate with: give a folder that holds about 100")
    model = onnx.load(source)
    if model.opset_import[0].version < 13:  # the first with a scale for each channel
        model = version_converter.convert_version(model, 13)
    _check(model.graph, source)
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}

    factors = _factors(model.graph, _maxima(model, batches))
    _equalise(model.graph, arrays, factors)
    _store(model.graph, arrays)
    moments = _moments(model, batches[:: -(-len(batches) // _MOMENT_BATCHES)])

    rounded: set[str] = set()
    kept: list[str] = []
    for conv in (node for node in model.graph.node if node.op_type == "Conv"):
        of_inputs = moments[conv.output[0]]
        if conv.input[0] in factors and _noise(arrays[conv.input[1]], of_inputs) < _FRAGILE:
            _round(conv, arrays, of_inputs)
            rounded.add(conv.output[0])
        else:
            kept.append(conv.input[1].removesuffix(".weight"))
    arrays["range"] = np.array(_HEADROOM / 255, np.float32)  # equalised maps end at 1
    arrays["zero"] = np.array(0, np.uint8)
    _insert(model.graph, factors, rounded)
    _store(model.graph, arrays)
    onnx.checker.check_model(model, full_check=True)
    with files.replacing(target, make_folder=True) as part:
        part.write_bytes(model.SerializeToString(deterministic=True))
    return kept


# --- the network ---


def _check(graph: "onnx.GraphProto", source: Path) -> None:
    made_by = {name: node.op_type for node in graph.node for name in node.output}
    for node in graph.node:
        if node.op_type not in _KNOWN:
            raise WeightsError(f"{source}: cannot quantize the operation {node.op_type}")
        if node.op_type == "Add" and {made_by.get(name) for name in node.input} != {"Relu"}:
            raise WeightsError(
                f"{source}: cannot quantize a sum of other terms than two ReLUs ({node.name})"
            )
        if node.op_type == "Relu" and made_by.get(node.input[0]) != "Conv":
            raise WeightsError(f"{source}: cannot quantize a ReLU of anything but a convolution")


def _attributes(node: "onnx.NodeProto") -> dict[str, Any]:
    from onnx import helper

    return {each.name: helper.get_attribute_value(each) for each in node.attribute}


def _store(graph: "onnx.GraphProto", arrays: dict[str, NDArray[Any]]) -> None:
    """Make the graph's initializers of the arrays that it uses."""
    from onnx import numpy_helper

    used = dict.fromkeys(name for node in graph.node for name in node.input)
    del graph.initializer[:], graph.value_info[:]
    graph.initializer.extend(
        numpy_helper.from_array(arrays[name], name) for name in used if name in arrays
    )


# --- calibration ---


def _maxima(model: "onnx.ModelProto", batches: Sequence[Array]) -> dict[str, Array]:
    """Return the largest value of each channel (C,) of each ReLU and sum, over all batches."""
    from alphacut.runtimes.openvino import core, openvino

    full = core().read_model(model.SerializeToString())
    wanted = [node.output[0] for node in model.graph.node if node.op_type in ("Relu", "Add")]
    outputs = {
        name: output
        for op in full.get_ops()
        for output in op.outputs()
        for name in output.get_names()
    }
    opset = openvino.opset13
    axes = opset.constant(np.array([0, 2, 3]))
    maxima = [opset.result(opset.reduce_max(outputs[name], axes)) for name in wanted]
    request = _request(openvino.Model(maxima, full.get_parameters()))
    largest = [np.zeros(1, np.float32)] * len(wanted)
    for batch in batches:
        request.infer([batch])
        for k in range(len(wanted)):
            largest[k] = np.maximum(largest[k], request.get_output_tensor(k).data)
    return dict(zip(wanted, largest, strict=True))


def _moments(model: "onnx.ModelProto", batches: Sequence[Array]) -> dict[str, _Moments]:
    """Return the moments of each convolution's inputs, by the name of its output."""
    from alphacut.runtimes.openvino import core

    convs = [node for node in model.graph.node if node.op_type == "Conv"]
    source = model.graph.input[0].name
    full = core().read_model(model.SerializeToString())
    full.add_outputs(sorted({conv.input[0] for conv in convs} - {source}))
    request = _request(full)
    rng = np.random.default_rng(0)
    count: dict[str, int] = {}
    total: dict[str, Any] = {}
    squares: dict[str, Any] = {}
    for batch in batches:
        request.infer([batch])
        for conv in convs:
            name = conv.output[0]
            maps = batch if conv.input[0] == source else request.get_tensor(conv.input[0]).data
            patches = _patches(maps[0], _attributes(conv), rng)
            count[name] = count.get(name, 0) + len(patches)
            total[name] = total.get(name, 0) + patches.sum(axis=0, dtype=np.float64)
            squares[name] = squares.get(name, 0) + (patches.T @ patches).astype(np.float64)
    moments = {}
    for name, n in count.items():
        mean = total[name] / n
        moments[name] = _Moments(mean, squares[name] / n - np.outer(mean, mean))
    return moments


def _request(model: Any) -> Any:
    from alphacut.runtimes.openvino import core

    settings = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    return core().compile_model(model, "CPU", settings).create_infer_request()


def _patches(maps: Array, conv: dict[str, Any], rng: np.random.Generator) -> Array:
    """Return a convolution's inputs (N, C * kh * kw) at random positions of maps (C, H, W)."""
    (kh, kw), (top, left, bottom, right) = conv["kernel_shape"], conv["pads"]
    (dy, dx), (sy, sx) = conv["dilations"], conv["strides"]
    padded = np.pad(maps, ((0, 0), (top, bottom), (left, right)))
    h = (padded.shape[1] - dy * (kh - 1) - 1) // sy + 1
    w = (padded.shape[2] - dx * (kw - 1) - 1) // sx + 1
    y, x = np.divmod(rng.choice(h * w, min(_POSITIONS, h * w), replace=False), w)
    taps = [padded[:, y * sy + i * dy, x * sx + j * dx] for i in range(kh) for j in range(kw)]
    patches: Array = np.stack(taps, axis=-1).transpose(1, 0, 2).reshape(len(y), -1)
    return patches


# --- 1. equalise ---


def _factors(graph: "onnx.GraphProto", maxima: dict[str, Array]) -> dict[str, Array]:
    """Return what to divide each channel (C,) of each map by; only maps of ReLUs have factors."""
    factors: dict[str, Array] = {}
    for name, largest in maxima.items():
        max_value = max(float(largest.max()), 1e-6)
        share = np.maximum(largest / max_value, _QUIETEST)
        factors[name] = max_value * share**_EQUALISED
    for node in graph.node:
        if node.op_type == "Add":  # a sum and its terms share one factor
            factors.update(dict.fromkeys(node.input, factors[node.output[0]]))
    for node in graph.node:
        if node.op_type in _PASSING and node.input[0] in factors:
            factors[node.output[0]] = factors[node.input[0]]
        elif node.op_type == "Concat" and all(name in factors for name in node.input):
            factors[node.output[0]] = np.concatenate([factors[name] for name in node.input])
    return factors


def _equalise(
    graph: "onnx.GraphProto", arrays: dict[str, NDArray[Any]], factors: dict[str, Array]
) -> None:
    """Move the factors of the maps into the convolutions before and after them."""
    after = {node.input[0]: node.output[0] for node in graph.node if node.op_type == "Relu"}
    for conv in (node for node in graph.node if node.op_type == "Conv"):
        weight, bias = conv.input[1], conv.input[2]
        if conv.input[0] in factors:
            arrays[weight] = arrays[weight] * factors[conv.input[0]][:, None, None]
        if conv.output[0] in after:
            factor = factors[after[conv.output[0]]]
            arrays[weight] = arrays[weight] / factor[:, None, None, None]
            arrays[bias] = arrays[bias] / factor


# --- 2. and 3. the weights ---


def _noise(weight: Array, inputs: _Moments) -> float:
    """Return the mean ratio of the rounded weights' noise to the variance of the outputs."""
    rows = weight.reshape(len(weight), -1).astype(np.float64)
    step = _steps(rows)
    signal = np.einsum("oi,ij,oj->o", rows, inputs.covariance, rows)
    power = float(np.trace(inputs.covariance) + inputs.mean @ inputs.mean)
    return float(np.mean(step**2 / 12 * power / np.maximum(signal, 1e-12)))


def _round(conv: "onnx.NodeProto", arrays: dict[str, NDArray[Any]], inputs: _Moments) -> None:
    """Replace a convolution's weights by 8-bit ones and a scale per output; correct its bias."""
    weight, bias = conv.input[1], conv.input[2]
    rows = arrays[weight].reshape(len(arrays[weight]), -1).astype(np.float64)
    step = _steps(rows)
    levels = _round_in_turn(rows, step, inputs.covariance)
    lost = rows - levels * step[:, None]
    arrays[f"{weight}.int8"] = levels.reshape(arrays[weight].shape).astype(np.int8)
    arrays[f"{weight}.scale"] = step.astype(np.float32)
    arrays[bias] = (arrays[bias] + lost @ inputs.mean).astype(np.float32)


def _steps(rows: NDArray[np.floating]) -> Double:
    """Return the steps (O,) in which 127 reach the largest weight of each output, (O, D)."""
    return np.asarray(np.maximum(np.abs(rows).max(axis=1), 1e-12) / 127, np.float64)


def _round_in_turn(rows: Double, step: Double, covariance: Double) -> Double:
    """Return weights (O, D) in steps (O,), -127 to 127, with the least error on inputs (D, D)."""
    D = rows.shape[1]
    damped = covariance + np.eye(D) * (_DAMPING * np.trace(covariance) / D + 1e-12)
    compensation = np.linalg.cholesky(np.linalg.inv(damped)).T
    rest, levels = rows.copy(), np.zeros_like(rows)
    for start in range(0, D, 64):  # in blocks, so that later columns are updated once per block
        stop = min(start + 64, D)
        lost = np.zeros((len(rows), stop - start))
        for d in range(start, stop):
            levels[:, d] = np.clip(np.rint(rest[:, d] / step), -127, 127)
            lost[:, d - start] = (rest[:, d] - levels[:, d] * step) / compensation[d, d]
            rest[:, d:stop] -= np.outer(lost[:, d - start], compensation[d, d:stop])
        rest[:, stop:] -= lost @ compensation[start:stop, stop:]
    return levels


# --- 4. the graph ---


def _insert(graph: "onnx.GraphProto", factors: dict[str, Array], rounded: set[str]) -> None:
    """Insert 8-bit maps and weights before the rounded convolutions, and nowhere else."""
    from onnx import helper

    wanted = set(rounded)  # outputs of nodes that read 8-bit maps
    needed: set[str] = set()  # the maps they read
    for node in reversed(graph.node):
        passes = node.op_type in {*_PASSING, "Concat", "Add"} and node.output[0] in factors
        if node.output[0] in rounded or (passes and node.output[0] in needed):
            wanted.add(node.output[0])
            needed.update(name for name in node.input if name in factors)
    nodes = []
    for node in graph.node:
        if node.output[0] in wanted:
            for k, name in enumerate(node.input):
                if f"{name}.real" in factors:
                    node.input[k] = f"{name}.real"
        if node.output[0] in rounded:
            weight = node.input[1]
            node.input[1] = f"{weight}.real"
            scaled = [f"{weight}.int8", f"{weight}.scale"]
            nodes.append(helper.make_node("DequantizeLinear", scaled, [f"{weight}.real"], axis=0))
        nodes.append(node)
        output = node.output[0]
        if node.op_type in ("Relu", "Add", "Resize") and output in needed:
            real, whole = f"{output}.real", f"{output}.int8"
            nodes.append(helper.make_node("QuantizeLinear", [output, "range", "zero"], [whole]))
            nodes.append(helper.make_node("DequantizeLinear", [whole, "range", "zero"], [real]))
            factors[real] = factors[output]
    copies = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)
