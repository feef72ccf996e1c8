"""From a model's entry to a verified weights file: embedded, in the user's folder, or downloaded.

The user's folder is `ALPHACUT_HOME`, or `alphacut` in the system's folder for user data:

    weights/FILE       downloads and users' own weights; FILE.part during a download; an OpenVINO
                       .xml has its .bin beside it
    models/NAME.json   entries of users' own weights, and of files added to a known entry
    converted/         ONNX files made from PyTorch weights
    compiled/          networks compiled by OpenVINO, for a faster start
    costs/NAME.json    seconds and memory of a picture, measured by `models benchmark`
    locks/             one process downloads a file while others wait

Other settings: `ALPHACUT_MIRROR`, a folder or base URL with the same file names, used instead of
the entries' URLs; `ALPHACUT_OFFLINE=1`, never use the network; `ALPHACUT_ACCEPT_LICENSE`, names of
models whose terms are accepted, or "all"; and the usual proxy variables.
"""

import contextlib
import dataclasses
import hashlib
import importlib.util
import os
import re
import shutil
import sys
import urllib.parse
import warnings
from collections.abc import Iterator
from pathlib import Path

from alphacut import files
from alphacut.errors import (
    INSTALL_PACKAGE,
    AlphacutWarning,
    OutputError,
    UnknownName,
    WeightsError,
)
from alphacut.models import catalogue, entry
from alphacut.models.download import Progress, download, is_url
from alphacut.models.entry import NO_NETWORK, Format, ModelSpec, Weights

ASSETS = Path(__file__).parents[1] / "assets"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def home() -> Path:
    """Return the user's folder; it need not exist."""
    if chosen := os.environ.get("ALPHACUT_HOME"):
        return _expand(chosen)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        base = "~/Library/Application Support"
    else:
        base = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return _expand(base) / "alphacut"


def _expand(path: str) -> Path:
    """Replace ~ by the user's home, or by / for a user without one, as container engines do."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path("/", path.removeprefix("~/"))


# --- entries ----------------------------------------------------------------------------------


def find_model(name: str) -> ModelSpec:
    """Return the entry of a model, the package's or one of the user's own.

    Args:
        name: The model's name or an alias; case, hyphens and underscores make no difference.

    Raises:
        UnknownName: if there is no such model; the message lists the names.
        WeightsError: if the user's entry cannot be read.
    """
    if name == NO_NETWORK.name:
        return NO_NETWORK
    if known := catalogue.known_model(name):
        own = _entry_path(known.name)
        return _read_entry(own) if os.path.isfile(own) else known  # Path.is_file may raise
    if found := _find_entry(name):
        return _read_entry(found)
    raise UnknownName("model", name, (spec.name for spec in models()))


def models() -> tuple[ModelSpec, ...]:
    """Return every entry, the package's first; the user's unreadable ones only warn."""
    specs = {spec.name: spec for spec in catalogue.MODELS}
    for path in sorted(_entry_path("x").parent.glob("*.json")):
        try:
            specs[path.stem] = _read_entry(path)
        except WeightsError as error:
            warnings.warn(str(error), AlphacutWarning, stacklevel=2)
    return tuple(specs.values())


def add(path: Path, spec: ModelSpec, format: Format) -> ModelSpec:
    """Copy a user's weights file into the user's folder.

    Args:
        path: The file. Whether it fits the network is not checked here.
        spec: The entry it is like; its name becomes the model's. A known entry accepts only the
            file it describes, as far as it describes one.
        format: The file's format.

    Returns:
        The model's entry, with the file's checksum.

    Raises:
        WeightsError: if the name is not valid, or the file cannot be read, cannot be stored, or is
            not the known entry's.
    """
    if not _NAME.fullmatch(spec.name):
        raise WeightsError(
            f"{spec.name!r}: not a valid model name: use up to 64 letters, digits, '.', '_' and "
            "'-', starting with a letter or digit"
        )
    known = catalogue.known_model(spec.name)
    if known and format not in known.weights:
        raise WeightsError(
            f"{spec.name} has no {format} weights: add the file under another --name"
        )
    try:
        sha256, size = checksum(path), sum(part.stat().st_size for part in parts(path))
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {error.strerror or error}") from error
    described = known.weights[format] if known else Weights(file="")
    if described.sha256 not in (None, sha256) or described.bytes not in (None, size):
        raise WeightsError(
            f"{path}: not the {format} file of {spec.name} (SHA-256 {sha256}, expected "
            f"{described.sha256}): add it under another --name"
        )
    if described.sha256 is None and described.md5 is not None:
        found = files.md5(path)
        if found != described.md5:
            raise WeightsError(
                f"{path}: not the {format} file of {spec.name} (MD5 {found}, expected "
                f"{described.md5}): add it under another --name"
            )
    ours = Weights(
        file=described.file or spec.name + "".join(path.suffixes[-1:]),
        bytes=size,
        sha256=sha256,
        urls=described.urls,
        package=described.package,
    )
    target = home() / "weights" / ours.file
    with locked(ours.file), _writing(target):
        for source, copy in zip(parts(path), parts(target), strict=True):
            with files.replacing(copy, make_folder=True) as part:
                shutil.copyfile(source, part)
    added = dataclasses.replace(
        known or spec, weights={**(known.weights if known else {}), format: ours}
    )
    if known is None or described.sha256 is None:
        _write_entry(added, known, ours)
    return added


def remove(spec: ModelSpec) -> list[Path]:
    """Delete a model's files and, if it is the user's own, its entry.

    Returns:
        The deleted paths.

    Raises:
        WeightsError: if its weights are bundled with the package, or a file cannot be deleted.
    """
    if any(file.embedded for file in spec.weights.values()):
        raise WeightsError(f"{spec.name} is part of the package and cannot be removed")
    paths = [_entry_path(spec.name)]
    for file in spec.weights.values():
        installed = home() / "weights" / file.file
        paths += [*parts(installed), installed.with_name(f"{file.file}.part")]
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


def _entry_path(name: str) -> Path:
    return home() / "models" / f"{name}.json"


def _find_entry(name: str) -> Path | None:
    """Return the path of a user's entry, of this spelling or else another; None if absent."""
    if not _NAME.fullmatch(name):
        return None
    path = _entry_path(name)
    if os.path.isfile(path):
        return path
    wanted = catalogue.fold(name)
    others = sorted(path.parent.glob("*.json"))
    return next((each for each in others if catalogue.fold(each.stem) == wanted), None)


