"""Which subject, and one file for each: flags, files, messages, and what is refused."""

import csv
import io
import json
import os
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray

from alphacut import runtimes
from alphacut.cli import main as cli
from pictures import GROUP, Bright, make_group

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run the command line beside a picture of three subjects: status, output and errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runtimes, "load", lambda *_, **__: Bright())
    PIL.Image.fromarray(make_group()).save("photo.png")

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["alphacut", *words])
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO()))
        capfd.readouterr()
        with warnings.catch_warnings(), pytest.raises(SystemExit) as stop:
            cli.main()
        out, err = capfd.readouterr()
        return int(stop.value.code or 0), out, err

    return call


def alpha_of(name: str) -> NDArray[np.uint8]:
    with PIL.Image.open(name) as image:
        return np.asarray(image.convert("RGBA"))[..., 3]


def truth(number: int) -> NDArray[np.bool_]:
    top, left, bottom, right = GROUP[number]
    plane = np.zeros((240, 360), bool)
    plane[top:bottom, left:right] = True
    return plane


def iou(alpha: NDArray[np.uint8], number: int) -> float:
    found, right = alpha > 127, truth(number)
    return float((found & right).sum() / (found | right).sum())


def files() -> list[str]:
    return sorted(name for name in os.listdir() if name != "photo.png")


def test_a_point_chooses_one_of_three(run: Run) -> None:
    assert run("photo.png", "--point", "45% 50%", "-o", "cut.png")[0] == 0
    assert iou(alpha_of("cut.png"), 1) > 0.9
    assert not alpha_of("cut.png")[truth(0) | truth(2)].any()
    assert run("photo.png", "--point", "60 120", "--point", "290 140", "-o", "two.png")[0] == 0
    two = alpha_of("two.png")
    assert two[truth(0) | truth(2)].mean() > 240
    assert not two[truth(1)].any()


def test_a_dropped_point_leaves_the_others(run: Run) -> None:
    assert run("photo.png", "--point", "45% 50% drop", "-o", "cut.png")[0] == 0
    alpha = alpha_of("cut.png")
    assert alpha[truth(0) | truth(2)].mean() > 240
    assert not alpha[truth(1)].any()


@pytest.mark.parametrize("more", [(), ("--matting", "none"), ("--quality", "best"),
                                  ("--output-megapixels", "0.02")])  # fmt: skip
def test_a_box_chooses_one_of_three(run: Run, more: tuple[str, ...]) -> None:
    if "best" in more:
        pytest.importorskip("pymatting")
    assert run("photo.png", "--box", "34% 10% 58% 90%", "-o", "cut.png", *more)[0] == 0
    with PIL.Image.open("cut.png") as image:
        alpha = np.asarray(image.resize((360, 240)))[..., 3]
    assert iou(alpha, 1) > 0.9
    assert not alpha[:, :110].any()
    assert not alpha[:, 215:].any()


def test_separate_writes_a_file_for_each_from_left_to_right(run: Run) -> None:
    status, out, err = run("photo.png", "--subjects", "separate", "--json")
    assert (status, err) == (0, "")
    names = [f"photo-cutout-{number}.png" for number in (1, 2, 3)]
    assert files() == names
    alphas = [alpha_of(name) for name in names]
    assert all(iou(alpha, number) > 0.9 for number, alpha in enumerate(alphas))
    assert np.count_nonzero(np.sum([alpha > 0 for alpha in alphas], axis=0) > 1) == 0
    row = json.loads(out)
    assert row["output"] == names[0]
    for box, (top, left, bottom, right) in zip(row["boxes"], GROUP, strict=True):
        assert box == pytest.approx((left, top, right, bottom), abs=3)


