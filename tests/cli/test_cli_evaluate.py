"""`alphacut evaluate`: settings side by side."""

import json
from pathlib import Path

import PIL.Image
from click.testing import CliRunner

from alphacut import Remover
from alphacut.cli.evaluate import parse_changes
from alphacut.cli.main import cli
from alphacut.evaluation.self_test import EXAMPLE


def test_settings_side_by_side(tmp_path: Path) -> None:
    """The example, with a network's own alpha as the truth, within rounding."""
    cutout = Remover()(EXAMPLE)
    (tmp_path / "image").mkdir()
    (tmp_path / "alpha").mkdir()
    PIL.Image.open(EXAMPLE).save(tmp_path / "image" / "one.png")
    cutout.save(tmp_path / "alpha" / "one.png", result="mask")

    files = [f"--{kind}={tmp_path / ('scores.' + kind)}" for kind in ("csv", "json", "html")]
    words = ["evaluate", str(tmp_path), "--compare=matting=none keep-depth=yes"]
    done = CliRunner().invoke(cli, [*words, *files])
    assert done.exit_code == 0, done.output
    mean = json.loads((tmp_path / "scores.json").read_text())["mean"]
    assert list(mean) == ["default", "matting=none keep-depth=yes"]
    assert mean["default"]["MAD"] < 1
    assert mean["matting=none keep-depth=yes"]["MAD"] > 1
    for name in mean:
        assert name in done.output
    assert parse_changes("background='#ff0000 ' roi=0 grow-px=3 largest=no") == {
        "background": "#ff0000 ", "roi": "0", "grow_px": 3, "largest": False,
    }  # fmt: skip
    for wrong in ("quality", "file-quality=high"):
        done = CliRunner().invoke(cli, ["evaluate", str(tmp_path), f"--compare={wrong}"])
        assert done.exit_code == 2
        assert wrong in done.output
