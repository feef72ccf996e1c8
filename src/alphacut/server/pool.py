"""The pool: worker processes behind one bounded queue, and the networks that they share.

A thread attends to each worker: it starts the process, hands it one request at a time, runs its
batches, and starts another when it dies. The event loop only ever waits for futures.
"""

import asyncio
import contextlib
import logging
import math
import multiprocessing
import queue
import textwrap
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alphacut import errors
from alphacut.errors import AlphacutError
from alphacut.models.entry import ModelSpec
from alphacut.remover import Remover
from alphacut.runtimes import Runtime
from alphacut.runtimes.prompted import PromptedRuntime
from alphacut.server import worker
from alphacut.server.micro_batches import MicroBatches
from alphacut.server.refusal import Refusal
from alphacut.server.worker import Request, receive, send

log = logging.getLogger("alphacut.server")

START_S = 60.0  # a worker that has not come up by then never will
STOP_S = 1.0  # for a worker to stop once it is told to
_LOOK_S = 0.2  # how often an idle worker is checked
_SLOWEST_RESTART_S = 4.0
_HOPEFUL = 0.8  # share of the time limit that a new request may be expected to take
_FORGET = 0.1  # how much each request moves the mean
_KNOWN = {name: kind for name, kind in vars(errors).items()
          if isinstance(kind, type) and issubclass(kind, AlphacutError)}  # fmt: skip


@dataclass(frozen=True)
class Reply:
    """What a worker made of a request.

    Attributes:
        facts: See `worker`: format, sizes, box, whether it is empty, its doubt, milliseconds.
        data: The encoded file.
        queue_s: How long the request waited.
    """

    facts: Mapping[str, Any]
    data: bytes
    queue_s: float


class RequestFailed(Exception):
    """A worker reported an error.

    Args:
        facts: What it said; see `worker`.

    Attributes:
        error: The error's class; None if it is none of alphacut's own.
        message: Its message.
        reason: See `ImageError` and `OptionError`.
        option: See `OptionError`.
        advice: See `OptionError`.
    """

    def __init__(self, facts: Mapping[str, Any]) -> None:
        super().__init__(f"{facts['error']}: {facts['message']}")
        self.error: type[AlphacutError] | None = _KNOWN.get(facts["error"])
        self.message = str(facts["message"])
        self.reason: str | None = facts.get("reason")
        self.option: str | None = facts.get("option")
        self.advice: str | None = facts.get("advice")


@dataclass(eq=False)
class _Job:
    """A request on its way through the pool; it is inside until its future is done."""

    request: Request | None
    deadline: float
    entered: float = field(default_factory=time.monotonic)
    abandoned: bool = False
    future: "Future[Reply]" = field(default_factory=Future)


