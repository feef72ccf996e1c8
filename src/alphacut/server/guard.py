"""What happens to every request, whatever its path: an id, a log line, counters, safe headers."""

import logging
import re
import secrets
import time
from collections.abc import Callable
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from alphacut.server.refusal import in_both_contracts
from alphacut.server.service import Service

log = logging.getLogger("alphacut.server.requests")

_HEADERS = {
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"no-referrer",
    b"content-security-policy": b"default-src 'none'; style-src 'unsafe-inline'; "
    b"frame-ancestors 'none'",
    b"cache-control": b"no-store",
}
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_PAGE = ("/assets/", "/static/", "/gradio_api/")  # many, and some name what visitors uploaded
CLIENT_GONE = 499
HEAD_BYTES = 16_384
HEAD_TOO_LONG = in_both_contracts("head_too_long", "Request head too long")


class Guard:
    """The application's outermost middleware.

    Args:
        app: What it guards.
        service: Whose counters and budget it keeps.
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self.app, self.service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and note what became of it."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        start, status, sent_bytes = time.perf_counter(), CLIENT_GONE, 0
        request_id = _request_id(scope)

        async def send_safely(message: Message) -> None:
            nonlocal status, sent_bytes
            if message["type"] == "http.response.start":
                status = message["status"]
                given = {name.lower() for name, _ in message["headers"]}
                added = [(name, value) for name, value in _HEADERS.items() if name not in given]
                message["headers"] = [
                    *message["headers"], *added, (b"x-request-id", request_id.encode())
                ]  # fmt: skip
            sent_bytes += len(message.get("body", b""))
            await send(message)

        try:
            await self.app(scope, receive, send_safely)
        except ClientDisconnect:
            status = CLIENT_GONE
        finally:
            held = scope.get("alphacut.held", 0)
            self.service.budget.release(scope)
            seconds = time.perf_counter() - start
            path = getattr(scope.get("route"), "path", "other")
            metrics = self.service.metrics
            metrics.requests.labels(path, str(status)).inc()
            metrics.seconds.labels(path).observe(seconds)
            facts = {
                "id": request_id, "method": scope["method"], "path": own_path(scope)[:100],
                "status": status, "ms": round(seconds * 1000), "in_bytes": held,
                "out_bytes": sent_bytes, **scope.get("alphacut.notes", {}),
            }  # fmt: skip
            quiet = path in ("/health", "/ready", "/metrics") or own_path(scope).startswith(_PAGE)
            level = logging.DEBUG if quiet else logging.INFO
            log.log(level, "request", extra={"facts": facts})


class Fence:
    """Refuses heads that are too long, and answers for what broke.

    The middleware for other origins is around it, so that their pages can read what it says.

    Args:
        app: What is behind it.
        broken: Words the answer to an error that nobody foresaw.
    """

    def __init__(self, app: ASGIApp, broken: Callable[[Request], Response]) -> None:
        self.app, self.broken = app, broken

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        begun = False

        async def send_and_note(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        head_bytes = sum(len(name) + len(value) for name, value in scope["headers"])
        if head_bytes + len(scope["raw_path"]) + len(scope["query_string"]) > HEAD_BYTES:
            return await JSONResponse(HEAD_TOO_LONG, 431)(scope, receive, send)
        try:
            await self.app(scope, receive, send_and_note)
        except ClientDisconnect:
            raise
        except Exception:  # one of many requests: it is answered, and the server logs the error
            if not begun:
                await self.broken(Request(scope))(scope, receive, send)
            raise


def own_path(scope: Scope) -> str:
    """Return a request's path without what a proxy in front strips."""
    return str(scope["path"]).removeprefix(scope.get("root_path", ""))


def note(scope: Scope, **facts: Any) -> None:
    """Add facts to a request's log line: never a key, nor anything of an image."""
    scope.setdefault("alphacut.notes", {}).update(facts)


def _request_id(scope: Scope) -> str:
    """Return the id that a proxy gave, if it is well-formed, or a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _ID.fullmatch(value.decode("latin-1")):
            return str(value.decode("latin-1"))
    return secrets.token_hex(8)
