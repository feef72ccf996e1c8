"""The seam: a loaded network, batch in, output out."""

import dataclasses
import platform
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from alphacut.errors import RuntimeFailure, UnknownName, WeightsError
from alphacut.models import weights
from alphacut.models.download import Progress
from alphacut.models.entry import NO_NETWORK, Format, ModelSpec
from alphacut.options import DEFAULT_MODEL, RUNTIMES

if TYPE_CHECKING:
    from alphacut.runtimes.graph import Difference

Hint = Literal["latency", "throughput"]
_BF16_LOSS = 1e-3  # mean difference of a saliency up to which bfloat16 is as good as float32
# Sizes at which a graph is traced and compared if the model's entry leaves them open
_SIZES = ((256, 320), (192, 416))


class Runtime(Protocol):
    """A loaded network. Any object with these attributes that can be called so is a runtime."""

    @property
    def device(self) -> str:
        """Where the network runs, by alphacut's name: "cpu", "gpu", "cuda", "mps" or "npu"."""
        ...

    @property
    def prefers_batches(self) -> bool:
        """Whether one call with several images is faster than one call for each."""
        ...

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the network's first output (N, K, h', w') for a batch (N, C, h, w).

        Both are float32. The caller owns the output. Several threads may call at once.
        """
        ...


def load(
    spec: ModelSpec,
    *,
    runtime: str = "openvino",
    device: str = "auto",
    precision: str = "auto",
    size: tuple[int, int] | None = None,
    hint: Hint = "latency",
    threads: int | None = None,
    path: Path | None = None,
    accept_license: bool = False,
    progress: Progress | None = None,
) -> Runtime:
    """Load a model's network. Runtime, device and precision are chosen here and nowhere else.

    There is no fallback: whatever is asked for and missing is an error.

    Args:
        spec: The model's entry.
        runtime: "openvino", "onnx" or "torch".
        device: "auto", or one that the runtime supports: "cpu", "gpu", "cuda", "mps", "npu" or
            "openvino-auto".
        precision: "fp32"; "int8"; "bf16", for PyTorch on CUDA, and OpenVINO on processors that have
            such arithmetic; "fp16", for PyTorch on CUDA, and OpenVINO on a GPU or NPU; or "auto":
            int8 if the entry has it, else bf16 if its loss was measured and is small, where the
            processor gains; else fp32.
        size: (H, W) of the batches, if not the weights' own.
        hint: What OpenVINO compiles for: the "latency" of one call, or the "throughput" of many
            concurrent ones.
        threads: Number of processors to use; all by default.
        path: Weights to use instead of the entry's own, unverified.
        accept_license: Whether the user accepts terms that do not allow every use.
        progress: Called for every block of a download.

    Raises:
        UnknownName: if there is no such runtime or device.
        WeightsError: if the weights are missing or damaged, or their terms are not accepted.
        MissingExtra: if the runtime is not installed.
        RuntimeFailure: if the device is absent or the library fails, or the network cannot take
            batches of this size.
    """
    if spec.name == NO_NETWORK.name:
        from alphacut.runtimes.none import NoRuntime

        return NoRuntime()
    if runtime not in RUNTIMES:
        raise UnknownName("runtime", runtime, RUNTIMES)
    if spec.output == "masks" and path is None:
        return _load_prompted(
            spec, runtime=runtime, device=device, precision=precision, size=size, hint=hint,
            threads=threads, accept_license=accept_license, progress=progress,
        )  # fmt: skip
    if runtime == "onnx" and precision in ("bf16", "fp16"):
        raise RuntimeFailure(
            f"ONNX Runtime computes in the file's precision: for {precision} choose --runtime "
            "openvino or torch"
        )
    if runtime == "torch":
        from alphacut.runtimes.pytorch import TorchRuntime, load_network

        if spec.arch is None:
            raise WeightsError(
                f"{spec.name}: PyTorch cannot build this network: choose --runtime openvino or onnx"
            )
        if path is None:
            format = needed(spec, runtime)
            path = weights.fetch(spec, format, accept_license=accept_license, progress=progress)
        network = load_network(spec.arch, path, spec.arch_options)
        return TorchRuntime(
            network,
            device=device,
            precision=precision if precision in ("bf16", "fp16") else "fp32",
            threads=threads,
        )

    embedded = path is None and any(file.embedded for file in spec.weights.values())
    if path is None:
        form = needed(spec, runtime, precision, device, size)
        if form in ("int8", "fp16", "openvino"):
            path = weights.fetch(spec, form, accept_license=accept_license, progress=progress)
        else:
            path = _graph(spec, accept_license, progress)
    if runtime == "onnx":
        from alphacut.runtimes.onnx import ONNXRuntime

        return ONNXRuntime(path, device=device, size=size, threads=threads)
    from alphacut.runtimes.openvino import OpenVINORuntime, computes_bf16

    if precision == "auto":
        small = spec.bf16_loss is not None and spec.bf16_loss < _BF16_LOSS
        in_bf16 = small and "int8" not in spec.weights and device in ("auto", "cpu")
        precision = "bf16" if in_bf16 and computes_bf16() else "fp32"
    if not embedded:
        size = size or spec.input_size
    return OpenVINORuntime(path, device=device, precision=precision, size=size, hint=hint,
                           compiled=_compiled(), side_outputs=not embedded,
                           threads=threads)  # fmt: skip


def _load_prompted(
    spec: ModelSpec,
    *,
    runtime: str,
    device: str,
    precision: str,
    size: tuple[int, int] | None,
    hint: Hint,
    threads: int | None,
    accept_license: bool,
    progress: Progress | None,
) -> Runtime:
    """Load a network that answers prompts, with the embedded one beside it."""
    from alphacut.runtimes.prompted import Decoder, Encoder, Graph, PromptedRuntime

    if device not in ("auto", "cpu") or precision not in ("auto", "fp32") or size:
        raise RuntimeFailure(
            f"{spec.name} runs on the processor, in float32 and at its own size: choose --device "
            "cpu --precision auto, and no --input-size"
        )
    finder = load(weights.find_model(DEFAULT_MODEL), runtime=runtime, device="cpu",
                  precision=precision, hint=hint, threads=threads)  # fmt: skip
    if runtime == "torch":
        from alphacut.runtimes.pytorch import TorchDecoder, TorchRuntime, load_network

        path = weights.fetch(spec, "torch", accept_license=accept_license, progress=progress)
        network = load_network(str(spec.arch), path, spec.arch_options)
        encoder = TorchRuntime(network, device="cpu", threads=threads)
        return PromptedRuntime(finder, encoder, TorchDecoder(network), "cpu")
    encoder_path = _graph(spec, accept_license, progress)
    decoder_path = _decoder(spec, accept_license, progress)
    graphs: list[Graph]
    if runtime == "onnx":
        from alphacut.runtimes.onnx import ONNXGraph

        graphs = [ONNXGraph(path, threads) for path in (encoder_path, decoder_path)]
    else:
        from alphacut.runtimes.openvino import OpenVINOGraph

        graphs = [OpenVINOGraph(path, threads) for path in (encoder_path, decoder_path)]
    return PromptedRuntime(finder, Encoder(graphs[0]), Decoder(graphs[1]), "cpu")


def _compiled() -> Path | None:
    """Return the folder for compiled networks; None if the user's folder cannot be written.

    That costs only a faster start: OpenVINO recompiles whatever is missing or damaged.
    """
    folder = weights.home() / "compiled"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder


def export(
    spec: ModelSpec,
    target: Path,
    *,
    to: Literal["onnx", "openvino"],
    size: tuple[int, int] | None = None,
    dynamic: bool = False,
    fp16: bool = False,
    accept_license: bool = False,
    progress: Progress | None = None,
) -> "Difference":
    """Write a model's network for other runtimes, from PyTorch.

    Args:
        spec: The model's entry.
        target: The file; its suffix must match `to`.
        to: "onnx" or "openvino".
        size: (H, W) of the batch; the entry's own by default, or any if the entry leaves it open.
        dynamic: Whether to allow other sizes too.
        fp16: Whether to store the weights as float16.
        accept_license: Whether the user accepts terms that do not allow every use.
        progress: Called for every block of a download.

    Returns:
        How far its outputs for random batches are from PyTorch's.

    Raises:
        WeightsError: if the weights are missing or damaged.
        OutputError: if the file cannot be written.
        MissingExtra: if PyTorch is not installed.
        RuntimeFailure: if the network cannot be exported, or its outputs differ.
    """
    if spec.arch is None:
        raise WeightsError(
            f"{spec.name}: exists as a graph only, which PyTorch cannot build: use its ONNX file"
        )
    if size and (size[0] % spec.multiple or size[1] % spec.multiple):
        raise RuntimeFailure(
            f"{spec.name}: size {size[1]}x{size[0]}: both sides must be multiples of "
            f"{spec.multiple}"
        )
    from alphacut.runtimes.graph import write_graph
    from alphacut.runtimes.pytorch import load_network

    format = needed(spec, "torch")
    path = weights.fetch(spec, format, accept_license=accept_license, progress=progress)
    first = size or spec.input_size
    return write_graph(
        load_network(spec.arch, path, spec.arch_options),
        target,
        to=to,
        channels=spec.channels,
        sizes=(first, *_SIZES[1:]) if first else _SIZES,
        dynamic=dynamic or first is None,
        fp16=fp16,
    )


def needed(
    spec: ModelSpec,
    runtime: str,
    precision: str = "auto",
    device: str = "auto",
    size: tuple[int, int] | None = None,
) -> Format:
    """Return which of a model's weights formats a runtime needs.

    Args:
        spec: The model's entry.
        runtime: "openvino", "onnx" or "torch".
        precision: "fp32", "int8" or "auto".
        device: As for `load`.
        size: (H, W) of the batches, if not the weights' own: 8-bit weights, calibrated at that
            size, then are not chosen by themselves.

    Raises:
        WeightsError: if int8 is asked for and there is none.
    """
    if runtime == "torch":
        own: Format = "torch"
    else:
        # measured: OpenVINO on x86 runs 2 to 3 times as fast, ONNX Runtime slower
        gains = (
            precision == "auto"
            and size in (None, spec.input_size)
            and "int8" in spec.weights
            and runtime == "openvino"
            and device in ("auto", "cpu")
            and platform.machine().lower() in ("x86_64", "amd64")
        )
        own = "int8" if gains or precision == "int8" else "onnx"
        if own == "onnx" and runtime == "openvino" and "openvino" in spec.weights:
            own = "openvino"
        if precision == "fp16" and "fp16" in spec.weights:
            own = "fp16"
    if precision == "int8" and (own not in spec.weights or runtime == "torch"):
        raise WeightsError(
            f"{spec.name} has no int8 weights for {runtime}: choose --precision fp32, or make some "
            "with alphacut quantize"
        )
    if own in spec.weights:
        return own
    other: Format = "onnx" if own == "torch" else "torch"
    return other if other in spec.weights else own


def fit(spec: ModelSpec, format: Format, path: Path) -> ModelSpec:
    """Return a model's entry as a weights file needs it, which may fix the size of its batches.

    Args:
        spec: The entry that the file is like.
        format: The file's format.
        path: The file.

    Raises:
        WeightsError: if it is damaged, unsafe, or of another network.
        MissingExtra: if PyTorch is needed to read it and is not installed.
    """
    if format == "torch":
        from alphacut.runtimes.pytorch import load_network

        load_network(str(spec.arch), path, spec.arch_options)
        return spec
    from alphacut.runtimes.openvino import check_graph

    size = check_graph(path, spec.channels, len(spec.classes) or 1)
    if size is None or size == spec.input_size:
        return spec
    if spec.output == "alpha":
        raise WeightsError(
            f"{path}: takes {size[1]}x{size[0]} only, but matting needs a picture's own size: "
            "export it with --dynamic"
        )
    return dataclasses.replace(spec, input_size=size, short_side=None)


def devices(runtime: str) -> list[str]:
    """Return the devices of this machine that a runtime can use.

    Raises:
        MissingExtra: if the runtime is not installed.
    """
    if runtime == "onnx":
        from alphacut.runtimes.onnx import devices as found
    elif runtime == "torch":
        from alphacut.runtimes.pytorch import devices as found
    else:
        from alphacut.runtimes.openvino import devices as found
    return found()


def _graph(spec: ModelSpec, accept_license: bool, progress: Progress | None) -> Path:
    """Return a model's ONNX file, made once if there are only PyTorch weights."""
    format = needed(spec, "onnx")
    source = weights.fetch(spec, format, accept_license=accept_license, progress=progress)
    if format == "onnx":
        return source

    def write(path: Path) -> None:
        from alphacut.runtimes.graph import write_graph
        from alphacut.runtimes.pytorch import load_network

        network = load_network(str(spec.arch), source, spec.arch_options)
        write_graph(network, path, to="onnx", channels=spec.channels, sizes=_SIZES, dynamic=True)

    return _converted(spec, spec.name, write)


def _decoder(spec: ModelSpec, accept_license: bool, progress: Progress | None) -> Path:
    """Return the ONNX file of the part that answers prompts, like `_graph`."""
    if "decoder" in spec.weights and "torch" not in spec.weights:
        return weights.fetch(spec, "decoder", accept_license=accept_license, progress=progress)
    source = weights.fetch(spec, "torch", accept_license=accept_license, progress=progress)

    def write(path: Path) -> None:
        from alphacut.runtimes.graph import write_decoder
        from alphacut.runtimes.pytorch import load_network

        write_decoder(load_network(str(spec.arch), source, spec.arch_options), path)

    return _converted(spec, f"{spec.name}-decoder", write)


def _converted(spec: ModelSpec, name: str, write: Callable[[Path], None]) -> Path:
    """Return a file that is made once of a model's PyTorch weights."""
    made_from = spec.weights["torch"].sha256 or ""
    path = weights.home() / "converted" / f"{name}.{made_from[:16]}.onnx"
    if weights.is_sealed(path):
        return path
    with weights.locked("converted"):  # PyTorch exports one network at a time
        if not weights.is_sealed(path):  # another process may have made it in the meantime
            write(path)
            weights.seal(path)
    return path
