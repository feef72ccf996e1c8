"""The page's files: each visitor's own, gone with the visitor and after an hour at the latest."""

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
from pathlib import Path
from typing import Any

from alphacut.errors import ImageError

OLDEST_S = 3000.0
LOOK_S = 300.0
_PASSING = 8


class Shelf:
    """A folder for uploads and results, which nobody else on the machine can read.

    Gradio puts uploads into it as well, because it is named to Gradio here.
    """

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="alphacut-demo-")).resolve()
        os.environ["GRADIO_TEMP_DIR"] = str(self.folder)
        self._visitors: dict[str, list[Path]] = {}
        self._passing: dict[str, list[Path]] = {}
        self._stops: dict[str, threading.Event] = {}

    def put(self, visitor: str, name: str, data: bytes, *, passing: bool = False) -> str:
        """Keep a result, and return its address on the page.

        Of results that are only passing, such as what is seen between two strokes, a visitor's
        last few are kept.
        """
        path = self.place(visitor) / name
        path.write_bytes(data)
        if passing:
            earlier = self._passing.setdefault(visitor, [])
            earlier.append(path)
            if len(earlier) > _PASSING:
                earlier.pop(0).unlink(missing_ok=True)
        return self.address(path)

    def place(self, visitor: str) -> Path:
        """Make an empty folder whose name nobody guesses."""
        folder = self.folder / secrets.token_urlsafe(24)
        folder.mkdir()
        self._visitors.setdefault(visitor, []).append(folder)
        return folder

    def address(self, path: Path) -> str:
        """Return a file's address on the page, relative to it."""
        return "gradio_api/file=" + urllib.parse.quote(str(path))

    def take(self, visitor: str, upload: Mapping[str, Any]) -> Path:
        """Take note of a visitor's upload.

        Raises:
            ImageError: if no upload lies there, or not any more.
        """
        path = Path(str(upload.get("path"))).resolve()
        if not path.is_relative_to(self.folder) or not path.is_file():
            raise ImageError("this picture is not here any more: choose it again", "gone")
        owned = self._visitors.setdefault(visitor, [])
        if path.parent not in owned and path.parent != self.folder:
            owned.append(path.parent)
        return path

    def stop(self, visitor: str) -> threading.Event:
        """Return what tells a visitor's work on many pictures to stop."""
        return self._stops.setdefault(visitor, threading.Event())

    def forget(self, visitor: str) -> None:
        """Delete what belongs to a visitor."""
        self.stop(visitor).set()
        self._stops.pop(visitor, None)
        self._passing.pop(visitor, None)
        for folder in self._visitors.pop(visitor, ()):
            shutil.rmtree(folder, ignore_errors=True)

    def sweep(self, oldest_s: float = OLDEST_S) -> None:
        """Delete files that are older than this, whoever they belong to."""
        for folder, _, names in os.walk(self.folder):  # which minds no folder that is just gone
            for path in (Path(folder) / name for name in names):
                with contextlib.suppress(OSError):  # gone, too, or open elsewhere: the next time
                    if time.time() - path.stat().st_mtime > oldest_s:
                        path.unlink()

    def close(self) -> None:
        """Delete everything."""
        shutil.rmtree(self.folder, ignore_errors=True)


def file_name(upload: Mapping[str, Any]) -> str:
    """Return the name that an upload had on the visitor's machine, safe to use for files."""
    name = str(upload.get("orig_name") or Path(str(upload.get("path"))).name)
    name = re.sub(r"[\x00-\x1f/\\:*?\"<>|]", "_", name).strip(". ")[:120]
    return name or "picture"
