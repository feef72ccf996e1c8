"""Pipes, devices, links and names that differ by case, through the command."""

import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import PIL.Image
import pytest

from alphacut import Options
from alphacut.batch.folder import list_items

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX pipes, devices and links")
EXAMPLE = Path(__file__).parents[2] / "src" / "alphacut" / "assets" / "example.jpg"

with PIL.Image.open(EXAMPLE) as example:
    SIZE = example.size


def shell(line: str, folder: Path) -> "subprocess.CompletedProcess[bytes]":
    shutil.copy(EXAMPLE, folder / "a.jpg")
    PIL.Image.new("L", SIZE, 255).save(folder / "trimap.png")
    command = line.replace("alphacut", f"{sys.executable} -m alphacut", 1)
    return subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, timeout=60)


@pytest.mark.parametrize(
    "line",
    [
        "alphacut <(cat a.jpg) -o b.png",
        "cat a.jpg | alphacut /dev/stdin -o b.png",
        "alphacut a.jpg -o b.png --trimap <(cat trimap.png)",
        "alphacut a.jpg -o b.png --background <(cat a.jpg)",
        "alphacut a.jpg -o /dev/stdout > b.png",
        "alphacut a.jpg -o /dev/stdout | cat > b.png",
        "alphacut a.jpg -o >(cat > b.png); sleep 1",
        "mkfifo fifo; cat fifo > b.png & alphacut a.jpg -o fifo --overwrite; wait; test -p fifo",
    ],
)
def test_pipes_and_devices(line: str, tmp_path: Path) -> None:
    done = shell(line, tmp_path)
    assert done.returncode == 0, done.stderr
    with PIL.Image.open(io.BytesIO((tmp_path / "b.png").read_bytes())) as image:
        image.load()
        assert image.size == SIZE


@pytest.mark.parametrize(
    "line",
    [
        "alphacut in -o out --result mask --trimap <(cat trimap.png)",
        "alphacut in -o out --format png --background <(cat green.png)",
        "alphacut batch in out --result mask --trimap <(cat trimap.png)",
        "alphacut batch in out --format png --background <(cat green.png)",
    ],
)
def test_what_a_pipe_gives_serves_all(line: str, tmp_path: Path) -> None:
    """The trimap says that all is subject, or the ground is green all over."""
    (tmp_path / "in").mkdir()
    for name in "abc":
        PIL.Image.new("RGB", SIZE, "grey").save(tmp_path / "in" / f"{name}.png")
    PIL.Image.new("RGB", SIZE, (0, 255, 0)).save(tmp_path / "green.png")
    done = shell(line, tmp_path)
    assert done.returncode == 0, done.stderr
    expected = 255 if "trimap" in line else (0, 255, 0)
    results = sorted((tmp_path / "out").glob("[abc]*.png"))
    assert len(results) == 3
    for result in results:
        with PIL.Image.open(result) as image:
            assert image.convert("L" if "trimap" in line else "RGB").getpixel((2, 2)) == expected


def test_a_device_stays() -> None:
    command = [sys.executable, "-m", "alphacut", str(EXAMPLE), "-o", "/dev/null"]
    assert subprocess.run(command, timeout=60).returncode == 0
    assert Path("/dev/null").is_char_device()


def test_links_to_one_file(tmp_path: Path) -> None:
    shutil.copy(EXAMPLE, tmp_path / "a.jpg")
    os.symlink("a.jpg", tmp_path / "b.jpg")
    items = list_items([str(tmp_path)], str(tmp_path / "out"), Options())
    assert [Path(item.target).name for item in items] == ["a.png", "b.png"]
    assert not any(item.error for item in items)


def test_names_that_differ_by_case(tmp_path: Path) -> None:
    for name in ("IMG_0001.JPG", "img_0001.jpg", "Shoe.png", "shoe.png"):
        shutil.copy(EXAMPLE, tmp_path / name)
    if len(os.listdir(tmp_path)) < 4:
        pytest.skip("this disk ignores case")
    items = list_items([str(tmp_path)], str(tmp_path / "out"), Options())
    assert not any(item.error for item in items)
    assert len({item.target for item in items}) == 4
