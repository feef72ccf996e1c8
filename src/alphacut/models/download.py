"""One file over the network, complete and verified: resumed where it broke off, retried."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from alphacut import files
from alphacut.errors import WeightsError
from alphacut.models.entry import Weights

# Called with the file's name, the bytes received so far, and the total if known
Progress: TypeAlias = Callable[[str, int, "int | None"], None]

TIMEOUT_S = 30.0  # of silence, not in all: a slow server may take its time
ATTEMPTS = 5  # in a row without a new byte
PAUSE_S = 0.5  # before the second attempt, doubled before each later one
_BLOCK_BYTES = 1 << 17


class _Refused(Exception):
    """A URL does not give the file, and retrying would not help."""


class _Interrupted(Exception):
    """A URL has not given the whole file yet."""


class _Stale(_Interrupted):
    """The partial file does not belong to what the URL serves now."""


def is_url(place: str) -> bool:
    """Tell a URL from a path on this machine."""
    return place.startswith(("http://", "https://"))


def download(file: Weights, urls: Sequence[str], part: Path, progress: Progress | None) -> None:
    """Download a file to `part`, complete and verified, from the first URL that has it.

    Args:
        file: What to download; its SHA-256 is known.
        urls: Where to look, in order: URLs, or paths on this machine.
        part: Where to write; a partial file from an earlier attempt is resumed.
        progress: Called for every block received.

    Raises:
        WeightsError: if no URL gives the file; the message holds the reason for each.
        OSError, OutputError: if `part` cannot be written.
    """
    reasons = []
    for url in urls:
        try:
            _download_from(url, file, part, progress)
            return
        except (_Refused, _Interrupted) as error:
            reasons.append(f"{url}: {error}")
    kept = "; the partial download is kept, to be resumed" if part.exists() else ""
    raise WeightsError(f"{'; '.join(reasons)}{kept}")


def _download_from(url: str, file: Weights, part: Path, progress: Progress | None) -> None:
    """Download a file to `part` from one URL, retrying where that may help."""
    import http.client
    import urllib.error

    failures = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            if not (before and before == file.bytes):
                _receive(url, file, part, before, progress)
            found = files.sha256(part)
            if found == file.sha256:
                return
            part.unlink()
            if not before:
                raise _Refused(f"wrong file (SHA-256 {found}, expected {file.sha256})")
            failures += 1  # the partial file was of something else: start over once
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


def _receive(url: str, file: Weights, part: Path, before: int, progress: Progress | None) -> None:
    """Append to `part` what a URL still has of a file."""
    with _open(url, before) as (response, start, total):
        if total is not None and file.bytes is not None and total != file.bytes:
            raise _Refused(f"has {total} bytes, expected {file.bytes}")
        done = start
        with part.open("ab" if start else "wb") as out:
            while block := response.read(_BLOCK_BYTES):
                done += len(block)
                if file.bytes is not None and done > file.bytes:
                    part.unlink()
                    raise _Refused(f"sends more than the expected {file.bytes} bytes")
                try:
                    out.write(block)
                    out.flush()
                except OSError as error:  # the disk's fault, not the network's: do not retry
                    with contextlib.suppress(OSError):
                        part.unlink()  # a full disk needs the space
                    raise files.unwritable(part, error) from error
                if progress:
                    progress(file.file, done, total or file.bytes)
    expected = total if total is not None else file.bytes
    if expected is not None and done < expected:
        raise _Interrupted(f"connection closed after {done} of {expected} bytes")


@contextlib.contextmanager
def _open(url: str, before: int) -> Iterator[tuple[Any, int, int | None]]:
    """Open a URL or path past the bytes that are already there.

    Yields:
        A readable object, the position it starts at, and the file's length if known.
    """
    import urllib.error
    import urllib.request

    if not is_url(url):
        try:
            source = open(url, "rb")  # noqa: SIM115
        except OSError as error:
            raise _Refused(error.strerror or str(error)) from error
        with source:
            yield source, 0, os.fstat(source.fileno()).st_size
        return
    request = urllib.request.Request(
        url, headers={"User-Agent": "alphacut", "Accept-Encoding": "identity"}
    )
    if before:
        request.add_header("Range", f"bytes={before}-")
    try:
        # an opener of its own, since urlopen keeps the proxies of the process's first call
        response = urllib.request.build_opener().open(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416:
                raise _Stale("has nothing beyond the partial file") from error
            if error.code in (408, 429) or error.code >= 500:
                raise _Interrupted(f"HTTP {error.code} {error.reason}") from error
            raise _Refused(f"HTTP {error.code} {error.reason}") from error
    except ValueError as error:
        raise _Refused(f"not a valid URL: {error}") from error
    with response:
        length = response.headers.get("Content-Length", "")
        rest = int(length) if length.isdigit() else None
        start = 0
        if response.status == 206:
            sent = response.headers.get("Content-Range", "")
            if not sent.startswith(f"bytes {before}-"):
                raise _Refused(f"sends another range than asked for ({sent})")
            start = before
        yield response, start, None if rest is None else start + rest
