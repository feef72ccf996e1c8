"""The command line: `alphacut PHOTO` and its sub-commands."""

import dataclasses
import functools
import json
import os
import shlex
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from alphacut import __version__, cli_batch, cli_models, cli_train
from alphacut.cli_options import DefaultGroup, bar, from_options
from alphacut.errors import (
    AlphacutError,
    AlphacutWarning,
    MissingExtra,
    OptionError,
    OutputError,
)
from alphacut.options import Options
from alphacut.server.settings import Settings

_FILE = click.Path(dir_okay=False, path_type=Path)
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_Command = TypeVar("_Command", bound=Callable[..., Any])

if TYPE_CHECKING:
    from alphacut.batch import Existing, Outcome
    from alphacut.remover import Remover


@click.group(cls=DefaultGroup, default="remove", context_settings={"max_content_width": 100})
@click.version_option(__version__, prog_name="alphacut")
def cli() -> None:
    """Remove the background of pictures.

    `alphacut PHOTO` is short for `alphacut remove PHOTO`; see `alphacut remove --help`. A photo
    named like a command is written ./name.
    """


@cli.command()
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
    from alphacut import runtimes, weights

    spec = weights.find_model(chosen.model)
    several = len(inputs) > 1 or os.path.isdir(inputs[0])
    with cli_models.announced(
        spec,
        accept_license,
        runtimes.needed(spec, chosen.runtime, chosen.precision, chosen.device),
        quiet=quiet,
    ) as fetching:
        # the network is loaded while decoders are imported and the first picture is read
        pool = ThreadPoolExecutor(1)
        loading = pool.submit(
            runtimes.load, spec, runtime=chosen.runtime, device=chosen.device,
            precision=chosen.precision, half=chosen.half,
            hint="throughput" if threads != 1 and several else "latency",
            accept_license=accept_license, progress=fetching,
        )  # fmt: skip
        pool.shutdown(wait=False)
        from alphacut import batch
        from alphacut.remover import Remover

        jobs = batch.plan(inputs, output, chosen, recursive=recursive)
        if fetching:  # until its bar is done
            loading.result()
    remover = Remover(spec, options=chosen, runtime=loading)
    # kept to the end of the program, which does not free it
    click.get_current_context().find_root().obj = remover
    if verbose:
        click.echo(
            f"alphacut: {spec.name} by {chosen.runtime} on {remover.runtime.device}", err=True
        )

    failures = 0
    with _progress(len(jobs), quiet or as_json) as progress:
        outcomes = batch.process(jobs, remover, existing=existing, threads=threads)
        done = 0
        try:
            for outcome in outcomes:
                loading.result()  # without a network there is one error, not one a picture
                done += 1
                failures += outcome.error is not None
                if as_json:
                    click.echo(json.dumps(_record(outcome, remover)))
                _report(outcome, quiet=quiet or as_json, verbose=verbose)
                if progress:
                    progress.advance(progress.task_ids[0])
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


def _progress(count: int, quiet: bool) -> Any:
    """Return a bar with rate and time left, where someone can see it and there is something to."""
    if quiet or count < 2 or not sys.stderr.isatty():
        return nullcontext()
    return bar(count)


def _report(outcome: "Outcome", *, quiet: bool, verbose: bool) -> None:
    """Say in a line what became of a picture."""
    job = outcome.job
    if outcome.error:
        _complain(outcome.error, job.source, verbose)
    elif quiet or job.target == "-":
        return
    elif outcome.skipped:
        click.echo(f"{job.source}: skipped, {job.target} is already there", err=True)
    else:
        click.echo(f"{job.source} -> {job.target}", err=True)
        if verbose and outcome.milliseconds:
            times = ", ".join(f"{stage} {ms:.0f}" for stage, ms in outcome.milliseconds.items())
            click.echo(f"  milliseconds: {times}", err=True)