def test_separate_tells_all_files_and_a_table_has_the_boxes(run: Run) -> None:
    status, _, err = run("photo.png", "-o", "cut.webp", "--subjects", "separate", "--crop",
                         "--report", "report.csv")  # fmt: skip
    assert status == 0
    assert err.splitlines() == ["photo.png -> cut-1.webp, cut-2.webp, cut-3.webp"]
    with Path("report.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert len(json.loads(row["boxes"])) == 3
    with PIL.Image.open("cut-1.webp") as first:  # each is cropped to its own
        assert first.size == pytest.approx((60, 120), abs=4)


def test_separate_names_higher_numbers_that_lie_there(run: Run) -> None:
    for number in (2, 3, 4):
        Path(f"cut-{number}.png").write_bytes(b"earlier")
    status, _, err = run("photo.png", "-o", "cut.png", "--subjects", "separate", "--overwrite")
    assert status == 0
    assert "cut-4.png: is older, since only 3 of photo.png were found" in err
    assert Path("cut-4.png").read_bytes() == b"earlier"  # it may be anybody's
    assert all(iou(alpha_of(f"cut-{number + 1}.png"), number) > 0.9 for number in range(3))


def test_separate_leaves_results_alone_and_writes_all_or_none(run: Run) -> None:
    Path("photo-cutout-3.png").write_text("mine")
    status, _, err = run("photo.png", "--subjects", "separate")
    assert status == 1
    assert "photo-cutout-3.png: already exists" in err
    assert files() == ["photo-cutout-3.png"]
    assert run("photo.png", "--subjects", "separate", "--overwrite")[0] == 0
    assert len(files()) == 3
    assert "skipped" in run("photo.png", "--subjects", "separate", "--skip-existing")[2]


def test_separate_never_replaces_an_input(run: Run) -> None:
    PIL.Image.fromarray(make_group()).save("photo-2.png")
    before = Path("photo-2.png").read_bytes()
    status, _, err = run("photo.png", "photo-2.png", "-o", ".", "--subjects", "separate",
                         "--overwrite")  # fmt: skip
    assert status == 1
    assert "would replace the input" in err
    assert Path("photo-2.png").read_bytes() == before


def test_separate_as_layers(run: Run) -> None:
    assert run("photo.png", "-o", "cut.ora", "--subjects", "separate")[0] == 0
    with zipfile.ZipFile("cut.ora") as archive:
        stack = archive.read("stack.xml").decode()
        assert [f'name="subject {number}"' in stack for number in (1, 2, 3)] == [True] * 3
        for number in range(3):
            with PIL.Image.open(io.BytesIO(archive.read(f"data/{number}.png"))) as layer:
                assert iou(np.asarray(layer)[..., 3], number) > 0.9


def test_a_picture_without_a_subject_has_one_empty_result(run: Run) -> None:
    PIL.Image.fromarray(np.full((40, 60, 3), 30, np.uint8)).save("photo.png")
    status, _, err = run("photo.png", "--subjects", "separate")
    assert status == 0
    assert "no foreground" in err
    assert files() == ["photo-cutout-1.png"]
    assert not alpha_of("photo-cutout-1.png").any()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--point", "400 20"), "points '400 20': lies outside the picture, 360 x 240 pixels"),
        (("--point", "50% 101%"), "lies outside the picture"),
        (("--point", "-5 20"), "give a length"),
        (("--point", "left top"), "give a length"),
        (("--point", "50%"), "give across, down, and keep or drop"),
        (("--point", "5 5 maybe"), "give across, down, and keep or drop"),
        (("--point", "5 5 keep drop"), "give across, down, and keep or drop"),
        (("--point", "nan 5"), "give a length"),
        (("--point", "1 1;" * 10_000), "100 points at most"),
        (("--box", "10 10 10 90"), "box '10 10 10 90': is empty"),
        (("--box", "90 10 20 90"), "is empty"),
        (("--box", "0 0 361 240"), "reaches beyond the picture, 360 x 240 pixels"),
        (("--box", "1 2 3"), "give left, top, right and bottom"),
        (("--box", "a b c d"), "give a length"),
        (("--subjects", "separate", "-o", "-"), "takes one picture, not one for each subject"),
    ],
)  # fmt: skip
def test_what_is_refused_has_one_clear_line(run: Run, words: tuple[str, ...], said: str) -> None:
    status, out, err = run("photo.png", *words)
    assert status != 0
    assert said in err
    assert len(err.splitlines()) == 1
    assert len(err) < 300
    assert out == ""
    assert files() == []


def test_batch_and_watch_have_one_result_for_a_picture(run: Run) -> None:
    pytest.importorskip("pyarrow")
    os.mkdir("in")
    for words in (("batch", "in", "out"), ("watch", "in", "out")):
        status, _, err = run(*words, "--subjects", "separate", "-q")
        assert status != 0
        assert "choose format ora" in err
        assert not os.path.exists("out")
