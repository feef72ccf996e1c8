"""The application: both contracts, and what a service needs around them."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping

from fastapi import FastAPI
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from alphacut import __version__
from alphacut.errors import AlphacutError, MissingExtra
from alphacut.evaluation import self_test
from alphacut.options import Options
from alphacut.pipeline.load import load_image
from alphacut.remover import Remover
from alphacut.server import docs, rembg, removebg, worker
from alphacut.server.guard import CLIENT_GONE, Fence, Guard, note, own_path
from alphacut.server.pool import RequestFailed
from alphacut.server.refusal import Refusal
from alphacut.server.service import Service
from alphacut.server.settings import Settings

log = logging.getLogger("alphacut.server")
_SELF_TEST_PAUSE_S = 1.0


def create_app(settings: Settings, removers: Mapping[str, Remover]) -> FastAPI:
    """Make the application.

    Args:
        settings: How it runs.
        removers: The loaded models by name; the first is the default.

    Returns:
        An ASGI application. `app.state.service` is its service, and `app.state.release` ends the
        connections that web pages hold.

    Raises:
        OutputError: if the key file or the rate store cannot be used.
        MissingExtra: if the web page is wanted and Gradio is not installed.
    """
    service = Service(settings, removers)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.pool.start()
        testing = asyncio.create_task(_self_test(service))
        try:
            async with app.state.page():
                yield
        finally:
            testing.cancel()
            await asyncio.to_thread(service.pool.close)

    app = FastAPI(
        title="alphacut", version=__version__, docs_url=None, redoc_url=None, lifespan=lifespan,
        description="Removes the background of images, by remove.bg's and rembg's contracts.",
    )  # fmt: skip
    app.state.service = service
    app.state.release, app.state.page = lambda: None, contextlib.nullcontext
    app.include_router(removebg.router(service))
    app.include_router(rembg.router(service))
    _add_operations(app, service)
    _add_errors(app, service)
    if settings.demo:
        try:
            from alphacut.server import page
        except ModuleNotFoundError as error:
            raise MissingExtra(str(error.name), "demo") from error
        page.add(app, service)  # last: the paths above take precedence
    broken = Refusal(500, "internal_error", "Internal error")
    app.add_middleware(Fence, broken=lambda request: _answer(request, broken, service))
    if settings.cors:
        app.add_middleware(
            CORSMiddleware, allow_origins=list(settings.cors), expose_headers=["*"],
            allow_methods=["GET", "HEAD", "POST"], allow_headers=["*"],
        )  # fmt: skip
    app.add_middleware(Guard, service=service)
    return app


async def _self_test(service: Service) -> None:
    """Cut out the bundled example as a client would, until the result is right."""
    spec = service.models[service.default_model]
    points = "" if spec.finds_subjects else self_test.FACE
    options = Options(model=service.default_model, result="mask", format="png", points=points)
    request = worker.Request(self_test.EXAMPLE.read_bytes(), options)
    while not service.self_test_passed:
        try:
            reply = await service.pool.run(request)
            self_test.judge(load_image(reply.data)[..., 0] / 255)
            service.self_test_passed = True
            log.info("ready: the self-test passed")
        except (AlphacutError, Refusal, RequestFailed) as error:
            log.warning("the self-test failed: %s", error)
            await asyncio.sleep(_SELF_TEST_PAUSE_S)


def _add_operations(app: FastAPI, service: Service) -> None:
    """Add the routes for whoever runs the service."""

    @app.head("/health", include_in_schema=False)  # of probes
    @app.get("/health", tags=["operations"])
    async def health() -> dict[str, str]:
        """Tell that the process is alive."""
        return {"status": "alive", "version": __version__}

    @app.head("/ready", include_in_schema=False)
    @app.get("/ready", tags=["operations"], responses={503: {"description": "Not now."}})
    async def ready() -> JSONResponse:
        """Tell whether requests are served: a worker is up and the self-test has passed."""
        yes = service.pool.ready and service.self_test_passed
        body = {
            "status": "ready" if yes else "draining" if service.pool.draining else "starting",
            "models": list(service.models),
            "workers": len(service.pool.alive),
        }
        return JSONResponse(body, 200 if yes else 503)

    @app.head("/metrics", include_in_schema=False)
    @app.get("/metrics", tags=["operations"], response_class=Response,
             responses={200: {"content": {"text/plain": {}}}})  # fmt: skip
    async def metrics() -> Response:
        """Return the counters in Prometheus's format."""
        data = generate_latest(service.metrics.registry)
        return Response(data, headers={"Content-Type": CONTENT_TYPE_LATEST})

    @app.head("/docs", include_in_schema=False)
    @app.get("/docs", include_in_schema=False)
    async def manual() -> HTMLResponse:
        """Show the schema as a page that needs no other host."""
        return HTMLResponse(docs.render_page(app.openapi()))


def _add_errors(app: FastAPI, service: Service) -> None:
    """Word every error in the contract of its path."""

    @app.exception_handler(Refusal)
    async def refused(request: Request, refusal: Refusal) -> Response:
        return _answer(request, refusal, service)

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> Response:
        codes = {404: "not_found", 405: "method_not_allowed"}
        code = codes.get(error.status_code, "refused")
        answer = _answer(request, Refusal(error.status_code, code, error.detail), service)
        answer.headers.update(error.headers or {})
        return answer

    @app.exception_handler(ClientDisconnect)
    async def gone(request: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=CLIENT_GONE)


def _answer(request: Request, refusal: Refusal, service: Service) -> Response:
    """Count a refusal and word it in the contract of its path."""
    service.metrics.rejects.labels(refusal.code).inc()
    note(request.scope, code=refusal.code)
    path = own_path(request.scope)
    of_removebg = path != rembg.PATH and path.startswith(
        tuple(f"{prefix}/" for prefix in removebg.PREFIXES)
    )
    return removebg.answer(refusal) if of_removebg else rembg.answer(refusal)
