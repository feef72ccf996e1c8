"""One row per image, in Parquet parts that are only ever added.

DEST/_alphacut/parts/TIME-RUN-NUMBER.parquet   rows as they came: the record of what was done
DEST/_alphacut/manifest.parquet                one row per input, merged from the parts after a run
"""

import io
import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timezone
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from alphacut.batch import FOLDER
from alphacut.batch.store import Store, retrying
from alphacut.errors import AlphacutError, StoreError, one_line
from alphacut.parallel import in_order

PARTS = f"{FOLDER}/parts"
MERGED = f"{FOLDER}/manifest.parquet"
PART_ROWS = 1000
PART_S = 10.0
_READERS = 8

_text, _whole = pa.large_string(), pa.int64()
SCHEMA = pa.schema([
    ("id", _text), ("occurrence", pa.int32()), ("input", _text), ("output", _text),
    ("status", pa.dictionary(pa.int8(), pa.string())), ("error", _text), ("again", pa.bool_()),
    ("input_width", pa.int32()), ("input_height", pa.int32()), ("left", pa.int32()),
    ("top", pa.int32()), ("right", pa.int32()), ("bottom", pa.int32()), ("empty", pa.bool_()),
    ("doubt", pa.float64()), ("ground", _text), ("ground_sure", pa.float64()),
    ("milliseconds", pa.float64()), ("input_bytes", _whole), ("output_bytes", _whole),
    ("input_sha256", _text), ("output_sha256", _text), ("attempts", pa.int32()),
    ("key", pa.binary(16)), ("run", _text), ("time", pa.timestamp("us", "UTC")),
])  # fmt: skip
_DECISIVE = ("id", "occurrence", "status", "key", "time")  # columns that decide which row counts


class Row(NamedTuple):
    """What became of one input.

    Attributes:
        id: Its name: its path below the source, or what a list calls it.
        occurrence: 1; more if earlier inputs have the same id.
        input: Its address.
        output: Address of the result; "" if there is none.
        status: "done" or "failed".
        error: Why there is no result; "" if there is one.
        again: Whether the failure may be temporary, so that later runs try again.
        attempts: How many runs have tried it, this one included.
        key: Digest of id, input and its version, model, options and alphacut's version: an input
            is done if a row with its key says so.
        input_width: Of the image as it was read, in pixels; None if that is not known, as for all
            up to `ground_sure`.
        input_height: Likewise.
        left: Of the subject's box, in pixels of the image as it was read; None if it is empty.
        top: Likewise.
        right: Likewise, exclusive.
        bottom: Likewise, exclusive.
        empty: Whether no subject was found.
        doubt: See `Cutout.doubt`.
        ground: How the ground was known; see `Cutout.ground`.
        ground_sure: How sure that is.
        milliseconds: Time spent reading, cutting out and writing, waits included.
        input_bytes: Length of the input.
        output_bytes: Length of the result.
        input_sha256: SHA-256 of the input.
        output_sha256: SHA-256 of the result.
        run: The run that wrote the row.
        time: When the row was added.
    """

    id: str
    occurrence: int
    input: str
    output: str
    status: str
    error: str
    again: bool
    attempts: int
    key: bytes
    input_width: int | None = None
    input_height: int | None = None
    left: int | None = None
    top: int | None = None
    right: int | None = None
    bottom: int | None = None
    empty: bool | None = None
    doubt: float | None = None
    ground: str | None = None
    ground_sure: float | None = None
    milliseconds: float = 0.0
    input_bytes: int = 0
    output_bytes: int = 0
    input_sha256: str = ""
    output_sha256: str = ""
    run: str = ""
    time: datetime | None = None


def to_table(rows: Iterable[Row]) -> pa.Table:
    """Return rows as a table."""
    return pa.Table.from_pylist([row._asdict() for row in rows], SCHEMA)


class Writer:
    """Adds rows to a manifest, many at a time.

    Args:
        store: Where the manifest lies.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.run = secrets.token_hex(6)
        self._rows: list[Row] = []
        self._parts = 0
        self._written = time.monotonic()

    def add(self, row: Row) -> None:
        """Add a row; it is written within `PART_ROWS` rows or `PART_S` seconds, or by `flush`.

        Raises:
            StoreError: if the manifest cannot be written.
        """
        now = datetime.fromtimestamp(time.time(), timezone.utc)
        self._rows.append(row._replace(run=self.run, time=now))
        if len(self._rows) >= PART_ROWS or time.monotonic() - self._written >= PART_S:
            self.flush()

    def flush(self) -> None:
        """Write the rows added since the last part.

        Raises:
            StoreError: if the manifest cannot be written; the next run repeats those images.
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
        retrying()(store.put, name, content)
    except AlphacutError as error:
        raise StoreError(f"the manifest is incomplete: {error}: run the same command again to "
                         "repeat what it misses") from error  # fmt: skip


def load(store: Store, columns: Sequence[str] = tuple(SCHEMA.names)) -> pa.Table:
    """Return one row per input, the one that counts, sorted by id.

    The newest row of an input says what was last asked for. The row that counts is the last one
    that wrote a result, if its key is that of the newest; else the newest itself. So a result
    stands even if another run failed at the same input later.

    Args:
        store: Where the manifest lies.
        columns: Which columns to return; with millions of rows, all of them take much memory.

    Raises:
        StoreError: if a part cannot be read.
    """
    needed = [name for name in SCHEMA.names if name in columns or name in _DECISIVE]
    table = _join(_parts(store, _names(store), needed), needed)
    return table.take(_deciding(table)).select(list(columns)) if len(table) else table


def merge(store: Store) -> None:
    """Write the rows that `load` returns, in no order, as one file for other programs.

    Raises:
        StoreError: if a part cannot be read, or the file cannot be written.
    """
    names = _names(store)
    table = _join(_parts(store, names, _DECISIVE), _DECISIVE)
    chosen = np.sort(_deciding(table)) if len(table) else np.empty(0, np.int64)
    del table
    file, first = io.BytesIO(), 0
    with parquet.ParquetWriter(file, SCHEMA, compression="zstd") as writer:
        for part in _parts(store, names, SCHEMA.names):  # one after another, to save memory
            low, high = np.searchsorted(chosen, (first, first + len(part)))
            writer.write_table(part.take(chosen[low:high] - first))
            first += len(part)
    _put(store, MERGED, file.getvalue())


def _names(store: Store) -> list[str]:
    return [name for name in retrying()(store.names, PARTS) if name.endswith(".parquet")]


def _join(parts: Iterable[pa.Table], columns: Sequence[str]) -> pa.Table:
    empty = SCHEMA.empty_table().select(columns)
    return pa.concat_tables([empty, *parts]).unify_dictionaries().combine_chunks()


def _parts(store: Store, names: Iterable[str], columns: Sequence[str]) -> Iterator[pa.Table]:
    """Read parts, several at a time, in order."""
    schema = pa.schema([SCHEMA.field(name) for name in columns])

    def read_part(name: str) -> pa.Table:
        file = io.BytesIO(retrying()(store.get, name) or b"")
        try:
            return parquet.read_table(file, columns=list(columns)).cast(schema)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise StoreError(
                f"{store.address(name)}: this part of the manifest is damaged "
                f"({one_line(error)}): delete it, and its images are done again"
            ) from error

    return in_order(read_part, names, _READERS)


def _deciding(table: pa.Table) -> np.ndarray[Any, Any]:
    """Return the index of the row that counts for each input; see `load`."""
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
