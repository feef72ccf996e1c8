"""`alphacut evaluate` and `alphacut quantize`: measure quality, and write an INT8 network."""

import dataclasses
import shlex
from pathlib import Path
from typing import Any

import click

from alphacut.cli.options import PictureCommand, accept_license, from_options
from alphacut.cli.terminal import download_progress, print_table, progress
from alphacut.errors import OutputError
from alphacut.options import Options

_FILE = click.Path(dir_okay=False, path_type=Path)
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command(cls=PictureCommand)
@click.argument("folder", type=_FOLDER)
@click.option(
    "--compare", "settings", multiple=True, metavar="CHANGES",
    help="Also measure these options, such as 'quality=best matting=none'; repeatable.",
)  # fmt: skip
@click.option("--csv", "csv_path", type=_FILE, metavar="FILE", help="Write all scores as CSV.")
@click.option("--json", "json_path", type=_FILE, metavar="FILE", help="Write all scores as JSON.")
@click.option(
    "--html", "html_path", type=_FILE, metavar="FILE", help="Write a page of pictures, worst first."
)
@click.option("--video", is_flag=True, help="FOLDER holds clips, each with image/ and alpha/.")
@click.option(
    "--steady", "steadinesses", type=click.FloatRange(0, 1), multiple=True, default=(0.0, 1.0),
    metavar="0..1", help="Steadinesses to measure on clips; 0 and 1 by default.",
)  # fmt: skip
@from_options
def evaluate(
    folder: Path,
    settings: tuple[str, ...],
    video: bool,
    steadinesses: tuple[float, ...],
    csv_path: Path | None,
    json_path: Path | None,
    html_path: Path | None,
    **options: Any,
) -> None:
    """Score cut-outs against pictures with known alpha.

    FOLDER holds image/, alpha/ and optionally foreground/, with files of the same names; with
    --video, a folder with numbered image/ and alpha/ for each clip.
    """
    from alphacut.evaluation import quality
    from alphacut.remover import Remover

    if video:
        if settings or csv_path or json_path or html_path:
            raise click.UsageError("--video goes without --compare, --csv, --json and --html")
        _evaluate_clips(folder, steadinesses, Options(**options))
        return
    base = Options(**options)
    removers = {"default" if base == Options() else "chosen": Remover(options=base)}
    for changes in settings:
        removers[changes] = Remover(options=base.replace(**parse_changes(changes)))
    samples = quality.find_samples(folder)
    scores = []
    with progress(len(samples) * len(removers), quiet=False) as shown:
        for score in quality.evaluate(samples, removers, thumbnails=html_path is not None):
            scores.append(score)
            if shown:
                shown.advance(shown.task_ids[0])
    for path, write in (
        (csv_path, quality.write_csv),
        (json_path, quality.write_json),
        (html_path, quality.write_page),
    ):
        if path:
            write(path, scores)
            click.echo(f"wrote {path}", err=True)
    click.echo(f"{folder}: means over {len(samples)} pictures")
    means = quality.summarise(scores)
    columns = list(next(iter(means.values())))
    rows = [(setting, *(f"{mean[column]:.3f}" for column in columns))
            for setting, mean in means.items()]  # fmt: skip
    print_table(("setting", *columns), rows, right=columns)


def _evaluate_clips(folder: Path, steadinesses: tuple[float, ...], options: Options) -> None:
    """Print a table of each clip's figures, and their means."""
    from alphacut.evaluation import clips
    from alphacut.remover import Remover

    found = clips.find_clips(folder)
    scores = []
    with progress(len(found) * len(steadinesses), quiet=False) as shown:
        for score in clips.evaluate_clips(found, Remover(options=options), steadinesses):
            scores.append(score)
            if shown:
                shown.advance(shown.task_ids[0])
    columns = {name: column for name, column in clips.COLUMNS.items()
               if all(name in score.values for score in scores)}  # fmt: skip
    rows = [(score.clip, f"{score.steadiness:g}", score.values) for score in scores]
    for steadiness in steadinesses:
        ours = [score.values for score in scores if score.steadiness == steadiness]
        mean = {name: sum(values[name] for values in ours) / len(ours) for name in columns}
        rows.append(("mean", f"{steadiness:g}", mean))
    cells = [
        (clip, steadiness, *(f"{values[name]:.{places}f}" for name, (_, places) in columns.items()))
        for clip, steadiness, values in rows
    ]
    print_table(("clip", "steady", *columns), cells, right=("steady", *columns))


def parse_changes(text: str) -> dict[str, Any]:
    """Parse 'name=value name=value' as fields of `Options`.

    Raises:
        click.BadParameter: if a word has no "=", or a value has the wrong type.
    """
    kinds = {option.name: option.metadata["kind"] for option in dataclasses.fields(Options)}
    changes: dict[str, Any] = {}
    for word in shlex.split(text):
        name, equals, value = word.partition("=")
        name = name.replace("-", "_")
        kind = kinds.get(name, str)
        try:
            if not equals:
                raise ValueError("use name=value")
            changes[name] = click.BOOL(value) if kind is bool else kind(value)
        except ValueError as error:
            raise click.BadParameter(f"{word!r}: {error}") from error
    return changes


@click.command()
@click.argument("model")
@click.option("--data", type=_FOLDER, required=True, help="Folder of about 100 varied pictures.")
@click.option("-o", "--output", type=_FILE, required=True, help="The .onnx file to write.")
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
@accept_license
def quantize(model: str, data: Path, output: Path, overwrite: bool, accept_license: bool) -> None:
    """Write an INT8 network of MODEL, calibrated on pictures.

    To use it: alphacut models add FILE --name NAME --arch ARCH. Then compare the two with alphacut
    evaluate.
    """
    from alphacut.evaluation.quantize import quantize as write
    from alphacut.models import weights
    from alphacut.pipeline import transforms
    from alphacut.pipeline.load import INPUT_SUFFIXES, load_image

    spec = weights.find_model(model)
    if output.exists() and not overwrite:
        raise OutputError(f"{output}: already exists: use --overwrite")
    with download_progress(spec, accept_license, "onnx") as downloading:
        source = weights.fetch(spec, accept_license=accept_license, progress=downloading)
    images = [path for path in sorted(data.rglob("*")) if path.suffix.lower() in INPUT_SUFFIXES]
    batches = [transforms.preprocess(load_image(path), spec) for path in images]
    kept = write(source, batches, output)
    click.echo(f"wrote {output}; still float32: {', '.join(kept)}", err=True)
