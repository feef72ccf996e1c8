"""What both contracts share: admitting a request, reading it, serving it, and counting it."""

import asyncio
import ipaddress
from collections.abc import Awaitable, Mapping
from typing import TypeVar

from starlette.requests import ClientDisconnect, Request

from alphacut.remover import Remover
from alphacut.server import worker
from alphacut.server.body import Budget, Fields, read
from alphacut.server.fetch import Fetcher
from alphacut.server.keys import Keys
from alphacut.server.metrics import Metrics
from alphacut.server.pool import Pool, Reply, RequestFailed
from alphacut.server.rate_limits import RateLimits
from alphacut.server.settings import Settings

_Result = TypeVar("_Result")
_BUDGET_FILES = 24  # files of the largest size that may be in memory as they arrive


class Service:
    """Keys, workers and counters of one running service.

    Args:
        settings: How it runs.
        removers: The loaded models by name; the first is the default.

    Raises:
        OutputError: if the key file or the rate store cannot be used.
    """

    def __init__(self, settings: Settings, removers: Mapping[str, Remover]) -> None:
        self.settings = settings
        self.models = {name: remover.spec for name, remover in removers.items()}
        self.default_model = next(iter(removers))
        self.keys = Keys(settings.api_keys)
        self.rate_limits = RateLimits(settings.megapixels_per_minute, settings.rate_store)
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

    def resolve_model(self, name: str) -> str | None:
        """Return the loaded model that goes by a name or an alias, None if there is none."""
        for known, spec in self.models.items():
            if name in (known, *spec.aliases):
                return known
        return None

    async def admit(self, request: Request) -> str:
        """Decide from its head whether a request may go on.

        Returns:
            Whose rate it counts against: the key's owner, or without keys the client's address.

        Raises:
            Refusal: 403 without a known key, 429 if its owner or all clients ask for too much, 503
                if the service is shutting down.
        """
        name = self.keys.name_of(request.headers)
        if not self.keys.required and request.client:
            name = _network_of(request.client.host)
        await self.rate_limits.check(name)
        self.pool.admit()
        return name

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
        """Return the image that a request names; see `fetch.Fetcher`.

        Raises:
            Refusal: 429 if there is no room for it.
        """
        return await self._fetcher(address, lambda count: self.budget.hold(request, count))

    async def cut_out(self, request: worker.Request, name: str) -> tuple[Reply, dict[str, str]]:
        """Serve a request in some worker, and count it.

        Args:
            request: What to cut out.
            name: Whose rate it counts against.

        Returns:
            The reply, and the headers that both contracts have: what is left of the owner's rate,
            how far the result is in doubt, and how the ground was known.

        Raises:
            Refusal, RequestFailed: see `Pool.run`.
        """
        try:
            reply = await self.pool.run(request)
        except RequestFailed:
            await self.rate_limits.charge(name, 0)
            raise
        H, W = reply.facts["input_size"]
        megapixels = H * W * reply.facts["frames"] / 1e6
        self.metrics.megapixels.inc(megapixels)
        self.metrics.stages.labels("queue").observe(reply.queue_s)
        for stage, ms in reply.facts["milliseconds"].items():
            self.metrics.stages.labels(stage).observe(ms / 1000)
        headers = await self.rate_limits.charge(name, megapixels)
        headers["X-Alphacut-Doubt"] = f"{reply.facts['doubt']:.3f}"
        if ground := reply.facts["ground"]:
            headers["X-Alphacut-Ground"] = f"{ground}; sure={reply.facts['ground_sure']:.2f}"
        return reply, headers


def _network_of(address: str) -> str:
    """Return an address, or the /64 network of an IPv6 one, all of which one client has."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:  # a socket of the file system, or a name
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return address
    if found.ipv4_mapped:  # as some proxies write IPv4: all of it is in one /64
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((int(found), 64), strict=False))


async def while_connected(request: Request, work: Awaitable[_Result]) -> _Result:
    """Work for a client for as long as it stays.

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
    """Return when the client has closed its connection; its body was read before."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