def _complain(error: BaseException, source: str = "", verbose: bool = False) -> None:
    """Print an error as one line, and where it arose if that is wanted or nobody foresaw it."""
    text = str(error)
    if not isinstance(error, AlphacutError):
        text = f"{type(error).__name__}: {error}"
    if not text.startswith(source):
        text = f"{source}: {text}"
    click.echo("alphacut: " + " ".join(text.split()), err=True)
    if verbose:
        click.echo("".join(traceback.format_exception(error)), err=True, nl=False)


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
        "device": remover.runtime.device,
        "milliseconds": outcome.milliseconds,
        "skipped": outcome.skipped,
        "error": error and (str(error) or type(error).__name__),
    }


@cli.command()
@click.argument("folder", type=_FOLDER)
@click.option(
    "--compare", "settings", multiple=True, metavar="CHANGES",
    help="Measure these options, too, such as 'quality=best matting=none'; may be repeated.",
)  # fmt: skip
@click.option("--csv", "csv_path", type=_FILE, metavar="FILE", help="Write all figures as CSV.")
@click.option("--json", "json_path", type=_FILE, metavar="FILE", help="Write them as JSON.")
@click.option("--html", "html_path", type=_FILE, metavar="FILE", help="Draw a page, worst first.")
@from_options
def evaluate(
    folder: Path,
    settings: tuple[str, ...],
    csv_path: Path | None,
    json_path: Path | None,
    html_path: Path | None,
    **options: Any,
) -> None:
    """Measure cut-outs of FOLDER's image/ against its alpha/ and, if there, its foreground/."""
    from alphacut import evaluate as evaluation
    from alphacut.remover import Remover

    base = Options(**options)
    removers = {"default" if base == Options() else "chosen": Remover(options=base)}
    for changes in settings:
        removers[changes] = Remover(options=base.replace(**parse_changes(changes)))
    samples = evaluation.find_samples(folder)
    scores = []
    with _progress(len(samples) * len(removers), quiet=False) as progress:
        for score in evaluation.evaluate(samples, removers, thumbnails=html_path is not None):
            scores.append(score)
            if progress:
                progress.advance(progress.task_ids[0])
    for path, write in (
        (csv_path, evaluation.write_csv),
        (json_path, evaluation.write_json),
        (html_path, evaluation.write_page),
    ):
        if path:
            write(path, scores)
            click.echo(f"written: {path}", err=True)
    _print_table(evaluation.summarise(scores), f"{folder}, {len(samples)} pictures, mean")


def _print_table(mean: dict[str, dict[str, float]], title: str) -> None:
    """Print figures, a row a setting."""
    from rich.console import Console
    from rich.table import Table

    columns = list(next(iter(mean.values())))
    table = Table(title=title)
    table.add_column("setting")
    for column in columns:
        table.add_column(column, justify="right")
    for setting, figures in mean.items():
        table.add_row(setting, *(f"{figures[column]:.3f}" for column in columns))
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def parse_changes(text: str) -> dict[str, Any]:
    """Read 'name=value name=value' as fields of `Options`.

    Raises:
        click.BadParameter: if a word has no "=", or a value is not of its field's kind.
    """
    kinds = {option.name: option.metadata["kind"] for option in dataclasses.fields(Options)}
    changes: dict[str, Any] = {}
    for word in shlex.split(text):
        name, equals, value = word.partition("=")
        name = name.replace("-", "_")
        kind = kinds.get(name, str)
        try:
            if not equals:
                raise ValueError("say name=value")
            changes[name] = click.BOOL(value) if kind is bool else kind(value)
        except ValueError as error:
            raise click.BadParameter(f"{word!r}: {error}") from error
    return changes


@cli.command()
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


