"""How quickly each runtime and device on this machine runs a model's network."""

import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from alphacut import runtimes
from alphacut.errors import AlphacutError, RuntimeFailure
from alphacut.models.catalogue import ModelSpec
from alphacut.models.download import Progress
from alphacut.options import RUNTIMES
from alphacut.pipeline import transforms
from alphacut.runtimes import Hint, Runtime

# PyTorch is timed on these devices with batches of so many pictures
_BATCHES = {"cuda": (1, 4, 16, 64)}
_HINTS: dict[str, tuple[Hint, ...]] = {"openvino": ("latency", "throughput")}


@dataclass(frozen=True)
class Timing:
    """What one runtime took on one device, or why it could not.

    Attributes:
        runtime: Its name.
        device: The device, in alphacut's words.
        hint: What OpenVINO compiled for; "latency" for the others.
        size: (h, w) of the batch.
        batch: How many pictures a call takes.
        half: Whether it calculated in float16.
        load_ms: Loading, weights verified.
        call_ms: One call after another, the median.
        per_second: Pictures a second, with as many calls at once as suit the hint.
        peak_share: Of the device's arithmetic, how much was used; PyTorch on a GPU only.
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
    seconds: float = 3.0,
    accept_license: bool = False,
    progress: Progress | None = None,
) -> Iterator[Timing]:
    """Time a model's network, without the pipeline around it.

    Args:
        spec: The model's row; where it leaves the size open, a picture of 640 x 480 sets it.
        device: The only device to time, in alphacut's words; all by default.
        seconds: How long each is measured, after one call that does not count.
        accept_license: Whether the user accepts terms that do not allow every use.
        progress: Told of every piece of a download.

    Yields:
        One timing for each runtime, device and hint; on CUDA for each precision and batch.

    Raises:
        RuntimeFailure: if no runtime finds the device.
    """
    size = transforms.batch_size((480, 640), spec, None)
    found = False
    for name in RUNTIMES:
        try:
            devices = runtimes.devices(name)
        except AlphacutError as error:
            yield Timing(name, device or "", "latency", size, error=str(error))
            continue
        for place in devices if device is None else [device] * (device in devices):
            found = True
            counts = _BATCHES.get(place, (1,)) if name == "torch" else (1,)
            for hint in _HINTS.get(name, ("latency",)):
                for half in (False, True) if name == "torch" and place == "cuda" else (False,):
                    yield from _measure(
                        Timing(name, place, hint, size, half=half), spec, counts, seconds,
                        accept_license, progress,
                    )  # fmt: skip
    if device and not found:
        raise RuntimeFailure(f"no runtime finds {device} here: install a driver and a build for it")


def _measure(
    plain: Timing,
    spec: ModelSpec,
    counts: tuple[int, ...],
    seconds: float,
    accept_license: bool,
    progress: Progress | None,
) -> Iterator[Timing]:
    """Load a network once, and time batches of each count."""
    start = time.perf_counter()
    try:
        runtime = runtimes.load(
            spec, runtime=plain.runtime, device=plain.device, hint=plain.hint, half=plain.half,
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
            share = None
            if len(counts) > 1:
                share = runtime.share_of_peak(batch, call_ms / 1000)  # type: ignore[attr-defined]
        except AlphacutError as error:
            yield replace(timing, error=str(error))
        else:
            yield replace(timing, call_ms=call_ms, per_second=per_second, peak_share=share)


def _time(runtime: Runtime, batch: NDArray[np.float32], seconds: float) -> tuple[float, float]:
    """Return milliseconds of one call, and pictures a second."""
    runtime(batch)
    took: list[float] = []
    start = time.perf_counter()
    while not took or time.perf_counter() - start < seconds:
        before = time.perf_counter()
        runtime(batch)
        took.append((time.perf_counter() - before) * 1000)
    call_ms = statistics.median(took)
    at_once = getattr(runtime, "calls_at_once", 1)
    if at_once == 1:
        return call_ms, len(batch) * 1000 / call_ms
    calls = max(at_once, round(seconds * 1000 / call_ms))
    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(runtime, [batch] * at_once))  # each thread's request is made before it counts
        start = time.perf_counter()
        list(pool.map(runtime, [batch] * calls))
        return call_ms, len(batch) * calls / (time.perf_counter() - start)
