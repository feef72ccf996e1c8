"""Runs the blocks of shell commands that a page shows, from top to bottom in one folder."""

import glob
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
from click.testing import CliRunner

from alphacut.cli.main import cli
from alphacut.errors import AlphacutWarning
from films import discs, make_film

ROOT = Path(__file__).parents[1]
PORT = ":7000"  # the one that the pages show
_INSTALLS = ("pip ", "python3 -m venv ")
_SERVES = ("alphacut serve", "alphacut demo")
_SHELL = set("|><$&;")


def blocks(text: str, language: str = "sh") -> list[str]:
    """The fenced blocks of a page in a language."""
    return re.findall(rf"^ *```{language}\n(.*?)^ *```", text, re.S | re.M)


def commands(block: str) -> list[str]:
    """The commands of a block, one a line, without those that install what the tests have."""
    lines = block.replace("\\\n", " ").splitlines()
    return [line for line in lines if line.strip() and not line.startswith(_INSTALLS)]


def run_page(text: str, folder: Path) -> None:
    """Run all blocks of a page; a command that serves goes on until the last one is done."""
    port = ""
    with ExitStack() as stack:
        for block in blocks(text):
            script: list[str] = []  # consecutive lines for the shell, which may share variables
            for command in [*commands(block), ""]:
                words = command.split("#")[0].strip()
                if words.startswith("alphacut camera"):  # needs the driver of a virtual camera
                    continue
                if words and (not words.startswith("alphacut") or "alphacut mcp" in words):
                    missing = words.startswith("ffmpeg") and not shutil.which("ffmpeg")
                    if not missing and "https://example.com" not in words:  # nobody's picture
                        words = command.replace(PORT, f":{port}") if port else command
                        script.append(words.replace("curl ", "curl --fail ", 1))
                    continue
                if script:
                    bash("\n".join(script), folder)
                    script = []
                if words.startswith("alphacut watch"):
                    watch(words, folder)
                elif words.startswith(_SERVES):
                    port = stack.enter_context(serving(words, folder))
                elif words:
                    run(command, folder)


def run(command: str, folder: Path) -> None:
    """Run a command in this process, if it is ours alone, or else by a shell."""
    words = shlex.split(command, comments=True)
    if words[0] != "alphacut" or _SHELL & set(re.sub(r"'[^']*'|#.*", "", command)):
        bash(command, folder)
        return
    globbed = [path for word in words[1:]
               for path in (sorted(glob.glob(word)) if "*" in word else [word])]  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AlphacutWarning)
        done = CliRunner().invoke(cli, globbed, catch_exceptions=False)
    assert done.exit_code == 0, (command, done.output)


def bash(script: str, folder: Path, **environment: str) -> None:
    """Run a script from top to bottom, ended by the first command that fails."""
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL,
        env={**os.environ, "PATH": path, **environment},
    )  # fmt: skip
    assert done.returncode == 0, (script, done.stderr)


def watch(command: str, folder: Path) -> None:
    """Run a command that watches the folder `scans` until its picture is cut out into another."""
    shutil.copy(folder / "photo.jpg", folder / "scans")
    words = command.split()
    process = subprocess.Popen(
        [folder / "bin" / "alphacut", *words[1:]], cwd=folder, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    end = time.monotonic() + 90
    suffix = ".jpg" if "jpg" in words else ".png"
    try:
        while not (folder / words[3] / f"photo{suffix}").exists():
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < end
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()


@contextmanager
def serving(command: str, folder: Path) -> Iterator[str]:
    """Run a command that listens until it is stopped; give the port, once it answers."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    environment = {
        "ALPHACUT_PORT": port,
        "BROWSER": "true",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    process = subprocess.Popen(
        [folder / "bin" / "alphacut", *command.split()[1:]],
        cwd=folder, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment},
    )  # fmt: skip
    ready = "/ready" if command.startswith("alphacut serve") else "/"
    try:
        end = time.monotonic() + 180
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


def furnish(folder: Path) -> None:
    """Lay out what the pages' commands name: the program, and pictures in small."""
    program = folder / "bin" / "alphacut"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m alphacut "$@"\n')
    program.chmod(0o755)
    for name in ("scans", "Pictures"):
        (folder / name).mkdir()
    (folder / "packages").symlink_to(ROOT / "packages")
    (folder / "examples").mkdir()
    for path in (ROOT / "examples").glob("*.*g"):
        if "-cutout" not in path.name:
            shutil.copy(path, folder / "examples")
    (folder / "photos" / "more").mkdir(parents=True)
    with PIL.Image.open(ROOT / "examples" / "astronaut.png") as example:
        photo = example.convert("RGB").resize((320, 320))
    for name in (
        "photo.jpg",
        "beach.jpg",
        "office.jpg",
        "mint.png",
        "photos/a.jpg",
        "photos/more/b.jpg",
    ):
        photo.save(folder / name)
    group = PIL.Image.new("RGB", (640, 320), (90, 110, 130))
    for left in (0, 320):
        group.paste(photo, (left, 0))
    group.save(folder / "group.jpg")
    _furnish_studio(folder)
    for name in ("clip.mp4", "beach.mp4"):
        make_film(folder / name, discs(12), rate=1, sound="aac")


def _furnish_studio(folder: Path) -> None:
    """Draw a subject on known grounds: white, black, and a scene that is there without it, too."""
    H, W = 240, 320
    y, x = np.mgrid[:H, :W]
    inside = np.hypot((y - 120) / 80, (x - 160) / 60) < 1
    alpha = cv2.GaussianBlur(np.where(inside, 1, 0).astype(np.float32), (0, 0), 1)[..., None]
    subject = np.dstack([120 + x / 4, 60 + y / 3, np.full((H, W), 40)])
    coarse = np.random.default_rng(5).integers(40, 220, (24, 32, 3), np.uint8)
    scene = cv2.resize(coarse, (W, H), interpolation=cv2.INTER_CUBIC)
    grounds = {"white.png": 250, "black.png": 5, "scene.jpg": scene, "product.jpg": (244, 240, 232)}
    for name, ground in grounds.items():
        mixed = alpha * subject + (1 - alpha) * ground
        PIL.Image.fromarray(np.uint8(np.rint(mixed))).save(folder / name, quality=97)
    PIL.Image.fromarray(scene).save(folder / "empty.jpg", quality=97)
    for kind in ("white", "black"):
        (folder / kind).mkdir()
        PIL.Image.open(folder / f"{kind}.png").save(folder / kind / "cup.png")
