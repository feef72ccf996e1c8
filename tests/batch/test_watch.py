"""A watched folder: each picture once, when it is complete, whatever ends the process."""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from alphacut import Remover
from alphacut.batch.folder import Outcome
from alphacut.batch.journal import JOURNAL
from alphacut.batch.watch import Watch, watch
from alphacut.errors import AlphacutWarning, OutputError, RuntimeFailure, StoreError
from clusters import make_pictures, until
from pictures import FakeRuntime, make_photo

Start = Callable[..., contextlib.AbstractContextManager[Iterator[Outcome]]]
SETTLE_S = 0.2
# watchdog 7 warns in its thread, now and then, when a folder is made while it looks into its parent
pytestmark = pytest.mark.filterwarnings("ignore:Callback with id:RuntimeWarning")


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake_remover: Remover) -> Start:
    """Begin to watch in/ from within an empty folder; the outcomes are drawn by `next`."""
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()

    def begin(remover: Remover = fake_remover, **settings: Any) -> Any:
        places = {"folder": Path("in"), "results": Path("out"), "settle_s": SETTLE_S}
        return contextlib.closing(watch(Watch(**{**places, **settings}), remover))

    return begin


def put(name: str, photo: Any = None) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(make_photo() if photo is None else photo).save(path)
    return path


def lines(results: str = "out") -> list[dict[str, Any]]:
    text = (Path(results) / JOURNAL).read_text()
    return [json.loads(line) for line in text.splitlines()]


def said(outcome: Outcome) -> tuple[str, str, str]:
    status = "failed" if outcome.error else "skipped" if outcome.taken else "done"
    item = outcome.item
    return Path(item.source).as_posix(), Path(item.target).as_posix(), status


def test_what_is_there_what_comes_and_what_changes(start: Start) -> None:
    put("in/a.jpg")
    put("in/.hidden.jpg")
    put("in/sub/b.jpg")  # not asked for
    Path("in/notes.txt").touch()
    with start() as outcomes:
        assert said(next(outcomes)) == ("in/a.jpg", "out/a.png", "done")
        put("in/c.jpg")
        assert said(next(outcomes)) == ("in/c.jpg", "out/c.png", "done")
        before = Path("out/a.png").read_bytes()
        put("in/a.jpg", make_photo(24, 32))
        assert said(next(outcomes)) == ("in/a.jpg", "out/a.png", "done")
        assert Path("out/a.png").read_bytes() != before
    assert sorted(os.listdir("out")) == ["_alphacut", "a.png", "c.png"]


def test_a_restart_does_nothing_twice(start: Start, fake_runtime: FakeRuntime) -> None:
    put("in/a.jpg")
    Path("in/broken.jpg").write_bytes(b"no picture")
    with start() as outcomes:
        assert {said(next(outcomes))[::2], said(next(outcomes))[::2]} == {
            ("in/a.jpg", "done"), ("in/broken.jpg", "failed"),
        }  # fmt: skip
    Path("out/a.png").unlink()  # taken away by whoever uses the results
    put("in/new.jpg")
    with start() as outcomes:
        assert said(next(outcomes))[0] == "in/new.jpg"
    assert len(fake_runtime.batches) == 2
    assert not Path("out/a.png").exists()
    assert [line["status"] for line in lines()] == ["done", "failed", "begun", "done"]


