"""The learning-rate range test: how large a rate may be before the loss stops falling."""

import itertools
import math
from pathlib import Path
from typing import TYPE_CHECKING

from alphacut.errors import TrainingError
from alphacut.training.curves import new_figure
from alphacut.training.data import Batches, Pictures
from alphacut.training.network import (
    find_gradients,
    memory_format,
    precision,
    prepare,
    start_network,
)
from alphacut.training.recipe import Recipe
from alphacut.training.train import choose_device, load_batches, to_device

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SMOOTHING = 0.9  # of the losses, since every step has other pictures
_DIVERGED = 4.0  # times the least loss


def find_rates(
    recipe: Recipe,
    data: Path,
    *,
    least: float = 1e-7,
    largest: float = 1.0,
    steps: int = 100,
    device: str = "auto",
) -> list[tuple[float, float]]:
    """Train with a rate that grows by one factor with each step (Smith 2017, arXiv 1506.01186).

    Args:
        recipe: The recipe; its schedule is not used, pictures without a truth are left out, and
            nothing is kept.
        data: The folder that the recipe's paths are below.
        least: The first rate.
        largest: The last.
        steps: How many there are; fewer if the loss grows beyond bounds.
        device: "auto", "cpu" or "cuda".

    Returns:
        Rate and smoothed loss of each step.

    Raises:
        TrainingError: if the first loss is not a number.
    """
    chosen = choose_device(device)
    known = tuple(source for source in recipe.source if source.kind != "unlabelled")
    pictures = Pictures(recipe, known, data)
    model, optimizer = prepare(start_network(recipe), recipe, chosen)
    amp, scaler = precision(recipe, chosen)
    layout = memory_format(recipe, chosen)
    model.train()
    curve: list[tuple[float, float]] = []
    mean, lowest = 0.0, math.inf
    for step, batch in enumerate(
        load_batches(pictures, Batches(0, steps, recipe.batch), 0, chosen)
    ):
        rate = least * (largest / least) ** (step / max(steps - 1, 1))
        for group in optimizer.param_groups:
            group["lr"] = rate
        batch = to_device(batch, chosen, layout)
        loss, _ = find_gradients(model, batch, recipe.loss, optimizer, amp, scaler)
        scaler.step(optimizer)
        scaler.update()
        mean = _SMOOTHING * mean + (1 - _SMOOTHING) * loss.item()
        smooth = mean / (1 - _SMOOTHING ** (step + 1))
        lowest = min(lowest, smooth)
        if not smooth <= _DIVERGED * lowest:  # also where it is not a number
            break
        curve.append((rate, smooth))
    if not curve:
        raise TrainingError("the loss of the first step is no number: look at the pictures")
    return curve


def suggest_rate(curve: list[tuple[float, float]]) -> float:
    """Return the rate where the loss falls most steeply over the logarithm of the rate.

    Raises:
        TrainingError: if it never falls.
    """
    falls = [(b[1] - a[1], math.sqrt(a[0] * b[0])) for a, b in itertools.pairwise(curve)]
    if not falls or min(falls)[0] >= 0:
        raise TrainingError("the loss falls at none of these rates: begin with a lower --least")
    return min(falls)[1]


def draw_rates(curve: list[tuple[float, float]]) -> "Figure":
    """Draw loss over rate, as a Matplotlib figure.

    Raises:
        MissingExtra: if Matplotlib is not installed.
    """
    figure = new_figure()
    axes = figure.add_subplot()
    rates, values = zip(*curve, strict=True)
    axes.semilogx(rates, values)
    axes.set_xlabel("learning rate")
    axes.set_ylabel("loss, smoothed")
    return figure
