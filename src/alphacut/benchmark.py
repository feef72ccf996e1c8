"""How quickly each runtime and device on this machine runs a model's network."""

import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alphacut import runtimes, transforms
from alphacut.errors import AlphacutError
from alphacut.options import RUNTIMES
from alphacut.runtimes import Hint, Runtime
from alphacut.weights import Progress
from alphacut.zoo import ModelSpec

_HINTS: dict[str, tuple[Hint, ...]] = {"openvino": ("latency", "throughput")}


@dataclass(frozen=True)
class Timing:
    """What one runtime took on one device, or why it could not.

    Attributes:
        runtime: Its name.
        device: The device, in alphacut's words.
        hint: What OpenVINO compiled for; "latency" for the others.
        size: (h, w) of the batch of one.
        load_ms: Loading, weights verified.
        call_ms: One call after another, the median.
        per_second: Pictures a second, with as many calls at once as suit the hint.
        error: Why there are no figures.
    """

    runtime: str
    device: str
    hint: str
    size: tuple[int, int]
    load_ms: float | None = None
    call_ms: float | None = None
    per_second: float | None = None
    error: str | None = None


def measure(
    spec: ModelSpec,
    *,
    seconds: float = 3.0,
    accept_license: bool = False,
    progress: Progress | None = None,
) -> Iterator[Timing]:
    """Time a model's network, without the pipeline around it.

    Args:
        spec: The model's row; where it leaves the size open, a picture of 640 x 480 sets it.
        seconds: How long each is measured, after one call that does not count.
        accept_license: Whether the user accepts terms that do not allow every use.
        progress: Told of every piece of a download.

    Yields:
        One timing for each runtime, device and hint.
    """
    size = transforms.batch_size((480, 640), spec, None)
    shape = (1, spec.channels, *size)
    batch = np.random.default_rng(0).random(shape, np.float32)
    for name in RUNTIMES:
        try:
            devices = runtimes.devices(name)
        except AlphacutError as error:
            yield Timing(name, "", "", size, error=str(error))
            continue
        for device in devices:
            for hint in _HINTS.get(name, ("latency",)):
                start = time.perf_counter()
                try:
                    runtime = runtimes.load(
                        spec, runtime=name, device=device, hint=hint,
                        accept_license=accept_license, progress=progress,
                    )  # fmt: skip
                    load_ms = (time.perf_counter() - start) * 1000
                    call_ms, per_second = _time(runtime, batch, seconds)
                except AlphacutError as error:
                    yield Timing(name, device, hint, size, error=str(error))
                else:
                    yield Timing(name, device, hint, size, load_ms, call_ms, per_second)


def _time(runtime: Runtime, batch: NDArray[np.float32], seconds: float) -> tuple[float, float]:
    """Return milliseconds of one call, and calls a second."""
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
        return call_ms, 1000 / call_ms
    calls = max(at_once, round(seconds * 1000 / call_ms))
    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(runtime, [batch] * at_once))  # each thread's request is made before it counts
        start = time.perf_counter()
        list(pool.map(runtime, [batch] * calls))
        return call_ms, calls / (time.perf_counter() - start)
