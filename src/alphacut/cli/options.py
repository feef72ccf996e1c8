"""Flags that several commands share, and groups with a default command."""

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

import click

from alphacut.options import Options

_Command = TypeVar("_Command", bound=Callable[..., Any])

accept_license = click.option(
    "--accept-license", is_flag=True,
    help="Accept the terms of weights that restrict their use; they are printed.",
)  # fmt: skip


class DefaultGroup(click.Group):
    """A group that takes its default command if the first word names no command."""

    def __init__(self, *args: Any, default: str, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._default = default

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Insert the name of the default command if there is none."""
        if args and args[0] not in {*self.commands, "--help", "--version"}:
            args = [self._default, *args]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; Ctrl-C ends it with the status that shells give to SIGINT."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            ctx.exit(130)


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
            show_default=option.default not in (None, False, 0, "", "0", "none", "original"),
            metavar=facts["unit"] or None,
            help=facts["help"],
        )(command)
    return command
