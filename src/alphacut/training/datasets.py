"""What lies on disk to train on: data sets in their layouts, cut-outs and backgrounds."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from alphacut.errors import TrainingError
from alphacut.pipeline.foreground import estimate_foreground
from alphacut.pipeline.load import INPUT_SUFFIXES, load_frames, load_image
from alphacut.training.augment import Array, Pixels
from alphacut.training.recipe import Source

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
class Files:
    """What a source has on disk: subjects, and the backgrounds they may stand on."""

    subjects: tuple[tuple[Path, Path | None], ...]  # picture, and alpha where it is another file
    backgrounds: tuple[Path, ...] = ()
    classes: bool = False

    def pick(self, seed: int, order: int) -> tuple[Path, Path, bool]:
        """Subject number `order`: all of them once, then all in another order."""
        count = len(self.subjects)
        image, alpha = self.subjects[int(_shuffled(seed, order // count, count)[order % count])]
        assert alpha is not None
        return image, alpha, self.classes


@functools.lru_cache(maxsize=4)
def _shuffled(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    return np.random.default_rng((seed, 4, epoch)).permutation(count)


def find(source: Source, root: Path) -> Files:
    """Find the files of a source, whose paths are below the folder of the data.

    Raises:
        TrainingError: if a folder is missing or has no pictures, or one of them has no alpha.
    """
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
    return Files(tuple(subjects), tuple(backgrounds), source.layout in _CLASSES)


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
def read_photograph(path: Path) -> Pixels:
    """Return a photograph, (H, W, 3) uint8; the last ones are kept."""
    return np.asarray(load_image(path, keep_depth=False), np.uint8)


def read_pair(image: Path, alpha: Path, classes: bool) -> tuple[Pixels, Array]:
    """Return a photograph, (H, W, 3) uint8, and its alpha, (H, W) float32 in [0, 1].

    Args:
        image: The photograph.
        alpha: Its alpha in 8 or 16 bits, or its mask of classes.
        classes: Whether it is a mask of classes; all but class 0 is the subject.

    Raises:
        TrainingError: if their sizes differ.
    """
    photograph = np.asarray(load_image(image, keep_depth=False), np.uint8)
    matte = _alpha(alpha, classes)
    if matte.shape != photograph.shape[:2]:
        raise TrainingError(f"{alpha}: is {matte.shape}, but its picture {photograph.shape[:2]}")
    return photograph, matte


@functools.lru_cache(maxsize=256)
def read_subject(image: Path, alpha: Path | None, classes: bool) -> Pixels:
    """Return a subject in straight colours with its alpha, (H, W, 4) uint8; the last ones are kept.

    An RGBA file holds straight colours. A photograph holds mixtures with its own background at
    soft edges, so there the subject's colours are estimated: the halo would be learnt.

    Args:
        image: The picture.
        alpha: Its alpha; None if the picture has it within.
        classes: Whether that is a mask of classes.

    Raises:
        TrainingError: if the picture has no alpha, or one of another size.
    """
    if alpha is None:
        picture = next(load_frames(image, keep_depth=False))
        if picture.alpha is None:
            raise TrainingError(f"{image}: is no cut-out: it has no transparency")
        colours, levels = picture.image, picture.alpha
    else:
        colours, matte = read_pair(image, alpha, classes)
        colours, levels = estimate_foreground(colours, matte), np.rint(matte * 255)
    x, y, width, height = cv2.boundingRect((levels > 5).astype(np.uint8))
    subject = np.dstack([colours, levels]).astype(np.uint8)
    return subject[y : y + height, x : x + width] if width else subject


def _alpha(path: Path, classes: bool) -> Array:
    levels = load_image(path)[..., 0]
    if classes:
        return (levels > 0).astype(np.float32)
    return np.asarray(levels / np.float32(np.iinfo(levels.dtype).max), np.float32)
