"""Files of visitors: private, and gone in time."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from alphacut.demo.shelf import Shelf, file_name
from alphacut.errors import ImageError


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Iterator[Shelf]:
    monkeypatch.setenv("GRADIO_TEMP_DIR", "before")
    made = Shelf()
    yield made
    made.close()
    assert not made.folder.exists()


def upload(shelf: Shelf, name: str = "photo.jpg") -> dict[str, str]:
    folder = shelf.folder / "upload"
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"picture")
    return {"path": str(folder / name)}


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps temporary folders private by itself")
def test_nobody_else_can_look(shelf: Shelf) -> None:
    assert shelf.folder.stat().st_mode & 0o077 == 0
    assert os.environ["GRADIO_TEMP_DIR"] == str(shelf.folder)


def test_what_a_visitor_had_goes_with_the_visitor(shelf: Shelf) -> None:
    mine = shelf.put("me", "cut.png", b"mine")
    yours = shelf.put("you", "cut.png", b"yours")
    path = shelf.take("me", upload(shelf))
    stop = shelf.stop("me")
    shelf.forget("me")
    assert stop.is_set()
    assert not path.exists()
    assert not Path(mine.partition("=")[2]).exists()
    assert Path(yours.partition("=")[2]).read_bytes() == b"yours"


def test_what_is_passing_does_not_pile_up(shelf: Shelf) -> None:
    before = shelf.put("me", "before.jpg", b"1")
    for _ in range(20):
        last = shelf.put("me", "after.png", b"2", passing=True)
    assert len(list(shelf.folder.rglob("after.png"))) == 8
    for address in (before, last):
        assert Path(address.partition("=")[2]).exists()


def test_old_files_go(shelf: Shelf) -> None:
    old, new = (shelf.take("me", upload(shelf, name)) for name in ("old.jpg", "new.jpg"))
    os.utime(old, (time.time() - 3001,) * 2)
    shelf.sweep()
    assert (old.exists(), new.exists()) == (False, True)
    with pytest.raises(ImageError, match="not here any more"):
        shelf.take("me", {"path": str(old)})


def test_a_visitor_may_leave_while_old_files_are_looked_for(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.put("me", "cut.png", b"mine")
    scandir = os.scandir

    def leave_first(path: str) -> object:
        if Path(path) != shelf.folder:
            monkeypatch.setattr(os, "scandir", scandir)
            shelf.forget("me")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", leave_first)
    shelf.sweep()
    assert os.scandir is scandir
    assert not list(shelf.folder.iterdir())


def test_only_uploads_are_taken(shelf: Shelf, tmp_path: Path) -> None:
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(b"")
    link = shelf.folder / "link.jpg"
    link.symlink_to(secret)
    for path in (
        secret,
        f"{shelf.folder}/../{tmp_path.name}/secret.jpg",
        link,
        "/etc/passwd",
        None,
    ):
        with pytest.raises(ImageError):
            shelf.take("me", {"path": str(path)})


@pytest.mark.parametrize(
    ("given", "name"),
    [("Grüße, Oma.jpg", "Grüße, Oma.jpg"), ("../../etc/passwd", "_.._etc_passwd"),
     ('<b a="1">.png', "_b a=_1__.png"), ("...", "picture"), ("a\nb.png", "a_b.png")],
)  # fmt: skip
def test_names_are_safe(given: str, name: str) -> None:
    assert file_name({"orig_name": given}) == name
    assert file_name({"path": "/x/y.png"}) == "y.png"
