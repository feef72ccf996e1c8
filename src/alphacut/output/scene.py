"""The photo's own background: recovered from behind the subject, and quietened."""

import math
from collections.abc import Callable, Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from alphacut import values
from alphacut.output.background import fit_image
from alphacut.output.geometry import Box, Placement
from alphacut.pipeline import image as images
from alphacut.pipeline.image import Image

_ROWS = 256
_HINT = 0.3  # weight of a guess from the surroundings against what shines through
_TRACE = 0.05  # weight of a guess in a blur: little where anything else is near


def make_scene(
    background: Image,
    alpha: NDArray[np.float32],
    backdrop: values.Backdrop,
    placement: Placement,
) -> Image:
    """Make a new background of the photo's own.

    Args:
        background: (H, W, 3) uint8 or uint16, from `recover_background`.
        alpha: (H, W) float32 in [0, 1], of the subject.
        backdrop: The effect and its strength.
        placement: Where the subject goes, so that its surroundings go with it.

    Returns:
        (h, w, 3) of the same dtype, to be fitted to the placement's canvas.
    """
    background = apply_effect(background, alpha, backdrop)
    return crop_mirrored(background, placement.scene, placement.canvas)


def recover_background(photo: Image, foreground: Image, alpha: NDArray[np.float32]) -> Image:
    """Recover the photo's background, guessing it where the subject hides it.

    I - alpha F is (1 - alpha) B, so what shines through soft edges is known exactly; the rest is
    filled in from the surroundings, ever coarser towards the middle.

    Args:
        photo: (H, W, 3) uint8 or uint16, I.
        foreground: (H, W, 3) of the same dtype, F.
        alpha: (H, W) float32 in [0, 1].

    Returns:
        B, (H, W, 3) of the same dtype.
    """
    H, W = alpha.shape
    max_value = images.white(photo)

    def seen(rows: slice, columns: slice = slice(None)) -> NDArray[np.float32]:
        a = alpha[rows, columns, np.newaxis]
        light = np.maximum(photo[rows, columns] - a * foreground[rows, columns], 0)
        return np.concatenate([light, 1 - a], axis=2, dtype=np.float32)

    factor = math.ceil(max(H, W) / 256)
    clear = _reduce(seen, slice(0, H), W, factor)
    # next to the subject some of its colours remain, however small alpha is there
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
        background[rows, columns] = np.minimum(colours + np.float32(0.5), max_value)
    return background


def apply_effect(image: Image, alpha: NDArray[np.float32], backdrop: values.Backdrop) -> Image:
    """Make a background quieter: without colour, darker or blurred.

    Args:
        image: (H, W, 3) uint8 or uint16, from `recover_background`.
        alpha: (H, W) float32 in [0, 1], of the subject, which a blur leaves out.
        backdrop: The effect and its strength.

    Returns:
        (H, W, 3) of the same dtype.
    """
    if backdrop.kind == "desaturate":
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        return np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), image.dtype)
    if backdrop.kind == "darken":
        levels = np.arange(images.white(image) + 1) * (1 - backdrop.strength.of(1))
        return np.asarray(np.rint(levels).astype(image.dtype)[image])
    return blur(image, alpha, backdrop.strength.of(min(alpha.shape)), disc=backdrop.kind == "disc")


def blur(image: Image, alpha: NDArray[np.float32], strength_px: float, *, disc: bool) -> Image:
    """Blur a background without its subject: a convolution normalised by the weight 1 - alpha.

    Wide blurs are computed on a smaller image, narrow ones in bands of rows.

    Args:
        image: (H, W, 3) uint8 or uint16, from `recover_background`.
        alpha: (H, W) float32 in [0, 1].
        strength_px: Standard deviation of a Gaussian, or radius of a disc.
        disc: Whether each point becomes a disc, as in a lens out of focus.

    Returns:
        (H, W, 3) of the same dtype.
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
    max_value = images.white(image)
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
            blurred[rows.start + part.start : rows.start + part.stop] = np.clip(light, 0, max_value)
    return blurred


def crop_mirrored(image: Image, box: Box, canvas: tuple[int, int]) -> Image:
    """Crop a box out of an image, which is mirrored beyond its border.

    Args:
        image: (H, W, 3).
        box: The part, in pixels of the image.
        canvas: (H, W) that it is going to have. A larger box is reduced before it is mirrored: of
            a wide image on a tall canvas it is many times the image.

    Returns:
        (h, w, 3), to be fitted to the canvas.
    """
    H, W = image.shape[:2]
    if box == (0, 0, H, W):
        return image
    factor = max(canvas[0] / (box[2] - box[0]), canvas[1] / (box[3] - box[1]))
    if factor < 1:
        size = max(1, round(H * factor)), max(1, round(W * factor))
        image = fit_image(image, size, "stretch")
        H, W = size
        top, left, bottom, right = (round(edge * factor) for edge in box)
        box = top, left, max(top + 1, bottom), max(left + 1, right)
    rows, columns = np.arange(box[0], box[2]), np.arange(box[1], box[3])
    # 0 1 2 | 2 1 0 | 0 1 2: there and back, over and over
    rows, columns = (np.minimum(at % (2 * n), 2 * n - 1 - at % (2 * n))
                     for at, n in ((rows, H), (columns, W)))  # fmt: skip
    return np.ascontiguousarray(image[rows[:, np.newaxis], columns])


def _bands(rows: slice, factor: int, most: int = _ROWS) -> Iterator[slice]:
    """Divide rows into bands whose height is a multiple of a factor, except the last."""
    step = max(1, most // factor) * factor
    for top in range(rows.start, rows.stop, step):
        yield slice(top, min(rows.stop, top + step))


def _reduce(
    rows_of: Callable[[slice], NDArray[np.float32]], rows: slice, W: int, factor: int
) -> NDArray[np.float32]:
    """Average blocks of factor x factor pixels, in bands; the border is repeated to fill them."""
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
    """Undo `_reduce` for a band of rows, by linear interpolation."""
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
    trust = np.minimum(8 * weight, 1)  # an eighth of a block suffices to know its colour
    return np.asarray(seen[..., :3] / weight * trust + (1 - trust) * guess)
