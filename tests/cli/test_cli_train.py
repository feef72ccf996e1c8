"""`alphacut train` from a folder of pictures to a model that cuts out."""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from test_cli_models import run

from alphacut.errors import MissingExtra, OutputError, TrainingError
from alphacut.models import weights

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
from small import RECIPE, photograph, write


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ALPHACUT_HOME", str(tmp_path / "home"))
    text = RECIPE.replace("one-cycle", "constant").replace("1e-3", "1e-5")
    (tmp_path / "recipe.toml").write_text(text.replace('"random"', '"model"'))
    for n in range(5):
        cutout = np.zeros((40, 40, 4), np.uint8)
        cv2.circle(cutout, (20, 20), 15, (200, 50, 50, 255), -1)
        write(tmp_path / "data/cutouts" / f"{n}.png", cutout)
        write(tmp_path / "data/backgrounds" / f"{n}.png", photograph(n))
    return tmp_path


@pytest.mark.slow
def test_train_resume_export_and_cut_out(places: Path) -> None:
    recipe, out = places / "recipe.toml", places / "run"
    words = ("train", recipe, "--data", places / "data", "-o", out, "--device", "cpu")
    first = run(*words, "--steps", 2, "--threads", 1)
    assert "2/4  loss " in first.stderr
    assert "4/4  loss " in run(*words, "--resume").stderr
    with pytest.raises(TrainingError, match="--resume"):
        run(*words)
    best, target = out / "best.safetensors", places / "mine.onnx"
    made = run("train", "export", recipe, best, "--to", "onnx", "-o", target, "--name", "mine")
    assert "differs from PyTorch by" in made.stderr
    row = weights.find_model("mine")
    assert (row.arch, row.divisor, row.min_max) == ("u2netp", "white", False)
    assert row.commercial == "unclear"
    photo = weights.ASSETS / "example.jpg"
    done = run(photo, "--model", "mine", "--json", "-o", places / "cut.png")
    assert not json.loads(done.stdout)["empty"]
    run("train", "export", recipe, best, "--to", "openvino", "-o", places / "mine.xml")
    assert (places / "mine.bin").exists()


def test_preview_and_find_lr(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, data = places / "recipe.toml", places / "data"
    run("train", "preview", recipe, "--data", data, "-o", places / "sheet.png", "--count", 2)
    assert cv2.imread(str(places / "sheet.png")).shape == (400, 400, 3)
    held_out = ("--count", 1, "--held-out", "-o", places / "held-out.png")
    run("train", "preview", recipe, "--data", data, *held_out)
    assert cv2.imread(str(places / "held-out.png")).shape == (400, 200, 3)
    words = ("train", "find-lr", recipe, "--data", data, "--device", "cpu", "--steps", 2)
    with pytest.raises(OutputError, match="cannot be written"):
        run(*words, "--least", 1e-9, "--largest", 1e-8, "-o", places / "curve.xyz")

    from alphacut.training import range_test

    asked = {}

    def find_rates(*_: object, **how: object) -> list[tuple[float, float]]:
        asked.update(how)  # whether a loss of so few steps falls is chance
        return [(1e-4, 1.0), (1e-2, 0.5)]

    monkeypatch.setattr(range_test, "find_rates", find_rates)
    done = run(*words, "--least", 1e-4, "--largest", 1e-2, "-o", places / "curve.png")
    assert "the loss falls fastest at 1.0e-03" in done.stderr
    assert cv2.imread(str(places / "curve.png")) is not None
    assert asked == {"least": 1e-4, "largest": 1e-2, "steps": 2, "device": "cpu"}


def test_plot(places: Path) -> None:
    from alphacut.training.curves import COLUMNS, LOG

    (places / LOG).write_text(",".join(COLUMNS) + "\n10,1,0.5,1e-4,3,9,8,0.2,0.9\n")
    assert f"wrote {places / 'curves.png'}" in run("train", "plot", places).stderr
    run("train", "plot", places, "-o", places / "curves.svg")
    assert (places / "curves.svg").read_text().startswith("<?xml")


def test_mistakes(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = places / "recipe.toml"
    with pytest.raises(OutputError, match=r"extension \.xml"):
        run("train", "export", recipe, recipe, "--to", "openvino", "-o", "x.onnx")
    assert "--name needs" in run(
        "train", "export", recipe, recipe, "--to", "openvino", "-o", "x.xml", "--name", "a"
    ).stderr  # fmt: skip
    assert "RECIPE" in run("train", "--help").stdout + run("train", "run", "--help").stdout
    for name in [name for name in sys.modules if name.startswith("alphacut.training")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(MissingExtra, match=r"\.\[train\]"):
        run("train", recipe, "--data", places / "data", "-o", places / "run")


def test_ctrl_c_says_how_to_go_on(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from alphacut.training import train

    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "train", stopped)
    words = ("train", places / "recipe.toml", "--data", places / "data", "-o", places)
    result = run(*words)
    assert result.exit_code == 130
    assert "--resume" not in result.stderr  # nothing was saved
    (places / train.LAST).touch()
    assert "last.pt: use --resume to continue" in run(*words).stderr
