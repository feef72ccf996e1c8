"""The command line as users meet it: files, streams, messages, exit statuses, kills."""

import csv
import dataclasses
import errno
import io
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray

from alphacut import Options, __version__, runtimes
from alphacut.batch.folder import Item, Outcome
from alphacut.cli import main as cli
from alphacut.errors import RuntimeFailure
from alphacut.models import catalogue, weights
from alphacut.output.encode import quantise
from made import chunk
from pictures import FakeRuntime, disc, make_photo

EXAMPLES = Path(__file__).parents[2] / "examples"
posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX errors, signals and terminals")


@dataclass
class Result:
    """What a run of the command line left behind."""

    status: int
    out: bytes
    err: str

    @property
    def lines(self) -> list[str]:
        return self.err.splitlines()


Run = Callable[..., Result]


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> Iterator[Run]:
    """Run the command line in this process and an empty folder, with a network that finds a disc.

    What C libraries print is caught as well.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runtimes, "load", lambda *_, **__: FakeRuntime())
    handler = signal.getsignal(signal.SIGTERM)

    def call(*words: str, stdin: bytes = b"") -> Result:
        monkeypatch.setattr("sys.argv", ["alphacut", *words])
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capfdbinary.readouterr()
        with warnings.catch_warnings(), pytest.raises(SystemExit) as stop:
            cli.main()
        out, err = capfdbinary.readouterr()
        return Result(int(stop.value.code or 0), out, err.decode())

    yield call
    signal.signal(signal.SIGTERM, handler)


def python(*words: str, **settings: Any) -> Result:
    """Run an interpreter of its own."""
    done = subprocess.run([sys.executable, *words], capture_output=True, **settings)
    return Result(done.returncode, done.stdout, done.stderr.decode())


def save(name: str, array: NDArray[np.uint8] | None = None, **settings: Any) -> None:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(make_photo() if array is None else array).save(name, **settings)


def load(source: str | bytes) -> tuple[str | None, NDArray[np.uint8]]:
    """Return a picture's format and samples."""
    with PIL.Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as pillow:
        return pillow.format, np.asarray(pillow)


# --- results ------------------------------------------------------------------------------------


def test_one_photo(run: Run) -> None:
    save("photo.jpg")
    result = run("photo.jpg")
    assert (result.status, result.out) == (0, b"")
    assert result.lines == ["photo.jpg -> photo-cutout.png"]
    kind, samples = load("photo-cutout.png")
    assert kind == "PNG"
    alpha = samples[..., 3]
    assert alpha[24, 32] == 255
    assert alpha[0, 0] == 0
    assert not samples[alpha == 0].any()
    assert sorted(os.listdir()) == ["photo-cutout.png", "photo.jpg"]


@pytest.mark.parametrize(
    ("name", "kind", "mode"),
    [
        ("cut.png", "PNG", "RGBA"),
        ("cut.webp", "WEBP", "RGBA"),
        ("cut.avif", "AVIF", "RGBA"),
        ("cut.tif", "TIFF", "RGBA"),
        ("cut.TIFF", "TIFF", "RGBA"),
        ("cut.jpg", "JPEG", "RGB"),
        ("cut.jpeg", "JPEG", "RGB"),
    ],
)
def test_formats_by_ending(run: Run, name: str, kind: str, mode: str) -> None:
    save("photo.png")
    assert run("photo.png", "-o", name).status == 0
    with PIL.Image.open(name) as pillow:
        assert (pillow.format, pillow.mode, pillow.size) == (kind, mode, (64, 48))


@pytest.mark.parametrize("kind", ["png", "webp", "avif", "tiff", "jpg"])
def test_formats_by_option(run: Run, kind: str) -> None:
    save("photo.png")
    assert run("photo.png", "--format", kind).status == 0
    assert load(f"photo-cutout.{kind}")[0] == {"jpg": "JPEG"}.get(kind, kind.upper())


def test_jpeg_is_put_on_white_or_on_a_colour(run: Run) -> None:
    save("photo.png")
    for words, corner in [((), (255, 255, 255)), (("--background", "#ffcc00"), (255, 204, 0))]:
        assert run("photo.png", "-o", "cut.jpg", "--overwrite", *words).status == 0
        samples = load("cut.jpg")[1]
        np.testing.assert_allclose(samples[0, 0], corner, atol=3)
        np.testing.assert_allclose(samples[24, 32], (200, 180, 160), atol=6)


def test_background_in_png(run: Run) -> None:
    save("photo.png")
    assert run("photo.png", "-o", "cut.png", "--background", "rebeccapurple").status == 0
    samples = load("cut.png")[1]
    assert samples.shape == (48, 64, 3)
    assert samples[0, 0].tolist() == [102, 51, 153]


def test_mask(run: Run) -> None:
    save("photo.png")
    assert run("photo.png", "--mask").lines == ["photo.png -> photo-mask.png"]
    assert run("photo.png").status == 0
    mask = load("photo-mask.png")[1]
    assert mask.shape == (48, 64)
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, load("photo-cutout.png")[1][..., 3])
    assert np.abs(mask.astype(int) - quantise(disc(48, 64))).mean() < 5


