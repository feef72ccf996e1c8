"""Requests, deadlines and workers that do not keep them."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import pytest

from alphacut import Options, Remover
from alphacut.errors import ImageError, OptionError
from alphacut.server import worker
from alphacut.server.micro_batches import MicroBatches
from alphacut.server.pool import Pool, RequestFailed, _Job
from alphacut.server.refusal import Refusal
from alphacut.server.worker import receive, send

REQUEST = worker.Request(b"image", Options())
FACTS = {"input_size": [1, 1], "size": [1, 1], "box": None, "empty": True, "doubt": 1.0,
         "frames": 1, "milliseconds": {}}  # fmt: skip
BATCH = {"model": "u2net-lite", "shape": [1], "prompt": None}


class Slow:
    """A network that takes its time."""

    device = "cpu"

    def __init__(self, predict_s: float = 0.0, *, prefers_batches: bool = False) -> None:
        self.predict_s, self.prefers_batches = predict_s, prefers_batches
        self.calls = 0

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        self.calls += 1
        time.sleep(self.predict_s)
        return batch


# --- bodies of workers, which run in processes of their own


def polite(pipe: Connection, *_: Any) -> None:
    """Use the network once, and stop when told to."""
    send(pipe, "ready", {"pid": os.getpid()})
    while True:
        pipe.recv()
        pipe.recv_bytes()
        send(pipe, "predict", BATCH, [np.zeros(1, np.float32)])
        kind, _, _ = receive(pipe)
        send(pipe, "abandoned" if kind == "stop" else "done", FACTS)


def insistent(pipe: Connection, *_: Any) -> None:
    """Use the network for ever, whatever is answered."""
    send(pipe, "ready", {"pid": os.getpid()})
    pipe.recv()
    pipe.recv_bytes()
    while True:
        send(pipe, "predict", BATCH, [np.zeros(1, np.float32)])
        receive(pipe)


def asleep(pipe: Connection, *_: Any) -> None:
    """Take a request and do nothing."""
    send(pipe, "ready", {"pid": os.getpid()})
    pipe.recv()
    time.sleep(600)


def failing(pipe: Connection, *_: Any) -> None:
    """Fail at every request, the image of which says how."""
    send(pipe, "ready", {"pid": os.getpid()})
    while True:
        pipe.recv()
        pipe.recv_bytes()
        error = {"error": "RuntimeError", "message": "no", "trace": "Traceback\n  a line"}
        send(pipe, "failed", error)


@contextlib.asynccontextmanager
async def running(
    monkeypatch: pytest.MonkeyPatch, body: Callable[..., None], network: Slow, **settings: Any
) -> AsyncIterator[Pool]:
    """A pool whose workers do this."""
    monkeypatch.setattr(worker, "work", body)
    settings = {"workers": 1, "waiting": 4, "timeout_s": 30.0, **settings}
    pool = Pool({"u2net-lite": Remover(network=network)}, memory_bytes=10**10, **settings)
    pool.start()
    try:
        await until(lambda: pool.ready)
        yield pool
    finally:
        await asyncio.to_thread(pool.close)


async def until(true: Callable[[], bool], within_s: float = 60.0) -> None:
    end = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end
        await asyncio.sleep(0.01)


def test_a_request_counts_as_load_until_its_worker_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its client is told in time; the network, which cannot be interrupted, is still at it."""

    async def ask() -> None:
        async with running(monkeypatch, polite, Slow(1.5), timeout_s=0.3) as pool:
            start = time.monotonic()
            with pytest.raises(Refusal) as refused:
                await pool.run(REQUEST)
            assert refused.value.status == 504
            assert time.monotonic() - start < 1.2
            assert pool.inside == 1
            await until(lambda: pool.inside == 0)
            assert time.monotonic() - start > 1.4
            assert pool.restarts == 0  # it stopped when it was told to

    asyncio.run(ask())


