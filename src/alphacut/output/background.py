"""What lies behind the subject: colours, images, patterns, and the photo's own background."""

import functools
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray

from alphacut import values
from alphacut.errors import ImageError
from alphacut.options import Options
from alphacut.output import geometry
from alphacut.pipeline import image as images
from alphacut.pipeline.image import Image, Picture
from alphacut.pipeline.load import load_frames

# A colour or word, a path, a file's content, 8-bit RGB or RGBA, or pixels
Background: TypeAlias = (
    str | os.PathLike[str] | bytes | tuple[int, ...] | PIL.Image.Image | NDArray[Any]
)

_ROWS = 256
_HINT = 0.3  # how much a guess from the surroundings counts against what shines through
_TRACE = 0.05  # how much a guess counts in a blur: little where anything else is near
_CHECKS = (255, 204)


def load_background(source: Background, options: Options) -> values.Backdrop | Picture:
    """Read a background: as words where it is words, else as pixels.

    Raises:
        OptionError: if a text is no colour, word or path.
        ImageError: if an image cannot be read, or a colour has not 3 or 4 values of 0..255.
    """
    if isinstance(source, str):
        backdrop = values.parse_background(source)
        return _read(backdrop.path, options) if backdrop.kind == "file" else backdrop
    if isinstance(source, tuple):
        if len(source) not in (3, 4) or not all(0 <= value <= 255 for value in source):
            raise ImageError(f"background {source}: a colour has 3 or 4 values from 0 to 255")
        red, green, blue, alpha = (*source, 255)[:4]
        return values.Backdrop("colour", (red, green, blue, alpha))
    if isinstance(source, os.PathLike | bytes):
        return _read(source, options)
    frames = load_frames(
        source,
        keep_depth=options.keep_depth,
        max_megapixels=options.max_megapixels,
        allow_truncated=options.allow_truncated,
    )
    return next(frames)


def _read(source: str | os.PathLike[str] | bytes, options: Options) -> Picture:
    """Read an image once for many pictures that are put on it."""
    key = source if isinstance(source, bytes) else os.fspath(source)
    try:
        stamp = 0 if isinstance(key, bytes) else Path(key).stat().st_mtime_ns
        return _read_once(
            key, stamp, options.keep_depth, options.max_megapixels, options.allow_truncated
        )
    except (ImageError, OSError) as error:
        cause = f"{key!r}: {error.strerror}" if isinstance(error, OSError) else str(error)
        raise ImageError(f"background {cause}") from error


@functools.lru_cache(maxsize=1)
def _read_once(
    source: str | bytes,
    _stamp: int,
    keep_depth: bool,
    max_megapixels: float,
    allow_truncated: bool,
) -> Picture:
    frames = load_frames(
        source,
        keep_depth=keep_depth,
        max_megapixels=max_megapixels,
        allow_truncated=allow_truncated,
    )
    return next(frames)


