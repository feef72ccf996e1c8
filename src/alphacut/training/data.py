"""Pictures with their alpha to train on: read from data sets, or composed on the fly.

Picture `index` depends on the seed and the index alone, so any number of workers and processes,
and a run that is continued, see the same pictures.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image

from alphacut.errors import TrainingError
from alphacut.pipeline import transforms
from alphacut.training import augment, composites
from alphacut.training.composites import Sample
from alphacut.training.datasets import Files, find
from alphacut.training.recipe import Recipe, Source, find_entry
from alphacut.training.steps import Array, Pixels, Rng


class Pictures:
    """All pictures of a recipe, by number; PyTorch's DataLoader reads it.

    Args:
        recipe: The recipe.
        sources: Its `source` or its `valid`.
        root: Folder of the data.

    Raises:
        TrainingError: if a folder is missing or empty, files do not belong together, or the model
            cannot be trained.
        UnknownName: if there is no such model.
    """

    def __init__(self, recipe: Recipe, sources: Sequence[Source], root: Path) -> None:
        self._recipe, self._sources = recipe, tuple(sources)
        # training divides by white, whatever the entry's own weights expect; export says so
        self._spec = replace(find_entry(recipe), divisor="white")
        self._files = [find(source, root, recipe.decoded_px) for source in sources]
        self._odds = np.array([source.share for source in sources])

    @property
    def photographs(self) -> int | None:
        """How many there are, each of which is seen before one is seen again; None for others."""
        if any(source.kind not in ("pairs", "taught") for source in self._sources):
            return None
        return sum(len(files.subjects) for files in self._files)

    def sample(self, index: int) -> Sample:
        """Picture `index`, as it is before it comes to the batch's size."""
        rng = np.random.default_rng((self._recipe.seed, index))
        which = int(rng.choice(len(self._sources), p=self._odds / self._odds.sum()))
        source, files = self._sources[which], self._files[which]
        if source.kind in ("pairs", "taught"):
            order = index if len(self._sources) == 1 else int(rng.integers(1 << 30))
            sample = self._photograph(source, files, order, rng)
        elif source.kind == "composites":
            sample = composites.compose(source, files, max(self._recipe.size), rng)
        elif source.kind == "empty":
            image = composites.draw_nothing(source, files, max(self._recipe.size), rng)
            sample = _plain(image, np.zeros(image.shape[:2], np.float32))
        else:
            canvas = composites.choose_canvas(source, max(self._recipe.size), rng)
            image = composites.cut_background(files, canvas, rng)
            sample = replace(_plain(image, np.zeros(image.shape[:2], np.float32)), known=False)
        if source.augment == "photo":
            sample = replace(sample, image=augment.photo(sample.image, rng))
        return sample

    def _photograph(self, source: Source, files: Files, order: int, rng: Rng) -> Sample:
        """Photograph `order` with its alpha, or the next one whose teachers agree on anything."""
        for n in range(order, order + 2 * len(files.subjects)):
            planes = files.pair(files.pick(self._recipe.seed, n))
            if planes[2].any():
                break
        else:
            raise TrainingError(f"{source.folder}: the teachers agree on no picture")
        for one_of in source.one_of:
            planes = one_of(planes, rng)
        if source.augment == "photo":
            planes = augment.frame(planes, rng)
        image, alpha, loss_weight = planes
        sample = _plain(image, alpha, source.ignore_px)
        return replace(sample, loss_weight=sample.loss_weight * loss_weight)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Picture `index` as arrays of a batch.

        Returns:
            "image" (C, h, w) normalised, with the trimap as fourth channel where the network
            needs one; "alpha" and "loss_weight" (1, h, w); "contrast" (3, h, w); "known", a bool.
        """
        recipe, sample = self._recipe, self.sample(index)
        # a step's pictures have one size, so it depends on the step
        step = np.random.default_rng((recipe.seed, 1, index // recipe.batch))
        side = int(step.choice(recipe.size))
        if recipe.crop:
            sample = _crop(sample, recipe.crop, np.random.default_rng((recipe.seed, 2, index)))
        image = _resize(sample.image, side, recipe.resize)
        alpha = np.clip(_resize(sample.alpha, side, recipe.resize), 0, 1)
        loss_weight = np.asarray(_resize(sample.loss_weight, side, "area"), np.float32)
        spec = replace(self._spec, input_size=(side, side))
        batch = transforms.preprocess(image, spec)[0]
        if spec.output == "alpha":
            rng = np.random.default_rng((recipe.seed, 3, index))
            trimap = make_training_trimap(
                alpha, int(rng.integers(*recipe.unknown_px, endpoint=True))
            )
            loss_weight = (loss_weight > 0.999) * (trimap == 0.5).astype(np.float32)
            levels = np.where(trimap == 0.5, np.float32(128 / 255), trimap)  # as the authors do
            batch = np.concatenate([batch, levels[np.newaxis]])
        contrast = _resize(sample.contrast, side, "area")
        return {
            "image": batch.astype(np.float32),
            "alpha": alpha[np.newaxis],
            "contrast": np.ascontiguousarray(contrast.transpose(2, 0, 1)),
            "loss_weight": loss_weight[np.newaxis],
            "known": sample.known,
        }

    def __len__(self) -> int:
        """Numbers go on without end; PyTorch asks all the same."""
        return 1 << 40


class Batches:
    """Numbers of the pictures of each step, for one of several processes.

    Args:
        first: The step to begin with.
        last: The step to end before.
        batch: Pictures of a step, over all processes.
        rank: Which process this is.
        processes: How many there are.
    """

    def __init__(
        self, first: int, last: int, batch: int, rank: int = 0, processes: int = 1
    ) -> None:
        self._steps, self._batch = range(first, last), batch
        self._rank, self._processes = rank, processes

    def __iter__(self) -> Iterator[list[int]]:
        """One list a step."""
        for step in self._steps:
            numbers = range(step * self._batch, (step + 1) * self._batch)
            yield list(numbers[self._rank :: self._processes])

    def __len__(self) -> int:
        """Count the steps."""
        return len(self._steps)


def make_training_trimap(alpha: Array, reach_px: int) -> Array:
    """Trimap of a true alpha: unknown within a distance of soft pixels, as for IndexNet.

    Args:
        alpha: (H, W) float32 in [0, 1].
        reach_px: Euclidean distance.

    Returns:
        (H, W) float32 in {0, 0.5, 1}.
    """
    levels = np.rint(alpha * 255)
    soft = (levels > 0) & (levels < 255)
    inside = (alpha > 0.5).astype(np.float32)
    change = cv2.morphologyEx(inside, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    certain = (~(soft | change)).astype(np.uint8)
    near = cv2.distanceTransform(certain, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) <= reach_px
    return np.where(near, np.float32(0.5), inside)


def _plain(image: Pixels, alpha: Array, ignore_px: int = 0) -> Sample:
    loss_weight = np.ones(alpha.shape, np.float32)
    if ignore_px:
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * ignore_px + 1,) * 2)
        loss_weight -= cv2.morphologyEx((alpha > 0.5).astype(np.uint8), cv2.MORPH_GRADIENT, kernel)
    return Sample(image, alpha, np.zeros(image.shape, np.float32), loss_weight)


def _crop(sample: Sample, sides: Sequence[int], rng: Rng) -> Sample:
    """A square window around a soft pixel, if there is one."""
    H, W = sample.alpha.shape
    side = min(int(rng.choice(sides)), H, W)
    soft = np.argwhere((sample.alpha > 0.01) & (sample.alpha < 0.99))
    y, x = soft[int(rng.integers(len(soft)))] if len(soft) else (H // 2, W // 2)
    top = int(np.clip(y - side // 2, 0, H - side))
    left = int(np.clip(x - side // 2, 0, W - side))
    window = np.s_[top : top + side, left : left + side]
    return replace(
        sample,
        image=np.ascontiguousarray(sample.image[window]),
        alpha=sample.alpha[window],
        contrast=sample.contrast[window],
        loss_weight=sample.loss_weight[window],
    )


def _resize(plane: Any, side: int, method: str) -> Any:
    """Bring (H, W) or (H, W, 3) to a square; Lanczos is Pillow's, which smooths as it shrinks."""
    if plane.shape[:2] == (side, side):
        return plane
    if method == "lanczos":
        lanczos = PIL.Image.Resampling.LANCZOS
        if plane.dtype == np.float32:  # the recipe resizes masks of 8 bits
            plane = np.rint(plane * 255).astype(np.uint8)
            grey = np.asarray(PIL.Image.fromarray(plane).resize((side, side), lanczos))
            return grey / np.float32(255)
        return np.asarray(PIL.Image.fromarray(plane).resize((side, side), lanczos))
    larger = side > min(plane.shape[:2])
    how = cv2.INTER_LINEAR if larger else cv2.INTER_AREA
    return cv2.resize(plane, (side, side), interpolation=how)
