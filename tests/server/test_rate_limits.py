import asyncio
import contextlib
import gc
import shutil
import socket
import subprocess
import time
import warnings
from pathlib import Path

import pytest

from alphacut.errors import OutputError
from alphacut.server.keys import ANYONE
from alphacut.server.rate_limits import RateLimits
from alphacut.server.refusal import Refusal


def test_rate_limits() -> None:
    async def use() -> None:
        limits = RateLimits(10, "memory://")
        await limits.check("alice")
        left = [(await limits.charge("alice", size))["X-RateLimit-Remaining"]
                for size in (0.2, 1.4, 1.92, 4, 50)]  # fmt: skip
        assert left == ["9", "8", "6", "2", "0"]
        with pytest.raises(Refusal) as refused:
            await limits.check("alice")
        assert refused.value.status == 429
        assert 1 <= int(refused.value.headers["Retry-After"]) <= 60
        await limits.check("bob")
        await limits.check(ANYONE)
        assert await limits.charge(ANYONE, 5) == {}
        assert await RateLimits(0, "memory://").charge("alice", 5) == {}

    asyncio.run(use())


def test_rate_limits_in_redis_is_shared_and_fails_closed(tmp_path: Path) -> None:
    command = shutil.which("redis-server")
    if command is None:
        pytest.skip("redis-server is not installed")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    store = f"redis://127.0.0.1:{port}"
    with pytest.raises(OutputError, match="does not answer"):
        RateLimits(3, store)
    server = subprocess.Popen(
        [command, "--port", str(port), "--save", "", "--dir", tmp_path], stdout=subprocess.DEVNULL
    )

    async def use() -> None:
        one, other = RateLimits(3, store), RateLimits(3, store)
        assert (await one.charge("alice", 2))["X-RateLimit-Remaining"] == "1"
        assert (await other.charge("alice", 2))["X-RateLimit-Remaining"] == "0"
        with pytest.raises(Refusal, match="Rate limit"):
            await one.check("alice")
        await other.check("bob")
        server.kill()
        server.wait()
        for refused in (one.check("bob"), one.charge("bob", 1)):
            with pytest.raises(Refusal) as error:
                await refused
            assert error.value.status == 503

    try:
        for _ in range(100):
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port)).close()
                break
            time.sleep(0.1)
        with warnings.catch_warnings():  # connections to the killed server are never closed
            warnings.simplefilter("ignore", ResourceWarning)
            asyncio.run(use())
            gc.collect()
    finally:
        server.kill()
        server.wait()


def test_a_store_of_an_unknown_kind() -> None:
    with pytest.raises(OutputError, match="nonsense"):
        RateLimits(5, "nonsense://")
