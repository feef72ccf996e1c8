"""The `alphacut` command: `alphacut PHOTO` and its sub-commands."""

import errno
import io
import os
import signal
import sys
import warnings

import click

from alphacut import __version__
from alphacut.cli.batch import batch
from alphacut.cli.camera import camera
from alphacut.cli.doctor import doctor
from alphacut.cli.evaluate import evaluate, quantize
from alphacut.cli.integrate import clicked, integrate
from alphacut.cli.mcp import mcp
from alphacut.cli.models import export, models
from alphacut.cli.options import DefaultGroup
from alphacut.cli.remove import preview, remove
from alphacut.cli.serve import demo, serve
from alphacut.cli.terminal import complain, note
from alphacut.cli.train import train
from alphacut.cli.video import video
from alphacut.cli.watch import watch
from alphacut.errors import (
    AlphacutError,
    AlphacutWarning,
    MetadataWarning,
    OptionError,
    OutputError,
)


@click.group(cls=DefaultGroup, default="remove", subcommand_metavar="PHOTO... | COMMAND ...",
             context_settings={"max_content_width": 100,
                               "help_option_names": ["-h", "--help"]})  # fmt: skip
@click.version_option(__version__, prog_name="alphacut")
def cli() -> None:
    """Remove the background of pictures.

    `alphacut PHOTO...` is short for `alphacut remove PHOTO...`: see `alphacut remove --help` for
    its options. If a photo is named like a command, write ./NAME.
    """


for command in (remove, preview, video, watch, batch, demo, serve, camera, integrate, mcp, models,
                evaluate, train, export, quantize, doctor, clicked):  # fmt: skip
    cli.add_command(command)


def main() -> None:
    """Run the command line; each of alphacut's own errors is one line and an exit status."""
    # SIGTERM unwinds the stack as an error does, so that temporary files are deleted
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    warnings.simplefilter("ignore")  # other libraries warn about damaged files
    warnings.simplefilter("always", AlphacutWarning)
    warnings.simplefilter("ignore", MetadataWarning)  # until --verbose asks for them
    warnings.showwarning = lambda message, *_, **__: note(str(message))
    try:
        cli(prog_name="alphacut")
    except (OptionError, OutputError) as error:
        complain(error)
        sys.exit(2)
    except AlphacutError as error:
        complain(error)
        sys.exit(1)


_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def program() -> None:
    """Run the command line as a program, which ends the moment its work is done."""
    _open_closed()
    try:
        main()
    except io.UnsupportedOperation:  # see _open_closed
        complain("standard output is closed")
        _end(1)
    except OSError as error:
        if error.errno not in _FULL or error.filename is not None:
            raise  # of a file, a port or a program: not foreseen
        _complain_of_stdout(error)  # what is printed goes nowhere else
        _end(1)
    except SystemExit as stop:  # its traceback keeps the network alive until _end
        _end(stop.code if isinstance(stop.code, int) else int(stop.code is not None))
    _end(0)


def _open_closed() -> None:
    """Open the standard streams that the caller has closed.

    Python has None in their place, and the next file to be opened would get their number, and with
    it whatever a library prints.
    """
    if sys.stdin is None:
        sys.stdin = open(os.devnull)  # noqa: SIM115
    if sys.stdout is None:
        sys.stdout = open(os.devnull)  # noqa: SIM115  for reading: a result must not vanish
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115


def _end(status: int) -> None:
    """End the process; shutting OpenVINO down cleanly would take 0.1 s and gain nothing."""
    try:
        sys.stdout.flush()
    except OSError as error:
        if status == 0:  # else an error has been reported, mostly this one
            _complain_of_stdout(error)
            status = 1
    sys.stderr.flush()
    os._exit(status)


def _complain_of_stdout(error: OSError) -> None:
    complain(f"standard output: cannot be written: {error.strerror or error}")