def test_a_file_is_done_when_it_is_complete(start: Start) -> None:
    whole = put("whole.png").read_bytes()

    def write_slowly() -> None:
        with open("in/slow.png", "wb", buffering=0) as file:
            for at in range(0, len(whole), len(whole) // 6 + 1):
                file.write(whole[at : at + len(whole) // 6 + 1])
                time.sleep(SETTLE_S / 2)

    with start(settle_s=6 * SETTLE_S) as outcomes:
        writer = threading.Thread(target=write_slowly)
        writer.start()
        assert said(next(outcomes)) == ("in/slow.png", "out/slow.png", "done")
        writer.join()
    assert [line["status"] for line in lines()] == ["begun", "done"]


def test_a_file_renamed_into_place_is_complete(start: Start) -> None:
    put("in/a.jpg")
    with start(settle_s=0.5) as outcomes:
        next(outcomes)  # so it listens
        outcomes.close()
    with start(settle_s=3600.0) as outcomes:
        timer = threading.Timer(1.0, lambda: put("in/b.tmp.png").rename("in/b.png"))
        timer.start()
        assert said(next(outcomes)) == ("in/b.png", "out/b.png", "done")
        timer.join()


def test_polling_needs_no_reports(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "inotify watch limit reached")

    monkeypatch.setattr("watchdog.observers.api.BaseObserver.start", refuse)
    put("in/a.jpg")
    with start() as outcomes, pytest.raises(StoreError, match=r"limit reached\): use --poll-s"):
        next(outcomes)
    with start(poll_s=0.1) as outcomes:
        assert said(next(outcomes))[2] == "done"


def test_a_result_of_somebody_else_is_left_alone(start: Start) -> None:
    put("in/a.jpg")
    put("in/b.jpg")
    Path("out").mkdir()
    Path("out/a.png").write_bytes(b"retouched by hand")
    with start() as outcomes:
        assert {said(next(outcomes))[::2], said(next(outcomes))[::2]} == {
            ("in/a.jpg", "skipped"), ("in/b.jpg", "done"),
        }  # fmt: skip
        put("in/a.jpg", make_photo(24, 32))
        assert said(next(outcomes))[::2] == ("in/a.jpg", "skipped")
    put("in/a.jpg", make_photo(36, 32))
    with start(overwrite=True) as outcomes:
        assert said(next(outcomes))[::2] == ("in/a.jpg", "done")
    assert Path("out/a.png").read_bytes() != b"retouched by hand"


def test_pictures_of_one_name_have_a_result_each(start: Start) -> None:
    put("in/a.jpg")
    with start() as outcomes:
        assert said(next(outcomes)) == ("in/a.jpg", "out/a.png", "done")
        put("in/a.webp")
        assert said(next(outcomes)) == ("in/a.webp", "out/a-webp.png", "done")
    put("in/a-webp.bmp")
    with start() as outcomes:  # the journal remembers whose a name is
        assert said(next(outcomes)) == ("in/a-webp.bmp", "out/a-webp-bmp.png", "done")
        put("in/a.jpg", make_photo(24, 32))
        assert said(next(outcomes)) == ("in/a.jpg", "out/a.png", "done")


def test_originals_are_moved_and_never_lost(start: Start) -> None:
    first = put("in/x/a.jpg").read_bytes()
    Path("in/broken.jpg").write_bytes(b"no picture")
    with start(recursive=True, move_done=Path("in/done"), results=Path("in/cut")) as outcomes:
        next(outcomes), next(outcomes)
        second = put("in/x/a.jpg", make_photo(24, 32)).read_bytes()
        assert said(next(outcomes)) == ("in/x/a.jpg", "in/cut/x/a.png", "done")
    assert Path("in/done/x/a.jpg").read_bytes() == first
    assert Path("in/done/x/a-2.jpg").read_bytes() == second
    assert Path("in/broken.jpg").exists()
    assert not Path("in/x/a.jpg").exists()


def test_what_was_done_but_not_moved_is_moved_by_the_next(start: Start) -> None:
    put("in/a.jpg")
    with start() as outcomes:
        next(outcomes)
    put("in/b.jpg")
    with start(move_done=Path("done")) as outcomes:
        assert said(next(outcomes))[0] == "in/b.jpg"
    assert sorted(os.listdir("done")) == ["a.jpg", "b.jpg"]


def test_an_original_that_cannot_be_moved_is_told(start: Start) -> None:
    Path("done").write_bytes(b"a file where a folder should be")
    put("in/a.jpg")
    with (
        start(move_done=Path("done")) as outcomes,
        pytest.warns(AlphacutWarning, match=r"a\.jpg: is done, but cannot be moved to done"),
    ):
        assert said(next(outcomes))[2] == "done"
    assert Path("in/a.jpg").exists()


def test_a_failure_that_may_pass_is_tried_by_the_next(start: Start) -> None:
    class Failing(FakeRuntime):
        def __call__(self, batch: Any) -> Any:
            raise RuntimeFailure("out of memory")

    put("in/a.jpg")
    with start(Remover(network=Failing())) as outcomes:
        assert said(next(outcomes))[2] == "failed"
    with start() as outcomes:
        assert said(next(outcomes))[2] == "done"


def test_a_line_that_a_crash_cut_short(start: Start) -> None:
    put("in/a.jpg")
    with start() as outcomes:
        next(outcomes)
    with open(Path("out") / JOURNAL, "ab") as file:
        file.write(b'{"input": "in/b.j')
    put("in/b.jpg")
    with start() as outcomes:
        assert said(next(outcomes))[0] == "in/b.jpg"
    assert [line["input"] for line in lines()] == ["a.jpg", "b.jpg", "b.jpg"]


def test_one_process_at_a_time(start: Start) -> None:
    put("in/a.jpg")
    with start() as outcomes:
        next(outcomes)
        with start() as others, pytest.raises(StoreError, match="another process puts results"):
            next(others)


def test_folders_that_are_one(start: Start) -> None:
    with pytest.raises(OutputError, match="in: is the folder of pictures: give results another"):
        start(results=Path("in"))
    with pytest.raises(OutputError, match="out: is the folder of results: give finished originals"):
        start(move_done=Path("out"))
    with pytest.raises(OutputError, match="gone: no such folder"):
        start(folder=Path("gone"))


def test_a_drive_that_goes_and_comes_back(start: Start) -> None:
    put("in/a.jpg")

    def come_back() -> None:
        time.sleep(0.5)
        Path("away").rename("in")
        put("in/b.jpg")

    with start(poll_s=0.1) as outcomes:
        next(outcomes)
        Path("in").rename("away")
        back = threading.Thread(target=come_back)
        back.start()
        with pytest.warns(AlphacutWarning, match="in: cannot be read"):
            assert said(next(outcomes))[0] == "in/b.jpg"
        back.join()


def command(*words: object, **settings: Any) -> "subprocess.Popen[str]":
    line = [sys.executable, "-m", "alphacut", "watch", *map(str, words)]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            **settings)  # fmt: skip


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_the_command_ends_with_ctrl_c(tiny: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    put(str(tmp_path / "in" / "a.jpg"))
    process = command(
        tmp_path / "in", tmp_path / "out", "--json", "--model", tiny, "--settle-s", 0.1,
        "--background", "white",
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler) and None,
    )  # fmt: skip
    assert process.stdout
    row = json.loads(process.stdout.readline())
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (row["status"], row["output"]) == ("done", str(tmp_path / "out" / "a.jpg"))
    assert (process.returncode, out) == (130, "")
    assert err.splitlines()[-1] == "alphacut: 1 done, 0 failed, 0 skipped"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_500_files_and_five_kills(tiny: str, tmp_path: Path) -> None:
    made, folder, results, done = (tmp_path / name for name in ("made", "in", "out", "done"))
    names = make_pictures(made, 500)
    folder.mkdir()
    dice = random.Random(7)

    def drop() -> None:
        for count, name in enumerate(dice.sample(names, len(names))):
            (folder / name).parent.mkdir(exist_ok=True)
            if count % 3:  # written in place, in two pieces
                content = (made / name).read_bytes()
                with (folder / name).open("wb", buffering=0) as file:
                    file.write(content[: len(content) // 2])
                    time.sleep(0.01)
                    file.write(content[len(content) // 2 :])
            else:
                part = (folder / name).with_suffix(".upload")
                shutil.copy(made / name, part)
                part.rename(folder / name)

    def begin() -> "subprocess.Popen[str]":
        return command(folder, results, "-r", "-q", "--model", tiny, "--settle-s", 0.3,
                       "--move-done", done)  # fmt: skip

    def answered() -> int:
        path = results / JOURNAL
        text = path.read_text() if path.exists() else ""
        return len({json.loads(line)["input"] for line in text.splitlines()
                    if line.endswith("}") and '"begun"' not in line})  # fmt: skip

    dropping = threading.Thread(target=drop)
    dropping.start()
    journals = b""
    for kill in range(1, 6):
        process = begin()
        until(lambda kill=kill: answered() >= kill * 80 + dice.randrange(8))
        process.kill()
        process.communicate()
        journals += (results / JOURNAL).read_bytes()
    dropping.join()
    process = begin()
    until(lambda: answered() == 500)
    until(lambda: len([*done.rglob("*.*")]) == 475)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    journals += (results / JOURNAL).read_bytes()

    broken = {name for index, name in enumerate(sorted(names, key=lambda name: name[2:]))
              if index % 20 == 10}  # fmt: skip
    newest = {}
    ends: Counter[tuple[str, str]] = Counter()
    told = set()
    for line in map(json.loads, journals.splitlines()):
        newest[line["input"]] = line
        if line["status"] != "begun" and (key := (line["input"], line["time"])) not in told:
            told.add(key)
            ends[line["input"], line["status"]] += 1
    assert set(newest) == set(names)  # none lost
    assert {name for name, line in newest.items() if line["status"] == "failed"} == broken
    assert set(ends.values()) == {1}  # each once
    outputs = [line["output"] for line in newest.values() if line["status"] == "done"]
    assert len(set(outputs)) == len(outputs) == 475
    found = {path.relative_to(results).as_posix() for path in results.rglob("*.png")}
    assert found == set(outputs)
    for output in outputs:
        with PIL.Image.open(results / output) as image:  # none half
            image.load()
            assert image.mode == "RGBA"
            assert np.asarray(image).any()
    moved = {path.relative_to(done).as_posix() for path in done.rglob("*.*")}
    assert moved == set(names) - broken
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*.*")} == broken
