"""The command line: `alphacut PHOTO` and its sub-commands."""

import os
import signal
import sys
import warnings

import click

from alphacut import __version__
from alphacut.cli.batch import batch
from alphacut.cli.evaluate import evaluate, quantize
from alphacut.cli.models import export, models
from alphacut.cli.options import DefaultGroup
from alphacut.cli.remove import complain, preview, remove
from alphacut.cli.serve import demo, serve
from alphacut.cli.train import train
from alphacut.errors import AlphacutError, AlphacutWarning, OptionError, OutputError


@click.group(cls=DefaultGroup, default="remove", context_settings={"max_content_width": 100})
@click.version_option(__version__, prog_name="alphacut")
def cli() -> None:
    """Remove the background of pictures.

    `alphacut PHOTO` is short for `alphacut remove PHOTO`; see `alphacut remove --help`. A photo
    named like a command is written ./name.
    """


@cli.command()
def doctor() -> None:
    """Tell what is installed and embedded, and test it on a picture."""
    from alphacut.cli.doctor import examine

    for fact, finding in examine():
        click.echo(f"{fact:<12} {finding}")


for command in (remove, preview, batch, models, export, evaluate, quantize, train, serve, demo):
    cli.add_command(command)


def main() -> None:
    """Run the command line; every error that was foreseen is one line and a status."""
    # a polite kill takes the same way out as an error, so that temporary files go
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    warnings.simplefilter("ignore")  # of what other libraries think of damaged files
    warnings.simplefilter("always", AlphacutWarning)
    warnings.showwarning = lambda message, *_, **__: click.echo(f"alphacut: {message}", err=True)
    try:
        cli(prog_name="alphacut")
    except (OptionError, OutputError) as error:
        complain(error)
        sys.exit(2)
    except AlphacutError as error:
        complain(error)
        sys.exit(1)


def program() -> None:
    """Run the command line as a program, which ends at once when its work is done."""
    try:
        main()
    except SystemExit as stop:  # whose frames still hold the network
        _end(stop.code if isinstance(stop.code, int) else int(stop.code is not None))
    _end(0)


def _end(status: int) -> None:
    """End the process; taking OpenVINO down in order would cost a tenth of a second for nothing."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
