"""Pictures of several subjects with the exact alpha of each, drawn from a seed.

Cut-outs (RGBA files of a folder that you name) stand side by side on photographs, two or three in a
picture. In two of three pictures none touches another; in the third the second overlaps the first.
Files of even index are for choosing, of odd index for reporting, and so are the seeds.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray

Array = NDArray[np.float32]
Pixels = NDArray[np.uint8]

_SOLID = 0.5  # share of a cut-out's visible pixels that are opaque: no smoke, no fire
_LEAST = 0.02  # share of the picture that each subject shows at least


@dataclass(frozen=True, eq=False)
class Group:
    """A picture of several subjects.

    Attributes:
        name: Its number, and how its subjects stand.
        image: (H, W, 3) uint8, after JPEG.
        alphas: (H, W) float32 in [0, 1] of what is seen of each subject; they add up to 1 at most.
        apart: Whether none touches another.
    """

    name: str
    image: Pixels
    alphas: tuple[Array, ...]
    apart: bool


def pictures(
    seed: int, cutouts: Path, photos: Path, *, count: int = 30, height_px: int = 640
) -> Iterator[Group]:
    """Draw pictures; an odd seed takes the odd cut-outs and photographs.

    Args:
        seed: Decides everything.
        cutouts: Folder of RGBA files.
        photos: Folder of photographs.
        count: How many.
        height_px: Height of the pictures; they are half as wide again.
    """
    files = sorted(path for path in cutouts.iterdir() if path.suffix in (".png", ".webp"))
    subjects = [file for file in files[seed % 2 :: 2] if _is_solid(_read(file))]
    views = sorted(path for path in photos.iterdir() if path.suffix in (".jpg", ".jpeg"))
    views = views[seed % 2 :: 2]
    rng = np.random.default_rng(seed)
    for number in range(count):
        apart = number % 3 != 2
        while (group := _draw(rng, subjects, views, height_px, number, apart)) is None:
            pass  # drawn again: they touch, or one hides another
        yield group


def _draw(
    rng: np.random.Generator, subjects: list[Path], views: list[Path], height_px: int, number: int,
    apart: bool,
) -> Group | None:  # fmt: skip
    H, W = height_px, height_px * 3 // 2
    many = 2 if not apart else int(rng.integers(2, 4))
    chosen = [subjects[index] for index in rng.choice(len(subjects), many, replace=False)]
    planes = []
    middle = None
    for place, file in enumerate(chosen):
        rgba = _read(file)
        if rng.random() < 0.5:
            rgba = rgba[:, ::-1]
        room = W / many
        side = min(room * rng.uniform(0.75, 0.95), H * rng.uniform(0.5, 0.85))
        scale = side / max(rgba.shape[:2])
        h, w = (max(8, round(scale * length)) for length in rgba.shape[:2])
        x = room * (place + 0.5)
        if not apart:  # the second overlaps the first
            x = W * 0.35 if middle is None else middle + w * rng.uniform(0.35, 0.5)
            middle = x + w / 2
        y = H * rng.uniform(0.45, 0.6)
        top, left = (round(y - h / 2), round(x - w / 2))
        if min(top, left) < 0 or top + h > H or left + w > W:
            return None
        plane = np.zeros((H, W, 4), np.float32)
        plane[top : top + h, left : left + w] = _resize(rgba, (h, w))
        planes.append(plane)
    with PIL.Image.open(views[int(rng.integers(len(views)))]) as photo:
        ground = np.asarray(photo.convert("RGB").resize((W, H), PIL.Image.Resampling.LANCZOS))
    image = ground.astype(np.float32) / 255
    alphas: list[Array] = []
    for plane in planes:
        alpha = plane[..., 3]
        image = plane[..., :3] + image * (1 - alpha[..., np.newaxis])
        alphas = [*(below * (1 - alpha) for below in alphas), alpha]
    if any(alpha.mean() < _LEAST for alpha in alphas) or _touch(planes) == apart:
        return None
    encoded = cv2.imencode(".jpg", np.rint(image[..., ::-1] * 255).astype(np.uint8),
                           [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(85, 97))])[1]  # fmt: skip
    read = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    name = f"{number:02} {'apart' if apart else 'touching'} " + " ".join(f.stem for f in chosen)
    return Group(name, np.ascontiguousarray(read[..., ::-1]), tuple(alphas), apart)


def _touch(planes: list[Array]) -> bool:
    """Tell whether subjects come closer than 1 % of the picture's height."""
    reach = max(3, planes[0].shape[0] // 100 | 1)
    near = [cv2.dilate((plane[..., 3] > 0.02).astype(np.uint8), np.ones((reach, reach)))
            for plane in planes]  # fmt: skip
    return bool(np.max(np.sum(near, axis=0)) > 1)


def _read(file: Path) -> Array:
    """Return colours times alpha, and alpha: (h, w, 4) in [0, 1]."""
    with PIL.Image.open(file) as image:
        rgba = np.asarray(image.convert("RGBA"), np.float32) / 255
    return np.dstack((rgba[..., :3] * rgba[..., 3:], rgba[..., 3]))


def _resize(plane: Array, size: tuple[int, int]) -> Array:
    smaller = size[0] < plane.shape[0]
    resized = cv2.resize(plane, size[::-1],
                         interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)  # fmt: skip
    resized = np.clip(resized, 0, 1)
    resized[..., :3] = np.minimum(resized[..., :3], resized[..., 3:])
    return np.asarray(resized, np.float32)


def _is_solid(rgba: Array) -> bool:
    alpha = rgba[..., 3]
    return np.count_nonzero(alpha > 0.95) > _SOLID * np.count_nonzero(alpha > 0.05)
