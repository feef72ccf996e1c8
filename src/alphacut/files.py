"""Files written whole or not at all, once for everything that writes."""

import contextlib
import errno
import hashlib
import secrets
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from alphacut.errors import OutputError

_FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)


@contextlib.contextmanager
def replacing(path: Path, *, make_folder: bool = False) -> Iterator[Path]:
    """Yield a temporary path in the same folder, which is renamed to `path` if all goes well.

    Args:
        path: The file, replaced if it exists.
        make_folder: Whether to make its folder if there is none.

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


def write(
    path: Path,
    pieces: Callable[[], Iterable[bytes | memoryview]],
    *,
    make_folder: bool = False,
) -> None:
    """Write a file whole or not at all.

    Args:
        path: The file, replaced if it exists.
        pieces: Makes its content, once it is known that something can be written there.
        make_folder: Whether to make its folder if there is none.

    Raises:
        OutputError: if it cannot be written; nothing is left behind.
    """
    with replacing(path, make_folder=make_folder) as part, part.open("xb") as file:
        for piece in pieces():
            file.write(piece)


def unwritable(path: Path, error: OSError) -> OutputError:
    """Return the error of a file that cannot be written."""
    room = ": free some space" if error.errno in _FULL else ""
    return OutputError(f"{path}: cannot be written: {error.strerror or error}{room}")


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, read in pieces, as hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
