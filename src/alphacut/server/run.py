"""Running the application: models, an address, and an orderly shutdown."""

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import uvicorn
from fastapi import FastAPI

from alphacut import __version__
from alphacut.options import Options
from alphacut.remover import Remover
from alphacut.runtimes.cache import cached
from alphacut.server.app import create_app
from alphacut.server.connection import CONNECTIONS, Config, Watch
from alphacut.server.guard import HEAD_BYTES
from alphacut.server.log import start_logging
from alphacut.server.service import Service
from alphacut.server.settings import Settings
from alphacut.server.worker import STOP_SIGNALS

log = logging.getLogger("alphacut.server")

KEEP_ALIVE_S = 5


def load(settings: Settings) -> dict[str, Remover]:
    """Load the models that the settings name.

    Raises:
        AlphacutError: if one cannot be loaded.
    """
    where = Options(runtime=settings.runtime, device=settings.device)
    removers = [Remover(name, options=where, hint="throughput") for name in settings.model]
    if settings.demo:  # people try settings and strokes on one picture
        removers = [
            Remover(one.spec, options=one.options, network=cached(one.network)) for one in removers
        ]
    return {remover.spec.name: remover for remover in removers}


def serve(settings: Settings, removers: Mapping[str, Remover]) -> None:
    """Serve requests until a signal ends it.

    Raises:
        OutputError: if the key file or the rate store cannot be used.
        SystemExit: if the address cannot be listened on.
    """
    start_logging(settings.log)
    _allow_connections()
    app = create_app(settings, removers)
    config = Config(
        Watch(app), cors=settings.cors, host=settings.host, port=settings.port,
        root_path=settings.prefix, http="h11", ws="none", lifespan="on", log_config=None,
        access_log=False, server_header=False, timeout_keep_alive=KEEP_ALIVE_S,
        h11_max_incomplete_event_size=HEAD_BYTES, timeout_graceful_shutdown=int(settings.timeout),
    )  # fmt: skip
    _summarise(settings, removers)
    _Server(config, app).run()


def _summarise(settings: Settings, removers: Mapping[str, Remover]) -> None:
    """Log how the service runs, and what is unwise about it."""
    facts: dict[str, Any] = {
        "version": __version__, "models": ",".join(removers),
        "device": next(iter(removers.values())).network.device,
        "workers": settings.worker_count, "queue": settings.queue, "timeout_s": settings.timeout,
        "max_megapixels": settings.max_megapixels, "max_body": settings.max_body,
        "api_keys": "on" if settings.api_keys else "off",
        "rate_limit": settings.megapixels_per_minute or "off",
        "fetches": "on" if settings.allow_url else ",".join(settings.allow_url_host) or "off",
        "cors": ",".join(settings.cors) or "off",
    }  # fmt: skip
    log.info("alphacut", extra={"facts": facts})
    if settings.host not in ("127.0.0.1", "::1", "localhost") and not settings.api_keys:
        log.warning("anyone who can reach %s can use this service: set --api-keys", settings.host)


class _Server(uvicorn.Server):
    """A server that finishes what it has begun before it stops, and then exits with status 0."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._service: Service = app.state.service
        self._release: Callable[[], None] = app.state.release
        self._draining: asyncio.Task[None] | None = None

    async def startup(self, sockets: Any = None) -> None:
        """Log the address."""
        await super().startup(sockets)
        for server in self.servers:
            for socket in server.sockets:
                host, port = socket.getsockname()[:2]
                log.info("listening", extra={"facts": {"address": f"http://{host}:{port}"}})

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take signals as requests to stop; uvicorn would raise them again at the end."""
        self._loop = asyncio.get_running_loop()
        before = {number: signal.signal(number, self.handle_exit) for number in STOP_SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Drain at the first signal, stop at the second."""
        if self._service.pool.draining:
            self.should_exit = self.force_exit = True
        else:
            self._service.pool.draining = True
            self._loop.call_soon_threadsafe(self._start_draining)

    def _start_draining(self) -> None:
        self._draining = self._loop.create_task(self._drain())

    async def _drain(self) -> None:
        """Answer 503 to new requests until those begun are done."""
        log.info("draining", extra={"facts": {"inside": self._service.pool.inside}})
        await self._service.pool.drain(self._service.settings.timeout)
        self._release()
        self.should_exit = True


def _allow_connections() -> None:
    """Raise the limit of open files as far as the system allows, for many connections."""
    if sys.platform == "win32":
        return
    import resource

    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4 * CONNECTIONS if most == resource.RLIM_INFINITY else min(most, 4 * CONNECTIONS)
    if now == resource.RLIM_INFINITY or now >= wanted:
        return
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
