"""Jobs from beginning to end: one answer for each input, and what survives being killed."""

import hashlib
import os
import signal
import subprocess
import sys
import tarfile
import threading
import warnings
import zipfile
from pathlib import Path
from typing import Any

import cv2
import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem

from alphacut import Options, Remover
from alphacut.batch import FOLDER, lock, manifest
from alphacut.batch import run as runs
from alphacut.batch.job import Job, plan
from alphacut.batch.sources import find
from alphacut.batch.store import Store
from clusters import (
    alike,
    check,
    linux,
    make_pictures,
    pictures,
    pixels,
    ray_workers,
    read,
    results,
    run_job,
    until,
)

pytestmark = [pytest.mark.usefixtures("tiny"),
              pytest.mark.filterwarnings("ignore::alphacut.errors.AlphacutWarning")]  # fmt: skip


def test_the_local_engine(source: Path, local: Path, tmp_path: Path) -> None:
    rows = check(source, local)
    failed = [row for row in rows.values() if row["status"] == "failed"]
    assert (len(rows), len(failed)) == (240, 12)
    assert not any(row["again"] for row in failed)
    done = rows["0/00000.jpg", 1]
    content = (source / "0/00000.jpg").read_bytes()
    assert done["input_sha256"] == hashlib.sha256(content).hexdigest()
    assert done["input_bytes"] == len(content)
    assert (done["input_width"], done["input_height"]) == (128, 96)
    assert 0 <= done["left"] < done["right"] <= 128
    assert 0 <= done["top"] < done["bottom"] <= 96
    assert (done["empty"], failed[0]["empty"], failed[0]["doubt"]) == (False, None, None)
    assert 0 <= done["doubt"] < 1
    assert done["milliseconds"] > 0
    Remover("tiny")(content).save(tmp_path / "same.png")
    same = (tmp_path / "same.png").read_bytes()
    assert pixels(Path(done["output"]).read_bytes()) == pixels(same)


def test_inputs_that_are_not_there(tmp_path: Path) -> None:
    make_pictures(tmp_path / "in", 1)
    (tmp_path / "list.csv").write_text("id,address\na,in/none.jpg\nb,in/0/00000.jpg\nc,nope://x\n")
    rows = run_job(tmp_path / "list.csv", tmp_path / "out")
    assert [row["status"] for row in rows.values()] == ["failed", "done", "failed"]
    assert "none.jpg: cannot be read: No such file" in rows["a", 1]["error"]
    assert "Protocol not known" in rows["c", 1]["error"]
    assert rows["a", 1]["again"]
    (tmp_path / "in/none.jpg").write_bytes((tmp_path / "in/0/00000.jpg").read_bytes())
    assert run_job(tmp_path / "list.csv", tmp_path / "out")["a", 1]["status"] == "done"


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
        run_job(tmp_path / f"a.{kind}", tmp_path / kind)
    run_job(few, tmp_path / "plain")
    plain = pictures(tmp_path / "plain")
    assert len(plain) == 38
    expected = {f"{name}.png": plain[f"{name}.png"] for name in names}
    assert pictures(tmp_path / "zip") == pictures(tmp_path / "tar") == expected


def test_trimaps_are_saved(few: Path, tmp_path: Path) -> None:
    options = Options(model="tiny", save_trimap=True)
    job = Job(source=f"{few}/0/00000.jpg", dest=str(tmp_path), options=options)
    with lock.claimed(Store(job.dest)) as claim:
        list(runs.run(job, plan(job), claim))
    assert set(results(tmp_path)) == {"00000.jpg.png", "00000.jpg.png-trimap.png"}


def test_an_estimate(few: Path, tmp_path: Path) -> None:
    job = Job(source=str(few), dest=str(tmp_path / "out"), options=Options(model="tiny"))
    found = runs.estimate(plan(job), sample=8)
    assert (found.pending, found.sampled) == (40, 8)
    assert found.core_seconds > 0
    assert found.output_bytes > 100
    assert not (tmp_path / "out").exists()


def test_a_run_that_pauses_leaves_the_process_as_it_was(few: Path, tmp_path: Path) -> None:
    """Neither OpenCV's threads nor the filters of warnings are held while no image is in work."""
    job = Job(source=str(few), dest=str(tmp_path), options=Options(model="tiny"))
    threads, filters = cv2.getNumThreads(), list(warnings.filters)
    with lock.claimed(Store(job.dest)) as claim:
        rows = runs.run(job, plan(job), claim)
        next(rows)
        assert warnings.filters == filters
        until(lambda: cv2.getNumThreads() == threads, 10)
        rows.close()


# --- faults


def command(source: object, dest: object, *words: str) -> list[str]:
    return [sys.executable, "-m", "alphacut", "batch", str(source), str(dest), "--model", "tiny",
            "--quiet", *words]  # fmt: skip


