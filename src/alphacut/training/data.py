"""Pictures with their alpha to train on: read from data sets, or composed on the fly.

Picture `index` depends on the seed and the index alone, so any number of workers and processes,
and a run that is continued, see the same pictures.
"""

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from alphacut import transforms, weights
from alphacut.errors import TrainingError
from alphacut.foreground import estimate_foreground
from alphacut.image import INPUT_SUFFIXES, load_frames, load_image
from alphacut.training import augment
from alphacut.training.recipe import Recipe, Source

Pixels = NDArray[np.uint8]
Array = NDArray[np.float32]
Chance = np.random.Generator

# layout: part: folder of photographs, folder of alphas, below the folder of the data set. The
# first pair that is there counts: EasyPortrait's archives of v1 and v2 unpack in different ways. A
# pair that serves several parts is divided among them.


def _easyportrait(*words: str) -> tuple[tuple[str, str], ...]:
    kinds_first = tuple((f"images/{word}", f"annotations/{word}") for word in words)
    parts_first = tuple((f"{word}/images", f"{word}/annotations") for word in words)
    return kinds_first + parts_first


LAYOUTS: dict[str, dict[str, tuple[tuple[str, str], ...]]] = {
    "plain": {
        "train": (("train/image", "train/alpha"), ("image", "alpha")),
        "valid": (("valid/image", "valid/alpha"), ("image", "alpha")),
        "test": (("test/image", "test/alpha"), ("image", "alpha")),
    },
    "easyportrait": {
        "train": _easyportrait("train"),
        "valid": _easyportrait("val", "valid"),
        "test": _easyportrait("test"),
    },
    "p3m": {
        "train": (("train/blurred_image", "train/mask"),),
        "valid": (
            ("validation/P3M-500-NP/original_image", "validation/P3M-500-NP/mask"),
            ("validation/P3M-500-P/blurred_image", "validation/P3M-500-P/mask"),
        ),
    },
    "am2k": {
        "train": (("train/original", "train/mask"),),
        "valid": (("validation/original", "validation/mask"),),
    },
    "dis5k": {
        "train": (("DIS-TR/im", "DIS-TR/gt"),),
        "valid": (("DIS-VD/im", "DIS-VD/gt"),),
        "test": (("DIS-TE1/im", "DIS-TE1/gt"),),
    },
    "duts": {
        "train": (("DUTS-TR/DUTS-TR-Image", "DUTS-TR/DUTS-TR-Mask"),),
        "test": (("DUTS-TE/DUTS-TE-Image", "DUTS-TE/DUTS-TE-Mask"),),
    },
}
# Masks of classes: everything but class 0 is the person
_CLASSES = frozenset({"easyportrait"})
HELD_OUT = 5  # of what has no parts, every fifth by name is kept for `part = "valid"`


@dataclass(frozen=True)
class Sample:
    """A picture with what is known about it.

    Attributes:
        image: (H, W, 3) uint8.
        alpha: (H, W) float32 in [0, 1]; without meaning where `known` is false.
        contrast: (H, W, 3) float32, foreground minus background in [-1, 1]; 0 where unknown.
        counted: (H, W) float32, 1 where the loss looks, 0 elsewhere.
        known: Whether alpha is the truth.
    """

    image: Pixels
    alpha: Array
    contrast: Array
    counted: Array
    known: bool = True


