"""What became of each picture: Parquet parts that are only ever added, and who adds them.

DEST/_alphacut/parts/TIME-RUN-NUMBER.parquet   rows as they came; the truth
DEST/_alphacut/manifest.parquet                one row an input, made of the parts after a run
DEST/_alphacut/lock.json                       who works here, and a count that shows it lives
"""

import contextlib
import io
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timezone
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from alphacut.batch.store import Store, retrying
from alphacut.errors import StoreError
from alphacut.parallel import in_order

FOLDER = "_alphacut"
PARTS = f"{FOLDER}/parts"
MERGED = f"{FOLDER}/manifest.parquet"
LOCK = f"{FOLDER}/lock.json"
PART_ROWS = 1000
PART_S = 10.0
BEAT_S = 10.0
_RETRIES = 5
_READERS = 8
_claims: set[str] = set()  # held by this process

_text, _whole = pa.large_string(), pa.int64()
SCHEMA = pa.schema([
    ("id", _text), ("occurrence", pa.int32()), ("input", _text), ("output", _text),
    ("status", pa.dictionary(pa.int8(), pa.string())), ("error", _text), ("again", pa.bool_()),
    ("empty", pa.bool_()), ("milliseconds", pa.float64()), ("height", pa.int32()),
    ("width", pa.int32()), ("input_bytes", _whole), ("output_bytes", _whole),
    ("input_sha256", _text), ("output_sha256", _text), ("attempts", pa.int32()),
    ("key", pa.binary(16)), ("run", _text), ("time", pa.timestamp("us", "UTC")),
])  # fmt: skip


_DECISIVE = ("id", "occurrence", "status", "key", "time")  # columns that say which row counts


class Row(NamedTuple):
    """What became of one input.

    Attributes:
        id: What the input is called.
        occurrence: 1, or more for an input whose id another one has before it.
        input: Its address.
        output: The result's address; "" if there is none.
        status: "done" or "failed".
        error: Why there is no result.
        again: Whether a failure may go away by itself, so that the next run tries again.
        empty: Whether no subject was found.
        milliseconds: What reading, cutting out and writing took, waiting included.
        height: Of the picture, in pixels.
        width: Of the picture, in pixels.
        input_bytes: Length of the input.
        output_bytes: Length of the result.
        input_sha256: Of the input's bytes.
        output_sha256: Of the result's bytes.
        attempts: How many runs have tried it.
        key: What decides whether it is done: id, input and its version, model, options, version.
        run: Which run did it.
        time: When.
    """

    id: str
    occurrence: int
    input: str
    output: str
    status: str
    error: str
    again: bool
    empty: bool
    milliseconds: float
    height: int
    width: int
    input_bytes: int
    output_bytes: int
    input_sha256: str
    output_sha256: str
    attempts: int
    key: bytes
    run: str = ""
    time: datetime | None = None


def to_table(rows: Iterable[Row]) -> pa.Table:
    """Return rows as a table."""
    return pa.Table.from_pylist([row._asdict() for row in rows], SCHEMA)


