"""Images on one machine: where each result goes, and cutting them out several at a time."""

import contextlib
import functools
import glob
import io
import os
import re
import sys
import time
import warnings
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from alphacut.batch.inputs import FOLDER_MARKS, RESULT_MARKS, is_input
from alphacut.batch.verdict import Verdict, judge
from alphacut.errors import AlphacutError, AlphacutWarning, ImageError, OutputError
from alphacut.files import is_stream, write
from alphacut.options import Options
from alphacut.output.encode import output_format
from alphacut.parallel import in_order, processors, side_by_side
from alphacut.remover import Remover

STREAM, STDIN = "-", "standard input"  # as an argument, and in messages
_NUMBERED = re.compile(r"(.+)-\d+")  # the stem of a subject's result
Existing = Literal["fail", "skip", "overwrite"]


@dataclass(frozen=True)
class Item:
    """One image: where it comes from and where its result goes, or why it cannot be done.

    Attributes:
        source: Path of the image, or "-" for standard input.
        target: Path of the result, or "-" for standard output.
        error: Why the item cannot be done, known before any work.
    """

    source: str
    target: str
    error: AlphacutError | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of an item: a result, an error, or skipped.

    Attributes:
        item: The item.
        verdict: What was found out about the cut-out; None if there is none.
        milliseconds: Time of each stage, saving included.
        error: Why there is no result.
        taken: Whether the result's place was taken: an error, or skipped if there is none.
        targets: Paths of the results, several if subjects are separate; by default the item's.
    """

    item: Item
    verdict: Verdict | None = None
    milliseconds: dict[str, float] | None = None
    error: Exception | None = None
    taken: bool = False
    targets: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Fill in the item's target."""
        object.__setattr__(self, "targets", self.targets or (self.item.target,))


class _Found(NamedTuple):
    """An image that an input names.

    Attributes:
        source: Its path, or "-" for standard input.
        below: Its path below the folder it was found in.
        folder: That folder, if it was given as one.
    """

    source: str
    below: Path
    folder: str | None = None


def list_items(
    inputs: Sequence[str], output: str | None, options: Options, *, recursive: bool = False
) -> list[Item]:
    """List the images to cut out and where each result goes; nothing is written.

    A folder stands for the images in it, and its structure is kept below `output`; without one,
    below a folder beside it, so that no result comes to lie among the originals. Two inputs
    never share a result: where names clash, each gets its input's extension as well, the same way
    on every run. No result replaces an input.

    Args:
        inputs: Files, folders, glob patterns, or "-" for standard input.
        output: A file, a folder, "-" for standard output, or None for beside each input, be it a
            file or a folder.
        options: What is written, and in which format.
        recursive: Whether to look into subfolders.

    Returns:
        Items in the order of the inputs; those that cannot be done carry their error.

    Raises:
        OutputError: if the output cannot serve these inputs at all.
    """
    images, failed = _find(inputs, output, recursive)
    if output == STREAM or (output is None and [found.source for found in images] == [STREAM]):
        if len(images) + len(failed) > 1:
            raise OutputError("standard output takes one picture only: give -o a folder")
        return failed + [Item(found.source, STREAM) for found in images]
    if STREAM in (found.source for found in images) and len(images) > 1:
        raise OutputError(f"{STDIN} is one picture: it cannot be mixed with others")

    if not images:
        return failed
    several = len(images) + len(failed) > 1 or any(map(os.path.isdir, inputs))
    if output is not None and is_stream(Path(output)):
        if len(images) + len(failed) > 1:
            raise OutputError(f"{output}: takes one picture only: give -o a folder")
        return failed + [Item(found.source, output) for found in images]
    if output is not None and not several and not _is_folder(output):
        output_format(Path(output), options.format, opaque=options.opaque)
        targets = [Path(output)]
    else:
        if output is not None and os.path.isfile(output):
            raise OutputError(f"{output}: is a file, but these inputs need a folder")
        if output is not None and not _is_folder(output):
            raise OutputError(f"{output}: these inputs need a folder: write {output}/")
        targets = _targets(images, output, options)
    taken = {same_file(Path(found.source)) for found in images}
    if options.subjects == "separate":  # what a numbered result of theirs would replace
        taken |= {same_file(path.with_name(found[1] + path.suffix)) for image in images
                  if (found := _NUMBERED.fullmatch((path := Path(image.source)).stem))}  # fmt: skip
    writers = Counter(map(same_file, targets))
    items = []
    for (source, *_), target in zip(images, targets, strict=True):
        error = None
        if same_file(target) in taken:
            error = OutputError(f"{source}: its result would replace the input {target}: choose "
                                "another --output")  # fmt: skip
        elif writers[same_file(target)] > 1:
            error = OutputError(f"{source}: another input would write {target}, too: run them "
                                "separately, into separate folders")  # fmt: skip
        items.append(Item(source, str(target), error))
    return failed + items


