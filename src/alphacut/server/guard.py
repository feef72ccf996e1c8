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
_TITLE = "Request head too long"
# before it is known whose contract is meant, so in the format of both
_HEAD_TOO_LONG = JSONResponse(
    {"errors": [{"title": _TITLE, "code": "head_too_long"}], "detail": _TITLE}, 431
)


class Guard:
    """The application's outermost middleware.

    Args:
        app: What it guards.
        service: Whose counters and budget it keeps.
        broken: Words the answer to an error that nobody foresaw.
    """

    def __init__(
        self, app: ASGIApp, service: Service, broken: Callable[[Request], Response]
    ) -> None:
        self.app, self.service, self.broken = app, service, broken

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
            head_bytes = sum(len(name) + len(value) for name, value in scope["headers"])
            if head_bytes + len(scope["raw_path"]) + len(scope["query_string"]) > HEAD_BYTES:
                await _HEAD_TOO_LONG(scope, receive, send_safely)
            else:
                await self.app(scope, receive, send_safely)
        except ClientDisconnect:
            status = CLIENT_GONE
        except Exception:  # one of many requests: it is answered, and the server logs the error
            if status == CLIENT_GONE:
                await self.broken(Request(scope))(scope, receive, send_safely)
            raise
        finally:
            held = scope.get("alphacut.held", 0)
            self.service.budget.release(scope)
            seconds = time.perf_counter() - start
            path = getattr(scope.get("route"), "path", "other")
            metrics = self.service.metrics
            metrics.requests.labels(path, str(status)).inc()
            metrics.seconds.labels(path).observe(seconds)
            facts = {
                "id": request_id, "method": scope["method"], "path": scope["path"][:100],
                "status": status, "ms": round(seconds * 1000), "in_bytes": held,
                "out_bytes": sent_bytes, **scope.get("alphacut.notes", {}),
            }  # fmt: skip
            quiet = path in ("/health", "/ready", "/metrics") or scope["path"].startswith(_PAGE)
            level = logging.DEBUG if quiet else logging.INFO
            log.log(level, "request", extra={"facts": facts})


def note(scope: Scope, **facts: Any) -> None:
    """Add facts to a request's log line: never a key, nor anything of an image."""
    scope.setdefault("alphacut.notes", {}).update(facts)


def _request_id(scope: Scope) -> str:
    """Return the id that a proxy gave, if it is well-formed, or a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _ID.fullmatch(value.decode("latin-1")):
            return str(value.decode("latin-1"))
    return secrets.token_hex(8)
