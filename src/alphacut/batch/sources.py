"""What there is to do: the pictures of a folder, pattern, list, archive or shards, anywhere."""

import glob
import os
import tarfile
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import pyarrow as pa
from fsspec.implementations.local import LocalFileSystem

from alphacut.batch.folder import RESULT_MARKS
from alphacut.batch.store import Store, open_store
from alphacut.errors import AlphacutError, OutputError, StoreError
from alphacut.pipeline.load import INPUT_SUFFIXES

# What stores tell of a file's content without reading it, the surest first
_MARKS = ("ETag", "etag", "md5Hash", "content_md5", "CRC")
_TIMES = ("mtime", "LastModified", "last_modified", "updated", "created")
_COMPRESSED_TARS = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")


class Found(NamedTuple):
    """One input.

    Attributes:
        id: What it is called: its path below the source, or what a list says.
        input: Its address.
        version: What its store says of its content: a checksum, or size and time; "" if nothing.
        start: Where it begins in its file, if `length` is not negative.
        length: Its length in bytes; -1 if it is a file of its own.
        error: Why it cannot be done, if that is known.
    """

    id: str
    input: str
    version: str = ""
    start: int = 0
    length: int = -1
    error: str = ""


def find(source: str, dest: Store) -> Iterator[Found]:
    """Find the inputs of a source, each folder by itself, so that memory stays bounded.

    Args:
        source: A folder, a pattern, a picture, a list (.csv or .parquet, with columns id and
            address and maybe version), an archive (.zip) or shards (.tar), as a path or an address
            of fsspec.
        dest: Where results go; it is left out.

    Yields:
        Inputs, always in the same order.

    Raises:
        StoreError: if the source cannot be read, or has no pictures.
        OutputError: if results would lie among the pictures.
    """
    if "::" not in source:
        fs, path = open_store(source)
        inside = path.rstrip("/") + "/"
        if type(fs) is type(dest.fs) and inside.startswith(dest.root + "/"):
            raise OutputError(
                f"{source}: the results would lie among the pictures: choose a DEST beside it or "
                "a folder in it"
            )
    empty = True
    try:
        for found in _find(source, dest):
            empty = False
            yield found
    except AlphacutError:
        raise
    except Exception as error:  # fsspec's stores share no base of their errors
        raise StoreError(f"{source}: cannot be listed: {error or type(error).__name__}") from error
    if empty:
        raise StoreError(f"{source}: no pictures there")


def _find(source: str, dest: Store) -> Iterator[Found]:
    last = source.lower()
    if "::" not in source:
        if last.endswith((".csv", ".parquet")):
            yield from _list(source)
            return
        if last.endswith(".zip"):
            source = f"zip://::{source}"
    fs, path = open_store(source)
    shards = last.endswith(".tar")
    if glob.has_magic(path) and not fs.exists(path):
        fixed = path[: len(path) - len(path.lstrip("/"))]
        for part in path.split("/"):
            if glob.has_magic(part):
                break
            fixed += f"{part}/" if part else ""
        results = f"{dest.root}/" if type(fs) is type(dest.fs) else None
        for name, info in sorted(fs.glob(path, detail=True).items()):
            if info["type"] == "file" and not (results and name.startswith(results)):
                below = PurePosixPath(name.lstrip("/")).relative_to(fixed.strip("/") or ".")
                yield from _file(fs, source, name, info, str(below), shards=True)
    elif not source.endswith("/") and fs.isfile(path):  # to a web server all is a file
        name = path.rstrip("/").rpartition("/")[2]
        yield from _file(fs, source, path, fs.info(path), name, shards=shards, named=True)
    else:
        yield from _folder(fs, source, path, dest)


def _folder(fs: Any, source: str, path: str, dest: Store) -> Iterator[Found]:
    """Walk through a folder and what is in it."""
    path = path.rstrip("/")
    skipped = dest.root if type(fs) is type(dest.fs) else None
    for folder, folders, files in fs.walk(path, detail=True, on_error="raise"):
        inside = folder.rstrip("/")
        for name, info in list(folders.items()):
            if info.get("islink") or f"{inside}/{name}" == skipped:
                del folders[name]
        for name, info in sorted(files.items()):
            if name:
                full = f"{inside}/{name}"
                below = full[len(path) :].lstrip("/") if path else full.lstrip("/")
                yield from _file(fs, source, info.get("name", full), info, below, shards=False)
        fs.invalidate_cache()


