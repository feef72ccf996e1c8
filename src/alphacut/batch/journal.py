"""What became of the images of a watched folder: a line of JSON each, in RESULTS/_alphacut.

A line is added when work on an image begins and another when it has ended, after its result is in
place. So a process that is killed leaves at most images that were begun: they are done again, and
their results, which are named, may be replaced. A result that no line names is somebody else's.
"""

import contextlib
import json
import os
import threading
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal, NamedTuple

from alphacut import files
from alphacut.batch import FOLDER
from alphacut.errors import StoreError

JOURNAL = f"{FOLDER}/watch.jsonl"
_LOCK = f"{FOLDER}/watch.lock"
Status = Literal["begun", "done", "failed", "skipped"]


class Mark(NamedTuple):
    """What tells an image from a changed one.

    Attributes:
        bytes: Its length.
        mtime_ns: When it was last written.
    """

    bytes: int
    mtime_ns: int


class Entry(NamedTuple):
    """The newest that is known of an image.

    Attributes:
        input: Its path below the watched folder.
        mark: Its content's mark.
        output: Its result's path below the folder of results.
        status: What became of it; "skipped" if somebody else's file has the result's name.
        again: Whether a failure may be temporary, so that the next run tries again.
        reason: Why it failed.
        time: When the line was added.
    """

    input: str
    mark: Mark
    output: str
    status: Status
    again: bool = False
    reason: str = ""
    time: str = ""


class Journal:
    """The journal of a folder of results; see `opened`.

    Args:
        path: Its file, which is rewritten with one line per image.

    Raises:
        OutputError: if it cannot be written.
        OSError: if it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._newest = _read(path)
        files.write(path, map(_line, self._newest.values()), make_folder=True)
        self._file = path.open("ab", buffering=0)
        self._owners: dict[str, str] = {}
        for entry in [*self._newest.values()]:
            again = entry.status == "failed" and entry.again
            self._note(entry._replace(status="begun") if again else entry)

    def add(self, entry: Entry) -> None:
        """Add a line, in one write.

        Raises:
            OutputError: if it cannot be written.
        """
        entry = entry._replace(time=datetime.now(timezone.utc).isoformat())
        with self._lock:
            self._note(entry)
            try:
                self._file.write(_line(entry))
            except OSError as error:
                raise files.unwritable(self._path, error) from error

    def settled(self, input: str, mark: Mark) -> Entry | None:
        """Return what became of an image; None if it is new, has changed, or was only begun."""
        entry = self._newest.get(input)
        return entry if entry and entry.mark == mark and entry.status != "begun" else None

    def owner(self, output: str) -> str | None:
        """Return the image whose result has a name, in any case; None if no watch wrote it."""
        return self._owners.get(output.casefold())

    def _note(self, entry: Entry) -> None:
        self._newest[entry.input] = entry
        if entry.status != "skipped":
            self._owners[entry.output.casefold()] = entry.input

    def close(self) -> None:
        """Close its file."""
        self._file.close()


@contextlib.contextmanager
def opened(results: Path) -> Iterator[Journal]:
    """Open the journal of a folder of results, for one process at a time.

    Raises:
        StoreError: if another process has it, or it cannot be read.
        OutputError: if it cannot be written.
    """
    import filelock

    path = results / JOURNAL
    lock = filelock.FileLock(results / _LOCK)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise StoreError(f"{results}: another process puts results there: stop it first") from error
    except OSError as error:
        raise files.unwritable(results / _LOCK, error) from error
    try:
        try:
            journal = Journal(path)
        except OSError as error:
            raise StoreError(f"{path}: cannot be read: {error.strerror}") from error
        with contextlib.closing(journal):
            yield journal
    finally:
        lock.release()


def _read(path: Path) -> dict[str, Entry]:
    """Read a journal's newest entry of each image; a line that a crash cut short is none."""
    newest = {}
    if path.exists():
        for line in path.read_bytes().splitlines():
            with contextlib.suppress(ValueError, KeyError, TypeError):
                facts = json.loads(line)
                mark = Mark(facts.pop("bytes"), facts.pop("mtime_ns"))
                entry = Entry(mark=mark, **facts)
                newest[entry.input] = entry
    return newest


def _line(entry: Entry) -> bytes:
    facts = entry._asdict()
    facts |= facts.pop("mark")._asdict()
    return (json.dumps(facts) + os.linesep).encode()
