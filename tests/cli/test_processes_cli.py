"""The command as a process among others: closed streams, signals, users without a home."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX streams and signals")

COMMAND = f"{sys.executable} -m alphacut"
EXAMPLE = Path(__file__).parents[2] / "src" / "alphacut" / "assets" / "example.jpg"


def shell(line: str, folder: Path) -> "subprocess.CompletedProcess[bytes]":
    shutil.copy(EXAMPLE, folder / "a.jpg")
    command = line.replace("alphacut", COMMAND, 1)
    return subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, timeout=60)


@pytest.mark.parametrize(
    ("line", "status", "written", "message"),
    [
        ("alphacut a.jpg -o b.png 2>&-", 0, True, ""),
        ("alphacut a.jpg -o b.png >&-", 0, True, "a.jpg -> b.png"),
        ("alphacut - -o b.png <&-", 1, False, "alphacut: standard input: empty file"),
        ("alphacut a.jpg -o - >&-", 1, False,
         "alphacut: a.jpg: standard output: cannot be written: it is closed"),
        ("alphacut models >&-", 1, False, "alphacut: standard output is closed"),
    ],
)  # fmt: skip
def test_closed_streams(
    line: str, status: int, written: bool, message: str, tmp_path: Path
) -> None:
    done = shell(line, tmp_path)
    assert done.stderr.decode().strip() == message
    assert (done.returncode, (tmp_path / "b.png").exists()) == (status, written)


def test_ctrl_c_is_130(tmp_path: Path) -> None:
    for number in range(60):
        shutil.copy(EXAMPLE, tmp_path / f"{number:02}.jpg")
    process = subprocess.Popen(
        [sys.executable, "-m", "alphacut", str(tmp_path), "-o", str(tmp_path / "out"), "-j", "1"],
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler) and None,
    )
    deadline = time.monotonic() + 60
    while not any(tmp_path.glob("out/*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "to continue, run the same command with --skip-existing" in err.decode()


def test_a_user_without_a_home(tmp_path: Path) -> None:
    program = """
import os, pathlib, pwd

def unknown(uid):
    raise KeyError(uid)

def read_only(self, *_, **__):
    raise PermissionError(13, "Permission denied")

pwd.getpwuid, pathlib.Path.mkdir = unknown, read_only
from alphacut.models import weights
print(weights.home())
import alphacut
print(alphacut.remove(os.sys.argv[1]).empty)
"""
    hidden = ("HOME", "ALPHACUT_HOME", "XDG_DATA_HOME")
    known = {name: value for name, value in os.environ.items() if name not in hidden}
    done = subprocess.run(
        [sys.executable, "-c", program, str(EXAMPLE)], env=known, capture_output=True, timeout=60
    )
    home, empty = done.stdout.decode().split()
    assert (home, empty) == ("/.local/share/alphacut", "False"), done.stderr


@pytest.mark.skipif(
    not shutil.which("setpriv") or getattr(os, "geteuid", lambda: 1)() != 0,
    reason="needs setpriv and root, who can become a user that the system does not know",
)
def test_a_user_whom_the_system_does_not_know(tmp_path: Path) -> None:
    """As in a container that is started with a number for its user: no home, no passwd entry.

    The capability to read lets that user have this interpreter, wherever it is installed.
    """
    home = ("HOME", "ALPHACUT_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME")
    known = {name: value for name, value in os.environ.items() if name not in home}
    become = [
        "setpriv", "--reuid=54321", "--regid=54321", "--clear-groups",
        "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search", sys.executable,
    ]  # fmt: skip
    unknown = "import os, pwd, sys; sys.exit(os.getuid() in [one.pw_uid for one in pwd.getpwall()])"
    if subprocess.run([*become, "-c", unknown], capture_output=True).returncode:
        pytest.skip("the system does not let root become another user")
    folder = tmp_path / "work"
    folder.mkdir()
    folder.chmod(0o777)
    shutil.copy(EXAMPLE, folder / "a.jpg")
    for flags, result in (([], "a-cutout.png"), (["-o", "out", "--mask"], "out/a.png")):
        done = subprocess.run(
            [*become, "-m", "alphacut", "a.jpg" if not flags else ".", *flags],
            cwd=folder, env=known, capture_output=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert (folder / result).stat().st_uid == 54321
