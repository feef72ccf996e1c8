"""Starting, stopping, and what those who run the service see."""

import contextlib
import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from live import PHOTO, Live, opened

from alphacut.errors import OptionError, OutputError, UnknownName
from alphacut.parallel import processors
from alphacut.server.settings import Settings, parse_bytes


@pytest.fixture(scope="module")
def real(start: Callable[..., Live]) -> Live:
    """The service as a user starts it, with the embedded network."""
    return start(real=True, workers=1)


def test_the_embedded_network_serves(real: Live) -> None:
    example = Path(__file__).parents[2] / "examples" / "astronaut.png"
    answer = real.removebg(image_file=example.read_bytes(), size="auto")
    assert answer.status_code == 200
    alpha = opened(answer.content).getchannel("A")
    assert alpha.getpixel((220, 110)) > 250  # her face
    assert alpha.getpixel((480, 30)) < 5  # the wall behind her


def test_urls_are_off_and_the_switch_is_named(real: Live) -> None:
    answer = real.removebg(image_url="http://example.com/a.jpg")
    assert answer.status_code == 400
    assert "--allow-url" in answer.text
    answer = real.client.get("/api/remove", params={"url": "http://example.com/a.jpg"})
    assert answer.status_code == 400
    assert "--allow-url" in answer.text


def test_health_ready_metrics(real: Live) -> None:
    assert real.client.get("/health").json()["status"] == "alive"
    ready = real.client.get("/ready")
    assert ready.status_code == 200
    assert ready.json() == {"status": "ready", "models": ["alphacut-lite"], "workers": 1}
    real.client.post("/api/remove", files={"file": PHOTO})
    text = real.client.get("/metrics").text
    for name in ("alphacut_requests_total", "alphacut_request_seconds_bucket", "alphacut_queue",
                 'alphacut_stage_seconds_count{stage="predict"}', "alphacut_input_megapixels_total",
                 "alphacut_rejects_total"):  # fmt: skip
        assert name in text


def test_docs_need_no_other_host(real: Live) -> None:
    page = real.client.get("/docs")
    assert page.status_code == 200
    assert "/v1.0/removebg" in page.text
    assert "//" not in page.text.replace("https://", "")
    assert "script" not in page.text
    assert real.client.get("/openapi.json").json()["openapi"].startswith("3.")


@pytest.mark.parametrize("path", ["/health", "/ready", "/metrics", "/docs"])
def test_probes_may_ask_for_the_head_alone(real: Live, path: str) -> None:
    answer = real.client.head(path)
    assert (answer.status_code, answer.content) == (200, b"")


def test_a_log_line_a_request(real: Live) -> None:
    answer = real.client.get("/v1.0/account", headers={"X-Request-Id": "from-the-proxy"})
    assert answer.headers["X-Request-Id"] == "from-the-proxy"
    real.wait_until(lambda: any(line.get("id") == "from-the-proxy" for line in real.lines()))
    line = next(line for line in real.lines() if line.get("id") == "from-the-proxy")
    assert (line["method"], line["path"], line["status"]) == ("GET", "/v1.0/account", 200)
    summary = next(line for line in real.lines() if line["message"] == "alphacut")
    assert summary["models"] == "alphacut-lite"


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_drains_and_exits_0(start: Callable[..., Live], name: str) -> None:
    live = start(workers=1, predict_s=0.5)
    statuses: list[int] = []

    def ask() -> None:
        statuses.append(live.removebg(image_file=PHOTO).status_code)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    live.wait_until(lambda: live.metric("alphacut_inside") == 3)
    live.process.send_signal(getattr(signal, name))
    live.wait_until(lambda: live.client.get("/ready").status_code == 503)
    refused = live.removebg(image_file=PHOTO)
    assert refused.status_code == 503
    assert refused.json()["errors"][0]["code"] == "service_unavailable"
    assert int(refused.headers["Retry-After"]) >= 1
    for thread in threads:
        thread.join()
    assert statuses == [200, 200, 200]
    assert live.process.wait(timeout=15) == 0
    assert live.stop() == 0


def test_a_second_signal_stops_at_once(start: Callable[..., Live]) -> None:
    live = start(workers=1, predict_s=0.01)
    live.process.send_signal(signal.SIGINT)
    live.process.send_signal(signal.SIGINT)
    assert live.process.wait(timeout=15) == 0


def test_cors_only_where_named(start: Callable[..., Live], live: Live) -> None:
    preflight = {
        "Origin": "https://shop.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "x-api-key",
    }
    assert live.client.options("/v1.0/removebg", headers=preflight).status_code == 405
    named = start(cors=["https://shop.example"], workers=1)
    answer = named.client.options("/v1.0/removebg", headers=preflight)
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == "https://shop.example"
    # drop-zone libraries send these by themselves
    preflight["Access-Control-Request-Headers"] = "cache-control, x-requested-with"
    assert named.client.options("/v1.0/removebg", headers=preflight).status_code == 200
    other = named.client.get("/health", headers={"Origin": "https://other.example"})
    assert "Access-Control-Allow-Origin" not in other.headers


