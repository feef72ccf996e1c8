"""From a row to a verified file of weights: embedded, in the user's folder, or fetched into it.

The folder is `ALPHACUT_HOME`, or `alphacut` where the system keeps users' data:

    weights/FILE       downloads and own weights; FILE.part while it comes
    models/NAME.json   rows of own weights, and of files that a user has added to a known row
    converted/         ONNX files made from PyTorch weights
    compiled/          networks as OpenVINO has compiled them, for a quicker start
    locks/             one process fetches a file, the others wait for it

Other settings: `ALPHACUT_MIRROR`, a folder or a base address that holds the same file names and is
asked instead of the rows' addresses; `ALPHACUT_OFFLINE=1`, nothing is fetched from the network;
`ALPHACUT_ACCEPT_LICENSE`, names of models whose terms are accepted, or "all"; proxies as usual.
"""

import contextlib
import dataclasses
import errno
import hashlib
import json
import os
import re
import shutil
import sys
import time
import urllib.parse
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

from alphacut import zoo
from alphacut.errors import AlphacutWarning, UnknownName, WeightsError
from alphacut.zoo import Format, ModelSpec, Weights

ASSETS = Path(__file__).parent / "assets"

# Called with the name of a file, the bytes that have come, and the bytes in all if known
Progress: TypeAlias = Callable[[str, int, "int | None"], None]

TIMEOUT_S = 30.0  # of silence, not in all: a slow server may take its time
ATTEMPTS = 5  # in a row without a new byte
PAUSE_S = 0.5  # before the second attempt, doubled for each one after
_BLOCK_BYTES = 1 << 17
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def home() -> Path:
    """Return the folder of weights and own models; it need not exist."""
    if chosen := os.environ.get("ALPHACUT_HOME"):
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        base = "~/Library/Application Support"
    else:
        base = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(base).expanduser() / "alphacut"


# --- rows -------------------------------------------------------------------------------------


def find_model(name: str) -> ModelSpec:
    """Return the row of a model, the package's or one of the user's own.

    Raises:
        UnknownName: if no row has that name; the message lists the names.
        WeightsError: if the user's row cannot be read.
    """
    known = zoo.known_model(name)
    if known or _NAME.fullmatch(name):
        path = _row_path(known.name if known else name)
        if os.path.isfile(path):  # Path.is_file raises where the folder may not be read
            return _read_row(path)
    if known is None:
        raise UnknownName("model", name, (spec.name for spec in models()))
    return known


def models() -> tuple[ModelSpec, ...]:
    """Return all rows: the package's in their order, then the user's own; unreadable ones warn."""
    rows = {spec.name: spec for spec in zoo.MODELS}
    for path in sorted(_row_path("x").parent.glob("*.json")):
        try:
            rows[path.stem] = _read_row(path)
        except (WeightsError, UnknownName) as error:
            warnings.warn(str(error), AlphacutWarning, stacklevel=2)
    return tuple(rows.values())


def add(path: Path, spec: ModelSpec, form: Format) -> ModelSpec:
    """Take a user's file of weights into the folder.

    Args:
        path: The file; it is copied. Whether it fits the network is not looked at here.
        spec: The row it is like; its name is the model's. A known row takes only the file that it
            describes, as far as it does.
        form: The file's format.

    Returns:
        The model's row, with the file's checksum.

    Raises:
        WeightsError: if the name is unfit, or the file cannot be read or is not the known row's.
    """
    if not _NAME.fullmatch(spec.name):
        raise WeightsError(f"{spec.name!r} cannot name a model: use letters, digits, . _ -")
    like = next((row for row in zoo.MODELS if row.name == spec.name), None)
    if like and form not in like.weights:
        raise WeightsError(f"{spec.name} has no {form} weights: add the file under another --name")
    try:
        found = sha256(path)
        described = like.weights[form] if like else Weights(file="")
        _compare(path, found, described, f"the file of {spec.name}: add it under another --name")
        ours = Weights(
            file=described.file or spec.name + "".join(path.suffixes[-1:]),
            bytes=path.stat().st_size,
            sha256=found,
            addresses=described.addresses,
        )
        target = home() / "weights" / ours.file
        with locked(ours.file), whole_file(target) as part:
            shutil.copyfile(path, part)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be added: {error.strerror or error}") from error
    row = spec if like is None else like
    files = {**(row.weights if like else {}), form: ours}
    added = dataclasses.replace(row, weights=files)
    if like is None or like.weights[form].sha256 is None:
        base = like or next(model for model in zoo.MODELS if model.arch == spec.arch)
        if like is None and os.path.isfile(_row_path(spec.name)):  # added before, maybe otherwise
            for old in _read_row(_row_path(spec.name)).weights.values():
                if old.file != ours.file:
                    (home() / "weights" / old.file).unlink(missing_ok=True)
        text = json.dumps(zoo.to_dict(added, base), indent=2) + "\n"
        with whole_file(_row_path(spec.name)) as part:
            part.write_text(text, encoding="utf-8")
    return added


