"""A folder that is watched: each image is cut out once it is complete, and again if it changes."""

import contextlib
import functools
import itertools
import os
import shutil
import threading
import time
import warnings
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from alphacut import files
from alphacut.batch import journal as journals
from alphacut.batch.folder import (
    Existing,
    Item,
    Outcome,
    attempt,
    images_in,
    result_name,
    same_file,
)
from alphacut.batch.inputs import refuse_several
from alphacut.batch.journal import Entry, Journal, Mark, Status
from alphacut.errors import AlphacutWarning, ImageError, OutputError, StoreError, one_line
from alphacut.output.encode import output_format
from alphacut.parallel import in_order, processors
from alphacut.remover import Remover

_RESCAN_S = 30.0  # between looks where nothing was reported: events can be lost
_GATHER_S = 0.1  # events come in bursts
_EVENTS = ("created", "modified", "closed", "moved")  # not those of reading


@dataclass(frozen=True, kw_only=True)
class Watch:
    """What is watched, and how.

    Attributes:
        folder: Where images appear.
        results: Where their results go.
        recursive: Whether subfolders are watched as well.
        move_done: Where the originals of finished results are moved; None to leave them.
        overwrite: Whether a result may replace a file that no watch has written.
        settle_s: For how long an image must not change before it counts as complete.
        poll_s: How often to look; None to be told by the system, which network drives are not.
        threads: How many images at a time; as many as there are processors by default.
        fail_empty: Whether an image without a subject fails.
        fail_doubt: The doubt above which one fails; None for none.
    """

    folder: Path
    results: Path
    recursive: bool = False
    move_done: Path | None = None
    overwrite: bool = False
    settle_s: float = 2.0
    poll_s: float | None = None
    threads: int | None = None
    fail_empty: bool = False
    fail_doubt: float | None = None

    def __post_init__(self) -> None:
        """Refuse folders that are one.

        Raises:
            OutputError: if so, or if there is nothing to watch.
        """
        if not self.folder.is_dir():
            raise OutputError(f"{self.folder}: no such folder to watch")
        places = {"results": self.results, "finished originals": self.move_done}
        taken = {same_file(self.folder): "pictures"}
        for what, place in places.items():
            if place is not None and (other := taken.setdefault(same_file(place), what)) != what:
                raise OutputError(f"{place}: is the folder of {other}: give {what} another")


class _Job(NamedTuple):
    """An image that is complete: where its result goes, and whether that may be replaced."""

    below: str
    mark: Mark
    output: str
    existing: Existing


@dataclass
class _Bell:
    """What the system reports: that something changed, and which files were renamed into place."""

    rung: threading.Event = field(default_factory=threading.Event)
    renamed: set[str] = field(default_factory=set)


def watch(asked: Watch, remover: Remover) -> Generator[Outcome, None, None]:
    """Cut out the images of a folder, those that are there and those that come, without end.

    Each is done once, whatever ends the process: the journal knows what is done, and what was begun
    is done again. An image that has changed is done again, too. Originals are never deleted.

    Args:
        asked: What is watched.
        remover: Cuts out, and knows the options.

    Yields:
        An outcome for each image, in no particular order.

    Raises:
        StoreError: if another process has the folder of results, or the system cannot report
            changes.
        OutputError: if the journal cannot be written.
        OptionError: if an image would have several results.
    """
    refuse_several(remover.options)
    at_once = asked.threads or processors()
    with journals.opened(asked.results) as journal, _listening(asked) as bell:
        _put_all_away(asked, journal)
        seen: dict[str, tuple[Mark, float]] = {}
        reachable = True
        while True:
            bell.rung.clear()
            try:
                seen, ready = _look(asked, journal, seen, bell)
                reachable = True
            except OSError as error:
                if reachable:
                    reason = error.strerror or error
                    _warn(f"{asked.folder}: cannot be read ({reason}): waiting until it can")
                reachable, ready = False, []
            jobs = [_assign(asked, journal, remover, *each) for each in ready]
            work = functools.partial(_do, asked, journal, remover, at_once)
            for outcome in in_order(work, jobs, at_once):
                if outcome:
                    yield outcome
            if not jobs:
                bell.rung.wait(asked.settle_s / 2 if seen else asked.poll_s or _RESCAN_S)
                time.sleep(_GATHER_S)


def _look(
    asked: Watch, journal: Journal, before: dict[str, tuple[Mark, float]], bell: _Bell
) -> tuple[dict[str, tuple[Mark, float]], list[tuple[str, Mark]]]:
    """Return what is still to settle, since when it is as it is, and what is complete."""
    now, seen, ready = time.monotonic(), {}, []
    renamed = bell.renamed.copy()
    bell.renamed -= renamed
    without = [asked.results, *([asked.move_done] if asked.move_done else [])]
    for path in sorted(images_in(asked.folder, without, asked.recursive)):
        below, mark = path.relative_to(asked.folder).as_posix(), _mark(path)
        # systems and programs keep their own notes in hidden files
        if path.name.startswith(".") or mark is None or journal.settled(below, mark):
            continue
        known, since = before.get(below, (None, now))
        in_place = bool(renamed) and os.path.realpath(path) in renamed
        if in_place or (known == mark and now - since >= asked.settle_s):
            ready.append((below, mark))
        else:
            seen[below] = mark, since if known == mark else now
    return seen, ready


