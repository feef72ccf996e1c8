"""`alphacut remove`, the default command, and `alphacut preview`."""

import functools
import json
import os
import sys
import warnings
from typing import TYPE_CHECKING, Any

import click

from alphacut.cli.options import accept_license, from_options
from alphacut.cli.terminal import complain, download_progress, note, progress
from alphacut.errors import AlphacutWarning, MetadataWarning, one_line
from alphacut.options import Options

if TYPE_CHECKING:
    from alphacut.batch.folder import Existing, Outcome
    from alphacut.remover import Remover


@click.command()
@click.argument("inputs", nargs=-1, required=True, metavar="PHOTO...")
@click.option("-o", "--output", metavar="PATH", help="File, folder, or - for standard output.")
@click.option("-r", "--recursive", is_flag=True, help="Include subfolders.")
@click.option("--overwrite", is_flag=True, help="Replace existing results.")
@click.option("--skip-existing", is_flag=True, help="Skip pictures that have a result.")
@click.option("--json", "as_json", is_flag=True, help="Print a line of JSON per picture.")
@click.option(
    "-j",
    "--jobs",
    "threads",
    type=click.IntRange(1),
    help="Pictures at a time; default: one per processor.",
)
@click.option("-q", "--quiet", is_flag=True, help="Print errors only.")
@click.option(
    "-v", "--verbose", is_flag=True, help="Show device, timings, dropped metadata and tracebacks."
)
@accept_license
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
    """Cut out the subject of each PHOTO.

    PHOTO is a file, a folder, a pattern such as 'photos/*.jpg', or - for standard input. Without
    --output, the result of photo.jpg is photo-cutout.png beside it. Inputs are never modified.
    """
    if mask and invert:
        raise click.UsageError("--mask and --invert are mutually exclusive")
    if mask or invert:
        options["result"] = "mask" if mask else "background"
    if overwrite and skip_existing:
        raise click.UsageError("--overwrite and --skip-existing are mutually exclusive")
    existing: Existing = "overwrite" if overwrite else "skip" if skip_existing else "fail"
    to_stdout = output == "-" or (output is None and set(inputs) == {"-"})
    if to_stdout and as_json:
        raise click.UsageError(
            "--json needs standard output for itself: write the picture to a file (use -o)"
        )
    if to_stdout and sys.stdout.isatty():
        raise click.UsageError("refusing to write image data to a terminal (use -o)")

    if quiet:
        warnings.simplefilter("ignore", AlphacutWarning)
    chosen = Options(**options)
    from alphacut import runtimes
    from alphacut.models import weights
    from alphacut.runtimes.pending import PendingRuntime

    spec = weights.find_model(chosen.model)
    several = len(inputs) > 1 or os.path.isdir(inputs[0])
    with download_progress(
        spec,
        accept_license,
        runtimes.needed(spec, chosen.runtime, chosen.precision, chosen.device),
        quiet=quiet,
    ) as downloading:
        # the network loads while decoders are imported and the first image is read
        network = PendingRuntime(
            functools.partial(
                runtimes.load, spec, runtime=chosen.runtime, device=chosen.device,
                precision=chosen.precision,
                hint="throughput" if threads != 1 and several else "latency",
                accept_license=accept_license, progress=downloading,
            )
        )  # fmt: skip
        from alphacut.batch import folder
        from alphacut.remover import Remover

        items = folder.list_items(inputs, output, chosen, recursive=recursive)
        if downloading:  # until its bar is done
            network.wait()
    remover = Remover(spec, options=chosen, network=network)
    # kept until the program ends without freeing it
    click.get_current_context().find_root().obj = remover
    if verbose:
        warnings.simplefilter("always", MetadataWarning)
        note(f"{spec.name} in {chosen.runtime} on {remover.network.device}")

    failures = 0
    with progress(len(items), quiet=quiet or as_json) as shown:
        outcomes = folder.run(items, remover, existing=existing, threads=threads)
        done = 0
        try:
            for outcome in outcomes:
                network.wait()  # if it failed, that is one error, not one per image
                done += 1
                failures += outcome.error is not None
                if as_json:
                    click.echo(json.dumps(_record(outcome, remover)))
                _report(outcome, quiet=quiet or as_json, verbose=verbose)
                if shown:
                    shown.advance(shown.task_ids[0])
        except (KeyboardInterrupt, SystemExit):
            outcomes.close()  # finishes the images in work
            if len(items) > 1:
                note(f"stopped after {done} of {len(items)}: to continue, run the same command "
                     "with --skip-existing")  # fmt: skip
            raise
    if failures:
        if len(items) > 1 and not quiet and not as_json:
            note(f"{failures} of {len(items)} failed")
        sys.exit(1)


def _report(outcome: "Outcome", *, quiet: bool, verbose: bool) -> None:
    """Say in a line what became of an image."""
    from alphacut.batch.folder import STDIN, STREAM

    item = outcome.item
    source = STDIN if item.source == STREAM else item.source
    if outcome.error:
        complain(outcome.error, source, verbose=verbose)
    elif quiet or item.target == STREAM:
        return
    elif outcome.skipped:
        click.echo(f"{source}: skipped, {item.target} exists", err=True)
    else:
        click.echo(f"{source} -> {item.target}", err=True)
        if verbose and outcome.milliseconds:
            times = ", ".join(f"{stage} {ms:.0f}" for stage, ms in outcome.milliseconds.items())
            click.echo(f"  milliseconds: {times}", err=True)


def _record(outcome: "Outcome", remover: "Remover") -> dict[str, Any]:
    """Describe an outcome as JSON."""
    error, done = outcome.error, outcome.size is not None
    return {
        "input": outcome.item.source,
        "output": None if error else outcome.item.target,
        "size": outcome.size,
        "foreground": outcome.box is not None if done else None,
        "box": outcome.box,
        "model": remover.spec.name,
        "runtime": remover.options.runtime,
        "device": remover.network.device,
        "milliseconds": outcome.milliseconds,
        "skipped": outcome.skipped,
        "error": error and one_line(error),
    }


@click.command()
@click.argument("inputs", nargs=-1, required=True, metavar="PHOTO...")
@click.option("-o", "--output", metavar="PATH", help="File or folder.")
@click.option("--overwrite", is_flag=True, help="Replace existing figures.")
@click.option("--background", metavar="BACKGROUND", help="Also show the subject on this.")
@click.pass_context
def preview(
    ctx: click.Context,
    inputs: tuple[str, ...],
    output: str | None,
    overwrite: bool,
    background: str | None,
) -> None:
    """Draw the steps of each PHOTO side by side.

    The figure of photo.jpg is photo-cutout-preview.png beside it. Short for `alphacut remove
    --result preview`, which takes all options.
    """
    ctx.invoke(
        remove, inputs=inputs, output=output, overwrite=overwrite, background=background,
        result="preview",
    )  # fmt: skip
