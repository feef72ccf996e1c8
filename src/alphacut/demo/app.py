"""The page as a web application: its address, and the requests that it answers."""

import asyncio
import contextlib
import json
import os
import re
import socket
import webbrowser
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

import click
import uvicorn
from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from alphacut.demo.engine import Engine
from alphacut.demo.gradio_import import gr
from alphacut.demo.layout import HERE
from alphacut.demo.page import Page
from alphacut.demo.share import shared
from alphacut.demo.uploads import SWEEP_S, Uploads
from alphacut.errors import OutputError
from alphacut.options import Options

_JOIN_BYTES = 2_000_000
# What Gradio's page asks of its own host; everything else that Gradio could do is refused
_ALLOWED = re.compile(
    r"/|/(assets|static)/.+|/(theme\.css|favicon\.ico|config|manifest\.json|robots\.txt)"
    r"|/gradio_api/(upload|upload_progress|queue/(join|data)|run/predict|cancel|reset|startup-events"
    r"|heartbeat/\w+|file=(?!\w*:).+)"
)
_FILE = "/gradio_api/file="
_STREAMS = re.compile(r"/gradio_api/(queue/data|heartbeat/\w+)")
_JOINS = ("/gradio_api/queue/join", "/gradio_api/run/predict")  # they name files
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
# Gradio's greys and blue have too little contrast
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


@dataclass(frozen=True)
class Mounted:
    """A page that is part of an application.

    Attributes:
        running: Makes a context in which the page may be used.
        release: Ends the connections that pages hold, for when the application shuts down.
    """

    running: Callable[[], AbstractAsyncContextManager[None]]
    release: Callable[[], None]


def mount(
    app: FastAPI, engine: Engine, options: Options, max_body_bytes: int, prefix: str = ""
) -> Mounted:
    """Show the page at an application's root, behind the application's own paths.

    Args:
        app: The application; its lifespan enters what `running` returns.
        engine: Cuts the images out.
        options: What the page starts with.
        max_body_bytes: Largest file that may be uploaded.
        prefix: What a proxy in front strips from paths, "" if there is none.

    Returns:
        What the application needs to run it.
    """
    uploads = Uploads()
    page = Page(engine, options, uploads)
    closing = asyncio.Event()
    theme = gr.themes.Default(
        primary_hue="blue", neutral_hue="gray", radius_size="md",
        font=_FONTS, font_mono=("ui-monospace", "monospace"),  # none that must be downloaded
    ).set(**_CONTRAST)  # fmt: skip
    gr.mount_gradio_app(
        app, page.blocks, "/", root_path=prefix or None, footer_links=[], run_history=False,
        max_file_size=max_body_bytes,
        ssr_mode=False, pwa=False, mcp_server=False, theme=theme, head=_HEAD,
        css=(HERE / "page.css").read_text(encoding="utf-8"),
        allowed_paths=[str(HERE / "examples")],
        app_kwargs={"middleware": [Middleware(AllowList, closing=closing)]},
    )  # fmt: skip

    @contextlib.asynccontextmanager
    async def running() -> AsyncIterator[None]:
        sweeping = asyncio.create_task(_sweep(uploads))
        try:
            yield
        finally:
            sweeping.cancel()
            uploads.close()

    return Mounted(running, closing.set)


async def _sweep(uploads: Uploads) -> None:
    while True:
        await asyncio.sleep(SWEEP_S)
        await asyncio.to_thread(uploads.sweep)