def run(
    items: Sequence[Item],
    remover: Remover,
    *,
    existing: Existing,
    threads: int | None = None,
    fail_empty: bool = False,
    fail_doubt: float | None = None,
) -> Generator[Outcome, None, None]:
    """Cut out items, several at a time; one that fails does not stop the others.

    Decoding, network, edges and encoding of different images overlap. Memory is bounded by the
    number of threads, not by the number of items.

    Args:
        items: What to do, from `list_items`.
        remover: Cuts out, and knows the options.
        existing: What to do where a result already exists.
        threads: How many items at a time; as many as there are processors by default.
        fail_empty: Whether an image without a subject fails.
        fail_doubt: The doubt above which one fails; None for none.

    Yields:
        One outcome per item, in order.
    """
    at_once = min(threads or processors(), len(items) or 1)
    work = functools.partial(
        attempt, remover=remover, existing=existing, at_once=at_once, fail_empty=fail_empty,
        fail_doubt=fail_doubt,
    )  # fmt: skip
    yield from in_order(work, items, at_once)


def attempt(
    item: Item,
    remover: Remover,
    *,
    existing: Existing,
    at_once: int,
    fail_empty: bool,
    fail_doubt: float | None,
) -> Outcome:
    """Cut out one item of several; what goes wrong is in the outcome.

    Args and outcome are those of `run`; `at_once` says how many are worked on side by side.
    """
    try:
        with side_by_side(at_once):
            return _cut_out(item, remover, existing, fail_empty, fail_doubt)
    except Exception as error:  # one of many: it is reported, and the others go on
        return Outcome(item, error=error)


def _cut_out(
    item: Item, remover: Remover, existing: Existing, fail_empty: bool, fail_doubt: float | None
) -> Outcome:
    """Cut out one item and save the result."""
    if item.error:
        raise item.error
    options = remover.options
    target = None if item.target == STREAM else Path(item.target)
    beside = target.with_name(f"{target.stem}-trimap.png") if target else None
    missing = item.source != STREAM and not os.path.lexists(item.source)  # reading it says so
    several = options.subjects == "separate" and output_format(
        target, options.format, opaque=options.opaque) != "ora"  # fmt: skip
    if several and (target is None or is_stream(target)):
        raise OutputError(f"{item.target}: takes one picture, not one for each subject: give -o a "
                          "file or a folder, or choose format ora")  # fmt: skip
    if target and is_stream(target):
        beside = None
    elif target and not missing:
        first = _numbered(target, 1) if several else target
        if os.path.isdir(first):
            raise OutputError(f"{first}: is a folder, but a file is needed")
        if first.exists() and existing == "skip":
            return Outcome(item, taken=True, targets=(str(first),))
        if first.exists() and existing == "fail":
            return _taken(item, first)
    if options.save_trimap and beside and beside.exists() and existing == "fail":
        return _taken(item, beside)
    cutout = remover(_read_stdin() if item.source == STREAM else item.source)
    subjects = cutout.subjects() if options.subjects == "separate" else None
    verdict = judge(cutout, subjects, fail_empty=fail_empty, fail_doubt=fail_doubt)
    if verdict.error:
        return Outcome(item, verdict, dict(cutout.milliseconds), verdict.error)
    results = {target: cutout} if target else {}
    if target and several:
        # without a subject there is one result, too, as empty as the picture
        results = {_numbered(target, number): one
                   for number, one in enumerate(subjects or (cutout,), 1)}  # fmt: skip
        for path in results:
            if path.exists() and existing != "overwrite":
                return _taken(item, path)
    start = time.perf_counter()
    if target:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{target.parent}: cannot be created: {error.strerror}") from error
        for path, one in results.items():
            one.save(path, options)
        if several and (old := _numbered(target, len(results) + 1)).exists():
            found = f"only {len(results)} of {item.source} were found"
            warnings.warn(f"{old}: is older, since {found}: delete it if it is another run's",
                          AlphacutWarning, stacklevel=2)  # fmt: skip
        if options.save_trimap and beside and (trimap := cutout.encode_trimap(options)):
            write(beside, [trimap])
    else:
        pieces = cutout.encode(options)[1]
        try:
            for piece in pieces:
                sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
        except OSError as error:
            reason = error.strerror or "it is closed"
            raise OutputError(f"standard output: cannot be written: {reason}") from error
    save = round((time.perf_counter() - start) * 1000, 2)
    targets = tuple(map(str, results))
    return Outcome(item, verdict, {**cutout.milliseconds, "save": save}, targets=targets)