class Pictures:
    """All pictures of a recipe, by number; PyTorch's DataLoader reads it.

    Args:
        recipe: The recipe.
        sources: Its `source` or its `valid`.
        root: Folder of the data.

    Raises:
        TrainingError: if a folder is missing or empty, or files do not belong together.
        UnknownName: if there is no such model.
    """

    def __init__(self, recipe: Recipe, sources: Sequence[Source], root: Path) -> None:
        self._recipe, self._sources = recipe, tuple(sources)
        self._spec = weights.find_model(recipe.model)
        self._files = [_find(source, root) for source in sources]
        self._odds = np.array([source.share for source in sources])

    def sample(self, index: int) -> Sample:
        """Picture `index`, as it is before it comes to the batch's size."""
        chance = np.random.default_rng((self._recipe.seed, index))
        which = int(chance.choice(len(self._sources), p=self._odds / self._odds.sum()))
        source, files = self._sources[which], self._files[which]
        if source.kind == "pairs":
            order = index if len(self._sources) == 1 else int(chance.integers(1 << 30))
            sample = _pair(source, files.pick(self._recipe.seed, order))
            if source.augment == "portrait":
                image, alpha = augment.portrait(sample.image, sample.alpha, chance)
                sample = _plain(image, alpha, source.ignore_px)
        elif source.kind == "composites":
            sample = _compose(source, files, max(self._recipe.size), chance)
        elif source.kind == "empty":
            image = _nothing(source, files, max(self._recipe.size), chance)
            sample = _plain(image, np.zeros(image.shape[:2], np.float32))
        else:
            image = _background(files, _canvas(source, max(self._recipe.size), chance), chance)
            sample = replace(_plain(image, np.zeros(image.shape[:2], np.float32)), known=False)
        if source.augment == "photo":
            sample = replace(sample, image=augment.photo(sample.image, chance))
        return sample

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Picture `index` as arrays of a batch.

        Returns:
            "image" (C, h, w) normalised, with the trimap as fourth channel where the network
            needs one; "alpha" and "counted" (1, h, w); "contrast" (3, h, w); "known", a bool.
        """
        recipe, sample = self._recipe, self.sample(index)
        # a step's pictures have one size, so it depends on the step
        step = np.random.default_rng((recipe.seed, 1, index // recipe.batch))
        side = int(step.choice(recipe.size))
        if recipe.crop:
            sample = _crop(sample, recipe.crop, np.random.default_rng((recipe.seed, 2, index)))
        image = _resize(sample.image, side, recipe.resize)
        alpha = np.clip(_resize(sample.alpha, side, recipe.resize), 0, 1)
        counted = (_resize(sample.counted, side, "area") > 0.999).astype(np.float32)
        spec = replace(self._spec, input_size=(side, side))
        batch = transforms.preprocess(image, spec)[0]
        if spec.output == "alpha":
            chance = np.random.default_rng((recipe.seed, 3, index))
            trimap = make_training_trimap(
                alpha, int(chance.integers(*recipe.unknown_px, endpoint=True))
            )
            counted = counted * (trimap == 0.5)
            levels = np.where(trimap == 0.5, np.float32(128 / 255), trimap)  # as the authors do
            batch = np.concatenate([batch, levels[np.newaxis]])
        contrast = _resize(sample.contrast, side, "area")
        return {
            "image": batch.astype(np.float32),
            "alpha": alpha[np.newaxis],
            "contrast": np.ascontiguousarray(contrast.transpose(2, 0, 1)),
            "counted": counted[np.newaxis],
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


# --- files ---


@dataclass(frozen=True)
class _Files:
    subjects: tuple[tuple[Path, Path | None], ...]  # picture, and alpha where it is another file
    backgrounds: tuple[Path, ...] = ()
    classes: bool = False

    def pick(self, seed: int, order: int) -> "tuple[Path, Path, bool]":
        """Subject number `order`: all of them once, then all in another order."""
        count = len(self.subjects)
        image, alpha = self.subjects[int(_shuffled(seed, order // count, count)[order % count])]
        assert alpha is not None
        return image, alpha, self.classes


@functools.lru_cache(maxsize=4)
def _shuffled(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    return np.random.default_rng((seed, 4, epoch)).permutation(count)


def _find(source: Source, root: Path) -> _Files:
    subjects: list[tuple[Path, Path | None]] = []
    if source.kind == "pairs" or (source.kind == "composites" and source.layout):
        subjects = [*_pairs(source, root)]
    elif source.kind == "composites":
        subjects = [(path, None) for path in _part(root / source.cutouts, source.part)]
    backgrounds: list[Path] = []
    if source.kind != "pairs":
        backgrounds = [
            path
            for path in _part(root / source.backgrounds, source.part)
            if not source.only or any(fnmatch(path.name, pattern) for pattern in source.only)
        ]
        if not backgrounds:
            raise TrainingError(f"{root / source.backgrounds}: no background is like `only`")
    return _Files(tuple(subjects), tuple(backgrounds), source.layout in _CLASSES)


def _part(folder: Path, part: str) -> list[Path]:
    """List pictures of a folder: what is held out, or the rest."""
    found = [
        path
        for n, path in enumerate(_pictures(folder))
        if (n % HELD_OUT == HELD_OUT - 1) == (part != "train")
    ]
    if not found:
        raise TrainingError(f"{folder}: needs {HELD_OUT} pictures, since every fifth is held out")
    return found


def _pictures(folder: Path) -> list[Path]:
    found = sorted(path for path in folder.glob("*") if path.suffix.lower() in INPUT_SUFFIXES)
    if not found:
        raise TrainingError(f"{folder}: there are no pictures: choose another --data")
    return found


def _pairs(source: Source, root: Path) -> Iterator[tuple[Path, Path]]:
    if source.layout not in LAYOUTS:
        raise TrainingError(f"layout {source.layout!r}: choose one of {', '.join(LAYOUTS)}")
    parts = LAYOUTS[source.layout]
    candidates = parts.get(source.part, ())
    base = root / source.folder
    for images, alphas in candidates:
        if (base / images).is_dir() and (base / alphas).is_dir():
            break
    else:
        wanted = " or ".join(f"{images} with {alphas}" for images, alphas in candidates)
        raise TrainingError(f"{base}: has no {wanted or source.part + ' part'}")
    truths = {path.stem: path for path in (base / alphas).glob("*.*")}
    divided = sum((images, alphas) in pairs for pairs in parts.values()) == 1
    found = _pictures(base / images) if divided else _part(base / images, source.part)
    for image in found:
        if image.stem not in truths:
            raise TrainingError(f"{base / alphas}: has no alpha for {image.name}")
        yield image, truths[image.stem]


@functools.lru_cache(maxsize=64)
def _photograph(path: Path) -> Pixels:
    return np.asarray(load_image(path), np.uint8)


def _alpha(path: Path, classes: bool) -> Array:
    levels = np.asarray(cv2.imread(str(path), cv2.IMREAD_UNCHANGED))
    if levels.ndim != 2:
        levels = load_image(path)[..., 0]
    if classes:
        return (levels > 0).astype(np.float32)
    return np.asarray(levels / np.float32(np.iinfo(levels.dtype).max), np.float32)


@functools.lru_cache(maxsize=256)
def _subject(image: Path, alpha: Path | None, classes: bool) -> Array:
    """A subject as premultiplied colours and alpha, (H, W, 4) float32 in [0, 1].

    An RGBA file holds straight colours. A photograph holds mixtures with its own background at
    soft edges, so there the subject's colours are estimated: the halo would be learnt.
    """
    if alpha is None:
        picture = next(iter(load_frames(image)))
        if picture.alpha is None:
            raise TrainingError(f"{image}: is no cut-out: it has no transparency")
        colours = picture.image
        matte = np.asarray(picture.alpha / np.float32(255), np.float32)
    else:
        colours, matte = _photograph(image), _alpha(alpha, classes)
        _check(colours, matte, alpha)
        colours = estimate_foreground(colours, matte)
    top, left, bottom, right = _box(matte)
    straight = colours[top:bottom, left:right] / np.float32(255)
    matte = matte[top:bottom, left:right, np.newaxis]
    return np.concatenate([straight * matte, matte], axis=2)


def _box(alpha: Array) -> tuple[int, int, int, int]:
    x, y, width, height = cv2.boundingRect((alpha > 0.02).astype(np.uint8))
    return (y, x, y + height, x + width) if width else (0, 0, *alpha.shape)


def _check(image: Pixels, alpha: Array, path: Path) -> None:
    if alpha.shape != image.shape[:2]:
        raise TrainingError(f"{path}: is {alpha.shape}, but its picture {image.shape[:2]}")


# --- pictures ---


def _plain(image: Pixels, alpha: Array, ignore_px: int = 0) -> Sample:
    counted = np.ones(alpha.shape, np.float32)
    if ignore_px:
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * ignore_px + 1,) * 2)
        counted -= cv2.morphologyEx((alpha > 0.5).astype(np.uint8), cv2.MORPH_GRADIENT, kernel)
    return Sample(image, alpha, np.zeros(image.shape, np.float32), counted)


def _pair(source: Source, files: tuple[Path, Path, bool]) -> Sample:
    image, alpha = np.asarray(load_image(files[0]), np.uint8), _alpha(files[1], files[2])
    _check(image, alpha, files[1])
    return _plain(image, alpha, source.ignore_px)


def _canvas(source: Source, side_px: int, chance: Chance) -> tuple[int, int]:
    """(H, W) of a canvas, of the shapes that photographs have."""
    area = (side_px * chance.uniform(*source.canvas)) ** 2
    aspect = math.exp(chance.uniform(-0.55, 0.55))
    return round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))


def _background(files: _Files, size: tuple[int, int], chance: Chance) -> Pixels:
    """A part of a photograph at a size, perhaps mirrored."""
    photograph = _photograph(files.backgrounds[int(chance.integers(len(files.backgrounds)))])
    H, W = photograph.shape[:2]
    most = min(H / size[0], W / size[1])
    scale = most * chance.uniform(0.5, 1.0)
    h, w = min(H, round(size[0] * scale)), min(W, round(size[1] * scale))
    top, left = int(chance.integers(H - h + 1)), int(chance.integers(W - w + 1))
    part = photograph[top : top + h, left : left + w]
    if chance.random() < 0.5:
        part = part[:, ::-1]
    method = cv2.INTER_AREA if scale > 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(part, size[::-1], interpolation=method), np.uint8)


def _nothing(source: Source, files: _Files, side_px: int, chance: Chance) -> Pixels:
    """A picture without a subject: a background, an even or shaded colour, or noise."""
    size, kind = _canvas(source, side_px, chance), chance.random()
    if kind < 0.6:
        image = _background(files, size, chance)
        if chance.random() < 0.3:
            image = np.asarray(cv2.GaussianBlur(image, (0, 0), chance.uniform(2, 12)), np.uint8)
        return image
    corners = chance.uniform(0, 255, (2, 2, 3)).astype(np.float32)
    if kind < 0.75:
        corners[:] = corners[0, 0]
    shades = cv2.resize(corners, size[::-1], interpolation=cv2.INTER_LINEAR)
    deviation = chance.uniform(0, 60) if kind > 0.9 else chance.uniform(0, 4)
    noise = chance.standard_normal(shades.shape, np.float32) * deviation
    return np.asarray(np.clip(np.rint(shades + noise), 0, 255), np.uint8)


def _compose(source: Source, files: _Files, side_px: int, chance: Chance) -> Sample:
    """Subjects on a background that shares their sharpness and, roughly, their light."""
    size = _canvas(source, side_px, chance)
    background = np.asarray(_background(files, size, chance) / 255, np.float32)
    odds = np.array(source.subjects)
    count = 1 + int(chance.choice(len(odds), p=odds / odds.sum()))
    layers = []
    softness = 0.0
    for _ in range(count):
        paths = files.subjects[int(chance.integers(len(files.subjects)))]
        subject = _subject(*paths, files.classes)
        layer, enlarged = _place(subject, size, source, count, chance)
        layers.append(_relight(layer, background, chance))
        softness = max(softness, enlarged)
    if chance.random() < 0.7:  # enlarged subjects are soft, and sharpness should not give them away
        sigma = 0.4 * min(softness, 3.0) * chance.uniform(0, 1.5)
        if sigma > 0.2:
            background = np.asarray(cv2.GaussianBlur(background, (0, 0), sigma), np.float32)
    whole = np.zeros((*size, 4), np.float32)
    for layer in layers:
        whole = layer + (1 - layer[..., 3:]) * whole
    alpha = whole[..., 3]
    image = whole[..., :3] + (1 - alpha[..., np.newaxis]) * background
    foreground = whole[..., :3] / np.maximum(alpha, 1e-3)[..., np.newaxis]
    contrast = np.where(alpha[..., np.newaxis] > 0, np.clip(foreground, 0, 1) - background, 0)
    pixels = np.clip(np.rint(image * 255), 0, 255).astype(np.uint8)
    return Sample(pixels, alpha, contrast.astype(np.float32), np.ones(size, np.float32))


def _place(
    subject: Array, size: tuple[int, int], source: Source, count: int, chance: Chance
) -> tuple[Array, float]:
    """Scale, turn, mirror and move a subject on an empty canvas; also, how much it is enlarged."""
    h, w = subject.shape[:2]
    low, high = source.coverage
    share = chance.uniform(low, high) / math.sqrt(count)
    scale = share * min(max(size) / max(h, w), 1.15 * size[0] / h, 1.15 * size[1] / w)
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    fitted = (max(2, round(w * scale)), max(2, round(h * scale)))
    subject = np.asarray(cv2.resize(subject, fitted, interpolation=method), np.float32)
    matte = np.clip(subject[..., 3:], 0, 1)  # cubic overshoots, in colours by the same factor
    colours = np.clip(subject[..., :3] / np.maximum(subject[..., 3:], 1e-3), 0, 1)
    subject = np.concatenate([colours * matte, matte], axis=2)
    if chance.random() < 0.5:
        subject = subject[:, ::-1]
    h, w = subject.shape[:2]
    angle = chance.normal(0, 12) if chance.random() < 0.5 else 0.0
    free_y, free_x = max(0, size[0] - h), max(0, size[1] - w)
    beyond = 0.3 if chance.random() < 0.25 else 0.05  # parts of some subjects are cut off
    y = chance.uniform(-beyond * h, free_y + beyond * h) if free_y else (size[0] - h) / 2
    x = chance.uniform(-beyond * w, free_x + beyond * w) if free_x else (size[1] - w) / 2
    matrix = cv2.getRotationMatrix2D((w / 2, h / 2), angle, 1.0)
    matrix[:, 2] += (round(x), round(y))
    moved = cv2.warpAffine(
        np.ascontiguousarray(subject), matrix, size[::-1], flags=cv2.INTER_LINEAR
    )
    moved[..., :3] = np.minimum(moved[..., :3], moved[..., 3:])
    return np.asarray(moved, np.float32), scale


def _relight(layer: Array, background: Array, chance: Chance) -> Array:
    """Vary a subject's light and saturation, at times towards the background's."""
    colours, alpha = layer[..., :3], layer[..., 3:]
    weight = max(float(alpha.sum()), 1.0)
    own = max(float(colours.sum()) / weight / 3, 0.05)
    gain = chance.uniform(0.8, 1.2)
    if chance.random() < 0.5:
        gain *= float(np.clip((float(background.mean()) / own) ** 0.3, 0.75, 1.3))
    grey = colours.mean(axis=2, keepdims=True)
    colours = grey + (colours - grey) * chance.uniform(0.7, 1.2)
    tint = 1 + chance.uniform(-0.05, 0.05, 3)
    colours = np.clip(colours * (gain * tint), 0, alpha)
    return np.concatenate([colours, alpha], axis=2).astype(np.float32)


def _crop(sample: Sample, sides: Sequence[int], chance: Chance) -> Sample:
    """A square window around a soft pixel, if there is one."""
    H, W = sample.alpha.shape
    side = min(int(chance.choice(sides)), H, W)
    soft = np.argwhere((sample.alpha > 0.01) & (sample.alpha < 0.99))
    y, x = soft[int(chance.integers(len(soft)))] if len(soft) else (H // 2, W // 2)
    top = int(np.clip(y - side // 2, 0, H - side))
    left = int(np.clip(x - side // 2, 0, W - side))
    window = np.s_[top : top + side, left : left + side]
    return replace(
        sample,
        image=np.ascontiguousarray(sample.image[window]),
        alpha=sample.alpha[window],
        contrast=sample.contrast[window],
        counted=sample.counted[window],
    )


def _resize(plane: Any, side: int, method: str) -> Any:
    """Bring (H, W) or (H, W, 3) to a square; Lanczos is Pillow's, which smooths as it shrinks."""
    if plane.shape[:2] == (side, side):
        return plane
    if method == "lanczos":
        import PIL.Image

        lanczos = PIL.Image.Resampling.LANCZOS
        if plane.dtype == np.float32:  # the recipe resizes masks of 8 bits
            plane = np.rint(plane * 255).astype(np.uint8)
            grey = np.asarray(PIL.Image.fromarray(plane).resize((side, side), lanczos))
            return grey / np.float32(255)
        return np.asarray(PIL.Image.fromarray(plane).resize((side, side), lanczos))
    larger = side > min(plane.shape[:2])
    how = cv2.INTER_LINEAR if larger else cv2.INTER_AREA
    return cv2.resize(plane, (side, side), interpolation=how)