def test_keep_depth(run: Run) -> None:
    deep = make_photo().astype(np.uint16) * 257
    assert cv2_write("deep.png", deep)
    for words, depth in [((), 16), (("--no-keep-depth",), 8)]:
        assert run("deep.png", "-o", "cut.png", "--overwrite", *words).status == 0
        assert Path("cut.png").read_bytes()[24] == depth


def cv2_write(name: str, image: NDArray[np.uint16]) -> bool:
    import cv2

    return cv2.imwrite(name, image)


def test_animation(run: Run) -> None:
    shots = [PIL.Image.fromarray(np.roll(make_photo(), shift, axis=0)) for shift in (0, 1, 2)]
    shots[0].save("run.gif", save_all=True, append_images=shots[1:], duration=[50, 60, 70], loop=0)
    assert run("run.gif", "-o", "run.webp").lines == ["run.gif -> run.webp"]
    with PIL.Image.open("run.webp") as pillow:
        assert pillow.n_frames == 3
    result = run("run.gif", "-o", "run.jpg")
    assert result.status == 0
    assert "only the first of 3 frames" in result.lines[0]
    assert len(result.lines) == 2


def test_folders(run: Run) -> None:
    for name in ("in/a.jpg", "in/a.png", "in/x/b.webp"):
        save(name)
    assert run("in", "-r", "-o", "out").status == 0
    found = sorted(str(path) for path in Path("out").rglob("*.*"))
    assert found == ["out/a-jpg.png", "out/a-png.png", "out/x/b.png"]
    assert run("in/", "-q").status == 0
    assert sorted(os.listdir("in")) == ["a.jpg", "a.png", "x"]
    assert sorted(os.listdir("in-cutouts")) == ["a-jpg.png", "a-png.png"]


# --- words --------------------------------------------------------------------------------------


def test_short_form_means_remove(run: Run) -> None:
    save("photo.png")
    run("photo.png", "-o", "short.png")
    run("remove", "photo.png", "-o", "long.png")
    run("-o", "first.png", "photo.png")
    contents = {Path(name).read_bytes() for name in ("short.png", "long.png", "first.png")}
    assert len(contents) == 1


@pytest.mark.parametrize("name", ["remove", "doctor"])
def test_a_photo_named_like_a_command(run: Run, name: str) -> None:
    save("photo.png")
    os.rename("photo.png", name)
    assert run(f"./{name}").lines == [f"./{name} -> {name}-cutout.png"]


def test_version_and_help(run: Run) -> None:
    assert run("--version").out.decode() == f"alphacut, version {__version__}\n"
    assert b"remove" in run("--help").out
    assert run("help").out == run("--help").out
    commands = re.findall(r"^  (\w+)  ", run("-h").out.decode().partition("Commands:")[2], re.M)
    assert commands[:5] == ["remove", "preview", "video", "watch", "batch"]  # what most people need
    manual = " ".join(run("remove", "--help").out.decode().split())
    for flag in ("--output", "--overwrite", "--skip-existing", "--json", "--quiet", "--verbose"):
        assert flag in manual
    for field in dataclasses.fields(Options):
        assert "--" + field.name.replace("_", "-") in manual


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("remove",),
        ("photo.png", "--frobnicate"),
        ("photo.png", "--format", "gif"),
        ("photo.png", "--quality", "better"),
        ("photo.png", "--overwrite", "--skip-existing"),
        ("photo.png", "-o", "-", "--json"),
        ("-", "-", "--json"),
        ("photo.png", "-o", "cut.gif"),
        ("photo.png", "-o", "cut.png", "--format", "webp"),
        ("photo.png", "other.png", "-o", "-"),
        ("photo.png", "-", "-o", "out"),
        ("photo.png", "other.png", "-o", "taken"),
        ("photo.png", "other.png", "-o", "cut.png"),
    ],
)
def test_wrong_usage(run: Run, words: tuple[str, ...]) -> None:
    save("photo.png")
    save("other.png")
    Path("taken").write_text("")
    result = run(*words)
    assert result.status == 2
    assert result.out == b""
    assert "Traceback" not in result.err
    assert sorted(os.listdir()) == ["other.png", "photo.png", "taken"]


# --- streams ------------------------------------------------------------------------------------


def test_streams(run: Run) -> None:
    save("photo.png")
    content = Path("photo.png").read_bytes()
    result = run("-", stdin=content)
    assert (result.status, result.err) == (0, "")
    assert load(result.out)[0] == "PNG"
    assert run("photo.png", "-o", "-").out == result.out
    assert load(run("-", "--format", "webp", stdin=content).out)[0] == "WEBP"
    assert run("-", "-o", "cut.png", stdin=content).lines == ["standard input -> cut.png"]
    assert Path("cut.png").read_bytes() == result.out

    result = run("-")
    assert (result.status, result.out) == (1, b"")
    assert result.err == "alphacut: standard input: empty file\n"


