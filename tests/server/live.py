"""A service in a process of its own, and pictures to send to it."""

import http.server
import io
import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import PIL.Image

KEY = "a-key-that-only-the-tests-know"
START_S = 60.0


def encode(array: np.ndarray, kind: str = "PNG", **settings: Any) -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(array).save(file, kind, **settings)
    return file.getvalue()


def gradient(H: int = 300, W: int = 400) -> np.ndarray:
    y, x = np.mgrid[:H, :W]
    planes = [40 + x * 200 // W, 40 + y * 200 // H, 40 + (x + y) * 200 // (H + W)]
    return np.stack(planes, 2).astype(np.uint8)


PHOTO = encode(gradient(), "JPEG", quality=95)
NOISE = encode(np.random.default_rng(1).integers(0, 256, (320, 320, 3)).astype(np.uint8))


def opened(data: bytes) -> PIL.Image.Image:
    return PIL.Image.open(io.BytesIO(data))


class Live:
    """A service in a process of its own."""

    def __init__(self, command: list[str], log: Path) -> None:
        self.log = log
        with log.open("wb") as file:
            self.process = subprocess.Popen(command, stderr=file, stdout=file)
        end = time.monotonic() + START_S
        while not any(line["message"].startswith("ready") for line in self.lines()):
            if self.process.poll() is not None or time.monotonic() > end:
                self.process.kill()
                raise RuntimeError(log.read_text())
            time.sleep(0.05)
        self.address = next(line["address"] for line in self.lines() if "address" in line)
        host, port = self.address.removeprefix("http://").split(":")
        self.host, self.port = host, int(port)
        self.client = httpx.Client(base_url=self.address, timeout=60, trust_env=False)

    def lines(self) -> list[dict[str, Any]]:
        whole = self.log.read_text().rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines() if line.startswith("{")]

    def removebg(self, **fields: Any) -> httpx.Response:
        """Ask as remove.bg's clients do; bytes are sent as files."""
        headers = {"X-Api-Key": KEY, **fields.pop("headers", {})}
        files = {n: ("name", v) for n, v in fields.items() if isinstance(v, bytes)}
        data = {n: v for n, v in fields.items() if not isinstance(v, bytes)}
        return self.client.post("/v1.0/removebg", data=data, files=files or None, headers=headers)

    def metric(self, name: str) -> float:
        text = self.client.get("/metrics").text
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))

    def wait_until(self, true: Callable[[], bool], within_s: float = 30.0) -> None:
        end = time.monotonic() + within_s
        while not true():
            assert time.monotonic() < end, self.log.read_text()[-3000:]
            time.sleep(0.02)

    def stop(self) -> int:
        self.client.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout=30)
        finally:
            self.process.kill()


class Pictures(http.server.BaseHTTPRequestHandler):
    """A web server with pictures, redirects and misbehaviour."""

    def do_GET(self) -> None:
        name = self.path.strip("/")
        if name.startswith("to?"):
            self.send_response(302)
            self.send_header("Location", name[3:])
            self.end_headers()
            return
        body = {"photo.jpg": PHOTO, "page.html": b"<html>", "again": b""}.get(name)
        if name == "endless":
            self.send_response(200)
            self.end_headers()
            try:
                while True:
                    self.wfile.write(bytes(65536))
            except OSError:
                return
        self.send_response(404 if body is None else 200)
        if name == "again":
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, *_: Any) -> None:
        pass
