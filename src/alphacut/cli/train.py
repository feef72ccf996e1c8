"""`alphacut train RECIPE`, and its sub-commands."""

import contextlib
import os
from pathlib import Path
from typing import Any

import click

from alphacut.cli.options import DefaultGroup
from alphacut.cli.terminal import note
from alphacut.errors import OutputError

_FILE = click.Path(dir_okay=False, path_type=Path)
_DATA = click.option(
    "--data", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True,
    help="Folder that the recipe's paths are relative to.",
)  # fmt: skip
_DEVICE = click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True,
    help="Where to compute.",
)  # fmt: skip
_RECIPE = click.argument("recipe", type=click.Path(exists=True, dir_okay=False, path_type=Path))


@click.group(cls=DefaultGroup, default="run", subcommand_metavar="RECIPE | COMMAND ...")
def train() -> None:
    """Train a network by a recipe.

    `alphacut train RECIPE` is short for `alphacut train run RECIPE`: see `alphacut train run
    --help` for its options.
    """


@train.command()
@_RECIPE
@_DATA
@click.option("-o", "--output", type=click.Path(file_okay=False, path_type=Path), required=True,
              help="Folder of the run.")  # fmt: skip
@click.option("--resume", is_flag=True, help="Continue from the run's last checkpoint.")
@click.option("--steps", type=click.IntRange(1), help="Stop after this step; --resume continues.")
@click.option("--workers", type=click.IntRange(0), default=0, show_default=True,
              help="Processes that prepare pictures; 0: this one.")  # fmt: skip
@click.option("--threads", type=click.IntRange(1), help="Cores for the network; default: all.")
@click.option("--tensorboard", is_flag=True, help="Also write events for TensorBoard.")
@_DEVICE
def run(
    recipe: Path,
    data: Path,
    output: Path,
    resume: bool,
    steps: int | None,
    workers: int,
    threads: int | None,
    tensorboard: bool,
    device: str,
) -> None:
    """Train by RECIPE, a TOML file.

    Ctrl-C and SIGTERM save a checkpoint and stop. For several GPUs:
    torchrun -m alphacut train RECIPE ...
    """
    from alphacut.training.recipe import read_recipe
    from alphacut.training.train import LAST, train

    try:
        for record in train(
            read_recipe(recipe), data, output, resume=resume, device=device, workers=workers,
            threads=threads, steps=steps, tensorboard=tensorboard,
            heard=_say_heard,
        ):  # fmt: skip
            values = "  ".join(f"{name} {value:.4g}" for name, value in record.values.items())
            epoch = "" if record.epoch is None else f"  epoch {record.epoch:.2f}"
            minutes = record.seconds_left / 60
            click.echo(
                f"{record.step}/{record.steps}{epoch}  {values}  {minutes:.0f} min left", err=True
            )
    except KeyboardInterrupt:
        if (output / LAST).exists():  # a second Ctrl-C, or one before the first step, saves nothing
            note(f"saved {output / LAST}: use --resume to continue")
        raise


def _say_heard() -> None:
    """Say at once that a signal was heard; the stream may be in use, so past it."""
    with contextlib.suppress(OSError):
        os.write(2, b"stopping after this step; a second Ctrl-C stops at once and saves nothing\n")


@train.command()
@click.argument("run", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("-o", "--output", type=_FILE, help="Picture to write; default: RUN/curves.png.")
def plot(run: Path, output: Path | None) -> None:
    """Draw the curves of RUN, the folder of a run.

    They are its loss, error and learning rate.
    """
    from alphacut.training.curves import save

    click.echo(f"wrote {save(run, output)}", err=True)


@train.command()
@_RECIPE
@_DATA
@click.option("-o", "--output", type=_FILE, required=True, help="Picture to write.")
@click.option("--count", type=click.IntRange(1), default=24, show_default=True, help="How many.")
@click.option("--held-out", is_flag=True, help="Draw validation pictures instead.")
def preview(recipe: Path, data: Path, output: Path, count: int, held_out: bool) -> None:
    """Draw training pictures above their alpha."""
    from alphacut.output.encode import save_image
    from alphacut.training.data import Pictures
    from alphacut.training.preview import draw_sheet
    from alphacut.training.recipe import read_recipe

    settings = read_recipe(recipe)
    pictures = Pictures(settings, settings.valid if held_out else settings.source, data)
    save_image(output, draw_sheet(settings, pictures, count))


@train.command("find-lr")
@_RECIPE
@_DATA
@click.option("-o", "--output", type=_FILE, required=True, help="Picture of the curve to write.")
@click.option("--least", default=1e-7, show_default=True, help="First rate.")
@click.option("--largest", default=1.0, show_default=True, help="Last rate.")
@click.option(
    "--steps", type=click.IntRange(2), default=100, show_default=True, help="Number of rates."
)
@_DEVICE
def find_lr(
    recipe: Path, data: Path, output: Path, least: float, largest: float, steps: int, device: str
) -> None:
    """Find a learning rate.

    The rate rises with every step; the curve shows where the loss falls, and where it diverges.
    """
    from alphacut.training.curves import write
    from alphacut.training.range_test import draw_rates, find_rates, suggest_rate
    from alphacut.training.recipe import read_recipe

    curve = find_rates(
        read_recipe(recipe), data, least=least, largest=largest, steps=steps, device=device
    )
    write(draw_rates(curve), output)
    click.echo(f"wrote {output}; the loss falls fastest at {suggest_rate(curve):.1e}",
               err=True)  # fmt: skip


@train.command()
@_RECIPE
@click.argument("weights", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--to", type=click.Choice(["onnx", "openvino"]), required=True, help="Format to write."
)
@click.option("-o", "--output", type=_FILE, required=True, help="File to write, .onnx or .xml.")
@click.option("--share", type=click.FloatRange(0, 1), default=1.0, show_default=True,
              help="Interpolate: 0 is the recipe's initial weights, 1 is WEIGHTS.")  # fmt: skip
@click.option("--fp16", is_flag=True, help="Store weights in float16, in half the space.")
@click.option("--name", help="Also add the ONNX file as a model of this name.")
def export(
    recipe: Path,
    weights: Path,
    to: Any,
    output: Path,
    share: float,
    fp16: bool,
    name: str | None,
) -> None:
    """Export trained WEIGHTS, such as best.safetensors."""
    suffix = {"onnx": ".onnx", "openvino": ".xml"}[to]
    if output.suffix != suffix:
        raise OutputError(f"{output}: use the extension {suffix} for {to}")
    if name and to != "onnx":
        raise click.UsageError("--name needs --to onnx, which every runtime reads")
    from alphacut.training.export import add_model
    from alphacut.training.export import export as write
    from alphacut.training.recipe import read_recipe

    settings = read_recipe(recipe)
    difference = write(settings, weights, output, to, share=share, fp16=fp16)
    click.echo(f"{output}: differs from PyTorch by {difference}", err=True)
    if name:
        entry = add_model(settings, output, name)
        click.echo(f"added {entry.name}: use it with --model {entry.name}", err=True)
