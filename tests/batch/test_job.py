"""Many pictures: what there is to do, one answer each, and what survives being killed."""

import functools
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pytest
from fsspec.implementations.local import LocalFileSystem
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from alphacut import Options
from alphacut.batch import job as jobs
from alphacut.batch import manifest
from alphacut.batch.job import Job, Plan, output_name
from alphacut.batch.manifest import Row
from alphacut.batch.sources import Found, find
from alphacut.batch.store import Store
from alphacut.errors import OutputError, RuntimeFailure, StoreError, WeightsError
from clusters import add_tiny_model, make_pictures

WORKERS = "ray::MapWorker"  # how Ray calls them in a list of processes
linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
Rows = dict[tuple[str, int], dict[str, Any]]


@pytest.fixture(scope="session", autouse=True)
def tiny(home: None, tmp_path_factory: pytest.TempPathFactory) -> str:
    return add_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """240 pictures, 12 of them broken."""
    folder = tmp_path_factory.mktemp("many")
    make_pictures(folder, 240)
    return folder


@pytest.fixture(scope="session")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 pictures, 2 of them broken."""
    folder = tmp_path_factory.mktemp("few")
    make_pictures(folder, 40)
    return folder


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """An object store on this machine, with a bucket."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
            patch.delenv(name, raising=False)
        fsspec.filesystem("s3").mkdir("bucket")
        yield "s3://bucket"
    server.stop()


@pytest.fixture(scope="session")
def ray_here(s3: str, tiny: str) -> Iterator[None]:
    """A cluster on this machine, whose processes know the object store; one GPU is pretended."""
    from alphacut.batch import on_ray

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(on_ray.ray, "init", functools.partial(on_ray.ray.init, num_gpus=1))
        assert on_ray._connect(None)
    yield
    on_ray.ray.shutdown()


def run(source: object, dest: object, **settings: Any) -> Rows:
    """Do a job as the command line does; return the manifest by id and occurrence."""
    job = Job(source=str(source), dest=str(dest), options=Options(model="tiny"), **settings)
    store = Store(job.dest)
    with manifest.claimed(store) as claim:
        plan = jobs.plan(job)
        list(jobs.process(job, plan, claim))
        manifest.merge(store)
    return read(dest.removeprefix("flaky://") if isinstance(dest, str) else dest)


def read(dest: object) -> Rows:
    """The merged manifest, of which each row is the only one of its input."""
    table = parquet.read_table(io.BytesIO(Store(str(dest)).get(manifest.MERGED) or b""))
    rows = {(row["id"], row["occurrence"]): row for row in table.to_pylist()}
    assert len(rows) == len(table)
    return rows


def alike(rows: Rows) -> list[dict[str, Any]]:
    """What two runs of the same pictures must agree on."""
    own = ("milliseconds", "run", "time", "output", "attempts", "key")
    return [
        {name: rows[key][name] for name in rows[key] if name not in own} for key in sorted(rows)
    ]


def results(dest: Path) -> dict[str, bytes]:
    """Contents by name of all results; what a killed process had not renamed yet is none."""
    return {
        str(path.relative_to(dest)): path.read_bytes()
        for path in dest.rglob("*")
        if path.is_file() and manifest.FOLDER not in path.parts and path.suffix != ".part"
    }


def check(source: Path, dest: Path) -> Rows:
    """Make sure that each input has one answer, and each result is whole and nobody else's."""
    rows, files = read(dest), results(dest)
    expected = {str(path.relative_to(source)) for path in source.rglob("*.*")}
    assert {id for id, _ in rows} == expected
    done = {f"{id}.png" for (id, _), row in rows.items() if row["status"] == "done"}
    assert done == set(files)  # none missing, none half, none besides
    for (id, _), row in rows.items():
        if row["status"] == "done":
            content = files[f"{id}.png"]
            assert len(content) == row["output_bytes"]
            assert content.endswith(b"IEND\xae\x42\x60\x82")
            assert not row["error"]
        else:
            assert row["error"]
    return rows


