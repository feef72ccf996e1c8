"""One process at work: a model loaded once; reading, cutting out and writing side by side."""

import hashlib
import io
import itertools
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import pyarrow as pa

from alphacut.batch.manifest import Row
from alphacut.batch.store import Store, read, retrying
from alphacut.batch.verdict import Verdict, judge
from alphacut.cutout import Cutout
from alphacut.errors import ImageError, StoreError, one_line
from alphacut.models.entry import ModelSpec
from alphacut.options import Options
from alphacut.parallel import in_order, side_by_side
from alphacut.remover import Remover
from alphacut.video.read import is_film
from alphacut.video.remove import remove_video

STORE_THREADS = 8  # they wait for the store, and each holds one compressed file


class Task(NamedTuple):
    """One image to cut out.

    Attributes:
        id: Its name.
        input: Its address.
        start: Where it begins in its shard, in bytes, if `length` is not negative.
        length: Its length in bytes; -1 for a file of its own.
        output: Name of the result in the destination.
        key: What decides whether it is done; see `Row`.
        attempts: How many runs have tried it, this one included.
    """

    id: str
    input: str
    start: int
    length: int
    output: str
    key: bytes
    attempts: int

    def row(self, error: str = "", *, again: bool = False) -> Row:
        """Return the row of this task, with nothing measured yet.

        Args:
            error: Why it failed; "" if it is done.
            again: Whether later runs may try it again.
        """
        status = "failed" if error else "done"
        return Row(self.id, 1, self.input, "", status, error, again, self.attempts, self.key)


def to_tasks(table: pa.Table) -> Iterator[Task]:
    """Return the rows of a table as tasks."""
    return itertools.starmap(Task, zip(*(column.to_pylist() for column in table), strict=True))


@dataclass(frozen=True, kw_only=True)
class Work:
    """What each process needs to know; it can be sent to another machine.

    Attributes:
        options: How images are cut out and written.
        spec: The model's entry, whose checksums give every process the same weights.
        dest: Where results go.
        retries: How often a store operation is retried.
        accept_license: Whether the terms of weights are accepted, if they must be downloaded.
        cores: How many images are cut out at a time.
        threads: How many processors the network may use; all by default.
        dry: Whether to write nothing.
        fail_empty: Whether an image without a subject fails.
        fail_doubt: The doubt above which one fails; None for none.
    """

    options: Options
    spec: ModelSpec
    dest: str
    retries: int
    accept_license: bool
    cores: int
    threads: int | None = None
    dry: bool = False
    fail_empty: bool = False
    fail_doubt: float | None = None


@dataclass
class _Step:
    """A task between two stages; `row` is set at its end."""

    task: Task
    content: bytes = b""
    result: bytes = b""
    trimap: bytes = b""
    verdict: Verdict | None = None
    sha256: str = ""
    milliseconds: float = 0.0
    row: Row | None = None


class Worker:
    """A process's model, and what it does with tasks.

    Args:
        work: What to do.

    Raises:
        AlphacutError: if the model cannot be loaded, or the destination cannot be opened.
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
        """Do tasks; few are in flight at a time, so memory does not grow with their number.

        Yields:
            One row per task, in order.
        """
        steps: Iterator[_Step] = (_Step(task) for task in tasks)
        steps = in_order(self._guard(self._read), steps, STORE_THREADS)
        steps = in_order(self._guard(self._cut_out), steps, self._work.cores)
        for step in in_order(self._guard(self._write), steps, STORE_THREADS):
            assert step.row is not None
            yield step.row

    def _guard(self, stage: Callable[[_Step], None]) -> Callable[[_Step], _Step]:
        """Return a stage that is timed, and turns an error into a row instead of raising it."""

        def guarded(step: _Step) -> _Step:
            if step.row is not None:
                return step
            start = time.perf_counter()
            try:
                stage(step)
            except Exception as error:  # one of many: it is reported, and the others go on
                again = not isinstance(error, ImageError)
                step.row = step.task.row(one_line(error), again=again)
            step.milliseconds += (time.perf_counter() - start) * 1000
            if step.row is not None:
                if step.verdict:
                    step.row = step.row._replace(**step.verdict.columns())
                step.row = step.row._replace(
                    milliseconds=round(step.milliseconds, 2), input_bytes=len(step.content),
                    input_sha256=step.sha256,
                )  # fmt: skip
                step.content = step.result = b""
            return step

        return guarded

    def _read(self, step: _Step) -> None:
        task = step.task
        step.content = retrying(self._work.retries)(read, task.input, task.start, task.length)
        if 0 <= task.length != len(step.content):
            raise StoreError(f"{task.input}: cannot be read: its shard is truncated")
        step.sha256 = hashlib.sha256(step.content).hexdigest()

    def _cut_film(self, step: _Step) -> None:
        """Cut out a film, by files of this machine: codecs go back and forth in them."""
        with tempfile.TemporaryDirectory(prefix="alphacut-") as folder:
            clip = Path(folder, "clip").with_suffix(PurePosixPath(step.task.input).suffix)
            clip.write_bytes(step.content)
            result = clip.with_name(f"result{PurePosixPath(step.task.output).suffix}")
            written = remove_video(clip, result, remover=self._remover, threads=1)
            if self._work.fail_empty and written.empty == written.frames:
                raise ImageError(f"{step.task.input}: no foreground found", "refused")
            step.result = result.read_bytes()

    def _cut_out(self, step: _Step) -> None:
        if is_film(PurePosixPath(step.task.input)):
            self._cut_film(step)
            return
        file = io.BytesIO(step.content)
        file.name = step.task.input  # what messages call it
        options = self._work.options
        with side_by_side(self._work.cores):
            cutout: Cutout = self._remover(file)
            step.verdict = judge(
                cutout, fail_empty=self._work.fail_empty, fail_doubt=self._work.fail_doubt
            )
            if step.verdict.error:
                raise step.verdict.error
            step.result = b"".join(cutout.encode(options)[1])
            if options.save_trimap:
                step.trimap = cutout.encode_trimap(options)

    def _write(self, step: _Step) -> None:
        task = step.task
        if not self._work.dry:
            put = retrying(self._work.retries)
            if step.trimap:
                put(self._store.put, f"{task.output}-trimap.png", step.trimap)
            put(self._store.put, task.output, step.result)
        step.row = task.row()._replace(
            output=self._store.address(task.output), output_bytes=len(step.result),
            output_sha256=hashlib.sha256(step.result).hexdigest(),
        )  # fmt: skip
