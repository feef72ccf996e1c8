"""What lies on disk to train on: data sets in their layouts, cut-outs and backgrounds."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray

from alphacut.errors import ImageError, TrainingError
from alphacut.pipeline.decode import turn_upright
from alphacut.pipeline.foreground import estimate_foreground
from alphacut.pipeline.image import downscale_to
from alphacut.pipeline.load import INPUT_SUFFIXES, load_frames, load_image
from alphacut.pipeline.matting import estimate_alpha_closed_form
from alphacut.pipeline.trimap import make_trimap
from alphacut.training.decoded import Decoded
from alphacut.training.recipe import Source
from alphacut.training.steps import Array, Pixels
from alphacut.training.teachers import vote, weigh

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
_ORIENTATION = 0x0112  # EXIF's tag
_BACK = {6: 8, 8: 6}  # to how pixels are stored; the other orientations undo themselves
HELD_OUT = 5  # of what has no parts, every fifth by name is kept for `part = "valid"`


class Subject(NamedTuple):
    """A picture, and where its alpha is: nowhere else, in one file, or in those of teachers."""

    image: Path
    alphas: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Files:
    """What a source has on disk: subjects, and the backgrounds they may stand on.

    Attributes:
        subjects: Pictures with a subject.
        backgrounds: Photographs.
        classes: Whether alphas are masks of classes, all but class 0 being the subject.
        exif: The source's.
        doubt: Of the teachers behind the first; see `teachers.weigh`. Of all of them, they vote.
        decoded: Where decoded files are kept; None if they are read anew.
    """

    subjects: tuple[Subject, ...]
    backgrounds: tuple[Path, ...] = ()
    classes: bool = False
    exif: str = "unstated"
    doubt: tuple[float, ...] = ()
    decoded: Decoded | None = None

    def pick(self, seed: int, order: int) -> Subject:
        """Subject number `order`: all of them once, then all in another order."""
        count = len(self.subjects)
        return self.subjects[int(_shuffled(seed, order // count, count)[order % count])]

    def pair(self, subject: Subject) -> tuple[Pixels, Array, Array]:
        """A photograph (H, W, 3) uint8, its alpha and how much that counts, (H, W) float32."""
        facts = self.classes, self.exif, self.doubt
        decoded = self.decoded
        if decoded is None:
            return read_pair(subject, *facts)

        def read() -> Pixels:
            image, alpha, loss_weight = read_pair(subject, *facts)
            planes = np.rint(np.dstack([alpha, loss_weight]) * 255).astype(np.uint8)
            return np.dstack([downscale_to(each, decoded.longest_px) for each in (image, planes)])

        planes = decoded((subject.image, *subject.alphas), ("pair", *facts), read)
        soft = np.asarray(planes[..., 3:] / np.float32(255), np.float32)
        return np.ascontiguousarray(planes[..., :3]), soft[..., 0], soft[..., 1]

    def subject(self, subject: Subject) -> Pixels:
        """A subject in straight colours with its alpha, (H, W, 4) uint8."""
        facts = self.classes, self.exif, self.doubt
        decoded = self.decoded
        if decoded is None:
            return read_subject(subject, *facts)

        def read() -> Pixels:
            rgba = read_subject(subject, *facts)
            levels = rgba[..., 3:]
            premultiplied = rgba[..., :3] * (levels / np.float32(255))
            mixed = downscale_to(premultiplied, decoded.longest_px)
            small = downscale_to(np.ascontiguousarray(levels[..., 0]), decoded.longest_px)
            colours = mixed / np.maximum(small / np.float32(255), 1e-3)[..., np.newaxis]
            return np.dstack([np.clip(np.rint(colours), 0, 255).astype(np.uint8), small])

        return decoded((subject.image, *subject.alphas), ("subject", *facts), read)

    def background(self, path: Path) -> Pixels:
        """A photograph (H, W, 3) uint8."""
        decoded = self.decoded
        if decoded is None:
            return read_photograph(path)
        return decoded(
            (path,), "photograph", lambda: downscale_to(read_photograph(path), decoded.longest_px)
        )


@functools.lru_cache(maxsize=4)
def _shuffled(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    return np.random.default_rng((seed, 4, epoch)).permutation(count)


def find(source: Source, root: Path, decoded_px: int = 0) -> Files:
    """Find the files of a source, whose paths are below the folder of the data.

    Args:
        source: The source.
        root: The folder of the data.
        decoded_px: The recipe's.

    Raises:
        TrainingError: if a folder is missing or has no pictures, one of them has no alpha, or the
            source's lists leave none.
    """
    subjects: list[Subject] = []
    if source.teachers:
        subjects = [*_taught(source, root)]
    elif source.kind == "pairs" or (source.kind == "composites" and source.layout):
        subjects = [*_pairs(source, root)]
    elif source.kind == "composites":
        found = _part(root / source.cutouts, source.part, _listed(source.names, root))
        subjects = [Subject(path) for path in found]
    elif source.kind == "taught":
        raise TrainingError("a taught source needs teachers")
    struck = _listed(source.without, root)
    subjects = [subject for subject in subjects if subject.image.name not in struck]
    if not subjects and source.kind in ("pairs", "taught", "composites"):
        cutouts = source.kind == "composites" and not (source.layout or source.teachers)
        place = root / (source.cutouts if cutouts else source.folder)
        raise TrainingError(f"{place}: no subject is left by `only`, `names` and `without`")
    backgrounds: list[Path] = []
    if source.kind in ("composites", "empty", "unlabelled"):
        named = _listed(source.grounds, root)
        for folder in source.backgrounds:
            backgrounds += _part(root / folder, source.part, named)
        backgrounds = [path for path in backgrounds if _like(path, source.only)]
        if not backgrounds:
            folders = ", ".join(str(root / folder) for folder in source.backgrounds)
            raise TrainingError(f"{folders}: no background is left by `only` and `grounds`")
    decoded = Decoded(root / "decoded", decoded_px) if decoded_px else None
    classes = source.layout in _CLASSES
    exif = "image" if source.teachers else source.exif  # teachers have seen the upright picture
    return Files(tuple(subjects), tuple(backgrounds), classes, exif, source.doubt, decoded)


def _part(folder: Path, part: str, named: frozenset[str] = frozenset()) -> list[Path]:
    """List pictures of a folder: those named; or else what is held out, or the rest."""
    if named:
        return [path for path in _pictures(folder) if path.name in named]
    found = [
        path
        for n, path in enumerate(_pictures(folder))
        if (n % HELD_OUT == HELD_OUT - 1) == (part != "train")
    ]
    if not found:
        raise TrainingError(f"{folder}: needs {HELD_OUT} pictures, since every fifth is held out")
    return found


def _like(path: Path, patterns: tuple[str, ...]) -> bool:
    return not patterns or any(fnmatch(path.name, pattern) for pattern in patterns)


def _listed(lists: tuple[str, ...], root: Path) -> frozenset[str]:
    try:
        texts = [(root / name).read_text(encoding="utf-8") for name in lists]
    except OSError as error:
        raise TrainingError(f"a list of names cannot be read: {error}") from error
    return frozenset(line.strip() for text in texts for line in text.splitlines())


def _pictures(folder: Path) -> list[Path]:
    found = sorted(path for path in folder.glob("*") if path.suffix.lower() in INPUT_SUFFIXES)
    if not found:
        raise TrainingError(f"{folder}: there are no pictures: choose another --data")
    return found


def _taught(source: Source, root: Path) -> Iterator[Subject]:
    """Photographs that every teacher has answered to."""
    if len(source.doubt) not in (len(source.teachers) - 1, len(source.teachers)):
        raise TrainingError("doubt: give a number for each teacher behind the first, or for each")
    if len(source.doubt) == len(source.teachers) < 3:
        raise TrainingError("doubt: a vote, with a number for each, needs three teachers or more")
    base = root / source.folder
    masks = [{path.stem: path for path in _pictures(base / name)} for name in source.teachers]
    named = _listed(source.names, root)
    patterns = source.only if source.kind == "taught" else ()
    for image in _pictures(base / "image"):
        chosen = _like(image, patterns) and (not named or image.name in named)
        if chosen and all(image.stem in found for found in masks):
            yield Subject(image, tuple(found[image.stem] for found in masks))


def _pairs(source: Source, root: Path) -> Iterator[Subject]:
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
        yield Subject(image, (truths[image.stem],))


@functools.lru_cache(maxsize=64)
def read_photograph(path: Path) -> Pixels:
    """Return a photograph, (H, W, 3) uint8; the last ones are kept."""
    return np.asarray(load_image(path, keep_depth=False), np.uint8)


def read_pair(
    subject: Subject, classes: bool = False, exif: str = "unstated", doubt: tuple[float, ...] = ()
) -> tuple[Pixels, Array, Array]:
    """Return a photograph, (H, W, 3) uint8, its alpha, and how much each pixel of that counts.

    Args:
        subject: The photograph, and its alpha in 8 or 16 bits, its mask of classes, or the masks
            of teachers at any size.
        classes: Whether it is a mask of classes; all but class 0 is the subject.
        exif: The source's.
        doubt: Of the teachers behind the first.

    Returns:
        The photograph; alpha and weight are (H, W) float32 in [0, 1].

    Raises:
        TrainingError: if the sizes of photograph and alpha differ, or the photograph has an EXIF
            orientation and what that means is not stated.
    """
    photograph = np.asarray(load_image(subject.image, keep_depth=False), np.uint8)
    if len(subject.alphas) > 1:
        H, W = photograph.shape[:2]
        masks = [
            np.asarray(cv2.resize(_alpha(path, False), (W, H)), np.float32)
            for path in subject.alphas
        ]
        if len(doubt) == len(masks):
            return photograph, *vote(masks, doubt)
        return photograph, masks[0], weigh(masks, doubt)
    (path,) = subject.alphas
    matte, orientation = _alpha(path, classes), _orientation(subject.image)
    if orientation != 1:
        if exif == "unstated" and _orientation(path) == 1:
            raise TrainingError(
                f"{subject.image}: has EXIF orientation {orientation}: state in the recipe whether "
                'its alpha is of the upright picture, exif = "image", or of the pixels as they are '
                'stored, exif = "both" or "neither"'
            )
        if exif in ("both", "neither"):
            matte = _stored(matte, _orientation(path))
        if exif == "both":
            matte = np.ascontiguousarray(turn_upright(matte, orientation))
        if exif == "neither":
            photograph = _stored(photograph, orientation)
    H, W = photograph.shape[:2]
    if matte.shape != (H, W):
        raise TrainingError(f"{path}: is {matte.shape}, but its picture {(H, W)}")
    return photograph, matte, np.ones((H, W), np.float32)


@functools.lru_cache(maxsize=256)
def read_subject(
    subject: Subject, classes: bool = False, exif: str = "unstated", doubt: tuple[float, ...] = ()
) -> Pixels:
    """Return a subject in straight colours with its alpha, (H, W, 4) uint8; the last ones are kept.

    An RGBA file holds straight colours. A photograph holds mixtures with its own background at
    soft edges, so there the subject's colours are estimated: the halo would be learnt. Teachers'
    edges are solved for anew, by closed-form matting.

    Args:
        subject: The picture, and its alpha unless the picture has it within.
        classes: Whether that is a mask of classes.
        exif: The source's.
        doubt: Of the teachers behind the first.

    Raises:
        TrainingError: if the picture has no alpha, or one that does not fit.
    """
    if not subject.alphas:
        picture = next(load_frames(subject.image, keep_depth=False))
        if picture.alpha is None:
            raise TrainingError(f"{subject.image}: is no cut-out: it has no transparency")
        colours, levels = picture.image, picture.alpha
    else:
        colours, matte, _ = read_pair(subject, classes, exif, doubt)
        if len(subject.alphas) > 1:
            matte = estimate_alpha_closed_form(colours, make_trimap(matte), matte)
        colours, levels = estimate_foreground(colours, matte), np.rint(matte * 255)
    x, y, width, height = cv2.boundingRect((levels > 5).astype(np.uint8))
    rgba = np.dstack([colours, levels]).astype(np.uint8)
    return rgba[y : y + height, x : x + width] if width else rgba


def _alpha(path: Path, classes: bool) -> Array:
    if classes:
        return (_class_numbers(path) > 0).astype(np.float32)
    levels = load_image(path)[..., 0]
    return np.asarray(levels / np.float32(np.iinfo(levels.dtype).max), np.float32)


def _class_numbers(path: Path) -> NDArray[Any]:
    """Return a mask's levels, its palette's numbers, or the largest of its channels, (H, W)."""
    try:
        with PIL.Image.open(path) as file:
            mask = turn_upright(np.asarray(file), _orientation(path))  # no colours of a palette
            bands = file.getbands()
    except OSError as error:
        raise ImageError(f"{path}: cannot be read: {error}") from error
    if mask.ndim == 2:
        return mask
    return np.asarray(mask[..., : 1 if bands == ("L", "A") else 3].max(axis=2))


def _stored(upright: NDArray[Any], orientation: int) -> NDArray[Any]:
    return np.ascontiguousarray(turn_upright(upright, _BACK.get(orientation, orientation)))


def _orientation(path: Path) -> int:
    try:
        with PIL.Image.open(path) as file:
            return int(file.getexif().get(_ORIENTATION, 1))
    except (OSError, SyntaxError, ValueError):  # of a format or metadata that Pillow cannot read
        return 1
