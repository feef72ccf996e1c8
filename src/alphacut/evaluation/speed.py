"""How fast each runtime and device on this machine runs a model's network."""

import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from alphacut import runtimes
from alphacut.errors import AlphacutError, RuntimeFailure
from alphacut.models.download import Progress
from alphacut.models.entry import ModelSpec
from alphacut.options import RUNTIMES
from alphacut.pipeline import transforms
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
        half: Whether it computed in float16.
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
    half: bool = False
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
        One timing per runtime, device and hint; on CUDA also per precision and batch size.

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
                for half in (False, True) if name == "torch" and place == "cuda" else (False,):
                    yield from _measure(
                        Timing(name, place, hint, size, half=half), spec, own, counts, seconds,
                        accept_license, progress,
                    )  # fmt: skip
    if device and not found:
        raise RuntimeFailure(
            f"no runtime finds {device} here: install a driver, and a build that supports it"
        )


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
            spec, runtime=plain.runtime, device=plain.device, hint=plain.hint, half=plain.half,
            size=size, accept_license=accept_license, progress=progress,
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
