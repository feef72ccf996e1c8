"""One file from the network, whole and verified: continued where it broke off, asked for again."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from alphacut import files
from alphacut.errors import WeightsError
from alphacut.models.catalogue import Weights

# Called with the name of a file, the bytes that have come, and the bytes in all if known
Progress: TypeAlias = Callable[[str, int, "int | None"], None]

TIMEOUT_S = 30.0  # of silence, not in all: a slow server may take its time
ATTEMPTS = 5  # in a row without a new byte
PAUSE_S = 0.5  # before the second attempt, doubled for each one after
_BLOCK_BYTES = 1 << 17


class _Refused(Exception):
    """An address does not give the file, and asking again would not help."""


class _Interrupted(Exception):
    """An address has not given all of the file yet."""


class _Stale(_Interrupted):
    """What has come before does not belong to the file that an address has now."""


def is_address(place: str) -> bool:
    """Tell an address from a path of this machine."""
    return place.startswith(("http://", "https://"))


def download(
    file: Weights, addresses: Sequence[str], part: Path, progress: Progress | None
) -> None:
    """Bring a file to `part`, whole and verified, from the first address that has it.

    Args:
        file: What it must be; its SHA-256 is known.
        addresses: Where it may be: addresses, or paths of this machine.
        part: Where it goes; what lies there from an earlier attempt is continued.
        progress: Told of every piece that comes.

    Raises:
        WeightsError: if no address gives the file; the message holds each one's reason.
        OSError: if it cannot be written.
    """
    reasons = []
    for address in addresses:
        try:
            _download_from(address, file, part, progress)
            return
        except (_Refused, _Interrupted) as error:
            reasons.append(f"{address}: {error}")
    kept = "; what has come is kept and the next try goes on from there" if part.exists() else ""
    raise WeightsError(f"{'; '.join(reasons)}{kept}")


def _download_from(address: str, file: Weights, part: Path, progress: Progress | None) -> None:
    """Bring a file to `part` from one address, trying again where that may help."""
    import http.client
    import urllib.error

    failures = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            if not (before and before == file.bytes):
                _receive(address, file, part, before, progress)
            found = files.sha256(part)
            if found == file.sha256:
                return
            part.unlink()
            if not before:
                raise _Refused(f"gives a wrong file (SHA-256 {found}, expected {file.sha256})")
            failures += 1  # what was there before did not belong to it: once more from the start
        except (_Interrupted, http.client.HTTPException, urllib.error.URLError,
                TimeoutError, ConnectionError) as error:  # fmt: skip
            if isinstance(error, _Stale):
                part.unlink(missing_ok=True)
            grown = part.exists() and part.stat().st_size > before
            failures = 1 if grown else failures + 1
            if failures >= ATTEMPTS:
                reason = getattr(error, "reason", error)
                raise _Interrupted(f"{reason or type(error).__name__}") from error
            time.sleep(PAUSE_S * 2 ** (failures - 1))


def _receive(
    address: str, file: Weights, part: Path, before: int, progress: Progress | None
) -> None:
    """Append to `part` what an address still has of a file."""
    with _open(address, before) as (response, start, total):
        if total is not None and file.bytes is not None and total != file.bytes:
            raise _Refused(f"has {total} bytes, expected {file.bytes}")
        done = start
        with part.open("ab" if start else "wb") as out:
            while block := response.read(_BLOCK_BYTES):
                done += len(block)
                if file.bytes is not None and done > file.bytes:
                    part.unlink()
                    raise _Refused(f"gives more than the {file.bytes} bytes expected")
                try:
                    out.write(block)
                    out.flush()
                except OSError as error:  # not the network's fault: trying again does not help
                    with contextlib.suppress(OSError):
                        part.unlink()  # a full disk needs the room
                    raise files.unwritable(part, error) from error
                if progress:
                    progress(file.file, done, total or file.bytes)
    expected = total if total is not None else file.bytes
    if expected is not None and done < expected:
        raise _Interrupted(f"the connection ended after {done} of {expected} bytes")


@contextlib.contextmanager
def _open(address: str, before: int) -> Iterator[tuple[Any, int, int | None]]:
    """Open an address or path behind the bytes that are there.

    Yields:
        What can be read from, the position it begins at, and the file's length if known.
    """
    import urllib.error
    import urllib.request

    if not is_address(address):
        try:
            source = open(address, "rb")  # noqa: SIM115
        except OSError as error:
            raise _Refused(error.strerror or str(error)) from error
        with source:
            yield source, 0, os.fstat(source.fileno()).st_size
        return
    request = urllib.request.Request(
        address, headers={"User-Agent": "alphacut", "Accept-Encoding": "identity"}
    )
    if before:
        request.add_header("Range", f"bytes={before}-")
    try:
        # an opener of its own, since urlopen keeps the proxies of the first call for ever
        response = urllib.request.build_opener().open(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416:
                raise _Stale("has nothing behind what has come before") from error
            if error.code in (408, 429) or error.code >= 500:
                raise _Interrupted(f"answers {error.code} {error.reason}") from error
            raise _Refused(f"answers {error.code} {error.reason}") from error
    except ValueError as error:
        raise _Refused(f"is no address: {error}") from error
    with response:
        length = response.headers.get("Content-Length", "")
        rest = int(length) if length.isdigit() else None
        start = 0
        if response.status == 206:
            sent = response.headers.get("Content-Range", "")
            if not sent.startswith(f"bytes {before}-"):
                raise _Refused(f"gives another piece than asked for ({sent})")
            start = before
        yield response, start, None if rest is None else start + rest