def _numbered(target: Path, number: int) -> Path:
    """Return the path of a subject's result, for several of a picture."""
    return target.with_name(f"{target.stem}-{number}{target.suffix}")


def _taken(item: Item, target: Path) -> Outcome:
    error = OutputError(f"{target}: already exists: use --overwrite or --skip-existing")
    return Outcome(item, error=error, taken=True, targets=(str(target),))


def _read_stdin() -> io.BytesIO:
    file = io.BytesIO(sys.stdin.buffer.read())
    file.name = STDIN  # what messages call it
    return file


def _find(
    inputs: Sequence[str], output: str | None, recursive: bool
) -> tuple[list[_Found], list[Item]]:
    """Expand inputs to images, each once."""
    images: dict[str, _Found] = {}
    failed = []

    def add(name: str, below: str, within: str | None = None) -> None:
        # links to one file are inputs of their own; a folder's alias is that folder
        folder, file = os.path.split(name)
        key = name if name == STREAM else os.path.join(os.path.realpath(folder), file)
        images.setdefault(key, _Found(name, Path(below), within))

    for name in inputs:
        if name == STREAM:
            add(name, "stdin")
        elif os.path.isdir(name):
            try:
                without = [Path(output)] if output else []
                found, problem = sorted(images_in(Path(name), without, recursive)), ""
            except OSError as error:
                found, problem = [], f"cannot be read: {error.strerror}"
            for path in found:
                add(str(path), str(path.relative_to(name)), name)
            below = not recursive and not problem and _has_more_below(Path(name), output)
            if below and found:
                warnings.warn(f"{name}: pictures in its subfolders are left out: use --recursive",
                              AlphacutWarning, stacklevel=2)  # fmt: skip
            if not found:
                problem = problem or "no pictures in this folder"
                problem += ", but below it: use --recursive" if below else ""
                failed.append(Item(name, "", ImageError(f"{name}: {problem}")))
        elif glob.has_magic(name) and not os.path.lexists(name):
            matches = sorted(filter(_is_image, map(Path, glob.iglob(name, recursive=True))))
            for match in matches:
                add(str(match), match.name)
            if not matches:
                failed.append(Item(name, "", ImageError(f"{name}: no pictures match")))
        elif "://" in name and not os.path.lexists(name):
            problem = "addresses are not read here: download the picture, or use alphacut batch"
            failed.append(Item(name, "", ImageError(f"{name}: {problem}")))
        elif not os.path.basename(name):
            failed.append(Item(name, "", ImageError(f"{name or repr('')}: no such file or folder")))
        else:
            add(name, os.path.basename(name))
    return list(images.values()), failed


