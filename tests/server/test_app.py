"""The application without its workers."""

import asyncio
import logging
import signal

import pytest
import uvicorn
from fastapi import FastAPI
from starlette.testclient import TestClient

from alphacut import Remover
from alphacut.server import run
from alphacut.server.app import create_app
from alphacut.server.settings import Settings


@pytest.fixture
def app(fake_remover: Remover) -> FastAPI:
    return create_app(Settings(workers=1, cors=("*",)), {"u2net-lite": fake_remover})


def test_errors_that_nobody_foresaw_are_answered_and_counted_like_others(
    app: FastAPI, caplog: pytest.LogCaptureFixture
) -> None:
    @app.get("/v1.0/broken")
    async def broken() -> None:
        raise RuntimeError("nobody foresaw this")

    client = TestClient(app, raise_server_exceptions=False)
    with caplog.at_level(logging.INFO, "alphacut.server.requests"):
        answer = client.get(
            "/v1.0/broken",
            headers={"X-Request-Id": "from-the-proxy", "Origin": "https://shop.example"},
        )
    assert answer.status_code == 500
    assert answer.json() == {"errors": [{"title": "Internal error", "code": "internal_error"}]}
    assert answer.headers["X-Request-Id"] == "from-the-proxy"
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert [record.facts["status"] for record in caplog.records] == [500]  # type: ignore[attr-defined]
    assert 'path="/v1.0/broken",status="500"' in client.get("/metrics").text


def test_a_signal_that_comes_before_the_service_is_up_ends_it(app: FastAPI) -> None:
    server = run._Server(uvicorn.Config(app, log_config=None), app)

    async def start() -> None:
        with server.capture_signals():  # as uvicorn does before anything else
            server.handle_exit(signal.SIGTERM, None)
            while not server.should_exit:
                await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(start(), 60))
    assert not server.force_exit
