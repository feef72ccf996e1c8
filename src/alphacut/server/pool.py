"""The pool: worker processes behind one bounded queue, and the networks that they share.

A thread attends to each worker: it starts the process, hands it one task at a time, answers its
batches, and starts another when it dies. The event loop never waits for any of this but by future.
"""

import asyncio
import contextlib
import logging
import multiprocessing
import queue
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alphacut.models.entry import ModelSpec
from alphacut.remover import Remover
from alphacut.runtimes import Runtime
from alphacut.server import worker
from alphacut.server.refusal import Refusal
from alphacut.server.worker import Task, hear, say

log = logging.getLogger("alphacut.server")

START_S = 60.0  # a worker that has not come up by then never will
_LOOK_S = 0.2  # how often an idle worker is looked after
_SLOWEST_RESTART_S = 4.0
_BATCH = 8
_HOPEFUL = 0.8  # share of the deadline that a new task may be expected to take
_FORGET = 0.1  # how much each task moves the mean


@dataclass(frozen=True)
class Reply:
    """What a worker made of a task.

    Attributes:
        facts: See `worker`: format, sizes, box, whether it is empty, milliseconds.
        data: The encoded file.
        queue_s: How long the task waited.
    """

    facts: Mapping[str, Any]
    data: bytes
    queue_s: float


class WorkFailed(Exception):
    """A worker reported an error.

    Args:
        facts: The error's class name, message, and option if it is about one.
    """

    def __init__(self, facts: Mapping[str, Any]) -> None:
        super().__init__(f"{facts['error']}: {facts['message']}")
        self.facts = facts


@dataclass
class _Job:
    """A task on its way through the pool."""

    task: Task | None
    deadline: float
    entered: float = field(default_factory=time.monotonic)
    abandoned: bool = False
    future: "Future[Reply]" = field(default_factory=Future)