def raw_answer(live: Live, request: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send bytes in two pieces, so that the service sees them arrive."""
    with socket.create_connection((live.host, live.port), timeout=20) as connection:
        connection.sendall(request[:18_000])
        time.sleep(0.2)
        with contextlib.suppress(OSError):  # it was refused by then
            connection.sendall(request[18_000:])
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        return answer.status, {n.lower(): v for n, v in answer.getheaders()}, answer.read()


@pytest.mark.parametrize(
    ("lines", "status", "code"),
    [
        (b"GET /%s HTTP/1.1\r\nOrigin: %s\r\n", 431, "head_too_long"),
        (b"GET / HTTP/1.1\r\nOrigin: %s\r\nX-Long: %s\r\n", 431, "head_too_long"),
        (b"GET / HTTP/1.1\r\nOrigin: %s\r\nTransfer-Encoding: odd\r\n", 501, "bad_request"),
        (b"GET / HTTP/1.1\r\nOrigin: %s\r\nno header\r\n", 400, "bad_request"),
    ],
)
def test_what_is_refused_before_the_application_can_be_read_by_pages(
    lines: bytes, status: int, code: str, start: Callable[..., Live]
) -> None:
    """A head of 30 kB that arrives in pieces, and what is no request at all."""
    live = start(cors=["https://shop.example", "https://b.example"], workers=1)
    for origin, allowed in ((b"https://shop.example", True), (b"https://other.example", False)):
        fill = [b"x" * 30_000, origin] if lines.startswith(b"GET /%s") else [origin, b"x" * 30_000]
        head = lines % tuple(fill[: lines.count(b"%s")])
        got, headers, body = raw_answer(live, head + b"Host: a\r\n\r\n")
        assert got == status
        assert json.loads(body)["errors"][0]["code"] == code
        if b"X-Long" in lines:  # the origin is in what has arrived
            told = headers.get("access-control-allow-origin")
            assert told == (origin.decode() if allowed else None)


def test_what_breaks_can_be_read_by_pages(start: Callable[..., Live]) -> None:
    live = start(cors=["*"], workers=1)
    origin = {"Origin": "https://shop.example"}
    long = live.client.get("/health", headers={**origin, "X-Long": "x" * 20_000})
    assert long.status_code == 431
    assert long.headers["Access-Control-Allow-Origin"] == "*"
    assert "x-request-id" in long.headers
    status, headers, _ = raw_answer(live, b"no request\r\n\r\n")
    assert (status, headers["access-control-allow-origin"]) == (400, "*")
    assert live.client.get("/health").status_code == 200


def run(*flags: str, **environment: str) -> subprocess.CompletedProcess[str]:
    import os

    return subprocess.run(
        [sys.executable, "-m", "alphacut", "serve", *flags], capture_output=True, text=True,
        timeout=60, env={**os.environ, **environment},
    )  # fmt: skip


def test_wrong_settings_are_one_line(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("plain-key alice\n")
    done = run("--api-keys", str(keys))
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(f"alphacut: {keys}, line 1: ")
    assert "plain-key" not in done.stderr
    done = run(ALPHACUT_MAX_BODY="a lot")
    assert done.returncode == 2
    assert done.stderr == "alphacut: max_body 'a lot': give an amount such as 22MB or 2GB\n"


def test_a_taken_port_is_told(live: Live) -> None:
    done = run("--port", str(live.port), "--log", "json")
    assert done.returncode != 0
    assert "address already in use" in done.stderr


@pytest.mark.parametrize(
    ("text", "count"), [("22MB", 22_000_000), ("1.5 GB", 1_500_000_000), ("10kb", 10_000), ("7", 7)]
)
def test_bytes(text: str, count: int) -> None:
    assert parse_bytes("max_body", text) == count


@pytest.mark.parametrize(
    "wrong",
    [{"max_body": "much"}, {"queue": -1}, {"timeout": 0}, {"log": "xml"}, {"model": ()},
     {"max_megapixels": float("nan")}],
)  # fmt: skip
def test_wrong_settings(wrong: dict[str, object]) -> None:
    with pytest.raises(OptionError if wrong != {"log": "xml"} else UnknownName) as error:
        Settings(**wrong)  # type: ignore[arg-type]
    assert next(iter(wrong)) in str(error.value)


def test_a_container_s_limit_counts() -> None:
    assert Settings().worker_count == processors()
    assert Settings(workers=3).worker_count == 3


def test_every_setting_has_a_flag_a_variable_and_a_manual() -> None:
    import dataclasses

    from alphacut.cli.main import serve

    parameters = {parameter.name: parameter for parameter in serve.params}
    for setting in dataclasses.fields(Settings):
        assert parameters[setting.name].envvar == f"ALPHACUT_{setting.name.upper()}"
        assert setting.metadata["help"].endswith(".")


def test_the_page_asks_for_no_key() -> None:
    with pytest.raises(OutputError, match="not both"):
        Settings(demo=True, api_keys=Path("keys"))
