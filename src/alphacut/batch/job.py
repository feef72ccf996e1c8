"""A job, and the plan of what is still to do for it."""

import dataclasses
import hashlib
import itertools
import json
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from alphacut import __version__, files, runtimes, values
from alphacut.batch import FOLDER, manifest
from alphacut.batch.inputs import refuse_several
from alphacut.batch.manifest import Row
from alphacut.batch.sources import Found, find
from alphacut.batch.store import Store
from alphacut.batch.work import Task, Work, to_tasks
from alphacut.models import weights
from alphacut.options import Options
from alphacut.output.encode import output_format
from alphacut.parallel import processors
from alphacut.stages import find_method
from alphacut.video.read import is_film
from alphacut.video.remove import is_opaque

# Control characters, and those that mean something else to some file systems or in addresses
_UNSAFE = re.compile(r'[\x00-\x1f\x7f%\\:*?"<>|#]')
_LONGEST_BYTES = 180
_TABLE_ROWS = 8192


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is asked for.

    Attributes:
        source: Where the images are; see `sources.find`.
        dest: A folder or address for the results and the manifest.
        options: How images are cut out and written.
        engine: "local", or "ray".
        address: Address of a Ray cluster; by default the one this process belongs to, or a new one
            on this machine.
        actors: Number of Ray actors; one per processor, or per GPU, by default.
        gpus_per_actor: GPUs given to each.
        retries: How often a store operation is retried, and how many later runs retry a failure.
        retry_failed: Whether to retry every failure.
        accept_license: Whether the terms of weights are accepted, if they must be downloaded.
        fail_empty: Whether an image without a subject fails.
        fail_doubt: The doubt above which one fails; None for none.
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
    fail_empty: bool = False
    fail_doubt: float | None = None

    def __post_init__(self) -> None:
        """Refuse options that give several results for an image.

        Raises:
            OptionError: if so.
        """
        refuse_several(self.options)


@dataclass
class Plan:
    """What is left to do.

    Attributes:
        work: What each process needs to know.
        tables: The tasks, as tables, because ten million objects take too much memory.
        failed: Rows of inputs that cannot be done: damaged shards, ids that are taken.
        skipped: How many are done already.
        given_up: How many failed before and are not retried.
    """

    work: Work
    tables: list[pa.Table] = field(default_factory=list)
    failed: list[Row] = field(default_factory=list)
    skipped: int = 0
    given_up: int = 0

    @property
    def pending(self) -> int:
        """How many are left to do."""
        return sum(map(len, self.tables))

    def tasks(self) -> Iterator[Task]:
        """Yield the tasks one by one."""
        return itertools.chain.from_iterable(map(to_tasks, self.tables))


def plan(job: Job) -> Plan:
    """Decide what is left to do; nothing is written.

    Raises:
        AlphacutError: if source, destination or model cannot be used.
    """
    work = _work(job)
    store = Store(job.dest)
    extension = "." + output_format(None, work.options.format, opaque=work.options.opaque)
    film_extension = ".mp4" if is_opaque(work.options) else ".webm"
    fingerprint = _fingerprint(work)
    done_bytes, failures = _history(store)

    made = Plan(work)
    first: dict[bytes, bytes] = {}  # digests, because ten million ids take too much memory
    repeats: dict[bytes, int] = {}
    batch: list[Task] = []
    for found in find(job.source, store):
        found = _as_text(found)
        film = is_film(PurePosixPath(found.input))
        output = output_name(found.id, film_extension if film else extension)
        key = _digest(found.id, found.input, found.version, str(found.start), fingerprint)
        task = Task(found.id, found.input, found.start, found.length, output, key, 1)
        name = _digest(output.casefold() if _ignores_case(store) else output)
        place = _digest(found.input)
        if name in first:
            if first[name] != place:
                repeats[name] = repeats.get(name, 1) + 1
                row = task.row(f"an earlier input is also called {found.id}")
                made.failed.append(row._replace(occurrence=repeats[name]))
            continue
        first[name] = place
        if found.error:
            made.failed.append(task.row(f"{found.input}: {found.error}", again=True))
            continue
        if key in done_bytes and _is_there(store, output, done_bytes[key]):
            made.skipped += 1
            continue
        if before := failures.get(key):
            hopeless = not before["again"] or before["attempts"] > job.retries
            if hopeless and not job.retry_failed:
                made.given_up += 1
                continue
            task = task._replace(attempts=before["attempts"] + 1)
        batch.append(task)
        if len(batch) == _TABLE_ROWS:
            made.tables.append(_to_table(batch))
            batch = []
    if batch:
        made.tables.append(_to_table(batch))
    return made