class Pool:
    """Worker processes behind one bounded queue.

    Args:
        removers: What to do it with, by model name: their networks run in this process.
        workers: How many processes.
        waiting: How many tasks may wait for a free one.
        timeout_s: How long a task may wait, and how long it may then take.
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
        # on a processor a batch takes as long as its pictures do one by one
        self._networks: dict[str, Runtime] = {
            name: remover.network
            if not remover.network.prefers_batches
            else MicroBatches(remover.network)
            for name, remover in removers.items()
        }
        self._jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        self._inside = 0
        self._mean_s = 0.0  # of what a task takes once it has a worker
        self._alive: set[int] = set()
        self._closed = threading.Event()
        self._threads = [
            threading.Thread(target=self._attend, name=f"alphacut-worker-{index}", daemon=True)
            for index in range(workers)
        ]

    def start(self) -> None:
        """Start the workers; they come up on their own time."""
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
        """Whether tasks are taken: a worker is up, and the service is not going down."""
        return bool(self._alive) and not self.draining

    @property
    def alive(self) -> list[int]:
        """Process ids of the workers that are up."""
        return sorted(self._alive)

    @property
    def inside(self) -> int:
        """How many tasks wait or are worked on."""
        return self._inside

    @property
    def queued(self) -> int:
        """How many tasks wait."""
        return max(0, self._inside - self.workers)

    def admit(self) -> None:
        """Refuse new work where there is no place for it.

        Raises:
            Refusal: 429 when the queue is full or so long that this would come too late, 503 when
                the service is going down.
        """
        if self.draining:
            raise Refusal(503, "service_unavailable", "Service is going down", retry_after_s=5)
        ahead = self._inside - self.workers + 1
        expected_s = (ahead / self.workers + 1) * self._mean_s
        late = ahead > 0 and expected_s > _HOPEFUL * self.timeout_s
        if ahead > self.waiting or late:
            wait_s = max(1, round(self._mean_s))
            raise Refusal(429, "queue_full", "Too many requests wait", retry_after_s=wait_s)

    async def run(self, task: Task) -> Reply:
        """Do a task in some worker.

        Cancelling takes it out of the queue, or out of the worker at its next step.

        Raises:
            Refusal: 429 or 503 if it is not taken, 500 if its worker died, 504 if it took too long.
            WorkFailed: if the worker reported an error.
        """
        self.admit()
        job = _Job(task, time.monotonic() + self.timeout_s)
        self._inside += 1
        self._jobs.put(job)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(job.future), self.timeout_s)
        except asyncio.TimeoutError as error:
            raise Refusal(504, "timeout", "The picture was not done in time") from error
        finally:
            job.abandoned = True
            if not job.future.running():
                job.task = None  # a picture that nobody wants is not kept in the queue
            self._inside -= 1

    async def drain(self, within_s: float) -> None:
        """Take no more tasks and wait until those inside are done, but not for ever."""
        self.draining = True
        end = time.monotonic() + within_s
        while self._inside and time.monotonic() < end:
            await asyncio.sleep(0.02)

    # --- what follows runs in the workers' threads ---------------------------------------------

    def _attend(self) -> None:
        """Keep one worker running, and hand it tasks."""
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
        """Hand tasks to a worker until it dies or the pool is closed."""
        while not self._closed.is_set() and attended.is_alive():
            with contextlib.suppress(queue.Empty):
                job = self._jobs.get(timeout=_LOOK_S)
                if job.abandoned or time.monotonic() > job.deadline:
                    continue
                if not attended.is_alive():  # it died idle, through no fault of this task
                    self._jobs.put(job)
                    return
                if job.future.set_running_or_notify_cancel() and not self._do(attended, job):
                    return

    def _do(self, attended: "_Worker", job: _Job) -> bool:
        """See one task through, and tell whether the worker came through it, too."""
        queue_s = time.monotonic() - job.entered
        try:
            with attended.alarm(self.timeout_s):
                attended.pipe.send(job.task)
            job.task = None
            while True:
                with attended.alarm(self.timeout_s):  # the network's time is not the worker's
                    kind, facts, data = hear(attended.pipe)
                if kind == "predict":
                    self._predict(attended.pipe, job, facts, data)
                    continue
                took_s = time.monotonic() - job.entered - queue_s
                self._mean_s += (took_s - self._mean_s) * (_FORGET if self._mean_s else 1)
                if kind == "done":
                    job.future.set_result(Reply(facts, data, queue_s))
                else:
                    job.future.set_exception(WorkFailed({"error": kind, "message": ""} | facts))
                return True
        except Exception as error:  # this thread must live on, whatever a worker says or does
            attended.kill()
            log.error("worker %d broke off: %s", attended.pid, error or type(error).__name__)
            title = "The picture could not be worked on"
            detail = "It took more time or memory than there is, or broke its decoder."
            job.future.set_exception(Refusal(500, "processing_failed", title, detail))
            return False

    def _predict(self, pipe: Connection, job: _Job, facts: dict[str, Any], data: bytes) -> None:
        """Answer a worker's batch."""
        if job.abandoned:
            say(pipe, "stop", {})
            return
        batch = np.frombuffer(data, np.float32).reshape(facts["shape"])
        try:
            output = self._networks[facts["model"]](batch)
        except Exception as error:  # the worker turns it into this task's error
            log.exception("the network failed")
            say(pipe, "failed", {"message": str(error)})
            return
        say(pipe, "output", {"shape": output.shape}, [np.ascontiguousarray(output).data])


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
            hear(self.pipe)
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
    def alarm(self, within_s: float) -> Iterator[None]:
        """End the process if what is done here takes too long."""
        timer = threading.Timer(within_s, self.kill)
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


class MicroBatches:
    """A runtime that runs what several threads ask of another one together.

    Nothing waits for company: a batch is what has come in while the last one ran.
    """

    def __init__(self, runtime: Runtime) -> None:
        self.device, self.prefers_batches = runtime.device, False  # it makes its own
        self._runtime = runtime
        self._waiting: queue.SimpleQueue[
            tuple[NDArray[np.float32], Future[NDArray[np.float32]]] | None
        ] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="alphacut-network", daemon=True).start()

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the output for a batch, as a runtime does."""
        future: Future[NDArray[np.float32]] = Future()
        self._waiting.put((batch, future))
        return future.result()

    def close(self) -> None:
        """Take no more batches."""
        self._waiting.put(None)

    def _run(self) -> None:
        """Run what is waiting, batches of one shape together."""
        while (first := self._waiting.get()) is not None:
            taken = [first]
            with contextlib.suppress(queue.Empty):
                while len(taken) < _BATCH:
                    more = self._waiting.get_nowait()
                    if more is None:
                        self.close()  # once what came before is done
                        break
                    taken.append(more)
            for shape in {batch.shape[1:] for batch, _ in taken}:
                alike = [one for one in taken if one[0].shape[1:] == shape]
                try:
                    output = self._runtime(np.concatenate([batch for batch, _ in alike]))
                except Exception as error:  # everyone in this batch is told
                    for _, future in alike:
                        future.set_exception(error)
                    continue
                start = 0
                for batch, future in alike:
                    future.set_result(output[start : start + len(batch)])
                    start += len(batch)