def make_background(
    background: values.Backdrop | Picture,
    size: tuple[int, int],
    depth: Any,
    fit: str,
    own: Callable[[], Image],
) -> tuple[Image, NDArray[np.float32] | None]:
    """Make a background for a canvas.

    Args:
        background: From `load_background`.
        size: (H, W) of the canvas.
        depth: np.uint8 or np.uint16.
        fit: How an image fills the canvas; see `fit_image`.
        own: Gives the photo's own background under its effect, if that is wanted.

    Returns:
        Colours (H, W, 3) of that dtype, and opacity (H, W) float32, None where nothing shines
        through. Colours are views of one pixel: do not write into them.
    """
    H, W = size
    if isinstance(background, Picture):
        image = images.to_depth(fit_image(background.image, size, fit), depth)
        if background.alpha is None:
            return image, None
        peak = np.float32(images.white(background.alpha))
        return image, fit_image(background.alpha, size, fit).astype(np.float32) / peak
    if background.own:
        return fit_image(own(), size, fit), None
    if background.kind == "checkerboard":
        square = max(8, min(H, W) // 32)
        odd = (np.arange(H)[:, np.newaxis] // square + np.arange(W) // square) % 2
        grey = np.array(_CHECKS, np.uint8)[odd]
        return images.to_depth(np.broadcast_to(grey[..., np.newaxis], (H, W, 3)), depth), None
    pixel = images.to_depth(np.array(background.colour[:3], np.uint8), depth)
    opacity = np.float32(background.colour[3] / 255)
    image = np.broadcast_to(pixel, (H, W, 3))
    return image, None if opacity == 1 else np.broadcast_to(opacity, (H, W))


def fit_image(image: Image, size: tuple[int, int], fit: str) -> Image:
    """Make an image fill a canvas; as it is where the size is already right.

    Args:
        image: (h, w) or (h, w, 3) uint8 or uint16.
        size: (H, W) of the canvas.
        fit: "cover" enlarges or shrinks until the canvas is full and cuts off what stands over on
            both sides alike; "contain" shows the whole image with white around it; "stretch"
            does not keep the aspect; "tile" repeats it from the top left; "center-crop" cuts the
            middle out without resizing, unless the image is too small.

    Returns:
        (H, W) or (H, W, 3) of the same dtype.
    """
    H, W = size
    h, w = image.shape[:2]
    if (h, w) == size:
        return image
    if fit == "tile":
        part = image[np.arange(H) % h]
        return np.ascontiguousarray(part[:, np.arange(W) % w])
    if fit == "contain":
        factor = min(H / h, W / w)
        inner = min(H, max(1, round(h * factor))), min(W, max(1, round(w * factor)))
        canvas = np.full((H, W, *image.shape[2:]), np.iinfo(image.dtype).max, image.dtype)
        top, left = (H - inner[0]) // 2, (W - inner[1]) // 2
        canvas[top : top + inner[0], left : left + inner[1]] = _resize(image, inner)
        return canvas
    if fit != "stretch":
        factor = max(H / h, W / w)
        if fit == "center-crop" and factor <= 1:
            factor = 1.0
        inner = min(h, max(1, round(H / factor))), min(w, max(1, round(W / factor)))
        top, left = (h - inner[0]) // 2, (w - inner[1]) // 2
        image = image[top : top + inner[0], left : left + inner[1]]
    return _resize(image, size)


def _resize(image: Image, size: tuple[int, int]) -> Image:
    H, W = size
    if image.shape[:2] == size:
        return image
    h, w = image.shape[:2]
    if h > 64 * H or w > 64 * W:  # averages of very many pixels are summed too coarsely
        image = _resize(image, (min(h, 32 * H), min(w, 32 * W)))
    shrinks = h >= H and w >= W
    filter = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    resized = cv2.resize(np.ascontiguousarray(image), (W, H), interpolation=filter)
    return np.asarray(resized, image.dtype)


# --- the photo's own background ---------------------------------------------------------------


def without_subject(photo: Image, foreground: Image, alpha: NDArray[np.float32]) -> Image:
    """Give the photo's background alone, guessed where the subject hides it.

    I - alpha F is (1 - alpha) B, so what shines through soft edges is known exactly; the rest is
    filled from the surroundings, ever coarser towards the middle.

    Args:
        photo: (H, W, 3) uint8 or uint16, I.
        foreground: (H, W, 3) of the same dtype, F.
        alpha: (H, W) float32 in [0, 1].

    Returns:
        B, (H, W, 3) of the same dtype.
    """
    H, W = alpha.shape
    peak = images.white(photo)

    def seen(rows: slice, columns: slice = slice(None)) -> NDArray[np.float32]:
        a = alpha[rows, columns, np.newaxis]
        light = np.maximum(photo[rows, columns] - a * foreground[rows, columns], 0)
        return np.concatenate([light, 1 - a], axis=2, dtype=np.float32)

    factor = math.ceil(max(H, W) / 256)
    clear = _reduce(seen, slice(0, H), W, factor)
    # what is next to the subject has some of its colours, however small alpha is there
    clear *= cv2.erode(clear[..., 3], np.ones((5, 5), np.uint8))[..., np.newaxis]
    guess = _fill(clear)
    background: Image = photo.copy()
    for rows in _bands(slice(0, H), factor):
        covered = np.flatnonzero(alpha[rows].any(axis=0))
        if not len(covered):
            continue
        columns = slice(int(covered[0]), int(covered[-1]) + 1)
        hidden = _HINT * alpha[rows, columns, np.newaxis]
        light = seen(rows, columns)
        colours = light[..., :3] + hidden * _enlarge(guess, factor, rows, W)[:, columns]
        colours /= light[..., 3:] + hidden
        background[rows, columns] = np.minimum(colours + np.float32(0.5), peak)
    return background


def under_effect(image: Image, alpha: NDArray[np.float32], backdrop: values.Backdrop) -> Image:
    """Make a background quieter: grey, darker or blurred.

    Args:
        image: (H, W, 3) uint8 or uint16, from `without_subject`.
        alpha: (H, W) float32, the subject's, which does not count in a blur.
        backdrop: The effect and its strength.
    """
    if backdrop.kind == "grey":
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        return np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), image.dtype)
    if backdrop.kind == "darken":
        peak = np.iinfo(image.dtype).max
        levels = np.arange(peak + 1) * (1 - backdrop.strength.of(1))
        return np.asarray(np.rint(levels).astype(image.dtype)[image])
    return blur(image, alpha, backdrop.strength.of(min(alpha.shape)), disc=backdrop.kind == "disc")


