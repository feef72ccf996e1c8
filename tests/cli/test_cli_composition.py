"""Composition from the command line: what is written, and one line for what cannot be."""

import os
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from alphacut import runtimes
from alphacut.cli import main as cli

Run = Callable[..., tuple[int, list[str]]]


class Square:
    """A runtime that finds a square in the middle of every picture, a quarter of its area."""

    device = "fake"

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        output = np.zeros((len(batch), 1, *batch.shape[2:]), np.float32)
        h, w = batch.shape[2:]
        output[:, :, h // 4 : 3 * h // 4, w // 4 : 3 * w // 4] = 1
        return output


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run the command line in an empty folder with a photo of 200 x 100 pixels."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runtimes, "load", lambda *_, **__: Square())
    y, x = np.mgrid[:100, :200]
    PIL.Image.fromarray(np.stack([x, y, x + y], 2).astype(np.uint8) // 2).save("photo.png")

    def call(*words: str) -> tuple[int, list[str]]:
        monkeypatch.setattr(sys, "argv", ["alphacut", *words])
        status = 0
        try:
            cli.main()
        except SystemExit as end:
            status = int(end.code or 0)
        return status, capfd.readouterr().err.splitlines()

    return call


def opened(name: str) -> PIL.Image.Image:
    with PIL.Image.open(name) as file:
        file.load()
        return file


@pytest.mark.parametrize(
    ("words", "name", "size", "mode"),
    [
        (["--crop"], "photo-cutout.png", (102, 52), "RGBA"),
        (["--crop", "--margin", "10px"], "photo-cutout.png", (122, 72), "RGBA"),
        (["--size", "80x60", "--background", "blur:5"], "photo-cutout.jpg", (80, 60), "RGB"),
        (["--preset", "product"], "photo-cutout.jpg", (120, 120), "RGB"),
        (["--preset", "product", "--background", "transparent"], "photo-cutout.png",
         (120, 120), "RGBA"),
        (["--scale", "50%", "--position", "top left"], "photo-cutout.png", (200, 100), "RGBA"),
        (["--background", "#ff000080"], "photo-cutout.png", (200, 100), "RGBA"),
        (["--shadow", "contact"], "photo-cutout.png", (200, 100), "RGBA"),
        (["--mask", "--crop"], "photo-mask.png", (102, 52), "L"),
        (["--result", "foreground"], "photo-cutout-foreground.png", (200, 100), "RGB"),
        (["--invert"], "photo-cutout-background.png", (200, 100), "RGBA"),
        (["--roi", "0 0 50% 100%", "--crop"], "photo-cutout.png", (51, 52), "RGBA"),
        (["--linear-light", "--background", "disc"], "photo-cutout.jpg", (200, 100), "RGB"),
    ],
)  # fmt: skip
def test_results(run: Run, words: list[str], name: str, size: tuple, mode: str) -> None:
    status, lines = run("photo.png", *words)
    assert (status, lines) == (0, [f"photo.png -> {name}"])
    picture = opened(name)
    assert picture.mode == mode
    assert np.abs(np.subtract(picture.size, size)).max() <= 4  # the network's square is soft


def test_trimap(run: Run) -> None:
    """Certain background, unknown, certain foreground, as matting programs write them."""
    assert run("photo.png", "--result", "trimap") == (
        0, ["photo.png -> photo-cutout-trimap.png"]
    )  # fmt: skip
    picture = opened("photo-cutout-trimap.png")
    assert (picture.mode, picture.size) == ("L", (200, 100))
    levels = np.asarray(picture)
    assert np.unique(levels).tolist() == [0, 128, 255]
    assert (levels[0, 0], levels[50, 100], levels[50, 50]) == (0, 255, 128)


def test_archives(run: Run) -> None:
    assert run("photo.png", "-o", "a.zip")[0] == 0
    assert zipfile.ZipFile("a.zip").namelist() == ["color.jpg", "alpha.png"]
    assert run("photo.png", "--format", "ora") == (0, ["photo.png -> photo-cutout.ora"])


def test_preview(run: Run) -> None:
    assert run("preview", "photo.png") == (0, ["photo.png -> photo-cutout-preview.png"])
    picture = opened("photo-cutout-preview.png")
    assert picture.height > picture.width  # a wide photo's steps stand below each other
    assert run("preview", "photo.png", "--background", "red", "-o", "p.webp")[0] == 0
    assert opened("p.webp").height > picture.height


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--background", "puce-ish"], "background 'puce-ish': give a colour"),
        (["--background", "none.jpg"], "background 'none.jpg': No such file"),
        (["--background", "broken.jpg"], "background broken.jpg: JPEG file cut short"),
        (["--background", "text.jpg"], "background text.jpg: is not a picture"),
        (["--background", "./"], "is a folder, not a picture"),
        (["--crop", "--margin", "60%"], "margin '60%': give at most 500px or 50% a side"),
        (["--crop", "--margin", "501"], "margin '501': give at most 500px or 50% a side"),
        (["--margin", "5%"], "margin '5%': is the space around a crop: add crop"),
        (["--size", "0x0"], "size '0x0': give 1 to 65535 pixels a side"),
        (["--size", "20000x20000"], "size '20000x20000': above 200 megapixels"),
        (["--scale", "500%"], "scale '500%': give original, or 10% to 100%"),
        (["--position", "nowhere"], "position 'nowhere': give original, center"),
        (["--shadow-opacity", "200"], "shadow_opacity 200.0: give 0 to 100"),
        (["--roi", "0 0 900px 9px"], "roi '0 0 900px 9px': reaches beyond the picture"),
        (["--mask", "-o", "a.ora"], "ora holds a whole cut-out, not the mask"),
    ],
)
def test_what_cannot_be(run: Run, words: list[str], line: str) -> None:
    Path("text.jpg").write_text("no picture")
    Path("broken.jpg").write_bytes(b"\xff\xd8\xff\xe0\x00\x10JFIF\x00")
    before = sorted(os.listdir())
    status, lines = run("photo.png", *words)
    assert status in (1, 2)
    assert len(lines) == 1, lines
    assert line in lines[0]
    assert sorted(os.listdir()) == before


def test_flags_that_exclude_each_other(run: Run) -> None:
    status, lines = run("photo.png", "--mask", "--invert")
    assert status == 2
    assert "mutually exclusive" in lines[-1]
    status, lines = run("photo.png", "--fit", "squeeze")
    assert status == 2
    assert "'squeeze' is not one of 'cover'" in lines[-1]


def test_pairs_in_bulk(run: Run) -> None:
    """Each picture has its trimap, and one that has none is that picture's error."""
    Path("photos").mkdir()
    for name in ("a", "b"):
        shutil.copy("photo.png", f"photos/{name}.png")
    PIL.Image.new("L", (200, 100), 255).save("a-trimap.png")
    status, lines = run("photos", "-o", "cut", "--trimap", ".", "--mask")
    assert status == 1
    assert lines[0] == f"{Path('photos/a.png')} -> {Path('cut/a.png')}"
    assert "b.png: has no trimap in .: name it b-trimap.png" in lines[1]
    assert np.asarray(opened("cut/a.png")).min() == 255


def test_a_trimap_needs_no_weights(run: Run) -> None:
    PIL.Image.new("L", (200, 100), 255).save("trimap.png")
    status, lines = run("photo.png", "--trimap", "trimap.png", "--model", "birefnet-lite", "-v")
    assert status == 0
    assert lines[0] == "alphacut: none"


def test_quiet_preview(run: Run) -> None:
    assert run("preview", "photo.png", "-q") == (0, [])
    assert Path("photo-cutout-preview.png").exists()