class Pool:
    """Worker processes behind one bounded queue.

    Args:
        removers: The loaded models by name: their networks run in this process.
        workers: How many processes.
        waiting: How many requests may wait for a free one.
        timeout_s: How long a request may take, waiting included. At this deadline its client is
            told, and a worker that still works on it is killed.
        memory_bytes: What each process may map.
    """

    def __init__(
        self,
        removers: Mapping[str, Remover],
        *,
        workers: int,
        waiting: int,
        timeout_s: float,
        memory_bytes: int,
    ) -> None:
        self.specs = {name: remover.spec for name, remover in removers.items()}
        self.workers, self.waiting, self.timeout_s = workers, waiting, timeout_s
        self.restarts = 0
        self.draining = False
        self._memory_bytes = memory_bytes
        # on a processor a batch takes as long as its images do one by one
        self._networks: dict[str, Runtime] = {
            name: remover.network
            if not remover.network.prefers_batches
            else MicroBatches(remover.network)
            for name, remover in removers.items()
        }
        self._queue: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        self._inside: set[_Job] = set()
        self._mean_s = 0.0  # of what a request takes once it has a worker
        self._alive: set[int] = set()
        self._closed = threading.Event()
        self._threads = [
            threading.Thread(target=self._attend, name=f"alphacut-worker-{index}", daemon=True)
            for index in range(workers)
        ]

    def start(self) -> None:
        """Start the workers; they come up in their own time."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stop the workers; what they are doing is lost."""
        self.draining = True
        self._closed.set()
        for thread in self._threads:
            thread.join(timeout=5)
        for network in self._networks.values():
            if isinstance(network, MicroBatches):
                network.close()

    @property
    def ready(self) -> bool:
        """Whether requests are taken: a worker is up, and the service is not shutting down."""
        return bool(self._alive) and not self.draining

    @property
    def alive(self) -> list[int]:
        """Process ids of the workers that are up."""
        return sorted(self._alive)

    @property
    def inside(self) -> int:
        """How many requests wait or occupy a worker, those that nobody waits for included."""
        return len(self._inside)

    @property
    def queued(self) -> int:
        """How many requests wait."""
        return max(0, self.inside - self.workers)

    def admit(self) -> None:
        """Refuse new work for which there is no room.

        Raises:
            Refusal: 429 when the queue is full or so long that this would come too late, 503 when
                the service is shutting down.
        """
        if self.draining:
            raise Refusal(503, "service_unavailable", "Service is shutting down", retry_after_s=5)
        ahead = self.inside - self.workers + 1
        expected_s = (ahead / self.workers + 1) * self._mean_s
        late = ahead > 0 and expected_s > _HOPEFUL * self.timeout_s
        if ahead > self.waiting or late:
            # until those that wait now are done, which none of them is after its deadline
            wait_s = max(1, math.ceil(min(ahead / self.workers * self._mean_s, self.timeout_s)))
            raise Refusal(429, "queue_full", "Too many requests are waiting", retry_after_s=wait_s)

    async def run(self, request: Request) -> Reply:
        """Serve a request in some worker.

        Cancelling takes it out of the queue at once. A worker that has begun stops at its next use
        of the network, or at the deadline; until then it counts as load.

        Raises:
            Refusal: 429 or 503 if it is not taken, 500 if its worker died, 504 if it took too long.
            RequestFailed: if the worker reported an error.
        """
        self.admit()
        job = _Job(request, time.monotonic() + self.timeout_s)
        self._inside.add(job)
        job.future.add_done_callback(lambda _: self._inside.discard(job))
        self._queue.put(job)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(job.future), self.timeout_s)
        except asyncio.TimeoutError as error:
            raise _too_late() from error
        finally:
            job.abandoned = True
            if job.future.cancel():  # it still waits: its image is not kept in the queue
                job.request = None

    async def drain(self, within_s: float) -> None:
        """Take no more requests and wait for those inside, up to a time limit."""
        self.draining = True
        end = time.monotonic() + within_s
        while self._inside and time.monotonic() < end:
            await asyncio.sleep(0.02)

    # --- what follows runs in the workers' threads ---------------------------------------------

    def _attend(self) -> None:
        """Keep one worker running, and hand it requests."""
        pause_s = 0.0
        while not self._closed.wait(pause_s):
            try:
                attended = _Worker(self.specs, self._memory_bytes)
            except Exception as error:  # or this worker would never come back
                log.error("a worker did not start: %s", error)
                pause_s = min(2 * pause_s + 0.1, _SLOWEST_RESTART_S)
                continue
            pause_s = 0.0
            self._alive.add(attended.pid)
            try:
                self._feed(attended)
            finally:
                self._alive.discard(attended.pid)
                attended.stop()
            if not self._closed.is_set():
                self.restarts += 1
                log.warning("worker %d died and is replaced", attended.pid)

    def _feed(self, attended: "_Worker") -> None:
        """Hand requests to a worker until it dies or the pool is closed."""
        while not self._closed.is_set() and attended.is_alive():
            with contextlib.suppress(queue.Empty):
                job = self._queue.get(timeout=_LOOK_S)
                if time.monotonic() >= job.deadline:  # `run` is about to cancel it
                    continue
                if not attended.is_alive():  # it died idle, through no fault of this request
                    self._queue.put(job)
                    return
                if job.future.set_running_or_notify_cancel() and not self._serve(attended, job):
                    return

    def _serve(self, attended: "_Worker", job: _Job) -> bool:
        """See one request through, and tell whether the worker survived it."""
        start = time.monotonic()
        try:
            kind, facts, data = self._converse(attended, job)
        except Exception as error:  # this thread must live on, whatever a worker says or does
            attended.kill()
            late = time.monotonic() >= job.deadline
            cause = "was not done in time" if late else error or type(error).__name__
            log.error("worker %d is killed: %s", attended.pid, cause)
            job.future.set_exception(_too_late() if late else _broken())
            return False
        finally:
            took_s = time.monotonic() - start
            self._mean_s += (took_s - self._mean_s) * (_FORGET if self._mean_s else 1)
        if kind == "done":
            job.future.set_result(Reply(facts, data, start - job.entered))
        else:
            if facts.get("trace"):
                log.error("worker %d failed:\n%s", attended.pid, textwrap.indent(
                    str(facts["trace"]), "    "
                ))  # fmt: skip
            job.future.set_exception(RequestFailed({"error": kind, "message": ""} | facts))
        return True

    def _converse(self, attended: "_Worker", job: _Job) -> tuple[str, dict[str, Any], bytes]:
        """Hand over a request and run the network on what the worker sends, until it is done."""
        assert job.request is not None, "a job that runs was not cancelled"
        end, stopped = job.deadline, False
        with attended.killed_at(end):
            worker.ask(attended.pipe, job.request)
        job.request = None
        while True:
            with attended.killed_at(end):
                kind, facts, data = receive(attended.pipe)
            if kind != "predict":
                return kind, facts, data
            if stopped:
                raise ValueError("it goes on although it was told to stop")
            answer = None if job.abandoned else self._predict(facts, data)
            if job.abandoned or answer is None:  # perhaps while the network ran
                answer, stopped, end = ("stop", {}, []), True, time.monotonic() + STOP_S
            with attended.killed_at(end):
                send(attended.pipe, *answer)

    def _predict(
        self, facts: dict[str, Any], data: bytes
    ) -> tuple[str, dict[str, Any], list[memoryview]]:
        """Run the network on a worker's batch or prompt, and return what to answer."""
        batch = np.frombuffer(data, np.float32).reshape(facts["shape"])
        network, prompt = self._networks[facts["model"]], facts["prompt"]
        outputs: tuple[NDArray[np.float32], ...]
        try:
            if prompt is None:
                outputs = (network(batch),)
            else:
                assert isinstance(network, PromptedRuntime), "its model is for prompts"
                points = np.array(prompt, np.float32)
                outputs = network.answer(batch, points[:, :2], points[:, 2])
        except Exception as error:  # the worker turns it into this request's error
            log.exception("the network failed")
            return "failed", {"message": str(error)}, []
        shapes = [output.shape for output in outputs]
        return "output", {"shapes": shapes}, [np.ascontiguousarray(each).data for each in outputs]