def _file(
    fs: Any, source: str, path: str, info: Any, id: str, *, shards: bool, named: bool = False
) -> Iterator[Found]:
    """Yield a file if it is a picture, or the pictures in it if it is a shard."""
    address = _address(fs, source, path)
    if shards and path.lower().endswith(_COMPRESSED_TARS):
        yield Found(id, address, error="compressed shards cannot be read in pieces: unpack them")
    elif shards and path.lower().endswith(".tar"):
        yield from _shard(fs, path, address, _version(info), "" if named else f"{id[:-4]}/")
    elif named or _is_picture(path):
        yield Found(id, address, _version(info))


def _shard(fs: Any, path: str, address: str, version: str, prefix: str) -> Iterator[Found]:
    """Yield the pictures of a tar file as pieces of it."""
    try:
        with fs.open(path, "rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
            while (member := tar.next()) is not None:
                tar.members = []  # type: ignore[attr-defined]  # it would keep them all
                if member.isreg() and not member.issparse() and _is_picture(member.name):
                    yield Found(
                        prefix + member.name.removeprefix("./"),
                        f"tar://{member.name}::{address}",
                        version, member.offset_data, member.size,
                    )  # fmt: skip
    except tarfile.TarError as error:
        yield Found(prefix or path.rpartition("/")[2], address, error=f"damaged shard: {error}")


def _list(source: str) -> Iterator[Found]:
    """Read a list with the columns id and address, and maybe version."""
    fs, path = open_store(source)
    base = _address(fs, source, path).rpartition("/")[0]
    line = 0
    with fs.open(path, "rb") as file:
        batches = _csv(file) if path.lower().endswith(".csv") else _parquet(file)
        for batch in batches:
            missing = {"id", "address"} - set(batch.schema.names)
            if missing:
                raise StoreError(
                    f"{source}: needs the columns id and address, has "
                    f"{', '.join(batch.schema.names)}"
                )
            names = [name for name in ("id", "address", "version") if name in batch.schema.names]
            columns = [batch.column(name).cast(pa.string()).to_pylist() for name in names]
            for id, address, *version in zip(*columns, strict=True):
                line += 1
                if not id or not address:
                    raise StoreError(f"{source}: row {line} has no {'id' if not id else 'address'}")
                if "://" not in address and "::" not in address and not os.path.isabs(address):
                    address = f"{base}/{address}" if base else address
                yield Found(id, address, (version[0] or "") if version else "")


def _csv(file: Any) -> Iterator[pa.RecordBatch]:
    from pyarrow import csv

    text = dict.fromkeys(("id", "address", "version"), pa.string())
    yield from csv.open_csv(file, convert_options=csv.ConvertOptions(column_types=text))


def _parquet(file: Any) -> Iterator[pa.RecordBatch]:
    from pyarrow import parquet

    yield from parquet.ParquetFile(file).iter_batches()


def _address(fs: Any, source: str, path: str) -> str:
    """Return what a file of a source is called from anywhere."""
    if "::" in source:
        return f"{source.partition('://')[0]}://{path.lstrip('/')}::{source.partition('::')[2]}"
    return (
        path
        if isinstance(fs, LocalFileSystem) and "://" not in source
        else str(fs.unstrip_protocol(path))
    )


def _version(info: Any) -> str:
    """Return what a store says of a file's content."""
    mark = next((str(info[name]) for name in _MARKS if info.get(name)), "")
    time = next((str(info[name]) for name in _TIMES if info.get(name)), "")
    return mark or f"{info.get('size')} {time}"


def _is_picture(path: str) -> bool:
    """Tell whether a file that was not named itself is an input: a picture, and no result."""
    name = PurePosixPath(path)
    return name.suffix.lower() in INPUT_SUFFIXES and not name.stem.endswith(RESULT_MARKS)
