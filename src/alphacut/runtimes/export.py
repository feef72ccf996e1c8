"""From a network in PyTorch to a file for other runtimes, compared with PyTorch at once."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import openvino
import torch

from alphacut import weights
from alphacut.errors import MissingExtra, RuntimeFailure
from alphacut.runtimes.openvino import OpenVINORuntime

# Largest difference from PyTorch, of the largest value, by the precision of the weights
TOLERANCE = {False: 1e-3, True: 5e-2}
_AXES = {0: "N", 2: "H", 3: "W"}


def export(
    network: torch.nn.Module,
    target: Path,
    *,
    to: Literal["onnx", "openvino"],
    channels: int,
    sizes: Sequence[tuple[int, int]],
    dynamic: bool = False,
    fp16: bool = False,
) -> float:
    """Write a network as ONNX (.onnx) or as OpenVINO's own format (.xml beside .bin).

    The graph begins at the batch and ends at the network's output; nothing of the pipeline is in
    it. Before the file takes its place, its answers to random batches are compared with PyTorch's.

    Args:
        network: The network, in eval mode, on the CPU, float32.
        target: The file; replaced if it exists.
        to: Its format.
        channels: Channels of the batch.
        sizes: (H, W) of the batches to compare; the graph is made at the first of them.
        dynamic: Whether N, H and W may be others than at the first size.
        fp16: Whether weights are stored as float16, in half the space; arithmetic and the two
            ends stay float32.

    Returns:
        The largest difference from PyTorch, of PyTorch's largest value.

    Raises:
        RuntimeFailure: if the network cannot be exported or the answers differ.
        WeightsError: if the file cannot be written.
    """
    example = torch.rand(1, channels, *sizes[0])
    compared = sizes if dynamic else sizes[:1]
    try:
        with warnings.catch_warnings():
            # both converters are built on tracing, which PyTorch calls its older way
            warnings.simplefilter("ignore")
            if to == "onnx":
                with weights.whole_file(target.with_suffix(".onnx")) as part:
                    _write_onnx(network, example, part, dynamic, fp16)
                    return _compare(network, part, target, compared, channels, dynamic, fp16)
            # the two files are renamed from the inside out: weights before the graph over them
            with (
                weights.whole_file(target.with_suffix(".xml")) as graph,
                weights.whole_file(target.with_suffix(".bin")),
            ):
                _write_openvino(network, example, graph, dynamic, fp16)
                return _compare(network, graph, target, compared, channels, dynamic, fp16)
    except (RuntimeError, torch.onnx.errors.OnnxExporterError) as error:
        raise RuntimeFailure(f"{target}: the network cannot be exported: {error}") from error


def _write_onnx(
    network: torch.nn.Module, example: torch.Tensor, path: Path, dynamic: bool, fp16: bool
) -> None:
    torch.onnx.export(
        network,
        (example,),
        path,
        dynamo=False,
        input_names=["batch"],
        output_names=["output"],
        dynamic_axes={"batch": _AXES, "output": _AXES} if dynamic else None,
    )
    if fp16:
        _halve(path)


def _write_openvino(
    network: torch.nn.Module, example: torch.Tensor, path: Path, dynamic: bool, fp16: bool
) -> None:
    shape = [-1, example.shape[1], -1, -1] if dynamic else list(example.shape)
    model = openvino.convert_model(network, example_input=example, input=shape)
    model.inputs[0].set_names({"batch"})
    model.outputs[0].set_names({"output"})
    openvino.save_model(model, path, compress_to_fp16=fp16)


def _halve(path: Path) -> None:
    """Store the weights of an ONNX file as float16, each with a cast to float32 behind it."""
    try:
        import onnx
    except ImportError as error:
        raise MissingExtra("onnx", "export") from error
    model = onnx.load(path)
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) >= 1:
            name, half = tensor.name, onnx.numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(onnx.numpy_helper.from_array(half, f"{name}.half"))
            casts.append(
                onnx.helper.make_node("Cast", [tensor.name], [name], to=onnx.TensorProto.FLOAT)
            )
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, path)


def _compare(
    network: torch.nn.Module,
    draft: Path,
    target: Path,
    sizes: Sequence[tuple[int, int]],
    channels: int,
    dynamic: bool,
    fp16: bool,
) -> float:
    """Return the largest difference between a file's answers and the network's.

    Raises:
        RuntimeFailure: if it is too large.
    """
    runtime = OpenVINORuntime(draft)
    worst = 0.0
    for size in sizes:
        batch = torch.rand(2 if dynamic else 1, channels, *size)
        with torch.inference_mode():
            expected = network(batch).numpy()
        difference = np.abs(runtime(batch.numpy()) - expected).max() / np.abs(expected).max()
        worst = max(worst, float(difference))
    if not worst <= TOLERANCE[fp16]:  # also where it is not a number
        raise RuntimeFailure(
            f"{target}: is not written, since its answers differ from PyTorch's by {worst:.2g} of "
            "the largest"
        )
    return worst
