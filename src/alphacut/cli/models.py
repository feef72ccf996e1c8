"""The sub-commands about models: `alphacut models ...` and `alphacut export`."""

import dataclasses
import json
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from alphacut.errors import AlphacutError, OutputError, WeightsError
from alphacut.options import DEVICES

if TYPE_CHECKING:
    from alphacut.models.download import Progress
    from alphacut.models.entry import Format, ModelSpec

accept_license = click.option(
    "--accept-license",
    is_flag=True,
    help="Accept the terms of weights that do not allow every use; they are printed.",
)


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def models(context: click.Context, as_json: bool) -> None:
    """List the models; add, fetch, verify, remove and time them."""
    if context.invoked_subcommand is not None:
        return
    from alphacut.models import weights

    rows = [_describe(spec) for spec in weights.models()]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    heads = ("name", "licence of the weights", "commercial", "MB", "state", "also called")
    table = [
        (row["name"], row["license"], row["commercial"], _megabytes(row["bytes"]), row["state"],
         ", ".join(row["aliases"]))
        for row in rows
    ]  # fmt: skip
    _print_table(heads, table)


@models.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option(
    "--format", "form", type=click.Choice(["onnx", "torch"]),
    help="For PyTorch or the others; by default what OpenVINO starts from.",
)  # fmt: skip
@accept_license
def pull(names: tuple[str, ...], form: "Format | None", accept_license: bool) -> None:
    """Fetch the weights of each NAME and verify them."""
    from alphacut import runtimes
    from alphacut.models import weights

    failed = []
    for name in names:
        try:
            spec = weights.find_model(name)
            chosen = form or runtimes.needed(spec, "openvino")
            with announced(spec, accept_license, chosen) as progress:
                path = weights.fetch(spec, chosen, accept_license=accept_license, progress=progress)
            click.echo(f"{spec.name}: {path}")
        except AlphacutError as error:  # the others go on
            click.echo(f"alphacut: {error}", err=True)
            failed.append(name)
    if failed:
        raise SystemExit(1)


