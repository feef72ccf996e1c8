"""The log of a run, and what it looks like: loss, error and learning rate."""

import csv
import io
import math
from pathlib import Path
from typing import TYPE_CHECKING

from alphacut import files
from alphacut.errors import MissingExtra, OutputError, TrainingError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOG, CURVES = "log.csv", "curves.png"
COLUMNS = ("step", "epoch", "loss", "rate", "norm", "MAD", "Grad", "RMSE", "IoU")
_SMOOTHING = 0.9  # of the losses, since every step has other pictures
_PANELS = ("loss", "RMSE", "rate")


def new_figure(width: float = 6, height: float = 4) -> "Figure":
    """Return an empty figure of a size in inches, without a window.

    Raises:
        MissingExtra: if Matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("matplotlib", "train") from error
    return Figure(figsize=(width, height), layout="constrained")


def read_log(out: Path) -> dict[str, list[float]]:
    """Return the columns of a run's log; NaN where a step has no such figure.

    Raises:
        TrainingError: if the folder has no log, or an empty one.
    """
    try:
        with (out / LOG).open(newline="", encoding="utf-8") as file:
            rows = [*csv.DictReader(file)]
        columns = {name: [float(row[name] or "nan") for row in rows] for name in COLUMNS}
    except (OSError, ValueError, KeyError, UnicodeDecodeError) as error:
        raise TrainingError(f"{out / LOG}: is no log of a run: {error}") from error
    if not rows:
        raise TrainingError(f"{out / LOG}: has no step yet")
    return columns


def draw(log: dict[str, list[float]]) -> "Figure":
    """Draw loss, RMSE of the held-out pictures and learning rate over the epochs, or the steps.

    Args:
        log: Of `read_log`.

    Raises:
        MissingExtra: if Matplotlib is not installed.
    """
    figure = new_figure(7, 7)
    unit = "step" if math.isnan(log["epoch"][-1]) else "epoch"
    for axes, name in zip(figure.subplots(len(_PANELS), sharex=True), _PANELS, strict=True):
        points = [(x, y) for x, y in zip(log[unit], log[name], strict=True) if not math.isnan(y)]
        if name == "loss":
            axes.plot(*zip(*points, strict=True), linewidth=0.8, alpha=0.4)
            points = _smooth(points)
        if points:
            axes.plot(*zip(*points, strict=True), marker="." if len(points) < 60 else "")
        axes.set_ylabel({"RMSE": "RMSE, held out", "rate": "learning rate"}.get(name, name))
        axes.grid(alpha=0.3)
    axes.set_xlabel(unit)
    return figure


def save(out: Path, target: Path | None = None) -> Path:
    """Draw a run's log into a file, whole or not at all; return its path.

    Args:
        out: Folder of the run.
        target: The file, in a format that Matplotlib writes; `curves.png` of the run by default.

    Raises:
        TrainingError: if the folder has no log, or an empty one.
        MissingExtra: if Matplotlib is not installed.
        OutputError: if the file cannot be written.
    """
    path = target or out / CURVES
    write(draw(read_log(out)), path)
    return path


def write(figure: "Figure", path: Path) -> None:
    """Write a figure, whole or not at all, in the format of the file's extension.

    Raises:
        OutputError: if the file cannot be written, or there is no such format.
    """
    data = io.BytesIO()
    try:
        figure.savefig(data, format=path.suffix[1:])
    except ValueError as error:
        raise OutputError(f"{path}: cannot be written: {error}") from error
    files.write(path, [data.getvalue()])


def _smooth(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Take the moving mean; of the first ones, too, nothing but them counts."""
    mean, smooth = 0.0, []
    for n, (x, y) in enumerate(points, start=1):
        mean = _SMOOTHING * mean + (1 - _SMOOTHING) * y
        smooth.append((x, mean / (1 - _SMOOTHING**n)))
    return smooth
