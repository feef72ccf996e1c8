"""`alphacut video` as people run it."""

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from films import discs, make_film, pixels_of, stamps_of


def alphacut(*words: object, **settings: Any) -> subprocess.CompletedProcess[str]:
    start = [sys.executable, "-m", "alphacut", *map(str, words)]
    return subprocess.run(start, capture_output=True, text=True, check=False, **settings)


@pytest.fixture
def film(tmp_path: Path) -> Path:
    return make_film(tmp_path / "clip.mkv", discs(10, 180, 320, 3.0), sound="libopus")


@pytest.mark.slow
def test_the_two_lines_that_people_need(film: Path) -> None:
    done = alphacut("video", film)
    assert done.returncode == 0, done.stderr
    assert "clip-cutout.webm (10 frames, " in done.stderr
    frames = pixels_of(film.with_name("clip-cutout.webm"))
    assert len(frames) == 10
    assert frames[5][90, 143, 3] > 200
    assert frames[5][10, 10, 3] < 20
    again = alphacut("video", film)
    assert (again.returncode, "already exists: use --overwrite" in again.stderr) == (2, True)
    done = alphacut("video", film, "--background", "green", "--start", "0:0.2", "-q")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(stamps_of(film.with_name("clip-cutout.mp4"))) == 5


@pytest.mark.slow
def test_errors_are_one_line(film: Path, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("words")
    for words, message in (
        ([film, "-o", tmp_path / "o.mp4"], "has no transparency: add --background green"),
        ([tmp_path / "none.mp4"], "none.mp4: cannot be read: No such file"),
        ([tmp_path / "text.mp4"], "it is not a film, or is cut short"),
        ([film, "--start", "soon"], "start 'soon': give seconds, or [h:]m:s"),
        ([film, "--codec", "divx"], "unknown codec 'divx'"),
        ([film, "--pair", "x.png"], "is for one picture, not for a film"),
    ):
        done = alphacut("video", *words)
        assert done.returncode in (1, 2)
        assert message in done.stderr
        assert len(done.stderr.splitlines()) == 1, done.stderr
    done = alphacut(film)
    assert "is a film: use alphacut video" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mkv", "text.mp4"]


@pytest.mark.slow
def test_without_pyav(film: Path) -> None:
    code = (
        "import sys; sys.modules['av'] = None\n"
        "from importlib import util\n"
        "find = util.find_spec\n"
        "util.find_spec = lambda name, *more: None if name == 'av' else find(name, *more)\n"
        "from alphacut.cli.main import program; sys.argv[0] = 'alphacut'; program()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "video", str(film)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert 'pip install ".[video]"' in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", [signal.SIGINT, signal.SIGTERM])
def test_stopping_leaves_no_half_file(tmp_path: Path, name: signal.Signals) -> None:
    film = make_film(tmp_path / "clip.mkv", discs(400, 180, 320, 0.2))
    running = subprocess.Popen([sys.executable, "-m", "alphacut", "video", str(film), "-q"])
    try:
        for _ in range(600):
            if any(path.suffix == ".part" for path in tmp_path.iterdir()):
                break
            time.sleep(0.05)
        running.send_signal(name)
        assert running.wait(60) == 128 + name
    finally:
        running.kill()
        running.wait()
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mkv"]


@pytest.mark.slow
def test_broken_frames_end_with_1(tmp_path: Path) -> None:
    import av

    film = make_film(tmp_path / "clip.mov", discs(6), codec="png", pix_fmt="rgb24")
    with av.open(str(film)) as container:
        data = bytes([p for p in container.demux(video=0) if p.size][4])
    film.write_bytes(film.read_bytes().replace(data, b"\xff" * len(data)))
    done = alphacut("video", film, "-o", tmp_path / "o.mkv", "--steady", 0)
    assert done.returncode == 1
    assert "clip.mov: 1 of 6 frames are damaged: their neighbours stand in" in done.stderr
    assert np.array_equal(pixels_of(tmp_path / "o.mkv")[4], pixels_of(tmp_path / "o.mkv")[3])