def blur(image: Image, alpha: NDArray[np.float32], strength_px: float, *, disc: bool) -> Image:
    """Blur a background without its subject: a convolution normalised by the weight 1 - alpha.

    Wide blurs are computed on a smaller picture, narrow ones in bands of rows.

    Args:
        image: (H, W, 3) uint8 or uint16, from `without_subject`.
        alpha: (H, W) float32 in [0, 1].
        strength_px: Standard deviation of a Gaussian, or radius of a disc.
        disc: Whether each point becomes a disc, as out of a lens's focus.
    """
    H, W = alpha.shape
    factor = max(1, int(strength_px / (6 if disc else 4)))
    small_px = strength_px / factor
    reach = math.ceil(small_px if disc else 3 * small_px) + 1
    if disc:
        y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
        kernel = np.clip(small_px + 0.5 - np.hypot(y, x), 0, 1).astype(np.float32)
        kernel /= kernel.sum()

    def weighted(rows: slice) -> NDArray[np.float32]:
        weight = np.maximum(1 - alpha[rows, :, np.newaxis], np.float32(_TRACE))
        return np.concatenate([image[rows] * weight, weight], axis=2, dtype=np.float32)

    blurred = np.empty_like(image)
    peak = images.white(image)
    for rows in _bands(slice(0, H), factor, H if factor > 1 else 2 * _ROWS):
        seen = slice(max(0, rows.start - reach), min(H, rows.stop + reach))
        small = _reduce(weighted, seen, W, factor)
        if disc:
            small = np.asarray(cv2.filter2D(small, -1, kernel, borderType=cv2.BORDER_REFLECT))
        else:
            spread = cv2.GaussianBlur(small, (0, 0), small_px, borderType=cv2.BORDER_REFLECT)
            small = np.asarray(spread, np.float32)
        colours = small[..., :3] / small[..., 3:]
        if factor == 1:
            colours = colours[rows.start - seen.start :][: rows.stop - rows.start]
        for part in _bands(slice(0, rows.stop - rows.start), factor):
            light = _enlarge(colours, factor, part, W) + np.float32(0.5)
            blurred[rows.start + part.start : rows.start + part.stop] = np.clip(light, 0, peak)
    return blurred


