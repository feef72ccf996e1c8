"""Measure steadiness on clips whose alpha is known."""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from alphacut.errors import ImageError
from alphacut.evaluation import metrics
from alphacut.evaluation.quality import Sample, find_samples
from alphacut.pipeline.load import load_image
from alphacut.remover import Remover
from alphacut.video.cut import cut_frames

# name: (what it means, decimals); the order is the table's
COLUMNS = {
    "MAD": ("mean absolute difference of alpha x 1000, lower is better", 2),
    "Grad": ("gradient error / 1000, sigma 1.4, lower is better", 2),
    "dtSSD": ("change of the error from frame to frame x 100, lower is steadier", 2),
    "MESSDdt": ("the same along the motion, in the soft band, x 1000, lower is steadier", 2),
    "dtSSD colours": ("dtSSD of colours times alpha in the soft band, if foreground/ is there", 2),
}


@dataclass(frozen=True)
class ClipScore:
    """The figures of one steadiness on one clip."""

    steadiness: float
    clip: str
    values: dict[str, float]


def find_clips(folder: Path) -> list[tuple[str, list[Sample]]]:
    """List the clips of a folder: image/, alpha/, perhaps foreground/, with numbered files.

    Raises:
        ImageError: if there are none, or one is not complete.
    """
    clips = [(path.name, find_samples(path)) for path in sorted(folder.iterdir())
             if (path / "image").is_dir()]  # fmt: skip
    if not clips:
        raise ImageError(f"{folder}: no clips: each is a folder with image/ and alpha/")
    return clips


def evaluate_clips(
    clips: Sequence[tuple[str, Sequence[Sample]]],
    remover: Remover,
    steadinesses: Sequence[float],
    *,
    threads: int | None = None,
) -> Iterator[ClipScore]:
    """Cut out clips with some steadinesses, and compare with the truth.

    Args:
        clips: From `find_clips`.
        remover: What cuts them out.
        steadinesses: See `cut_frames`.
        threads: Frames at a time.

    Yields:
        One score for each clip and steadiness.

    Raises:
        ImageError: if a picture cannot be read, or sizes differ.
    """
    for name, samples in clips:
        images = [load_image(sample.image, keep_depth=False) for sample in samples]
        true = [np.asarray(load_image(sample.alpha, keep_depth=False)[..., 0] / 255, np.float32)
                for sample in samples]  # fmt: skip
        colours = [load_image(sample.foreground, keep_depth=False) for sample in samples
                   if sample.foreground]  # fmt: skip
        for steadiness in steadinesses:
            cutouts = cut_frames(images, steadiness=steadiness, remover=remover, threads=threads)
            seen = [(cutout.foreground, cutout.alpha) for cutout in cutouts]
            pred = [alpha for _, alpha in seen]
            pairs = list(zip(pred, true, strict=True))
            values = {
                "MAD": 1000 * statistics.fmean(metrics.mad(p, t) for p, t in pairs),
                "Grad": statistics.fmean(metrics.grad(p, t) for p, t in pairs),
                "dtSSD": metrics.dtssd(pred, true),
                "MESSDdt": metrics.messddt(pred, true),
            }  # fmt: skip
            if len(colours) == len(true):
                known = list(zip(colours, true, strict=True))
                values["dtSSD colours"] = metrics.dtssd_colours(seen, known)
            yield ClipScore(steadiness, name, values)
