"""The application without its workers."""

import logging

import pytest
from starlette.testclient import TestClient

from alphacut import Remover
from alphacut.server.app import create_app
from alphacut.server.settings import Settings


def test_errors_that_nobody_foresaw_are_answered_and_counted_like_others(
    fake_remover: Remover, caplog: pytest.LogCaptureFixture
) -> None:
    app = create_app(Settings(workers=1), {"u2net-lite": fake_remover})

    @app.get("/v1.0/broken")
    async def broken() -> None:
        raise RuntimeError("nobody foresaw this")

    client = TestClient(app, raise_server_exceptions=False)
    with caplog.at_level(logging.INFO, "alphacut.server.requests"):
        answer = client.get("/v1.0/broken", headers={"X-Request-Id": "from-the-proxy"})
    assert answer.status_code == 500
    assert answer.json() == {"errors": [{"title": "Internal error", "code": "internal_error"}]}
    assert answer.headers["X-Request-Id"] == "from-the-proxy"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert [record.facts["status"] for record in caplog.records] == [500]  # type: ignore[attr-defined]
    assert 'path="/v1.0/broken",status="500"' in client.get("/metrics").text
