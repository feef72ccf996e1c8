"""A job: which pictures of a source are still to be done, and doing them."""

import dataclasses
import hashlib
import itertools
import json
import os
import re
import sys
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from alphacut import __version__, files, runtimes, values
from alphacut.batch import manifest
from alphacut.batch.manifest import Row, Writer
from alphacut.batch.sources import Found, find
from alphacut.batch.store import Store
from alphacut.batch.work import Task, Work, Worker, to_tasks
from alphacut.errors import StoreError
from alphacut.models import weights
from alphacut.options import Options
from alphacut.output.encode import output_format
from alphacut.parallel import processors

# Control characters, and what some file systems or addresses read as something else
_UNSAFE = re.compile(r'[\x00-\x1f\x7f%\\:*?"<>|#]')
_LONGEST_BYTES = 180
_TABLE_ROWS = 8192
SAMPLE = 24


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is asked for.

    Attributes:
        source: Where the pictures are; see `sources.find`.
        dest: A folder or address for results and manifest.
        options: How pictures are cut out and written.
        engine: "local", or "ray".
        address: Of a Ray cluster; by default the one that runs this, or a new one on this machine.
        actors: How many processes, on Ray; one for each processor, or GPU, by default.
        gpus_per_actor: GPUs that each of them gets.
        retries: How often a store is asked again, and how many runs try a failure again.
        retry_failed: Whether all failures are tried again.
        accept_license: Whether the terms of weights are accepted, if they must be fetched.
    """

    source: str
    dest: str
    options: Options = field(default_factory=Options)
    engine: str = "local"
    address: str | None = None
    actors: int | None = None
    gpus_per_actor: float = 0.0
    retries: int = 3
    retry_failed: bool = False
    accept_license: bool = False


@dataclass
class Plan:
    """What is to be done.

    Attributes:
        work: What each process does.
        tables: Tasks, in tables, since ten million of them take memory.
        failed: Rows of inputs that cannot be done, as their id is taken.
        skipped: How many are done already.
        given_up: How many have failed before and are not tried again.
    """

    work: Work
    tables: list[pa.Table] = field(default_factory=list)
    failed: list[Row] = field(default_factory=list)
    skipped: int = 0
    given_up: int = 0

    @property
    def pending(self) -> int:
        """How many are to be done."""
        return sum(map(len, self.tables))

    def tasks(self) -> Iterator[Task]:
        """Return the tasks one after another."""
        return itertools.chain.from_iterable(map(to_tasks, self.tables))


def plan(job: Job) -> Plan:
    """Decide what is still to be done; nothing is written.

    Raises:
        AlphacutError: if source, destination or model cannot be used.
    """
    store = Store(job.dest)
    work = _work(job)
    ending = "." + output_format(None, work.options.format, opaque=work.options.opaque)
    fingerprint = _fingerprint(work)
    known = manifest.load(store, ("key", "status", "again", "attempts", "output_bytes"))
    done = known.filter(pc.equal(known["status"].cast(pa.string()), "done"))
    sizes = dict(zip(done["key"].to_pylist(), done["output_bytes"].to_pylist(), strict=True))
    failures = {
        row["key"]: row
        for row in known.filter(
            pc.not_equal(known["status"].cast(pa.string()), "done")
        ).select(["key", "attempts", "again"]).to_pylist()
    }  # fmt: skip
    del known, done

    made = Plan(work)
    first: dict[bytes, bytes] = {}  # digests, since ten million ids take memory
    again: dict[bytes, int] = {}
    batch: list[Task] = []
    for found in find(job.source, store):
        if not _is_text(found):
            found = found._replace(
                id=found.id.encode("utf-8", "backslashreplace").decode(),
                input=found.input.encode("utf-8", "backslashreplace").decode(),
                error="its name is no UTF-8: rename it",
            )
        output = output_name(found.id, ending)
        name = output.casefold() if _folds_case(store) else output
        key = _digest(found.id, found.input, found.version, str(found.start), fingerprint)
        task = Task(found.id, found.input, found.start, found.length, output, key, 1)
        taken, where = _digest(name), _digest(found.input)
        if taken in first:
            if first[taken] != where:
                again[taken] = again.get(taken, 1) + 1
                row = task.failed(f"another input before it is called {found.id}", again=False)
                made.failed.append(row._replace(occurrence=again[taken]))
            continue
        first[taken] = where
        before = failures.get(key)
        if found.error:
            error = f"{found.input}: {found.error}"
            made.failed.append(task.failed(error, again=True))
            continue
        if key in sizes and _is_there(store, output, sizes[key]):
            made.skipped += 1
            continue
        hopeless = before and (not before["again"] or before["attempts"] > job.retries)
        if hopeless and not job.retry_failed:
            made.given_up += 1
            continue
        if before:
            task = task._replace(attempts=before["attempts"] + 1)
        batch.append(task)
        if len(batch) == _TABLE_ROWS:
            made.tables.append(_to_table(batch))
            batch = []
    if batch:
        made.tables.append(_to_table(batch))
    return made


def process(job: Job, plan: Plan, claim: manifest.Claim) -> Iterator[Row]:
    """Do what a plan says is to be done; the manifest is written on the way.

    Args:
        job: What was asked for.
        plan: What is to be done.
        claim: The destination's lock; see `manifest.claimed`.

    Yields:
        A row for each input that was not done or given up before, in no order.

    Raises:
        StoreError: if the manifest cannot be written, or another run has taken over.
        AlphacutError: if the model cannot be loaded.
    """
    writer = Writer(Store(job.dest))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of empty and damaged pictures: their rows tell
        try:
            for row in itertools.chain(plan.failed, _engine(job, plan)):
                if claim.lost:
                    raise StoreError(f"{job.dest}: another run has taken over, as this one slept")
                writer.add(row)
                yield row
        finally:
            writer.flush()


def _engine(job: Job, plan: Plan) -> Iterable[Row]:
    """Return what an engine makes of the tasks."""
    if not plan.pending:
        return ()
    if job.engine == "ray":
        from alphacut.batch import on_ray

        return on_ray.process(
            plan.work, plan.tables, address=job.address, actors=job.actors,
            gpus_per_actor=job.gpus_per_actor,
        )  # fmt: skip
    return Worker(plan.work)(plan.tasks())


@dataclass(frozen=True)
class Estimate:
    """What a job will take, from a sample.

    Attributes:
        pictures: How many are to be done.
        sampled: How many were tried.
        failed: How many of those failed.
        core_seconds: Processor time a picture, of all cores together.
        seconds: Time a picture on this machine.
        input_bytes: Mean length of an input.
        output_bytes: Mean length of a result.
    """

    pictures: int
    sampled: int
    failed: int
    core_seconds: float
    seconds: float
    input_bytes: float
    output_bytes: float


def estimate(job: Job, plan: Plan, sample: int = SAMPLE) -> Estimate:
    """Try a sample of what is to be done, spread evenly, on this machine; nothing is written.

    Args:
        job: What was asked for.
        plan: What is to be done.
        sample: How many to try.
    """
    chosen = set(np.linspace(0, plan.pending - 1, min(sample, plan.pending)).astype(int).tolist())
    tasks = [task for index, task in enumerate(plan.tasks()) if index in chosen]
    if not tasks:
        return Estimate(0, 0, 0, 0.0, 0.0, 0.0, 0.0)
    worker = Worker(dataclasses.replace(plan.work, dry=True))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        list(worker(tasks[:1]))  # the first call allocates
        start, used = time.perf_counter(), time.process_time()
        rows = list(worker(tasks))
        used, seconds = time.process_time() - used, time.perf_counter() - start
    n = len(rows)
    return Estimate(
        plan.pending, n, sum(row.status != "done" for row in rows), used / n, seconds / n,
        sum(row.input_bytes for row in rows) / n, sum(row.output_bytes for row in rows) / n,
    )  # fmt: skip


def output_name(id: str, ending: str) -> str:
    """Return the name of a result: its input's id with the format's ending behind it.

    No two ids share a name, whatever else there is, so that none must be compared with others.
    What file systems or addresses cannot hold is written as %XX.

    Args:
        id: What the input is called.
        ending: Of the result, such as ".png".
    """
    parts = []
    for part in id.split("/"):
        name = _UNSAFE.sub(lambda found: f"%{ord(found[0]):02X}", part)
        if name in ("", ".", "..") or name[-1] in ". ":
            name = f"{name[:-1]}%{ord(name[-1]):02X}" if name else "%"
        if len(name.encode()) > _LONGEST_BYTES:
            head = name.encode()[: _LONGEST_BYTES - 40].decode(errors="ignore")
            name = f"{head}%{hashlib.sha256(part.encode()).hexdigest()[:32]}"
        parts.append(name)
    if parts[0] == manifest.FOLDER:
        parts[0] = f"%{ord('_'):02X}{manifest.FOLDER[1:]}"
    return "/".join(parts) + ending


def _work(job: Job) -> Work:
    """Settle what every process must agree on: the model's row, and which of its weights."""
    options = job.options
    spec = weights.find_model(options.model)
    form = runtimes.needed(spec, options.runtime, options.precision, options.device)
    # "auto" looks at the processor, and a cluster may have several kinds
    options = options.replace(precision="int8" if form == "int8" else "fp32")
    return Work(
        options=options, spec=spec, dest=job.dest, retries=job.retries,
        accept_license=job.accept_license, cores=processors(),
    )  # fmt: skip