def test_json(run: Run) -> None:
    save("photo.png")
    Path("bad.jpg").write_text("no picture")
    result = run("bad.jpg", "photo.png", "-o", "out", "--json")
    assert result.status == 1
    assert len(result.lines) == 1
    bad, good = map(json.loads, result.out.splitlines())
    assert bad["input"] == "bad.jpg"
    assert "is not a picture" in bad["reason"]
    assert bad.keys() == good.keys()
    assert {value for key, value in bad.items() if key not in ("input", "status", "reason")} == {
        None
    }
    assert good["input"] == "photo.png"
    assert good["output"] == os.path.join("out", "photo.png")
    assert (good["input_width"], good["input_height"]) == (64, 48)
    assert (good["status"], good["reason"], good["empty"]) == ("done", None, False)
    assert 0 <= good["doubt"] < 0.2
    box = [good[side] for side in ("left", "top", "right", "bottom")]
    assert box == pytest.approx((12.8, 9.6, 51.2, 38.4), abs=2)
    assert good["milliseconds"] > 0

    result = run("photo.png", "-o", "out/", "--json", "--skip-existing")
    assert json.loads(result.out)["status"] == "skipped"
    assert result.err == ""


def test_a_box_is_that_of_the_photo_however_small_the_result(run: Run) -> None:
    save("photo.png")
    words = ("photo.png", "-o", "cut.png", "--json", "--output-megapixels", "0.0008", "--crop")
    row = json.loads(run(*words).out)
    assert load("cut.png")[1].shape[1] < 32
    assert (row["input_width"], row["input_height"]) == (64, 48)
    box = [row[side] for side in ("left", "top", "right", "bottom")]
    assert box == pytest.approx((12.8, 9.6, 51.2, 38.4), abs=4)


@pytest.mark.parametrize("name", ["report.csv", "report.jsonl"])
def test_report(run: Run, name: str) -> None:
    for picture in ("a.png", "b,c.png", "d.png"):
        save(picture)
    Path("bad.jpg").write_text("no picture")
    Path("d-cutout.png").write_text("before")
    result = run("a.png", "b,c.png", "bad.jpg", "d.png", "--skip-existing", "--report", name)
    assert result.status == 1
    text = Path(name).read_text()
    if name.endswith(".csv"):
        rows = list(csv.DictReader(text.splitlines()))
    else:
        rows = [json.loads(line) for line in text.splitlines()]
    assert [row["status"] for row in rows] == ["done", "done", "failed", "skipped"]
    assert [row["input"] for row in rows] == ["a.png", "b,c.png", "bad.jpg", "d.png"]
    assert rows[1]["output"] == "b,c-cutout.png"
    assert "is not a picture" in rows[2]["reason"]
    assert not rows[2]["output"]
    assert [str(row["input_width"] or "") for row in rows] == ["64", "64", "", ""]
    assert str(rows[0]["empty"]).lower() == "false"
    assert float(rows[0]["doubt"]) < 0.2
    assert list(rows[0]) == [
        "input", "output", "status", "reason", "input_width", "input_height", "left", "top",
        "right", "bottom", "empty", "doubt", "ground", "ground_sure", "milliseconds",
        "boxes",
    ]  # fmt: skip


def test_a_report_that_cannot_be(run: Run) -> None:
    save("photo.png")
    for name, line in (("photo.png", "must end in .csv or .jsonl"), ("none/a.csv", "No such file")):
        result = run("photo.png", "--report", name)
        assert result.status == 2
        assert line in result.lines[-1]
    assert os.listdir() == ["photo.png"]