def output_name(id: str, extension: str) -> str:
    """Return the name of a result: its input's id followed by the format's extension.

    No two ids share a name, so that names need no comparison with each other. What file systems or
    addresses cannot hold is written as %XX.

    Args:
        id: The input's id.
        extension: The result's, such as ".png".
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
    if parts[0] == FOLDER:
        parts[0] = f"%{ord('_'):02X}{FOLDER[1:]}"
    return "/".join(parts) + extension


def _work(job: Job) -> Work:
    """Settle what all processes must agree on: the model, and which of its weights."""
    options = job.options.without_streams()
    spec = weights.find_model(options.model)
    form = runtimes.needed(
        spec, options.runtime, options.precision, options.device, options.network_size
    )
    # "auto" depends on the processor, and a cluster may have several kinds
    if options.precision == "auto":
        options = options.replace(precision="int8" if form == "int8" else "fp32")
    return Work(
        options=options, spec=spec, dest=job.dest, retries=job.retries,
        accept_license=job.accept_license, cores=processors(),
        fail_empty=job.fail_empty, fail_doubt=job.fail_doubt,
    )  # fmt: skip


def _fingerprint(work: Work) -> str:
    """Return what results depend on besides their inputs: version, model and options."""
    options: dict[str, Any] = dataclasses.asdict(work.options)
    background = options["background"]
    paths = [options[name] for name in ("trimap", "pair", "plate")]
    if isinstance(background, str):
        paths.append(values.parse_background(background).path)
    for name, value in options.items():
        if isinstance(value, bytes):
            options[name] = hashlib.sha256(value).hexdigest()
    contents = [_content(Path(name)) for name in paths if isinstance(name, str)]
    specs = [work.spec]
    if network := find_method(work.options.matting, work.options.quality).network:
        specs.append(weights.find_model(network))
    models = {spec.name: {form: file.sha256 for form, file in spec.weights.items()}
              for spec in specs}  # fmt: skip
    facts = [__version__, models, options, contents, work.fail_empty, work.fail_doubt]
    return json.dumps(facts, sort_keys=True, default=str)


def _content(path: Path) -> Any:
    """Return what tells a file's content, or that of a folder of trimaps, from another."""
    if path.is_dir():
        entries = sorted(each for each in path.rglob("*") if each.is_file())
        return [(each.relative_to(path).as_posix(), each.stat().st_size, each.stat().st_mtime_ns)
                for each in entries]  # fmt: skip
    return files.sha256(path) if path.is_file() else None


def _history(store: Store) -> tuple[dict[bytes, int], dict[bytes, dict[str, Any]]]:
    """Return lengths of the results that the manifest has, and rows of the failures, by key."""
    table = manifest.load(store, ("key", "status", "again", "attempts", "output_bytes"))
    is_done = pc.equal(table["status"].cast(pa.string()), "done")
    done, failed = table.filter(is_done), table.filter(pc.invert(is_done))
    lengths = zip(done["key"].to_pylist(), done["output_bytes"].to_pylist(), strict=True)
    rows = failed.select(["key", "attempts", "again"]).to_pylist()
    return dict(lengths), {row["key"]: row for row in rows}


def _digest(*texts: str) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for text in texts:
        data = text.encode()
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.digest()


def _to_table(tasks: Sequence[Task]) -> pa.Table:
    return pa.Table.from_pylist([task._asdict() for task in tasks])


def _as_text(found: Found) -> Found:
    """Return an input whose names are text; one whose names are not gets an error."""
    try:
        f"{found.id}{found.input}".encode()
    except UnicodeEncodeError:
        return found._replace(
            id=found.id.encode("utf-8", "backslashreplace").decode(),
            input=found.input.encode("utf-8", "backslashreplace").decode(),
            error="its name is not valid UTF-8: rename it",
        )
    return found


def _ignores_case(store: Store) -> bool:
    """Tell whether names that differ in case only are one file in a destination."""
    return store.folder is not None and sys.platform in ("win32", "darwin")


def _is_there(store: Store, output: str, length: int) -> bool:
    """Tell whether a result is still in a local folder; a bucket's manifest is trusted."""
    return store.folder is None or store.size(output) == length