# --- sources ------------------------------------------------------------------------------------


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
    from alphacut.batch.store import read as read_piece

    for shard, names in (("s-0.tar", ALL[:2]), ("s-1.tar", [*ALL[2:], "x/notes.txt"])):
        with tarfile.open(tmp_path / shard, "w") as tar:
            for name in names:
                tar.add(photos / name, name)
    items = found(tmp_path / "s-*.tar")
    assert [item.id for item in items] == ["s-0/a.PNG", "s-0/b.jpg", "s-1/x/c.webp",
                                           "s-1/x/deep/d.jpg"]  # fmt: skip
    for item in items:
        shard = item.input.partition("::")[2]
        assert read_piece(shard, item.start, item.length).decode() == item.id.partition("/")[2]
        with fsspec.open(item.input, "rb") as file:  # an address that others understand, too
            assert file.read().decode() == item.id.partition("/")[2]
    assert [item.id for item in found(tmp_path / "s-0.tar")] == ALL[:2]

    whole = (tmp_path / "s-1.tar").read_bytes()
    (tmp_path / "s-2.tar").write_bytes(whole[:700])
    (tmp_path / "s-3.tar.gz").write_bytes(b"")
    errors = [item.error for item in found(tmp_path / "s-[23].tar*")]
    assert [error[:12] for error in errors if error] == ["damaged shar", "compressed s"]


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
    from functools import partial
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

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
        ("*.tif", "no pictures there"),
        ("nocolumns.csv", "needs the columns id and address, has id, url"),
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


# --- names --------------------------------------------------------------------------------------


def test_names_of_results() -> None:
    assert output_name("a/b.jpg", ".png") == "a/b.jpg.png"
    assert output_name("Müller/ä b.jpg", ".webp") == "Müller/ä b.jpg.webp"
    assert output_name("../../etc/passwd", ".png") == ".%2E/.%2E/etc/passwd.png"
    assert output_name("/root", ".png") == "%/root.png"
    assert output_name("a//b", ".png") == "a/%/b.png"
    assert output_name("c:\\x?.jpg", ".png") == "c%3A%5Cx%3F.jpg.png"
    assert output_name("_alphacut/x", ".png") == "%5Falphacut/x.png"
    assert len(output_name("x" * 5000, ".png")) < 255


@given(st.lists(st.text(st.characters(codec="utf-8"), min_size=1), unique=True, max_size=20))
def test_no_two_ids_share_a_result(ids: list[str]) -> None:
    names = {output_name(id, ".png") for id in ids}
    assert len(names) == len(ids)
    for name in names:
        parts = name.split("/")
        assert not {"", ".", "..", manifest.FOLDER} & set(parts)
        assert all(len(part.encode()) < 256 for part in parts)


def test_a_destination_that_nothing_can_be_written_to() -> None:
    for dest in ("zip://x::y.zip", "https://example.org/"):
        with pytest.raises(OutputError, match="nothing can be written"):
            Store(dest)


# --- the manifest -------------------------------------------------------------------------------

START = datetime(2026, 1, 1, tzinfo=timezone.utc)


def row(id: str, key: int, status: str, minute: int) -> Row:
    return Row(id, 1, id, "", status, "", True, False, 1.0, 1, 1, 1, 1, "", "", 1,
               bytes([key]) * 16, "run", START + timedelta(minutes=minute))  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from("ab"), st.sampled_from([1, 2]), st.sampled_from(["done", "failed"])
        ),
        max_size=12,
    )
)
def test_the_last_word_on_each_input(history: list[tuple[str, int, str]]) -> None:
    rows = [row(*event, minute) for minute, event in enumerate(history)]
    expected = {}
    for id in {event[0] for event in history}:
        own = [item for item in rows if item.id == id]
        written = [item for item in own if item.status == "done"][-1:]
        asked = [item for item in written if item.key == own[-1].key]  # what was asked for last
        expected[id] = (asked or own)[-1].time
    store = Store("memory://history")
    if store.fs.exists(store.root):
        store.fs.rm(store.root, recursive=True)
    for number, part in enumerate((rows[1::2], rows[::2])):  # the order of parts says nothing
        manifest._write(store, f"{manifest.PARTS}/{number}.parquet", manifest.to_table(part))
    loaded = manifest.load(store, ("id", "time"))
    assert dict(zip(loaded["id"].to_pylist(), loaded["time"].to_pylist(), strict=True)) == expected
    manifest.merge(store)
    assert {id: row["time"] for (id, _), row in read("memory://history").items()} == expected


