"""Learning rates over the steps of a run."""

from typing import Literal

from torch.optim import Optimizer
from torch.optim.lr_scheduler import (
    ConstantLR,
    CyclicLR,
    LRScheduler,
    MultiStepLR,
    OneCycleLR,
)

from alphacut.training.recipe import Rate

_MODES: dict[str, Literal["triangular", "triangular2", "exp_range"]] = {
    "triangular": "triangular",
    "triangular2": "triangular2",
    "exp-range": "exp_range",
}


def make_schedule(optimizer: Optimizer, rate: Rate, steps: int) -> LRScheduler:
    """Return the schedule of a recipe; it is stepped after every batch.

    One cycle is that of Smith and Topin as PyTorch has it: from peak / 25 up, then down to
    peak / 250,000, by cosines, while Adam's first beta goes from .95 to .85 and back.

    Args:
        optimizer: Its groups' rates are set at once.
        rate: The recipe's.
        steps: Steps of the whole run.
    """
    if rate.shape == "one-cycle":
        return OneCycleLR(optimizer, rate.peak, total_steps=steps, pct_start=rate.rise)
    if rate.shape in _MODES:
        return CyclicLR(
            optimizer, rate.least, rate.peak, step_size_up=rate.half_cycle,
            mode=_MODES[rate.shape], gamma=rate.gamma, cycle_momentum=False,
        )  # fmt: skip
    if rate.shape == "steps":
        return MultiStepLR(optimizer, [round(drop * steps) for drop in rate.drops], gamma=0.1)
    return ConstantLR(optimizer, factor=1.0, total_iters=0)