class Writer:
    """Adds rows to a manifest, many at a time.

    Args:
        store: Where it lies.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.run = secrets.token_hex(6)
        self._rows: list[Row] = []
        self._parts = 0
        self._written = time.monotonic()

    def add(self, row: Row) -> None:
        """Add a row; it is written soon, and at the latest by `flush`.

        Raises:
            StoreError: if the manifest cannot be written.
        """
        now = datetime.fromtimestamp(time.time(), timezone.utc)
        self._rows.append(row._replace(run=self.run, time=now))
        if len(self._rows) >= PART_ROWS or time.monotonic() - self._written >= PART_S:
            self.flush()

    def flush(self) -> None:
        """Write what was added.

        Raises:
            StoreError: if that fails; pictures that it would have told of are done again.
        """
        self._written = time.monotonic()
        if not self._rows:
            return
        name = f"{PARTS}/{time.time_ns():020d}-{self.run}-{self._parts:06d}.parquet"
        _write(self._store, name, to_table(self._rows))
        self._parts += 1
        self._rows.clear()


def _write(store: Store, name: str, table: pa.Table) -> None:
    file = io.BytesIO()
    parquet.write_table(table, file, compression="zstd")
    _put(store, name, file.getvalue())


def _put(store: Store, name: str, content: bytes) -> None:
    try:
        retrying(_RETRIES)(store.put, name, content)
    except Exception as error:  # fsspec's stores share no base of their errors
        raise StoreError(
            f"{store.address(name)}: the manifest cannot be written ({error}): what is not in it "
            "is done again by the same command"
        ) from error


def load(store: Store, columns: Sequence[str] = tuple(SCHEMA.names)) -> pa.Table:
    """Return what became of each input, sorted by id: one row an input, the last word on it.

    The newest row says what was asked for last. It is done if the last result that was written is
    of that, also where another run failed at it later.

    Args:
        store: Where the manifest lies.
        columns: Which columns to return; all take much memory where there are millions of rows.

    Raises:
        StoreError: if a part cannot be read.
    """
    needed = [name for name in SCHEMA.names if name in columns or name in _DECISIVE]
    table = _join(_parts(store, _names(store), needed), needed)
    return table.take(_last_words(table)).select(list(columns)) if len(table) else table


def merge(store: Store) -> None:
    """Write one row an input, the last word on it, as one file for other programs.

    Raises:
        StoreError: if a part cannot be read, or the file not written.
    """
    names = _names(store)
    table = _join(_parts(store, names, _DECISIVE), _DECISIVE)
    chosen = np.sort(_last_words(table)) if len(table) else np.empty(0, np.int64)
    del table
    file, first = io.BytesIO(), 0
    with parquet.ParquetWriter(file, SCHEMA, compression="zstd") as writer:
        for part in _parts(store, names, SCHEMA.names):  # one after another, to save memory
            low, high = np.searchsorted(chosen, (first, first + len(part)))
            writer.write_table(part.take(chosen[low:high] - first))
            first += len(part)
    _put(store, MERGED, file.getvalue())


def _names(store: Store) -> list[str]:
    return [name for name in store.names(PARTS) if name.endswith(".parquet")]


def _join(parts: Iterable[pa.Table], columns: Sequence[str]) -> pa.Table:
    empty = SCHEMA.empty_table().select(columns)
    return pa.concat_tables([empty, *parts]).unify_dictionaries().combine_chunks()


def _parts(store: Store, names: Iterable[str], columns: Sequence[str]) -> Iterator[pa.Table]:
    """Read parts, several at a time."""
    schema = pa.schema([SCHEMA.field(name) for name in columns])

    def one(name: str) -> pa.Table:
        try:
            content = retrying(_RETRIES)(store.get, name)
            file = io.BytesIO(content or b"")
            return parquet.read_table(file, columns=list(columns)).cast(schema)
        except Exception as error:  # fsspec's stores share no base of their errors
            raise StoreError(
                f"{store.address(name)}: this part of the manifest cannot be read ({error}): if it "
                "is damaged, remove it, and its pictures are done again"
            ) from error

    return in_order(one, names, _READERS)


def _last_words(table: pa.Table) -> np.ndarray[Any, Any]:
    """Return the index of the row that counts for each input."""
    order = pc.sort_indices(
        table, [(name, "ascending") for name in ("id", "occurrence", "time")]
    ).to_numpy()
    ordered = table.select(["id", "occurrence", "key", "status"]).take(order)
    ids, occurrences, keys = (
        ordered[name].combine_chunks().dictionary_encode().indices.to_numpy()
        for name in ("id", "occurrence", "key")
    )
    fresh = np.ones(len(order), bool)
    fresh[1:] = (ids[1:] != ids[:-1]) | (occurrences[1:] != occurrences[:-1])
    starts = np.flatnonzero(fresh)
    lasts = np.append(starts[1:], len(order)) - 1
    done = pc.equal(ordered["status"].cast(pa.string()), "done").to_numpy()
    written = np.maximum.reduceat(np.where(done, np.arange(len(order)), -1), starts)
    asked = (written >= 0) & (keys[written] == keys[lasts])
    return np.asarray(order[np.where(asked, written, lasts)])


class Claim:
    """The lock of a destination, held.

    It saves work and is not needed for truth: two runs at once write the same bytes under the same
    names and rows that `load` joins. So a store that cannot create exclusively is good enough.

    Attributes:
        lost: Whether another run has taken it over, because this one seemed dead.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._owner: dict[str, Any] = {
            "run": secrets.token_hex(6), "host": socket.gethostname(), "pid": os.getpid(),
            "since": datetime.now(timezone.utc).isoformat(timespec="seconds"), "beat": 0,
        }  # fmt: skip
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._live, name="alphacut-lock", daemon=True)
        self.lost = False

    @property
    def _content(self) -> bytes:
        return json.dumps(self._owner).encode()

    def take(self) -> None:
        """Take the lock, from a dead owner if need be.

        Raises:
            StoreError: if another run holds it and lives.
        """
        while not retrying(_RETRIES)(self._store.create, LOCK, self._content):
            owner = self._read()
            if owner and owner.get("run") == self._owner["run"]:
                break  # the store wrote it and did not say so
            if owner and self._lives(owner):
                raise StoreError(
                    f"{self._store.address('')}: another run works there since "
                    f"{owner.get('since')}, process {owner.get('pid')} on {owner.get('host')}: let "
                    "it finish or end it"
                )
            retrying(_RETRIES)(self._store.delete, LOCK)
        _claims.add(self._owner["run"])
        self._thread.start()

    def release(self) -> None:
        """Give the lock back."""
        _claims.discard(self._owner["run"])
        self._ended.set()
        self._thread.join()
        owner = self._read()
        if owner and owner.get("run") == self._owner["run"]:
            self._store.delete(LOCK)

    def _read(self) -> dict[str, Any] | None:
        content = retrying(_RETRIES)(self._store.get, LOCK)
        try:
            owner = json.loads(content) if content else None
        except ValueError:
            return {}
        return owner if isinstance(owner, dict) else None

    def _lives(self, owner: dict[str, Any]) -> bool:
        """Tell whether an owner lives: its process is here, or its count goes on."""
        if owner.get("run") in _claims:
            return True
        if owner.get("host") == self._owner["host"] and os.name == "posix":
            pid = owner.get("pid")
            # in a container that starts anew this process has the dead one's number
            if pid == os.getpid() or not _is_process(pid):
                return False
        for _ in range(30):
            time.sleep(BEAT_S / 10)
            if self._read() != owner:
                return True
        return False

    def _live(self) -> None:
        """Count, so that others see that this run lives."""
        while not self._ended.wait(BEAT_S):
            with contextlib.suppress(Exception):  # a beat that fails is followed by another
                owner = self._read()
                if owner is not None and owner.get("run") != self._owner["run"]:
                    self.lost = True
                    return
                self._owner["beat"] += 1
                self._store.put(LOCK, self._content)


def _is_process(pid: Any) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, TypeError, ValueError):
        return False
    except PermissionError:
        return True
    return True


@contextlib.contextmanager
def claimed(store: Store) -> Iterator[Claim]:
    """Hold the lock of a destination.

    Raises:
        StoreError: if another run holds it and lives.
    """
    claim = Claim(store)
    claim.take()
    try:
        yield claim
    finally:
        with contextlib.suppress(Exception):  # whatever ended the run is what counts
            claim.release()
