import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from alphacut import Remover
from alphacut.errors import ImageError, OutputError
from alphacut.evaluation.quality import (
    COLUMNS,
    GREEN,
    evaluate,
    find_samples,
    summarise,
    write_csv,
    write_json,
    write_page,
)
from alphacut.pipeline.profile import convert_profile
from made import PROFILES


class Half:
    """A runtime that finds the left half of every picture, and with a fault a bit more."""

    device = "fake"

    def __init__(self, fault: int = 0) -> None:
        self.fault = fault

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        output = np.zeros((len(batch), 1, *batch.shape[2:]), np.float32)
        output[..., : batch.shape[3] // 2 + self.fault] = 1
        return output


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two pictures of 40 x 80, a ramp; the truth is the left half."""
    for part in ("image", "alpha", "foreground"):
        (tmp_path / part).mkdir()
    ramp = np.broadcast_to(np.linspace(0, 255, 80)[None, :, None], (40, 80, 3)).astype(np.uint8)
    alpha = np.zeros((40, 80), np.uint8)
    alpha[:, :40] = 255
    for name in ("a", "b"):
        PIL.Image.fromarray(ramp).save(tmp_path / "image" / f"{name}.png")
        PIL.Image.fromarray(alpha).save(tmp_path / "alpha" / f"{name}.png")
    PIL.Image.fromarray(ramp).save(tmp_path / "foreground" / "a.png")
    return tmp_path


@pytest.fixture
def scores(folder: Path) -> Iterator[list]:
    settings = {
        "right": Remover(network=Half()),
        "wrong": Remover(network=Half(fault=40)),
    }
    return list(evaluate(find_samples(folder), settings, thumbnails=True))


def test_scores(scores: list) -> None:
    assert [(score.sample, score.setting) for score in scores] == [
        ("a", "right"), ("a", "wrong"), ("b", "right"), ("b", "wrong"),
    ]  # fmt: skip
    right, wrong = scores[0].values, scores[1].values
    assert right["MAD"] < 10
    assert right["IoU"] > 0.97
    # 40 of 320 columns too many: 10 of 80 in the picture, an eighth of it
    assert wrong["MAD"] == pytest.approx(125, abs=10)
    assert wrong["SAD"] == pytest.approx(0.4, abs=0.04)
    assert wrong["IoU"] == pytest.approx(0.8, abs=0.02)
    assert set(right) == set(COLUMNS)
    assert "RECOMP" not in scores[2].values  # b has no true foreground


def test_summary(scores: list) -> None:
    mean = summarise(scores)
    assert list(mean) == ["right", "wrong"]
    assert mean["wrong"]["MAD"] == pytest.approx(
        (scores[1].values["MAD"] + scores[3].values["MAD"]) / 2
    )
    assert list(mean["right"]) == [*COLUMNS, "seconds"]


def test_files(scores: list, tmp_path: Path) -> None:
    write_csv(tmp_path / "scores.csv", scores)
    with (tmp_path / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4
    assert float(rows[1]["MAD"]) == pytest.approx(scores[1].values["MAD"])
    assert rows[2]["RECOMP"] == ""

    for write in (write_csv, write_json, write_page):
        with pytest.raises(OutputError, match=r"nowhere.x: cannot be written"):
            write(tmp_path / "nowhere" / "x", scores)

    write_json(tmp_path / "scores.json", scores)
    whole = json.loads((tmp_path / "scores.json").read_text())
    assert whole["mean"]["right"]["IoU"] == summarise(scores)["right"]["IoU"]

    write_page(tmp_path / "scores.html", scores)
    page = (tmp_path / "scores.html").read_text("utf-8")
    assert page.index("a, wrong") < page.index("a, right"), "worst first"
    assert page.count("data:image/jpeg;base64,") == 4 * 5


@pytest.mark.filterwarnings("ignore::alphacut.errors.NoForegroundWarning")
def test_thumbnails_are_srgb(folder: Path) -> None:
    path = folder / "image" / "a.png"
    grey = PIL.Image.new("RGB", (80, 40), (128, 128, 128))
    grey.save(path, icc_profile=PROFILES["ProPhoto"])
    remover = Remover(network=Half())
    score = next(iter(evaluate(find_samples(folder), {"": remover}, thumbnails=True)))
    expected = convert_profile(np.full((1, 1, 3), 128, np.uint8), PROFILES["ProPhoto"], None)
    thumbnail = PIL.Image.open(io.BytesIO(score.thumbnails["input"]))
    np.testing.assert_allclose(np.asarray(thumbnail)[20, 40], expected[0, 0], atol=2)
    green = PIL.Image.open(io.BytesIO(score.thumbnails["on green"]))
    np.testing.assert_allclose(np.asarray(green)[20, 75], GREEN, atol=12)


def test_folders_without_truth(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(ImageError, match="no pictures in image/"):
        find_samples(tmp_path / "nowhere")
    (folder / "alpha" / "b.png").unlink()
    with pytest.raises(ImageError, match=r"no alpha for b\.png: name both"):
        find_samples(folder)


def test_names_are_not_patterns_and_other_files_no_pictures(folder: Path) -> None:
    for part in ("image", "alpha"):
        (folder / part / "a.png").rename(folder / part / "a [1].png")
        (folder / part / ".DS_Store").touch()
    assert [sample.name for sample in find_samples(folder)] == ["a [1]", "b"]


def test_two_pictures_of_one_name_are_refused(folder: Path) -> None:
    (folder / "image" / "a.jpg").write_bytes((folder / "image" / "a.png").read_bytes())
    with pytest.raises(ImageError, match=r"a\.png: same name as a\.jpg: keep one"):
        find_samples(folder)


def test_sizes_have_to_agree(folder: Path) -> None:
    PIL.Image.new("L", (9, 9)).save(folder / "alpha" / "a.png")
    with pytest.raises(ImageError, match=r"size \(9, 9\), but its picture has \(40, 80\)"):
        list(evaluate(find_samples(folder), {"right": Remover(network=Half())}))
