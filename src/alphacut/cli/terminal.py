"""What commands print: messages, errors, progress bars and tables."""

import sys
import traceback
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import click

from alphacut.errors import one_line

if TYPE_CHECKING:
    from alphacut.models.download import Progress
    from alphacut.models.entry import Format, ModelSpec


def note(text: str) -> None:
    """Print a message on standard error, marked as alphacut's."""
    click.echo(f"alphacut: {text}", err=True)


def complain(error: BaseException | str, source: str = "", *, verbose: bool = False) -> None:
    """Print an error on standard error as one line, and its traceback if asked to.

    Args:
        error: The error, or its message.
        source: What failed, if the message may not say so.
        verbose: Whether to print the traceback.
    """
    note(named(source, error if isinstance(error, str) else one_line(error)))
    if verbose and isinstance(error, BaseException):
        click.echo("".join(traceback.format_exception(error)), err=True, nl=False)


def named(source: str, message: str) -> str:
    """Return a message about a source, which names it once."""
    if not source or message.startswith(f"{source}: "):
        return message
    return f"{source}: {message}"


def progress_bar(total: int, *texts: str, **fields: Any) -> Any:
    """Return a bar with count, rate and time left, drawn on standard error.

    Args:
        total: How much there is to do.
        *texts: What follows the count, in the format of rich's TextColumn.
        **fields: Initial values of the fields that the texts name.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    class Rate(TextColumn):
        def render(self, task: Any) -> Any:
            from rich.text import Text

            return Text(f"{task.speed:.1f}/s" if task.speed else "")

    progress = Progress(
        BarColumn(), MofNCompleteColumn(), *map(TextColumn, texts), Rate(""), TimeRemainingColumn(),
        console=Console(stderr=True), transient=True, redirect_stdout=False,
    )  # fmt: skip
    progress.add_task("", total=total, **fields)
    return progress


def progress(total: int, *, quiet: bool) -> Any:
    """Return a bar for several things to do if someone can see it, else a context of None."""
    if quiet or total < 2 or not sys.stderr.isatty():
        return nullcontext()
    return progress_bar(total)


@contextmanager
def download_progress(
    spec: "ModelSpec", accept_license: bool, *forms: "Format", quiet: bool = False
) -> "Iterator[Progress | None]":
    """Print the terms of weights that must be downloaded, and show a progress bar meanwhile.

    Args:
        spec: The model's entry.
        accept_license: Whether the terms are accepted; if not, the download will refuse.
        *forms: The formats that are needed.
        quiet: Whether to show no bar.

    Yields:
        What to tell of progress; None if no bar is shown.
    """
    from alphacut.models import weights

    missing = [form for form in forms
               if form in spec.weights and not weights.locate(spec.weights[form])]  # fmt: skip
    if missing and spec.commercial != "yes" and (accept_license or weights.accepted(spec)):
        note(weights.terms(spec))
    if not missing or quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(),
               TransferSpeedColumn())  # fmt: skip
    bars: dict[str, Any] = {}
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:

        def advance(file: str, done: int, total: int | None) -> None:
            if file not in bars:
                bars[file] = shown.add_task(file)
            shown.update(bars[file], completed=done, total=total)

        yield advance


def print_table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[str] = ()
) -> None:
    """Print a table on standard output: drawn on a terminal, plain columns elsewhere.

    Args:
        heads: Heads of the columns.
        rows: Cells, one for each head.
        right: Heads of the columns that are aligned right, such as numbers.
    """
    if not sys.stdout.isatty():
        widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
        for row in (heads, *rows):
            cells = (
                cell.rjust(width) if head in right else cell.ljust(width)
                for head, cell, width in zip(heads, row, widths, strict=True)
            )
            click.echo("  ".join(cells).rstrip())
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for head in heads:
        table.add_column(head, justify="right" if head in right else "left")
    for row in rows:
        table.add_row(*row)
    Console().print(table)
