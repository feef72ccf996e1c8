"""Clean-up of a finished alpha. Every function takes and gives (H, W) float32 in [0, 1].

They are independent of each other and of the image; the input is never modified.
"""

import cv2
import numpy as np
import numpy.typing as npt

from alphacut.errors import ImageError
from alphacut.options import Options

Array = npt.NDArray[np.float32]

_VISIBLE = 0.5  # alpha from which a pixel belongs to a part
_FAINT = 0.05  # a part's soft fringe ends where alpha falls below this
_LEAST_SLOPE = 1e-3  # per pixel; a flat area is all or nothing


def refine(alpha: Array, options: Options) -> Array:
    """Clean an alpha up as the options ask, parts first, then edges; unchanged if they do not."""
    if options.largest:
        alpha = keep_largest(alpha)
    if options.specks_px:
        alpha = remove_specks(alpha, options.specks_px)
    if options.holes_px:
        alpha = fill_holes(alpha, options.holes_px)
    if options.grow_px:
        alpha = grow(alpha, options.grow_px)
    if options.smooth_px:
        alpha = smooth_edges(alpha, options.smooth_px)
    if options.harden is not None:
        alpha = harden(alpha, options.harden)
    if options.feather_px:
        alpha = feather(alpha, options.feather_px)
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
    _check(alpha)
    labels, sizes = _parts(1 - alpha)
    frame = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    keep = sizes >= area_px
    keep[frame] = True
    return 1 - _keep(1 - alpha, labels, keep)


def harden(alpha: Array, threshold: float = 0.5, width_px: float = 1.0) -> Array:
    """A hard edge at a threshold, anti-aliased over `width_px`.

    A wide ramp is made steep; where alpha is steeper than that already it stays as it is.

    Raises:
        ImageError: The threshold is not inside (0, 1) or the width not positive.
    """
    _check(alpha)
    if not 0 < threshold < 1 or width_px <= 0:
        raise ImageError("threshold has to lie in (0, 1) and width_px above 0")
    # Over its slope per pixel, alpha - threshold is the distance from the edge.
    gx = cv2.Sobel(alpha, cv2.CV_32F, 1, 0, scale=1 / 8, borderType=cv2.BORDER_REPLICATE)
    gy = cv2.Sobel(alpha, cv2.CV_32F, 0, 1, scale=1 / 8, borderType=cv2.BORDER_REPLICATE)
    slope = np.maximum(cv2.magnitude(gx, gy), _LEAST_SLOPE)
    return np.clip((alpha - threshold) / (slope * width_px) + 0.5, 0, 1)


def feather(alpha: Array, radius_px: float) -> Array:
    """Soften edges with a Gaussian whose sigma is half of `radius_px`; 0 changes nothing."""
    _check(alpha)
    if radius_px < 0:
        raise ImageError("radius_px cannot be negative")
    if radius_px == 0:
        return alpha.copy()
    blurred = cv2.GaussianBlur(alpha, (0, 0), radius_px / 2, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(np.clip(blurred, 0, 1), np.float32)


def grow(alpha: Array, radius_px: int) -> Array:
    """Move edges outwards by `radius_px` pixels, or inwards if it is negative."""
    _check(alpha)
    if radius_px == 0:
        return alpha.copy()
    side = 2 * abs(radius_px) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    move = cv2.dilate if radius_px > 0 else cv2.erode
    return np.asarray(move(alpha, disc, borderType=cv2.BORDER_REPLICATE), np.float32)


def smooth_edges(alpha: Array, radius_px: float) -> Array:
    """Even out ragged edges up to about `radius_px` without making them softer.

    A Gaussian rounds the outline, then the ramp is steepened to what it was; detail finer than the
    radius, hair included, is lost.
    """
    _check(alpha)
    if radius_px <= 0:
        return alpha.copy()
    blurred = cv2.GaussianBlur(alpha, (0, 0), radius_px, borderType=cv2.BORDER_REPLICATE)
    # A step blurred with sigma s has slope 1 / (s sqrt(2 pi)) at its middle.
    steep = (blurred - 0.5) * (radius_px * np.sqrt(2 * np.pi)) + 0.5
    return np.asarray(np.clip(steep, 0, 1), np.float32)


# --- parts ---


def _check(alpha: Array) -> None:
    if alpha.ndim != 2 or alpha.dtype != np.float32 or alpha.size == 0:
        raise ImageError(f"alpha has to be (H, W) float32, not {alpha.shape} {alpha.dtype}")


def _parts(alpha: Array) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """Label of every pixel (0 for none) and number of visible pixels of every label.

    Parts are connected by anything above `_FAINT`, so a wisp of hair belongs to the head.
    """
    _check(alpha)
    _, labels = cv2.connectedComponents((alpha > _FAINT).astype(np.uint8), connectivity=8)
    sizes = np.bincount(labels[alpha >= _VISIBLE], minlength=int(labels.max()) + 1)
    sizes[0] = 0
    return np.asarray(labels, np.int32), np.asarray(sizes, np.int64)


def _keep(alpha: Array, labels: npt.NDArray[np.int32], keep: npt.NDArray[np.bool_]) -> Array:
    return np.where(keep[labels], alpha, np.float32(0))