def test_a_stopped_run_keeps_its_report(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(items: list[Item], *_: object, **__: object) -> Iterator[Outcome]:
        yield Outcome(items[0], taken=True)
        raise KeyboardInterrupt

    monkeypatch.setattr("alphacut.batch.folder.run", stop)
    save("a.png")
    save("b.png")
    result = run("a.png", "b.png", "--report", "report.csv")
    assert result.status == 130
    assert "stopped after 1 of 2" in result.err
    assert Path("report.csv").read_text().count("\n") == 2
    assert sorted(os.listdir()) == ["a.png", "b.png", "report.csv"]


class Unsure(FakeRuntime):
    """A network that may have found something anywhere."""

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.full_like(super().__call__(batch), 0.3)


def test_no_foreground(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes, "load", lambda *_, **__: Unsure())
    save("grey.png")
    result = run("grey.png", "--json")
    assert result.status == 0
    assert result.lines == ["alphacut: grey.png: no foreground found"]
    record = json.loads(result.out)
    assert (record["empty"], record["left"], record["reason"]) == (True, None, None)
    assert record["doubt"] == 1
    assert not load("grey-cutout.png")[1].any()

    result = run("grey.png", "--quiet", "--overwrite")
    assert (result.status, result.err) == (0, "")


def test_no_foreground_among_many(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes, "load", lambda *_, **__: Unsure())
    save("in/a.png")
    save("in/b.png")
    result = run("in", "-o", "out")
    assert result.status == 0
    assert result.lines[-1] == "alphacut: 2 pictures: 2 done (2 without a subject)"
    quiet = run("in", "-o", "out", "--quiet", "--overwrite")
    assert (quiet.status, quiet.lines) == (0, [result.lines[-1]])


@pytest.mark.parametrize("flags", [("--fail-empty",), ("--fail-doubt", "0.9")])
def test_pictures_that_are_refused(
    run: Run, flags: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    save("photo.png")
    monkeypatch.setattr(runtimes, "load", lambda *_, **__: Unsure())
    result = run("photo.png", *flags, "--report", "report.csv", "-q")
    assert result.status == 1
    assert len(result.lines) == 1
    assert result.err.startswith("alphacut: photo.png: ")
    assert result.err.endswith(": nothing is written\n")
    assert sorted(os.listdir()) == ["photo.png", "report.csv"]
    (row,) = csv.DictReader(Path("report.csv").read_text().splitlines())
    assert (row["status"], row["output"], row["input_width"]) == ("failed", "", "64")
    assert (row["empty"], float(row["doubt"])) == ("true", 1)
    assert row["reason"] in result.err


def test_an_empty_picture_that_fails_has_one_line(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtimes, "load", lambda *_, **__: Unsure())
    save("photo.png")
    assert len(run("photo.png", "--fail-empty").lines) == 1


def test_sure_pictures_are_not_refused(run: Run) -> None:
    save("photo.png")
    assert run("photo.png", "--fail-empty", "--fail-doubt", "0.5").status == 0


def test_broken_metadata_are_told_once_and_if_asked(run: Run) -> None:
    save("photo.png")
    data = Path("photo.png").read_bytes()
    Path("photo.png").write_bytes(data[:33] + chunk(b"sRGB", b"") + data[33:])
    assert run("photo.png").err == "photo.png -> photo-cutout.png\n"
    result = run("photo.png", "--overwrite", "-v")
    assert result.status == 0
    assert result.err.count("photo.png: broken metadata dropped (Truncated sRGB chunk)") == 1


def test_quiet_and_verbose(run: Run) -> None:
    save("photo.png")
    Path("bad.jpg").write_text("no picture")
    result = run("photo.png", "bad.jpg", "-q")
    assert result.status == 1
    assert len(result.lines) == 1
    assert "bad.jpg" in result.err
    result = run("photo.png", "bad.jpg", "--overwrite")
    assert [line.split(":")[0] for line in result.lines] == [
        "photo.png -> photo-cutout.png", "alphacut", "alphacut",
    ]  # fmt: skip
    assert result.lines[-1] == "alphacut: 2 pictures: 1 done, 1 failed"
    assert "Traceback" not in result.err
    result = run("photo.png", "bad.jpg", "--overwrite", "-v")
    assert "Traceback" in result.err
    assert "alphacut-lite in openvino on fake" in result.err
    assert "predict" in result.err


def test_existing_results(run: Run) -> None:
    save("photo.png")
    Path("photo-cutout.png").write_text("before")
    result = run("photo.png")
    assert result.status == 1
    assert len(result.lines) == 1
    assert "--overwrite or --skip-existing" in result.err
    result = run("photo.png", "--skip-existing")
    assert result.status == 0
    assert "skipped" in result.err
    assert Path("photo-cutout.png").read_text() == "before"
    assert run("photo.png", "--overwrite").status == 0
    assert load("photo-cutout.png")[0] == "PNG"


def test_a_second_run_does_not_print_a_line_for_each_result(run: Run) -> None:
    for index in range(6):
        save(f"in/{index}.png")
    Path("in/bad.jpg").write_text("no picture")
    assert run("in", "-q").status == 1
    for flags in ((), ("-q",)):
        result = run("in", *flags)
        assert result.status == 1
        assert len(result.lines) == 3 + 1 + 1
        assert result.lines[-1] == (
            "alphacut: 7 pictures: 0 done, 7 failed (6 because a result exists: use --overwrite or "
            "--skip-existing)"
        )


def test_a_missing_photo_is_missing_even_if_it_has_a_result(run: Run) -> None:
    Path("photo-cutout.png").write_text("before")
    for flags in ((), ("--skip-existing",), ("--overwrite",)):
        result = run("photo.jgp", *flags)
        assert (result.status, result.lines) == (
            1, ["alphacut: photo.jgp: cannot be read: No such file or directory"]
        )  # fmt: skip
    assert Path("photo-cutout.png").read_text() == "before"


def test_a_result_named_like_its_input_does_not_hide_it(run: Run) -> None:
    """`photo-cutout.png: ...` begins with the words that name the input `photo`, and is not it."""
    save("photo.png")
    os.rename("photo.png", "photo")
    Path("photo-cutout.png").write_text("before")
    assert run("photo").err.startswith("alphacut: photo: photo-cutout.png: already exists: ")


def test_an_input_is_never_overwritten(run: Run) -> None:
    save("photo.png")
    before = Path("photo.png").read_bytes()
    result = run("photo.png", "-o", "photo.png", "--overwrite")
    assert result.status == 1
    assert len(result.lines) == 1
    assert "would replace the input" in result.err
    assert Path("photo.png").read_bytes() == before


# --- bad input ----------------------------------------------------------------------------------


def write_bad_inputs() -> None:
    """Put one good photo and every kind of bad one into the working folder."""
    save("good.png")
    os.mkdir("empty")
    os.mkdir("texts")
    Path("texts/notes.txt").write_text("no picture")
    Path("zero.png").touch()
    Path("text.jpg").write_text("Dear photographer, ...")
    for ending in ("jpg", "png", "webp", "tiff", "gif"):
        save(f"whole.{ending}", make_photo(240, 320))
        content = Path(f"whole.{ending}").read_bytes()
        Path(f"cut.{ending}").write_bytes(content[: len(content) // 2])
        os.remove(f"whole.{ending}")
    header = struct.pack(">IIBBBBB", 20000, 20000, 8, 2, 0, 0, 0)
    Path("bomb.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    )
    os.symlink("nowhere.png", "dangling.png")


BAD = [
    ("none.jpg", "No such file"),
    ("none/none.jpg", "No such file"),
    ("good.png/photo.jpg", "Not a directory"),
    ("", "no such file or folder"),
    ("*.bmp", "no pictures match"),
    ("empty", "no pictures in this folder"),
    ("texts", "no pictures in this folder"),
    ("zero.png", "empty file"),
    ("text.jpg", "is not a picture"),
    ("cut.jpg", "--allow-truncated"),
    ("cut.png", "--allow-truncated"),
    ("cut.webp", "cut.webp"),
    ("cut.tiff", "--allow-truncated"),
    ("cut.gif", "--allow-truncated"),
    ("bomb.png", "400 megapixels, above the limit of 200"),
    ("dangling.png", "No such file"),
    ("x" * 300 + ".jpg", "File name too long"),
]


@posix
@pytest.mark.parametrize(("name", "reason"), BAD, ids=[name[:20] for name, _ in BAD])
def test_bad_input(run: Run, name: str, reason: str) -> None:
    write_bad_inputs()
    before = sorted(os.listdir())
    alone = run(name)
    assert alone.status == 1
    assert len(alone.lines) == 1
    assert alone.err.startswith("alphacut: ")
    assert name in alone.err
    assert reason in alone.err
    assert sorted(os.listdir()) == before

    among_others = run(name, "good.png", "-o", "out", "--quiet")
    assert among_others.status == 1
    assert among_others.err == alone.err
    assert os.listdir("out") == ["good.png"]
    assert load("out/good.png")[0] == "PNG"


def test_without_a_network_there_is_one_error(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: object, **__: object) -> None:
        time.sleep(0.3)  # the pictures are read by then
        raise RuntimeFailure("there is no NPU here")

    monkeypatch.setattr(runtimes, "load", load)
    for name in "abc":
        save(f"{name}.png")
    result = run("a.png", "b.png", "c.png")
    assert (result.status, result.out) == (1, b"")
    assert result.err == "alphacut: there is no NPU here\n"


@posix
def test_all_bad_inputs_at_once(run: Run) -> None:
    write_bad_inputs()
    result = run(*(name for name, _ in BAD), "good.png", "-o", "out")
    assert result.status == 1
    assert len(result.lines) == len(BAD) + 2
    assert result.lines[-1] == f"alphacut: {len(BAD) + 1} pictures: 1 done, {len(BAD)} failed"
    assert os.listdir("out") == ["good.png"]


@pytest.mark.parametrize("name", ["cut.jpg", "cut.png"])
def test_allow_truncated(run: Run, name: str) -> None:
    write_bad_inputs()
    result = run(name, "--allow-truncated")
    assert result.status == 0
    assert len(result.lines) <= 2
    assert load("cut-cutout.png")[1].shape == (240, 320, 4)


@pytest.mark.parametrize(
    ("words", "status", "reason"),
    [
        (("--model", "u3net"), 1, "unknown model 'u3net': choose one of alphacut-lite"),
        (("--background", "nocolour"), 2, "'nocolour'"),
        (("--file-quality", "101"), 2, "1 to 100"),
        (("--max-megapixels", "0.001"), 1, "above the limit"),
        (("--max-megapixels", "0"), 2, "above 0"),
    ],
)
def test_bad_choices(run: Run, words: tuple[str, ...], status: int, reason: str) -> None:
    save("photo.png")
    result = run("photo.png", *words)
    assert result.status == status
    assert len(result.lines) == 1
    assert reason in result.err
    assert os.listdir() == ["photo.png"]


def test_clashing_names_in_one_folder(run: Run) -> None:
    save("in/a.png")
    save("in/b.jpg")
    result = run("in", "-o", "in", "-q")
    assert result.status == 1
    assert len(result.lines) == 1
    assert "in/a.png: its result would replace the input" in result.err
    assert sorted(os.listdir("in")) == ["a.png", "b.jpg", "b.png"]


def test_a_picture_too_wide_for_its_format(run: Run) -> None:
    save("wide.png", np.zeros((1, 16384, 3), np.uint8))
    result = run("wide.png", "--format", "webp", "-q")
    assert result.status == 1
    assert len(result.lines) == 1
    assert result.err.startswith("alphacut: wide.png: 16384 x 1 pixels do not fit into webp")
    assert os.listdir() == ["wide.png"]


def test_damaged_weights(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save("photo.png")
    for file in weights.ASSETS.iterdir():
        (tmp_path / "assets").mkdir(exist_ok=True)
        (tmp_path / "assets" / file.name).write_bytes(file.read_bytes()[:-1] + b"!")
    monkeypatch.setattr(weights, "ASSETS", tmp_path / "assets")
    monkeypatch.setattr(runtimes, "load", lambda spec, **_: weights.fetch(spec))
    result = run("photo.png")
    assert result.status == 1
    assert len(result.lines) == 1
    assert "SHA-256" in result.err


def test_what_other_libraries_warn_of_is_not_shown(run: Run) -> None:
    save("photo.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff")
    assert run("photo.jpg").lines == ["photo.jpg -> photo-cutout.png"]


def test_an_error_that_nobody_foresaw_is_one_line_too(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    save("photo.png")

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("oh\nno")

    monkeypatch.setattr("alphacut.stages.estimate_foreground", broken)
    result = run("photo.png")
    assert result.status == 1
    assert result.lines == ["alphacut: photo.png: ZeroDivisionError: oh no"]


def test_doctor_tells_what_is_wrong(run: Run) -> None:
    result = run("doctor")  # with a network that finds a disc in every picture
    assert result.status == 1
    assert __version__ in result.out.decode()
    assert len(result.lines) == 1
    assert "example image" in result.err


def all_commands(group: click.Group = cli.cli, *names: str) -> Iterator[tuple[str, ...]]:
    yield names
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from all_commands(command, *names, name)
        else:
            yield (*names, name)


@pytest.mark.parametrize("words", [*all_commands()], ids=" ".join)
def test_help_is_not_cut_short(run: Run, monkeypatch: pytest.MonkeyPatch, words: tuple) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    result = run(*words, "-h")
    assert result.status == 0
    assert run(*words, "--help").out == result.out
    text = result.out.decode()
    assert max(map(len, text.splitlines())) <= 80
    for line in text.partition("Commands:")[2].splitlines():
        assert not line.endswith("..."), line


def test_help_shows_first_what_most_people_need(run: Run) -> None:
    text = run("remove", "--help").out.decode()
    sections = re.findall(r"^(\S.*):$", text, re.M)
    assert sections == ["Most used", "Which subject", "Background, canvas and shadow",
                        "Edges and clean-up", "Known grounds", "Result and file",
                        "Run and report", "Network"]  # fmt: skip
    first = text.partition("Most used:")[2].partition("\n\n")[0]
    shown = re.findall(r"^  (?:-\w, )?--([\w-]+)", first, re.M)
    assert shown == ["output", "recursive", "overwrite", "skip-existing", "mask", "background",
                     "crop", "size", "preset", "quality"]  # fmt: skip
    assert "  alphacut cats/ -o cut/ --background white --format jpg\n" in text


@pytest.mark.parametrize(
    ("words", "here"),
    [
        (("i", "photo.png", "cut.png"), "alphacut photo.png -o cut.png"),
        (("p", "in/", "my out"), "alphacut in/ -r -o 'my out'"),
        (("p", "in/"), "alphacut PHOTO -r -o RESULT"),
        (("s",), "alphacut serve"),
        (("d",), "alphacut models pull"),
        (("b", "100", "100"), "no stream of raw frames"),
        (("photo.png", "cut.png"), "alphacut photo.png -o cut.png"),
        (("in/", "out"), "alphacut in/ -o out"),
        (
            ("in", "empty"),
            "empty is an empty folder. If results belong there: alphacut in -o empty",
        ),
        (("photo.png", "in/a.png", "in/a.png", "in/a.png", "out"), "alphacut PHOTO... -o out"),
        (("photo.png", "-om"), "(rembg's). Here: --mask"),
        (("-om", "photo.png"), "--mask"),
        (("-m", "u2netp", "photo.png"), "--model NAME"),
        (("photo.png", "-a"), "--matting closed-form"),
        (("photo.png", "-vm"), "--matting vitmatte"),
        (("photo.png", "-w"), "alphacut watch IN OUT"),
        (("photo.png", "-ppm"), "--smooth-px 4 --harden 0.5"),
        (("photo.png", "-bgc", "1", "2", "3", "4"), "--background 'rgb(R, G, B)'"),
        (("photo.png", "--bgcolor=1"), "--background 'rgb(R, G, B)'"),
        (("-i", "photo.png"), "alphacut PHOTO"),
        (("preview", "photo.png", "-m", "u2netp"), "--model NAME"),
        (("batch", "in", "out", "-om"), "--mask"),
        (("remov", "photo.png"), "No such command or file: remov. Did you mean remove?"),
        (("batch", "statu", "out"), "Did you mean status?"),
        (("photo.png", "-o", ""), "-o is empty: give a file"),
    ],
)
def test_words_of_others_are_an_error_that_shows_ours(
    run: Run, words: tuple[str, ...], here: str
) -> None:
    save("photo.png")
    save("in/a.png")
    os.mkdir("empty")
    result = run(*words)
    assert (result.status, result.out) == (2, b"")
    assert here in result.lines[-1]
    assert sorted(os.listdir()) == ["empty", "in", "photo.png"]
    assert os.listdir("in") == ["a.png"]


def test_words_of_others_may_name_pictures(run: Run) -> None:
    save("p/a.png")
    save("b.png")
    assert run("p", "b.png", "-q").status == 0
    assert os.listdir("p-cutouts") == ["a.png"]
    assert run("-q", "--", "b.png", "-om", "none.png").lines == [
        "alphacut: b.png: b-cutout.png: already exists: use --overwrite or --skip-existing",
        "alphacut: -om: cannot be read: No such file or directory",
        "alphacut: none.png: cannot be read: No such file or directory",
    ]


@posix
def test_full_disk(run: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    grain = rng.integers(0, 20, (300, 400, 3)).astype(np.uint8)
    save("photo.png", make_photo(300, 400) + grain)
    os.mkdir("small")
    mount = ["mount", "-t", "tmpfs", "-o", "size=32k", "tmpfs", str(tmp_path / "small")]
    if not shutil.which("mount"):
        pytest.skip("mount is not installed")
    mounted = subprocess.run(mount, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be made: {mounted.stderr.strip()}")
    try:
        result = run("photo.png", "-o", "small/cut.png")
        assert result.status == 1
        assert result.lines == [
            "alphacut: photo.png: small/cut.png: cannot be written: No space left on device: free "
            "some space"
        ]
        assert os.listdir("small") == []
    finally:
        subprocess.run(["umount", str(tmp_path / "small")], check=True)


# --- processes of their own ---------------------------------------------------------------------


def test_the_real_command(tmp_path: Path) -> None:
    shutil.copy(EXAMPLES / "astronaut.png", tmp_path)
    result = python("-m", "alphacut", "astronaut.png", cwd=tmp_path)
    assert (result.status, result.out) == (0, b"")
    assert result.lines == ["astronaut.png -> astronaut-cutout.png"]
    with PIL.Image.open(tmp_path / "astronaut-cutout.png") as pillow:
        alpha = np.asarray(pillow.getchannel("A"))
    assert alpha[110, 220] > 230  # her face
    assert alpha[40, 480] < 25  # the shuttle


OFFLINE = """
import os, sys
def watch(event, args):
    if event.startswith("socket.") or event in ("os.fork", "os.posix_spawn", "subprocess.Popen"):
        os.write(2, f"{event} {args}\\n".encode())
        os._exit(99)
sys.addaudithook(watch)
from alphacut.cli.main import main
main()
"""


def test_pipes_without_a_network(tmp_path: Path) -> None:
    """Standard input to standard output, in a process that may not even ask for a socket.

    Nor may it start another process that could, as usage statistics of libraries do.
    """
    content = (EXAMPLES / "chelsea.png").read_bytes()
    result = python("-c", OFFLINE, "-", "--format", "webp", input=content, cwd=tmp_path)
    assert result.err == ""
    assert result.status == 0
    kind, samples = load(result.out)
    assert kind == "WEBP"
    assert samples.shape[2] == 4


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom alphacut.cli import main as cli\n"
        "sys.argv = ['alphacut', '--help']\n"
        "try:\n    cli.main()\nexcept SystemExit:\n    pass\n"
        "print(sorted({name.split('.')[0] for name in sys.modules}), file=sys.stderr)\n"
    )
    result = python("-c", code)
    assert b"Usage: alphacut" in result.out
    for heavy in ("numpy", "cv2", "PIL", "openvino", "rich", "torch", "pymatting"):
        assert f"'{heavy}'" not in result.err


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"])  # a buffer is written once more at the end
def test_full_standard_output(tmp_path: Path, unbuffered: str) -> None:
    command = [sys.executable, "-m", "alphacut", str(EXAMPLES / "chelsea.png"), "-o", "-"]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
                              env=os.environ | {"PYTHONUNBUFFERED": unbuffered})  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "standard output: cannot be written: No space left" in done.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_what_is_listed_on_a_full_disk(unbuffered: str) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run([sys.executable, "-m", "alphacut", "models"], stdout=full,
                              stderr=subprocess.PIPE, text=True,
                              env=os.environ | {"PYTHONUNBUFFERED": unbuffered})  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == "alphacut: standard output: cannot be written: No space left on device\n"


def test_another_failure_is_not_taken_for_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise OSError(errno.EADDRINUSE, "Address already in use")

    monkeypatch.setattr(cli, "main", fail)
    with pytest.raises(OSError, match="already in use"):
        cli.program()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize(("status", "said"), [
    (0, "alphacut: standard output: cannot be written: No space left on device\n"),
    (1, ""),  # has been reported
    (130, ""),
])  # fmt: skip
def test_standard_output_is_found_full_at_the_end(status: int, said: str) -> None:
    code = f"from alphacut.cli import main; print('left'); main._end({status})"
    with open("/dev/full", "wb") as full:
        done = subprocess.run([sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE,
                              text=True, env=os.environ | {"PYTHONUNBUFFERED": ""})  # fmt: skip
    assert done.returncode == (status or 1)
    assert done.stderr == said


SLOW_WRITE = """
import sys, time
from alphacut import cutout
from alphacut.cli import main
def half(*_, **__):
    yield b"half a picture"
    print("half", flush=True)
    time.sleep(3)
cutout.encode = half
main.main()
"""


@posix
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_run_leaves_no_half_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    monkeypatch.chdir(tmp_path)
    save("photo.png")
    Path("cut.png").write_text("before")
    command = [sys.executable, "-c", SLOW_WRITE, "photo.png", "-o", "cut.png", "--overwrite"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"half\n"
        assert len(os.listdir()) == 3
        process.send_signal(number)
        assert b"Traceback" not in process.communicate()[1]
    assert process.returncode == (143 if number == signal.SIGTERM else -signal.SIGKILL)
    # a polite kill lets pictures be finished that were begun
    assert Path("cut.png").read_text() == (
        "half a picture" if number == signal.SIGTERM else "before"
    )
    left = set(os.listdir()) - {"cut.png", "photo.png"}
    if number == signal.SIGTERM:
        assert left == set()
    assert all(name.endswith(".part") for name in left)  # no input of a later run


def without_rights(*words: str, cwd: Path) -> Result:
    """Run an interpreter as a user whom permissions stop, also if the tests run as root."""
    command = [sys.executable, *words]
    if os.geteuid() == 0:
        if not shutil.which("setpriv"):
            pytest.skip("root may read everything, and there is no setpriv")
        command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *command]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd)
    return Result(done.returncode, done.stdout.encode(), done.stderr)


@posix
def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("secret.png", "closed/a.png", "open.png"):
        save(name, make_photo(240, 320))
    os.mkdir("sealed")
    os.chmod("secret.png", 0)
    os.chmod("closed", 0)
    os.chmod("sealed", 0o555)
    try:
        probe = without_rights("-c", "open('secret.png')", cwd=tmp_path)
        if "PermissionError" not in probe.err:
            pytest.skip("permissions stop nobody here")
        words = ("secret.png", "closed", "closed/a.png", "open.png", "-o", "out", "--quiet")
        result = without_rights("-m", "alphacut", *words, cwd=tmp_path)
        assert result.status == 1
        assert len(result.lines) == 3
        assert all("Permission denied" in line for line in result.lines)
        assert os.listdir("out") == ["open.png"]

        result = without_rights("-m", "alphacut", "open.png", "-o", "sealed/", cwd=tmp_path)
        assert result.status == 1
        assert result.lines == [
            "alphacut: open.png: sealed/open.png: cannot be written: Permission denied"
        ]
    finally:
        for name in ("secret.png", "closed", "sealed"):
            os.chmod(name, 0o755)
    assert os.listdir("sealed") == []


@posix
@pytest.mark.parametrize("flags", [[], ["--json"]], ids=["plain", "json"])
def test_progress_on_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: list[str]
) -> None:
    import pty

    monkeypatch.chdir(tmp_path)
    save("a.png")
    save("b.png")
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "alphacut", "a.png", "b.png", *flags]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=theirs, env=environment)
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 65536):
            shown += piece
    except OSError:  # how Linux says that the other end is closed
        pass
    os.close(ours)
    assert (done.returncode, done.stdout.count(b"\n")) == (0, 2 if flags else 0)
    assert b"2/2" in shown
    assert (b"b.png -> b-cutout.png" in shown) != bool(flags)


# --- advice -------------------------------------------------------------------------------------


class HalfSure(FakeRuntime):
    """A network that finds a disc and half believes in as large a place beside it."""

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        output = super().__call__(batch)
        output[..., : output.shape[-1] // 2] = np.maximum(output[..., : output.shape[-1] // 2], 0.5)
        return output


@pytest.mark.parametrize(
    ("flags", "terminal", "advised"),
    [((), True, True), (("--quiet",), True, False), (("--json",), True, False), ((), False, False)],
)
def test_a_doubtful_cut_out_names_the_better_model_once(
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    flags: tuple[str, ...],
    terminal: bool,
    advised: bool,
) -> None:
    monkeypatch.setattr(runtimes, "load", lambda *_, **__: HalfSure())
    monkeypatch.setattr("alphacut.cli.remove.on_terminal", lambda: terminal)
    save("a.png")
    save("b.png")
    result = run("a.png", "b.png", "--matting", "none", *flags)
    advice = [line for line in result.lines if "birefnet-lite" in line]
    assert len(advice) == advised
    if advised:
        assert advice[0].startswith("alphacut: a.png: in doubt here; another network may see more")
        assert "alphacut models pull birefnet-lite, then --model birefnet-lite" in advice[0]


def test_a_sure_cut_out_has_no_advice(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alphacut.cli.remove.on_terminal", lambda: True)
    save("a.png")
    assert run("a.png").lines == ["a.png -> a-cutout.png"]


def test_better_models_exist_and_are_free() -> None:
    for spec in catalogue.MODELS:
        better = catalogue.better_model(spec.name)
        if better:
            (found,) = [each for each in catalogue.MODELS if each.name == better]
            assert found.commercial == "yes"
