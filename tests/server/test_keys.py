import asyncio
import contextlib
import gc
import hashlib
import shutil
import socket
import subprocess
import time
import warnings
from pathlib import Path

import pytest
from starlette.datastructures import Headers

from alphacut.errors import OutputError
from alphacut.server.keys import ANYONE, Allowance, Keys
from alphacut.server.refusal import Refusal


def keys_of(tmp_path: Path, text: str) -> Keys:
    path = tmp_path / "keys"
    path.write_text(text)
    return Keys(path)


def sha(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def test_names(tmp_path: Path) -> None:
    keys = keys_of(tmp_path, f"# who\n{sha('a')}  alice\n\n{sha('b').upper()} bob at work\n")
    assert keys.name_of({"x-api-key": "a"}) == "alice"
    assert keys.name_of({"x-api-key": "b"}) == "bob at work"
    assert keys.name_of({"authorization": "bearer b"}) == "bob at work"
    for headers in ({}, {"x-api-key": sha("a")}, {"x-api-key": "c"}, {"authorization": "Basic a"}):
        with pytest.raises(Refusal) as refused:
            keys.name_of(headers)
        assert (refused.value.status, refused.value.code) == (403, "auth_failed")


def test_a_key_may_have_any_letters(tmp_path: Path) -> None:
    keys = keys_of(tmp_path, f"{sha('schlüssel')} chris\n")
    headers = Headers(raw=[(b"x-api-key", "schlüssel".encode())])
    assert keys.name_of(headers) == "chris"


def test_without_a_file_anyone_may_ask() -> None:
    assert Keys(None).name_of({}) == ANYONE


@pytest.mark.parametrize("line", ["alice verysecret", sha("a"), "abc  alice"])
def test_wrong_files(tmp_path: Path, line: str) -> None:
    with pytest.raises(OutputError, match="line 1") as error:
        keys_of(tmp_path, line)
    assert "verysecret" not in str(error.value).replace(str(tmp_path), "")
    with pytest.raises(OutputError, match="cannot be read"):
        Keys(tmp_path / "missing")


def test_allowance() -> None:
    async def use() -> None:
        allowance = Allowance(10, "memory://")
        await allowance.check("alice")
        left = [(await allowance.charge("alice", size))["X-RateLimit-Remaining"]
                for size in (0.2, 1.4, 1.92, 4, 50)]  # fmt: skip
        assert left == ["9", "8", "6", "2", "0"]
        with pytest.raises(Refusal) as refused:
            await allowance.check("alice")
        assert refused.value.status == 429
        assert 1 <= int(refused.value.headers["Retry-After"]) <= 60
        await allowance.check("bob")
        await allowance.check(ANYONE)
        assert await allowance.charge(ANYONE, 5) == {}
        assert await Allowance(0, "memory://").charge("alice", 5) == {}

    asyncio.run(use())


def test_allowance_in_redis_is_shared_and_fails_closed(tmp_path: Path) -> None:
    command = shutil.which("redis-server")
    if command is None:
        pytest.skip("redis-server is not installed")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    store = f"redis://127.0.0.1:{port}"
    with pytest.raises(OutputError, match="nothing answers"):
        Allowance(3, store)
    server = subprocess.Popen(
        [command, "--port", str(port), "--save", "", "--dir", tmp_path], stdout=subprocess.DEVNULL
    )

    async def use() -> None:
        one, other = Allowance(3, store), Allowance(3, store)
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
