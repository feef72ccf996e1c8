"""`alphacut models` with its sub-commands, and `alphacut export`."""

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from alphacut.cli.options import accept_license
from alphacut.cli.terminal import complain, download_progress, print_table
from alphacut.errors import AlphacutError, OutputError, WeightsError
from alphacut.options import DEVICES
from alphacut.values import parse_sides

if TYPE_CHECKING:
    from alphacut.models.entry import Format, ModelSpec


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def models(context: click.Context, as_json: bool) -> None:
    """List models; download, add, verify, time and remove them."""
    if context.invoked_subcommand is not None:
        return
    from alphacut.models import weights

    entries = [_describe(spec) for spec in weights.models()]
    if as_json:
        click.echo(json.dumps(entries, indent=2))
        return
    heads = ("name", "good for", "published scores", "licence of the weights", "commercial", "MB",
             "state", "s", "peak MB", "also called")  # fmt: skip
    table = [
        (entry["name"], entry["good_for"], entry["scores"], entry["license"], entry["commercial"],
         _megabytes(entry["bytes"]), entry["state"], *_cost(entry["cost"]),
         ", ".join(entry["aliases"]))
        for entry in entries
    ]  # fmt: skip
    print_table(heads, table, right=("MB", "s", "peak MB"))
    if any(entry["cost"] for entry in entries):
        click.echo(
            "s, peak MB: one picture on this machine, by alphacut models benchmark", err=True
        )


@models.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option(
    "--format", "form", type=click.Choice(["onnx", "fp16", "torch"]),
    help="torch for PyTorch, onnx for the other runtimes, fp16 in half precision; default: what "
    "OpenVINO needs.",
)  # fmt: skip
@accept_license
def pull(names: tuple[str, ...], form: "Format | None", accept_license: bool) -> None:
    """Download the weights of each NAME and verify them."""
    from alphacut import runtimes
    from alphacut.models import weights

    failed = []
    for name in names:
        try:
            spec = weights.find_model(name)
            forms = [form or runtimes.needed(spec, "openvino")]
            if "decoder" in spec.weights and not form:
                forms.append("decoder")
            for chosen in forms:
                with download_progress(spec, accept_license, chosen) as progress:
                    path = weights.fetch(
                        spec, chosen, accept_license=accept_license, progress=progress
                    )
                click.echo(f"{spec.name}: {path}")
        except AlphacutError as error:  # the others go on
            complain(error)
            failed.append(name)
    if failed:
        raise SystemExit(1)


@models.command()
@click.argument("path", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--name", required=True, help="A new name, or the listed model that the file belongs to."
)
@click.option("--arch", help="The network, such as isnet; not needed for a listed model.")
def add(path: Path, name: str, arch: str | None) -> None:
    """Add your own weights from PATH.

    PATH is a state dict (.pth), .safetensors, .onnx, or an OpenVINO .xml beside its .bin. Images
    are prepared, and outputs read, as for the first listed model of the same network, at the size
    that the file says. Weights of indexnet then are a --matting of that name.
    """
    from alphacut import runtimes
    from alphacut.models import catalogue, weights

    forms: dict[str, Format] = {".onnx": "onnx", ".xml": "openvino"}
    form = forms.get(path.suffix.lower(), "torch")
    known = catalogue.known_model(name)
    likes = {catalogue.fold(entry.arch): entry for entry in reversed(catalogue.MODELS)
             if entry.arch}  # fmt: skip
    like = likes.get(catalogue.fold(arch or ""))
    if known is not None:
        if arch is not None and (like is None or like.arch != known.arch):
            raise WeightsError(f"{name} is a listed model, of {known.arch}: choose another --name")
        spec = known
    else:
        if like is None:
            names = sorted(str(entry.arch) for entry in likes.values())
            raise click.UsageError(f"a new model needs --arch, one of: {', '.join(names)}")
        spec = dataclasses.replace(
            like, name=name, aliases=(), weights={}, license="not stated",
            commercial="unclear", note="Added by hand.", source=path.name,
        )  # fmt: skip
    fitted = runtimes.fit(spec, form, path)
    order = _patch_order(fitted, form, path)
    if order and known is not None and order != known.arch_options["patch_order"]:
        raise WeightsError(
            f"{path}: its patches are in {order} order, not as the entry of {known.name} says: "
            "choose another --name"
        )
    if order:
        fitted = dataclasses.replace(
            fitted, arch_options={**fitted.arch_options, "patch_order": order}
        )
        click.echo(f"{name}: its patches are in {order} order")
    if known is not None and fitted != known:
        raise WeightsError(f"{path}: is of another size than {known.name}: choose another --name")
    added = weights.add(path, fitted, form)
    click.echo(f"{added.name}: {weights.locate(added.weights[form])}")