def _bands(rows: slice, factor: int, most: int = _ROWS) -> Iterator[slice]:
    """Divide rows into bands of a multiple of a factor, but for the last."""
    step = max(1, most // factor) * factor
    for top in range(rows.start, rows.stop, step):
        yield slice(top, min(rows.stop, top + step))


def _reduce(
    rows_of: Callable[[slice], NDArray[np.float32]], rows: slice, W: int, factor: int
) -> NDArray[np.float32]:
    """Average blocks of factor x factor pixels, in bands; the border goes on to whole blocks."""
    bands = []
    for band in _bands(rows, factor):
        block = rows_of(band)
        if factor > 1:
            below, beside = -len(block) % factor, -W % factor
            whole = cv2.copyMakeBorder(block, 0, below, 0, beside, cv2.BORDER_REPLICATE)
            h, w = whole.shape[0] // factor, whole.shape[1] // factor
            block = np.asarray(cv2.resize(whole, (w, h), interpolation=cv2.INTER_AREA), np.float32)
        bands.append(block)
    return np.concatenate(bands)


def _enlarge(small: NDArray[np.float32], factor: int, rows: slice, W: int) -> NDArray[np.float32]:
    """Undo `_reduce` for a band of rows, linearly."""
    first, last = rows.start // factor, -(-rows.stop // factor)
    top, bottom = max(0, first - 1), min(len(small), last + 1)
    if factor == 1:
        return small[first:last]
    size = small.shape[1] * factor, (bottom - top) * factor
    large = cv2.resize(small[top:bottom], size, interpolation=cv2.INTER_LINEAR)
    offset = rows.start - top * factor
    return np.asarray(large[offset : offset + rows.stop - rows.start, :W], np.float32)


def _fill(seen: NDArray[np.float32]) -> NDArray[np.float32]:
    """Fill what has no weight from its surroundings, coarse to fine.

    Args:
        seen: (h, w, 4) float32, colours times weight, and weight.

    Returns:
        Colours (h, w, 3).
    """
    h, w = seen.shape[:2]
    if h * w == 1:
        return np.asarray(seen[..., :3] / np.maximum(seen[..., 3:], 1e-6))
    half = cv2.resize(seen, ((w + 1) // 2, (h + 1) // 2), interpolation=cv2.INTER_AREA)
    coarse = _fill(np.asarray(half, np.float32))
    guess = np.asarray(cv2.resize(coarse, (w, h), interpolation=cv2.INTER_LINEAR), np.float32)
    weight = np.maximum(seen[..., 3:], np.float32(1e-6))
    trust = np.minimum(8 * weight, 1)  # an eighth of a block is enough to know its colour
    return np.asarray(seen[..., :3] / weight * trust + (1 - trust) * guess)


def scene_of(image: Image, scene: geometry.Box, canvas: tuple[int, int]) -> Image:
    """Cut the part of a picture that a placement shows, mirrored beyond its border.

    Args:
        image: (H, W, 3).
        scene: The part, in pixels of the picture.
        canvas: (H, W) that it will have. A larger scene is made smaller before it is mirrored: of
            a wide picture on a tall canvas it is many times the picture.

    Returns:
        (h, w, 3), to be fitted to the canvas.
    """
    H, W = image.shape[:2]
    if scene == (0, 0, H, W):
        return image
    factor = max(canvas[0] / (scene[2] - scene[0]), canvas[1] / (scene[3] - scene[1]))
    if factor < 1:
        image = _resize(image, (max(1, round(H * factor)), max(1, round(W * factor))))
        H, W = image.shape[:2]
        top, left, bottom, right = (round(edge * factor) for edge in scene)
        scene = top, left, max(top + 1, bottom), max(left + 1, right)
    rows, columns = np.arange(scene[0], scene[2]), np.arange(scene[1], scene[3])
    # 0 1 2 | 2 1 0 | 0 1 2: there and back, over and over
    rows, columns = (np.minimum(at % (2 * n), 2 * n - 1 - at % (2 * n))
                     for at, n in ((rows, H), (columns, W)))  # fmt: skip
    return np.ascontiguousarray(image[rows[:, np.newaxis], columns])
