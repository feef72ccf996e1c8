"""What lies on disk: layouts, what is held out, and what is said of what is not there."""

from pathlib import Path

import numpy as np
import pytest
from small import photograph, write

from alphacut.errors import TrainingError
from alphacut.training.data import Pictures
from alphacut.training.datasets import LAYOUTS, find
from alphacut.training.recipe import Recipe, Source


def test_every_fifth_is_held_out(data: Path) -> None:
    files = find(Source(kind="composites", part="valid"), data)
    assert [path.name for path, _ in files.subjects] == ["4.png"]
    assert [path.name for path in files.backgrounds] == ["4.png"]
    trained = find(Source(kind="composites"), data)
    assert "4.png" not in {path.name for path, _ in trained.subjects}


def test_pairs_without_parts_are_divided(tmp_path: Path) -> None:
    for n in range(7):
        write(tmp_path / "image" / f"{n}.png", photograph(n))
        write(tmp_path / "alpha" / f"{n}.png", np.zeros((60, 80), np.uint8))
    names = {}
    for part in ("train", "valid", "test"):
        files = find(Source(kind="pairs", layout="plain", part=part), tmp_path)
        names[part] = "".join(path.stem for path, _ in files.subjects)
    assert names == {"train": "012356", "valid": "4", "test": "4"}
    for n in range(1, 7):
        (tmp_path / "image" / f"{n}.png").unlink()
    with pytest.raises(TrainingError, match="needs 5 pictures"):
        find(Source(kind="pairs", layout="plain", part="valid"), tmp_path)


def test_layouts_of_pairs(tmp_path: Path, recipe: Recipe) -> None:
    for name, parts in LAYOUTS.items():
        for part, ((images, alphas), *_) in parts.items():
            write(tmp_path / name / images / "a.png", photograph(1))
            write(tmp_path / name / alphas / "a.png", np.full((60, 80), 128, np.uint8))
            source = Source(kind="pairs", layout=name, folder=name, part=part)
            alpha = Pictures(recipe, (source,), tmp_path).sample(0).alpha
            expected = 1.0 if name == "easyportrait" else 128 / 255
            assert alpha[0, 0] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (Source(kind="composites", cutouts="none"), "there are no pictures"),
        (Source(kind="empty", only=("x*",)), "no background is like"),
        (Source(kind="pairs", layout="mine"), "choose one of plain"),
        (Source(kind="pairs", layout="p3m"), "has no train/blurred_image with train/mask"),
        (Source(kind="pairs", layout="duts", part="valid"), "has no valid part"),
    ],
)
def test_what_is_not_there_is_said(data: Path, source: Source, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        find(source, data)


def test_cutouts_need_transparency_and_truths_their_size(recipe: Recipe, data: Path) -> None:
    for n in range(6):
        write(data / "solid" / f"{n}.png", photograph(n))
    with pytest.raises(TrainingError, match="no transparency"):
        Pictures(recipe, (Source(kind="composites", cutouts="solid"),), data).sample(0)
    write(data / "train/image" / "a.png", photograph(0))
    write(data / "train/alpha" / "a.png", np.zeros((10, 10), np.uint8))
    with pytest.raises(TrainingError, match="its picture"):
        Pictures(recipe, (Source(kind="pairs", layout="plain"),), data).sample(0)
    (data / "train/alpha/a.png").unlink()
    with pytest.raises(TrainingError, match=r"no alpha for a\.png"):
        Pictures(recipe, (Source(kind="pairs", layout="plain"),), data)
