"""Steadiness on clips whose alpha is known."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from alphacut import Remover
from alphacut.cli.main import cli
from alphacut.errors import ImageError
from alphacut.evaluation.clips import COLUMNS, evaluate_clips, find_clips
from films import COLOUR, discs


def make_clip(folder: Path, n: int = 4, *, foreground: bool = True) -> None:
    for part in ("image", "alpha", "foreground"):
        (folder / part).mkdir(parents=True)
    for k, image in enumerate(discs(n)):
        alpha = np.zeros(image.shape[:2], np.uint8)
        cv2.circle(alpha, (round(16 * (64 * 0.4 + k)), 16 * 24), 16 * 12, 255, -1, cv2.LINE_AA, 4)
        cv2.imwrite(str(folder / "image" / f"{k:05}.png"), image[..., ::-1])
        cv2.imwrite(str(folder / "alpha" / f"{k:05}.png"), alpha)
        if foreground:
            plain = np.full_like(image, COLOUR)
            cv2.imwrite(str(folder / "foreground" / f"{k:05}.png"), plain[..., ::-1])


def test_each_clip_and_steadiness_has_its_figures(tmp_path: Path, fake_remover: Remover) -> None:
    make_clip(tmp_path / "a")
    make_clip(tmp_path / "b", foreground=False)
    scores = list(evaluate_clips(find_clips(tmp_path), fake_remover, (0.0, 1.0)))
    assert [(score.clip, score.steadiness) for score in scores] == [
        ("a", 0.0), ("a", 1.0), ("b", 0.0), ("b", 1.0),
    ]  # fmt: skip
    assert list(scores[0].values) == list(COLUMNS)
    assert list(scores[2].values) == [name for name in COLUMNS if "colours" not in name]
    assert all(np.isfinite(value) for score in scores for value in score.values.values())


@pytest.mark.slow
def test_the_command_prints_clips_and_means(tmp_path: Path) -> None:
    make_clip(tmp_path / "a", 2)
    done = CliRunner().invoke(cli, ["evaluate", "--video", str(tmp_path), "--steady", "0"])
    assert done.exit_code == 0, done.output
    assert all(name in done.output for name in ("dtSSD", "MESSDdt", "colours"))
    assert [line.split()[0] for line in done.output.splitlines()[-2:]] == ["a", "mean"]


def test_a_folder_without_clips(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no clips: each is a folder with image/ and alpha/"):
        find_clips(tmp_path)
