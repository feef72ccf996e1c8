"""What README.md, CONTRIBUTING.md and the docs promise."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from alphacut.cli.main import cli
from alphacut.cli.options import REMBG_COMMANDS, REMBG_OPTIONS
from alphacut.errors import INSTALL
from alphacut.models.entry import ModelSpec, Weights
from test_architecture import FLOORS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
DOCS = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
}
BLOCKS = re.findall(r"```sh\n(.*?)```", README, re.S)
PORT = ":7000"  # the one that README shows


def test_the_python_for_users_of_rembg_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", DOCS["docs/migrate-from-rembg.md"], re.S)
    monkeypatch.chdir(ROOT)
    names: dict[str, Any] = {}
    exec(compile(code, "migrate-from-rembg.md", "exec"), names)
    assert names["png"].startswith(b"\x89PNG")
    assert names["mask"].mode == "L"


def test_users_of_rembg_find_each_of_its_options() -> None:
    text = DOCS["docs/migrate-from-rembg.md"]
    for word in {word for word in REMBG_OPTIONS if not word.startswith("--")} - {"-i"}:
        assert re.search(rf"`{word}[` ]", text), word
    for word in REMBG_COMMANDS:
        assert f"`rembg {word}" in text
    ours = "".join(line.split("|")[2] for line in text.splitlines() if line.count("|") == 4)
    flags = {name.replace("_", "-") for name in re.findall(r"--(?:no-)?([a-z][\w-]*)", ours)}
    flags |= {name.replace("_", "-") for name in re.findall(r"(\w+)=", ours)}
    assert {"mask", "harden"} <= flags
    manual = CliRunner().invoke(cli, ["remove", "--help"]).output
    for flag in flags:
        assert f"--{flag}" in manual, flag


def test_its_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.S)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
    assert (tmp_path / "cut.png").stat().st_size > 10_000
    assert (tmp_path / "cut.webp").exists()


def test_continuous_integration_runs_its_commands() -> None:
    commands = re.findall(r"^python3 -m venv .venv && .*$", README, re.M)
    assert commands == [
        "python3 -m venv .venv && .venv/bin/pip install . && "
        ".venv/bin/alphacut examples/astronaut.png",
        'python3 -m venv .venv && .venv/bin/pip install -e ".[dev]" && .venv/bin/pytest',
    ]
    assert "'^python3 -m venv .venv && ' README.md" in (ROOT / ".ci" / "run").read_text()


def commands(first: str) -> str:
    """README's one block that holds a command, without the lines that install extras."""
    (block,) = [block for block in BLOCKS if first in block]
    return "".join(line for line in block.splitlines(True) if not line.startswith("pip "))


def bash(script: str, folder: Path, **environment: str) -> None:
    """Run a block from top to bottom, ended by the first command that fails."""
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], cwd=folder, capture_output=True, text=True,
        env={**os.environ, "PATH": path, **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@contextmanager
def running(command: str, folder: Path, ready: str) -> Iterator[str]:
    """Run a command that listens until it is stopped; give the port, once a path answers."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    environment = {
        "ALPHACUT_PORT": port,
        "BROWSER": "true",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    process = subprocess.Popen(
        [folder / "bin" / "alphacut", *command.split("#")[0].split()[1:]],
        cwd=folder, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment},
    )  # fmt: skip
    try:
        end = time.monotonic() + 90
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}{ready}", timeout=10).close()
                break
            except OSError:
                assert process.poll() is None, process.communicate()[1]
                assert time.monotonic() < end
                time.sleep(0.2)
        yield port
    finally:
        process.terminate()
        process.communicate(timeout=60)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The pictures that README's commands name, and the command."""
    import PIL.Image

    program = tmp_path / "bin" / "alphacut"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m alphacut "$@"\n')
    program.chmod(0o755)
    (tmp_path / "photos" / "more").mkdir(parents=True)
    with PIL.Image.open(ROOT / "examples" / "astronaut.png") as example:
        photo = example.convert("RGB").resize((320, 320))
    for name in ("photo.jpg", "beach.jpg", "photos/a.jpg", "photos/more/b.jpg"):
        photo.save(tmp_path / name)
    return tmp_path


posix = pytest.mark.skipif(not shutil.which("bash"), reason="the blocks are for a POSIX shell")


@pytest.mark.slow
@posix
def test_its_command_line_block_runs_from_top_to_bottom(folder: Path) -> None:
    bash(commands("alphacut photo.jpg -o cut.webp"), folder)
    made = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert made >= {
        "photo-cutout.png", "photo-mask.png", "cut.webp", "white.jpg", "blur.jpg", "trip.jpg",
        "crop.png", "product.jpg", "cut.zip", "cut.png", "cut/a.png", "cut/more/b.png",
    }  # fmt: skip


@pytest.mark.slow
@posix
def test_its_page_opens(folder: Path) -> None:
    with running(commands("alphacut demo"), folder, "/"):
        pass


@pytest.mark.slow
@posix
@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_its_requests_are_answered(folder: Path) -> None:
    with running(commands("alphacut serve "), folder, "/ready") as port:
        for request in commands("curl ").splitlines():
            bash(request.replace(PORT, f":{port}").replace("curl", "curl --fail", 1), folder)
            assert (folder / "cut.png").read_bytes().startswith(b"\x89PNG")
            (folder / "cut.png").unlink()


@pytest.mark.slow
@posix
def test_its_batch_runs_on_ray_from_bucket_to_bucket(folder: Path) -> None:
    moto = pytest.importorskip("moto.server")
    fsspec = pytest.importorskip("fsspec")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    secrets = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1", "no_proxy": "127.0.0.1",
    }  # fmt: skip
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in secrets.items():
                patch.setenv(name, value)
            store = fsspec.filesystem("s3", skip_instance_cache=True)
            store.mkdir("shop")
            store.put(str(folder / "photos" / "a.jpg"), "shop/photos/a.jpg")
            bash(commands("alphacut batch "), folder)
            assert store.exists("shop/cut-outs/a.jpg.png")
    finally:
        server.stop()


