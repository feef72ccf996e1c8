"""How fast each runtime and device on this machine runs a model's network."""

import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from alphacut import runtimes
from alphacut.errors import AlphacutError, RuntimeFailure
from alphacut.models.costs import Cost
from alphacut.models.download import Progress
from alphacut.models.entry import ModelSpec
from alphacut.models.weights import ASSETS
from alphacut.options import RUNTIMES
from alphacut.pipeline import transforms
from alphacut.pipeline.load import load_image
from alphacut.remover import Remover
from alphacut.runtimes import Hint, Runtime

# Batch sizes with which PyTorch is timed on a device
_BATCHES = {"cuda": (1, 4, 16, 64)}
_HINTS: dict[str, tuple[Hint, ...]] = {"openvino": ("latency", "throughput")}


@dataclass(frozen=True)
class Timing:
    """How long one runtime took on one device, or why it failed.

    Attributes:
        runtime: Its name.
        device: The device, by alphacut's name.
        hint: What OpenVINO compiled for; "latency" for the others.
        size: (h, w) of the batch.
        batch: Images per call.
        precision: Of its arithmetic.
        load_ms: Loading, including the weights' verification.
        call_ms: Median of successive calls.
        per_second: Images per second, with as many concurrent calls as suit the hint.
        peak_share: Share of the device's peak arithmetic rate that was reached; PyTorch on CUDA
            only.
        error: Why there are no figures.
    """

    runtime: str
    device: str
    hint: Hint
    size: tuple[int, int]
    batch: int = 1
    precision: str = "auto"
    load_ms: float | None = None
    call_ms: float | None = None
    per_second: float | None = None
    peak_share: float | None = None
    error: str | None = None


def measure(
    spec: ModelSpec,
    *,
    device: str | None = None,
    size: tuple[int, int] | None = None,
    seconds: float = 3.0,
    accept_license: bool = False,
    progress: Progress | None = None,
) -> Iterator[Timing]:
    """Time a model's network, without the pipeline around it.

    Args:
        spec: The model's entry; if it leaves the size open, an image of 640 x 480 sets it.
        device: The only device to time, by alphacut's name; by default all, without
            "openvino-auto", which is one of them.
        size: (H, W) of the batches, if not the model's own.
        seconds: How long to measure each, after a warm-up call.
        accept_license: Whether the user accepts terms that do not allow every use.
        progress: Called for every block of a download.

    Yields:
        One timing per runtime, device, hint and precision; on CUDA also per batch size.

    Raises:
        RuntimeFailure: if no runtime finds the device.
    """
    own = size
    size = own or transforms.batch_size((480, 640), spec, None)
    found = False
    for name in RUNTIMES:
        try:
            devices = runtimes.devices(name)
        except AlphacutError as error:
            yield Timing(name, device or "", "latency", size, error=str(error))
            continue
        if device is not None:
            known = device in devices or (device, name) == ("openvino-auto", "openvino")
            devices = [device] * known
        for place in devices:
            found = True
            counts = _BATCHES.get(place, (1,)) if name == "torch" else (1,)
            for hint in _HINTS.get(name, ("latency",)):
                for precision in _precisions(name, place, spec):
                    yield from _measure(
                        Timing(name, place, hint, size, precision=precision), spec, own, counts,
                        seconds,
                        accept_license, progress,
                    )  # fmt: skip
    if device and not found:
        raise RuntimeFailure(
            f"no runtime finds {device} here: install a driver, and a build that supports it"
        )


def _precisions(runtime: str, device: str, spec: ModelSpec) -> tuple[str, ...]:
    """Return the precisions worth a timing: all that the device gains from."""
    if runtime == "torch":
        return ("fp32", "bf16", "fp16") if device == "cuda" else ("fp32",)
    int8 = ("int8",) if "int8" in spec.weights else ()
    if runtime == "onnx":
        return ("fp32", *int8)
    from alphacut.runtimes.openvino import computes_bf16

    if device == "cpu":
        return ("fp32", *(("bf16",) if computes_bf16() else ()), *int8)
    return ("fp32", "fp16")


