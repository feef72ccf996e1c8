"""The habits of rembg 2.0.86, held against rembg itself: same files, sizes, modes and subjects."""

import io
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray

from pictures import SHARED

ROOT = Path(__file__).parents[2]
VENV = Path(os.environ.get("REMBG_VENV", "none"))
THEIRS = VENV / "bin"
WEIGHTS = SHARED / "models" / "u2netp.onnx"
OURS = [sys.executable, "-c", "from rembg.cli import main; main()"]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (THEIRS / "rembg").exists(),
        reason="REMBG_VENV names no virtual environment with rembg[cpu,cli]==2.0.86",
    ),
    pytest.mark.skipif(not WEIGHTS.exists(), reason="no u2netp.onnx beside the checkout"),
]
LEAST_IOU = 0.97
LIBRARY = """
import io, numpy as np, PIL.Image
from rembg import new_session, remove
session = new_session("u2netp")
data = open("a.jpg", "rb").read()
photo = PIL.Image.open("a.jpg")
"""


@dataclass
class Form:
    """A way to call rembg: words of the command, or lines of Python.

    Attributes:
        words: After `rembg`; {home} is the folder of models.
        python: Instead of the command.
        stdin: File for standard input; "frames" for raw frames.
        iou: Whether the subject can be compared: alpha, or the mask.
    """

    words: str = ""
    python: str = ""
    stdin: str = ""
    iou: bool = True
    makes: tuple[str, ...] = field(default=("out.png",))


