"""The portrait recipe from data to cut-out, by the commands that docs/recipes.md gives."""

import dataclasses
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest
import torch
from small import photograph, write

from alphacut import runtimes
from alphacut.models import nets, weights
from alphacut.pipeline import transforms
from alphacut.pipeline.matting import enlarge
from alphacut.training import curves

sys.path.insert(0, str(Path(__file__).parents[1] / "cli"))
from test_cli_models import run

ROOT = Path(__file__).parents[2]
RECIPE = "recipes/easyportrait-cyclical.toml"
SMALL = {'model = "u2net" ': 'model = "u2net-lite" ', "size = [320]": "size = [64]",
         "batch = 8": "batch = 2"}  # fmt: skip
_, _, SECTION = (ROOT / "docs" / "recipes.md").read_text("utf-8").partition("## Portrait training")
COMMANDS = re.findall(r"`(alphacut [^`]+)`", SECTION.partition("\n## ")[0])


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with all that the commands name: the recipe, only smaller, and its data."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ALPHACUT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # else sums may be in another order
    text = (ROOT / RECIPE).read_text("utf-8")
    for old, new in SMALL.items():
        assert text.count(old) == 1
        text = text.replace(old, new)
    (tmp_path / "recipes").mkdir()
    (tmp_path / RECIPE).write_text(text)
    for part, count in (("train", 4), ("val", 2)):
        for n in range(count):
            classes = np.zeros((90, 120), np.uint8)
            classes[20:80, 30 + 5 * n : 80] = n % 8 + 1
            picture = PIL.Image.fromarray(np.where(classes[..., None], 230, photograph(n, 90, 120)))
            tags = PIL.Image.Exif()
            tags[0x0112] = 6 if n else 1  # masks fit the pixels as they are stored
            path = tmp_path / f"DATA/easyportrait/images/{part}/{n}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture.save(path, exif=tags)
            write(tmp_path / f"DATA/easyportrait/annotations/{part}/{n}.png", classes)
    shutil.copy(weights.ASSETS / "example.jpg", "photo.jpg")
    (tmp_path / "unprocessed").mkdir()
    PIL.Image.open("photo.jpg").convert("L").save("unprocessed/grey.jpg")
    return tmp_path


def begin(command: str) -> "subprocess.Popen[str]":
    """Start a command as a program of its own."""
    words = [sys.executable, "-m", *shlex.split(command)]
    return subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=os.environ)


def end(process: "subprocess.Popen[str]", mark: Path, number: int) -> str:
    """Send a signal as soon as a file is there; return what the program said."""
    until = time.monotonic() + 300
    while not mark.exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < until
        time.sleep(0.05)
    process.send_signal(number)
    return process.communicate(timeout=200)[1]


@pytest.mark.parametrize("stretched", [True, False])
def test_inference_is_the_notebooks(stretched: bool) -> None:
    """To the network's own size; only enlarging differs. With the bundled weights."""
    spec = dataclasses.replace(
        weights.find_model("u2net-lite"), downscale="lanczos", min_max=stretched,
        divisor="max" if stretched else "white",
    )  # fmt: skip
    network = runtimes.load(spec, runtime="torch", device="cpu")
    photo = PIL.Image.open(weights.ASSETS / "example.jpg").convert("RGB")
    lanczos = PIL.Image.Resampling.LANCZOS
    small = np.array(photo.resize((320, 320), lanczos))
    normal = (small / small.max() - spec.mean) / spec.std
    output = network(normal.transpose(2, 0, 1)[np.newaxis].astype(np.float32))[0, 0]
    theirs = (output - output.min()) / (output.max() - output.min())
    full = PIL.Image.fromarray(theirs * 255).convert("L").resize(photo.size, lanczos)

    batch = transforms.preprocess(np.asarray(photo), spec)
    ours = transforms.postprocess(network(batch), batch, spec)
    assert np.abs(ours - theirs).max() < 1e-4
    alpha = enlarge(np.asarray(photo), ours)
    assert np.abs(alpha - np.asarray(full) / 255).mean() < 0.003  # half a level is 0.002


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.filterwarnings("ignore::alphacut.errors.NoForegroundWarning")
def test_every_command_of_the_portrait_recipe(place: Path) -> None:
    train, resume = (c for c in COMMANDS if c.startswith(f"alphacut train {RECIPE}"))
    assert resume == f"{train} --resume"
    out = place / "runs" / "portrait"

    # a polite end, a hard one, and the rest
    said = end(begin(train), out / "epoch-3.pt", signal.SIGTERM)
    assert "stopping after this step" in said
    assert "last.pt: use --resume to continue" in said
    assert 6 <= torch.load(out / "last.pt", weights_only=True)["step"] < 30
    end(begin(resume), out / "epoch-9.pt", signal.SIGKILL)
    assert not (out / "epoch-15.pt").exists()
    rest = begin(resume)
    assert "30/30  epoch 15.00  loss " in rest.communicate(timeout=400)[1]
    assert rest.returncode == 0

    kept = {path.name for path in out.glob("*.pt")}
    assert kept == {"last.pt", *(f"epoch-{n}.pt" for n in (3, 6, 9, 12, 15))}
    assert {path.name for path in out.glob("*.jpg")} == {f"epoch-{n}.jpg" for n in range(1, 16)}
    assert cv2.imread(str(out / curves.CURVES)) is not None
    log = curves.read_log(out)
    assert log["step"] == [2.0 * n for n in range(1, 16)]
    assert log["epoch"] == [float(n) for n in range(1, 16)]

    # the same numbers as a run that nothing ended
    whole = begin(train.replace("runs/portrait", "runs/whole"))
    assert "30/30" in whole.communicate(timeout=400)[1]
    other = curves.read_log(place / "runs" / "whole")
    for name in curves.COLUMNS:
        assert log[name] == pytest.approx(other[name], rel=1e-5, nan_ok=True), name
    ends = [
        torch.load(place / "runs" / name / "last.pt", weights_only=True)["network"]
        for name in ("portrait", "whole")
    ]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])

    # the rest, their checkpoint's included; its network is random and finds nothing
    network = nets.build("u2net")
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-3, total_steps=9)
    torch.save(
        {"epoch": 15, "model_state_dict": network.state_dict(),
         "optimizer_state_dict": optimizer.state_dict(),
         "scheduler_state_dict": {"anneal_func": schedule.get_lr}}, "final_model_ckpt.pth",
    )  # fmt: skip
    for command in COMMANDS:
        if command not in (train, resume):
            result = run(*shlex.split(command)[1:])
            assert result.exit_code == 0, (command, result.output)
    for name in ("sheet.png", "held-out.png", "rates.png", "cut.png", "ckpt.png"):
        assert cv2.imread(name, cv2.IMREAD_UNCHANGED) is not None
    assert cv2.imread("cut.png", cv2.IMREAD_UNCHANGED)[..., 3].any()
    assert len([*Path("processed").iterdir()]) == 1
    entry = weights.find_model("portrait")
    assert (entry.downscale, entry.divisor, entry.min_max) == ("lanczos", "white", False)
    # our own checkpoints are read as theirs is
    run("models", "add", out / "last.pt", "--arch", "u2netp", "--name", "last")
    assert weights.find_model("last").weights["torch"].bytes