def test_every_block_is_run() -> None:
    run = ("alphacut photo.jpg -o cut.webp", "alphacut demo", "alphacut serve ", "curl ",
           "alphacut batch ")  # fmt: skip
    left = [block for block in BLOCKS if not any(first in block for first in run)]
    assert all(block.startswith("python3 -m venv .venv && ") for block in left)  # CI runs these
    assert len(left) == 2


def test_its_extras_exist() -> None:
    table = (ROOT / "pyproject.toml").read_text().split("[project.optional-dependencies]")[1]
    extras = set(re.findall(r"^([a-z]+) = \[", table.split("\n[")[0], re.M))
    assert "serve" in extras
    text = "".join(DOCS.values())
    named = ",".join(re.findall(r'pip install (?:-e )?"(?:alphacut|\.)\[([\w,]+)\]"', text))
    named += "," + ",".join(re.findall(r"\(?extra `(\w+)`", text))
    assert set(named.strip(",").split(",")) <= extras


def test_docs_install_extras_as_messages_do() -> None:
    """Before alphacut is published, `pip install "alphacut[serve]"` installs nothing of ours."""
    (source,) = re.findall(r'pip install "(.*)\[', INSTALL)
    for page, text in DOCS.items():
        for named in re.findall(r'pip install (?:-e )?"([^\s"[]+)\[', text):
            assert named == source, page


def test_its_command_line_exists() -> None:
    helps = [["batch", "run", "--help"], *([name, "--help"] for name in cli.commands)]
    text = "".join(CliRunner().invoke(cli, command).output for command in helps)
    for flag in set(re.findall(r"--[a-z][a-z-]*", README)) - {"--help"}:
        assert flag in text, flag


def test_its_layers_are_those_of_the_architecture() -> None:
    (line,) = re.findall(r"^    (__main__ cli .*(?:\n    .*)*)$", README, re.M)
    assert line.split() == list(FLOORS)


def test_files_that_the_docs_name_exist() -> None:
    folders = ("src", "tests", "scripts", "benchmarks", "recipes")
    files = [f"/{path}" for folder in folders for path in (ROOT / folder).rglob("*.*")]
    for page, text in DOCS.items():
        if page in ("CHANGELOG.md", "docs/log.md"):  # records of their day
            continue
        for name in set(re.findall(r"`([\w./-]+\.(?:py|toml))`", text)) - {"utils.py"}:
            assert any(file.endswith(f"/{name}") for file in files), f"{page} names {name}"
        for name in re.findall(r"\]\((?!https?:)([^)#]+)", text):
            assert (ROOT / page).parent.joinpath(name).exists(), f"{page} links {name}"


def test_no_address_is_invented() -> None:
    """The project has no place of its own on the web yet."""
    files = [ROOT / "pyproject.toml", ROOT / "NOTICE", *(ROOT / "src").rglob("*.py"),
             *(ROOT / "packages").rglob("*.toml")]  # fmt: skip
    texts = [*DOCS.values(), *(path.read_text(encoding="utf-8") for path in files)]
    assert not [text for text in texts if re.search(r"https?://[\w./-]*alphacut", text)]


def test_the_model_to_add_is_an_entry() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", CONTRIBUTING, re.S)
    entry = eval(code, {"ModelSpec": ModelSpec, "Weights": Weights})
    assert entry.arch == "isnet"


def test_its_gallery_is_made_by_the_script() -> None:
    script = (ROOT / "scripts" / "make_gallery.py").read_text()
    pictures = sorted((ROOT / "docs" / "gallery").iterdir())
    assert pictures
    for picture in pictures:
        assert picture.stat().st_size <= 60_000
        assert f"docs/gallery/{picture.name}" in script
    for name, options in re.findall(r"!\[\]\((docs/gallery/[\w.]+)\) `([^`]+)`", README):
        (command,) = [line for line in script.splitlines() if line.endswith(name)]
        assert set(options.split()) <= set(command.split())
    assert set(re.findall(r"docs/gallery/([\w.]+)", README)) <= {path.name for path in pictures}
