"""The lock: one live run at a time, and dead ones hold nobody up."""

import json
import threading
from pathlib import Path

import pytest

from alphacut.batch import lock
from alphacut.batch import run as runs
from alphacut.batch.job import Job, Plan, _work
from alphacut.batch.store import Store
from alphacut.batch.work import Task
from alphacut.errors import StoreError
from clusters import until


def test_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "BEAT_S", 0.05)
    store = Store(str(tmp_path))
    with lock.claimed(store) as first:
        with (
            pytest.raises(StoreError, match="in use by another run since"),
            lock.claimed(store),
        ):
            pass
        assert not first.lost
    assert store.get(lock.LOCK) is None

    dead = {"run": "x", "host": lock.socket.gethostname(), "pid": 2**22 + 1, "beat": 1}
    elsewhere = {**dead, "host": "elsewhere"}
    for owner in (dead, elsewhere, "no owner"):  # none of them counts on
        store.put(lock.LOCK, json.dumps(owner).encode())
        with lock.claimed(store):
            pass

    store.put(lock.LOCK, json.dumps(elsewhere).encode())
    ended = threading.Event()

    def live() -> None:
        while not ended.wait(0.02):
            elsewhere["beat"] = int(elsewhere["beat"]) + 1
            store.put(lock.LOCK, json.dumps(elsewhere).encode())

    other = threading.Thread(target=live)
    other.start()
    with pytest.raises(StoreError, match="on elsewhere"), lock.claimed(store):
        pass
    ended.set()
    other.join()

    with lock.claimed(store) as claim:  # a run that slept and was taken over
        store.put(lock.LOCK, json.dumps(elsewhere).encode())
        until(lambda: claim.lost)
        job = Job(source="", dest=str(tmp_path))
        task = Task("x", "x", 0, -1, "x", bytes(16), 1)
        todo = Plan(_work(job), failed=[task.row("it is broken")])
        with pytest.raises(StoreError, match="another run took over"):
            list(runs.run(job, todo, claim))


def test_a_destination_that_cannot_be_locked(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"lock\.json: cannot be written: Not a directory"):
        lock.Claim(Store(f"{tmp_path}/file/out")).take()
