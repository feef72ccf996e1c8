"""`alphacut batch SOURCE DEST`, and `alphacut batch status DEST`."""

import dataclasses
import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from alphacut.cli import report as reports
from alphacut.cli.options import DefaultGroup, PictureCommand, accept_license, from_options
from alphacut.cli.terminal import complain, download_progress, named, note, progress_bar
from alphacut.errors import AlphacutWarning, MissingExtra, OptionError
from alphacut.options import Options

if TYPE_CHECKING:
    from alphacut.batch.job import Job, Plan
    from alphacut.batch.manifest import Row
    from alphacut.batch.store import Store

_SHOWN = 10  # failures that get a line; the manifest has them all
_LINE_S = 30.0  # between lines of progress where there is no terminal for a bar


@click.group(cls=DefaultGroup, default="run", subcommand_metavar="SOURCE DEST | COMMAND ...")
def batch() -> None:
    """Cut out millions of pictures, resumably.

    SOURCE and DEST are folders or addresses, such as s3://bucket/photos. `alphacut batch SOURCE
    DEST` is short for `alphacut batch run SOURCE DEST`: see `alphacut batch run --help` for its
    options.
    """


@contextmanager
def _extra_needed() -> Iterator[None]:
    """Name the extra if one of its libraries is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingExtra(str(error.name), "cluster") from error


@batch.command(cls=PictureCommand)
@click.argument("source")
@click.argument("dest")
@click.option(
    "--engine", type=click.Choice(["local", "ray"]), default="local", show_default=True,
    help="Run in threads of this process, or in processes on a Ray cluster.",
)  # fmt: skip
@click.option(
    "--address", help="Ray cluster; default: the one this is a job of, or a new one here."
)
@click.option(
    "--actors",
    type=click.IntRange(1),
    help="Processes on Ray; default: one per processor, or per GPU.",
)
@click.option(
    "--gpus-per-actor", type=click.FloatRange(0), default=0.0, help="GPUs for each actor."
)
@click.option(
    "--retries", type=click.IntRange(0), default=3, show_default=True,
    help="How often to retry a store, and in how many later runs to retry a failed picture.",
)  # fmt: skip
@click.option("--retry-failed", is_flag=True, help="Retry every failed picture.")
@click.option(
    "--dry-run", is_flag=True, help="Estimate time and cost from a sample; write nothing."
)
@click.option(
    "--price", type=click.FloatRange(0), default=0.04, show_default=True, metavar="MONEY",
    help="Price of a core-hour, for --dry-run.",
)  # fmt: skip
@click.option(
    "--metrics-port", type=click.IntRange(1, 65535), help="Serve Prometheus metrics on this port."
)
@click.option("--metrics-host", default="127.0.0.1", show_default=True, help="Address for them.")
@reports.option
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@reports.fail_empty
@reports.fail_doubt
@click.option("-q", "--quiet", is_flag=True, help="Print errors only.")
@accept_license
@from_options
def run(
    source: str,
    dest: str,
    dry_run: bool,
    price: float,
    metrics_port: int | None,
    metrics_host: str,
    report: Path | None,
    as_json: bool,
    quiet: bool,
    **settings: Any,
) -> None:
    """Cut out the pictures of SOURCE into DEST.

    SOURCE is a folder, a pattern, a .csv or .parquet list with columns id and address, a .zip
    archive or .tar shards, local or remote: s3://, gs://, az://, https:// ... DEST is a folder or a
    bucket. A manifest in DEST records what became of each picture; if the run stops, the same
    command continues it.
    """
    if report and os.path.realpath(report) == os.path.realpath(source):
        raise click.UsageError(f"--report would replace SOURCE, {source}")
    if report and dry_run:
        raise click.UsageError("--report has no rows after --dry-run, which does nothing")
    names = {option.name for option in dataclasses.fields(Options)}
    options = Options(**{name: settings.pop(name) for name in names})
    with _extra_needed():
        from alphacut.batch import job as jobs
        from alphacut.batch import lock, manifest
        from alphacut.batch import run as runs
        from alphacut.batch.store import Store

    job = jobs.Job(source=source, dest=dest, options=options, **settings)
    _download(job, quiet)
    warnings.simplefilter("ignore", AlphacutWarning)  # about images: their rows say it
    if dry_run:
        _print_estimate(job, jobs.plan(job), price, as_json)
        return
    store = Store(dest)
    start = time.monotonic()
    counts = {"done": 0, "failed": 0}
    empty = 0
    with lock.claimed(store) as claim:
        plan = jobs.plan(job)
        total = plan.pending + len(plan.failed)
        count = _metrics(metrics_port, metrics_host, total)
        try:
            with _progress(total, quiet) as show:
                for row in runs.run(job, plan, claim):
                    counts[row.status] += 1
                    empty += row.status == "done" and bool(row.empty)
                    count(row)
                    show(row)
        except (KeyboardInterrupt, SystemExit):
            note(f"stopped after {sum(counts.values())} of {total}: to continue, run the same "
                 "command")  # fmt: skip
            raise
        manifest.merge(store)
        _write_report(report, store)
    seconds = time.monotonic() - start
    summary = {
        **counts, "without a subject": empty, "done before": plan.skipped,
        "given up before": plan.given_up,
        "seconds": round(seconds, 1), "pictures/s": round(sum(counts.values()) / seconds, 2),
        "manifest": store.address(manifest.MERGED),
    }  # fmt: skip
    if as_json or not quiet:
        _print(summary, as_json)
    if counts["failed"] or plan.given_up:
        sys.exit(1)


@batch.command()
@click.argument("dest")
@reports.option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(dest: str, report: Path | None, as_json: bool) -> None:
    """Show what became of the pictures in DEST so far.

    A run may be at work there meanwhile.
    """
    with _extra_needed():
        import pyarrow.compute as pc

        from alphacut.batch import manifest
        from alphacut.batch.store import Store

    columns = ("id", "input", "status", "error", "again", "empty", "input_bytes", "output_bytes",
               "milliseconds", "time")  # fmt: skip
    table = manifest.load(Store(dest), columns)
    if not len(table):
        raise OptionError("DEST", dest, "no manifest here: nothing has been done yet")
    failed = table.filter(pc.not_equal(table["status"].cast("string"), "done"))
    summary = {
        "done": len(table) - len(failed), "failed": len(failed),
        "of these retried": pc.sum(failed["again"]).as_py() or 0,
        "without a subject": pc.sum(table["empty"]).as_py(),
        "input MB": round((pc.sum(table["input_bytes"]).as_py()) / 1e6, 1),
        "output MB": round((pc.sum(table["output_bytes"]).as_py()) / 1e6, 1),
        "ms per picture": round(pc.mean(table["milliseconds"]).as_py(), 1),
        "last": str(pc.max(table["time"]).as_py()),
    }  # fmt: skip
    _write_report(report, Store(dest))
    if as_json:
        summary["failures"] = failed.select(["id", "error"]).to_pylist()
    _print(summary, as_json)
    if not as_json:
        for row in failed.select(["input", "error"]).slice(0, _SHOWN).to_pylist():
            click.echo(named(row["input"], row["error"]))
    if len(failed):
        sys.exit(1)


def _write_report(path: Path | None, store: "Store") -> None:
    """Write a row for each picture in a destination, those of earlier runs included."""
    from alphacut.batch import manifest

    if path is None:
        return
    # the manifest calls the reason "error", and has one result for each picture
    same = [name for name in reports.Row._fields if name not in ("reason", "boxes")]
    table = manifest.load(store, (*same, "error"))
    with reports.writing(path) as write:
        for batch in table.to_batches(max_chunksize=10_000):
            for facts in batch.to_pylist():
                reason, output = facts.pop("error") or None, facts.pop("output") or None
                write(reports.Row(**facts, output=output, reason=reason))


def _download(job: "Job", quiet: bool) -> None:
    """Download the weights before any work, with a bar."""
    from alphacut import runtimes
    from alphacut.models import weights

    chosen = job.options
    if not chosen.asks_network:
        return
    spec = weights.find_model(chosen.model)
    form = runtimes.needed(
        spec, chosen.runtime, chosen.precision, chosen.device, chosen.network_size
    )
    with download_progress(spec, job.accept_license, form, quiet=quiet) as progress:
        weights.fetch(spec, form, accept_license=job.accept_license, progress=progress)


def _print_estimate(job: "Job", plan: "Plan", price: float, as_json: bool) -> None:
    """Cut out a sample, and print what the whole job would take."""
    from alphacut.batch.run import estimate

    found = estimate(plan)
    n = found.pending
    core_hours = n * found.core_seconds / 3600
    hours = core_hours / job.actors if job.actors else n * found.seconds / 3600
    facts = {
        "pictures": n, "done before": plan.skipped, "sampled": found.sampled,
        "failed of these": found.failed, "core-seconds per picture": round(found.core_seconds, 4),
        "core-hours": round(core_hours, 3), "hours": round(hours, 3),
        "cost": round(core_hours * price, 2), "read GB": round(n * found.input_bytes / 1e9, 3),
        "written GB": round(n * found.output_bytes / 1e9, 3),
    }  # fmt: skip
    _print(facts, as_json)


def _print(facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({name.replace(" ", "_"): value for name, value in facts.items()}))
        return
    for name, value in facts.items():
        click.echo(f"{name:<24} {value}")


def _metrics(port: int | None, host: str, total: int) -> Callable[["Row"], None]:
    """Serve metrics if a port is given, and return the function that counts a row."""
    if port is None:
        return lambda row: None
    try:
        from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server
    except ImportError as missing:
        raise MissingExtra("prometheus-client", "cluster") from missing
    registry = CollectorRegistry()
    pictures = Counter("alphacut_batch_pictures", "Done and failed.", ["status"], registry=registry)
    seconds = Counter("alphacut_batch_seconds", "Spent on pictures.", registry=registry)
    moved = Counter("alphacut_batch_bytes", "Read and written.", ["way"], registry=registry)
    pending = Gauge("alphacut_batch_pending", "Left to do.", registry=registry)
    pending.set(total)
    try:
        start_http_server(port, host, registry)
    except OSError as error:
        raise OptionError(
            "--metrics-port", port, f"cannot listen on {host}: {error.strerror}: choose another"
        ) from error

    def count(row: "Row") -> None:
        pictures.labels(row.status).inc()
        seconds.inc(row.milliseconds / 1000)
        moved.labels("read").inc(row.input_bytes)
        moved.labels("written").inc(row.output_bytes)
        pending.dec()

    return count


@contextmanager
def _progress(total: int, quiet: bool) -> Iterator[Callable[["Row"], None]]:
    """Show done, failed, rate and time left: a bar on a terminal, else a line now and then."""
    done = failed = 0
    start = printed = time.monotonic()
    drawn = None
    if total and not quiet and sys.stderr.isatty():
        drawn = progress_bar(total, "{task.fields[failed]} failed", failed=0)

    def show(row: "Row") -> None:
        nonlocal done, failed, printed
        done += row.status == "done"
        failed += row.status != "done"
        if row.status != "done" and failed <= _SHOWN:
            more = " (further failures: see the manifest)" if failed == _SHOWN else ""
            complain(row.error + more, row.input)
        now = time.monotonic()
        if drawn:
            drawn.update(drawn.task_ids[0], completed=done + failed, failed=failed)
        elif not quiet and now - printed >= _LINE_S:
            printed = now
            rate = (done + failed) / (now - start)
            left_min = (total - done - failed) / rate / 60
            note(f"{done} done, {failed} failed of {total}, {rate:.1f}/s, {left_min:.0f} min left")

    with drawn or nullcontext():
        yield show
