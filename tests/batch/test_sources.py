"""What a source holds: the same inputs, however they are kept."""

import tarfile
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import pyarrow as pa
import pytest
from pyarrow import parquet

from alphacut.batch.sources import Found, find
from alphacut.batch.store import Store, read
from alphacut.errors import StoreError


def found(source: object, dest: object = "memory://nowhere") -> list[Found]:
    return list(find(str(source), Store(str(dest))))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with pictures, and with what is none."""
    folder = tmp_path / "photos"
    for name in ("b.jpg", "a.PNG", "x/c.webp", "x/deep/d.jpg", "x/notes.txt", "a-cutout.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return folder


ALL = ["a.PNG", "b.jpg", "x/c.webp", "x/deep/d.jpg"]


def test_a_folder(photos: Path) -> None:
    (photos / "loop").symlink_to(photos)
    assert [item.id for item in found(photos)] == ALL
    assert [item.input for item in found(photos)] == [str(photos / name) for name in ALL]
    # the destination is left out
    assert [item.id for item in found(photos, photos / "x")] == ALL[:2]
    before = {item.id: item.version for item in found(photos)}
    (photos / "b.jpg").write_bytes(b"changed")
    changed = {item.id for item in found(photos) if item.version != before[item.id]}
    assert changed == {"b.jpg"}


def test_a_pattern_and_a_single_picture(photos: Path) -> None:
    assert [item.id for item in found(photos / "*.jpg")] == ["b.jpg"]
    assert [item.id for item in found(photos / "**/*.jpg")] == ["b.jpg", "x/deep/d.jpg"]
    assert [item.id for item in found(photos / "x/*/d.*")] == ["deep/d.jpg"]
    assert [item.id for item in found(photos / "**/*.*", photos / "x")] == ALL[:2]
    assert [item.id for item in found(photos / "b.jpg")] == ["b.jpg"]


def test_an_archive(photos: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for name in [*ALL, "x/notes.txt"]:
            archive.write(photos / name, name)
    assert [item.id for item in found(tmp_path / "all.zip")] == ALL
    for item in found(tmp_path / "all.zip"):
        with fsspec.open(item.input, "rb") as file:
            assert file.read().decode() == item.id
    assert [item.id for item in found(f"zip://x/*.webp::{tmp_path}/all.zip")] == ["c.webp"]


def test_shards(photos: Path, tmp_path: Path) -> None:
    for shard, names in (("s-0.tar", ALL[:2]), ("s-1.tar", [*ALL[2:], "x/notes.txt"])):
        with tarfile.open(tmp_path / shard, "w") as tar:
            for name in names:
                tar.add(photos / name, name)
    items = found(tmp_path / "s-*.tar")
    assert [item.id for item in items] == ["s-0/a.PNG", "s-0/b.jpg", "s-1/x/c.webp",
                                           "s-1/x/deep/d.jpg"]  # fmt: skip
    for item in items:
        assert read(item.input, item.start, item.length).decode() == item.id.partition("/")[2]
        with fsspec.open(item.input, "rb") as file:  # an address that others understand, too
            assert file.read().decode() == item.id.partition("/")[2]
    assert [item.id for item in found(tmp_path / "s-0.tar")] == ALL[:2]

    whole = (tmp_path / "s-1.tar").read_bytes()
    (tmp_path / "s-2.tar").write_bytes(whole[:700])
    (tmp_path / "s-3.tar.gz").write_bytes(b"")
    errors = [item.error for item in found(tmp_path / "s-[23].tar*")]
    assert [error[:12] for error in errors if error] == ["damaged shar", "shards must "]


def test_a_list(photos: Path, tmp_path: Path) -> None:
    listed = {"id": ["one", "two"], "address": ["photos/b.jpg", str(photos / "a.PNG")],
              "version": ["v1", None], "price": [1, 2]}  # fmt: skip
    parquet.write_table(pa.table(listed), tmp_path / "list.parquet")
    expected = [Found("one", f"{tmp_path}/photos/b.jpg", "v1"), Found("two", f"{photos}/a.PNG")]
    assert found(tmp_path / "list.parquet") == expected
    (tmp_path / "list.csv").write_text("address,id\nphotos/b.jpg,007\ns3://b/k.jpg,x y\n")
    assert found(tmp_path / "list.csv") == [
        Found("007", f"{tmp_path}/photos/b.jpg"),
        Found("x y", "s3://b/k.jpg"),
    ]


def test_addresses(photos: Path) -> None:
    memory = fsspec.filesystem("memory")
    for name in ALL:
        memory.pipe_file(f"/in/{name}", name.encode())
    items = found("memory://in")
    assert [item.id for item in items] == ALL
    for item in items:
        with fsspec.open(item.input, "rb") as file:
            assert file.read().decode() == item.id
    assert [item.id for item in found(f"file://{photos}")] == ALL


def test_a_web_server(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    handler = partial(SimpleHTTPRequestHandler, directory=photos)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        assert [item.id for item in found(f"{address}/")] == ALL
        assert [item.input for item in found(f"{address}/b.jpg")] == [f"{address}/b.jpg"]
        server.shutdown()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("none", "cannot be listed"),
        ("*.tif", "no pictures found"),
        ("nocolumns.csv", "needs columns id and address, but has id, url"),
        ("noid.csv", "row 2 has no id"),
        ("broken.zip", "cannot be opened"),
        ("broken.parquet", "cannot be listed"),
        ("gopher://x/", "Protocol not known: gopher"),
    ],
)
def test_sources_that_cannot_be(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / "nocolumns.csv").write_text("id,url\na,b\n")
    (tmp_path / "noid.csv").write_text("id,address\na,b\n,c\n")
    (tmp_path / "broken.zip").write_text("no archive")
    (tmp_path / "broken.parquet").write_text("no table")
    with pytest.raises(StoreError, match=text):
        found(name if "://" in name else tmp_path / name)
