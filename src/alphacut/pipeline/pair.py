"""Pairs: one subject before two known grounds, of which alpha follows exactly.

Each picture is I = a F + (1 - a) B. Their difference no longer has F in it: I1 - I2 is
(1 - a) (B1 - B2), so alpha is known wherever the grounds differ, of glass, smoke and glow, too, and
F follows from either (triangulation: Smith and Blinn, "Blue Screen Matting", SIGGRAPH 1996).
"""

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from alphacut.errors import ImageError
from alphacut.pipeline.image import Image, check_image, downscale_to, white
from alphacut.pipeline.surface import Surface, fit_surface

Array = npt.NDArray[np.float32]
Grounds = tuple[Surface, Surface]

_ROWS = 128
_SAMPLES_PX = 200  # long side of the lattice on which grounds are fitted and errors measured
_LEAST_CONTRAST = 48 / 255  # length of B1 - B2 in RGB under which nothing can be told
_MOST = 99.5  # percentile of the difference that bare ground has
_BARE = (0.97, 0.9)  # share of the difference from which ground is bare: at first, and then
_TOLERANCE = 0.1  # how far from its surface bare ground may be
_ALL = 0.9  # of the samples of a rendered ground are one colour
_EVEN = 0.75 / 255  # ground that varies by less has one colour
# steps of the search for a misalignment, the first taken twice to each side: 3 px and a little
_SHIFTS_PX = (1.5, 0.75, 0.4, 0.2, 0.1, 0.05)
_SEARCH_PX = 700  # long side of the images on which it is searched for
_FITS = 1 / 255  # error of pictures that fit as they are
_MOST_ERROR = 4 / 255  # and of pictures that do not show the same, or so many times the noise
_MOST_ERRORS = 2.5
_MOST_PX = 3.5
_SNAP = 3.0  # alpha within so many standard deviations of 0 or 1 is that


@dataclass(frozen=True, eq=False)
class Pair:
    """What two pictures say together.

    Attributes:
        alpha: (H, W) float32 in [0, 1].
        foreground: (H, W, 3) of the image's dtype, straight.
        error: How far the pictures are from the model, root of the mean square in levels of 255.
        shift_px: How far the second picture was moved onto the first.
        sure: How well the pictures fit the model, in [0, 1].
    """

    alpha: Array
    foreground: Image
    error: float
    shift_px: float
    sure: float


def solve_pair(image: Image, other: Image) -> Pair:
    """Solve alpha and colours of a subject that two pictures show before two plain grounds.

    Args:
        image: (H, W, 3) uint8 or uint16.
        other: The same size, the same subject before another ground, shifted by at most 3 px.

    Raises:
        ImageError: if the sizes differ, the grounds are alike, or the pictures do not show the same
            subject in the same place; the message has the measured error.
    """
    check_image(image)
    check_image(other)
    if image.shape != other.shape:
        sizes = [" x ".join(map(str, picture.shape[1::-1])) for picture in (image, other)]
        raise ImageError(f"is {sizes[1]} pixels, but the picture {sizes[0]}: make them equal")
    grounds = _fit_grounds(image, other)
    error, shift_px = _error(image, other, grounds), 0.0
    if error > _FITS:  # rendered pairs fit as they are, and are not resampled
        shift = _find_shift(image, other, grounds)
        moved = _move(other, shift)
        if (least := _error(image, moved, grounds)) < error:
            other, error, shift_px = moved, least, float(np.hypot(*shift))
    noise = math.hypot(grounds[0].spread, grounds[1].spread)
    if error > max(_MOST_ERROR, _MOST_ERRORS * noise):
        raise ImageError(
            f"differs from the picture by {255 * error:.1f} levels where only the ground may "
            "differ: photograph the subject from the same place, in the same light"
        )
    if shift_px > _MOST_PX:
        raise ImageError(f"is shifted against the picture by {shift_px:.1f} px or more: align them")
    alpha, foreground = _solve(image, other, grounds)
    sure = round(max(0.0, 1 - error / max(_MOST_ERROR, _MOST_ERRORS * noise)), 3)
    return Pair(alpha, foreground, 255 * error, shift_px, sure)


def _fit_grounds(image: Image, other: Image) -> Grounds:
    """Fit both grounds where both are bare: there the pictures differ most.

    Raises:
        ImageError: if the pictures are alike everywhere.
    """
    size, y, x = _lattice(image)
    first, second = (_samples(picture, y, x) for picture in (image, other))
    length = np.linalg.norm(first - second, axis=1)
    most = float(np.percentile(length, _MOST))
    if most < _LEAST_CONTRAST:
        raise ImageError(
            f"its ground differs from the picture's by {255 * most:.0f} levels, too little to "
            "solve for alpha: use white and black, or two colours as different"
        )
    bare = length >= _BARE[0] * most

    def fit(order: int) -> Grounds:
        return tuple(fit_surface(picture[bare], y[bare], x[bare], size, order=order)
                     for picture in (first, second))  # type: ignore[return-value]  # fmt: skip

    plain = fit(0)
    if all(ground.spread < _EVEN and ground.share > _ALL for ground in plain):
        return plain  # rendered
    grounds, tolerance = plain, _TOLERANCE
    for _ in range(6):
        levels = [ground.at(y, x) for ground in grounds]
        span = levels[0] - levels[1]
        clear = ((first - second) * span).sum(axis=1) / (span * span).sum(axis=1)
        off = np.maximum(np.abs(first - levels[0]), np.abs(second - levels[1])).max(axis=1)
        bare = (clear > _BARE[1]) & (off < tolerance)
        if bare.sum() < 24:
            return plain
        grounds = fit(2)
        tolerance = max(4 * grounds[0].spread, 4 * grounds[1].spread, 1 / 255)
    varies = max(float(np.ptp(ground.at(y[bare], x[bare]), axis=0).max()) for ground in grounds)
    return fit(0) if varies < _EVEN else grounds