def test_a_damaged_part_is_named(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.put(f"{manifest.PARTS}/x.parquet", b"half a part")
    with pytest.raises(StoreError, match=r"x\.parquet: this part .* remove it"):
        manifest.load(store)


def test_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "BEAT_S", 0.05)
    store = Store(str(tmp_path))
    with manifest.claimed(store) as first:
        with (
            pytest.raises(StoreError, match="another run works there since"),
            manifest.claimed(store),
        ):
            pass
        assert not first.lost
    assert store.get(manifest.LOCK) is None

    dead = {"run": "x", "host": manifest.socket.gethostname(), "pid": 2**22 + 1, "beat": 1}
    elsewhere = {**dead, "host": "elsewhere"}
    for owner in (dead, elsewhere, "no owner"):  # none of them counts on
        store.put(manifest.LOCK, json.dumps(owner).encode())
        with manifest.claimed(store):
            pass

    store.put(manifest.LOCK, json.dumps(elsewhere).encode())
    ended = threading.Event()

    def live() -> None:
        while not ended.wait(0.02):
            elsewhere["beat"] = int(elsewhere["beat"]) + 1
            store.put(manifest.LOCK, json.dumps(elsewhere).encode())

    other = threading.Thread(target=live)
    other.start()
    with pytest.raises(StoreError, match="on elsewhere"), manifest.claimed(store):
        pass
    ended.set()
    other.join()

    with manifest.claimed(store) as claim:  # a run that slept and was taken over
        store.put(manifest.LOCK, json.dumps(elsewhere).encode())
        until(lambda: claim.lost)
        job = Job(source="", dest=str(tmp_path))
        plan = Plan(jobs._work(job), failed=[row("x", 1, "failed", 0)])
        with pytest.raises(StoreError, match="taken over"):
            list(jobs.process(job, plan, claim))


