"""Krita's plug-in, in Krita itself, on a screen that nobody sees; krita_driver.py is the person."""

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

import alphacut
from alphacut.cli.main import cli
from clusters import until

ROOT = Path(__file__).parents[1]
PHOTO = ROOT / "examples" / "chelsea.png"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        not all(map(shutil.which, ("krita", "xvfb-run", "xauth"))),
        reason="Krita, xvfb-run or xauth is not installed",
    ),
]


def mask_of(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(alphacut.remove(image, result="mask").image)  # 8 bits


def test_krita_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = shutil.which("python3", path=os.defpath)
    if not python or subprocess.run([python, "-c", "import PyQt5"], capture_output=True).returncode:
        pytest.skip("the system's Python has no PyQt5, which Krita's plug-ins need")
    for variable, below in (("HOME", ""), ("XDG_DATA_HOME", "data"), ("XDG_CONFIG_HOME", "config"),
                            ("XDG_CACHE_HOME", "cache"), ("XDG_RUNTIME_DIR", "run")):  # fmt: skip
        (tmp_path / below).mkdir(mode=0o700, exist_ok=True)
        monkeypatch.setenv(variable, str(tmp_path / below))
    assert CliRunner().invoke(cli, ["integrate", "krita"]).exit_code == 0
    plugins = tmp_path / "data" / "krita" / "pykrita"
    command = plugins / "alphacut_krita" / "command.json"
    # the plug-in drops PYTHONPATH, by which a checkout may be found
    line = ["env", f"PYTHONPATH={ROOT / 'src'}", *json.loads(command.read_text())]
    command.write_text(json.dumps(line))
    entry = (plugins / "alphacut_krita.desktop").read_text()
    (plugins / "driver.desktop").write_text(entry.replace("=alphacut_krita", "=driver"))
    (plugins / "driver").mkdir()
    shutil.copy(Path(__file__).with_name("krita_driver.py"), plugins / "driver" / "__init__.py")
    (tmp_path / "config" / "kritarc").write_text(
        "[python]\nenable_alphacut_krita=true\nenable_driver=true\n"
    )
    shutil.copy(PHOTO, tmp_path / "photo.png")
    # Krita's Python looks for its library beside the first python3 of PATH
    environment = {**os.environ, "PATH": os.defpath, "DRIVEN": str(tmp_path)}
    with (tmp_path / "log").open("wb") as log:
        program = subprocess.Popen(["xvfb-run", "-a", "krita", "--nosplash"], env=environment,
                                   stdout=log, stderr=log, start_new_session=True)  # fmt: skip
    try:
        until(lambda: program.poll() is not None or (tmp_path / "notes.json").exists(), 500)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGTERM)
        program.wait(60)

    assert (tmp_path / "notes.json").exists(), (tmp_path / "log").read_text()[-4000:]
    notes = json.loads((tmp_path / "notes.json").read_text())
    assert "error" not in notes, notes["error"]
    assert "alphacut_remove_background" in notes["entries"]  # of the menu Layer
    with PIL.Image.open(PHOTO) as image:
        photo = np.asarray(image.convert("RGB"))
    left, top, width, height = notes["area"]
    small = photo[top : top + height, left : left + width]
    for name, seen in (("whole", photo), ("small", small)):
        assert notes[name] == ["transparencymask"]
        pixels = np.fromfile(tmp_path / name, np.uint8).reshape(*seen.shape[:2], 4)
        np.testing.assert_array_equal(pixels[..., 3], mask_of(seen))
        shown = pixels[..., 3] > 0
        np.testing.assert_array_equal(pixels[..., 2::-1][shown], seen[shown])  # only hidden
    assert notes["group"] == ["paintlayer", "transparencymask"]  # of 16 bits
    alpha = np.fromfile(tmp_path / "group", np.uint16).reshape(*photo.shape[:2], 4)[..., 3]
    subject, known = alpha > 32767, mask_of(photo) > 127
    # more levels make another mask where the network is in doubt
    assert (subject & known).sum() > 0.95 * (subject | known).sum()
    assert notes["selection"] == [1, 2, 30, 40]  # the person's own is back
    assert notes["undone"]
    with zipfile.ZipFile(tmp_path / "saved.kra") as saved:
        merged = PIL.Image.open(io.BytesIO(saved.read("mergedimage.png")))
    np.testing.assert_array_equal(np.asarray(merged)[..., 3], mask_of(photo))
    busy, no_layer, absent, broken = notes["told"]
    assert busy == "Another layer is being cut out: wait for its mask."
    assert no_layer == "Choose a layer that is not empty."
    assert absent.startswith("/nowhere/alphacut cannot be started")
    assert broken == "it is broken"