def _assign(asked: Watch, journal: Journal, remover: Remover, below: str, mark: Mark) -> _Job:
    """Name an image's result, which no other image has, and note that work begins."""
    options = remover.options
    extension = "." + output_format(None, options.format, opaque=options.opaque)
    output = next(name for name in _names(Path(below), extension)
                  if journal.owner(name) in (None, below))  # fmt: skip
    ours = asked.overwrite or journal.owner(output) == below
    if os.path.lexists(asked.results / output) and not ours:
        return _Job(below, mark, output, "skip")
    journal.add(Entry(below, mark, output, "begun"))
    return _Job(below, mark, output, "overwrite")


def _names(below: Path, extension: str) -> Iterator[str]:
    """Yield names for an image's result: its own, with its extension, and with a number."""
    yield result_name(below, extension, clash=False).as_posix()
    longer = result_name(below, extension, clash=True)
    yield longer.as_posix()
    for number in itertools.count(2):
        yield longer.with_stem(f"{longer.stem}-{number}").as_posix()


def _do(
    asked: Watch, journal: Journal, remover: Remover, at_once: int, job: _Job
) -> Outcome | None:
    """Cut out an image and note what became of it; None if it has changed or gone meanwhile."""
    path = asked.folder / job.below
    if _mark(path) != job.mark:
        return None
    outcome = attempt(
        Item(str(path), str(asked.results / job.output)), remover, existing=job.existing,
        at_once=at_once, fail_empty=asked.fail_empty, fail_doubt=asked.fail_doubt,
    )  # fmt: skip
    if _mark(path) != job.mark:  # what was read may be half of it
        return None
    error = outcome.error
    status: Status = "failed" if error else "skipped" if outcome.taken else "done"
    again = error is not None and not isinstance(error, ImageError)
    reason = one_line(error) if error else ""
    journal.add(Entry(job.below, job.mark, job.output, status, again, reason))
    if status == "done" and asked.move_done:
        _put_away(path, asked.move_done / job.below)
    return outcome


def _mark(path: Path) -> Mark | None:
    try:
        facts = path.stat()
    except OSError:
        return None
    return Mark(facts.st_size, facts.st_mtime_ns)


def _put_all_away(asked: Watch, journal: Journal) -> None:
    """Move the originals that a process was killed before moving."""
    if asked.move_done is None:
        return
    for path in sorted(images_in(asked.folder, [asked.results, asked.move_done], asked.recursive)):
        below, mark = path.relative_to(asked.folder).as_posix(), _mark(path)
        entry = journal.settled(below, mark) if mark else None
        if entry and entry.status == "done":
            _put_away(path, asked.move_done / below)


def _put_away(path: Path, place: Path) -> None:
    """Move an original; where its name is taken it gets a number."""
    free, number = place, 1
    while os.path.lexists(free):
        number += 1
        free = place.with_name(f"{place.stem}-{number}{place.suffix}")
    try:
        free.parent.mkdir(parents=True, exist_ok=True)
        if os.stat(path).st_dev == os.stat(free.parent).st_dev:
            path.rename(free)
            return
        with files.replacing(free) as part:
            shutil.copy2(path, part)
        path.unlink()
    except (OSError, OutputError) as error:
        _warn(f"{path}: is done, but cannot be moved to {free}: {one_line(error)}")


def _warn(message: str) -> None:
    warnings.warn(message, AlphacutWarning, stacklevel=3)


@contextlib.contextmanager
def _listening(asked: Watch) -> Iterator[_Bell]:
    """Have the system report changes, unless the folder is polled.

    Raises:
        StoreError: if it cannot.
    """
    bell = _Bell()
    if asked.poll_s is not None:
        yield bell
        return
    from watchdog.events import FileSystemEvent, FileSystemEventHandler
    from watchdog.observers import Observer

    class Handler(FileSystemEventHandler):
        def on_any_event(self, event: FileSystemEvent) -> None:
            if event.event_type not in _EVENTS:
                return
            if event.event_type == "moved":
                bell.renamed.add(os.path.realpath(os.fsdecode(event.dest_path)))
            bell.rung.set()

    observer = Observer()
    observer.schedule(Handler(), str(asked.folder), recursive=asked.recursive)
    try:
        observer.start()
    except OSError as error:
        raise StoreError(
            f"{asked.folder}: the system cannot report its changes ({error.strerror}): use "
            "--poll-s 5"
        ) from error
    try:
        yield bell
    finally:
        observer.stop()
        observer.join()
