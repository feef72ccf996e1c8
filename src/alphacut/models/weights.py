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
import json
import os
import re
import shutil
import sys
import urllib.parse
import warnings
from collections.abc import Iterator
from pathlib import Path

from alphacut import files
from alphacut.errors import AlphacutWarning, OutputError, UnknownName, WeightsError
from alphacut.models import catalogue
from alphacut.models.catalogue import Format, ModelSpec, Weights
from alphacut.models.download import Progress, download, is_address

ASSETS = Path(__file__).parents[1] / "assets"

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
    known = catalogue.known_model(name)
    if known or _NAME.fullmatch(name):
        path = _row_path(known.name if known else name)
        if os.path.isfile(path):  # Path.is_file raises where the folder may not be read
            return _read_row(path)
    if known is None:
        raise UnknownName("model", name, (spec.name for spec in models()))
    return known


def models() -> tuple[ModelSpec, ...]:
    """Return all rows: the package's in their order, then the user's own; unreadable ones warn."""
    rows = {spec.name: spec for spec in catalogue.MODELS}
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
    like = next((row for row in catalogue.MODELS if row.name == spec.name), None)
    if like and form not in like.weights:
        raise WeightsError(f"{spec.name} has no {form} weights: add the file under another --name")
    try:
        found = files.sha256(path)
        described = like.weights[form] if like else Weights(file="")
        _compare(path, found, described, f"the file of {spec.name}: add it under another --name")
        ours = Weights(
            file=described.file or spec.name + "".join(path.suffixes[-1:]),
            bytes=path.stat().st_size,
            sha256=found,
            addresses=described.addresses,
        )
        target = home() / "weights" / ours.file
        with locked(ours.file), _keeping(target), files.replacing(target, make_folder=True) as part:
            shutil.copyfile(path, part)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be added: {error.strerror or error}") from error
    row = spec if like is None else like
    added = dataclasses.replace(row, weights={**(row.weights if like else {}), form: ours})
    if like is None or like.weights[form].sha256 is None:
        base = like or next(model for model in catalogue.MODELS if model.arch == spec.arch)
        if like is None and os.path.isfile(_row_path(spec.name)):  # added before, maybe otherwise
            for old in _read_row(_row_path(spec.name)).weights.values():
                if old.file != ours.file:
                    (home() / "weights" / old.file).unlink(missing_ok=True)
        text = json.dumps(catalogue.to_dict(added, base), indent=2) + "\n"
        row_path = _row_path(spec.name)
        with _keeping(row_path), files.replacing(row_path, make_folder=True) as part:
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
        spec = catalogue.from_dict(values)
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
            found = files.sha256(path)
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


def seal(path: Path) -> None:
    """Note the checksum of a file that was made here beside it."""
    with _keeping(path):
        files.write(path.with_suffix(".sha256"), [files.sha256(path).encode()])


def is_sealed(path: Path) -> bool:
    """Tell whether a file that was made here is still what it was."""
    try:
        return path.with_suffix(".sha256").read_text(encoding="ascii") == files.sha256(path)
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
        addresses = (by_name if is_address(mirror) else str(Path(mirror) / file.file),)
    if is_address(addresses[0]) and os.environ.get("ALPHACUT_OFFLINE", "0") not in ("", "0"):
        raise WeightsError(
            f"{target}: is missing, and ALPHACUT_OFFLINE forbids to fetch: {by_hand}"
        )
    with locked(file.file), _keeping(target):
        if target.is_file() and files.sha256(target) == file.sha256:
            return target  # another process has fetched it meanwhile
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(file.file + ".part")
        _make_room(target, file, part)
        try:
            download(file, addresses, part, progress)
        except WeightsError as error:
            raise WeightsError(
                f"the weights of {spec.name} cannot be fetched: {error}. Try again, set "
                f"ALPHACUT_MIRROR, or: alphacut models add PATH --name {spec.name}"
            ) from error
        part.replace(target)
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


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold a lock of the user's folder; the system frees it when a process ends, however it ends.

    Raises:
        WeightsError: if nothing can be locked, since the folder cannot be written.
    """
    import filelock

    path = home() / "locks" / name
    with _keeping(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(path)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _keeping(path: Path) -> Iterator[None]:
    """Say what to do if the user's folder cannot be written.

    Raises:
        WeightsError: instead of an OSError or OutputError.
    """
    try:
        yield
    except OSError as error:
        raise _unkept(files.unwritable(path, error)) from error
    except OutputError as error:
        raise _unkept(error) from error


def _unkept(error: OutputError) -> WeightsError:
    return WeightsError(f"{error}: set ALPHACUT_HOME to another folder")