def measure_cost(spec: ModelSpec) -> Cost:
    """Measure what a picture of one megapixel takes by default, in a process of its own.

    Args:
        spec: The model's entry; its weights are on this machine.

    Raises:
        AlphacutError: if the model cannot be run.
    """
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(_cost, spec).result()


def _cost(spec: ModelSpec) -> Cost:
    """Cut out the example, enlarged to a megapixel, until the time is known: three times."""
    example = load_image((ASSETS / "example.jpg").read_bytes())
    image = np.asarray(cv2.resize(example, (1000, 1000), interpolation=cv2.INTER_CUBIC), np.uint8)
    remover = Remover(spec)
    took = []
    for _ in range(3):
        start = time.perf_counter()
        remover(image)
        took.append(time.perf_counter() - start)
    return Cost(round(min(took), 3), _peak_bytes(), 1.0, time.strftime("%Y-%m-%d"))


def _peak_bytes() -> int | None:
    """Return the most memory that this process has held; None where the system does not tell."""
    try:  # getrusage counts a parent's memory, too, where it was forked
        text = Path("/proc/self/status").read_text(encoding="ascii")
        return int(text.split("VmHWM:")[1].split()[0]) * 1024
    except (OSError, IndexError):
        return None


def _measure(
    plain: Timing,
    spec: ModelSpec,
    size: tuple[int, int] | None,
    counts: tuple[int, ...],
    seconds: float,
    accept_license: bool,
    progress: Progress | None,
) -> Iterator[Timing]:
    """Load a network once and time each batch size."""
    start = time.perf_counter()
    try:
        runtime = runtimes.load(
            spec, runtime=plain.runtime, device=plain.device, hint=plain.hint,
            precision=plain.precision, size=size,
            accept_license=accept_license, progress=progress,
        )  # fmt: skip
    except AlphacutError as error:
        yield replace(plain, error=str(error))
        return
    load_ms = (time.perf_counter() - start) * 1000
    for count in counts:
        timing = replace(plain, batch=count, load_ms=load_ms)
        batch = np.random.default_rng(0).random((count, spec.channels, *plain.size), np.float32)
        try:
            call_ms, per_second = _time(runtime, batch, seconds)
            share = _share_of_peak(runtime, batch, call_ms) if len(counts) > 1 else None
        except AlphacutError as error:
            yield replace(timing, error=str(error))
        else:
            yield replace(timing, call_ms=call_ms, per_second=per_second, peak_share=share)


def _share_of_peak(runtime: Runtime, batch: NDArray[np.float32], call_ms: float) -> float | None:
    """Return the share of the device's peak arithmetic rate that calls reach, with PyTorch only."""
    from alphacut.runtimes.pytorch import TorchRuntime

    if not isinstance(runtime, TorchRuntime):
        return None
    return runtime.share_of_peak(batch, call_ms / 1000)


def _time(runtime: Runtime, batch: NDArray[np.float32], seconds: float) -> tuple[float, float]:
    """Return the milliseconds of a call, and images per second."""
    from alphacut.runtimes.openvino import OpenVINORuntime

    runtime(batch)
    took: list[float] = []
    start = time.perf_counter()
    while not took or time.perf_counter() - start < seconds:
        before = time.perf_counter()
        runtime(batch)
        took.append((time.perf_counter() - before) * 1000)
    call_ms = statistics.median(took)
    at_once = runtime.calls_at_once if isinstance(runtime, OpenVINORuntime) else 1
    if at_once == 1:
        return call_ms, len(batch) * 1000 / call_ms
    calls = max(at_once, round(seconds * 1000 / call_ms))
    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(runtime, [batch] * at_once))  # creates each thread's request beforehand
        start = time.perf_counter()
        list(pool.map(runtime, [batch] * calls))
        return call_ms, len(batch) * calls / (time.perf_counter() - start)