M = "-m u2netp"
FORMS = {
    "file": Form(f"i {M} a.jpg out.png"),
    "png": Form(f"i {M} b.png out.png"),
    "replaces": Form(f"i {M} a.jpg old.png", makes=("old.png",)),
    "pipe": Form(f"i {M}", stdin="a.jpg", makes=("stdout",)),
    "dashes": Form(f"i {M} - -", stdin="a.jpg", makes=("stdout",)),
    "to-stdout": Form(f"i {M} a.jpg", makes=("stdout",)),
    "stdin-to-file": Form(f"i {M} - out.png", stdin="a.jpg"),
    "mask": Form(f"i {M} -om a.jpg out.png"),
    "mask-smooth": Form(f"i {M} -om -ppm a.jpg out.png"),
    "smooth": Form(f"i {M} -ppm a.jpg out.png"),
    "matting": Form(f"i {M} -a a.jpg out.png"),
    "matting-erode": Form(f"i {M} -a -ae 15 a.jpg out.png"),
    "matting-thresholds": Form(f"i {M} -a -af 220 -ab 30 -ae 5 a.jpg out.png"),
    "matting-manual": Form(f"i {M} -a -af 270 -ab 20 -ae 11 a.jpg out.png"),  # of its manual
    "decontaminate": Form(f"i {M} -dc a.jpg out.png"),
    "colour": Form(f"i {M} -bgc 255 255 255 255 a.jpg out.png", iou=False),
    "glass": Form(f"i {M} -bgc 0 0 255 128 a.jpg out.png", iou=False),
    "putalpha": Form("i " + M + """ -x '{"putalpha": true}' a.jpg out.png"""),
    "mask-in-extras": Form("i " + M + """ -x '{"only_mask": true}' a.jpg out.png"""),
    "own-weights": Form(
        """i -m u2net_custom -x '{"model_path": "HOME/u2netp.onnx"}' a.jpg out.png"""
    ),
    "folder": Form(f"p {M} in out", makes=("out/a.png", "out/b.png", "out/c.png")),
    "folder-masks": Form(f"p {M} -om in out", makes=("out/a.png", "out/b.png", "out/c.png")),
    "folder-again": Form(f"p {M} in done", makes=("done/a.png", "done/b.png", "done/c.png")),
    "folder-deleted": Form(f"p {M} -d in out", makes=("out/a.png", "out/b.png", "out/c.png")),
    "frames": Form(
        f"b {M} 240 160 -o f/%03d.png", stdin="frames", makes=("f/000.png", "f/001.png")
    ),
    "download": Form("d u2netp", makes=()),
    "bytes": Form(python="open('out.png', 'wb').write(remove(data, session=session))"),
    "pillow": Form(python="remove(photo, session=session).save('out.png')"),
    "array": Form(
        python="PIL.Image.fromarray(remove(np.asarray(photo), session=session)).save('out.png')"
    ),
    "only-mask": Form(python="remove(photo, session=session, only_mask=True).save('out.png')"),
    "bgcolor": Form(
        python="remove(photo, session=session, bgcolor=(255, 204, 0, 255)).save('out.png')",
        iou=False,
    ),
    "arguments": Form(
        python="open('out.png', 'wb').write(remove(data, alpha_matting=True, session=session,"
        " alpha_matting_foreground_threshold=240, alpha_matting_erode_size=10))"
    ),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("u2net")
    for place in ("u2netp.onnx", "models/u2netp/u2netp.onnx"):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(WEIGHTS, folder / place)
    return folder


def prepare(folder: Path) -> Path:
    """Pictures by the names that the forms use."""
    names = {"a": "astronaut.png", "b": "coffee.png", "c": "chelsea.png"}
    (folder / "in" / "sub").mkdir(parents=True)
    (folder / "done").mkdir()
    for name, example in names.items():
        with PIL.Image.open(ROOT / "examples" / example) as photo:
            image = photo.convert("RGB")
        image.save(folder / f"{name}.jpg", quality=95)
        image.save(folder / f"{name}.png")
        where = folder / "in" / "sub" if name == "c" else folder / "in"
        image.save(where / f"{name}.jpg", quality=95)
    (folder / "in" / "notes.txt").write_text("no picture")
    shutil.copy(folder / "b.png", folder / "done" / "a.png")  # a result that is there
    (folder / "old.png").write_bytes(b"older")
    with PIL.Image.open(folder / "a.jpg") as photo:
        frame = photo.resize((240, 160)).tobytes()
    (folder / "frames").write_bytes(2 * frame + frame[:100])
    return folder


def call(ours: bool, form: Form, folder: Path, models: Path) -> set[str]:
    """Call rembg or its stand-in; return the files that are there, standard output as one."""
    import shlex

    paths = (ROOT / "packages/alphacut-rembg/src", ROOT / "src")
    environment = {**os.environ, "U2NET_HOME": str(models)}
    environment.pop("PYTHONPATH", None)
    if ours:
        environment["PYTHONPATH"] = os.pathsep.join(map(str, paths))
    words = shlex.split(form.words.replace("HOME", str(models)))
    command = [*OURS, *words] if ours else [str(THEIRS / "rembg"), *words]
    if form.python:
        interpreter = sys.executable if ours else str(THEIRS / "python")
        command = [interpreter, "-c", LIBRARY + form.python]
    stdin = (folder / form.stdin).read_bytes() if form.stdin else b""
    done = subprocess.run(command, cwd=folder, env=environment, input=stdin, capture_output=True,
                          timeout=240)  # fmt: skip
    # an incomplete frame at the end is told here
    assert done.returncode == (1 if ours and form.stdin == "frames" else 0), done.stderr.decode()
    if "stdout" in form.makes:
        (folder / "stdout").write_bytes(done.stdout)
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def opened(path: Path) -> tuple[str | None, str, tuple[int, int], NDArray[np.uint8]]:
    with PIL.Image.open(path) as image:
        return image.format, image.mode, image.size, np.asarray(image)


@pytest.mark.parametrize("name", FORMS)
def test_a_form(name: str, tmp_path: Path, models: Path) -> None:
    form = FORMS[name]
    theirs, ours = prepare(tmp_path / "theirs"), prepare(tmp_path / "ours")
    assert call(True, form, ours, models) == call(False, form, theirs, models)
    for made in form.makes:
        kind, mode, size, expected = opened(theirs / made)
        assert opened(ours / made)[:3] == (kind, mode, size)
        found = opened(ours / made)[3]
        if not form.iou:
            assert np.abs(expected.astype(int) - found).mean() < 6, made
            continue
        first, second = ((each[..., -1] if each.ndim == 3 else each) > 127
                         for each in (expected, found))  # fmt: skip
        iou = (first & second).sum() / (first | second).sum()
        assert iou >= LEAST_IOU, f"{made}: {iou:.4f}"


@pytest.mark.parametrize("ours", [False, True])
def test_the_server_answers(ours: bool, tmp_path: Path, models: Path) -> None:
    folder = prepare(tmp_path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "U2NET_HOME": str(models)}
    environment.pop("PYTHONPATH", None)
    if ours:
        paths = (ROOT / "packages/alphacut-rembg/src", ROOT / "src")
        environment["PYTHONPATH"] = os.pathsep.join(map(str, paths))
    command = OURS if ours else [str(THEIRS / "rembg")]
    words = ["s", "-p", str(port), "-h", "127.0.0.1", "-l", "warning", "-t", "2", "--no-ui"]
    process = subprocess.Popen([*command, *words], cwd=folder, env=environment)
    try:
        content, mark = (folder / "a.jpg").read_bytes(), uuid.uuid4().hex
        body = (f'--{mark}\r\nContent-Disposition: form-data; name="model"\r\n\r\nu2netp\r\n'
                f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n'
                "Content-Type: image/jpeg\r\n\r\n").encode()  # fmt: skip
        body += content + f"\r\n--{mark}--\r\n".encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/api/remove", body,
            {"Content-Type": f"multipart/form-data; boundary={mark}"},
        )  # fmt: skip
        end = time.monotonic() + 120
        while True:
            try:
                with urllib.request.urlopen(request, timeout=120) as answer:
                    with PIL.Image.open(io.BytesIO(answer.read())) as image:
                        assert (image.format, image.mode, image.size) == ("PNG", "RGBA", (512, 512))
                    break
            except OSError:
                assert time.monotonic() < end
                time.sleep(0.3)
    finally:
        process.terminate()
        process.wait(30)
