"""How the page reaches a browser: the address, what may be asked for, and nothing from outside."""

import asyncio
import contextlib
import json
import os
import re
import socket
import webbrowser
from collections.abc import AsyncIterator, Callable
from typing import Any

import click
import uvicorn
from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from alphacut.demo.page import HERE, Page
from alphacut.demo.quick import gr
from alphacut.demo.shelf import LOOK_S, Shelf
from alphacut.demo.work import Work
from alphacut.errors import OutputError
from alphacut.options import Options

_JOIN_BYTES = 2_000_000
# What Gradio's page asks of its own host; everything else that Gradio could do stays shut
_OPEN = re.compile(
    r"/|/(assets|static)/.+|/(theme\.css|favicon\.ico|config|manifest\.json|robots\.txt)"
    r"|/gradio_api/(upload|upload_progress|queue/(join|data)|run/predict|cancel|startup-events"
    r"|heartbeat/\w+|file=(?!\w*:).+)"
)
_HEADERS = {
    b"content-security-policy": b"default-src 'self'; script-src 'self' 'unsafe-inline' "
    b"'unsafe-eval'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    b"media-src 'self' blob:; font-src 'self' data:; worker-src 'self' blob:; "
    b"frame-ancestors 'none'; base-uri 'self'; form-action 'self'",
    b"referrer-policy": b"no-referrer",
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
}
_FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "sans-serif")
# Gradio's greys and its blue are too pale to be read by everyone
_CONTRAST = {
    "body_text_color_subdued": "*neutral_600", "body_text_color_subdued_dark": "*neutral_300",
    "block_info_text_color": "*neutral_600", "block_info_text_color_dark": "*neutral_300",
    "block_title_text_color": "*neutral_700", "block_label_text_color": "*neutral_700",
    "button_primary_background_fill": "*primary_600",
    "button_primary_background_fill_hover": "*primary_700",
    "button_primary_background_fill_dark": "*primary_600",
    "color_accent": "*primary_600",
}  # fmt: skip
_HEAD = """<meta name="description" content="Removes the background of pictures." />
<script>
// A picture that is pasted or dropped anywhere on the page is taken as if it had been chosen
for (const kind of ["paste", "drop"]) addEventListener(kind, (event) => {
  const file = [...((event.clipboardData ?? event.dataTransfer)?.files ?? [])][0];
  const input = document.querySelector("#photo input[type=file]");
  if (!file || !input || event.defaultPrevented || !input.closest("#photo").offsetParent) return;
  event.preventDefault();
  const chosen = new DataTransfer();
  chosen.items.add(file);
  input.files = chosen.files;
  input.dispatchEvent(new Event("change", { bubbles: true }));
});
addEventListener("dragover", (event) => event.preventDefault());
</script>"""


def mount(app: FastAPI, work: Work, options: Options, max_body_bytes: int) -> Callable[[], None]:
    """Show the page at an application's root, behind the application's own paths.

    Args:
        app: The application.
        work: Cuts the pictures out.
        options: What the page begins with.
        max_body_bytes: Largest file that may be uploaded.

    Returns:
        What ends the connections that pages hold, for when the application goes down.
    """
    shelf = Shelf()
    page = Page(work, options, shelf)
    theme = gr.themes.Default(
        primary_hue="blue", neutral_hue="gray", radius_size="md",
        font=_FONTS, font_mono=("ui-monospace", "monospace"),  # none that would have to be fetched
    ).set(**_CONTRAST)  # fmt: skip
    gr.mount_gradio_app(
        app, page.blocks, "/", footer_links=[], run_history=False, max_file_size=max_body_bytes,
        ssr_mode=False, pwa=False, mcp_server=False, theme=theme, head=_HEAD,
        css=(HERE / "page.css").read_text(encoding="utf-8"),
        allowed_paths=[str(HERE / "examples")],
        app_kwargs={"middleware": [Middleware(Fence)]},
    )  # fmt: skip
    gradio_app = app.routes[-1].app  # type: ignore[attr-defined]
    inner = app.router.lifespan_context

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[Any]:
        sweeping = asyncio.create_task(_sweep(shelf))
        try:
            async with inner(app) as state:
                yield state
        finally:
            sweeping.cancel()
            shelf.close()

    app.router.lifespan_context = lifespan
    return lambda: gradio_app.stop_event.set()


async def _sweep(shelf: Shelf) -> None:
    while True:
        await asyncio.sleep(LOOK_S)
        await asyncio.to_thread(shelf.sweep)


class Fence:
    """The page's outermost layer: what is not needed is not there, and nothing comes from outside.

    Gradio would fetch addresses that clients name, and serve its own API; neither is wanted here.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a request that the page itself may make."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        path = scope["path"].removeprefix(scope.get("root_path", "")) or "/"

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name.lower() for name, _ in message["headers"]}
                added = [(name, value) for name, value in _HEADERS.items() if name not in given]
                message["headers"] = [*message["headers"], *added]
            await send(message)

        if not _OPEN.fullmatch(path):
            return await _refuse(404, "Not found", send_safely)
        if path in ("/gradio_api/queue/join", "/gradio_api/run/predict"):
            body = b""
            while True:
                message = await receive()
                body += message.get("body", b"")
                if len(body) > _JOIN_BYTES:
                    return await _refuse(413, "Too long", send_safely)
                if not message.get("more_body"):
                    break
            try:
                if _names_address(json.loads(body)):
                    return await _refuse(400, "Files are uploaded, not fetched", send_safely)
            except (ValueError, RecursionError):
                return await _refuse(400, "No JSON", send_safely)
            whole, first = body, True

            async def again() -> Message:
                nonlocal first
                if first:
                    first = False
                    return {"type": "http.request", "body": whole, "more_body": False}
                return await receive()

            return await self.app(scope, again, send_safely)
        return await self.app(scope, receive, send_safely)


def _names_address(value: Any) -> bool:
    """Tell whether JSON has a file in it that lies on another host."""
    if isinstance(value, dict):
        path = value.get("path")
        if isinstance(path, str) and re.match(r"\s*\w+:", path) and not os.path.isabs(path):
            return True
        return any(map(_names_address, value.values()))
    return isinstance(value, list) and any(map(_names_address, value))


async def _refuse(status: int, text: str, send: Send) -> None:
    headers = [(b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})


class _Server(uvicorn.Server):
    """A server that says where it is, and lets go of pages that are open when it goes."""

    def __init__(self, config: uvicorn.Config, release: Callable[[], None], browser: bool) -> None:
        super().__init__(config)
        self._release, self._browser = release, browser

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Say where the page is, and open it."""
        await super().startup(sockets)
        for listening in sockets or []:
            host, port = listening.getsockname()[:2]
            address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
            click.echo(f"alphacut: {address} (Ctrl-C ends it)", err=True)
            if self._browser:
                await asyncio.to_thread(webbrowser.open, address)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let go of the pages, then stop."""
        self._release()
        await super().shutdown(sockets)


def serve(
    work: Work, options: Options, max_body_bytes: int, host: str, port: int, browser: bool,
    loaded: Callable[[], object],
) -> None:  # fmt: skip
    """Show the page until a signal ends it; see `demo.serve`."""
    try:
        listening = socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET
        )
    except OSError as error:
        raise OutputError(
            f"{host}:{port} cannot be listened on: {error.strerror}: choose another --port"
        ) from error
    loaded()  # a network that cannot be loaded is told here, not on the page
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    release = mount(app, work, options, max_body_bytes)
    config = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False,
                            timeout_graceful_shutdown=3, ws="none")  # fmt: skip
    _Server(config, release, browser).run([listening])
