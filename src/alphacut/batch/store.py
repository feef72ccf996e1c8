"""Files in a folder, a bucket or an archive, through fsspec; written whole or not at all."""

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import tenacity
from fsspec.implementations.local import LocalFileSystem

from alphacut import files
from alphacut.errors import AlphacutError, OutputError, StoreError, one_line

# A put creates an object whole or not at all; other stores need a temporary name and a rename
OBJECT_STORES = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "oci", "hf"}
# Causes that a retry cannot cure; the last two are wrong addresses
_FINAL = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, ImportError,
          ValueError)  # fmt: skip
_LONGEST_PAUSE_S = 5.0


@contextlib.contextmanager
def reported(address: str, what: str) -> Iterator[None]:
    """Raise whatever a store raises as a StoreError that says what failed, and where."""
    try:
        yield
    except AlphacutError:
        raise
    except Exception as error:  # fsspec's stores share no base class of errors
        reason = getattr(error, "strerror", None) or one_line(error)
        if isinstance(error, ImportError | ValueError):  # they say it all: a package, an address
            reason = str(error)
        raise StoreError(f"{address}: cannot be {what}: {reason}") from error


def open_store(address: str) -> tuple[Any, str]:
    """Return the file system of an address, and the path within it.

    Raises:
        StoreError: if there is no such file system; the message names a missing package.
    """
    with reported(address, "opened"):
        fs, path = fsspec.core.url_to_fs(address)
    return fs, path


def retrying(retries: int = 5) -> tenacity.Retrying:
    """Return a retry loop for store operations, with random pauses that grow exponentially."""
    return tenacity.Retrying(
        stop=tenacity.stop_after_attempt(retries + 1),
        wait=tenacity.wait_random_exponential(0.1, max=_LONGEST_PAUSE_S),
        retry=tenacity.retry_if_exception(_may_pass),
        reraise=True,
    )


def _may_pass(error: BaseException) -> bool:
    """Tell whether trying again may help; Ctrl-C, which tenacity sees as well, must not wait."""
    return isinstance(error, AlphacutError) and not isinstance(error.__cause__, _FINAL)


def read(address: str, start: int = 0, length: int = -1) -> bytes:
    """Return the content of a file, or of one that is a piece of another, such as a shard.

    Args:
        address: Of the file. That of a piece ends in the address of the whole: tar://a.jpg::b.tar.
        start: Where the piece begins in the whole, in bytes.
        length: Length of the piece in bytes; -1 for a file of its own.

    Raises:
        StoreError: if it cannot be read.
    """
    fs, path = open_store(address if length < 0 else address.partition("::")[2])
    with reported(address, "read"):
        if length < 0:
            return bytes(fs.cat_file(path))
        return bytes(fs.cat_file(path, start=start, end=start + length))


class Store:
    """A folder or address that results are written to.

    All methods raise StoreError if the store fails; the cause says how.

    Args:
        address: A path, or an fsspec address.

    Raises:
        StoreError: if the address cannot be opened.
        OutputError: if nothing can be written to an address of its kind.
    """

    def __init__(self, address: str) -> None:
        if "::" in address or address.startswith(("http://", "https://")):
            raise OutputError(f"{address}: cannot be written to: give a folder or a bucket")
        self.fs, self.root = open_store(address)
        self.root = self.root.rstrip("/")
        self.folder = Path(self.root) if type(self.fs) is LocalFileSystem else None
        self._address = address if self.folder else address.rstrip("/")
        protocols = self.fs.protocol
        names = {protocols} if isinstance(protocols, str) else set(protocols)
        self._puts_whole = bool(names & OBJECT_STORES)

    def address(self, name: str = "") -> str:
        """Return the full address of a file, or of the store itself."""
        if not name:
            return self._address
        return os.path.join(self._address, name) if self.folder else f"{self._address}/{name}"

    def put(self, name: str, content: bytes) -> None:
        """Write a file, whole or not at all, replacing one that exists.

        Raises:
            OutputError: if a local file cannot be written.
        """
        path = f"{self.root}/{name}"
        if self.folder:
            files.write(Path(path), [content], make_folder=True)
            return
        with reported(self.address(name), "written"):
            if self._puts_whole:
                self.fs.pipe_file(path, content)
                return
            parent, _, last = path.rpartition("/")
            part = f"{parent}/.{secrets.token_hex(8)}.part"
            self.fs.makedirs(parent, exist_ok=True)
            try:
                self.fs.pipe_file(part, content)
                self.fs.mv(part, f"{parent}/{last}")
            finally:
                if self.fs.exists(part):
                    self.fs.rm_file(part)

    def create(self, name: str, content: bytes) -> bool:
        """Write a file unless it exists, and tell whether it was written.

        Exclusive only where the store can be: elsewhere two callers at once may both be told that
        they wrote it.
        """
        path = f"{self.root}/{name}"
        with reported(self.address(name), "written"):
            try:
                if self.folder:
                    Path(path).parent.mkdir(parents=True, exist_ok=True)
                    with open(path, "xb") as file:
                        file.write(content)
                    return True
                if not self._puts_whole:
                    self.fs.makedirs(path.rpartition("/")[0], exist_ok=True)
                self.fs.pipe_file(path, content, mode="create")
            except FileExistsError:
                return False
        return True

    def get(self, name: str) -> bytes | None:
        """Return the content of a file, or None if it does not exist."""
        with reported(self.address(name), "read"):
            try:
                return bytes(self.fs.cat_file(f"{self.root}/{name}"))
            except FileNotFoundError:
                return None

    def size(self, name: str) -> int | None:
        """Return the length of a file in bytes, or None if it does not exist."""
        with reported(self.address(name), "read"):
            try:
                return int(self.fs.info(f"{self.root}/{name}")["size"])
            except FileNotFoundError:
                return None

    def delete(self, name: str) -> None:
        """Delete a file if it exists."""
        with reported(self.address(name), "deleted"), contextlib.suppress(FileNotFoundError):
            self.fs.rm_file(f"{self.root}/{name}")

    def names(self, folder: str) -> list[str]:
        """Return the sorted names of the files in a folder; none if the folder does not exist."""
        with reported(self.address(folder), "listed"):
            self.fs.invalidate_cache()
            try:
                found = self.fs.ls(f"{self.root}/{folder}", detail=False)
            except FileNotFoundError:
                return []
        return sorted(f"{folder}/{str(path).rpartition('/')[2]}" for path in found)
