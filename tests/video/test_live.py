"""Live: the newest picture wins, a film in its own time, a page, and clear errors."""

import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from alphacut import Remover
from alphacut.errors import ImageError, OutputError
from alphacut.video.live import Preview, newest, open_source, show_live, virtual_camera
from films import discs, make_film


def test_the_newest_picture_wins() -> None:
    def quick() -> Iterator[np.ndarray]:
        for k in range(40):
            yield np.full((4, 4, 3), k, np.uint8)
            time.sleep(0.01)

    numbers = []
    for arrival in newest(quick()):
        numbers.append(arrival.number)
        time.sleep(0.08)
    assert numbers == sorted(set(numbers))
    assert 2 <= len(numbers) < 20
    assert numbers[-1] == 39


def test_the_end_of_a_camera_is_an_error() -> None:
    def broken() -> Iterator[np.ndarray]:
        yield np.zeros((4, 4, 3), np.uint8)
        raise ImageError("camera 0: gives no more pictures")

    with pytest.raises(ImageError, match="no more pictures"):
        for _ in newest(broken()):
            pass


def test_a_film_plays_in_its_own_time(tmp_path: Path, fake_remover: Remover) -> None:
    path = make_film(tmp_path / "clip.mkv", discs(10), rate=10)
    begun = time.perf_counter()
    shown = list(show_live(open_source(str(path)), fake_remover, background="#00ff00"))
    assert time.perf_counter() - begun > 0.85
    assert 1 <= len(shown) <= 10
    assert sum(picture.passed_over + 1 for picture in shown) <= 10
    assert np.array_equal(shown[-1].image[1, 1], (0, 255, 0))
    assert not np.array_equal(shown[-1].image[24, 32], (0, 255, 0))
    assert all(picture.latency_s > 0 for picture in shown)


def test_the_page_shows_the_pictures() -> None:
    with Preview(0) as page:
        with urllib.request.urlopen(page.address) as answer:
            assert b"/stream" in answer.read()
        with pytest.raises(urllib.request.HTTPError, match="404"):
            urllib.request.urlopen(f"{page.address}/none")
        page.send(np.full((20, 30, 3), (200, 30, 30), np.uint8))
        with urllib.request.urlopen(f"{page.address}/stream") as stream:
            assert stream.readline() == b"--next\r\n"
            stream.readline()
            length = int(stream.readline().split(b":")[1])
            stream.readline()
            image = cv2.imdecode(np.frombuffer(stream.read(length), np.uint8), cv2.IMREAD_COLOR)
        assert np.abs(image[10, 10].astype(int) - (30, 30, 200)).max() < 6
        with pytest.raises(OutputError, match="choose another --port"):
            Preview(int(page.address.rpartition(":")[2]))


def test_without_a_camera() -> None:
    with pytest.raises(ImageError, match="camera 63: there is none"):
        open_source("63")


@pytest.mark.skipif(sys.platform != "linux", reason="the driver's name is Linux's")
@pytest.mark.skipif(Path("/dev/video0").exists(), reason="there is a camera or its driver")
def test_without_a_virtual_camera() -> None:
    pytest.importorskip("pyvirtualcam")
    with pytest.raises(OutputError, match="sudo modprobe v4l2loopback"), virtual_camera((48, 64)):
        pass
