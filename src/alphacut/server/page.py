"""The web page at the service's root: the service's workers do its work, within its limits."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

from fastapi import FastAPI

from alphacut.demo import app as demo
from alphacut.demo.engine import EncodedResult
from alphacut.errors import ImageError, RuntimeFailure
from alphacut.models.entry import ModelSpec
from alphacut.options import Options
from alphacut.pipeline.strokes import Stroke
from alphacut.server import worker
from alphacut.server.keys import ANYONE
from alphacut.server.pool import RequestFailed
from alphacut.server.refusal import Refusal
from alphacut.server.service import Service

_MARGIN_S = 5.0  # by which a wait here is longer than the pool's own


class PoolEngine:
    """The page's engine in the service: its workers, so that no image can harm the service.

    Args:
        service: Whose workers they are.
    """

    def __init__(self, service: Service) -> None:
        self.models: Sequence[ModelSpec] = list(service.models.values())
        self.absent: Sequence[ModelSpec] = ()  # visitors cannot download any
        self.runtimes: Sequence[str] = [service.settings.runtime]
        self.threads = service.settings.worker_count
        self.loop: asyncio.AbstractEventLoop | None = None
        self._service = service

    def devices(self, runtime: str) -> Sequence[str]:
        """Return where a runtime can run."""
        return [self._service.settings.device]

    def __call__(
        self, image: bytes, options: Options, strokes: tuple[Stroke, ...] = ()
    ) -> EncodedResult:
        """Cut out one image."""
        assert self.loop is not None, "the page is not up yet"
        job = self._service.cut_out(worker.Request(image, options, strokes), ANYONE)
        within_s = self._service.settings.timeout + _MARGIN_S
        try:
            reply, _ = asyncio.run_coroutine_threadsafe(job, self.loop).result(within_s)
        except RequestFailed as failed:
            if failed.error is ImageError:
                raise ImageError(failed.message, str(failed.reason)) from failed
            unforeseen = "this picture could not be processed"
            raise RuntimeFailure(failed.message if failed.error else unforeseen) from failed
        except Refusal as refusal:
            raise RuntimeFailure(f"{refusal.title}: try again in a moment") from refusal
        facts = reply.facts
        H, W = facts["input_size"]
        return EncodedResult(
            facts["format"],
            reply.data,
            facts["empty"],
            facts["doubt"],
            (H, W),
            facts["milliseconds"],
            facts["ground"],
            facts["ground_sure"],
        )


def add(app: FastAPI, service: Service) -> None:
    """Show the page at the application's root, behind the service's own paths.

    `app.state.page` then runs what the page needs, and `app.state.release` ends the connections
    that pages hold.
    """
    settings = service.settings
    engine = PoolEngine(service)
    options = Options(
        model=service.default_model, runtime=settings.runtime, device=settings.device,
        max_megapixels=settings.max_megapixels, metadata=settings.metadata,
    )  # fmt: skip
    mounted = demo.mount(app, engine, options, settings.max_body_bytes, settings.prefix)

    @contextlib.asynccontextmanager
    async def running() -> AsyncIterator[None]:
        engine.loop = asyncio.get_running_loop()
        async with mounted.running():
            yield

    app.state.page, app.state.release = running, mounted.release