class AllowList:
    """The page's outermost layer: lets through what the page needs, and nothing from outside.

    Gradio would fetch addresses that clients name, and serve its own API; neither is wanted here.

    Args:
        app: Gradio's application.
        closing: Set when the connections that pages hold are to end.
    """

    def __init__(self, app: ASGIApp, closing: asyncio.Event) -> None:
        self.app, self.closing = app, closing

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

        if not _ALLOWED.fullmatch(path):
            return await _refuse(404, "Not found", send_safely)
        if _STREAMS.fullmatch(path):
            return await self._stream(scope, receive, send_safely)
        if path in _JOINS:
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
                return await _refuse(400, "Not JSON", send_safely)
            whole, first = body, True

            async def again() -> Message:
                nonlocal first
                if first:
                    first = False
                    return {"type": "http.request", "body": whole, "more_body": False}
                return await receive()

            return await self.app(scope, again, send_safely)
        if path.startswith(_FILE):
            return await self._file(scope, receive, send_safely)
        return await self.app(scope, receive, send_safely)

    async def _file(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a request for a file, which may go with its visitor before it is opened."""
        held: list[Message] = []  # the answer's head, until there is something of the file
        begun = False

        async def send_once_open(message: Message) -> None:
            nonlocal begun
            held.append(message)
            begun = begun or message["type"] != "http.response.start"
            while begun and held:
                await send(held.pop(0))

        gone = FileNotFoundError
        try:
            await self.app(scope, receive, send_once_open)
        except (gone, RuntimeError) as error:  # the latter by Starlette, because of the former
            if begun or not (isinstance(error, gone) or isinstance(error.__context__, gone)):
                raise
            await _refuse(404, "Not found", send)

    async def _stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a request whose answer lasts as long as the page is open, until `closing`."""
        begun = ended = False

        async def send_and_note(message: Message) -> None:
            nonlocal begun, ended
            begun = True
            ended = message["type"] == "http.response.body" and not message.get("more_body")
            await send(message)

        answering = asyncio.ensure_future(self.app(scope, receive, send_and_note))
        closing = asyncio.ensure_future(self.closing.wait())
        try:
            await asyncio.wait({answering, closing}, return_when=asyncio.FIRST_COMPLETED)
            if answering.done():
                ended = True
                answering.result()
        finally:
            for task in (answering, closing):
                task.cancel()
            await asyncio.gather(answering, closing, return_exceptions=True)
        if not begun and not ended:
            await _refuse(503, "Shutting down", send)
        elif not ended:
            await send({"type": "http.response.body", "body": b""})


def _names_address(value: Any) -> bool:
    """Tell whether JSON names a file on another host."""
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
    """A server that prints its address, and ends the connections of open pages when it stops."""

    def __init__(self, config: uvicorn.Config, release: Callable[[], None], browser: bool) -> None:
        super().__init__(config)
        self._release, self._browser = release, browser

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Print the page's address, and open it."""
        await super().startup(sockets)
        for listening in sockets or []:
            host, port = listening.getsockname()[:2]
            address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
            click.echo(f"alphacut: {address} (press Ctrl-C to stop)", err=True)
            if self._browser:
                await asyncio.to_thread(webbrowser.open, address)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the connections of pages, then stop."""
        self._release()
        await super().shutdown(sockets)


def serve(
    engine: Engine, options: Options, max_body_bytes: int, prefix: str, host: str, port: int,
    browser: bool, share: bool, loaded: Callable[[], object],
) -> None:  # fmt: skip
    """Show the page until a signal ends it; see `demo.serve`."""
    try:
        listening = socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET
        )
    except OSError as error:
        raise OutputError(
            f"cannot listen on {host}:{port}: {error.strerror}: choose another --port"
        ) from error
    loaded()  # a network that cannot be loaded is an error here, not on the page

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with mounted.running():
            yield

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    mounted = mount(app, engine, options, max_body_bytes, prefix)
    config = uvicorn.Config(
        app, root_path=prefix, log_level="warning", access_log=False, server_header=False,
        timeout_graceful_shutdown=3, ws="none",
    )  # fmt: skip
    with contextlib.ExitStack() as sharing:
        if share:
            address = sharing.enter_context(shared(host, listening.getsockname()[1]))
            click.echo(
                f"alphacut: {address}: until this command ends, anyone who knows this address can "
                "use the page; pictures pass through Gradio's servers",
                err=True,
            )
        _Server(config, mounted.release, browser).run([listening])
