"""The command `rembg`, as scripts call it."""

import io
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from click.testing import CliRunner
from rembg.cli import cli

from clusters import until
from pictures import make_photo

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "src" / "alphacut" / "assets" / "example.jpg"
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join(map(str, (ROOT / "packages/alphacut-rembg/src", ROOT / "src"))),
}
COMMAND = [sys.executable, "-c", "from rembg.cli import main; main()"]
Run = Callable[..., "subprocess.CompletedProcess[bytes]"]


def small(width: int, height: int) -> PIL.Image.Image:
    with PIL.Image.open(EXAMPLE) as photo:
        return photo.resize((width, height))


def facts(content: bytes) -> tuple[str | None, str, tuple[int, int]]:
    with PIL.Image.open(io.BytesIO(content)) as image:
        return image.format, image.mode, image.size


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run the command in a folder with a picture, a.jpg."""
    small(200, 150).save(tmp_path / "a.jpg")

    def call(*words: object, **settings: object) -> "subprocess.CompletedProcess[bytes]":
        settings.setdefault("input", b"")
        return subprocess.run(
            [*COMMAND, *map(str, words)], cwd=tmp_path, env=ENVIRONMENT, capture_output=True,
            timeout=120, **settings,  # type: ignore[call-overload]
        )  # fmt: skip

    return call


def test_its_version_is_that_of_its_habits(run: Run) -> None:
    assert run("--version").stdout.startswith(b"rembg, version 2.0.86")


def test_one_file(run: Run, tmp_path: Path) -> None:
    (tmp_path / "out.png").write_bytes(b"older")
    done = run("i", "-om", "a.jpg", "out.png")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert facts((tmp_path / "out.png").read_bytes()) == ("PNG", "L", (200, 150))
    piped = run("i", "a.jpg")  # to a pipe, as from cron
    assert facts(piped.stdout) == ("PNG", "RGBA", (200, 150))
    assert run("i", input=(tmp_path / "a.jpg").read_bytes()).stdout == piped.stdout
    run("i", "a.jpg", "out.jpg", "-bgc", 255, 0, 0, 255)
    assert facts((tmp_path / "out.jpg").read_bytes()) == ("JPEG", "RGB", (200, 150))


def test_what_cannot_be_done_costs_nothing(run: Run, tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    (tmp_path / "out.png").write_bytes(b"older")
    done = run("i", "bad.jpg", "out.png")
    assert done.returncode == 1
    assert done.stderr.startswith(b"rembg: bad.jpg: ")
    assert len(done.stderr.splitlines()) == 1
    assert (tmp_path / "out.png").read_bytes() == b"older"
    assert run("i", "-x", "{", "a.jpg", "out.png").returncode == 2
    assert run("i", "gone.jpg", "out.png").returncode == 2
    assert b"No session class found" in run("i", "-m", "x", "a.jpg", "out.png").stderr


def test_a_folder_and_deleted_inputs(run: Run, tmp_path: Path) -> None:
    folder, results = tmp_path / "in", tmp_path / "out"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.jpg", "b.jpg", "b.png", "sub/c.webp", "sub/a.png"):
        small(64, 48).save(folder / name)
    shutil.copy(folder / "a.jpg", folder / "picture")  # known by its content
    (folder / "notes.txt").write_text("no picture")
    (folder / "bad.jpg").write_bytes(b"no picture")
    results.mkdir()
    (results / "a.png").write_bytes(b"of an earlier run")
    done = run("p", "-d", "in", "out")
    assert done.returncode == 1
    lines = sorted(done.stderr.decode().splitlines())
    assert len(lines) == 2
    assert lines[0].startswith("rembg: in/b.png: not done: out/b.png is the result of in/b.jpg")
    assert lines[1].startswith("rembg: in/bad.jpg: ")
    assert sorted(os.listdir(results)) == ["a.png", "b.png", "c.png", "picture.png"]
    assert (results / "a.png").read_bytes() == b"of an earlier run"
    left = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*"))
    assert left == ["a.jpg", "b.png", "bad.jpg", "notes.txt", "sub/a.png"]


def test_a_folder_into_itself_loses_nothing(run: Run, tmp_path: Path) -> None:
    PIL.Image.fromarray(make_photo()).save(tmp_path / "b.png")
    before = (tmp_path / "b.png").read_bytes()
    done = run("p", "-d", ".", ".")
    assert done.returncode == 0
    assert (tmp_path / "b.png").read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["a.png", "b.png"]


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_watched_folder(run: Run, tmp_path: Path) -> None:
    (tmp_path / "in" / "sub").mkdir(parents=True)
    shutil.copy(tmp_path / "a.jpg", tmp_path / "in" / "sub" / "first.jpg")
    process = subprocess.Popen(
        [*COMMAND, "p", "-w", "-d", "in", "out"], cwd=tmp_path, env=ENVIRONMENT,
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout
    assert process.stdout.readline().endswith("out/first.png\n")
    shutil.copy(tmp_path / "a.jpg", tmp_path / "in" / "later.jpg")
    assert process.stdout.readline().endswith("out/later.png\n")
    until(lambda: not any((tmp_path / "in").glob("*.jpg")), 30)
    process.terminate()
    process.communicate(timeout=30)


def test_a_stream_of_frames(run: Run, tmp_path: Path) -> None:
    frames = [np.asarray(small(200, 150).rotate(turn)) for turn in (0, 3, 6)]
    stream = b"".join(frame.tobytes() for frame in frames)
    done = run("b", 200, 150, "-o", "frames/%02d.png", input=stream)
    assert done.returncode == 0
    names = [f"{number:02}.png" for number in range(3)]
    assert sorted(os.listdir(tmp_path / "frames")) == names
    cut = run("b", 200, 150, input=stream + b"half").stdout
    files = [(tmp_path / "frames" / name).read_bytes() for name in names]
    assert cut == b"".join(files)
    done = run("b", 200, 150, input=stream + b"half")
    assert done.returncode == 1
    assert done.stderr == b"rembg: the last frame is incomplete: 4 of 90000 bytes\n"


def test_downloads(run: Run) -> None:
    done = run("d", "u2netp", "u2net_custom")
    assert done.returncode == 0
    assert done.stdout.startswith(b"u2netp: ")
    assert b"u2net_custom: has no weights of its own" in done.stderr


def test_the_server_has_the_model_that_rembgs_clients_name(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []
    monkeypatch.setattr("logging.disable", lambda level: None)
    monkeypatch.setattr("alphacut.server.run.load", lambda settings: loaded.extend(settings.model))
    monkeypatch.setattr("alphacut.server.run.serve", lambda settings, removers: None)
    assert CliRunner().invoke(cli, ["s", "--no-ui"]).exit_code == 0
    assert loaded == ["u2netp"]
