"""From a PyTorch network to a file for other runtimes, compared with PyTorch before it is kept."""

import contextlib
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch

from alphacut import files
from alphacut.errors import MissingExtra, RuntimeFailure
from alphacut.models import nets
from alphacut.models.nets.birefnet import DeformableConv
from alphacut.models.nets.mobile_sam import MobileSAM, PromptedMasks
from alphacut.runtimes.openvino import OpenVINORuntime, openvino, read_model

# How far outputs may differ from PyTorch's, relative to the largest value. Rounding weights to
# float16 moves single pixels far where a network is undecided, so only the mean is meaningful.
LARGEST = 1e-3
MEAN_FP16 = 1e-2
_AXES = {0: "N", 2: "H", 3: "W"}


class Difference(NamedTuple):
    """How far a file's outputs are from PyTorch's, relative to the largest of those.

    Attributes:
        mean: The mean difference.
        percentile: The difference that 99.9 % of the values stay below.
        largest: The largest, which says little of float16 weights.
    """

    mean: float
    percentile: float
    largest: float

    def __str__(self) -> str:
        """Say what matters: how the outputs differ on the whole, and nearly everywhere."""
        return (
            f"{self.mean:.1e} on average, 99.9 % of the values by less than {self.percentile:.1e}"
        )


def write_graph(
    network: torch.nn.Module,
    target: Path,
    *,
    to: Literal["onnx", "openvino"],
    channels: int,
    sizes: Sequence[tuple[int, int]],
    dynamic: bool = False,
    fp16: bool = False,
) -> Difference:
    """Write a network as ONNX (.onnx) or as OpenVINO's own format (.xml beside .bin).

    The graph starts at the batch and ends at the network's output; it contains none of the
    pipeline. Before the file is put in place, its outputs for random batches are compared with
    PyTorch's.

    Args:
        network: The network, in eval mode, on the CPU, float32.
        target: The file; replaced if it exists.
        to: Its format.
        channels: Channels of the batch.
        sizes: (H, W) of the batches to compare; the graph is traced at the first of them.
        dynamic: Whether N, H and W may differ from the first batch's.
        fp16: Whether to store weights as float16, in half the space, once the float32 graph has
            been compared; arithmetic, input and output stay float32. In ONNX, what a network's
            attribute `exact` names, such as "first.", stays float32 as well.

    Returns:
        How far its outputs are from PyTorch's.

    Raises:
        RuntimeFailure: if the network cannot be exported or the outputs differ.
        OutputError: if the file cannot be written.
    """
    example = torch.rand(1, channels, *sizes[0])
    batches = [_smooth(2 if dynamic else 1, channels, size)
               for size in (sizes if dynamic else sizes[:1])]  # fmt: skip
    try:
        with warnings.catch_warnings():
            # both converters use tracing, which PyTorch deprecates
            warnings.simplefilter("ignore")
            with _drafts(target, to) as draft:
                if to == "onnx":
                    _write_onnx(network, example, draft, dynamic)
                else:
                    model = _convert(network, example, dynamic)
                    openvino.save_model(model, draft, compress_to_fp16=False)
                difference = _compare(network, draft, target, batches)
                if fp16:
                    if to == "onnx":
                        _halve(draft, getattr(network, "exact", None))
                    else:
                        openvino.save_model(model, draft, compress_to_fp16=True)
                    difference = _compare(network, draft, target, batches, fp16)
            return difference
    except (RuntimeError, torch.onnx.errors.OnnxExporterError) as error:
        raise RuntimeFailure(f"{target}: the network cannot be exported: {error}") from error


def write_decoder(network: torch.nn.Module, target: Path) -> None:
    """Write the part of a network that answers prompts as ONNX, for any number of points.

    Args:
        network: A MobileSAM, in eval mode, on the CPU, float32.
        target: The file; replaced if it exists.

    Raises:
        RuntimeFailure: if it cannot be exported.
        OutputError: if the file cannot be written.
    """
    assert isinstance(network, MobileSAM)
    example = torch.zeros(1, 256, 64, 64), torch.zeros(1, 3, 2), torch.tensor([[1.0, 2.0, 3.0]])
    points = {1: "P"}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with _drafts(target, "onnx") as draft:
                torch.onnx.export(
                    PromptedMasks(network).eval(), example, draft, dynamo=False,
                    input_names=["image_embeddings", "point_coords", "point_labels"],
                    output_names=["low_res_masks", "iou_predictions"],
                    dynamic_axes={"point_coords": points, "point_labels": points},
                )  # fmt: skip
    except (RuntimeError, torch.onnx.errors.OnnxExporterError) as error:
        raise RuntimeFailure(f"{target}: the network cannot be exported: {error}") from error


