"""Many pictures on one machine: where each result goes, and doing them one after another."""

import glob
import os
import sys
import time
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from alphacut.errors import AlphacutError, ImageError, OutputError
from alphacut.files import write
from alphacut.options import RESULTS, Options
from alphacut.output.encode import Raster, encode, output_format
from alphacut.parallel import in_order, processors, side_by_side
from alphacut.pipeline.load import INPUT_SUFFIXES
from alphacut.pipeline.trimap import encode_trimap
from alphacut.remover import Remover

STREAM = "-"
# A photo may well be called beach-background.jpg: only marks that nobody else writes stand alone
_MARKS = {result: f"-cutout-{result}" for result in RESULTS} | {
    "cutout": "-cutout",
    "mask": "-mask",
}
RESULT_MARKS = tuple(_MARKS.values())
Existing = Literal["fail", "skip", "overwrite"]


@dataclass(frozen=True)
class Job:
    """One picture to do: where it comes from and where its result goes, or why it cannot be.

    Attributes:
        source: Path of the picture, or "-" for standard input.
        target: Path of the result, or "-" for standard output.
        error: Why the job cannot be done, found before any work.
    """

    source: str
    target: str
    error: AlphacutError | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of a job: written, an error, or skipped.

    Attributes:
        job: The job.
        size: (H, W) of the picture that was cut out.
        box: (top, left, bottom, right) of the subject; None if there is none.
        milliseconds: What each stage took, writing included.
        error: Why there is no result.
        skipped: Whether the result was there before.
    """

    job: Job
    size: tuple[int, int] | None = None
    box: tuple[int, int, int, int] | None = None
    milliseconds: dict[str, float] | None = None
    error: Exception | None = None
    skipped: bool = False


def plan(
    inputs: Sequence[str], output: str | None, options: Options, *, recursive: bool = False
) -> list[Job]:
    """Decide which pictures are done and where each result goes; nothing is written yet.

    A folder stands for the pictures in it, and its structure is kept below `output`. Two inputs
    never share a result: where names would clash each gets its input's ending as well, the same
    way every time. No result takes the place of an input.

    Args:
        inputs: Files, folders, glob patterns, or "-" for standard input.
        output: A file, a folder, "-" for standard output, or None for beside each input.
        options: What is written, and in which format.
        recursive: Whether folders inside folders count.

    Returns:
        Jobs in the order of the inputs; those that cannot be done carry their error.

    Raises:
        OutputError: if the output cannot serve these inputs at all.
    """
    pictures, failed = _find(inputs, output, recursive)
    if output == STREAM or (output is None and [name for name, _ in pictures] == [STREAM]):
        if len(pictures) + len(failed) > 1:
            raise OutputError("standard output takes one picture, not several: give -o a folder")
        return failed + [Job(source, STREAM) for source, _ in pictures]
    if STREAM in (name for name, _ in pictures) and len(pictures) > 1:
        raise OutputError("standard input is one picture: it cannot be mixed with others")

    if not pictures:
        return failed
    several = len(pictures) + len(failed) > 1 or any(map(os.path.isdir, inputs))
    if output is not None and not several and not _is_folder(output):
        output_format(Path(output), options.format, opaque=options.opaque)
        targets = [Path(output)]
    else:
        if output is not None and os.path.isfile(output):
            raise OutputError(f"{output}: is a file, but a folder is needed for these inputs")
        if output is not None and not _is_folder(output):
            raise OutputError(f"{output}: a folder is needed for these inputs: write {output}/")
        targets = _targets(pictures, output, options)
    taken = {_same_file(Path(name)) for name, _ in pictures}
    writers = Counter(map(_same_file, targets))
    jobs = []
    for (source, _), target in zip(pictures, targets, strict=True):
        error = None
        if _same_file(target) in taken:
            error = OutputError(f"{source}: its result would replace the input {target}: choose "
                                "another --output")  # fmt: skip
        elif writers[_same_file(target)] > 1:
            error = OutputError(f"{source}: another input would write {target} too: do them in "
                                "separate runs, to separate folders")  # fmt: skip
        jobs.append(Job(source, str(target), error))
    return failed + jobs


def process(
    jobs: Sequence[Job], remover: Remover, *, existing: Existing, threads: int | None = None
) -> Generator[Outcome, None, None]:
    """Do the jobs, several at a time; one that fails does not stop the others.

    Decoding, network, edges and encoding of different pictures overlap. Memory is bounded by the
    number of threads, whatever the number of jobs.

    Args:
        jobs: What to do, from `plan`.
        remover: Does it.
        existing: What to do where a result is already there.
        threads: How many at once; as many as there are processors by default.

    Yields:
        One outcome a job, in order.
    """

    def attempt(job: Job) -> Outcome:
        try:
            return _do(job, remover, existing)
        except Exception as error:  # one of many: it is reported, and the others go on
            return Outcome(job, error=error)

    at_once = side_by_side(min(threads or processors(), len(jobs) or 1))
    return in_order(at_once(attempt), jobs, threads)


def _do(job: Job, remover: Remover, existing: Existing) -> Outcome:
    """Do one job."""
    if job.error:
        raise job.error
    target = None if job.target == STREAM else Path(job.target)
    if target and os.path.exists(target):
        if os.path.isdir(target):
            raise OutputError(f"{target}: is a folder, a file is needed")
        if existing == "skip":
            return Outcome(job, skipped=True)
        if existing == "fail":
            raise OutputError(f"{target}: is already there: --overwrite or --skip-existing")
    beside = target.with_name(f"{target.stem}-trimap.png") if target else None
    if remover.options.save_trimap and beside and beside.exists() and existing == "fail":
        raise OutputError(f"{beside}: is already there: --overwrite or --skip-existing")
    cutout = remover(sys.stdin.buffer.read() if job.source == STREAM else job.source)
    start = time.perf_counter()
    if target:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{target.parent}: cannot be made: {error.strerror}") from error
        cutout.save(target, remover.options)
        if remover.options.save_trimap and beside and cutout.trimap is not None:
            levels = Raster(encode_trimap(cutout.trimap))
            write(beside, encode([levels], "png", effort=remover.options.png))
    else:
        pieces = cutout.encode(remover.options)[1]
        try:
            for piece in pieces:
                sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
        except OSError as error:
            raise OutputError(f"standard output: cannot be written: {error.strerror}") from error
    save = round((time.perf_counter() - start) * 1000, 2)
    return Outcome(job, cutout.size, cutout.box, {**cutout.milliseconds, "save": save})


def _find(
    inputs: Sequence[str], output: str | None, recursive: bool
) -> tuple[list[tuple[str, Path]], list[Job]]:
    """Expand inputs to pictures, each once and with its path below the folder it was found in."""
    pictures: dict[str, tuple[str, Path]] = {}
    failed = []

    def add(name: str, below: str) -> None:
        pictures.setdefault(name if name == STREAM else os.path.realpath(name), (name, Path(below)))

    for name in inputs:
        if name == STREAM:
            add(name, "stdin")
        elif os.path.isdir(name):
            try:
                found, problem = sorted(_pictures_in(Path(name), output, recursive)), ""
            except OSError as error:
                found, problem = [], f"cannot be read: {error.strerror}"
            for picture in found:
                add(str(picture), str(picture.relative_to(name)))
            if not found:
                problem = problem or "no pictures in this folder"
                failed.append(Job(name, "", ImageError(f"{name}: {problem}")))
        elif glob.has_magic(name) and not os.path.lexists(name):
            matches = sorted(filter(_is_picture, map(Path, glob.iglob(name, recursive=True))))
            for match in matches:
                add(str(match), match.name)
            if not matches:
                failed.append(Job(name, "", ImageError(f"{name}: no pictures match")))
        elif not os.path.basename(name):
            failed.append(Job(name, "", ImageError(f"{name or repr('')}: no such file or folder")))
        else:
            add(name, os.path.basename(name))
    return list(pictures.values()), failed


def _pictures_in(folder: Path, output: str | None, recursive: bool) -> Iterator[Path]:
    """Find the pictures of a folder, leaving out results of earlier runs."""
    os.scandir(folder).close()  # complains where rglob keeps silent
    results = os.path.join(_same_file(Path(output)), "") if output else ""
    inside = bool(results) and results[:-1].startswith(os.path.join(_same_file(folder), ""))
    for path in folder.rglob("*") if recursive else folder.iterdir():
        if _is_picture(path) and not (inside and _same_file(path).startswith(results)):
            yield path


def _is_picture(path: Path) -> bool:
    """Tell whether a file that was not named itself is an input: a picture, and no result."""
    known = path.suffix.lower() in INPUT_SUFFIXES and not path.stem.endswith(RESULT_MARKS)
    return known and path.is_file()


def _targets(
    pictures: Sequence[tuple[str, Path]], output: str | None, options: Options
) -> list[Path]:
    """Name each result; where two would be the same, each gets its input's ending as well."""
    ending = "." + output_format(None, options.format, opaque=options.opaque)

    def name(source: str, below: Path, mark: str) -> Path:
        if output is None:
            return Path(source).with_name(f"{below.stem}{mark}{_MARKS[options.result]}{ending}")
        return Path(output) / below.with_name(f"{below.stem}{mark}{ending}")

    names = [name(source, below, "") for source, below in pictures]
    count = Counter(map(_same_file, names))
    return [
        name(source, below, below.suffix.replace(".", "-"))
        if count[_same_file(first)] > 1
        else first
        for (source, below), first in zip(pictures, names, strict=True)
    ]


def _is_folder(output: str) -> bool:
    """Tell whether an output means a folder: it is one, or its name has no ending."""
    return os.path.isdir(output) or output.endswith(("/", os.sep)) or not Path(output).suffix


def _same_file(path: Path) -> str:
    """Return one spelling for all paths to a file, also where case does not count."""
    return os.path.normcase(os.path.realpath(path)).casefold()
