"""What both contracts share: reading a request, working on it, and counting what was done."""

import asyncio
from collections.abc import Awaitable, Mapping
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.requests import ClientDisconnect, Request

from alphacut.remover import Remover
from alphacut.server.body import Budget, Fields, read
from alphacut.server.fetch import Fetcher
from alphacut.server.keys import Allowance, Keys
from alphacut.server.pool import Pool, Reply, WorkFailed
from alphacut.server.settings import Settings
from alphacut.server.worker import Task

_Result = TypeVar("_Result")
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_BUDGET_FILES = 24  # so many files of the largest size may be in memory as they arrive


class Service:
    """Keys, workers and counters of one running service.

    Args:
        settings: How it runs.
        removers: The loaded models by name; the first is the default.

    Raises:
        OutputError: if the file of keys or the store of rates cannot be used.
    """

    def __init__(self, settings: Settings, removers: Mapping[str, Remover]) -> None:
        self.settings = settings
        self.models = {name: remover.spec for name, remover in removers.items()}
        self.default_model = next(iter(removers))
        self.keys = Keys(settings.api_keys)
        self.allowance = Allowance(settings.rate_limit, settings.rate_store)
        self._fetcher = Fetcher(
            enabled=settings.allow_url,
            hosts=settings.allow_url_host,
            max_bytes=settings.max_body_bytes,
        )
        self.pool = Pool(
            removers,
            workers=settings.worker_count,
            waiting=settings.queue,
            timeout_s=settings.timeout,
            memory_bytes=settings.worker_memory_bytes,
        )
        self.budget = Budget(_BUDGET_FILES * settings.max_body_bytes)
        self.self_test_passed = False
        self.metrics = Metrics(self.pool, self.budget)

    def find_model(self, name: str) -> str | None:
        """Return the loaded model of a name or an alias, None if there is none."""
        for known, spec in self.models.items():
            if name in (known, *spec.aliases):
                return known
        return None

    async def read(self, request: Request, files: tuple[str, ...]) -> Fields:
        """Read a request's fields; see `body.read`."""
        settings = self.settings
        return await read(
            request,
            files=files,
            file_bytes=settings.max_body_bytes,
            timeout_s=settings.timeout,
            budget=self.budget,
        )

    async def fetch(self, request: Request, address: str) -> bytes:
        """Return the picture that a request names; see `fetch.Fetcher`.

        Raises:
            Refusal: 429 if there is no room for it.
        """
        return await self._fetcher(address, lambda count: self.budget.hold(request, count))

    async def cut(self, task: Task, name: str) -> tuple[Reply, dict[str, str]]:
        """Do a task for a key's owner, and count it.

        Returns:
            The reply, and the headers that tell what is left of the owner's allowance.

        Raises:
            Refusal, WorkFailed: see `Pool.run`.
        """
        try:
            reply = await self.pool.run(task)
        except WorkFailed:
            await self.allowance.charge(name, 0)
            raise
        H, W = reply.facts["input_size"]
        megapixels = H * W * reply.facts["frames"] / 1e6
        self.metrics.megapixels.inc(megapixels)
        self.metrics.stages.labels("queue").observe(reply.queue_s)
        for stage, ms in reply.facts["milliseconds"].items():
            self.metrics.stages.labels(stage).observe(ms / 1000)
        return reply, await self.allowance.charge(name, megapixels)


async def while_connected(request: Request, work: Awaitable[_Result]) -> _Result:
    """Do something for a client for as long as it stays.

    Raises:
        ClientDisconnect: if it hangs up; the work is cancelled then.
    """
    job = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_hung_up(request))
    try:
        await asyncio.wait({job, gone}, return_when=asyncio.FIRST_COMPLETED)
        if job.done():
            return job.result()
        raise ClientDisconnect
    finally:
        for task in (job, gone):
            task.cancel()
        await asyncio.gather(job, gone, return_exceptions=True)


async def _hung_up(request: Request) -> None:
    """Return when the client has closed its connection; its body has been read before."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


class Metrics:
    """Counters in Prometheus's form."""

    def __init__(self, pool: Pool, budget: Budget) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "alphacut_requests", "Requests by path and status.", ["path", "status"],
            registry=self.registry,
        )  # fmt: skip
        self.rejects = Counter(
            "alphacut_rejects", "Requests refused, by reason.", ["code"], registry=self.registry
        )
        self.seconds = Histogram(
            "alphacut_request_seconds", "From the request's head to the answer's end.", ["path"],
            buckets=_SECONDS, registry=self.registry,
        )  # fmt: skip
        self.stages = Histogram(
            "alphacut_stage_seconds", "Time of each stage of the pipeline.", ["stage"],
            buckets=_SECONDS, registry=self.registry,
        )  # fmt: skip
        self.megapixels = Counter(
            "alphacut_input_megapixels", "Input worked on.", registry=self.registry
        )
        gauges = {
            "queue": ("Requests that wait for a worker.", lambda: pool.queued),
            "inside": ("Requests that wait or are worked on.", lambda: pool.inside),
            "workers": ("Workers that are up.", lambda: len(pool.alive)),
            "worker_restarts": ("Workers that died and were replaced.", lambda: pool.restarts),
            "body_bytes": ("Bytes of bodies held in memory.", lambda: budget.held_bytes),
        }
        for name, (meaning, value) in gauges.items():
            gauge = Gauge(f"alphacut_{name}", meaning, registry=self.registry)
            gauge.set_function(value)