def _patch_order(spec: "ModelSpec", form: "Format", path: Path) -> str | None:
    """Find the order of patches that weights were made with; None if the network has none."""
    if form != "torch" or "patch_order" not in spec.arch_options:
        return None
    from alphacut.evaluation.patch_order import find_patch_order

    return find_patch_order(spec, path)


@models.command()
@click.argument("names", nargs=-1, metavar="[NAME...]")
def verify(names: tuple[str, ...]) -> None:
    """Check installed weights, all or those of each NAME."""
    from alphacut.models import weights

    chosen = [weights.find_model(name) for name in names] or weights.models()
    damaged, disordered = False, list[str]()
    for spec in chosen:
        for form, file in spec.weights.items():
            path = weights.locate(file)
            if path is None:
                if names:
                    click.echo(f"{spec.name}: {file.file} is not installed")
                continue
            if file.sha256 is None:
                click.echo(f"{spec.name}: {path}: no checksum is known: use alphacut models add")
                continue
            whole = weights.checksum(path) == file.sha256
            damaged |= not whole
            click.echo(f"{spec.name}: {path}: {'verified' if whole else 'DAMAGED'}")
            order = _patch_order(spec, form, path) if whole else None
            if order and order != spec.arch_options["patch_order"]:
                disordered.append(f"{spec.name}'s patches are in {order} order")
    if damaged:
        raise WeightsError("damaged weights are never used: pull or add them again, or remove them")
    if disordered:
        raise WeightsError(f"{', '.join(disordered)}, not as the entry says: masks will be noisy")


@models.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
def remove(names: tuple[str, ...]) -> None:
    """Delete the weights of each NAME, and its entry if you added it."""
    from alphacut.models import weights

    for name in names:
        spec = weights.find_model(name)
        removed = weights.remove(spec)
        for path in removed:
            click.echo(f"{spec.name}: removed {path}")
        if not removed:
            click.echo(f"{spec.name}: not installed")


@models.command()
@click.argument("names", nargs=-1, metavar="[NAME...]")
def where(names: tuple[str, ...]) -> None:
    """Print the folder of weights, or the paths of each NAME's."""
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
        raise WeightsError(f"not installed: {', '.join(missing)}: use alphacut models pull or add")