@models.command()
@click.argument("path", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--name", required=True, help="What to call it, or the known model whose file it is.")
@click.option("--arch", help="The network, such as isnet; a known model's name says it.")
def add(path: Path, name: str, arch: str | None) -> None:
    """Take own weights from PATH: a state dict (.pth), .safetensors, or .onnx.

    They are fed and read like those of the first listed model of that network.
    """
    from alphacut import runtimes
    from alphacut.models import catalogue, weights

    form: Format = "onnx" if path.suffix == ".onnx" else "torch"
    known = catalogue.known_model(name)
    if known is not None:
        if arch not in (None, known.arch):
            raise WeightsError(f"{name} is a known model, of {known.arch}: choose another --name")
        spec = known
    else:
        likes = {row.arch: row for row in reversed(catalogue.MODELS) if row.arch}
        if arch not in likes:
            raise click.UsageError(f"--arch is needed, one of: {', '.join(sorted(likes))}")
        spec = dataclasses.replace(
            likes[arch], name=name, aliases=(), weights={}, license="not stated",
            commercial="unclear", note="Added by hand.", source=path.name,
        )  # fmt: skip
    runtimes.check(spec, form, path)
    added = weights.add(path, spec, form)
    click.echo(f"{added.name}: {weights.locate(added.weights[form])}")


@models.command()
@click.argument("names", nargs=-1, metavar="[NAME...]")
def verify(names: tuple[str, ...]) -> None:
    """Compare the weights that are here, of each NAME or all, with their checksums."""
    from alphacut.files import sha256
    from alphacut.models import weights

    chosen = [weights.find_model(name) for name in names] or weights.models()
    damaged = False
    for spec in chosen:
        for file in spec.weights.values():
            path = weights.locate(file)
            if path is None:
                if names:
                    click.echo(f"{spec.name}: {file.file} is not here")
                continue
            if file.sha256 is None:
                click.echo(
                    f"{spec.name}: {path}: nobody states its checksum: alphacut models add it"
                )
                continue
            whole = sha256(path) == file.sha256
            damaged |= not whole
            click.echo(f"{spec.name}: {path}: {'verified' if whole else 'DAMAGED'}")
    if damaged:
        raise WeightsError("damaged weights are never used: pull or add them again, or remove them")


@models.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
def remove(names: tuple[str, ...]) -> None:
    """Delete the weights of each NAME, and its row if it was added."""
    from alphacut.models import weights

    for name in names:
        spec = weights.find_model(name)
        removed = weights.remove(spec)
        for path in removed:
            click.echo(f"{spec.name}: {path} is removed")
        if not removed:
            click.echo(f"{spec.name}: nothing of it is here")


@models.command()
@click.argument("names", nargs=-1, metavar="[NAME...]")
def where(names: tuple[str, ...]) -> None:
    """Print the folder of weights, or where the weights of each NAME lie."""
    from alphacut.models import weights

    if not names:
        click.echo(weights.home())
    missing = []
    for name in names:
        spec = weights.find_model(name)
        paths = [path for file in spec.weights.values() if (path := weights.locate(file))]
        for path in paths:
            click.echo(path)
        if not paths:
            missing.append(spec.name)
    if missing:
        raise WeightsError(f"not here: {', '.join(missing)}: alphacut models pull or add them")


@models.command()
@click.argument("name")
@click.option("--device", type=click.Choice(DEVICES[1:]), help="Time this device only.")
@click.option("--seconds", default=3.0, show_default=True, help="How long each is measured.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@accept_license
def benchmark(
    name: str, device: str | None, seconds: float, as_json: bool, accept_license: bool
) -> None:
    """Time NAME in every runtime, on every device that is here."""
    from alphacut.evaluation.speed import measure
    from alphacut.models import weights

    spec = weights.find_model(name)
    with announced(spec, accept_license, *spec.weights) as progress:
        timings = list(
            measure(
                spec,
                device=device,
                seconds=seconds,
                accept_license=accept_license,
                progress=progress,
            )
        )
    if as_json:
        records = [dataclasses.asdict(timing) for timing in timings]
        click.echo(json.dumps({"model": spec.name, "timings": records}, indent=2))
        return
    h, w = timings[0].size
    click.echo(f"{spec.name}, batches of N x {spec.channels} x {h} x {w}")
    heads = ("runtime", "device", "for", "N", "load ms", "call ms", "pictures/s", "of peak", "")
    _print_table(
        heads,
        [
            (t.runtime, t.device, "float16" if t.half else t.hint, str(t.batch),
             *(_figure(x) for x in (t.load_ms, t.call_ms, t.per_second)),
             "" if t.peak_share is None else f"{t.peak_share:.0%}", t.error or "")
            for t in timings
        ],
    )  # fmt: skip


@click.command()
@click.argument("model")
@click.option("--to", type=click.Choice(["onnx", "openvino"]), required=True, help="Format.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File, MODEL.onnx or .xml.")
@click.option("--size", metavar="HxW", help="Size of the batch.")
@click.option("--dynamic", is_flag=True, help="Allow other sizes, too.")
@click.option("--fp16", is_flag=True, help="Store weights as float16; arithmetic stays float32.")
@click.option("--overwrite", is_flag=True, help="Replace a file that is already there.")
@accept_license
def export(
    model: str,
    to: Any,
    output: Path | None,
    size: str | None,
    dynamic: bool,
    fp16: bool,
    overwrite: bool,
    accept_license: bool,
) -> None:
    """Write a network of MODEL for other runtimes, from PyTorch, compared with it before."""
    from alphacut import runtimes
    from alphacut.models import weights

    numbers = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", size) if size else None
    if size and not numbers:
        raise click.UsageError("--size is height x width, such as 512x768")
    spec = weights.find_model(model)
    suffix = {"onnx": ".onnx", "openvino": ".xml"}[to]
    target = output or Path(spec.name + suffix)
    if target.suffix != suffix:
        raise OutputError(f"{target}: an {to} file ends in {suffix}")
    if target.exists() and not overwrite:
        raise OutputError(f"{target}: is already there: --overwrite replaces it")
    with announced(spec, accept_license, runtimes.needed(spec, "torch")) as progress:
        difference = runtimes.export(
            spec, target, to=to, dynamic=dynamic, fp16=fp16, progress=progress,
            size=(int(numbers[1]), int(numbers[2])) if numbers else None,
            accept_license=accept_license,
        )  # fmt: skip
    click.echo(f"{target}: differs from PyTorch by {difference:.1e} of the largest value", err=True)


@contextmanager
def announced(
    spec: "ModelSpec", accept_license: bool, *forms: "Format", quiet: bool = False
) -> "Iterator[Progress | None]":
    """Print the terms of weights that may be fetched now, and give them a progress bar."""
    from alphacut.models import weights

    missing = [form for form in forms
               if form in spec.weights and not weights.locate(spec.weights[form])]  # fmt: skip
    if missing and spec.commercial != "yes" and (accept_license or weights.accepted(spec)):
        click.echo(f"alphacut: {weights.terms(spec)}", err=True)
    if not missing or quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(),
               TransferSpeedColumn())  # fmt: skip
    bars: dict[str, Any] = {}
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:

        def progress(file: str, done: int, total: int | None) -> None:
            if file not in bars:
                bars[file] = shown.add_task(file)
            shown.update(bars[file], completed=done, total=total)

        yield progress


def _describe(spec: "ModelSpec") -> dict[str, Any]:
    """Describe a model as JSON."""
    from alphacut.models import weights

    here = {form: str(path) for form, file in spec.weights.items()
            if (path := weights.locate(file))}  # fmt: skip
    files = [*spec.weights.values()]
    if any(file.embedded for file in files):
        state = "embedded"
    elif here:
        state = "here"
    elif any(file.sha256 and file.urls for file in files):
        state = "to fetch" if weights.accepted(spec) else "to fetch, ask for terms"
    else:
        state = "to add by hand"
    return {
        "name": spec.name,
        "aliases": list(spec.aliases),
        "output": spec.output,
        "classes": list(spec.classes),
        "license": spec.license,
        "code_license": spec.code_license,
        "commercial": spec.commercial,
        "note": spec.note,
        "source": spec.source,
        "formats": list(spec.weights),
        "bytes": next(iter(files)).bytes,
        "state": state,
        "paths": here,
    }


def _megabytes(size: int | None) -> str:
    return "?" if size is None else f"{size / 1e6:.1f}"


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _print_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: drawn on a terminal, and one line a row elsewhere."""
    if not sys.stdout.isatty():
        widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
        for row in (heads, *rows):
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            click.echo("  ".join(cells).rstrip())
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for head in heads:
        table.add_column(head)
    for row in rows:
        table.add_row(*row)
    Console().print(table)