@pytest.mark.slow
@linux
def test_workers_of_another_test_are_told_apart(tmp_path: Path) -> None:
    own = {"ALPHACUT_TEST": str(tmp_path)}
    with subprocess.Popen(["bash", "-c", "exec -a ray::MapWorker sleep 60"]) as other:
        until(lambda: other.pid in ray_workers(), 10)
        assert not ray_workers(**own)
        other.kill()


@linux
@pytest.mark.parametrize("engine", ["local", pytest.param("ray", marks=pytest.mark.slow)])
def test_the_driver_is_killed(source: Path, local: Path, tmp_path: Path, engine: str) -> None:
    own = {"ALPHACUT_TEST": str(tmp_path)}
    words = command(source, tmp_path, "--engine", engine)
    with subprocess.Popen(words, env={**os.environ, **own}) as driver:
        until(lambda: len(results(tmp_path)) > 20 or driver.poll() is not None)
        driver.send_signal(signal.SIGKILL)
        assert driver.wait() == -signal.SIGKILL
    until(lambda: not ray_workers(**own))  # its processes end with it
    assert not (tmp_path / manifest.MERGED).exists()
    assert len(results(tmp_path)) < 228
    run_job(source, tmp_path)
    assert alike(check(source, tmp_path)) == alike(read(local))
    assert pictures(tmp_path) == pictures(local)


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
        run_job(few, disk)
        rows = check(few, disk)
        assert sum(row["status"] == "done" for row in rows.values()) == 38
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@linux
def test_files_that_may_not_grow(few: Path, tmp_path: Path) -> None:
    import resource

    limit = 20_000  # the manifest's parts fit, some of the results do not
    done = subprocess.run(
        command(few, tmp_path, "--retries", "0"), capture_output=True, text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )  # fmt: skip
    assert done.returncode == 1
    rows = check(few, tmp_path)
    refused = [row for row in rows.values() if "File too large" in row["error"]]
    assert 0 < len(refused) < 38
    assert all(row["again"] for row in refused)
    run_job(few, tmp_path)
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
    run_job(source, dest, retries=retries)
    rows = read(tmp_path)
    failed = [row for row in rows.values() if row["again"]]
    if not retries:
        assert failed
        for row in failed:
            assert "the store" in row["error"]
    else:
        assert not failed
    run_job(source, dest, retries=5)
    rows = check(few, tmp_path)
    assert sum(row["status"] == "done" for row in rows.values()) == 38
    assert not list(tmp_path.rglob("*.part"))


def test_two_runs_at_once_lose_nothing_even_without_a_lock(few: Path, tmp_path: Path) -> None:
    job = Job(source=str(few), dest=str(tmp_path), options=Options(model="tiny"))
    both = [threading.Thread(target=list, args=[runs.run(job, plan(job),
            lock.Claim(Store(job.dest)))]) for _ in range(2)]  # fmt: skip
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert len(manifest.load(Store(job.dest))) == 40
    assert len({name.split("-")[1] for name in os.listdir(tmp_path / manifest.PARTS)}) == 2
    manifest.merge(Store(job.dest))
    assert sum(row["status"] == "done" for row in check(few, tmp_path).values()) == 38


@pytest.mark.slow
def test_the_same_job_is_started_twice(source: Path, local: Path, tmp_path: Path) -> None:
    both = [subprocess.Popen(command(source, tmp_path), stderr=subprocess.PIPE, text=True)
            for _ in range(2)]  # fmt: skip
    errors = [process.communicate()[1] for process in both]
    assert [process.returncode for process in both] == [1, 1] or sorted(
        process.returncode for process in both
    ) == [1, 2]
    refused = [error for error in errors if "in use by another run" in error]
    assert len(refused) <= 1  # none if one began after the other's end
    assert alike(check(source, tmp_path)) == alike(read(local))
    assert not (tmp_path / lock.LOCK).exists()


# --- a bucket


def test_a_bucket(few: Path, tmp_path: Path, s3: str) -> None:
    store = fsspec.filesystem("s3")
    store.put(f"{few}/", "bucket/in/", recursive=True)
    rows = run_job(f"{s3}/in", f"{s3}/out")
    assert len(rows) == 40
    assert rows["0/00000.jpg", 1]["output"] == f"{s3}/out/0/00000.jpg.png"
    run_job(few, tmp_path)
    here = pictures(tmp_path)
    there = {name.removeprefix("bucket/out/"): pixels(content)
             for name, content in store.cat(store.find("bucket/out")).items()
             if FOLDER not in name}  # fmt: skip
    assert there == here

    store.put_file(few / "1/00001.png", "bucket/in/0/00000.jpg")  # its ETag is another now
    todo = plan(Job(source=f"{s3}/in", dest=f"{s3}/out", options=Options(model="tiny")))
    assert [task.id for task in todo.tasks()] == ["0/00000.jpg"]
    assert (todo.skipped, todo.given_up) == (37, 2)
    first = next(find(f"{s3}/in/1/*.png", Store(str(tmp_path / "nowhere"))))
    assert first.id == "00001.png"
