"""The worker: a process of its own that decodes, mattes and encodes, so that it may die of it.

The network is not here. A worker borrows the service's own by sending it batches over the pipe, so
workers stay small and start quickly, and their batches meet in one place.
"""

import gc
import json
import math
import os
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alphacut import values
from alphacut.errors import AlphacutError, MetadataWarning, NoForegroundWarning
from alphacut.models.entry import ModelSpec
from alphacut.options import Options
from alphacut.output import background
from alphacut.pipeline.strokes import Stroke
from alphacut.remover import Remover

Array = NDArray[np.float32]

# A terminal that is closed stops the service as Ctrl-C does; Windows has no such signal
STOP_SIGNALS = {signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)}


@dataclass(frozen=True)
class Request:
    """What a worker is asked: to cut out one image and encode the result.

    Attributes:
        image: The file's bytes.
        options: How; its `model` is a loaded one.
        strokes: What a person painted on it, on the page.
    """

    image: bytes
    options: Options
    strokes: tuple[Stroke, ...] = ()


class Abandoned(Exception):
    """Nobody waits for the result any more."""


# --- the wire: what a worker says is JSON and bytes, never a pickle, because a decoder that was
# --- taken over by its image must not reach the service through it


def ask(pipe: Connection, request: Request) -> None:
    """Send a request to a worker; the file goes as it is, without another copy."""
    pipe.send((request.options, request.strokes))
    pipe.send_bytes(request.image)


def send(pipe: Connection, kind: str, facts: dict[str, Any], data: Sequence[Any] = ()) -> None:
    """Send a message: its kind, facts that are JSON, and bytes in pieces."""
    pipe.send_bytes(json.dumps({"kind": kind, **facts}).encode())
    pipe.send_bytes(b"".join(data))


def receive(pipe: Connection) -> tuple[str, dict[str, Any], bytes]:
    """Receive a message.

    Raises:
        EOFError: if the other end is gone.
        OSError: if it broke off.
        ValueError: if the message is malformed.
    """
    facts = json.loads(pipe.recv_bytes(65536))
    return facts.pop("kind"), facts, pipe.recv_bytes()


class _Borrowed:
    """The service's network, seen from a worker: a runtime whose batches go over the pipe."""

    device = "the service's"
    prefers_batches = False

    def __init__(self, pipe: Connection, model: str) -> None:
        self._pipe, self._model = pipe, model

    def __call__(self, batch: Array) -> Array:
        (output,) = self._predict(batch, None)
        return output

    def answer(self, batch: Array, points: Array, labels: Array) -> tuple[Array, Array]:
        """Answer a prompt; see `PromptedRuntime.answer`."""
        masks, scores = self._predict(batch, np.column_stack((points, labels)).tolist())
        return masks, scores

    def _predict(self, batch: Array, prompt: list[list[float]] | None) -> list[Array]:
        """Return the outputs for a batch, or for a prompt, points (x, y, label) of it."""
        asked = {"model": self._model, "shape": batch.shape, "prompt": prompt}
        send(self._pipe, "predict", asked, [np.ascontiguousarray(batch, np.float32).data])
        kind, facts, data = receive(self._pipe)
        if kind == "stop":
            raise Abandoned
        if kind == "failed":
            raise RuntimeError(facts["message"])
        flat = np.array(np.frombuffer(data, np.float32))
        ends = np.cumsum([math.prod(shape) for shape in facts["shapes"]])
        outputs = zip(np.split(flat, ends[:-1]), facts["shapes"], strict=True)
        return [each.reshape(shape) for each, shape in outputs]


def work(pipe: Connection, specs: dict[str, ModelSpec], memory_bytes: int) -> None:
    """Serve requests from the pipe until it closes; the body of a worker process.

    Args:
        pipe: To the service.
        specs: Entries of the models that the service has loaded, by name.
        memory_bytes: How much the process may map, where the system can limit it.
    """
    for number in STOP_SIGNALS:  # the service says when to stop
        signal.signal(number, signal.SIG_IGN)
    _limit_memory(memory_bytes)
    import cv2

    cv2.setNumThreads(1)  # there is a worker for each processor
    warnings.simplefilter("ignore", NoForegroundWarning)
    warnings.simplefilter("ignore", MetadataWarning)  # of which Python would keep every text
    send(pipe, "ready", {"pid": os.getpid()})
    while True:
        try:
            options, strokes = pipe.recv()
            request = Request(pipe.recv_bytes(), options, strokes)
        except (EOFError, OSError):
            return
        failed = False
        try:
            facts, data = _serve(request, specs, pipe)
            send(pipe, "done", facts, data)
            del data
        except Abandoned:
            send(pipe, "abandoned", {})
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return
        except Exception as error:  # one of many: it is reported, and the others go on
            send(pipe, "failed", _describe(error))
            failed = True
        del request, options
        if failed:  # a traceback's cycles may hold a large image, of which memory has run out
            gc.collect()
        background.forget()  # it was this client's; an idle worker holds nothing


def _serve(
    request: Request, specs: dict[str, ModelSpec], pipe: Connection
) -> tuple[dict[str, Any], Any]:
    """Cut out one image."""
    options = request.options
    network = _Borrowed(pipe, options.model)
    remover = Remover(specs[options.model], network=network, options=options)
    cutout = remover(request.image, painted=request.strokes)
    start = time.perf_counter()
    placed = cutout.arrange(options)
    if _needs_photo(options):  # or its trimap; an arranged cut-out knows neither
        kind, data = cutout.encode(options)
    else:
        kind, data = placed.encode(options.arranged())
    encode_ms = (time.perf_counter() - start) * 1000
    box = placed.box
    facts = {
        "format": kind,
        "input_size": cutout.input_size,
        "size": placed.size,
        "box": box,
        "empty": box is None,
        "ground": cutout.ground,
        "ground_sure": cutout.ground_sure,
        "doubt": cutout.doubt,
        "frames": 1 + len(cutout.frames),
        "milliseconds": {**cutout.milliseconds, "encode": encode_ms},
    }
    return facts, data


def _needs_photo(options: Options) -> bool:
    """Tell whether a result is made of more than foreground and alpha."""
    text = options.background
    return options.result == "trimap" or (
        isinstance(text, str) and values.parse_background(text).own
    )


def _describe(error: Exception) -> dict[str, Any]:
    """Turn an error into facts; an unforeseen one brings its traceback, for the log."""
    foreseen = isinstance(error, AlphacutError)
    return {
        "error": type(error).__name__,
        "message": str(error)[:2000],
        "option": getattr(error, "option", None),
        "advice": getattr(error, "advice", None),
        "reason": getattr(error, "reason", None),
        "trace": None if foreseen else "".join(traceback.format_exception(error))[-8000:],
    }


def _limit_memory(memory_bytes: int) -> None:
    """Limit the memory that the process may map, where the system has such a limit."""
    if sys.platform == "win32" or sys.platform == "darwin":  # macOS accepts and ignores it
        return
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
