"""What may be asked of the page's host, and what may not."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import FileResponse
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from alphacut.demo.app import AllowList


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the request's body."""
    body = (await receive()).get("body", b"") if scope["method"] == "POST" else b"here"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
def client() -> TestClient:
    return TestClient(AllowList(echo, asyncio.Event()), raise_server_exceptions=False)


@pytest.mark.parametrize(
    "path",
    ["/", "/assets/index.js", "/theme.css", "/gradio_api/upload", "/gradio_api/heartbeat/a1b2",
     "/gradio_api/queue/data", "/gradio_api/file=/tmp/x/photo.png"],
)  # fmt: skip
def test_what_the_page_needs_is_there(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.text == "here"
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize(
    "path",
    ["/gradio_api/file=http://127.0.0.1/x", "/gradio_api/file=https:/a.example/x",
     "/gradio_api/proxy=http://a.example/x", "/gradio_api/call/predict", "/monitoring", "/login",
     "/gradio_api/mcp/sse", "/gradio_api/info", "/svelte/x.js", "/gradio_api/component_server"],
)  # fmt: skip
def test_everything_else_is_not(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert "default-src 'self'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize("path", ["/gradio_api/queue/join", "/gradio_api/run/predict"])
def test_no_address_is_fetched(client: TestClient, path: str) -> None:
    def ask(*data: Any) -> int:
        return client.post(path, content=json.dumps({"data": data})).status_code

    assert ask({"path": "/tmp/x.png", "url": "http://127.0.0.1/gradio_api/file=/tmp/x.png"}) == 200
    for outside in ("http://a.example/x.png", "HTTPS://a.example", " ftp://a.example", "file:///x"):
        assert ask({"path": outside, "meta": {"_type": "gradio.FileData"}}) == 400
        assert ask([{"deep": [{"path": outside}]}]) == 400
    escaped = '{"data": [{"p\\u0061th": "\\u0068ttp://a.example"}]}'
    assert client.post(path, content=escaped).status_code == 400


def test_bodies_are_limited_and_must_be_json(client: TestClient) -> None:
    path = "/gradio_api/queue/join"
    whole = json.dumps({"data": ["x" * 10_000]})
    assert client.post(path, content=whole).text == whole
    assert client.post(path, content=b"x" * 2_000_001).status_code == 413
    assert client.post(path, content=b"no").status_code == 400
    assert client.post(path, content=b"[" * 200_000).status_code == 400


@pytest.mark.parametrize("begun", [True, False])
def test_open_connections_end_when_the_application_shuts_down(begun: bool) -> None:
    """Without what only Gradio knows: the answer that never ends is ended for it."""

    async def endless(scope: Scope, receive: Receive, send: Send) -> None:
        if begun:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"ALIVE", "more_body": True})
        await asyncio.sleep(600)

    async def ask() -> list[Any]:
        closing, sent = asyncio.Event(), []
        scope = {"type": "http", "path": "/gradio_api/heartbeat/a1b2", "method": "GET"}

        async def send(message: Any) -> None:
            sent.append(message)

        async def receive() -> Any:
            await asyncio.sleep(600)

        asking = asyncio.ensure_future(AllowList(endless, closing)(scope, receive, send))
        await asyncio.sleep(0.05)
        closing.set()
        await asyncio.wait_for(asking, 30)
        return sent

    first, *rest = asyncio.run(ask())
    assert first["status"] == (200 if begun else 503)
    assert rest[-1]["type"] == "http.response.body"
    assert not rest[-1].get("more_body")


def test_an_error_in_a_stream_is_raised() -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("broken")

    client = TestClient(AllowList(broken, asyncio.Event()))
    with pytest.raises(RuntimeError, match="broken"):
        client.get("/gradio_api/queue/data")


@pytest.mark.parametrize("looked", [True, False])
def test_a_file_that_goes_before_it_is_opened_is_not_found(tmp_path: Path, looked: bool) -> None:
    path = tmp_path / "before.jpg"
    path.write_bytes(b"a picture")
    answer = FileResponse(path, stat_result=path.stat() if looked else None)
    client = TestClient(AllowList(answer, asyncio.Event()))
    assert client.get("/gradio_api/file=before.jpg").content == b"a picture"
    os.unlink(path)
    assert client.get("/gradio_api/file=before.jpg").status_code == 404


def test_another_error_about_a_file_is_raised() -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("broken")

    client = TestClient(AllowList(broken, asyncio.Event()))
    with pytest.raises(RuntimeError, match="broken"):
        client.get("/gradio_api/file=before.jpg")
