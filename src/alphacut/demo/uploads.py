"""The page's files: each visitor's own, deleted when the visitor leaves, or after an hour."""

import contextlib
import os
import re
import secrets
import shutil
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alphacut.errors import ImageError

MAX_AGE_S = 3000.0
SWEEP_S = 300.0
_TRANSIENT = 8


@dataclass
class _Visitor:
    """What belongs to one visitor.

    Attributes:
        folders: Where their files are.
        transient: Results that the next ones replace, oldest first.
        stop: Tells their work on many pictures to stop.
        seen: When they last did anything, in seconds of the epoch.
    """

    folders: list[Path] = field(default_factory=list)
    transient: list[Path] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)
    seen: float = field(default_factory=time.time)


class Uploads:
    """A folder for uploads and results that nobody else on the machine can read.

    Gradio puts its uploads there as well, because its constructor names it to Gradio.
    """

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="alphacut-demo-")).resolve()
        os.environ["GRADIO_TEMP_DIR"] = str(self.folder)
        self._visitors: dict[str, _Visitor] = {}
        self._lock = threading.Lock()

    def put(self, visitor: str, name: str, data: bytes, *, transient: bool = False) -> str:
        """Keep a result, and return its address on the page.

        Of transient results, such as what is seen between two strokes, a visitor's last few are
        kept.
        """
        path = self.new_folder(visitor) / name
        path.write_bytes(data)
        if transient:
            earlier = self._of(visitor).transient
            earlier.append(path)
            if len(earlier) > _TRANSIENT:
                earlier.pop(0).unlink(missing_ok=True)
        return self.address(path)

    def new_folder(self, visitor: str) -> Path:
        """Make an empty folder with a name that cannot be guessed."""
        folder = self.folder / secrets.token_urlsafe(24)
        folder.mkdir()
        self._of(visitor).folders.append(folder)
        return folder

    def address(self, path: Path) -> str:
        """Return a file's address on the page, relative to it."""
        return "gradio_api/file=" + urllib.parse.quote(str(path))

    def find(self, visitor: str, upload: Mapping[str, Any]) -> Path:
        """Return where a visitor's upload is, and count it as theirs.

        Raises:
            ImageError: if there is no such upload, or no longer.
        """
        path = Path(str(upload.get("path"))).resolve()
        if not path.is_relative_to(self.folder) or not path.is_file():
            raise ImageError("this picture is no longer here: choose it again", "gone")
        owned = self._of(visitor).folders
        if path.parent not in owned and path.parent != self.folder:
            owned.append(path.parent)
        return path

    def stop(self, visitor: str) -> threading.Event:
        """Return what tells a visitor's work on many pictures to stop."""
        return self._of(visitor).stop

    def forget(self, visitor: str) -> None:
        """Delete what belongs to a visitor."""
        with self._lock:
            gone = self._visitors.pop(visitor, None)
        if gone:
            gone.stop.set()
            for folder in gone.folders:
                shutil.rmtree(folder, ignore_errors=True)

    def sweep(self, max_age_s: float = MAX_AGE_S) -> None:
        """Delete old files, folders that have long been empty, and visitors who have neither."""
        oldest = time.time() - max_age_s
        for folder, _, names in os.walk(self.folder, topdown=False):  # skips what has just gone
            for path in (Path(folder) / name for name in names):
                with contextlib.suppress(OSError):  # gone as well, or in use: the next time
                    if path.stat().st_mtime < oldest:
                        path.unlink()
            with contextlib.suppress(OSError):  # not empty, most often
                if Path(folder) != self.folder and os.stat(folder).st_mtime < oldest:
                    os.rmdir(folder)
        with self._lock:
            for visitor, their in list(self._visitors.items()):
                their.folders = [folder for folder in their.folders if folder.exists()]
                their.transient = [path for path in their.transient if path.exists()]
                if not their.folders and their.seen < oldest:
                    del self._visitors[visitor]

    def close(self) -> None:
        """Delete everything."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _of(self, visitor: str) -> _Visitor:
        """Return what belongs to a visitor who is doing something."""
        with self._lock:
            their = self._visitors.setdefault(visitor, _Visitor())
            their.seen = time.time()
            return their


def file_name(upload: Mapping[str, Any]) -> str:
    """Return the name that an upload had on the visitor's machine, made safe for files."""
    name = str(upload.get("orig_name") or Path(str(upload.get("path"))).name)
    name = re.sub(r"[\x00-\x1f/\\:*?\"<>|]", "_", name).strip(". ")[:120]
    return name or "picture"
