"""`alphacut remove`, the command that is meant when none is named, and `alphacut preview`."""

import functools
import json
import os
import sys
import traceback
import warnings
from typing import TYPE_CHECKING, Any

import click

from alphacut.cli import models as cli_models
from alphacut.cli.options import from_options, progress
from alphacut.errors import AlphacutError, AlphacutWarning
from alphacut.options import Options

if TYPE_CHECKING:
    from alphacut.batch.folder import Existing, Outcome
    from alphacut.remover import Remover


@click.command()
@click.argument("inputs", nargs=-1, required=True, metavar="PHOTO...")
@click.option("-o", "--output", metavar="PATH", help="File, folder, or - for standard output.")
@click.option("-r", "--recursive", is_flag=True, help="Look into folders inside folders.")
@click.option("--overwrite", is_flag=True, help="Replace results that are already there.")
@click.option("--skip-existing", is_flag=True, help="Leave results that are already there.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON a picture on stdout.")
@click.option("-j", "--jobs", "threads", type=click.IntRange(1), help="Pictures at a time.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors.")
@click.option("-v", "--verbose", is_flag=True, help="Tell device and times, and trace errors.")
@cli_models.accept_license
@click.option("--mask", is_flag=True, help="Short for --result mask.")
@click.option("--invert", is_flag=True, help="Short for --result background.")
@from_options
def remove(
    inputs: tuple[str, ...],
    output: str | None,
    recursive: bool,
    overwrite: bool,
    skip_existing: bool,
    as_json: bool,
    threads: int | None,
    quiet: bool,
    verbose: bool,
    accept_license: bool,
    mask: bool,
    invert: bool,
    **options: Any,
) -> None:
    """Cut out the subject of each PHOTO: a file, a folder, a pattern, or - for standard input.

    Without --output, photo.jpg becomes photo-cutout.png beside it. Inputs are never changed.
    """
    if mask and invert:
        raise click.UsageError("--mask and --invert exclude each other")
    if mask or invert:
        options["result"] = "mask" if mask else "background"
    if overwrite and skip_existing:
        raise click.UsageError("--overwrite and --skip-existing exclude each other")
    existing: Existing = "overwrite" if overwrite else "skip" if skip_existing else "fail"
    to_stdout = output == "-" or (output is None and set(inputs) == {"-"})
    if to_stdout and as_json:
        raise click.UsageError("--json and the picture both want standard output: give -o a file")
    if to_stdout and sys.stdout.isatty():
        raise click.UsageError("a picture is no text for a terminal: give -o a file, or redirect")

    if quiet:
        warnings.simplefilter("ignore", AlphacutWarning)
    chosen = Options(**options)
    from alphacut import runtimes
    from alphacut.models import weights
    from alphacut.runtimes.pending import PendingRuntime

    spec = weights.find_model(chosen.model)
    several = len(inputs) > 1 or os.path.isdir(inputs[0])
    with cli_models.announced(
        spec,
        accept_license,
        runtimes.needed(spec, chosen.runtime, chosen.precision, chosen.device),
        quiet=quiet,
    ) as fetching:
        # the network is loaded while decoders are imported and the first picture is read
        network = PendingRuntime(
            functools.partial(
                runtimes.load, spec, runtime=chosen.runtime, device=chosen.device,
                precision=chosen.precision, half=chosen.half,
                hint="throughput" if threads != 1 and several else "latency",
                accept_license=accept_license, progress=fetching,
            )
        )  # fmt: skip
        from alphacut.batch import folder as batch
        from alphacut.remover import Remover

        jobs = batch.plan(inputs, output, chosen, recursive=recursive)
        if fetching:  # until its bar is done
            network.wait()
    remover = Remover(spec, options=chosen, network=network)
    # kept to the end of the program, which does not free it
    click.get_current_context().find_root().obj = remover
    if verbose:
        click.echo(
            f"alphacut: {spec.name} by {chosen.runtime} on {remover.network.device}", err=True
        )

    failures = 0
    with progress(len(jobs), quiet or as_json) as shown:
        outcomes = batch.process(jobs, remover, existing=existing, threads=threads)
        done = 0
        try:
            for outcome in outcomes:
                network.wait()  # without a network there is one error, not one a picture
                done += 1
                failures += outcome.error is not None
                if as_json:
                    click.echo(json.dumps(_record(outcome, remover)))
                _report(outcome, quiet=quiet or as_json, verbose=verbose)
                if shown:
                    shown.advance(shown.task_ids[0])
        except (KeyboardInterrupt, SystemExit):  # pictures that were begun are finished
            outcomes.close()
            if len(jobs) > 1:
                click.echo(f"alphacut: stopped after {done} of {len(jobs)}: go on with the same "
                           "command and --skip-existing", err=True)  # fmt: skip
            raise
    if failures:
        if len(jobs) > 1 and not quiet and not as_json:
            click.echo(f"alphacut: {failures} of {len(jobs)} failed", err=True)
        sys.exit(1)


def _report(outcome: "Outcome", *, quiet: bool, verbose: bool) -> None:
    """Say in a line what became of a picture."""
    job = outcome.job
    if outcome.error:
        complain(outcome.error, job.source, verbose)
    elif quiet or job.target == "-":
        return
    elif outcome.skipped:
        click.echo(f"{job.source}: skipped, {job.target} is already there", err=True)
    else:
        click.echo(f"{job.source} -> {job.target}", err=True)
        if verbose and outcome.milliseconds:
            times = ", ".join(f"{stage} {ms:.0f}" for stage, ms in outcome.milliseconds.items())
            click.echo(f"  milliseconds: {times}", err=True)


def _record(outcome: "Outcome", remover: "Remover") -> dict[str, Any]:
    """Describe an outcome as JSON."""
    error, done = outcome.error, outcome.size is not None
    return {
        "input": outcome.job.source,
        "output": None if error else outcome.job.target,
        "size": outcome.size,
        "foreground": outcome.box is not None if done else None,
        "box": outcome.box,
        "model": remover.spec.name,
        "runtime": remover.options.runtime,
        "device": remover.network.device,
        "milliseconds": outcome.milliseconds,
        "skipped": outcome.skipped,
        "error": error and (str(error) or type(error).__name__),
    }


@click.command()
@click.argument("inputs", nargs=-1, required=True, metavar="PHOTO...")
@click.option("-o", "--output", metavar="PATH", help="File, or folder.")
@click.option("--overwrite", is_flag=True, help="Replace figures that are already there.")
@click.option("--background", metavar="BACKGROUND", help="Show the subject on this as well.")
@click.pass_context
def preview(
    ctx: click.Context,
    inputs: tuple[str, ...],
    output: str | None,
    overwrite: bool,
    background: str | None,
) -> None:
    """Draw the steps of each PHOTO side by side, as photo-cutout-preview.png.

    It is short for `alphacut remove --result preview`, which takes every option.
    """
    ctx.invoke(
        remove, inputs=inputs, output=output, overwrite=overwrite, background=background,
        result="preview",
    )  # fmt: skip


def complain(error: BaseException, source: str = "", verbose: bool = False) -> None:
    """Print an error as one line, and where it arose if that is wanted or nobody foresaw it."""
    text = str(error)
    if not isinstance(error, AlphacutError):
        text = f"{type(error).__name__}: {error}"
    if not text.startswith(source):
        text = f"{source}: {text}"
    click.echo("alphacut: " + " ".join(text.split()), err=True)
    if verbose:
        click.echo("".join(traceback.format_exception(error)), err=True, nl=False)