def remove(spec: ModelSpec) -> list[Path]:
    """Delete a model's files and, if it is the user's own, its row.

    Returns:
        What was deleted.

    Raises:
        WeightsError: if its weights lie in the package, or a file cannot be deleted.
    """
    if any(file.embedded for file in spec.weights.values()):
        raise WeightsError(f"{spec.name} is part of the package and cannot be removed")
    paths = [_row_path(spec.name)]
    for file in spec.weights.values():
        paths += [home() / "weights" / (file.file + ending) for ending in ("", ".part")]
    paths += sorted((home() / "converted").glob(f"{spec.name}.*"))
    removed = []
    for path in paths:
        try:
            path.unlink()
            removed.append(path)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise WeightsError(f"{path}: cannot be removed: {error.strerror}") from error
    return removed


def _row_path(name: str) -> Path:
    return home() / "models" / f"{name}.json"


def _read_row(path: Path) -> ModelSpec:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        spec = zoo.from_dict(values)
    except (OSError, ValueError, WeightsError) as error:
        raise WeightsError(
            f"{path}: is no row of a model ({error}): add the model again"
        ) from error
    return spec


# --- files ------------------------------------------------------------------------------------


def fetch(
    spec: ModelSpec,
    form: Format = "onnx",
    *,
    accept_license: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Return where the weights of a model lie, verified; they are fetched if they are not there.

    The checksum is computed on every call, without a memory of earlier ones: it costs a fraction
    of what reading the network costs, and whatever would be remembered (time, length, i-node) can
    be the same for a changed file.

    Args:
        spec: The model's row.
        form: Which of its formats.
        accept_license: Whether the user accepts terms that do not allow every use.
        progress: Told of every piece that comes.

    Raises:
        WeightsError: if the row has no such format, the file is missing or damaged and cannot be
            fetched, or its terms are not accepted.
    """
    if form not in spec.weights:
        raise WeightsError(f"{spec.name} has no {form} weights, only {', '.join(spec.weights)}")
    file = spec.weights[form]
    if path := locate(file):
        try:
            found = sha256(path)
        except OSError as error:
            raise WeightsError(
                f"{path}: the weights of {spec.name} cannot be read: {error.strerror}"
            ) from error
        if found == file.sha256:
            return path
        if file.sha256 is None:
            raise WeightsError(f"{path}: nobody states its checksum: alphacut models add it")
        damage = f"{path}: is damaged (SHA-256 {found}, expected {file.sha256})"
        if file.embedded:
            raise WeightsError(f"{damage}: install alphacut again")
        if not file.addresses:
            raise WeightsError(f"{damage}: alphacut models add --name {spec.name} again")
        warnings.warn(f"{damage}: it is fetched again", AlphacutWarning, stacklevel=2)
    elif file.embedded:
        raise WeightsError(
            f"{ASSETS / file.file}: the weights of {spec.name} are missing: install alphacut again"
        )
    return _fetch(spec, file, accept_license, progress)


def locate(file: Weights) -> Path | None:
    """Return where a file lies, in the package or the user's folder, unverified; None if not."""
    path = (ASSETS if file.embedded else home() / "weights") / file.file
    return path if os.path.isfile(path) else None


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, read in pieces, as hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def seal(path: Path) -> None:
    """Note the checksum of a file that was made here beside it."""
    with whole_file(path.with_suffix(".sha256")) as part:
        part.write_text(sha256(path), encoding="ascii")


def is_sealed(path: Path) -> bool:
    """Tell whether a file that was made here is still what it was."""
    try:
        return path.with_suffix(".sha256").read_text(encoding="ascii") == sha256(path)
    except (OSError, ValueError):
        return False


def terms(spec: ModelSpec) -> str:
    """Return what a user must know before fetching a model's weights, in one line."""
    allowed = {"yes": "allowed", "no": "not allowed", "unclear": "unclear"}[spec.commercial]
    line = f"{spec.name}: licence of the weights: {spec.license}. Commercial use: {allowed}."
    return f"{line} {spec.note} Source: {spec.source}".replace("  ", " ")


def accepted(spec: ModelSpec) -> bool:
    """Tell whether a model's terms allow every use, or the environment accepts them."""
    names = os.environ.get("ALPHACUT_ACCEPT_LICENSE", "").replace(",", " ").split()
    return spec.commercial == "yes" or bool({"all", "1", spec.name, *spec.aliases} & {*names})


@contextlib.contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """Give a temporary path beside a target, which takes the target's place if all goes well.

    Raises:
        WeightsError: if the file cannot be written; nothing is left behind.
    """
    part = target.with_name(f".{os.getpid()}-{target.name}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield part
        part.replace(target)
    except OSError as error:
        raise _unwritable(target, error) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def _fetch(spec: ModelSpec, file: Weights, accept_license: bool, progress: Progress | None) -> Path:
    """Fetch a file into the user's folder, unless another process is quicker."""
    target = home() / "weights" / file.file
    mirror = os.environ.get("ALPHACUT_MIRROR", "")
    by_hand = f"put it there, or: alphacut models add PATH --name {spec.name}"
    if file.sha256 is None or not (file.addresses or mirror):
        why = "no checksum of it is published" if file.sha256 is None else "it has no address"
        raise WeightsError(
            f"the weights of {spec.name} ({file.file}) are not fetched, since {why}. Get the file "
            f"from {spec.source}, then: alphacut models add PATH --name {spec.name}"
        )
    if not (accept_license or accepted(spec)):
        raise WeightsError(
            f"{terms(spec)} To accept these terms: --accept-license, or "
            f"ALPHACUT_ACCEPT_LICENSE={spec.name} in the environment"
        )
    addresses = file.addresses
    if mirror:
        by_name = mirror.rstrip("/") + "/" + urllib.parse.quote(file.file)
        addresses = (by_name if _is_address(mirror) else str(Path(mirror) / file.file),)
    if _is_address(addresses[0]) and os.environ.get("ALPHACUT_OFFLINE", "0") not in ("", "0"):
        raise WeightsError(
            f"{target}: is missing, and ALPHACUT_OFFLINE forbids to fetch: {by_hand}"
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with locked(file.file):
            if target.is_file() and sha256(target) == file.sha256:
                return target  # another process has fetched it meanwhile
            part = target.with_name(file.file + ".part")
            _make_room(target, file, part)
            _download(spec, file, addresses, part, progress)
            part.replace(target)
    except OSError as error:
        raise _unwritable(target, error) from error
    return target


def _compare(path: Path, found: str, file: Weights, what: str) -> None:
    """Refuse a file that is not the one described, as far as it is described."""
    size = path.stat().st_size
    if file.sha256 and found != file.sha256:
        raise WeightsError(f"{path}: SHA-256 {found} is not that of {what}")
    if file.bytes is not None and size != file.bytes:
        raise WeightsError(f"{path}: {size} bytes are not those of {what}")


def _make_room(target: Path, file: Weights, part: Path) -> None:
    """Refuse to begin what the disk cannot hold."""
    there = part.stat().st_size if part.exists() else 0
    free = shutil.disk_usage(target.parent).free
    if file.bytes is not None and free < file.bytes - there:
        raise WeightsError(
            f"{target.parent}: {free / 1e6:.0f} MB are free, {file.bytes / 1e6:.0f} MB are needed: "
            "make room, or set ALPHACUT_HOME to another folder"
        )


def _unwritable(target: Path, error: OSError) -> WeightsError:
    full = error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
    ours = target.is_relative_to(home())
    remedy = "set ALPHACUT_HOME to another folder" if ours else "choose another place"
    return WeightsError(
        f"{target}: cannot be written ({error.strerror or error}): "
        f"{'make room, or ' * full}{remedy}"
    )


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold a file's lock; the system frees it when a process ends, however it ends.

    Raises:
        WeightsError: if nothing can be locked, since the folder cannot be written.
    """
    path = home() / "locks" / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.open("a+b")
    except OSError as error:
        raise _unwritable(path, error) from error
    with lock as file:
        if sys.platform == "win32":
            import msvcrt

            while True:
                try:
                    msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
                    break
                except OSError:  # it gives up after ten seconds
                    continue
            try:
                yield
            finally:
                file.seek(0)
                msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
            yield


# --- network ----------------------------------------------------------------------------------


class _Refused(Exception):
    """An address does not give the file, and asking again would not help."""


class _Interrupted(Exception):
    """An address has not given all of the file yet."""


class _Stale(_Interrupted):
    """What has come before does not belong to the file that an address has now."""


def _is_address(place: str) -> bool:
    return place.startswith(("http://", "https://"))


def _download(
    spec: ModelSpec,
    file: Weights,
    addresses: tuple[str, ...],
    part: Path,
    progress: Progress | None,
) -> None:
    """Bring a file to `part`, whole and verified, from the first address that has it."""
    reasons = []
    for address in addresses:
        try:
            _download_from(address, file, part, progress)
            return
        except (_Refused, _Interrupted) as error:
            reasons.append(f"{address}: {error}")
    kept = "; what has come is kept and the next try goes on from there" if part.exists() else ""
    raise WeightsError(
        f"the weights of {spec.name} cannot be fetched: {'; '.join(reasons)}{kept}. Try again, set "
        f"ALPHACUT_MIRROR, or: alphacut models add PATH --name {spec.name}"
    )


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
            found = sha256(part)
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
                    raise _unwritable(part, error) from error
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

    if not _is_address(address):
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