def _find_shift(image: Image, other: Image, grounds: Grounds) -> tuple[float, float]:
    """Find the shift (across, down) in px at which two pictures fit the model best."""
    small = downscale_to(image, _SEARCH_PX)
    factor = small.shape[1] / image.shape[1]
    first, second = (
        np.asarray(cv2.GaussianBlur(downscale_to(picture, _SEARCH_PX), (0, 0), 0.8), picture.dtype)
        for picture in (image, other)
    )
    near = [replace(ground, size=small.shape[:2]) for ground in grounds]
    rows, columns = (slice(4, side - 4) for side in small.shape[:2])
    span = (near[0].rows(slice(None)) - near[1].rows(slice(None)))[rows, columns].reshape(-1, 3)
    fixed = (first[rows, columns] / np.float32(white(first))).reshape(-1, 3)
    scale, length = np.float32(1 / white(second)), (span * span).sum(axis=1)

    @functools.cache
    def error(across: float, down: float) -> float:
        moved = _move(second, (across * factor, down * factor))[rows, columns].reshape(-1, 3)
        difference = fixed - moved * scale
        clear = np.clip((difference * span).sum(axis=1) / length, 0, 1)
        return float(((difference - clear[:, np.newaxis] * span) ** 2).sum())

    best = 0.0, 0.0
    for step in _SHIFTS_PX:
        reach = range(-2, 3) if step == _SHIFTS_PX[0] else range(-1, 2)
        around = [(best[0] + i * step, best[1] + j * step) for i in reach for j in reach]
        best = min(around, key=lambda shift: error(*shift))
    return best


def _move(picture: Image, shift: tuple[float, float]) -> Image:
    """Take each pixel from so many px to the right and down."""
    matrix = np.array([[1, 0, shift[0]], [0, 1, shift[1]]], np.float32)
    moved = cv2.warpAffine(
        picture, matrix, picture.shape[1::-1],
        flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    return np.asarray(moved, picture.dtype)


def _error(image: Image, other: Image, grounds: Grounds) -> float:
    """Measure how far two pictures are from the model where there is a subject, in [0, 1]."""
    _, y, x = _lattice(image)
    difference = _samples(image, y, x) - _samples(other, y, x)
    span = grounds[0].at(y, x) - grounds[1].at(y, x)
    clear = (difference * span).sum(axis=1) / (span * span).sum(axis=1)
    rest = difference - np.clip(clear, 0, 1)[:, np.newaxis] * span
    there = clear < _BARE[1]
    if not there.any():
        return 0.0
    return float(np.sqrt((rest[there] ** 2).mean()))


def _solve(image: Image, other: Image, grounds: Grounds) -> tuple[Array, Image]:
    """Solve every pixel, in bands of rows: no float copy of the pictures."""
    alpha = np.empty(image.shape[:2], np.float32)
    foreground = np.empty_like(image)
    top_level = np.float32(white(image))
    # rounding needs no snapping: it would take faint smoke away
    noise = math.hypot(*(max(0.0, ground.spread - 0.75 / 255) for ground in grounds))
    for rows, first, second in _bands(image, other):
        behind, under = grounds[0].rows(rows), grounds[1].rows(rows)
        span = behind - under
        length = (span * span).sum(axis=2)
        clear = ((first - second) * span).sum(axis=2) / length
        a = np.clip(1 - clear, 0, 1)
        edge = np.float32(_SNAP * noise) / np.sqrt(length)
        a[a < edge] = 0
        a[a > 1 - edge] = 1
        b = (1 - a)[..., np.newaxis]
        light = (first - b * behind + second - b * under) / 2
        colours = light / np.maximum(a, np.float32(1e-4))[..., np.newaxis]
        colours = np.where((a == 0)[..., np.newaxis], first, np.clip(colours, 0, 1))
        alpha[rows] = a
        foreground[rows] = np.rint(colours * top_level)
    return alpha, foreground


def _bands(image: Image, other: Image) -> Iterator[tuple[slice, Array, Array]]:
    for top in range(0, len(image), _ROWS):
        rows = slice(top, min(top + _ROWS, len(image)))
        first, second = (picture[rows].astype(np.float32) / np.float32(white(picture))
                         for picture in (image, other))  # fmt: skip
        yield rows, first, second


def _lattice(image: Image) -> tuple[tuple[int, int], npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return the image's size and a lattice of its pixels: averages would mix two things."""
    H, W = image.shape[:2]
    step = -(-max(H, W) // _SAMPLES_PX)
    y, x = np.mgrid[:H:step, :W:step].reshape(2, -1)
    return (H, W), y, x


def _samples(picture: Image, y: npt.NDArray[np.intp], x: npt.NDArray[np.intp]) -> Array:
    return np.asarray(picture[y, x] / np.float32(white(picture)), np.float32)
