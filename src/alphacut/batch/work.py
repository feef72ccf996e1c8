"""One process at work: a model loaded once; reading, cutting out and writing side by side."""

import hashlib
import io
import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa

from alphacut.batch.manifest import Row
from alphacut.batch.store import Store, read, retrying
from alphacut.cutout import Cutout
from alphacut.errors import AlphacutError, ImageError, OutputError, StoreError
from alphacut.models.entry import ModelSpec
from alphacut.options import Options
from alphacut.output.encode import Raster, encode
from alphacut.parallel import in_order, side_by_side
from alphacut.pipeline.trimap import encode_trimap
from alphacut.remover import Remover

STORE_THREADS = 8  # wait for a store, each holding one file's compressed bytes


class Task(NamedTuple):
    """One picture to do.

    Attributes:
        id: What it is called.
        input: Its address.
        start: Where it begins in its file, if `length` is not negative.
        length: Its length in bytes; -1 if it is a file of its own.
        output: Name of the result in the destination.
        key: What decides whether it is done.
        attempts: How many runs have tried it, this one included.
    """

    id: str
    input: str
    start: int
    length: int
    output: str
    key: bytes
    attempts: int

    def failed(self, error: object, *, again: bool) -> Row:
        """Return the row of this task as one that failed."""
        blank = Row(self.id, 1, self.input, "", "failed", "", again, False, 0, 0, 0, 0, 0, "", "",
                    self.attempts, self.key)  # fmt: skip
        return blank._replace(error=describe(error))


def to_tasks(table: pa.Table) -> Iterator[Task]:
    """Return a table's rows as tasks."""
    return itertools.starmap(Task, zip(*(column.to_pylist() for column in table), strict=True))


@dataclass(frozen=True, kw_only=True)
class Work:
    """What each process does with its tasks, in a form that travels.

    Attributes:
        options: How pictures are cut out and written.
        spec: The model's row; its checksum makes sure that every process has the same weights.
        dest: Where results go.
        retries: How often a store is asked again.
        accept_license: Whether the terms of weights are accepted, if they must be fetched.
        cores: How many pictures are cut out at a time.
        threads: How many processors the network may use; all by default.
        dry: Whether nothing is written.
    """

    options: Options
    spec: ModelSpec
    dest: str
    retries: int
    accept_license: bool
    cores: int
    threads: int | None = None
    dry: bool = False


@dataclass
class _Step:
    """A task on its way; `row` is set at its end."""

    task: Task
    content: bytes = b""
    pieces: bytes = b""
    trimap: bytes = b""
    cutout_size: tuple[int, int] = (0, 0)
    empty: bool = False
    sha256: str = ""
    milliseconds: float = 0.0
    row: Row | None = None


class Worker:
    """A process's model, and what it does with tasks.

    Args:
        work: What to do.

    Raises:
        AlphacutError: if the model cannot be loaded.
    """

    def __init__(self, work: Work) -> None:
        self._work = work
        self._store = Store(work.dest)
        self._remover = Remover(
            work.spec, options=work.options, threads=work.threads,
            hint="throughput" if work.cores > 1 else "latency",
            accept_license=work.accept_license,
        )  # fmt: skip

    def __call__(self, tasks: Iterable[Task]) -> Iterator[Row]:
        """Do tasks; few are under way at a time, so that memory does not grow with their number.

        Yields:
            One row a task, in order.
        """
        steps: Iterator[_Step] = (_Step(task) for task in tasks)
        steps = in_order(self._guard(self._read), steps, STORE_THREADS)
        at_once = side_by_side(self._work.cores)
        steps = in_order(at_once(self._guard(self._cut)), steps, self._work.cores)
        for step in in_order(at_once(self._guard(self._write)), steps, STORE_THREADS):
            assert step.row is not None
            yield step.row

    def _guard(self, stage: Callable[[_Step], None]) -> Callable[[_Step], _Step]:
        """Let a stage fail on one picture without stopping the others, and take its time."""

        def guarded(step: _Step) -> _Step:
            if step.row is not None:
                return step
            start = time.perf_counter()
            try:
                stage(step)
            except Exception as error:  # one of many: it is reported, and the others go on
                again = not isinstance(error, ImageError)
                step.row = step.task.failed(error, again=again)
            step.milliseconds += (time.perf_counter() - start) * 1000
            if step.row is not None:
                step.row = step.row._replace(
                    milliseconds=round(step.milliseconds, 2), input_bytes=len(step.content),
                    input_sha256=step.sha256,
                )  # fmt: skip
                step.content = step.pieces = b""
            return step

        return guarded

    def _read(self, step: _Step) -> None:
        task = step.task
        address = task.input.partition("::")[2] if task.length >= 0 else task.input
        try:
            step.content = retrying(self._work.retries)(read, address, task.start, task.length)
        except StoreError:
            raise
        except Exception as error:  # fsspec's stores share no base of their errors
            raise StoreError(f"{task.input}: cannot be read: {describe(error)}") from error
        if 0 <= task.length != len(step.content):
            raise StoreError(f"{task.input}: cannot be read: its shard ends early")
        step.sha256 = hashlib.sha256(step.content).hexdigest()

    def _cut(self, step: _Step) -> None:
        file = io.BytesIO(step.content)
        file.name = step.task.input  # what messages call it
        options = self._work.options
        cutout: Cutout = self._remover(file)
        step.cutout_size, step.empty = cutout.size, cutout.empty
        step.pieces = b"".join(cutout.encode(options)[1])
        if options.save_trimap and cutout.trimap is not None:
            levels = Raster(encode_trimap(cutout.trimap))
            step.trimap = b"".join(encode([levels], "png", effort=options.png))

    def _write(self, step: _Step) -> None:
        task = step.task
        if not self._work.dry:
            put = retrying(self._work.retries)
            try:
                if step.trimap:
                    put(self._store.put, f"{task.output}-trimap.png", step.trimap)
                put(self._store.put, task.output, step.pieces)
            except OutputError:
                raise
            except Exception as error:  # fsspec's stores share no base of their errors
                address = self._store.address(task.output)
                raise StoreError(f"{address}: cannot be written: {describe(error)}") from error
        height, width = step.cutout_size
        step.row = task.failed("", again=False)._replace(
            output=self._store.address(task.output), status="done", empty=step.empty,
            height=height, width=width, output_bytes=len(step.pieces),
            output_sha256=hashlib.sha256(step.pieces).hexdigest(),
        )  # fmt: skip


def describe(error: object) -> str:
    """Return an error as one line."""
    text = " ".join(str(error).split())
    if isinstance(error, Exception) and not isinstance(error, AlphacutError):
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return text