def _read_entry(path: Path) -> ModelSpec:
    try:
        return entry.from_json(path.read_text(encoding="utf-8"), catalogue.MODELS)
    except (OSError, ValueError, WeightsError) as error:
        raise WeightsError(
            f"{path}: unreadable model entry ({error}): add the model again"
        ) from error


def _write_entry(spec: ModelSpec, known: ModelSpec | None, file: Weights) -> None:
    """Write a user's entry, and delete the files of the entry it replaces."""
    path = _entry_path(spec.name)
    if known is None and os.path.isfile(path):
        for old in _read_entry(path).weights.values():
            if old.file != file.file:
                for part in parts(home() / "weights" / old.file):
                    part.unlink(missing_ok=True)
    like = known or next(each for each in catalogue.MODELS if each.arch == spec.arch)
    with _writing(path), files.replacing(path, make_folder=True) as part:
        part.write_text(entry.to_json(spec, like), encoding="utf-8")


# --- files ------------------------------------------------------------------------------------


def fetch(
    spec: ModelSpec,
    format: Format = "onnx",
    *,
    accept_license: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Return the path of a model's verified weights, downloading them if they are missing.

    The checksum is computed on every call. That costs a fraction of loading the network, and
    whatever could be remembered instead (time, size, inode) may be unchanged in a changed file.

    Args:
        spec: The model's entry.
        format: One of its formats.
        accept_license: Whether the user accepts terms that do not allow every use.
        progress: Called for every block received.

    Raises:
        WeightsError: if the entry has no such format, the file is missing or damaged and cannot be
            downloaded, or its terms are not accepted.
    """
    if format not in spec.weights:
        formats = f"no {format} weights, only {', '.join(spec.weights)}"
        raise WeightsError(f"{spec.name} has {formats if spec.weights else 'no weights'}")
    file = spec.weights[format]
    if path := locate(file):
        try:
            found = checksum(path)
        except OSError as error:
            raise WeightsError(
                f"{path}: cannot read the weights of {spec.name}: {error.strerror}"
            ) from error
        if found == file.sha256:
            return path
        if file.sha256 is None:
            raise WeightsError(
                f"{path}: cannot be verified, since no checksum is published: run alphacut models "
                f"add PATH --name {spec.name}"
            )
        damage = f"{path}: damaged (SHA-256 {found}, expected {file.sha256})"
        if file.embedded:
            raise WeightsError(f"{damage}: reinstall alphacut")
        if not file.urls:
            raise WeightsError(f"{damage}: run alphacut models add PATH --name {spec.name}")
        warnings.warn(f"{damage}: downloading it again", AlphacutWarning, stacklevel=2)
    elif file.embedded:
        raise WeightsError(
            f"{ASSETS / file.file}: the weights of {spec.name} are missing: reinstall alphacut"
        )
    return _fetch(spec, file, accept_license, progress)


def locate(file: Weights) -> Path | None:
    """Return the path of a file on this machine, unverified; None if it is absent.

    Embedded files lie in the package, others in the user's folder, or in a package of their own:
    an installed one, or the one in the checkout that alphacut runs from.
    """
    folders = [ASSETS if file.embedded else home() / "weights"]
    if file.package:
        found = importlib.util.find_spec(file.package)
        folders += map(Path, (found and found.submodule_search_locations) or ())
        if ASSETS.parents[1].name == "src":
            distribution = file.package.replace("_", "-")
            folders.append(ASSETS.parents[2] / "packages" / distribution / "src" / file.package)
    paths = (folder / file.file for folder in folders)
    return next((path for path in paths if os.path.isfile(path)), None)


def parts(path: Path) -> list[Path]:
    """Return the files that a weights file consists of: itself, and the .bin of an .xml."""
    return [path.with_suffix(".bin"), path] if path.suffix == ".xml" else [path]


def checksum(path: Path) -> str:
    """Return the SHA-256 of a weights file in hexadecimal: one for an .xml with its .bin."""
    if len(parts(path)) == 1:
        return files.sha256(path)
    return hashlib.sha256("".join(map(files.sha256, parts(path))).encode()).hexdigest()


def seal(path: Path) -> None:
    """Store the checksum of a file made on this machine beside it."""
    with _writing(path):
        files.write(path.with_suffix(".sha256"), [files.sha256(path).encode()])


def is_sealed(path: Path) -> bool:
    """Tell whether a file made on this machine is still as it was sealed."""
    try:
        return path.with_suffix(".sha256").read_text(encoding="ascii") == files.sha256(path)
    except (OSError, ValueError):
        return False


def terms(spec: ModelSpec) -> str:
    """Return in one line what a user must know before downloading a model's weights."""
    allowed = {"yes": "allowed", "no": "not allowed", "unclear": "unclear"}[spec.commercial]
    line = f"{spec.name}: licence of the weights: {spec.license}. Commercial use: {allowed}."
    return f"{line} {spec.note} Source: {spec.source}".replace("  ", " ")


def accepted(spec: ModelSpec) -> bool:
    """Tell whether a model's terms allow every use, or the environment accepts them."""
    names = os.environ.get("ALPHACUT_ACCEPT_LICENSE", "").replace(",", " ").split()
    return spec.commercial == "yes" or bool({"all", "1", spec.name, *spec.aliases} & {*names})


def _fetch(spec: ModelSpec, file: Weights, accept_license: bool, progress: Progress | None) -> Path:
    """Download a file into the user's folder, unless another process is faster."""
    target = home() / "weights" / file.file
    mirror = os.environ.get("ALPHACUT_MIRROR", "")
    by_hand = f"alphacut models add PATH --name {spec.name}"
    if file.package and not mirror:
        raise WeightsError(
            f"{file.file}: the weights of {spec.name} are not installed: "
            f"{INSTALL_PACKAGE.format(package=file.package.replace('_', '-'))}, or run {by_hand}"
        )
    if file.sha256 is None or not (file.urls or mirror):
        why = "no checksum is published" if file.sha256 is None else "it has no URL"
        raise WeightsError(
            f"{file.file}: the weights of {spec.name} cannot be downloaded, since {why}: get the "
            f"file from {spec.source}, then run {by_hand}"
        )
    if not (accept_license or accepted(spec)):
        raise WeightsError(
            f"{terms(spec)} To accept these terms, give --accept-license or set "
            f"ALPHACUT_ACCEPT_LICENSE={spec.name}"
        )
    urls = file.urls
    if mirror:
        by_name = mirror.rstrip("/") + "/" + urllib.parse.quote(file.file)
        urls = (by_name if is_url(mirror) else str(Path(mirror) / file.file),)
    if is_url(urls[0]) and os.environ.get("ALPHACUT_OFFLINE", "0") not in ("", "0"):
        raise WeightsError(
            f"{target}: missing, and ALPHACUT_OFFLINE is set: not downloading. Put the file there, "
            f"or run {by_hand}"
        )
    with locked(file.file), _writing(target):
        if target.is_file() and files.sha256(target) == file.sha256:
            return target  # another process has downloaded it in the meantime
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(file.file + ".part")
        _check_space(target.parent, file, part)
        try:
            download(file, urls, part, progress)
        except WeightsError as error:
            raise WeightsError(
                f"cannot download the weights of {spec.name}: {error}. Try again, set "
                f"ALPHACUT_MIRROR, or run {by_hand}"
            ) from error
        part.replace(target)
    return target


def _check_space(folder: Path, file: Weights, part: Path) -> None:
    """Refuse a download that the disk cannot hold."""
    received = part.stat().st_size if part.exists() else 0
    free = shutil.disk_usage(folder).free
    if file.bytes is not None and free < file.bytes - received:
        raise WeightsError(
            f"{folder}: {free / 1e6:.0f} MB free, {(file.bytes - received) / 1e6:.0f} MB needed: "
            "free some space, or set ALPHACUT_HOME to another folder"
        )


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold a lock in the user's folder; the system releases it however the process ends.

    Raises:
        WeightsError: at once, if the lock file cannot be written.
    """
    import filelock

    path = home() / "locks" / name
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(path)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Say what to do if the user's folder cannot be written.

    Raises:
        WeightsError: instead of an OSError or OutputError.
    """
    try:
        yield
    except OSError as error:
        raise _unwritable(files.unwritable(path, error)) from error
    except OutputError as error:
        raise _unwritable(error) from error


def _unwritable(error: OutputError) -> WeightsError:
    return WeightsError(f"{error}. ALPHACUT_HOME can name another folder")
