"""Atomic file writes, for everything that writes: a file is written whole or not at all."""

import contextlib
import errno
import hashlib
import os
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path

from alphacut.errors import OutputError

_FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)


@contextlib.contextmanager
def replacing(path: Path, *, make_folder: bool = False) -> Iterator[Path]:
    """Yield a temporary path in the same folder, renamed to `path` if the block succeeds.

    Args:
        path: The file, replaced if it exists.
        make_folder: Whether to create its folder if there is none.

    Raises:
        OutputError: if it cannot be written; nothing is left behind.
    """
    part = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        if make_folder:
            path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        part.replace(path)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def write(path: Path, pieces: Iterable[bytes | memoryview], *, make_folder: bool = False) -> None:
    """Write a file whole or not at all; a pipe or device is written to, never replaced.

    Args:
        path: The file, replaced if it exists.
        pieces: Its content. A generator starts only once the file is open, so no work is wasted
            on a place that cannot be written.
        make_folder: Whether to create its folder if there is none.

    Raises:
        OutputError: if it cannot be written; nothing is left behind.
    """
    if is_stream(path):
        try:
            with path.open("wb") as file:
                file.writelines(pieces)
        except OSError as error:
            raise unwritable(path, error) from error
        return
    with replacing(path, make_folder=make_folder) as part, part.open("xb") as file:
        file.writelines(pieces)


def is_stream(path: Path) -> bool:
    """Tell whether a path names a pipe, a device, or an open descriptor such as /dev/stdout."""
    if not os.path.exists(path) or path.is_dir():
        return False
    folder = os.path.realpath(path.parent)
    return not path.is_file() or folder == "/dev" or folder.startswith("/proc/")


def unwritable(path: Path, error: OSError) -> OutputError:
    """Return the error for a file that cannot be written."""
    remedy = ": free some space" if error.errno in _FULL else ""
    return OutputError(f"{path}: cannot be written: {error.strerror or error}{remedy}")


def sha256(path: Path) -> str:
    """Return a file's SHA-256 in hexadecimal, reading it in chunks."""
    return _digest(path, hashlib.sha256())


def md5(path: Path) -> str:
    """Return a file's MD5 in hexadecimal: for files whose makers publish nothing better."""
    return _digest(path, hashlib.md5(usedforsecurity=False))


def _digest(path: Path, digest: "hashlib._Hash") -> str:
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
