"""Files of visitors: private, and gone in time."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from alphacut.demo.uploads import Uploads, file_name
from alphacut.errors import ImageError


@pytest.fixture
def uploads(monkeypatch: pytest.MonkeyPatch) -> Iterator[Uploads]:
    monkeypatch.setenv("GRADIO_TEMP_DIR", "before")
    made = Uploads()
    yield made
    made.close()
    assert not made.folder.exists()


def upload(uploads: Uploads, name: str = "photo.jpg") -> dict[str, str]:
    folder = uploads.folder / "upload"
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"picture")
    return {"path": str(folder / name)}


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps temporary folders private by itself")
def test_nobody_else_can_look(uploads: Uploads) -> None:
    assert uploads.folder.stat().st_mode & 0o077 == 0
    assert os.environ["GRADIO_TEMP_DIR"] == str(uploads.folder)


def test_what_a_visitor_had_goes_with_the_visitor(uploads: Uploads) -> None:
    mine = uploads.put("me", "cut.png", b"mine")
    yours = uploads.put("you", "cut.png", b"yours")
    path = uploads.find("me", upload(uploads))
    stop = uploads.stop("me")
    uploads.forget("me")
    assert stop.is_set()
    assert not path.exists()
    assert not Path(mine.partition("=")[2]).exists()
    assert Path(yours.partition("=")[2]).read_bytes() == b"yours"


def test_what_is_transient_does_not_pile_up(uploads: Uploads) -> None:
    before = uploads.put("me", "before.jpg", b"1")
    for _ in range(20):
        last = uploads.put("me", "after.png", b"2", transient=True)
    assert len(list(uploads.folder.rglob("after.png"))) == 8
    for address in (before, last):
        assert Path(address.partition("=")[2]).exists()


def test_old_files_go(uploads: Uploads) -> None:
    old, new = (uploads.find("me", upload(uploads, name)) for name in ("old.jpg", "new.jpg"))
    os.utime(old, (time.time() - 3001,) * 2)
    uploads.sweep()
    assert (old.exists(), new.exists()) == (False, True)
    with pytest.raises(ImageError, match="no longer here"):
        uploads.find("me", {"path": str(old)})


def test_visitors_and_their_folders_go_when_they_are_old(uploads: Uploads) -> None:
    uploads.put("me", "cut.png", b"mine")
    uploads.new_folder("me")
    uploads.put("you", "cut.png", b"yours")
    fresh = uploads.new_folder("you")
    (lone := uploads.folder / "upload" / "deep").mkdir(parents=True)
    for name in ("me", "you"):
        uploads._visitors[name].seen = time.time() - 3001
    old = [folder for folder in uploads.folder.iterdir() if folder != fresh]
    for path in (lone, *(file for folder in old for file in folder.glob("*.png")), *old):
        os.utime(path, (time.time() - 3001,) * 2)
    uploads.sweep()  # files; a folder is as young as its last change
    assert not list(uploads.folder.rglob("*.png"))
    for folder in uploads.folder.iterdir():
        if folder != fresh:
            os.utime(folder, (time.time() - 3001,) * 2)
    uploads.sweep()
    assert list(uploads.folder.iterdir()) == [fresh]
    assert list(uploads._visitors) == ["you"]  # who has a folder still
    assert uploads._visitors["you"].folders == [fresh]


def test_a_visitor_may_leave_while_old_files_are_looked_for(
    uploads: Uploads, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploads.put("me", "cut.png", b"mine")
    scandir = os.scandir

    def leave_first(path: str) -> object:
        if Path(path) != uploads.folder:
            monkeypatch.setattr(os, "scandir", scandir)
            uploads.forget("me")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", leave_first)
    uploads.sweep()
    assert os.scandir is scandir
    assert not list(uploads.folder.iterdir())


def test_only_uploads_are_taken(uploads: Uploads, tmp_path: Path) -> None:
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(b"")
    link = uploads.folder / "link.jpg"
    link.symlink_to(secret)
    for path in (
        secret,
        f"{uploads.folder}/../{tmp_path.name}/secret.jpg",
        link,
        "/etc/passwd",
        None,
    ):
        with pytest.raises(ImageError):
            uploads.find("me", {"path": str(path)})


@pytest.mark.parametrize(
    ("given", "name"),
    [("Grüße, Oma.jpg", "Grüße, Oma.jpg"), ("../../etc/passwd", "_.._etc_passwd"),
     ('<b a="1">.png', "_b a=_1__.png"), ("...", "picture"), ("a\nb.png", "a_b.png")],
)  # fmt: skip
def test_names_are_safe(given: str, name: str) -> None:
    assert file_name({"orig_name": given}) == name
    assert file_name({"path": "/x/y.png"}) == "y.png"
