"""Connections that are closed when a client is too slow for HTTP itself.

What is no request at all is refused here as well, in words that pages of other origins can read.

uvicorn sets no limit to two waits: for a request's head to arrive, and for an answer to be taken
in. A `Connection` stands between asyncio and uvicorn's protocol and knows of uvicorn only what
asyncio asks of any protocol; an ASGI application, `Watch`, tells it when a request has begun and
ended. The time for a request's body is `body`'s concern.
"""

import asyncio
import json
import re
import sys
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from functools import partial
from http import HTTPStatus
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from alphacut.server.guard import HEAD_TOO_LONG
from alphacut.server.refusal import in_both_contracts

HEAD_S = 10.0  # for a request's head, and for taking in an answer
CONNECTIONS = 4096
_CONNECTION: ContextVar["Connection"] = ContextVar("connection")


_NO_REQUEST = in_both_contracts("bad_request", "Not an HTTP request")
_ORIGIN = re.compile(rb"\r\norigin:[ \t]*([^\s]+)\r\n", re.IGNORECASE)


class Config(uvicorn.Config):
    """uvicorn's configuration, with a `Connection` around each of its protocols.

    Args:
        app: What answers requests.
        cors: Origins whose pages may read answers.
        **settings: uvicorn's own.
    """

    def __init__(self, app: ASGIApp, *, cors: Sequence[str] = (), **settings: Any) -> None:
        super().__init__(app, **settings)
        self._cors = cors

    def load(self) -> None:
        """Load what is configured."""
        super().load()
        around = partial(Connection, partial(_Protocol, cors=self._cors), set())
        self.http_protocol_class = cast("type[asyncio.Protocol]", around)


class _Protocol(H11Protocol):
    """uvicorn's protocol, which answers in the service's words where it sees no request."""

    def __init__(self, *, cors: Sequence[str] = (), **settings: Any) -> None:
        super().__init__(**settings)
        self._cors = cors

    def send_400_response(self, msg: str) -> None:
        """Refuse what h11 could not read; it is the exception that is being handled."""
        status = HTTPStatus(getattr(sys.exc_info()[1], "error_status_hint", 400))
        if self.cycle is None or self.cycle.response_complete:
            too_long = status == HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            body = json.dumps(HEAD_TOO_LONG if too_long else _NO_REQUEST)
            head = [
                f"HTTP/1.1 {status.value} {status.phrase}", "Content-Type: application/json",
                f"Content-Length: {len(body)}", "Connection: close", *self._cors_headers(),
            ]  # fmt: skip
            self.transport.write("\r\n".join([*head, "", body]).encode())
        self.transport.close()

    def _cors_headers(self) -> list[str]:
        """Let allowed pages read the answer; the request's origin may not have arrived yet."""
        if "*" in self._cors:
            return ["Access-Control-Allow-Origin: *"]
        found = _ORIGIN.search(self.conn.trailing_data[0])
        origin = found[1].decode("latin-1") if found else "".join(self._cors[:1])
        if origin not in self._cors:
            return []
        return [f"Access-Control-Allow-Origin: {origin}", "Vary: Origin"]


class Connection(asyncio.Protocol):
    """A connection that is closed when its client keeps it waiting.

    Args:
        http: uvicorn's protocol.
        connections: All that are open.
        **settings: What uvicorn gives to its protocol.
    """

    def __init__(
        self, http: Callable[..., asyncio.Protocol], connections: set["Connection"], **settings: Any
    ) -> None:
        self._http = http(**settings)
        self._connections = connections
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._requests = 0  # in progress; further ones of the client wait for it
        self._paused = False
        self._unsent_bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the first request."""
        self._transport = cast(asyncio.Transport, transport)
        self._connections.add(self)
        self._http.connection_made(transport)
        if len(self._connections) > CONNECTIONS:
            self._transport.abort()
        else:
            self._watch()

    def data_received(self, data: bytes) -> None:
        """Pass data on, so that what it starts knows its connection."""
        _CONNECTION.set(self)
        self._http.data_received(data)

    def eof_received(self) -> bool | None:
        """Pass it on."""
        return self._http.eof_received()

    def pause_writing(self) -> None:
        """Wait for the client to take in what was sent."""
        self._paused = True
        self._http.pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        """Go on."""
        self._paused = False
        self._http.resume_writing()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._connections.discard(self)
        self._stop()
        self._http.connection_lost(exc)

    def begin(self) -> None:
        """Note that a request's head has arrived."""
        self._requests += 1
        self._watch()

    def end(self) -> None:
        """Note that a request has been answered."""
        self._requests -= 1
        self._watch()

    def _watch(self) -> None:
        """Start the clock anew if the client is to act, stop it if the service is."""
        self._stop()
        if self._paused or not self._requests:
            self._unsent_bytes = self._transport.get_write_buffer_size()
            self._timer = self._loop.call_later(HEAD_S, self._give_up)

    def _stop(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        """Close the connection, unless the client is still taking in an answer."""
        if 0 < self._transport.get_write_buffer_size() < self._unsent_bytes:
            return self._watch()
        return self._transport.abort()


class Watch:
    """Tells each connection when its requests begin and end.

    Args:
        app: What answers them.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        connection = _CONNECTION.get(None)
        if connection is None or scope["type"] != "http":
            return await self.app(scope, receive, send)
        answered = False

        async def send_and_note(message: Message) -> None:
            nonlocal answered
            await send(message)
            last = message["type"] == "http.response.body" and not message.get("more_body")
            if last and not answered:  # before the client's next request begins
                answered = True
                connection.end()

        connection.begin()
        try:
            await self.app(scope, receive, send_and_note)
        finally:
            if not answered:
                connection.end()
