"""`alphacut remove`, the default command, and `alphacut preview`."""

import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from alphacut.cli import report as reports
from alphacut.cli.loading import loading
from alphacut.cli.options import PictureCommand, accept_license, from_options, refuse_foreign
from alphacut.cli.terminal import complain, note, progress
from alphacut.errors import AlphacutWarning, MetadataWarning, NoForegroundWarning, one_line
from alphacut.options import Options

if TYPE_CHECKING:
    from alphacut.batch.folder import Existing, Outcome
    from alphacut.runtimes import Hint

_DOUBTFUL = 0.3  # doubt from which another model is worth a try
_SHOWN = 3  # results that exist already and get a line; a second run would print one for each


@click.command(cls=PictureCommand)
@click.argument("inputs", nargs=-1, required=True, metavar="PHOTO...")
@click.option("-o", "--output", metavar="PATH", help="File, folder, or - for standard output.")
@click.option("-r", "--recursive", is_flag=True, help="Include subfolders.")
@click.option("--overwrite", is_flag=True, help="Replace existing results.")
@click.option("--skip-existing", is_flag=True, help="Skip pictures that have a result.")
@reports.option
@click.option("--json", "as_json", is_flag=True, help="Print the same rows as lines of JSON.")
@reports.fail_empty
@reports.fail_doubt
@click.option(
    "-j",
    "--jobs",
    "threads",
    type=click.IntRange(1),
    metavar="N",
    help="Pictures at a time; default: one per processor.",
)
@click.option(
    "-q", "--quiet", is_flag=True, help="Print errors only, and how many have no subject."
)
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
    report: Path | None,
    as_json: bool,
    fail_empty: bool,
    fail_doubt: float | None,
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
    --output, cat.jpg becomes cat-cutout.png beside it, and pictures of the folder cats/ go into
    cats-cutouts/ beside that. Inputs are never modified.

    \b
    alphacut cat.jpg -o cut.webp
    alphacut cats/ -o cut/ --background white --format jpg
    """  # noqa: D301  click's mark for lines that stay as they are
    refuse_foreign(inputs, output)
    if output == "":
        raise click.UsageError("-o is empty: give a file, a folder, or - for standard output")
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
    elif fail_empty:
        warnings.simplefilter("ignore", NoForegroundWarning)  # the error says it
    chosen = Options(**options)
    from alphacut.models import catalogue
    from alphacut.models.entry import NO_NETWORK

    several = len(inputs) > 1 or os.path.isdir(inputs[0])
    hint: Hint = "throughput" if threads != 1 and several else "latency"
    # the network loads while decoders are imported and the first image is read
    with loading(chosen, accept_license, quiet=quiet, hint=hint) as network:
        from alphacut.batch import folder

        items = folder.list_items(inputs, output, chosen, recursive=recursive)
        remover = network.make_remover(chosen)
    if verbose:
        warnings.simplefilter("always", MetadataWarning)
        where = f"{remover.spec.name} in {chosen.runtime} on {remover.network.device}"
        note(where if chosen.asks_network else NO_NETWORK.name)

    counts = {"done": 0, "failed": 0, "skipped": 0}
    empty = taken = 0
    doubtful = ""
    # lines of JSON on the terminal are progress enough
    no_bar = quiet or (as_json and sys.stdout.isatty())
    with reports.writing(report) as write, progress(len(items), quiet=no_bar) as shown:
        outcomes = folder.run(
            items, remover, existing=existing, threads=threads, fail_empty=fail_empty,
            fail_doubt=fail_doubt,
        )  # fmt: skip
        try:
            for outcome in outcomes:
                network.wait()  # if it failed, that is one error, not one per image
                row = row_of(outcome)
                counts[row.status] += 1
                empty += row.status == "done" and bool(row.empty)
                taken += outcome.taken and row.status == "failed"
                write(row)
                if as_json:
                    click.echo(reports.to_json(row))
                if not outcome.taken or taken <= _SHOWN:
                    tell(outcome, quiet=quiet or as_json, verbose=verbose)
                if outcome.verdict and outcome.verdict.doubt > _DOUBTFUL:
                    doubtful = doubtful or outcome.item.source
                if shown:
                    shown.advance(shown.task_ids[0])
        except (KeyboardInterrupt, SystemExit):
            outcomes.close()  # finishes the images in work
            if len(items) > 1:
                note(f"stopped after {sum(counts.values())} of {len(items)}: to continue, run the "
                     "same command with --skip-existing")  # fmt: skip
            raise
    if len(items) > 1 and not as_json and (empty or taken > _SHOWN or not quiet):
        note(_sum_up(counts, empty, taken))
    better = catalogue.better_model(remover.spec.name)
    # for a person, who can follow it
    if (
        doubtful
        and chosen.asks_network
        and better
        and on_terminal()
        and not (quiet or as_json or to_stdout)
    ):
        note(f"{doubtful}: in doubt here; another network may see more: alphacut models pull "
             f"{better}, then --model {better}")  # fmt: skip
    if counts["failed"]:
        sys.exit(1)


def on_terminal() -> bool:
    """Tell whether a person reads what is said."""
    return sys.stderr.isatty()


def tell(outcome: "Outcome", *, quiet: bool, verbose: bool) -> None:
    """Say in a line what became of an image."""
    from alphacut.batch.folder import STDIN, STREAM

    item = outcome.item
    source = STDIN if item.source == STREAM else item.source
    if outcome.error:
        complain(outcome.error, source, verbose=verbose)
    elif quiet or item.target == STREAM:
        return
    elif outcome.taken:
        click.echo(f"{source}: skipped, {outcome.targets[0]} exists", err=True)
    else:
        click.echo(f"{source} -> {', '.join(outcome.targets)}", err=True)
        if verbose and outcome.milliseconds:
            times = ", ".join(f"{stage} {ms:.0f}" for stage, ms in outcome.milliseconds.items())
            click.echo(f"  milliseconds: {times}", err=True)


def row_of(outcome: "Outcome") -> reports.Row:
    """Return what a report says of an outcome."""
    item, error, times = outcome.item, outcome.error, outcome.milliseconds
    status = "failed" if error else "skipped" if outcome.taken else "done"
    target = None if error else outcome.targets[0]
    row = reports.Row(
        item.source, target, status, one_line(error) if error else None,
        milliseconds=round(sum(times.values()), 1) if times else None,
    )  # fmt: skip
    if verdict := outcome.verdict:
        row = row._replace(**verdict.columns(), boxes=verdict.boxes)
    return row


def _sum_up(counts: dict[str, int], empty: int, taken: int) -> str:
    """Say what became of all pictures."""
    parts = [f"{counts['done']} done" + (f" ({empty} without a subject)" if empty else "")]
    if counts["skipped"]:
        parts.append(f"{counts['skipped']} skipped")
    if counts["failed"]:
        parts.append(f"{counts['failed']} failed")
    if taken:
        parts[-1] += f" ({taken} because a result exists: use --overwrite or --skip-existing)"
    return f"{sum(counts.values())} pictures: {', '.join(parts)}"


@click.command(cls=PictureCommand)
@click.argument("inputs", nargs=-1, required=True, metavar="PHOTO...")
@click.option("-o", "--output", metavar="PATH", help="File or folder.")
@click.option("--overwrite", is_flag=True, help="Replace existing figures.")
@click.option("--background", metavar="BACKGROUND", help="Also show the subject on this.")
@click.option("-q", "--quiet", is_flag=True, help="Print errors only.")
@click.pass_context
def preview(
    ctx: click.Context,
    inputs: tuple[str, ...],
    output: str | None,
    overwrite: bool,
    background: str | None,
    quiet: bool,
) -> None:
    """Draw the steps of each PHOTO side by side.

    The figure of photo.jpg is photo-cutout-preview.png beside it. Short for `alphacut remove
    --result preview`, which takes all options.
    """
    ctx.invoke(
        remove, inputs=inputs, output=output, overwrite=overwrite, background=background,
        quiet=quiet, result="preview",
    )  # fmt: skip
