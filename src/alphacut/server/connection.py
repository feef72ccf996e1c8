"""Connections that are closed when a client is too slow for HTTP itself.

uvicorn sets no limit to two waits: for a request's head to arrive, and for an answer to be taken
in. A `Connection` stands between asyncio and uvicorn's protocol and knows of uvicorn only what
asyncio asks of any protocol; an ASGI application, `Watch`, tells it when a request has begun and
ended. The time for a request's body is `body`'s concern.
"""

import asyncio
from contextvars import ContextVar
from functools import partial
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEAD_S = 10.0  # for a request's head, and for taking in an answer
CONNECTIONS = 4096
_CONNECTION: ContextVar["Connection"] = ContextVar("connection")


class Config(uvicorn.Config):
    """uvicorn's configuration, with a `Connection` around each of its protocols."""

    def load(self) -> None:
        """Load what is configured."""
        super().load()
        around = partial(Connection, self.http_protocol_class, set())
        self.http_protocol_class = cast("type[asyncio.Protocol]", around)


class Connection(asyncio.Protocol):
    """A connection that is closed when its client keeps it waiting.

    Args:
        http: uvicorn's protocol.
        connections: All that are open.
        **settings: What uvicorn gives to its protocol.
    """

    def __init__(
        self, http: type[asyncio.Protocol], connections: set["Connection"], **settings: Any
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