@contextlib.contextmanager
def _drafts(target: Path, to: str) -> Iterator[Path]:
    """Yield a path in a temporary folder, whose files are moved into place on success.

    Raises:
        OutputError: if a file cannot be written; nothing is left behind.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".", dir=target.parent) as folder:
            yield Path(folder) / target.with_suffix(".onnx" if to == "onnx" else ".xml").name
            for draft in sorted(Path(folder).iterdir()):  # .bin before the .xml that needs it
                draft.replace(target.with_name(draft.name))
    except OSError as error:
        raise files.unwritable(target, error) from error


def _smooth(n: int, channels: int, size: tuple[int, int]) -> torch.Tensor:
    """Return a random batch whose neighbouring pixels agree, as a photograph's do.

    White noise would not do: trained networks return nonsense for it, which any rounding changes.
    """
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(n, channels, *(side // 16 + 2 for side in size), generator=generator)
    batch = torch.nn.functional.interpolate(coarse, size, mode="bicubic", align_corners=False)
    return batch + torch.rand(batch.shape, generator=generator) / 32


def _write_onnx(network: torch.nn.Module, example: torch.Tensor, path: Path, dynamic: bool) -> None:
    deformable = any(isinstance(module, DeformableConv) for module in network.modules())
    torch.onnx.export(
        nets.fold_batch_norm(network),  # so that weights keep their names and can be read back
        (example,),
        path,
        dynamo=False,
        opset_version=19 if deformable else None,  # the first that has DeformConv
        input_names=["batch"],
        output_names=["output"],
        dynamic_axes={"batch": _AXES, "output": _AXES} if dynamic else None,
    )


def _convert(network: torch.nn.Module, example: torch.Tensor, dynamic: bool) -> openvino.Model:
    """Convert a network by way of ONNX, which has an operation for deformable convolution."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        _write_onnx(network, example, path, dynamic)
        return read_model(path)


def _halve(path: Path, exact: str | None = None) -> None:
    """Store weights of an ONNX file as float16, each followed by a cast to float32.

    Those whose names begin with `exact` stay as they are.
    """
    try:
        import onnx
    except ImportError as error:
        raise MissingExtra("onnx", "export") from error
    model = onnx.load(path)
    casts = []
    for tensor in model.graph.initializer:
        kept = exact is not None and tensor.name.startswith(exact)
        if tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) >= 1 and not kept:
            name, half = tensor.name, onnx.numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(onnx.numpy_helper.from_array(half, name))
            casts.append(
                onnx.helper.make_node("Cast", [name], [f"{name}.float"], to=onnx.TensorProto.FLOAT)
            )
    halved = {cast.input[0] for cast in casts}
    for node in model.graph.node:
        node.input[:] = [f"{name}.float" if name in halved else name for name in node.input]
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, path)


def _compare(
    network: torch.nn.Module,
    draft: Path,
    target: Path,
    batches: Sequence[torch.Tensor],
    fp16: bool = False,
) -> Difference:
    """Return how far a file's outputs are from the network's, over the worst of the batches.

    Raises:
        RuntimeFailure: if it is too large; with float16 weights, if the mean difference is; or if
            the network's outputs say nothing.
    """
    runtime = OpenVINORuntime(draft)
    worst = Difference(0, 0, 0)
    for batch in batches:
        with torch.inference_mode():
            expected = network(batch).numpy()
        largest = np.abs(expected).max()
        if not largest > 0:
            answer = "0 everywhere" if largest == 0 else "not numbers"
            raise RuntimeFailure(
                f"{target}: not written, since PyTorch's outputs are {answer}, which no file can "
                "be compared with: train the network further, or take other weights"
            )
        difference = np.abs(runtime(batch.numpy()) - expected) / largest
        found = difference.mean(), np.percentile(difference, 99.9), difference.max()
        worst = Difference(*(float(np.maximum(a, b)) for a, b in zip(worst, found, strict=True)))
    if not (worst.mean <= MEAN_FP16 if fp16 else worst.largest <= LARGEST):  # NaN fails, too
        raise RuntimeFailure(
            f"{target}: not written, since its outputs differ from PyTorch's by up to "
            f"{worst.largest:.2g} of the largest, {worst.mean:.2g} on average"
        )
    return worst
