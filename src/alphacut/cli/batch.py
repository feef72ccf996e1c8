"""The sub-commands about very many pictures: `alphacut batch SOURCE DEST` and its status."""

import dataclasses
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import click

from alphacut.cli import models as cli_models
from alphacut.cli.options import DefaultGroup, bar, from_options
from alphacut.errors import MissingExtra, OptionError
from alphacut.options import Options

if TYPE_CHECKING:
    from alphacut.batch.job import Job, Plan
    from alphacut.batch.manifest import Row

_SHOWN = 10  # failures that get a line; the manifest has them all
_LINE_S = 30.0  # between lines where there is no terminal for a bar


@click.group(cls=DefaultGroup, default="run")
def batch() -> None:
    """Cut out millions of pictures, from anywhere to anywhere, with nothing lost.

    `alphacut batch SOURCE DEST` is short for `alphacut batch run SOURCE DEST`; see
    `alphacut batch run --help`.
    """


@contextmanager
def _extra_needed() -> Iterator[None]:
    """Name the extra if a library of it is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingExtra(str(error.name), "cluster") from error


@batch.command()
@click.argument("source")
@click.argument("dest")
@click.option(
    "--engine", type=click.Choice(["local", "ray"]), default="local", show_default=True,
    help="Threads of this process, or processes on a Ray cluster.",
)  # fmt: skip
@click.option("--address", help="Ray cluster; without it the one that runs this, or a local one.")
@click.option("--actors", type=click.IntRange(1), help="Processes on Ray; one a processor or GPU.")
@click.option("--gpus-per-actor", type=click.FloatRange(0), default=0.0, help="GPUs of each.")
@click.option(
    "--retries", type=click.IntRange(0), default=3, show_default=True,
    help="How often a store is asked again, and how many later runs try a failure again.",
)  # fmt: skip
@click.option("--retry-failed", is_flag=True, help="Try all that has failed again.")
@click.option("--dry-run", is_flag=True, help="Try a sample, write nothing, tell time and cost.")
@click.option(
    "--price", type=click.FloatRange(0), default=0.04, show_default=True, metavar="MONEY",
    help="What a core costs an hour, for --dry-run.",
)  # fmt: skip
@click.option("--metrics-port", type=click.IntRange(1, 65535), help="Port of Prometheus metrics.")
@click.option("--metrics-host", default="127.0.0.1", show_default=True, help="Their address.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors.")
@cli_models.accept_license
@from_options
def run(
    source: str,
    dest: str,
    dry_run: bool,
    price: float,
    metrics_port: int | None,
    metrics_host: str,
    as_json: bool,
    quiet: bool,
    **settings: Any,
) -> None:
    """Cut out the pictures of SOURCE into DEST, and note in a manifest what became of each.

    SOURCE is a folder, a pattern, a .csv or .parquet list with columns id and address, a .zip, .tar
    shards, or such at an address: s3://, gs://, az://, https:// ... DEST is a folder or an
    address. The same command again does what is left.
    """
    names = {option.name for option in dataclasses.fields(Options)}
    options = Options(**{name: settings.pop(name) for name in names})
    with _extra_needed():
        from alphacut.batch import job as jobs
        from alphacut.batch import manifest
        from alphacut.batch.store import Store

    job = jobs.Job(source=source, dest=dest, options=options, **settings)
    _fetch(job, quiet)
    if dry_run:
        _print_estimate(job, jobs.plan(job), price, as_json)
        return
    store = Store(dest)
    start = time.monotonic()
    counts = {"done": 0, "failed": 0}
    with manifest.claimed(store) as claim:
        plan = jobs.plan(job)
        total = plan.pending + len(plan.failed)
        count = _metrics(metrics_port, metrics_host, total)
        try:
            with _progress(total, quiet) as show:
                for row in jobs.process(job, plan, claim):
                    counts[row.status] += 1
                    count(row)
                    show(row)
        except (KeyboardInterrupt, SystemExit):
            click.echo(f"alphacut: stopped after {sum(counts.values())} of {total}: the same "
                       "command goes on", err=True)  # fmt: skip
            raise
        manifest.merge(store)
    seconds = time.monotonic() - start
    summary = {
        **counts, "done before": plan.skipped, "given up before": plan.given_up,
        "seconds": round(seconds, 1), "pictures/s": round(sum(counts.values()) / seconds, 2),
        "manifest": store.address(manifest.MERGED),
    }  # fmt: skip
    if as_json or not quiet:
        _print(summary, as_json)
    if counts["failed"] or plan.given_up:
        sys.exit(1)


@batch.command()
@click.argument("dest")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(dest: str, as_json: bool) -> None:
    """Tell what became of the pictures in DEST so far; a job may be at work there."""
    with _extra_needed():
        import pyarrow.compute as pc

        from alphacut.batch import manifest
        from alphacut.batch.store import Store

    columns = ("id", "status", "error", "again", "empty", "input_bytes", "output_bytes",
               "milliseconds", "time")  # fmt: skip
    table = manifest.load(Store(dest), columns)
    if not len(table):
        raise OptionError("DEST", dest, "has no manifest: nothing was done there")
    failed = table.filter(pc.not_equal(table["status"].cast("string"), "done"))
    summary = {
        "done": len(table) - len(failed), "failed": len(failed),
        "of these tried again": pc.sum(failed["again"]).as_py() or 0,
        "without a subject": pc.sum(table["empty"]).as_py(),
        "input MB": round((pc.sum(table["input_bytes"]).as_py()) / 1e6, 1),
        "output MB": round((pc.sum(table["output_bytes"]).as_py()) / 1e6, 1),
        "ms a picture": round(pc.mean(table["milliseconds"]).as_py(), 1),
        "last": str(pc.max(table["time"]).as_py()),
    }  # fmt: skip
    reasons = failed.select(["id", "error"]).slice(0, None if as_json else _SHOWN).to_pylist()
    _print({**summary, "failures": reasons} if as_json else summary, as_json)
    for reason in () if as_json else reasons:
        click.echo(f"{reason['id']}: {reason['error']}")
    if len(failed):
        sys.exit(1)


def _fetch(job: "Job", quiet: bool) -> None:
    """Fetch the weights first, with a bar, and print their terms."""
    from alphacut import runtimes
    from alphacut.models import weights

    chosen = job.options
    spec = weights.find_model(chosen.model)
    form = runtimes.needed(spec, chosen.runtime, chosen.precision, chosen.device)
    with cli_models.announced(spec, job.accept_license, form, quiet=quiet) as progress:
        weights.fetch(spec, form, accept_license=job.accept_license, progress=progress)


def _print_estimate(job: "Job", plan: "Plan", price: float, as_json: bool) -> None:
    """Try a sample and say what the whole would take."""
    from alphacut.batch.job import estimate

    found = estimate(job, plan)
    n = found.pictures
    core_hours = n * found.core_seconds / 3600
    hours = core_hours / job.actors if job.actors else n * found.seconds / 3600
    facts = {
        "pictures": n, "done before": plan.skipped, "sampled": found.sampled,
        "failed of these": found.failed, "core-seconds a picture": round(found.core_seconds, 4),
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
    """Serve what is counted, if that is wanted; return what counts a row."""
    if port is None:
        return lambda row: None
    try:
        from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server
    except ImportError as missing:
        raise MissingExtra("prometheus-client", "cluster") from missing
    registry = CollectorRegistry()
    pictures = Counter("alphacut_batch_pictures", "Answered.", ["status"], registry=registry)
    seconds = Counter("alphacut_batch_seconds", "Spent on pictures.", registry=registry)
    taken = Counter("alphacut_batch_bytes", "Read and written.", ["way"], registry=registry)
    pending = Gauge("alphacut_batch_pending", "Still to be done.", registry=registry)
    pending.set(total)
    try:
        start_http_server(port, host, registry)
    except OSError as error:
        raise OptionError(
            "--metrics-port", port, f"cannot be opened on {host}: {error.strerror}: choose another"
        ) from error

    def count(row: "Row") -> None:
        pictures.labels(row.status).inc()
        seconds.inc(row.milliseconds / 1000)
        taken.labels("read").inc(row.input_bytes)
        taken.labels("written").inc(row.output_bytes)
        pending.dec()

    return count


@contextmanager
def _progress(total: int, quiet: bool) -> Iterator[Callable[["Row"], None]]:
    """Show done, failed, rate and time left: a bar on a terminal, else a line now and then."""
    done = failed = 0
    start = said = time.monotonic()
    drawn = None
    if total and not quiet and sys.stderr.isatty():
        drawn = bar(total, "{task.fields[failed]} failed", failed=0)

    def show(row: "Row") -> None:
        nonlocal done, failed, said
        done += row.status == "done"
        failed += row.status != "done"
        if row.status != "done" and failed <= _SHOWN:
            text = row.error if row.error.startswith(row.input) else f"{row.id}: {row.error}"
            more = " (what else fails is in the manifest)" if failed == _SHOWN else ""
            click.echo(f"alphacut: {text}{more}", err=True)
        now = time.monotonic()
        if drawn:
            drawn.update(drawn.task_ids[0], completed=done + failed, failed=failed)
        elif not quiet and now - said >= _LINE_S:
            said = now
            rate = (done + failed) / (now - start)
            left = (total - done - failed) / rate
            click.echo(f"alphacut: {done} done, {failed} failed of {total}, {rate:.1f}/s, "
                       f"{left / 60:.0f} min left", err=True)  # fmt: skip

    with drawn or nullcontext():
        yield show