def _too_late() -> Refusal:
    return Refusal(504, "timeout", "The image was not done in time")


def _broken() -> Refusal:
    detail = "It needs more time or memory than there is, or it crashes its decoder."
    return Refusal(500, "processing_failed", "The image could not be processed", detail)


class _Worker:
    """One worker process, up and ready.

    Raises:
        OSError: if it cannot be started, or is not ready in time.
        EOFError: if it ended at once.
    """

    def __init__(self, specs: Mapping[str, ModelSpec], memory_bytes: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=worker.work, args=(theirs, dict(specs), memory_bytes), daemon=True
        )
        self._process.start()
        theirs.close()
        self.pid = self._process.pid or 0
        if not self.pipe.poll(START_S):
            self.stop()
            raise OSError(f"not ready after {START_S:.0f} s")
        try:
            receive(self.pipe)
        except EOFError:
            self.stop()
            raise

    def is_alive(self) -> bool:
        """Tell whether the process runs."""
        return self._process.is_alive()

    def kill(self) -> None:
        """End the process at once; whoever waits for it gets an end of file."""
        self._process.kill()

    @contextlib.contextmanager
    def killed_at(self, end: float) -> Iterator[None]:
        """End the process if what is done here is not over at a time of the monotonic clock."""
        timer = threading.Timer(max(0.0, end - time.monotonic()), self.kill)
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def stop(self) -> None:
        """End the process and free what belongs to it."""
        self.pipe.close()
        self._process.kill()
        self._process.join(timeout=5)
