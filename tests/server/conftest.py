"""Live services on the loopback, for the tests of this folder."""

import hashlib
import http.server
import json
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from live import KEY, Live, Pictures


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Live]]:
    """Start services: over a disc, or with `real=True` over the embedded network."""
    running: list[Live] = []

    def begin(*, real: bool = False, **settings: Any) -> Live:
        log = tmp_path_factory.mktemp("service") / "log"
        settings = {"port": 0, "workers": 2, "log": "json", **settings}
        if real:
            flags = [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
            command = [sys.executable, "-m", "alphacut", "serve", *flags]
        else:
            program = Path(__file__).with_name("disc_service.py")
            command = [sys.executable, str(program), json.dumps(settings)]
        running.append(Live(command, log))
        return running[-1]

    yield begin
    for live in running:  # all at once, then wait for each
        if live.process.poll() is None:
            live.process.send_signal(signal.SIGTERM)
    for live in running:
        live.stop()


@pytest.fixture(scope="session")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "keys"
    path.write_text(f"# keys\n{hashlib.sha256(KEY.encode()).hexdigest()}  tester\n")
    return path


@pytest.fixture(scope="session")
def pictures() -> Iterator[str]:
    """Address of a web server with pictures, as HOST:PORT."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pictures)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="session")
def live(start: Callable[..., Live], key_file: Path, pictures: str) -> Live:
    """A service with keys that fetches from the picture server only."""
    return start(
        api_keys=str(key_file), allow_url_host=[pictures], rate_limit=100_000, max_body="3MB",
        max_megapixels=25, timeout=20,
    )  # fmt: skip