def images_in(folder: Path, without: Sequence[Path], recursive: bool) -> Iterator[Path]:
    """Find the images of a folder, in no order.

    Args:
        folder: The folder.
        without: Folders that are left out, as are results of earlier runs.
        recursive: Whether to look into subfolders.

    Raises:
        OSError: if the folder cannot be read.
    """
    holds_results = functools.cache(_holds_results)
    os.scandir(folder).close()  # raises where rglob is silent
    inside = os.path.join(same_file(folder), "")
    left_out = tuple(os.path.join(name, "") for name in map(same_file, without)
                     if name.startswith(inside))  # fmt: skip
    for path in folder.rglob("*") if recursive else folder.iterdir():
        if not _is_image(path) or (left_out and same_file(path).startswith(left_out)):
            continue
        if not any(
            holds_results(folder / above) for above in path.relative_to(folder).parents[:-1]
        ):
            yield path


def _has_more_below(folder: Path, output: str | None) -> bool:
    """Tell whether a subfolder holds images, results aside."""
    results = same_file(Path(output)) if output else None
    for below in folder.iterdir():
        if below.is_dir() and not _holds_results(below) and same_file(below) != results:
            with contextlib.suppress(OSError):  # it was not asked for
                if any(map(_is_image, below.iterdir())):
                    return True
    return False


def _holds_results(folder: Path) -> bool:
    """Tell whether a folder is one that `list_items` names for the results of the one beside it."""
    return any(
        folder.name.endswith(mark) and folder.with_name(folder.name.removesuffix(mark)).is_dir()
        for mark in FOLDER_MARKS.values()
        if folder.name != mark
    )


def _is_image(path: Path) -> bool:
    return is_input(path) and path.is_file()


def result_name(below: Path, extension: str, *, clash: bool) -> Path:
    """Return where an image's result lies below the folder of results.

    Args:
        below: Where the image lies below its own folder.
        extension: Of the result, such as ".png".
        clash: Whether another image takes that name: this one's extension is added to it.
    """
    stem = below.stem + (below.suffix.replace(".", "-") if clash else "")
    return below.with_name(stem + extension)


def _targets(images: Sequence[_Found], output: str | None, options: Options) -> list[Path]:
    """Name each result; where two would be the same, each gets its input's extension as well."""
    extension = "." + output_format(None, options.format, opaque=options.opaque)

    def name(image: _Found, clash: bool) -> Path:
        below = result_name(image.below, extension, clash=clash)
        if output is None and image.folder is None:
            own = f"{below.stem}{RESULT_MARKS[options.result]}{extension}"
            return Path(image.source).with_name(own)
        folder = Path(output) if output is not None else _beside(str(image.folder), options)
        return folder / below

    names = [name(image, clash=False) for image in images]
    count = Counter(map(same_file, names))
    return [
        name(image, clash=True) if count[same_file(first)] > 1 else first
        for image, first in zip(images, names, strict=True)
    ]


def _beside(folder: str, options: Options) -> Path:
    """Return the folder for the results of a folder, beside it."""
    path = Path(folder)
    if path.name in ("", ".."):  # such as "."
        real = path.resolve()
        if not real.name:
            raise OutputError(f"{folder}: nothing lies beside it: give -o a folder")
        path = Path(os.path.relpath(real.parent)) / real.name
    return path.with_name(path.name + FOLDER_MARKS[options.result])


def _is_folder(output: str) -> bool:
    """Tell whether an output means a folder: it is one, or its name has no extension."""
    return os.path.isdir(output) or output.endswith(("/", os.sep)) or not Path(output).suffix


def same_file(path: Path) -> str:
    """Return one spelling for all paths to a file, also where case does not matter."""
    real = os.path.normcase(os.path.realpath(path))
    return real.casefold() if _ignores_case(os.path.dirname(real)) else real


@functools.cache
def _ignores_case(folder: str) -> bool:
    """Tell whether a folder's disk ignores the case of names, without writing there.

    A folder that does not exist yet, or names nothing with letters, is like the one above it.
    """
    try:
        names = set(os.listdir(folder))
    except OSError:
        names = set()
    for name in names:
        if name.swapcase() not in {name, *names}:
            return os.path.lexists(os.path.join(folder, name.swapcase()))
    above = os.path.dirname(folder)
    return above != folder and _ignores_case(above)
