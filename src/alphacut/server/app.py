"""The application: both contracts, and what a service needs around them."""

import asyncio
import contextlib
import html
import logging
from collections.abc import AsyncIterator, Mapping
from typing import Any

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
from alphacut.server import rembg, removebg
from alphacut.server.guard import CLIENT_GONE, Guard, note
from alphacut.server.pool import WorkFailed
from alphacut.server.refusal import Refusal
from alphacut.server.service import Service
from alphacut.server.settings import Settings
from alphacut.server.worker import Task

log = logging.getLogger("alphacut.server")
_SELF_TEST_PAUSE_S = 1.0


def create_app(settings: Settings, removers: Mapping[str, Remover]) -> FastAPI:
    """Make the application.

    Args:
        settings: How it runs.
        removers: The loaded models by name; the first is the default.

    Returns:
        An ASGI application; its service is `app.state.service`.

    Raises:
        OutputError: if the file of keys or the store of rates cannot be used.
        MissingExtra: if the page is wanted and Gradio is not installed.
    """
    service = Service(settings, removers)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.pool.start()
        testing = asyncio.create_task(_self_test(service))
        try:
            yield
        finally:
            testing.cancel()
            await asyncio.to_thread(service.pool.close)

    app = FastAPI(
        title="alphacut", version=__version__, docs_url=None, redoc_url=None, lifespan=lifespan,
        description="Removes the background of pictures, by remove.bg's and rembg's contracts.",
    )  # fmt: skip
    app.state.service = service
    app.include_router(removebg.router(service))
    app.include_router(rembg.router(service))
    _add_running(app, service)
    _add_errors(app, service)
    app.state.release = lambda: None
    if settings.demo:
        try:
            from alphacut.server import page
        except ModuleNotFoundError as error:
            raise MissingExtra(str(error.name), "demo") from error
        page.add(app, service)  # last: what is above comes first
    if settings.cors:
        app.add_middleware(
            CORSMiddleware, allow_origins=list(settings.cors), allow_methods=["GET", "POST"],
            allow_headers=["X-Api-Key", "Authorization", "Content-Type"], expose_headers=["*"],
        )  # fmt: skip
    stack = app.build_middleware_stack
    # around Starlette's own answer to errors that nobody foresaw, which no middleware sees
    app.build_middleware_stack = lambda: Guard(stack(), service)  # type: ignore[method-assign]
    return app


async def _self_test(service: Service) -> None:
    """Cut out the embedded example as a client would, until it comes out right."""
    options = Options(model=service.default_model, result="mask", format="png")
    task = Task(self_test.EXAMPLE.read_bytes(), options)
    while not service.self_test_passed:
        try:
            reply = await service.pool.run(task)
            self_test.judge(load_image(reply.data)[..., 0] / 255)
            service.self_test_passed = True
            log.info("ready: the self-test passed")
        except (AlphacutError, Refusal, WorkFailed) as error:
            log.warning("the self-test failed: %s", error)
            await asyncio.sleep(_SELF_TEST_PAUSE_S)


def _add_running(app: FastAPI, service: Service) -> None:
    """Add what those who run the service ask for."""

    @app.get("/health", tags=["running"])
    async def health() -> dict[str, str]:
        """Say that the process is alive."""
        return {"status": "alive", "version": __version__}

    @app.get("/ready", tags=["running"], responses={503: {"description": "Not now."}})
    async def ready() -> JSONResponse:
        """Say whether pictures are taken: a worker is up and the self-test has passed."""
        yes = service.pool.ready and service.self_test_passed
        body = {
            "status": "ready" if yes else "draining" if service.pool.draining else "starting",
            "models": list(service.models),
            "workers": len(service.pool.alive),
        }
        return JSONResponse(body, 200 if yes else 503)

    @app.get("/metrics", tags=["running"], response_class=Response,
             responses={200: {"content": {"text/plain": {}}}})  # fmt: skip
    async def metrics() -> Response:
        """Return the counters in Prometheus's form."""
        data = generate_latest(service.metrics.registry)
        return Response(data, headers={"Content-Type": CONTENT_TYPE_LATEST})

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        """Show the schema as a page that needs no other host."""
        return HTMLResponse(_page(app.openapi()))


def _add_errors(app: FastAPI, service: Service) -> None:
    """Word every error as the contract of its path does."""

    def word(request: Request, refusal: Refusal) -> Response:
        service.metrics.rejects.labels(refusal.code).inc()
        note(request.scope, code=refusal.code)
        path = request.url.path
        remove_bg = path != rembg.PATH and path.startswith(
            tuple(f"{p}/" for p in removebg.PREFIXES)
        )
        return removebg.answer(refusal) if remove_bg else rembg.answer(refusal)

    @app.exception_handler(Refusal)
    async def refused(request: Request, refusal: Refusal) -> Response:
        return word(request, refusal)

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> Response:
        codes = {404: "not_found", 405: "method_not_allowed"}
        answer = word(
            request,
            Refusal(error.status_code, codes.get(error.status_code, "refused"), error.detail),
        )
        answer.headers.update(error.headers or {})
        return answer

    @app.exception_handler(ClientDisconnect)
    async def gone(request: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=CLIENT_GONE)

    @app.exception_handler(Exception)
    async def broken(request: Request, error: Exception) -> Response:
        return word(request, Refusal(500, "internal_error", "Internal error"))


def _page(schema: Mapping[str, Any]) -> str:
    """Write the schema as a plain page."""
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><title>alphacut</title><style>"
        "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
        "table{border-collapse:collapse;width:100%}td,th{border-bottom:1px solid #ccc;"
        "padding:.2rem .5rem;text-align:left;vertical-align:top}code{font-size:.95em}</style>",
        f"<h1>{_text(schema['info']['title'])} {_text(schema['info']['version'])}</h1>"
        f"<p>{_text(schema['info']['description'])} <a href=openapi.json>openapi.json</a></p>",
    ]
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            parts.append(f"<h2><code>{method.upper()} {_text(path)}</code></h2>")
            parts.append(f"<p>{_text(operation.get('description', ''))}</p>")
            rows = [
                (one["name"], one["schema"], one.get("description", ""))
                for one in operation.get("parameters", [])
            ]
            content = operation.get("requestBody", {}).get("content", {})
            if content:
                first = next(iter(content.values()))["schema"].get("properties", {})
                rows += [(name, of, of.get("description", "")) for name, of in first.items()]
                parts.append(
                    f"<p>Body: {', '.join(f'<code>{_text(kind)}</code>' for kind in content)}</p>"
                )
            if rows:
                parts.append("<table><tr><th>field<th>values<th>meaning")
                parts += [
                    f"<tr><td><code>{_text(name)}</code><td>{_text(_values(of))}<td>{_text(meaning)}"
                    for name, of, meaning in rows
                ]
                parts.append("</table>")
            parts.append("<p>Answers: " + "; ".join(
                f"<b>{_text(status)}</b> {_text(of.get('description', ''))}"
                for status, of in sorted(operation["responses"].items())
            ) + "</p>")  # fmt: skip
    return "".join(parts) + "</html>"


def _values(schema: Mapping[str, Any]) -> str:
    """Say in words what a schema allows."""
    words = ", ".join(schema["enum"]) if "enum" in schema else str(schema.get("type", ""))
    return f"{words} (default {schema['default']})" if "default" in schema else words


def _text(text: object) -> str:
    return html.escape(str(text))
