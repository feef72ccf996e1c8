"""Clients that are too slow for HTTP itself, against uvicorn."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from alphacut.server import connection
from alphacut.server.connection import Config, Connection, Watch

GET = b"GET /%s HTTP/1.1\r\nHost: a\r\n\r\n"
LARGE = 30_000_000  # more than the system's buffers hold


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer as the path says."""
    if scope["path"] == "/slow":
        await asyncio.sleep(1.0)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    if scope["path"] == "/stream":
        for _ in range(LARGE // 100_000):
            await send({"type": "http.response.body", "body": bytes(100_000), "more_body": True})
    body = bytes(LARGE) if scope["path"] == "/large" else b"done"
    await send({"type": "http.response.body", "body": body})


Client = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[Client]:
    """A server, and what connects to it."""
    config = Config(Watch(app), port=0, http="h11", ws="none", lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    running = asyncio.ensure_future(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    writers: list[asyncio.StreamWriter] = []

    async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writers.append(writer)
        return reader, writer

    try:
        yield connect
    finally:
        for writer in writers:
            writer.close()
        server.should_exit = True
        await running


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_S", 0.3)


async def until_closed(reader: asyncio.StreamReader) -> int:
    """How many bytes come until the connection is closed, by whatever means."""
    count = 0
    with contextlib.suppress(ConnectionError):
        while piece := await asyncio.wait_for(reader.read(65536), 30):
            count += len(piece)
    return count


def check(work: Callable[[Client], Awaitable[None]]) -> None:
    async def run() -> None:
        async with serving() as connect:
            await work(connect)

    asyncio.run(run())


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: a"])
def test_a_head_that_does_not_come(sent: bytes) -> None:
    async def work(connect: Client) -> None:
        reader, writer = await connect()
        writer.write(sent)
        assert await until_closed(reader) == 0

    check(work)


def test_an_answer_may_take_its_time() -> None:
    async def work(connect: Client) -> None:
        reader, writer = await connect()
        writer.write(GET % b"slow")
        assert await asyncio.wait_for(reader.readuntil(b"done"), 30)

    check(work)


def test_requests_that_come_at_once_are_answered_in_turn() -> None:
    async def work(connect: Client) -> None:
        reader, writer = await connect()
        writer.write((GET % b"") + (GET % b"slow") + (GET % b""))
        for _ in range(3):
            assert await asyncio.wait_for(reader.readuntil(b"done"), 30)

    check(work)


@pytest.mark.parametrize("path", [b"large", b"stream"])
def test_an_answer_that_is_not_taken_in(path: bytes) -> None:
    async def work(connect: Client) -> None:
        reader, writer = await connect()
        writer.write(GET % path)
        await asyncio.sleep(1.2)
        assert await until_closed(reader) < LARGE

    check(work)


@pytest.mark.parametrize("path", [b"large", b"stream"])
def test_an_answer_that_is_taken_in_slowly(path: bytes) -> None:
    async def work(connect: Client) -> None:
        reader, writer = await connect()
        writer.write((GET % path).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        count = 0
        while piece := await reader.read(2_000_000):
            count += len(piece)
            await asyncio.sleep(0.01)
        assert count > LARGE

    check(work)


def test_more_connections_than_there_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "CONNECTIONS", 2)

    async def work(connect: Client) -> None:
        held = [await connect() for _ in range(2)]
        reader, _ = await connect()
        assert await until_closed(reader) == 0
        for reader, _ in held:
            assert not reader.at_eof()

    check(work)


def test_what_is_used_of_uvicorn_is_there() -> None:
    """The names that a new uvicorn might take away."""
    config = Config(app, log_config=None)
    config.load()
    server: Any = uvicorn.Server(config)
    used = {
        "load": config, "http_protocol_class": config, "startup": server, "shutdown": server,
        "capture_signals": server, "handle_exit": server, "should_exit": server,
        "force_exit": server,
    }  # fmt: skip
    missing = [name for name, owner in used.items() if not hasattr(owner, name)]
    assert not missing, f"uvicorn {uvicorn.__version__} lacks {missing}"
    asked = {name for name in dir(asyncio.Protocol) if not name.startswith("_")}
    assert asked <= set(vars(Connection))  # all that asyncio asks of a protocol is passed on
