"""What several sub-commands share: flags of options, a command meant by default, a bar."""

import dataclasses
import sys
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, TypeVar

import click

from alphacut.options import Options

_Command = TypeVar("_Command", bound=Callable[..., Any])


class DefaultGroup(click.Group):
    """A group of which one command is meant when the first word is none of them."""

    def __init__(self, *args: Any, default: str, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._default = default

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the default command's name in front."""
        if args and args[0] not in {*self.commands, "--help", "--version"}:
            args = [self._default, *args]
        return super().parse_args(ctx, args)


def from_options(command: _Command) -> _Command:
    """Give a command a flag for each field of `Options`."""
    for option in reversed(dataclasses.fields(Options)):
        facts, flag = option.metadata, "--" + option.name.replace("_", "-")
        kind: Any = click.Choice(facts["choices"]) if facts["choices"] else facts["kind"]
        if isinstance(option.default, bool):
            flag += f"/--no-{option.name.replace('_', '-')}" if option.default else ""
        command = click.option(
            flag,
            option.name,
            type=kind,
            is_flag=isinstance(option.default, bool),
            default=option.default,
            show_default=option.default not in (None, False, 0, "0", "none", "original"),
            metavar=facts["unit"] or None,
            help=facts["help"],
        )(command)
    return command


def bar(total: int, *texts: str, **fields: Any) -> Any:
    """Return a bar with count, rate and time left, which is drawn on standard error.

    Args:
        total: How much there is to do.
        *texts: What stands behind the count, as rich's TextColumn takes it.
        **fields: What the texts begin with.
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


def progress(count: int, quiet: bool) -> Any:
    """Return a bar with rate and time left, where someone can see it and there is something to."""
    if quiet or count < 2 or not sys.stderr.isatty():
        return nullcontext()
    return bar(count)
