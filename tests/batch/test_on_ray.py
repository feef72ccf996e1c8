"""The Ray engine: the same rows and pixels as the local one, whatever dies."""

import os
import signal
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pytest

from alphacut import Options
from alphacut.batch import lock, manifest
from alphacut.batch import run as runs
from alphacut.batch.job import Job, plan
from alphacut.batch.store import Store
from alphacut.errors import RuntimeFailure, WeightsError
from clusters import Rows, alike, check, linux, pictures, ray_workers, read, run_job

pytestmark = [
    pytest.mark.usefixtures("tiny"),
    pytest.mark.filterwarnings("ignore"),  # Ray's are about itself
]


@pytest.mark.slow
def test_ray_gives_the_same(source: Path, local: Path, tmp_path: Path, ray_here: None) -> None:
    rows = run_job(source, tmp_path, engine="ray", actors=2)
    assert pictures(tmp_path) == pictures(local)
    assert alike(rows) == alike(read(local))


@pytest.mark.slow
def test_actors_with_gpus(few: Path, tmp_path: Path, ray_here: None) -> None:
    rows = run_job(few, tmp_path, engine="ray", gpus_per_actor=0.5)
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
    with pytest.raises(RuntimeFailure, match="no Ray node has 1 GPUs"):
        share([head, cpu], None, 1)


@pytest.mark.slow
def test_actors_that_cannot_start(few: Path, tmp_path: Path, ray_here: None,
                                  monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    from alphacut.batch import on_ray

    class Weightless(on_ray._Actor):
        def __init__(self, work: object) -> None:
            raise WeightsError("u2net.pth: is missing")

    monkeypatch.setattr(on_ray, "_Actor", Weightless)
    reason = r"^Ray failed: alphacut\.errors\.WeightsError: u2net\.pth: is missing$"
    with pytest.raises(RuntimeFailure, match=reason):
        run_job(few, tmp_path, engine="ray", actors=1)


@pytest.mark.slow
@linux
def test_actors_are_killed(source: Path, local: Path, tmp_path: Path, ray_here: None) -> None:
    job = Job(
        source=str(source), dest=str(tmp_path), options=Options(model="tiny"), engine="ray",
        actors=2,
    )  # fmt: skip
    of_others = ray_workers()  # of earlier tests, still ending
    with lock.claimed(Store(job.dest)) as claim:
        rows = []
        for row in runs.run(job, plan(job), claim):
            if not rows or len(rows) == 150:  # first one, and later all that are there
                alive = sorted(ray_workers() - of_others)
                assert alive
                for pid in alive[: None if rows else 1]:
                    os.kill(pid, signal.SIGKILL)
            rows.append(row)
    assert len(rows) == len({row.id for row in rows}) == 240
    manifest.merge(Store(job.dest))
    assert alike(check(source, tmp_path)) == alike(read(local))
    assert pictures(tmp_path) == pictures(local)


@pytest.mark.slow
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
    run_job(few, tmp_path, engine="ray", actors=2)
    rows = check(few, tmp_path)
    assert "killed the process working on it 3 times" in rows["1/00001.png", 1]["error"]
    assert sum(row["status"] == "done" for row in rows.values()) == 37
    monkeypatch.undo()
    run_job(few, tmp_path, engine="ray", actors=2)
    assert check(few, tmp_path)["1/00001.png", 1]["status"] == "done"


@pytest.mark.slow
def test_a_bucket_on_ray(few: Path, tmp_path: Path, s3: str, ray_here: None) -> None:
    fsspec.filesystem("s3").put(f"{few}/", "bucket/for-ray/", recursive=True)
    rows = run_job(f"{s3}/for-ray", f"{s3}/by-ray", engine="ray", actors=2)
    assert alike_but_input(rows) == alike_but_input(run_job(few, tmp_path))


def alike_but_input(rows: Rows) -> list[dict[str, Any]]:
    return [{name: row[name] for name in row if name not in ("input", "error")}
            for row in alike(rows)]  # fmt: skip
