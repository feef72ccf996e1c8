"""The tools for assistants, called by the protocol's own client."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import numpy as np
import PIL.Image
import pytest
from mcp import Client, StdioServerParameters

from alphacut.mcp import Folders, ToolError, make_server
from clusters import until

EXAMPLE = Path(__file__).parents[1] / "src" / "alphacut" / "assets" / "example.jpg"
TOOLS = {"remove_background", "evaluate_cutout", "list_models"}
COMMAND = [sys.executable, "-m", "alphacut", "mcp"]


@pytest.fixture
def allowed(tmp_path: Path) -> Path:
    folder = tmp_path / "allowed"
    folder.mkdir()
    shutil.copy(EXAMPLE, folder / "a.jpg")
    return folder


async def use_all_tools(target: Any, folder: Path) -> None:
    """List and call each tool."""
    heard: list[tuple[float, float | None]] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        heard.append((progress, total))

    async with Client(target) as client:
        assert {tool.name for tool in (await client.list_tools()).tools} == TOOLS
        models = (await client.call_tool("list_models")).structured_content
        here = {model["name"] for model in models["result"] if model["here"]}
        assert {"u2net-lite"} <= here
        done = await client.call_tool(
            "remove_background",
            {"inputs": [str(folder / "a.jpg"), "gone.jpg"], "output": "cut"},
            progress_callback=hear,
        )
        assert not done.is_error
        first, second = done.structured_content["result"]
        assert (first["status"], first["output"]) == ("done", str(folder / "cut" / "a.png"))
        assert first["doubt"] < 0.3
        assert (second["status"], second["output"]) == ("failed", None)
        assert heard == [(1, 2), (2, 2)]
        found = (
            await client.call_tool("evaluate_cutout", {"path": "cut/a.png"})
        ).structured_content
        with PIL.Image.open(folder / "cut" / "a.png") as cut:
            alpha = np.asarray(cut)[..., 3] / 255
        assert found["coverage"] == pytest.approx(alpha.mean(), abs=1e-3)
        assert [found["width"], found["height"]] == [*alpha.shape[::-1]]
        assert 0 < found["doubtful"] < 0.5
        again = await client.call_tool(
            "remove_background", {"inputs": ["a.jpg"], "output": "cut/a.png"}
        )
        assert "already exists" in again.structured_content["result"][0]["reason"]


def test_standard_input_and_output(allowed: Path) -> None:
    server = StdioServerParameters(
        command=COMMAND[0], args=[*COMMAND[1:], "--allow", str(allowed)], env={**os.environ}
    )
    anyio.run(use_all_tools, server, allowed)


@pytest.fixture
def address(allowed: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([*COMMAND, "--allow", str(allowed), "--http", str(port)])

    def answers() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        until(answers, 60)
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.terminate()
        process.wait(30)


def test_streamable_http_on_this_machine_only(allowed: Path, address: str) -> None:
    anyio.run(use_all_tools, address, allowed)
    # a web page that has its own name point here
    headers = {"Host": "evil.example", "Accept": "application/json, text/event-stream"}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    assert httpx.post(address, json=body, headers=headers).status_code == 421


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_paths_outside_are_refused(allowed: Path, tmp_path: Path) -> None:
    shutil.copy(EXAMPLE, tmp_path / "secret.jpg")
    (allowed / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    (allowed / "way").symlink_to(tmp_path)
    (tmp_path / "allowed-not").mkdir()
    (allowed / "many").mkdir()
    (allowed / "many" / "b.jpg").symlink_to(tmp_path / "secret.jpg")
    os.mkfifo(allowed / "pipe.jpg")
    held = os.open(tmp_path / "secret.jpg", os.O_RDONLY)
    outside = [
        str(tmp_path / "secret.jpg"), "../secret.jpg", f"{allowed}/../secret.jpg", "link.jpg",
        "way/secret.jpg", f"/proc/self/root{tmp_path}/secret.jpg", f"/proc/{os.getpid()}/cwd",
        f"/proc/self/fd/{held}", "/dev/stdin", "~/secret.jpg", "a.jpg\0.png",
        str(tmp_path / "allowed-not" / "x.jpg"), "pipe.jpg", "many", "",
    ]  # fmt: skip

    async def ask() -> None:
        async with Client(make_server([allowed])) as client:
            for path in outside[:-1]:
                arguments = {"inputs": [path], "output": "out.png"}
                answer = await client.call_tool("remove_background", arguments)
                assert answer.is_error, path
                if path != "many":
                    assert (await client.call_tool("evaluate_cutout", {"path": path})).is_error
            for path in outside[:-3]:
                arguments = {"inputs": ["a.jpg"], "output": path}
                assert (await client.call_tool("remove_background", arguments)).is_error, path
            arguments = {"inputs": ["a.jpg"], "output": "out.jpg", "background": "../secret.jpg"}
            assert (await client.call_tool("remove_background", arguments)).is_error
            answer = await client.call_tool("evaluate_cutout", {"path": "../secret.jpg"})
            assert "outside the folders that are allowed" in answer.content[0].text

    anyio.run(ask)
    os.close(held)
    assert not (allowed / "out.png").exists()
    assert [path.name for path in tmp_path.glob("*.png")] == []


def test_several_folders(allowed: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    folders = Folders([allowed, other])
    assert folders.resolve("a.jpg") == os.path.realpath(allowed / "a.jpg")
    assert folders.resolve(str(other / "new" / "b.png")) == os.path.realpath(other / "new/b.png")
    with pytest.raises(ToolError, match="outside"):
        folders.resolve(str(tmp_path))


def test_no_network_is_downloaded(allowed: Path) -> None:
    async def ask() -> None:
        async with Client(make_server([allowed])) as client:
            arguments = {"inputs": ["a.jpg"], "output": "out.png", "model": "birefnet"}
            answer = await client.call_tool("remove_background", arguments)
            assert answer.is_error
            assert "alphacut models pull birefnet" in answer.content[0].text
            answer = await client.call_tool("evaluate_cutout", {"path": "a.jpg"})
            assert "has no transparency" in answer.content[0].text

    anyio.run(ask)
