"""List the images of a folder, pattern, list, archive or shards, local or remote."""

import glob
import os
import tarfile
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import pyarrow as pa
from fsspec.implementations.local import LocalFileSystem

from alphacut.batch.inputs import is_input as is_image
from alphacut.batch.store import Store, open_store, reported
from alphacut.errors import OutputError, StoreError
from alphacut.video.read import is_film

# What stores know about a file's content without reading it, the most reliable first
_MARKS = ("ETag", "etag", "md5Hash", "content_md5", "CRC")
_TIMES = ("mtime", "LastModified", "last_modified", "updated", "created")
_COMPRESSED_TARS = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")


class Found(NamedTuple):
    """One input.

    Attributes:
        id: Its name: its path below the source, or what a list calls it.
        input: Its address.
        version: What its store knows about its content: a checksum, or length and time; "" if
            nothing.
        start: Where it begins in its shard, in bytes, if `length` is not negative.
        length: Its length in bytes; -1 for a file of its own.
        error: Why it cannot be done, if that is known already.
    """

    id: str
    input: str
    version: str = ""
    start: int = 0
    length: int = -1
    error: str = ""


def find(source: str, dest: Store) -> Iterator[Found]:
    """Find the inputs of a source, folder by folder, so that memory stays bounded.

    Args:
        source: A folder, a pattern, an image, a list (.csv or .parquet, with columns id, address
            and optionally version), an archive (.zip) or shards (.tar), as a path or an fsspec
            address.
        dest: Where results go; it is left out.

    Yields:
        Inputs, always in the same order.

    Raises:
        StoreError: if the source cannot be read, or has no images.
        OutputError: if results would be written among the images.
    """
    if "::" not in source:
        fs, path = open_store(source)
        inside = path.rstrip("/") + "/"
        if type(fs) is type(dest.fs) and inside.startswith(dest.root + "/"):
            raise OutputError(
                f"{source}: results would be written among the pictures: choose a DEST beside it, "
                "or a subfolder"
            )
    empty = True
    with reported(source, "listed"):
        for found in _find(source, dest):
            empty = False
            yield found
    if empty:
        raise StoreError(f"{source}: no pictures found")


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
    elif not source.endswith("/") and fs.isfile(path):  # on a web server everything is
        name = path.rstrip("/").rpartition("/")[2]
        yield from _file(fs, source, path, fs.info(path), name, shards=shards, named=True)
    else:
        yield from _folder(fs, source, path, dest)


def _folder(fs: Any, source: str, path: str, dest: Store) -> Iterator[Found]:
    """Walk a folder and its subfolders."""
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
    """Yield a file if it is an image, or the images in it if it is a shard."""
    address = _address(fs, source, path)
    if shards and path.lower().endswith(_COMPRESSED_TARS):
        yield Found(id, address, error="shards must not be compressed: decompress it")
    elif shards and path.lower().endswith(".tar"):
        yield from _shard(fs, path, address, _version(info), "" if named else f"{id[:-4]}/")
    elif named or _is_input(PurePosixPath(path)):
        yield Found(id, address, _version(info))


def _is_input(path: PurePosixPath) -> bool:
    """Tell by its name whether a file is an image or a film, and no result of an earlier run."""
    return is_image(path) or (is_film(path) and not path.stem.endswith(("-cutout", "-mask")))


def _shard(fs: Any, path: str, address: str, version: str, prefix: str) -> Iterator[Found]:
    """Yield the images of a tar file as pieces of it."""
    try:
        with fs.open(path, "rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
            while (member := tar.next()) is not None:
                tar.members = []  # type: ignore[attr-defined]  # it would keep them all
                is_whole = member.isreg() and not member.issparse()
                if is_whole and _is_input(PurePosixPath(member.name)):
                    yield Found(
                        prefix + member.name.removeprefix("./"),
                        f"tar://{member.name}::{address}",
                        version, member.offset_data, member.size,
                    )  # fmt: skip
    except tarfile.TarError as error:
        yield Found(prefix or path.rpartition("/")[2], address, error=f"damaged shard: {error}")


def _list(source: str) -> Iterator[Found]:
    """Read a list with the columns id, address and optionally version."""
    fs, path = open_store(source)
    base = _address(fs, source, path).rpartition("/")[0]
    line = 0
    with fs.open(path, "rb") as file:
        batches = _csv(file) if path.lower().endswith(".csv") else _parquet(file)
        for batch in batches:
            missing = {"id", "address"} - set(batch.schema.names)
            if missing:
                raise StoreError(
                    f"{source}: needs columns id and address, but has "
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
    """Return the full address of a file of a source."""
    if "::" in source:
        return f"{source.partition('://')[0]}://{path.lstrip('/')}::{source.partition('::')[2]}"
    return (
        path
        if isinstance(fs, LocalFileSystem) and "://" not in source
        else str(fs.unstrip_protocol(path))
    )


def _version(info: Any) -> str:
    """Return what a store knows about a file's content."""
    mark = next((str(info[name]) for name in _MARKS if info.get(name)), "")
    time = next((str(info[name]) for name in _TIMES if info.get(name)), "")
    return mark or f"{info.get('size')} {time}"
