"""True colours at soft edges: the photo's colours without the old background.

Where 0 < alpha < 1 a pixel is a mixture, `I = alpha F + (1 - alpha) B`. Pasted unchanged on a new
background it shows a fringe of the old one, so F has to be estimated. The way is blur fusion
(Forte, "Approximate Fast Foreground Colour Estimation", ICIP 2021): F and B are means of colours
around, weighted by alpha and by 1 - alpha, then corrected so that the mixture comes out right; once
from afar, once from close by. Here the means from afar are taken on a small grid, and everything
else only in tiles that hold soft pixels.
"""

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import numpy.typing as npt

from alphacut.errors import ImageError
from alphacut.shrink import shrink_to

Array = npt.NDArray[np.float32]
Image = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]

_GRID_PX = 256  # long side of the grid for the means from afar, which are smooth
_FAR_PX = (64, 16, 4)  # their radii on the grid; each fills what the next one leaves open
_NEAR = 1 / 300  # radius of the means from close by, as a share of the long side
_MIN_NEAR_PX = 2
_OPEN = 1e-4  # mean weight under which a mean is left to the wider one
_DAMPING = 0.05  # keeps JPEG noise, doubled where alpha is 1/2, from being unmixed into the colours
_TILE_PX = 256  # side of the tiles: float colours of one tile fit a processor's cache


def estimate_foreground(image: Image, alpha: Array) -> Image:
    """Straight (not premultiplied) foreground colours of an image, given its alpha.

    Args:
        image: (H, W, 3) uint8 or uint16, RGB.
        alpha: (H, W) float32 in [0, 1].

    Returns:
        (H, W, 3) of the image's dtype: the estimate where 0 < alpha < 1, the image elsewhere.

    Raises:
        ImageError: A shape or dtype is wrong.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype not in (np.uint8, np.uint16):
        raise ImageError(
            f"image has to be (H, W, 3) uint8 or uint16, not {image.shape} {image.dtype}"
        )
    if alpha.shape != image.shape[:2] or alpha.dtype != np.float32:
        raise ImageError(
            f"alpha has to be {image.shape[:2]} float32, not {alpha.shape} {alpha.dtype}"
        )
    H, W = alpha.shape
    tiles = [(top, left) for top in range(0, H, _TILE_PX) for left in range(0, W, _TILE_PX)
             if _soft(alpha[top : top + _TILE_PX, left : left + _TILE_PX]).any()]  # fmt: skip
    foreground = image.copy()
    if tiles:
        far = _means_from_afar(image, alpha)
        with ThreadPoolExecutor(max(1, cv2.getNumThreads())) as pool:
            for _ in pool.map(
                lambda tile: _estimate_tile(image, alpha, far, tile, foreground), tiles
            ):
                pass
    return foreground


def _estimate_tile(
    image: Image, alpha: Array, far: list[Array], tile: tuple[int, int], foreground: Image
) -> None:
    """Write the foreground of the soft pixels of the tile that begins at (top, left)."""
    H, W = alpha.shape
    top, left = tile
    reach_px = max(_MIN_NEAR_PX, round(max(H, W) * _NEAR))
    white = np.iinfo(image.dtype).max
    soft = _soft(alpha[top : top + _TILE_PX, left : left + _TILE_PX])
    x, y, width, height = cv2.boundingRect(soft.astype(np.uint8))
    soft = soft[y : y + height, x : x + width]
    y, x = top + y, left + x
    # The soft pixels' box, grown by what the mean from close by reaches.
    y0, x0 = max(y - reach_px, 0), max(x - reach_px, 0)
    around = np.s_[y0 : y + height + reach_px, x0 : x + width + reach_px]
    part = alpha[around]
    start = [_enlarge(mean, (H, W), (y0, x0), part.shape) for mean in far]
    colours = _unmix(image[around] * np.float32(1 / white), part, start, reach_px)
    colours = colours[y - y0 :, x - x0 :][:height, :width]
    target = foreground[y : y + height, x : x + width]
    target[soft] = np.rint(colours[soft] * white)


def _soft(alpha: Array) -> npt.NDArray[np.bool_]:
    return np.asarray((alpha > 0) & (alpha < 1))


def _means_from_afar(image: Image, alpha: Array) -> list[Array]:
    """Foreground and background colours (h, w, 3) on a small grid, defined everywhere."""
    small = shrink_to(image, _GRID_PX) * np.float32(1 / np.iinfo(image.dtype).max)
    part = shrink_to(alpha, _GRID_PX)
    means = []
    for share in (part, 1 - part):
        weight = _three(_weight(share))
        mean = np.broadcast_to(np.float32(0.5), small.shape)
        for radius_px in _FAR_PX:
            mean = _weighted_mean(small, weight, mean, radius_px)
        means.append(mean)
    return means


def _unmix(image: Array, alpha: Array, far: list[Array], radius_px: int) -> Array:
    """Foreground (h, w, 3) of a tile, from the colours around it."""
    shares = _three(alpha), _three(1 - alpha)
    near = [
        _weighted_mean(colour, _weight(share), mean, radius_px)
        for colour, share, mean in zip(_correct(image, shares, far), shares, far, strict=True)
    ]
    return _correct(image, shares, near)[0]


def _correct(
    image: Array, shares: tuple[Array, Array], colours: list[Array]
) -> tuple[Array, Array]:
    """The colours closest to the given ones that, mixed by their shares, make the image."""
    (a, b), (F, B) = shares, colours
    rest = (image - a * F - b * B) / (a * a + b * b + _DAMPING)
    return np.clip(F + a * rest, 0, 1), np.clip(B + b * rest, 0, 1)


def _weight(share: Array) -> Array:
    """Weight of a pixel's colour in a mean, share⁸: pure pixels count, mixtures hardly."""
    squared = share * share
    squared *= squared
    squared *= squared
    return squared


def _weighted_mean(colour: Array, weight: Array, otherwise: Array, radius_px: int) -> Array:
    """Local mean of a colour; where there is hardly any weight, the colour given otherwise."""
    kernel = 2 * radius_px + 1, 2 * radius_px + 1
    total = cv2.blur(colour * weight, kernel, borderType=cv2.BORDER_REPLICATE)
    mass = cv2.blur(weight, kernel, borderType=cv2.BORDER_REPLICATE)
    return np.asarray((total + _OPEN * otherwise) / (mass + _OPEN), np.float32)


def _three(plane: Array) -> Array:
    """The plane once for each colour channel, (h, w, 3)."""
    return np.asarray(cv2.merge([plane] * 3), np.float32)


def _enlarge(
    grid: Array, size: tuple[int, int], corner: tuple[int, int], part: tuple[int, ...]
) -> Array:
    """The part of a grid, enlarged to `size`, that starts at `corner`; linear."""
    y, x = grid.shape[0] / size[0], grid.shape[1] / size[1]
    matrix = np.array([[x, 0, (corner[1] + 0.5) * x - 0.5], [0, y, (corner[0] + 0.5) * y - 0.5]])
    part_of_grid = cv2.warpAffine(
        grid,
        matrix,
        (part[1], part[0]),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(part_of_grid, np.float32)
