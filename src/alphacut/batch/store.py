"""Files anywhere, by fsspec: a folder, a bucket, an archive. Written whole or not at all."""

import contextlib
import os
import secrets
from pathlib import Path
from typing import Any

import fsspec
import tenacity
from fsspec.implementations.local import LocalFileSystem

from alphacut import files
from alphacut.errors import AlphacutError, OutputError, StoreError

# One put makes an object there, whole or not at all; elsewhere a file is renamed into its place
OBJECT_STORES = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "oci", "hf"}
# What trying again does not change
_FINAL = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, StoreError)
_LONGEST_PAUSE_S = 5.0


def open_store(address: str) -> tuple[Any, str]:
    """Return the file system of an address, and the path there.

    Raises:
        StoreError: if there is none; the message says which package is missing.
    """
    try:
        fs, path = fsspec.core.url_to_fs(address)
    except AlphacutError:
        raise
    except Exception as error:  # fsspec's stores share no base of their errors
        raise StoreError(f"{address}: cannot be opened: {error}") from error
    return fs, path


def retrying(retries: int) -> tenacity.Retrying:
    """Return a loop that tries again what a store refused, after pauses that grow at random."""
    return tenacity.Retrying(
        stop=tenacity.stop_after_attempt(retries + 1),
        wait=tenacity.wait_random_exponential(0.1, max=_LONGEST_PAUSE_S),
        retry=tenacity.retry_if_exception(lambda error: not isinstance(error, _FINAL)),
        reraise=True,
    )


def read(address: str, start: int = 0, length: int = -1) -> bytes:
    """Return the bytes of a file, or a piece of it if `length` is not negative.

    Raises:
        Exception: whatever the store raises.
    """
    fs, path = open_store(address)
    if length < 0:
        return bytes(fs.cat_file(path))
    return bytes(fs.cat_file(path, start=start, end=start + length))


class Store:
    """A folder or address where results go.

    Args:
        address: A path, or an address of fsspec.

    Raises:
        StoreError: if the address cannot be opened.
        OutputError: if nothing can be written there.
    """

    def __init__(self, address: str) -> None:
        if "::" in address or address.startswith(("http://", "https://")):
            raise OutputError(f"{address}: nothing can be written there: give a folder or a bucket")
        self.fs, self.root = open_store(address)
        self.root = self.root.rstrip("/")
        self.folder = Path(self.root) if type(self.fs) is LocalFileSystem else None
        self._address = address if self.folder else address.rstrip("/")
        protocols = self.fs.protocol
        names = {protocols} if isinstance(protocols, str) else set(protocols)
        self._whole = bool(names & OBJECT_STORES)

    def address(self, name: str) -> str:
        """Return what a file is called from anywhere."""
        if self.folder:
            return os.path.join(self._address, name)
        return f"{self._address}/{name}"

    def put(self, name: str, content: bytes) -> None:
        """Write a file, whole or not at all; it takes the place of one that is there.

        Raises:
            OutputError: if a local file cannot be written.
            Exception: whatever another store raises.
        """
        path = f"{self.root}/{name}"
        if self.folder:
            files.write(Path(path), [content], make_folder=True)
        elif self._whole:
            self.fs.pipe_file(path, content)
        else:
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
        """Write a file if there is none; tell whether it was written.

        Where the store can, no two callers are told so; others may be.
        """
        path = f"{self.root}/{name}"
        try:
            if self.folder:
                Path(path).parent.mkdir(parents=True, exist_ok=True)
                with open(path, "xb") as file:
                    file.write(content)
                return True
            if not self._whole:
                self.fs.makedirs(path.rpartition("/")[0], exist_ok=True)
            self.fs.pipe_file(path, content, mode="create")
        except FileExistsError:
            return False
        return True

    def get(self, name: str) -> bytes | None:
        """Return a file's bytes; None if there is none."""
        try:
            return bytes(self.fs.cat_file(f"{self.root}/{name}"))
        except FileNotFoundError:
            return None

    def size(self, name: str) -> int | None:
        """Return a file's length in bytes; None if there is none."""
        try:
            return int(self.fs.info(f"{self.root}/{name}")["size"])
        except FileNotFoundError:
            return None

    def delete(self, name: str) -> None:
        """Remove a file if it is there."""
        with contextlib.suppress(FileNotFoundError):
            self.fs.rm_file(f"{self.root}/{name}")

    def names(self, folder: str) -> list[str]:
        """Return the names of the files in a folder, sorted; none if there is no such folder."""
        self.fs.invalidate_cache()
        try:
            found = self.fs.ls(f"{self.root}/{folder}", detail=False)
        except FileNotFoundError:
            return []
        return sorted(f"{folder}/{str(path).rpartition('/')[2]}" for path in found)