def until(true: Callable[[], object], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


# --- doing it -----------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def local(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the local engine makes of the many pictures."""
    dest = tmp_path_factory.mktemp("local")
    run(source, dest)
    return dest


def test_the_local_engine(source: Path, local: Path, tmp_path: Path) -> None:
    rows = check(source, local)
    failed = [row for row in rows.values() if row["status"] == "failed"]
    assert (len(rows), len(failed)) == (240, 12)
    assert not any(row["again"] for row in failed)
    done = rows["0/00000.jpg", 1]
    content = (source / "0/00000.jpg").read_bytes()
    assert done["input_sha256"] == jobs.hashlib.sha256(content).hexdigest()
    assert (done["input_bytes"], done["width"], done["height"]) == (len(content), 128, 96)
    assert done["milliseconds"] > 0
    from alphacut import Remover

    Remover("tiny")(content).save(tmp_path / "same.png")
    assert Path(done["output"]).read_bytes() == (tmp_path / "same.png").read_bytes()


def test_ray_gives_the_same(source: Path, local: Path, tmp_path: Path, ray_here: None) -> None:
    rows = run(source, tmp_path, engine="ray", actors=2)
    assert results(tmp_path) == results(local)
    assert alike(rows) == alike(read(local))


def test_actors_with_gpus(few: Path, tmp_path: Path, ray_here: None) -> None:
    rows = run(few, tmp_path, engine="ray", gpus_per_actor=0.5)
    assert sum(row["status"] == "done" for row in rows.values()) == 38


def test_actors_share_what_the_nodes_have() -> None:
    from alphacut.batch.on_ray import share

    head, cpu, gpu = {"memory": 1.0}, {"CPU": 4.0}, {"CPU": 8.0, "GPU": 2.0}
    assert share([head, cpu, cpu, cpu], None, 0) == (12, 1)
    assert share([head, cpu, cpu, cpu], 6, 0) == (6, 2)
    assert share([head, cpu, cpu, cpu], 2, 0) == (2, 4)  # not 6, which no node has
    assert share([cpu], 9, 0) == (9, 1)
    assert share([cpu, gpu], None, 1) == (2, 4)  # the node without GPUs is of no use
    assert share([cpu, gpu], None, 0.5) == (4, 2)
    with pytest.raises(RuntimeFailure, match="no node with 1 GPUs"):
        share([head, cpu], None, 1)


def test_actors_that_cannot_start(few: Path, tmp_path: Path, ray_here: None,
                                  monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    from alphacut.batch import on_ray

    class Weightless(on_ray._Actor):
        def __init__(self, work: object) -> None:
            raise WeightsError("u2net.pth: is missing")

    monkeypatch.setattr(on_ray, "_Actor", Weightless)
    reason = r"^Ray failed: alphacut\.errors\.WeightsError: u2net\.pth: is missing$"
    with pytest.raises(RuntimeFailure, match=reason):
        run(few, tmp_path, engine="ray", actors=1)


def test_a_second_run_does_only_what_is_left(few: Path, tmp_path: Path) -> None:
    source, dest = tmp_path / "in", tmp_path / "out"
    make_pictures(source, 20)
    first = run(source, dest)
    (source / "0/00000.jpg").write_bytes((source / "1/00001.png").read_bytes())  # changed
    (dest / "1/00001.png.png").unlink()  # lost
    (dest / "2/00002.webp.png").write_bytes(b"half")
    job = Job(source=str(source), dest=str(dest), options=Options(model="tiny"))
    plan = jobs.plan(job)
    assert {task.id for task in plan.tasks()} == {"0/00000.jpg", "1/00001.png", "2/00002.webp"}
    assert (plan.skipped, plan.given_up) == (16, 1)  # a broken picture stays broken
    again = run(source, dest, retry_failed=True)
    check(source, dest)
    changed = {id for id in first if first[id]["run"] != again[id]["run"]}
    assert len(changed) == 4
    assert again["0/00010.png", 1]["attempts"] == 2
    # other options are another job: all is done again, in the same place
    plan = jobs.plan(Job(source=str(source), dest=str(dest), options=Options(result="mask")))
    assert (plan.pending, plan.skipped) == (20, 0)


def test_an_id_given_twice(few: Path, tmp_path: Path) -> None:
    lines = ["id,address", f"a,{few}/0/00000.jpg", f"a,{few}/1/00001.png", f"b,{few}/1/00001.png",
             f"a,{few}/0/00000.jpg", f"a,{few}/2/00002.webp"]  # fmt: skip
    (tmp_path / "list.csv").write_text("\n".join(lines))
    for _ in range(2):
        rows = run(tmp_path / "list.csv", tmp_path / "out")
        assert {id: row["status"] for id, row in rows.items()} == {
            ("a", 1): "done", ("a", 2): "failed", ("a", 3): "failed", ("b", 1): "done",
        }  # fmt: skip
        assert rows["a", 2]["error"] == "another input before it is called a"
        assert rows["a", 1]["input"].endswith("0/00000.jpg")
        assert set(results(tmp_path / "out")) == {"a.png", "b.png"}


def test_inputs_that_are_not_there(tmp_path: Path) -> None:
    make_pictures(tmp_path / "in", 1)
    (tmp_path / "list.csv").write_text("id,address\na,in/none.jpg\nb,in/0/00000.jpg\nc,nope://x\n")
    rows = run(tmp_path / "list.csv", tmp_path / "out")
    assert [row["status"] for row in rows.values()] == ["failed", "done", "failed"]
    assert "none.jpg: cannot be read: FileNotFoundError" in rows["a", 1]["error"]
    assert "Protocol not known" in rows["c", 1]["error"]
    assert rows["a", 1]["again"]
    (tmp_path / "in/none.jpg").write_bytes((tmp_path / "in/0/00000.jpg").read_bytes())
    assert run(tmp_path / "list.csv", tmp_path / "out")["a", 1]["status"] == "done"


def test_archives_and_shards_are_done(few: Path, tmp_path: Path) -> None:
    names = ["0/00000.jpg", "1/00001.png", "2/00002.webp"]
    with (
        zipfile.ZipFile(tmp_path / "a.zip", "w") as archive,
        tarfile.open(tmp_path / "a.tar", "w") as tar,
    ):
        for name in names:
            archive.write(few / name, name)
            tar.add(few / name, name)
    for kind in ("zip", "tar"):
        run(tmp_path / f"a.{kind}", tmp_path / kind)
    run(few, tmp_path / "plain")
    plain = results(tmp_path / "plain")
    assert len(plain) == 38
    expected = {f"{name}.png": plain[f"{name}.png"] for name in names}
    assert results(tmp_path / "zip") == results(tmp_path / "tar") == expected


def test_trimaps_are_saved(few: Path, tmp_path: Path) -> None:
    options = Options(model="tiny", save_trimap=True)
    job = Job(source=f"{few}/0/00000.jpg", dest=str(tmp_path), options=options)
    with manifest.claimed(Store(job.dest)) as claim:
        list(jobs.process(job, jobs.plan(job), claim))
    assert set(results(tmp_path)) == {"00000.jpg.png", "00000.jpg.png-trimap.png"}


def test_an_estimate(few: Path, tmp_path: Path) -> None:
    job = Job(source=str(few), dest=str(tmp_path / "out"), options=Options(model="tiny"))
    found = jobs.estimate(job, jobs.plan(job), sample=8)
    assert (found.pictures, found.sampled) == (40, 8)
    assert found.core_seconds > 0
    assert found.output_bytes > 100
    assert not (tmp_path / "out").exists()


# --- faults -------------------------------------------------------------------------------------


def processes(name: str) -> list[int]:
    """Numbers of the processes of these tests whose command line begins like this."""
    ours = f"ALPHACUT_HOME={os.environ['ALPHACUT_HOME']}\0".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            named = (path / "cmdline").read_bytes().startswith(name.encode())
            if named and ours in (path / "environ").read_bytes():
                found.append(int(path.name))
        except OSError:  # it has ended meanwhile
            continue
    return found


def command(source: object, dest: object, *words: str) -> list[str]:
    return [sys.executable, "-m", "alphacut", "batch", str(source), str(dest), "--model", "tiny",
            "--quiet", *words]  # fmt: skip


@linux
def test_actors_are_killed(source: Path, local: Path, tmp_path: Path, ray_here: None) -> None:
    job = Job(
        source=str(source), dest=str(tmp_path), options=Options(model="tiny"), engine="ray",
        actors=2,
    )  # fmt: skip
    with manifest.claimed(Store(job.dest)) as claim:
        rows = []
        for row in jobs.process(job, jobs.plan(job), claim):
            if not rows or len(rows) == 150:  # first one, and later all that are there
                alive = processes(WORKERS)
                assert alive
                for pid in alive[: None if rows else 1]:
                    os.kill(pid, signal.SIGKILL)
            rows.append(row)
    assert len(rows) == len({row.id for row in rows}) == 240
    manifest.merge(Store(job.dest))
    assert alike(check(source, tmp_path)) == alike(read(local))
    assert results(tmp_path) == results(local)


@linux
def test_a_picture_that_kills_its_process(few: Path, tmp_path: Path, ray_here: None,
                                          monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    from alphacut.batch import on_ray

    class Deadly(on_ray._Actor):
        def __call__(self, tasks: pa.Table) -> pa.Table:
            if "1/00001.png" in tasks["id"].to_pylist():
                os.kill(os.getpid(), 9)
            return super().__call__(tasks)

    monkeypatch.setattr(on_ray, "_Actor", Deadly)
    run(few, tmp_path, engine="ray", actors=2)
    rows = check(few, tmp_path)
    assert "the process that worked on it died, 3 times" in rows["1/00001.png", 1]["error"]
    assert sum(row["status"] == "done" for row in rows.values()) == 37
    monkeypatch.undo()
    run(few, tmp_path, engine="ray", actors=2)
    assert check(few, tmp_path)["1/00001.png", 1]["status"] == "done"


@linux
@pytest.mark.parametrize("engine", ["local", "ray"])
def test_the_driver_is_killed(source: Path, local: Path, tmp_path: Path, engine: str) -> None:
    driver = subprocess.Popen(command(source, tmp_path, "--engine", engine))
    until(lambda: len(results(tmp_path)) > 20 or driver.poll() is not None)
    driver.send_signal(signal.SIGKILL)
    assert driver.wait() == -signal.SIGKILL
    until(lambda: not processes(WORKERS))  # its processes end with it
    assert not (tmp_path / manifest.MERGED).exists()
    assert len(results(tmp_path)) < 228
    run(source, tmp_path)
    assert alike(check(source, tmp_path)) == alike(read(local))
    assert results(tmp_path) == results(local)


@linux
def test_a_disk_that_is_full(few: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(disk)]
    mounted = subprocess.run(mount, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be made: {mounted.stderr.strip()}")
    try:
        done = subprocess.run(command(few, disk, "--retries", "1"), capture_output=True, text=True)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert "No space left" in done.stderr
        subprocess.run(["mount", "-o", "remount,size=50m", str(disk)], check=True)
        run(few, disk)
        rows = check(few, disk)
        assert sum(row["status"] == "done" for row in rows.values()) == 38
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@linux
def test_files_that_may_not_grow(few: Path, tmp_path: Path) -> None:
    import resource

    limit = 12_000  # the manifest's parts fit, half of the results do not
    done = subprocess.run(
        command(few, tmp_path, "--retries", "0"), capture_output=True, text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )  # fmt: skip
    assert done.returncode == 1
    rows = check(few, tmp_path)
    refused = [row for row in rows.values() if "File too large" in row["error"]]
    assert 0 < len(refused) < 38
    assert all(row["again"] for row in refused)
    run(few, tmp_path)
    assert sum(row["status"] == "done" for row in check(few, tmp_path).values()) == 38


class Flaky(LocalFileSystem):
    """A store that fails one read in ten, and one write in ten when half of it is written."""

    protocol = "flaky"
    calls = 0

    def _fails(self) -> bool:
        Flaky.calls += 1
        return Flaky.calls * 7919 % 10 == 0

    def cat_file(self, path: str, start: Any = None, end: Any = None, **kwargs: Any) -> bytes:
        if self._fails():
            raise TimeoutError("the store did not answer")
        return super().cat_file(path, start, end, **kwargs)

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: Any) -> None:
        if self._fails():
            super().pipe_file(path, value[: len(value) // 2], mode, **kwargs)
            raise ConnectionResetError("the store hung up")
        super().pipe_file(path, value, mode, **kwargs)


@pytest.mark.parametrize("retries", [0, 5])
def test_a_flaky_store(few: Path, tmp_path: Path, retries: int) -> None:
    fsspec.register_implementation("flaky", Flaky, clobber=True)
    source, dest = f"flaky://{few}", f"flaky://{tmp_path}"
    run(source, dest, retries=retries)
    rows = read(tmp_path)
    failed = [row for row in rows.values() if row["again"]]
    if not retries:
        assert failed
        for row in failed:
            assert "the store" in row["error"]
    else:
        assert not failed
    run(source, dest, retries=5)
    rows = check(few, tmp_path)
    assert sum(row["status"] == "done" for row in rows.values()) == 38
    assert not list(tmp_path.rglob("*.part"))


def test_two_runs_at_once_lose_nothing_even_without_a_lock(few: Path, tmp_path: Path) -> None:
    job = Job(source=str(few), dest=str(tmp_path), options=Options(model="tiny"))
    both = [threading.Thread(target=list, args=[jobs.process(job, jobs.plan(job),
            manifest.Claim(Store(job.dest)))]) for _ in range(2)]  # fmt: skip
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert len(manifest.load(Store(job.dest))) == 40
    assert len({name.split("-")[1] for name in os.listdir(tmp_path / manifest.PARTS)}) == 2
    manifest.merge(Store(job.dest))
    assert sum(row["status"] == "done" for row in check(few, tmp_path).values()) == 38


def test_the_same_job_is_started_twice(source: Path, local: Path, tmp_path: Path) -> None:
    both = [subprocess.Popen(command(source, tmp_path), stderr=subprocess.PIPE, text=True)
            for _ in range(2)]  # fmt: skip
    errors = [process.communicate()[1] for process in both]
    assert [process.returncode for process in both] == [1, 1] or sorted(
        process.returncode for process in both
    ) == [1, 2]
    refused = [error for error in errors if "another run works there" in error]
    assert len(refused) <= 1  # none if one began after the other's end
    assert alike(check(source, tmp_path)) == alike(read(local))
    assert not (tmp_path / manifest.LOCK).exists()


# --- a bucket -----------------------------------------------------------------------------------


def test_a_bucket(few: Path, tmp_path: Path, s3: str) -> None:
    store = fsspec.filesystem("s3")
    store.put(f"{few}/", "bucket/in/", recursive=True)
    rows = run(f"{s3}/in", f"{s3}/out")
    assert len(rows) == 40
    assert rows["0/00000.jpg", 1]["output"] == f"{s3}/out/0/00000.jpg.png"
    run(few, tmp_path)
    here = results(tmp_path)
    there = {name.removeprefix("bucket/out/"): content
             for name, content in store.cat(store.find("bucket/out")).items()
             if manifest.FOLDER not in name}  # fmt: skip
    assert there == here

    store.put_file(few / "1/00001.png", "bucket/in/0/00000.jpg")  # its ETag is another now
    plan = jobs.plan(Job(source=f"{s3}/in", dest=f"{s3}/out", options=Options(model="tiny")))
    assert [task.id for task in plan.tasks()] == ["0/00000.jpg"]
    assert (plan.skipped, plan.given_up) == (37, 2)
    assert [item.id for item in found(f"{s3}/in/1/*.png")][:1] == ["00001.png"]


def test_a_bucket_has_one_owner(s3: str) -> None:
    store = Store(f"{s3}/owned")
    assert store.create("lock", b"one")
    assert not store.create("lock", b"two")
    assert store.get("lock") == b"one"
    with manifest.claimed(store), pytest.raises(StoreError, match="another run"):
        manifest.Claim(store).take()


def test_a_bucket_on_ray(few: Path, tmp_path: Path, s3: str, ray_here: None) -> None:
    fsspec.filesystem("s3").put(f"{few}/", "bucket/for-ray/", recursive=True)
    rows = run(f"{s3}/for-ray", f"{s3}/by-ray", engine="ray", actors=2)
    assert alike_but_input(rows) == alike_but_input(run(few, tmp_path))


def alike_but_input(rows: Rows) -> list[dict[str, Any]]:
    return [{name: row[name] for name in row if name not in ("input", "error")}
            for row in alike(rows)]  # fmt: skip