@models.command()
@click.argument("name")
@click.option("--device", type=click.Choice(DEVICES[1:]), help="Time only this device.")
@click.option("--input-size", metavar="WxH", help="Size of the batches; default: the model's.")
@click.option("--seconds", default=3.0, show_default=True, help="Duration of each measurement.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@accept_license
def benchmark(
    name: str,
    device: str | None,
    input_size: str | None,
    seconds: float,
    as_json: bool,
    accept_license: bool,
) -> None:
    """Time NAME in every runtime and on every device of this machine.

    What one picture takes by default, in seconds and memory, is kept and shown by alphacut models.
    """
    from alphacut.evaluation.speed import measure, measure_cost
    from alphacut.models import costs, weights

    spec = weights.find_model(name)
    with download_progress(spec, accept_license, *spec.weights) as progress:
        timings = list(
            measure(
                spec,
                device=device,
                size=parse_sides("--input-size", input_size, 32) if input_size else None,
                seconds=seconds,
                accept_license=accept_license,
                progress=progress,
            )
        )
    cost = measure_cost(spec) if spec.finds_subjects else None
    if cost:
        costs.keep(spec.name, cost)
    if as_json:
        records = [dataclasses.asdict(timing) for timing in timings]
        picture = cost and dataclasses.asdict(cost)
        click.echo(
            json.dumps({"model": spec.name, "timings": records, "picture": picture}, indent=2)
        )
        return
    h, w = timings[0].size
    click.echo(f"{spec.name}, batches of N x {spec.channels} x {h} x {w}")
    heads = (
        "runtime",
        "device",
        "for",
        "precision",
        "N",
        "load ms",
        "call ms",
        "pictures/s",
        "of peak",
        "",
    )
    print_table(
        heads,
        [
            (t.runtime, t.device, t.hint, t.precision, str(t.batch),
             *(_figure(x) for x in (t.load_ms, t.call_ms, t.per_second)),
             "" if t.peak_share is None else f"{t.peak_share:.0%}", t.error or "")
            for t in timings
        ],
        right=heads[4:9],
    )  # fmt: skip
    if cost:
        memory = f", {cost.peak_bytes / 1e6:.0f} MB at most" if cost.peak_bytes else ""
        click.echo(f"a picture of {cost.megapixels:g} MP: {cost.seconds:.2f} s{memory}")


@click.command()
@click.argument("model")
@click.option(
    "--to", type=click.Choice(["onnx", "openvino"]), required=True, help="Format to write."
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="File; default: MODEL.onnx or MODEL.xml.",
)
@click.option("--size", metavar="WxH", help="Size of the input, width first; default: the model's.")
@click.option("--dynamic", is_flag=True, help="Let the file take other sizes, too.")
@click.option("--fp16", is_flag=True, help="Store weights in float16; arithmetic stays float32.")
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
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
    """Export a network from PyTorch to ONNX or OpenVINO.

    The file is written only if its output agrees with PyTorch's.
    """
    from alphacut import runtimes
    from alphacut.models import weights

    spec = weights.find_model(model)
    suffix = {"onnx": ".onnx", "openvino": ".xml"}[to]
    target = output or Path(spec.name + suffix)
    if target.suffix != suffix:
        raise OutputError(f"{target}: use the extension {suffix} for {to}")
    if target.exists() and not overwrite:
        raise OutputError(f"{target}: already exists: use --overwrite")
    with download_progress(spec, accept_license, runtimes.needed(spec, "torch")) as progress:
        difference = runtimes.export(
            spec, target, to=to, dynamic=dynamic, fp16=fp16, progress=progress,
            size=parse_sides("--size", size) if size else None,
            accept_license=accept_license,
        )  # fmt: skip
    click.echo(f"{target}: differs from PyTorch by {difference}", err=True)


def _describe(spec: "ModelSpec") -> dict[str, Any]:
    """Describe a model as JSON."""
    from alphacut.models import costs, weights

    here = {form: str(path) for form, file in spec.weights.items()
            if (path := weights.locate(file))}  # fmt: skip
    files = [*spec.weights.values()]
    if any(file.embedded for file in files):
        state = "embedded"
    elif here:
        state = "installed"
    elif any(file.package for file in files):
        state = "to install"
    elif any(file.sha256 and file.urls for file in files):
        state = "to pull" if weights.accepted(spec) else "to pull, if you accept its terms"
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
        "good_for": spec.good_for,
        "scores": spec.scores,
        "source": spec.source,
        "formats": list(spec.weights),
        "bytes": next(iter(files)).bytes,
        "state": state,
        "paths": here,
        "cost": costs.kept(spec.name),
    }


def _megabytes(size: int | None) -> str:
    return "?" if size is None else f"{size / 1e6:.1f}"


def _cost(cost: dict[str, Any] | None) -> tuple[str, str]:
    """Give the seconds and peak megabytes of one picture, as far as they were measured."""
    if cost is None:
        return "", ""
    peak = cost["peak_bytes"]
    return f"{cost['seconds']:.2f}", "" if peak is None else f"{peak / 1e6:.0f}"


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"
