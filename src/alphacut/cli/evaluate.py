"""`alphacut evaluate` and `alphacut quantize`: figures, and the INT8 form that they judge."""

import dataclasses
import shlex
import sys
from pathlib import Path
from typing import Any

import click

from alphacut.cli import models as cli_models
from alphacut.cli.options import from_options, progress
from alphacut.errors import OutputError
from alphacut.options import Options

_FILE = click.Path(dir_okay=False, path_type=Path)
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command()
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
    from alphacut.evaluation import quality as evaluation
    from alphacut.remover import Remover

    base = Options(**options)
    removers = {"default" if base == Options() else "chosen": Remover(options=base)}
    for changes in settings:
        removers[changes] = Remover(options=base.replace(**parse_changes(changes)))
    samples = evaluation.find_samples(folder)
    scores = []
    with progress(len(samples) * len(removers), quiet=False) as shown:
        for score in evaluation.evaluate(samples, removers, thumbnails=html_path is not None):
            scores.append(score)
            if shown:
                shown.advance(shown.task_ids[0])
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


@click.command()
@click.argument("model")
@click.option("--data", type=_FOLDER, required=True, help="About 100 varied pictures.")
@click.option("-o", "--output", type=_FILE, required=True, help="The .onnx file to write.")
@click.option("--overwrite", is_flag=True, help="Replace a file that is already there.")
@cli_models.accept_license
def quantize(model: str, data: Path, output: Path, overwrite: bool, accept_license: bool) -> None:
    """Write the INT8 form of MODEL, whose ranges are taken from the pictures in --data.

    Afterwards: alphacut evaluate, and alphacut models add FILE --name NAME --arch ARCH.
    """
    from alphacut.evaluation.quantize import quantize as write
    from alphacut.models import weights
    from alphacut.pipeline import transforms
    from alphacut.pipeline.load import INPUT_SUFFIXES, load_image

    spec = weights.find_model(model)
    if output.exists() and not overwrite:
        raise OutputError(f"{output}: is already there: --overwrite replaces it")
    with cli_models.announced(spec, accept_license, "onnx") as fetching:
        source = weights.fetch(spec, accept_license=accept_license, progress=fetching)
    pictures = [path for path in sorted(data.rglob("*")) if path.suffix.lower() in INPUT_SUFFIXES]
    batches = [transforms.preprocess(load_image(path), spec) for path in pictures]
    kept = write(source, batches, output)
    click.echo(f"written: {output}; in float32 remain: {', '.join(kept)}", err=True)