def _fingerprint(work: Work) -> str:
    """Return what results depend on besides their inputs: version, model and options."""
    options: dict[str, Any] = dataclasses.asdict(work.options)
    background = options["background"]
    if isinstance(background, bytes):
        options["background"] = hashlib.sha256(background).hexdigest()
    paths = [options["trimap"]]
    if isinstance(background, str):
        paths.append(values.parse_background(background).path)
    contents = [files.sha256(Path(name)) for name in paths if name and os.path.isfile(name)]
    model = {form: file.sha256 for form, file in work.spec.weights.items()}
    facts = [__version__, work.spec.name, model, options, contents]
    return json.dumps(facts, sort_keys=True, default=str)


def _digest(*texts: str) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for text in texts:
        data = text.encode()
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.digest()


def _to_table(tasks: Sequence[Task]) -> pa.Table:
    return pa.Table.from_pylist([task._asdict() for task in tasks])


def _is_text(found: Found) -> bool:
    try:
        f"{found.id}{found.input}".encode()
    except UnicodeEncodeError:
        return False
    return True


def _folds_case(store: Store) -> bool:
    """Tell whether a destination takes names that differ in case for one."""
    return store.folder is not None and sys.platform in ("win32", "darwin")


def _is_there(store: Store, output: str, size: int) -> bool:
    """Tell whether a result still lies in a local folder; a bucket would be asked for each."""
    return store.folder is None or store.size(output) == size
