"""What `--report` and `--json` say of each picture, and the file that `--report` writes."""

import csv
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import click

from alphacut import files

_SUFFIXES = (".csv", ".jsonl")


class Row(NamedTuple):
    """What became of a picture; None where it is not known.

    Attributes:
        input: Its path or address.
        output: Where the result is, or the first of several.
        status: "done", "failed" or "skipped".
        reason: Why it failed.
        input_width: Of the picture as it was read, in pixels.
        input_height: Likewise.
        left: Of the subject's box, in pixels of the picture as it was read.
        top: Likewise.
        right: Likewise, exclusive.
        bottom: Likewise, exclusive.
        empty: Whether no subject was found.
        doubt: See `Cutout.doubt`.
        ground: How the ground was known; see `Cutout.ground`.
        ground_sure: How sure that is.
        milliseconds: How long it took.
        boxes: Left, top, right and bottom of each subject, from left to right, if they are
            separate; in a table as JSON.
    """

    input: str
    output: str | None
    status: str
    reason: str | None = None
    input_width: int | None = None
    input_height: int | None = None
    left: int | None = None
    top: int | None = None
    right: int | None = None
    bottom: int | None = None
    empty: bool | None = None
    doubt: float | None = None
    ground: str | None = None
    ground_sure: float | None = None
    milliseconds: float | None = None
    boxes: tuple[tuple[int, int, int, int], ...] | None = None


def to_json(row: Row) -> str:
    """Return a row as a line of JSON."""
    return json.dumps(row._asdict())


@contextmanager
def writing(path: Path | None) -> Iterator[Callable[[Row], None]]:
    """Write a report; what there is of it is kept if the run is stopped.

    Args:
        path: The file, .csv or .jsonl, which is replaced; None for no report.

    Yields:
        What to call with each row.

    Raises:
        OutputError: if it cannot be written.
    """
    if path is None:
        yield lambda row: None
        return
    stopped: BaseException | None = None
    with (
        files.replacing(path) as part,
        part.open("x", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        table = csv.writer(file, lineterminator="\n")
        if path.suffix.lower() == ".csv":
            table.writerow(Row._fields)

        def write(row: Row) -> None:
            try:
                if path.suffix.lower() == ".csv":
                    # as JSON writes what a table has no form for
                    table.writerow(json.dumps(cell) if isinstance(cell, bool | tuple) else cell
                                   for cell in row)  # fmt: skip
                else:
                    file.write(to_json(row) + "\n")
            except OSError as error:
                raise files.unwritable(path, error) from error

        try:
            yield write
        except BaseException as error:
            stopped = error  # the rows so far are true
    if stopped is not None:
        raise stopped


def _check(_: click.Context, option: click.Parameter, path: Path | None) -> Path | None:
    """Refuse a report whose ending names no format, before any work."""
    if path is not None and path.suffix.lower() not in _SUFFIXES:
        raise click.BadParameter(f"{path}: must end in {' or '.join(_SUFFIXES)}", param=option)
    return path


option = click.option(
    "--report", metavar="FILE", callback=_check,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a row for each picture to FILE.csv or FILE.jsonl: status, reason, size, box, doubt "
    "...; FILE is replaced.",
)  # fmt: skip
fail_empty = click.option(
    "--fail-empty", is_flag=True, help="Fail pictures without a subject: write nothing for them."
)
fail_doubt = click.option(
    "--fail-doubt", type=click.FloatRange(0, 1), metavar="0..1",
    help="Fail pictures whose doubt is above this: write nothing for them.",
)  # fmt: skip
