"""The web page at the service's root: its work goes through the same pool and limits."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

from fastapi import FastAPI

from alphacut.demo import door
from alphacut.demo.work import Made
from alphacut.errors import ImageError, RuntimeFailure
from alphacut.models.entry import ModelSpec
from alphacut.options import Options
from alphacut.pipeline.strokes import Stroke
from alphacut.server.keys import ANYONE
from alphacut.server.pool import WorkFailed
from alphacut.server.refusal import Refusal
from alphacut.server.service import Service
from alphacut.server.worker import Task

_MARGIN_S = 5.0  # that a wait here is longer than the pool's own


class PoolWork:
    """The page's `Work`, done by the service's workers, so that no picture can harm the service.

    Args:
        service: Whose pool does it.
    """

    def __init__(self, service: Service) -> None:
        self.models: Sequence[ModelSpec] = list(service.models.values())
        self.runtimes: Sequence[str] = [service.settings.runtime]
        self.at_once = service.settings.worker_count
        self.loop: asyncio.AbstractEventLoop | None = None
        self._service = service

    def devices(self, runtime: str) -> Sequence[str]:
        """Return where a runtime can run."""
        return [self._service.settings.device]

    def __call__(self, picture: bytes, options: Options, painted: tuple[Stroke, ...] = ()) -> Made:
        """Cut out one picture."""
        assert self.loop is not None, "the page is not up yet"
        task = self._service.cut(Task(picture, options, painted), ANYONE)
        within_s = 2 * self._service.settings.timeout + _MARGIN_S
        try:
            reply, _ = asyncio.run_coroutine_threadsafe(task, self.loop).result(within_s)
        except WorkFailed as error:
            if error.facts.get("trace"):
                raise RuntimeFailure("this picture could not be worked on") from error
            reason = str(error.facts.get("reason"))
            raise ImageError(str(error.facts["message"]), reason) from error
        except Refusal as refusal:
            raise RuntimeFailure(f"{refusal.title}: try again in a moment") from refusal
        facts = reply.facts
        H, W = facts["input_size"]
        return Made(facts["format"], reply.data, facts["empty"], (H, W), facts["milliseconds"])


def add(app: FastAPI, service: Service) -> None:
    """Show the page at the application's root, behind the service's own paths.

    What ends the connections that pages hold is then `app.state.release`.
    """
    settings = service.settings
    work = PoolWork(service)
    options = Options(
        model=service.default_model, runtime=settings.runtime, device=settings.device,
        max_megapixels=settings.max_megapixels,
    )  # fmt: skip
    app.state.release = door.mount(app, work, options, settings.max_body_bytes)
    inner = app.router.lifespan_context

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[Any]:
        work.loop = asyncio.get_running_loop()
        async with inner(app) as state:
            yield state

    app.router.lifespan_context = lifespan
