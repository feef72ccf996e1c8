"""Clean-up of a finished alpha. Every function takes and returns (H, W) float32 in [0, 1].

They are independent of each other and of the image, and never modify their input.
"""

import cv2
import numpy as np
import numpy.typing as npt

from alphacut.errors import ImageError
from alphacut.pipeline.image import check_plane, downscale

Array = npt.NDArray[np.float32]

_VISIBLE = 0.5  # alpha from which a pixel counts as part of something
_FAINT = 0.05  # alpha below which a part's soft fringe ends
_LEAST_SLOPE = 1e-3  # per pixel; a flat area becomes all or nothing
_DISC_PX = 7  # radius of the discs that larger ones are summed from: their cost grows with the area
_SIGMA_PX = (
    8  # a wider Gaussian is computed at a lower resolution, where sigma is at least half of it
)


def refine(
    alpha: Array,
    *,
    largest: bool = False,
    specks_px: int = 0,
    holes_px: int = 0,
    grow_px: int = 0,
    smooth_px: float = 0.0,
    harden: float | None = None,
    binary: float | None = None,
    feather_px: float = 0.0,
) -> Array:
    """Clean up an alpha: parts first, then edges; without arguments it stays as it is.

    Args:
        alpha: (H, W) float32 in [0, 1].
        largest: See `keep_largest`.
        specks_px: See `remove_specks`; 0 does nothing, here and below.
        holes_px: See `fill_holes`.
        grow_px: See `grow`.
        smooth_px: See `smooth_edges`.
        harden: Alpha at which `harden_edges` puts the edge; None does nothing.
        binary: Alpha above which a pixel becomes 1, and all others 0; None does nothing.
        feather_px: See `feather`.

    Returns:
        (H, W) float32 in [0, 1].
    """
    if largest:
        alpha = keep_largest(alpha)
    if specks_px:
        alpha = remove_specks(alpha, specks_px)
    if holes_px:
        alpha = fill_holes(alpha, holes_px)
    if grow_px:
        alpha = grow(alpha, grow_px)
    if smooth_px:
        alpha = smooth_edges(alpha, smooth_px)
    if harden is not None:
        alpha = harden_edges(alpha, harden)
    if binary is not None:
        alpha = (alpha > binary).astype(np.float32)
    if feather_px:
        alpha = feather(alpha, feather_px)
    return alpha


def remove_specks(alpha: Array, area_px: int) -> Array:
    """Clear detached parts of fewer than `area_px` visible pixels, their soft fringe included."""
    labels, sizes = _parts(alpha)
    return _keep(alpha, labels, sizes >= area_px)


def keep_largest(alpha: Array) -> Array:
    """Clear every part but the one with the most visible pixels."""
    labels, sizes = _parts(alpha)
    keep = np.zeros(len(sizes), bool)
    if len(sizes) > 1:
        keep[1 + np.argmax(sizes[1:])] = True
    return _keep(alpha, labels, keep)


def fill_holes(alpha: Array, area_px: int) -> Array:
    """Make enclosed holes of fewer than `area_px` pixels opaque; those open to the frame stay."""
    check_plane("alpha", alpha)
    labels, sizes = _parts(1 - alpha)
    frame = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    keep = sizes >= area_px
    keep[frame] = True
    return 1 - _keep(1 - alpha, labels, keep)


def harden_edges(alpha: Array, threshold: float = 0.5, width_px: float = 1.0) -> Array:
    """Put a hard edge at a threshold, anti-aliased over `width_px`.

    Wide ramps become steep; where alpha is steeper already it stays as it is.

    Raises:
        ImageError: if the threshold is not inside (0, 1) or the width not positive.
    """
    check_plane("alpha", alpha)
    if not 0 < threshold < 1 or width_px <= 0:
        raise ImageError("threshold must lie inside (0, 1), and width_px be above 0")
    # alpha - threshold, divided by the slope, is the distance from the edge in pixels
    gx = cv2.Sobel(alpha, cv2.CV_32F, 1, 0, scale=1 / 8, borderType=cv2.BORDER_REPLICATE)
    gy = cv2.Sobel(alpha, cv2.CV_32F, 0, 1, scale=1 / 8, borderType=cv2.BORDER_REPLICATE)
    slope = np.maximum(cv2.magnitude(gx, gy), _LEAST_SLOPE)
    return np.clip((alpha - threshold) / (slope * width_px) + 0.5, 0, 1)


def feather(alpha: Array, radius_px: float) -> Array:
    """Soften edges with a Gaussian whose sigma is half of `radius_px`; 0 changes nothing."""
    check_plane("alpha", alpha)
    if radius_px < 0:
        raise ImageError("radius_px cannot be negative")
    if radius_px == 0:
        return alpha.copy()
    return np.clip(_blur(alpha, radius_px / 2), 0, 1)


def grow(alpha: Array, radius_px: int) -> Array:
    """Move edges outwards by `radius_px` pixels, or inwards if it is negative."""
    check_plane("alpha", alpha)
    if radius_px == 0:
        return alpha.copy()
    move = cv2.dilate if radius_px > 0 else cv2.erode
    steps, rest = divmod(abs(radius_px), _DISC_PX)
    for disc_px, times in ((_DISC_PX, steps), (rest, 1)):
        side = 2 * disc_px + 1
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
        moved = move(alpha, disc, iterations=times, borderType=cv2.BORDER_REPLICATE)
        alpha = np.asarray(moved, np.float32)
    return alpha


def smooth_edges(alpha: Array, radius_px: float) -> Array:
    """Smooth ragged edges up to about `radius_px` without softening them.

    A Gaussian rounds the outline, then the ramp is made as steep as before; detail finer than the
    radius, hair included, is lost.
    """
    check_plane("alpha", alpha)
    if radius_px <= 0:
        return alpha.copy()
    # A step blurred with sigma s has slope 1 / (s sqrt(2 pi)) at its middle
    steep = (_blur(alpha, radius_px) - 0.5) * np.float32(radius_px * np.sqrt(2 * np.pi)) + 0.5
    return np.asarray(np.clip(steep, 0, 1), np.float32)


def _blur(alpha: Array, sigma_px: float) -> Array:
    """Convolve with a Gaussian, at a lower resolution if it is wide."""
    H, W = alpha.shape
    factor = max(1, int(2 * sigma_px / _SIGMA_PX))
    h, w = max(1, H // factor), max(1, W // factor)
    across, down = sigma_px * w / W, sigma_px * h / H
    blurred = cv2.GaussianBlur(
        downscale(alpha, (h, w)), (0, 0), across, sigmaY=down, borderType=cv2.BORDER_REPLICATE
    )
    return np.asarray(cv2.resize(blurred, (W, H), interpolation=cv2.INTER_LINEAR), np.float32)


# --- parts ---


def _parts(alpha: Array) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """Return each pixel's label, 0 for none, and the number of visible pixels of each label.

    Anything above `_FAINT` connects, so a wisp of hair belongs to its head.
    """
    check_plane("alpha", alpha)
    _, labels = cv2.connectedComponents((alpha > _FAINT).astype(np.uint8), connectivity=8)
    sizes = np.bincount(labels[alpha >= _VISIBLE], minlength=int(labels.max()) + 1)
    sizes[0] = 0
    return np.asarray(labels, np.int32), np.asarray(sizes, np.int64)


def _keep(alpha: Array, labels: npt.NDArray[np.int32], keep: npt.NDArray[np.bool_]) -> Array:
    return np.where(keep[labels], alpha, np.float32(0))