def from_settings(command: _Command, names: Collection[str] | None = None) -> _Command:
    """Give a command a flag and an environment variable for fields of `Settings`, or for all."""
    for setting in reversed(dataclasses.fields(Settings)):
        if names is not None and setting.name not in names:
            continue
        facts = setting.metadata
        command = click.option(
            "--" + setting.name.replace("_", "-"),
            type=click.Choice(facts["choices"]) if facts["choices"] else facts["kind"],
            is_flag=isinstance(setting.default, bool),
            multiple=isinstance(setting.default, tuple),
            default=setting.default,
            show_default=setting.default not in (None, False, ()),
            metavar=facts["unit"] or None,
            envvar=f"ALPHACUT_{setting.name.upper()}",
            help=facts["help"],
        )(command)
    return command


@cli.command()
@from_settings
def serve(**settings: Any) -> None:
    """Answer requests over HTTP, as remove.bg and rembg do.

    Each option is also an environment variable: --max-body is ALPHACUT_MAX_BODY. Values of an
    option that can be repeated are separated by spaces there.
    """
    chosen = Settings(**settings)
    try:
        from alphacut.server import run
    except ModuleNotFoundError as error:
        raise MissingExtra(str(error.name), "serve") from error
    run.serve(chosen, run.load(chosen))


@cli.command()
@functools.partial(from_settings, names=("host", "port", "max_megapixels", "max_body"))
@click.option("--model", default=Options.model, show_default=True, metavar="NAME",
              help="Network that the page begins with.")  # fmt: skip
@click.option("--browser/--no-browser", default=True, help="Open the page.")
def demo(model: str, browser: bool, **settings: Any) -> None:
    """Show a web page that removes backgrounds: drop a picture, touch it up, download it.

    It is served on this machine and needs no other.
    """
    chosen = Settings(**settings)
    from alphacut.demo import serve as show

    options = Options(model=model, max_megapixels=chosen.max_megapixels)
    try:
        show(host=chosen.host, port=chosen.port, options=options,
             max_body_bytes=chosen.max_body_bytes, browser=browser)  # fmt: skip
    except ModuleNotFoundError as error:
        raise MissingExtra(str(error.name), "demo") from error


@cli.command()
@click.argument("model")
@click.option("--data", type=_FOLDER, required=True, help="About 100 varied pictures.")
@click.option("-o", "--output", type=_FILE, required=True, help="The .onnx file to write.")
@click.option("--overwrite", is_flag=True, help="Replace a file that is already there.")
@cli_models.accept_license
def quantize(model: str, data: Path, output: Path, overwrite: bool, accept_license: bool) -> None:
    """Write the INT8 form of MODEL, whose ranges are taken from the pictures in --data.

    Afterwards: alphacut evaluate, and alphacut models add FILE --name NAME --arch ARCH.
    """
    from alphacut import transforms, weights
    from alphacut.image import INPUT_SUFFIXES, load_image
    from alphacut.quantize import quantize as write

    spec = weights.find_model(model)
    if output.exists() and not overwrite:
        raise OutputError(f"{output}: is already there: --overwrite replaces it")
    with cli_models.announced(spec, accept_license, "onnx") as fetching:
        source = weights.fetch(spec, accept_license=accept_license, progress=fetching)
    pictures = [path for path in sorted(data.rglob("*")) if path.suffix.lower() in INPUT_SUFFIXES]
    batches = [transforms.preprocess(load_image(path), spec) for path in pictures]
    kept = write(source, batches, output)
    click.echo(f"written: {output}; in float32 remain: {', '.join(kept)}", err=True)


@cli.command()
def doctor() -> None:
    """Tell what is installed and embedded, and test it on a picture."""
    from alphacut.doctor import examine

    for fact, finding in examine():
        click.echo(f"{fact:<12} {finding}")


cli.add_command(cli_batch.batch)
cli.add_command(cli_models.models)
cli.add_command(cli_models.export)
cli.add_command(cli_train.train)


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
        _complain(error)
        sys.exit(2)
    except AlphacutError as error:
        _complain(error)
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
