"""Where results go, and that one bad picture does not stop the others."""

import io
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alphacut import Options, Remover
from alphacut.batch.folder import Existing, Item, Outcome, list_items
from alphacut.batch.folder import run as run_items
from alphacut.errors import AlphacutWarning, ImageError, OutputError, RuntimeFailure
from clusters import until
from pictures import make_photo

Make = Callable[..., None]
# subfolders that are left out; a test of its own asserts that
pytestmark = pytest.mark.filterwarnings("ignore::alphacut.errors.AlphacutWarning")


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Make pictures by name in an empty working folder."""
    monkeypatch.chdir(tmp_path)

    def make_pictures(*names: str) -> None:
        for name in names:
            path = Path(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            PIL.Image.fromarray(make_photo()).save(path)

    return make_pictures


def planned(
    *inputs: str, output: str | None = None, recursive: bool = False, **options: object
) -> dict[str, str]:
    """Targets by source, of a list in which nothing fails."""
    items = list_items(inputs, output, Options().replace(**options), recursive=recursive)
    assert [item.error for item in items] == [None] * len(items)
    return {item.source: item.target for item in items}


# --- names --------------------------------------------------------------------------------------


def test_beside_the_input(make: Make) -> None:
    make("a.jpg", "sub/b.png")
    assert planned("a.jpg") == {"a.jpg": "a-cutout.png"}
    assert planned("a.jpg", result="mask") == {"a.jpg": "a-mask.png"}
    assert planned("a.jpg", format="webp") == {"a.jpg": "a-cutout.webp"}
    assert planned("a.jpg", background="red") == {"a.jpg": "a-cutout.jpg"}
    assert planned("a.jpg", "sub/b.png") == {
        "a.jpg": "a-cutout.png",
        "sub/b.png": "sub/b-cutout.png",
    }


def test_a_file_as_output(make: Make) -> None:
    make("a.jpg")
    assert planned("a.jpg", output="cut.webp") == {"a.jpg": "cut.webp"}
    assert planned("a.jpg", output="new/cut.webp") == {"a.jpg": "new/cut.webp"}
    assert planned("*.jpg", output="cut.webp") == {"a.jpg": "cut.webp"}
    with pytest.raises(OutputError, match=r"\.gif"):
        list_items(["a.jpg"], "cut.gif", Options())


def test_a_folder_as_output(make: Make) -> None:
    make("a.jpg", "sub/b.jpg")
    os.mkdir("has.dot")
    for output in ("out", "out.new/", "has.dot"):
        folder = output.rstrip("/")
        assert planned("a.jpg", output=output) == {"a.jpg": f"{folder}/a.png"}
    assert planned("a.jpg", "sub/b.jpg", output="out") == {
        "a.jpg": "out/a.png",
        "sub/b.jpg": "out/b.png",
    }


def test_a_folder_keeps_its_structure(make: Make) -> None:
    make("in/a.jpg", "in/x/b.jpg", "in/x/y/a.jpg")
    Path("in/notes.txt").write_text("no picture")
    assert planned("in", output="out") == {"in/a.jpg": "out/a.png"}
    assert planned("in", output="out", recursive=True) == {
        "in/a.jpg": "out/a.png",
        "in/x/b.jpg": "out/x/b.png",
        "in/x/y/a.jpg": "out/x/y/a.png",
    }


def test_a_folders_results_lie_beside_it(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    make("in/a.jpg", "in/x/b.png", "c.jpg")
    for name in ("in", "in/", "./in", "in/."):
        assert planned(name) == {"in/a.jpg": "in-cutouts/a.png"}
    assert planned("in", recursive=True, result="mask") == {
        "in/a.jpg": "in-masks/a.png",
        "in/x/b.png": "in-masks/x/b.png",
    }
    assert planned("in", "c.jpg", "in/x") == {
        "in/a.jpg": "in-cutouts/a.png",
        "c.jpg": "c-cutout.png",
        "in/x/b.png": "in/x-cutouts/b.png",
    }
    monkeypatch.chdir("in/x")
    assert planned(".") == {"b.png": os.path.join("..", "x-cutouts", "b.png")}
    assert planned("..") == {"../a.jpg": os.path.join("..", "..", "in-cutouts", "a.png")}
    monkeypatch.setattr("alphacut.batch.folder.images_in", lambda *_: [Path("/a.jpg")])
    with pytest.raises(OutputError, match="/: nothing lies beside it: give -o a folder"):
        list_items(["/"], None, Options())


def test_folders_of_results_are_no_inputs(make: Make) -> None:
    make("p/in/a.jpg", "p/in-cutouts/a.png", "p/in-masks/x/a.png", "p/my-cutouts/b.png")
    assert planned("p", recursive=True) == {
        "p/in/a.jpg": "p-cutouts/in/a.png",
        "p/my-cutouts/b.png": "p-cutouts/my-cutouts/b.png",  # of no folder "my"
    }
    assert planned("p/in-cutouts") == {"p/in-cutouts/a.png": "p/in-cutouts-cutouts/a.png"}


def test_inputs_of_one_name_get_their_endings(make: Make) -> None:
    make("in/a.jpg", "in/a.png", "in/b.jpg")
    assert planned("in", output="out") == {
        "in/a.jpg": "out/a-jpg.png",
        "in/a.png": "out/a-png.png",
        "in/b.jpg": "out/b.png",
    }
    assert planned("in/a.png", "in/a.jpg") == {
        "in/a.png": "in/a-png-cutout.png",
        "in/a.jpg": "in/a-jpg-cutout.png",
    }


def test_inputs_that_no_name_parts_are_refused_and_the_others_go_on(make: Make) -> None:
    make("x/a.jpg", "y/a.jpg", "y/b.jpg")
    first, second, third = list_items(["x", "y"], "out", Options())
    for item in (first, second):
        assert isinstance(item.error, OutputError)
        assert item.source in str(item.error)
        assert "separate" in str(item.error)
    assert third == Item("y/b.jpg", "out/b.png")


def test_no_result_takes_the_place_of_an_input(make: Make) -> None:
    make("in/a.png", "in/b.jpg")
    items = {item.source: item for item in list_items(["in"], "in", Options())}
    assert "would replace the input" in str(items["in/a.png"].error)
    assert items["in/b.jpg"] == Item("in/b.jpg", "in/b.png")

    (item,) = list_items(["in/a.png"], "in/a.png", Options())
    assert isinstance(item.error, OutputError)
    os.symlink("a.png", "in/link.png")
    (item,) = list_items(["in/a.png"], "in/link.png", Options())
    assert isinstance(item.error, OutputError)


def test_output_that_is_a_file_or_named_like_one(make: Make) -> None:
    make("a.jpg", "b.jpg", "in/c.jpg")
    Path("taken").write_text("")
    for inputs in (["a.jpg", "b.jpg"], ["in"]):
        with pytest.raises(OutputError, match="taken: is a file, but these inputs need a folder"):
            list_items(inputs, "taken", Options())
        with pytest.raises(OutputError, match=r"one\.png/"):
            list_items(inputs, "one.png", Options())


# --- finding ------------------------------------------------------------------------------------


def test_an_input_given_twice_is_done_once(make: Make) -> None:
    make("in/a.jpg", "in/b.jpg")
    os.symlink("in", "alias")
    absolute = os.path.abspath("in/a.jpg")
    found = planned("in/a.jpg", "./in/a.jpg", absolute, "in", "in/*.jpg", "alias")
    assert found == {"in/a.jpg": "in/a-cutout.png", "in/b.jpg": "in-cutouts/b.png"}


def test_names_that_differ_in_case_are_two_inputs(make: Make) -> None:
    make("a.jpg")
    if os.path.exists("A.jpg"):
        pytest.skip("this file system does not tell a from A")
    make("A.jpg")
    items = list_items(["."], None, Options())
    assert len({item.target for item in items}) == 2
    assert not any(item.error for item in items)


def test_results_are_no_inputs_of_the_next_run(make: Make) -> None:
    make("in/a.jpg", "in/a-cutout.png", "in/b.png", "in/b-mask.png")
    assert planned("in") == {"in/a.jpg": "in-cutouts/a.png", "in/b.png": "in-cutouts/b.png"}
    assert planned("in/*") == {"in/a.jpg": "in/a-cutout.png", "in/b.png": "in/b-cutout.png"}
    assert planned("in/a-cutout.png") == {"in/a-cutout.png": "in/a-cutout-cutout.png"}


def test_the_output_folder_is_left_out(make: Make) -> None:
    make("in/a.jpg", "in/out/a.png", "in/out/deep/b.png", "in/outer/c.jpg")
    expected = {"in/a.jpg": "in/out/a.png", "in/outer/c.jpg": "in/out/outer/c.png"}
    assert planned("in", output="in/out", recursive=True) == expected
    absolute = os.path.abspath("in")
    assert len(planned(absolute, output="in/out", recursive=True)) == 2


def test_an_output_above_the_input_leaves_nothing_out(make: Make) -> None:
    make("in/a.jpg")
    assert planned("in", output=".") == {"in/a.jpg": "a.png"}
    root = os.path.abspath(".")
    assert planned(f"{root}/in", output=root) == {f"{root}/in/a.jpg": f"{root}/a.png"}


def test_patterns(make: Make) -> None:
    make("in/a.jpg", "in/b.png", "in/x/c.jpg", "[odd].jpg", "o.jpg")
    Path("in/notes.txt").write_text("no picture")
    assert list(planned("in/*")) == ["in/a.jpg", "in/b.png"]
    assert list(planned("in/**/*.jpg")) == ["in/a.jpg", "in/x/c.jpg"]
    assert list(planned("[odd].jpg")) == ["[odd].jpg"]  # a name before it is a pattern


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("*.webp", "no pictures match"),
        ("emp*", "no pictures match"),
        ("empty", "no pictures in this folder"),
        ("", "no such file"),
        ("none/", "no such file"),
    ],
)
def test_inputs_without_pictures(make: Make, name: str, reason: str) -> None:
    make("a.jpg")
    os.mkdir("empty")
    bad, good = list_items([name, "a.jpg"], "out", Options())
    assert isinstance(bad.error, ImageError)
    assert reason in str(bad.error)
    assert name in str(bad.error)
    assert good == Item("a.jpg", "out/a.png")
    assert [item.error is None for item in list_items([name], None, Options())] == [False]


def test_subfolders_that_are_left_out_are_told(make: Make) -> None:
    make("in/a.jpg", "in/x/b.jpg", "in/y/c.jpg", "in/out/a.png", "deep/x/y.jpg")
    os.makedirs("in/texts")
    with pytest.warns(AlphacutWarning, match="^in: pictures in its subfolders are left out"):
        assert planned("in", output="in/out") == {"in/a.jpg": "in/out/a.png"}
    (item,) = list_items(["deep"], None, Options())
    assert str(item.error) == "deep: no pictures in this folder, but below it: use --recursive"
    make("only/a.jpg", "only/out/a.png", "only/none/none.jpg", "only/none-cutouts/none.png")
    os.remove("only/none/none.jpg")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        planned("only", output="only/out")


def test_addresses_are_no_files(make: Make) -> None:
    make("a.jpg")
    (item,) = list_items(["https://example.org/a.jpg"], None, Options())
    assert "addresses are not read here" in str(item.error)


def test_streams(make: Make) -> None:
    make("a.jpg", "b.jpg", "in/c.jpg")
    assert planned("-") == {"-": "-"}
    assert planned("-", "-") == {"-": "-"}
    assert planned("-", output="cut.png") == {"-": "cut.png"}
    assert planned("-", output="out") == {"-": "out/stdin.png"}
    assert planned("a.jpg", output="-") == {"a.jpg": "-"}
    assert planned("in", output="-") == {"in/c.jpg": "-"}
    with pytest.raises(OutputError, match="one picture only"):
        list_items(["a.jpg", "b.jpg"], "-", Options())
    with pytest.raises(OutputError, match="cannot be mixed"):
        list_items(["-", "b.jpg"], "out", Options())


def test_overlong_names_are_planned_like_others(make: Make) -> None:
    """The system refuses them when they are opened, with a message of its own."""
    (item,) = list_items(["x" * 5000 + ".jpg"], None, Options())
    assert item.error is None


# --- doing --------------------------------------------------------------------------------------


def run(
    remover: Remover, *inputs: str, output: str = "out", existing: Existing = "fail"
) -> list[Outcome]:
    return list(run_items(list_items(inputs, output, remover.options), remover, existing=existing))


def what_is(file: str | io.BytesIO) -> tuple[str | None, str, tuple[int, int]]:
    with PIL.Image.open(file) as pillow:
        pillow.load()
        return pillow.format, pillow.mode, pillow.size


def test_it_goes_on_after_a_failure(make: Make, fake_remover: Remover) -> None:
    make("a.jpg", "c.png")
    Path("b.jpg").write_text("no picture")
    bad, first, second = run(fake_remover, "b.jpg", "a.jpg", "c.png")
    assert isinstance(bad.error, ImageError)
    assert bad.verdict is None
    for outcome, name in ((first, "out/a.png"), (second, "out/c.png")):
        assert outcome.error is None
        assert outcome.item.target == name
        assert what_is(name) == ("PNG", "RGBA", (64, 48))
        assert {"load", "predict", "save"} <= outcome.milliseconds.keys()
    assert sorted(os.listdir("out")) == ["a.png", "c.png"]


def test_a_run_that_pauses_leaves_opencv_its_threads(make: Make, fake_remover: Remover) -> None:
    names = [f"{index}.png" for index in range(9)]
    make(*names)
    threads = cv2.getNumThreads()
    outcomes = run_items(list_items(names, "out", Options()), fake_remover, existing="fail",
                         threads=2)  # fmt: skip
    next(outcomes)
    until(lambda: cv2.getNumThreads() == threads, 10)  # once those that were begun are finished
    assert len([*outcomes]) == 8


def test_any_error_is_an_outcome(make: Make) -> None:
    make("a.jpg", "b.jpg")

    class Broken:
        device = "broken"
        errors = iter([RuntimeFailure("no device"), ZeroDivisionError("oh")])

        def __call__(self, batch: np.ndarray) -> np.ndarray:
            raise next(self.errors)

    outcomes = run(Remover(network=Broken()), "a.jpg", "b.jpg")
    assert {type(outcome.error) for outcome in outcomes} == {RuntimeFailure, ZeroDivisionError}
    assert not os.path.exists("out")


def test_existing_results(make: Make, fake_remover: Remover) -> None:
    make("a.jpg")
    os.mkdir("out")
    Path("out/a.png").write_text("before")

    (outcome,) = run(fake_remover, "a.jpg")
    assert "--overwrite or --skip-existing" in str(outcome.error)
    (outcome,) = run(fake_remover, "a.jpg", existing="skip")
    assert (outcome.taken, outcome.error, outcome.verdict) == (True, None, None)
    assert Path("out/a.png").read_text() == "before"
    (outcome,) = run(fake_remover, "a.jpg", existing="overwrite")
    assert outcome.verdict is not None
    assert what_is("out/a.png") == ("PNG", "RGBA", (64, 48))


def test_a_folder_in_the_place_of_a_result(make: Make, fake_remover: Remover) -> None:
    make("a.jpg")
    os.makedirs("out/a.png")
    (outcome,) = run(fake_remover, "a.jpg", existing="overwrite")
    assert "is a folder" in str(outcome.error)


def test_a_folder_that_cannot_be_made(make: Make, fake_remover: Remover) -> None:
    make("a.jpg")
    Path("file").write_text("")
    (outcome,) = run(fake_remover, "a.jpg", output="file/cut.png")
    assert isinstance(outcome.error, OutputError)
    assert "file" in str(outcome.error)


def test_inputs_stay_as_they_are(make: Make, fake_remover: Remover) -> None:
    make("in/a.png", "in/b.jpg", "in/b.png")
    before = {path: path.read_bytes() for path in Path("in").iterdir()}
    for output in ("in", "in/a.png/", "."):
        for existing in ("overwrite", "skip", "fail"):
            items = list_items(["in"], None if output == "." else output, fake_remover.options)
            list(run_items(items, fake_remover, existing=existing))
    assert {path: path.read_bytes() for path in before} == before


def test_streams_are_read_and_written(
    make: Make, fake_remover: Remover, monkeypatch: pytest.MonkeyPatch
) -> None:
    make("a.png")

    class Stream:
        def __init__(self, content: bytes = b"") -> None:
            self.buffer = io.BytesIO(content)

    stdin, stdout = Stream(Path("a.png").read_bytes()), Stream()
    monkeypatch.setattr("sys.stdin", stdin)
    monkeypatch.setattr("sys.stdout", stdout)
    (outcome,) = run_items(list_items(["-"], None, Options()), fake_remover, existing="fail")
    assert outcome.error is None
    assert what_is(io.BytesIO(stdout.buffer.getvalue())) == ("PNG", "RGBA", (64, 48))


# --- properties ---------------------------------------------------------------------------------

names = st.builds(
    "{}{}{}".format,
    st.sampled_from(["", "x/", "y/", "x/z/"]),
    st.sampled_from(["a", "b", "A", "a-jpg", "a-png", "a-cutout", "a-jpg-cutout", "a.b"]),
    st.sampled_from([".jpg", ".png", ".PNG", ".webp"]),
)


@settings(max_examples=150, deadline=None)
@given(
    files=st.lists(names, min_size=1, max_size=8, unique=True),
    inputs=st.lists(st.sampled_from([".", "x", "y", "*/*.jpg"]), max_size=2),
    output=st.sampled_from([None, ".", "x", "x/z", "out"]),
    kind=st.sampled_from(["auto", "webp", "jpg"]),
    mask=st.booleans(),
    recursive=st.booleans(),
)
def test_no_two_jobs_write_one_file_and_none_writes_an_input(
    files: list[str],
    inputs: list[str],
    output: str | None,
    kind: str,
    mask: bool,
    recursive: bool,
) -> None:
    root = Path(tempfile.mkdtemp())
    try:
        for name in files:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).touch()
        given_names = [str(root / name) for name in [*inputs, *files]]
        target = output and str(root / output)
        options = Options(format=kind, result="mask" if mask else "cutout")
        items, again = (list_items(given_names, target, options, recursive=recursive) for _ in "ab")
        assert [(item.source, item.target) for item in items] == [
            (item.source, item.target) for item in again
        ]
        # every file given is an item of its own, once
        sources = [os.path.realpath(item.source) for item in items if item.target]
        assert len(sources) == len(set(sources))
        assert {os.path.realpath(root / name) for name in files} <= set(sources)
        # results are apart from each other and from inputs
        targets = [os.path.realpath(item.target) for item in items if not item.error]
        assert len(targets) == len(set(targets))
        assert not set(targets) & set(sources)
    finally:
        shutil.rmtree(root)