@pytest.mark.parametrize("body", [insistent, asleep])
def test_a_worker_does_not_outlive_its_deadline(
    monkeypatch: pytest.MonkeyPatch, body: Callable[..., None]
) -> None:
    """Each of its steps is short enough; together they would never end."""

    async def ask() -> None:
        async with running(monkeypatch, body, Slow(0.01), timeout_s=1.0) as pool:
            with pytest.raises(Refusal) as refused:
                await pool.run(REQUEST)
            assert (refused.value.status, refused.value.code) == (504, "timeout")
            await until(lambda: pool.inside == 0, within_s=5)
            await until(lambda: pool.restarts == 1 and pool.ready)

    asyncio.run(ask())


def test_waiting_counts_against_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    async def ask() -> None:
        network = Slow(0.8)
        async with running(monkeypatch, polite, network, timeout_s=1.2) as pool:
            start = time.monotonic()
            first, second = await asyncio.gather(
                pool.run(REQUEST), pool.run(REQUEST), return_exceptions=True
            )
            assert not isinstance(first, BaseException)
            assert isinstance(second, Refusal)
            assert second.status == 504
            assert time.monotonic() - start < 1.5

    asyncio.run(ask())


def test_a_client_that_hangs_up_leaves_the_queue_at_once_and_a_worker_soon(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def ask() -> None:
        network = Slow(0.5)
        async with running(monkeypatch, polite, network) as pool:
            tasks = [asyncio.ensure_future(pool.run(REQUEST)) for _ in range(3)]
            await until(lambda: network.calls == 1)
            assert pool.inside == 3
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert pool.inside == 1  # the one in the worker
            await until(lambda: pool.inside == 0)
            reply = await pool.run(REQUEST)
            assert reply.facts["empty"]
            assert network.calls == 2
            assert pool.restarts == 0

    asyncio.run(ask())


def test_errors_of_a_worker_have_types(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = worker._describe(OptionError("roi", "0 0 0 0", "is empty", "empty"))
    failed = RequestFailed(facts)
    assert (failed.error, failed.option, failed.reason) == (OptionError, "roi", "empty")
    failed = RequestFailed(worker._describe(ImageError("bytes: a reason", "too_large")))
    assert (failed.error, failed.reason) == (ImageError, "too_large")
    assert RequestFailed({"error": "__builtins__", "message": ""}).error is None


def test_unforeseen_errors_are_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def ask() -> None:
        async with running(monkeypatch, failing, Slow()) as pool:
            with pytest.raises(RequestFailed) as failed:
                await pool.run(REQUEST)
            assert failed.value.error is None

    asyncio.run(ask())
    assert "    Traceback\n      a line" in caplog.text  # indented: no line of the log's own


@pytest.mark.parametrize("merged", [False, True])
def test_batches_are_merged_where_that_gains(merged: bool) -> None:
    remover = Remover(network=Slow(prefers_batches=merged))
    pool = Pool({"u2net-lite": remover}, workers=1, waiting=1, timeout_s=1, memory_bytes=1)
    (network,) = pool._networks.values()
    assert isinstance(network, MicroBatches) == merged
    if isinstance(network, MicroBatches):
        network.close()


@pytest.mark.parametrize("runtime", ["openvino", "torch"])
def test_a_processor_runs_no_batches_of_several(runtime: str) -> None:
    remover = Remover(runtime=runtime, device="cpu", precision="fp32")
    pool = Pool({"u2net-lite": remover}, workers=1, waiting=1, timeout_s=1, memory_bytes=1)
    assert pool._networks["u2net-lite"] is remover.network


@pytest.mark.parametrize(("workers", "mean_s", "wait_s"), [(1, 4.0, 12), (2, 4.0, 4), (1, 60, 30)])
def test_when_to_come_again_follows_the_queue_and_its_pace(
    workers: int, mean_s: float, wait_s: int
) -> None:
    """Until those that wait are done, and none waits longer than a request may take."""
    pool = Pool({"slow": Remover(network=Slow())}, workers=workers, waiting=workers % 2 + 1,
                timeout_s=30, memory_bytes=0)  # fmt: skip
    pool._mean_s = mean_s
    pool._inside = {_Job(None, 0.0) for _ in range(3)}
    with pytest.raises(Refusal, match="queue_full") as refused:
        pool.admit()
    assert refused.value.headers["Retry-After"] == str(wait_s)
