"""The manifest: which row counts, whatever the order of its parts."""

import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alphacut.batch import manifest
from alphacut.batch.manifest import Row
from alphacut.batch.store import Store
from alphacut.errors import StoreError
from clusters import read

START = datetime(2026, 1, 1, tzinfo=timezone.utc)


def row(id: str, key: int, status: str, minute: int) -> Row:
    return Row(id, 1, id, "", status, "", True, 1, bytes([key]) * 16, run="run",
               time=START + timedelta(minutes=minute))  # fmt: skip


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
    with pytest.raises(StoreError, match=r"x\.parquet: this part .* delete it"):
        manifest.load(store)


def test_it_loads_no_part_of_the_pipeline() -> None:
    code = "import alphacut.batch.manifest, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    rooms = {name.split(".")[1] for name in done.stdout.split() if name.startswith("alphacut.")}
    assert rooms == {"batch", "errors", "files", "parallel"}
