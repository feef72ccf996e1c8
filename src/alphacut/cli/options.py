"""Flags that several commands share, their help in sections, and groups with a default command."""

import dataclasses
import difflib
import os
import shlex
from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import Any, TypeVar

import click

from alphacut.options import Options

_Command = TypeVar("_Command", bound=Callable[..., Any])

# What most people need, shown first
_COMMON = ("output", "recursive", "overwrite", "skip_existing", "mask", "background", "crop",
           "size", "preset", "quality")  # fmt: skip
_OWN = "Run and report"
# Sections of the help, by the field of `Options` each begins with; fields follow in their order
_SECTIONS = MappingProxyType({
    "model": "Network",
    "quality": "Edges and clean-up",
    "roi": "Which subject",
    "ground": "Known grounds",
    "background": "Background, canvas and shadow",
    "result": "Result and file",
})  # fmt: skip
# Options of rembg and what does it here: newcomers know them, and click would read -om as -o m
REMBG_OPTIONS = MappingProxyType({
    "-i": "no option: alphacut PHOTO",
    "-m": "--model NAME",
    "-a": "--matting closed-form",
    "--alpha-matting": "--matting closed-form",
    **dict.fromkeys(
        ("-af", "-ab", "-ae", "--alpha-matting-foreground-threshold",
         "--alpha-matting-background-threshold", "--alpha-matting-erode-size"),
        "no option: no thresholds are needed",
    ),
    "-vm": "--matting vitmatte",
    "--vitmatte": "--matting vitmatte",
    "-om": "--mask",
    "--only-mask": "--mask",
    "-ppm": "--smooth-px 4 --harden 0.5",
    "--post-process-mask": "--smooth-px 4 --harden 0.5",
    "-dc": "no option: it is the default",
    "-bgc": "--background 'rgb(R, G, B)'",
    "--bgcolor": "--background 'rgb(R, G, B)'",
    "-w": "alphacut watch IN OUT",
    "--watch": "alphacut watch IN OUT",
    "-d": "no option: inputs are never modified",
    "--delete_input": "no option: inputs are never modified",
    "-x": "an option for each of its keys",
    "--extras": "an option for each of its keys",
})  # fmt: skip
REMBG_COMMANDS = ("i", "p", "b", "s", "d")

accept_license = click.option(
    "--accept-license", is_flag=True,
    help="Accept the terms of weights that restrict their use; they are printed.",
)  # fmt: skip


class PictureCommand(click.Command):
    """A command with the flags of `Options`: its help has sections, and it knows rembg's words."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Refuse rembg's options with the one that does it here."""
        known = {name for parameter in self.params for name in parameter.opts}
        for word in args:
            if word == "--":
                break
            name = word.partition("=")[0]
            if name in REMBG_OPTIONS and name not in known:
                ours = REMBG_OPTIONS[name]
                raise click.UsageError(f"No such option: {name} (rembg's). Here: {ours}", ctx)
        return super().parse_args(ctx, args)

    def sections(self, ctx: click.Context) -> dict[str, list[click.Option]]:
        """Return the options by section, the common ones first."""
        section_of, section = {}, ""
        for field in dataclasses.fields(Options):
            section = _SECTIONS.get(field.name, section)
            section_of[field.name] = section
        ours = {str(option.name): option for option in self.get_params(ctx)
                if isinstance(option, click.Option)}  # fmt: skip
        sections = {"Most used": [name for name in _COMMON if name in ours]}
        for heading in ("roi", "background", "quality", "ground", "result"):
            sections[_SECTIONS[heading]] = []
        sections |= {_OWN: [], _SECTIONS["model"]: []}
        for name in ours:
            if name not in _COMMON:
                sections[section_of.get(name, _OWN)].append(name)
        return {heading: [ours[name] for name in names]
                for heading, names in sections.items() if names}  # fmt: skip

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options in their sections."""
        for heading, options in self.sections(ctx).items():
            records = [record for each in options if (record := each.get_help_record(ctx))]
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records, col_max=26)


class _Joined(click.Option):
    """A flag that may be given several times, whose values become one text."""

    def __init__(self, *args: Any, joint: str, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._joint = joint

    def type_cast_value(self, ctx: click.Context, value: Any) -> Any:
        """Join the values, which are a default's if a command calls another."""
        return self._joint.join(super().type_cast_value(ctx, value) or ())

    def process_value(self, ctx: click.Context, value: Any) -> Any:
        """Make one text of no values, too."""
        return super().process_value(ctx, value) or ""


class DefaultGroup(click.Group):
    """A group that takes its default command if the first word names no command."""

    def __init__(self, *args: Any, default: str, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._default = default

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Insert the name of the default command if there is none.

        Raises:
            click.UsageError: if the first word is a command misspelt rather than a file.
        """
        first = args[0] if args else "--help"
        if first == "help" and not os.path.lexists(first):
            args, first = ["--help"], "--help"
        if first not in {*self.commands, *ctx.help_option_names, "--version"}:
            similar = difflib.get_close_matches(first, self.commands, cutoff=0.8)
            if similar and not os.path.lexists(first):
                raise click.UsageError(f"No such command or file: {first}. Did you mean "
                                       f"{similar[0]}?", ctx)  # fmt: skip
            args = [self._default, *args]
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order they were added, the most used first."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; Ctrl-C ends it with the status that shells give to SIGINT."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            ctx.exit(130)


def refuse_foreign(inputs: Sequence[str], output: str | None) -> None:
    """Refuse words that mean something elsewhere: rembg's commands, and an output without -o.

    Raises:
        click.UsageError: with the command that does it here.
    """
    first, *others = inputs
    if first in REMBG_COMMANDS and not os.path.lexists(first):
        source, target = map(_quote, others) if len(others) == 2 else ("PHOTO", "RESULT")
        here = {
            "i": f"{source} -o {target}",
            "p": f"{source} -r -o {target}",
            "b": "- reads one picture from standard input; there is no stream of raw frames",
            "s": "serve",
            "d": "models pull NAME",
        }[first]
        raise click.UsageError(f"{first!r} is a command of rembg. Here: alphacut {here}")
    if output is not None or not others or not os.path.exists(first):
        return
    last = others[-1]
    vacant = os.path.isdir(last) and not os.listdir(last)
    if not os.path.lexists(last) and last != "-" and not set(last) & set("*?["):
        # of many, one that is named like a picture is a picture that is missing
        vacant = len(inputs) == 2 or not os.path.splitext(last)[1]
    if vacant:
        sources = " ".join(map(_quote, inputs[:-1])) if len(inputs) <= 4 else "PHOTO..."
        what = "is an empty folder" if os.path.exists(last) else "does not exist"
        raise click.UsageError(
            f"{last} {what}. If results belong there: alphacut {sources} -o {_quote(last)}"
        )


def _quote(word: str) -> str:
    return shlex.quote(word) if os.name != "nt" else f'"{word}"'


def from_options(command: _Command) -> _Command:
    """Give a command a flag for each field of `Options`."""
    for option in reversed(dataclasses.fields(Options)):
        facts, flag = option.metadata, "--" + option.name.replace("_", "-")
        kind: Any = click.Choice(facts["choices"]) if facts["choices"] else facts["kind"]
        if facts["joined"]:
            command = click.option(
                flag.removesuffix("s"), flag, option.name, cls=_Joined, multiple=True,
                joint=facts["joined"], metavar=facts["unit"], help=facts["help"],
            )(command)  # fmt: skip
            continue
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
