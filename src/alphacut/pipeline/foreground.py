"""True colours at soft edges: the image's colours without the old background.

Where 0 < alpha < 1 a pixel is a mixture, `I = alpha F + (1 - alpha) B`. Pasted unchanged on a new
background it shows a fringe of the old one, so F must be estimated. The method is blur fusion
(Forte, "Approximate Fast Foreground Colour Estimation", ICIP 2021): F and B are means of the
surrounding colours, weighted by alpha and by 1 - alpha, then corrected so that they mix to the
image; once over a wide radius, once over a narrow one. Means are smooth, so both are computed on
small grids; the last correction is made at the soft pixels of the full image.
"""

import math

import cv2
import numpy as np
import numpy.typing as npt

from alphacut.parallel import shared_out
from alphacut.pipeline.image import (
    TILE_PX,
    Image,
    check_image,
    check_plane,
    downscale,
    downscale_to,
    look_up,
)

Array = npt.NDArray[np.float32]

_FAR_GRID_PX = 128  # long side of the grid for the means from afar, at most
_FAR_PX = (32, 8, 4)  # their radii on it; each fills what the next one leaves open
_NEAR_GRID_PX = 256  # long side of the grid for the means from close by, at least, and up to twice
_NEAR_PX = 1  # their radius on it
_OPEN = np.float32(1e-4)  # mean weight under which a mean is left to the wider one
_DAMPING = np.float32(0.05)  # keeps JPEG noise, doubled where alpha is 1/2, out of the colours


def estimate_foreground(image: Image, alpha: Array) -> Image:
    """Estimate the straight (not premultiplied) foreground colours of an image, given its alpha.

    Args:
        image: (H, W, 3) uint8 or uint16, RGB.
        alpha: (H, W) float32 in [0, 1].

    Returns:
        (H, W, 3) of the image's dtype: the estimate where alpha is neither 0 nor 1 at the image's
        depth, the image elsewhere.

    Raises:
        ImageError: if a shape or dtype is wrong.
    """
    check_image(image)
    check_plane("alpha", alpha, image.shape[:2])
    foreground = image.copy()
    H, W = alpha.shape
    near = _means(image, alpha)

    def correct(tile: tuple[int, int]) -> None:
        _correct_tile(foreground, alpha, near, tile)

    tiles = [(top, left) for top in range(0, H, TILE_PX) for left in range(0, W, TILE_PX)]
    shared_out(correct, tiles)
    return foreground


def _means(image: Image, alpha: Array) -> list[Array]:
    """Estimate foreground and background colours (h, w, 3) on a small grid, everywhere."""
    H, W = alpha.shape
    halvings = max(0, math.floor(math.log2(max(H, W) / _NEAR_GRID_PX)))
    size = max(1, H >> halvings), max(1, W >> halvings)
    small, near = downscale(image, size), downscale(alpha, size)
    far = downscale_to(near, _FAR_GRID_PX)
    unit = np.float32(1 / np.iinfo(image.dtype).max)
    colours = downscale_to(small, _FAR_GRID_PX) * unit
    wide = []
    for share in (far, 1 - far):
        mean, weight = np.full(colours.shape, 0.5, np.float32), _weight(share)
        for radius_px in _FAR_PX:
            mean = _weighted_mean(colours, weight, mean, radius_px)
        wide.append(np.asarray(cv2.resize(mean, size[::-1]), np.float32))
    shares = near, 1 - near
    corrected = _correct(small * unit, (_three(shares[0]), _three(shares[1])), wide)
    return [
        _weighted_mean(colour, _weight(share), mean, _NEAR_PX)
        for colour, share, mean in zip(corrected, shares, wide, strict=True)
    ]


def _correct_tile(
    foreground: Image, alpha: Array, means: list[Array], tile: tuple[int, int]
) -> None:
    """Turn image into foreground at the soft pixels of the tile that begins at (top, left)."""
    (H, W), (top, left) = alpha.shape, tile
    part = alpha[top : top + TILE_PX, left : left + TILE_PX]
    white = np.iinfo(foreground.dtype).max
    sure = 0.5 / white  # networks hardly ever say 0 or 1: less than half a level changes no mixture
    soft = cv2.inRange(part, sure, 1 - sure)
    if not cv2.countNonZero(soft):
        return
    x, y = cv2.findNonZero(soft).reshape(-1, 2).astype(np.intp).T
    shares = np.repeat(part[y, x], 3).reshape(-1, 3)
    y, x = y + top, x + left
    found = look_up(means, y, x, (H, W))
    pixels, where = foreground.reshape(-1, 3), y * W + x
    seen = pixels.take(where, axis=0) * np.float32(1 / white)
    colours, _ = _correct(seen, (shares, 1 - shares), found)
    pixels[where] = np.rint(colours * white)


def _correct(
    image: Array, shares: tuple[Array, Array], colours: list[Array]
) -> tuple[Array, Array]:
    """Return the colours closest to the given ones that, mixed by their shares, make the image."""
    (a, b), (F, B) = shares, colours
    rest = (image - a * F - b * B) / (a * a + b * b + _DAMPING)
    return np.clip(F + a * rest, 0, 1), np.clip(B + b * rest, 0, 1)


def _weight(share: Array) -> Array:
    """Weigh pixels in a mean by share⁸: pure pixels count, mixtures hardly."""
    squared = share * share
    squared *= squared
    squared *= squared
    return squared


def _weighted_mean(colour: Array, weight: Array, otherwise: Array, radius_px: int) -> Array:
    """Return a colour's local mean; the other colour where there is hardly any weight."""
    kernel = 2 * radius_px + 1, 2 * radius_px + 1
    total = cv2.blur(colour * _three(weight), kernel, borderType=cv2.BORDER_REPLICATE)
    mass = cv2.blur(weight, kernel, borderType=cv2.BORDER_REPLICATE)
    return np.asarray((total + _OPEN * otherwise) / _three(mass + _OPEN))


def _three(plane: Array) -> Array:
    """Repeat a plane for each colour channel: (h, w, 3)."""
    return np.asarray(cv2.merge([plane] * 3), np.float32)
