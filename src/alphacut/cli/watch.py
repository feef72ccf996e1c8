"""`alphacut watch IN OUT`: a folder whose pictures are cut out as they come."""

import contextlib
import warnings
from pathlib import Path
from typing import Any

import click

from alphacut.cli import report as reports
from alphacut.cli.options import PictureCommand, accept_license, from_options
from alphacut.cli.remove import row_of, tell
from alphacut.cli.terminal import download_progress, note
from alphacut.errors import MetadataWarning, NoForegroundWarning
from alphacut.options import Options


@click.command(cls=PictureCommand)
@click.argument("folder", metavar="IN", type=click.Path(path_type=Path))
@click.argument("results", metavar="OUT", type=click.Path(path_type=Path))
@click.option("-r", "--recursive", is_flag=True, help="Watch subfolders, too.")
@click.option(
    "--overwrite", is_flag=True, help="Replace files in OUT that `alphacut watch` did not write."
)
@click.option(
    "--move-done", metavar="FOLDER", type=click.Path(path_type=Path),
    help="Move each picture there once its result is written.",
)  # fmt: skip
@click.option(
    "--settle-s", type=click.FloatRange(0.1), default=2.0, show_default=True, metavar="SECONDS",
    help="A picture counts as complete if it has not changed for so long.",
)  # fmt: skip
@click.option(
    "--poll-s", type=click.FloatRange(0.1), metavar="SECONDS",
    help="Look every so often instead of waiting for the system's reports: for network drives.",
)  # fmt: skip
@click.option(
    "--json", "as_json", is_flag=True, help="Print a line of JSON for each picture, as `remove`."
)
@reports.fail_empty
@reports.fail_doubt
@click.option(
    "-j", "--jobs", "threads", type=click.IntRange(1), metavar="N",
    help="Pictures at a time; default: one per processor.",
)  # fmt: skip
@click.option("-q", "--quiet", is_flag=True, help="Print errors only.")
@click.option(
    "-v", "--verbose", is_flag=True, help="Show device, timings, dropped metadata and tracebacks."
)
@accept_license
@from_options
def watch(
    folder: Path,
    results: Path,
    recursive: bool,
    overwrite: bool,
    move_done: Path | None,
    settle_s: float,
    poll_s: float | None,
    as_json: bool,
    fail_empty: bool,
    fail_doubt: float | None,
    threads: int | None,
    quiet: bool,
    verbose: bool,
    accept_license: bool,
    **options: Any,
) -> None:
    """Cut out the pictures of IN into OUT as they come, until Ctrl-C.

    New and changed pictures are cut out once they are complete. A journal in OUT/_alphacut knows
    what is done: run the same command again after any end, and nothing is done twice or forgotten.
    Originals are never changed or deleted.

    \b
    alphacut watch scans/ cut/ --move-done scans/done --background white
    """  # noqa: D301  click's mark for lines that stay as they are
    if quiet or fail_empty:  # which the error says
        warnings.simplefilter("ignore", NoForegroundWarning)
    from alphacut import runtimes
    from alphacut.batch import watch as watching
    from alphacut.models import weights
    from alphacut.remover import Remover

    chosen = Options(**options)
    asked = watching.Watch(
        folder=folder, results=results, recursive=recursive, move_done=move_done,
        overwrite=overwrite, settle_s=settle_s, poll_s=poll_s, threads=threads,
        fail_empty=fail_empty, fail_doubt=fail_doubt,
    )  # fmt: skip
    spec = weights.find_model(chosen.model)
    forms = runtimes.needed(
        spec, chosen.runtime, chosen.precision, chosen.device, chosen.network_size
    )
    with download_progress(spec, accept_license, forms, quiet=quiet) as downloading:
        remover = Remover(
            spec, options=chosen, hint="latency" if threads == 1 else "throughput",
            accept_license=accept_license, progress=downloading,
        )  # fmt: skip
    # kept until the program ends without freeing it
    click.get_current_context().find_root().obj = remover
    if verbose:
        warnings.simplefilter("always", MetadataWarning)
        note(f"{spec.name} in {chosen.runtime} on {remover.network.device}")
    if not quiet:
        note(f"watching {folder}: Ctrl-C ends")
    counts = {"done": 0, "failed": 0, "skipped": 0}
    try:
        with contextlib.closing(watching.watch(asked, remover)) as outcomes:
            for outcome in outcomes:
                row = row_of(outcome)
                counts[row.status] += 1
                if as_json:
                    click.echo(reports.to_json(row))
                tell(outcome, quiet=quiet or as_json, verbose=verbose)
    except (KeyboardInterrupt, SystemExit):
        if not quiet:
            note(", ".join(f"{count} {status}" for status, count in counts.items()))
        raise
