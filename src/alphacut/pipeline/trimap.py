"""Trimaps: what is certainly background, certainly foreground, and left to matting.

In memory a trimap is float32 in {0, 0.5, 1}; 0, 128 and 255 exist in files only.
"""

import math

import cv2
import numpy as np
import numpy.typing as npt

from alphacut.errors import ImageError

Array = npt.NDArray[np.float32]

_FOREGROUND = 0.95  # confidence above which a pixel counts as foreground
_BACKGROUND = 0.05  # and up to which as background
_BAND = 1 / 200  # default width of erosion and of dilation, as a share of the long side
_KNOWN_LEVELS = 0.02  # how far from black and white known pixels of a file may be


def make_trimap(
    mask: Array,
    *,
    foreground: float = _FOREGROUND,
    background: float = _BACKGROUND,
    kernel_px: tuple[int, int] = (3, 3),
    erosions: int | None = None,
    dilations: int | None = None,
) -> Array:
    """Make a trimap of a soft or hard mask, by erosion and dilation.

    What the mask is confident of is kept, less a margin: the foreground is eroded, everything that
    is not background is dilated, and what lies between is unknown. Where the mask itself is unsure
    the band is wide already; the margin adds to it.

    CarveKit's recipes are `foreground=231 / 255, background=0` with erosions=5, dilations=30 for
    U-2-Net, and erosions=20, dilations=40 for DeepLabV3.

    Args:
        mask: (H, W) float32 in [0, 1].
        foreground: Confidence above which a pixel is foreground.
        background: Confidence up to which a pixel is background.
        kernel_px: (H, W) of the kernel, all ones. The anchor is OpenCV's: an even side looks one
            pixel further up or left than down or right.
        erosions: How often to erode the foreground with it; by default as far as 1/200 of the long
            side, at least 2 px.
        dilations: How often to dilate the rest; the same default.

    Returns:
        (H, W) float32 in {0, 0.5, 1}.

    Raises:
        ImageError: if the mask is not (H, W) float32, or a setting makes no sense.
    """
    if mask.ndim != 2 or mask.dtype != np.float32 or mask.size == 0:
        raise ImageError(f"mask must be (H, W) float32, not {mask.shape} {mask.dtype}")
    if not 0 <= background < foreground <= 1:
        raise ImageError(
            f"background {background} must be below foreground {foreground}, both in 0..1"
        )
    if min(kernel_px) < 1:
        raise ImageError(f"kernel_px must be at least 1 x 1, not {kernel_px}")
    if min(erosions or 0, dilations or 0) < 0:
        raise ImageError("erosions and dilations cannot be negative")
    margin = math.ceil(max(2, max(mask.shape) * _BAND) / max(min(kernel_px) // 2, 1))
    kernel = np.ones(kernel_px, np.uint8)
    sure = (mask > foreground).astype(np.uint8)
    # The subject goes on beyond the image's border, so nothing is eroded from there
    inner = cv2.erode(sure, kernel, iterations=margin if erosions is None else erosions)
    possible = (mask > background).astype(np.uint8)
    outer = cv2.dilate(possible, kernel, iterations=margin if dilations is None else dilations)
    trimap = np.full(mask.shape, 0.5, np.float32)
    trimap[outer == 0] = 0
    trimap[inner > 0] = 1
    return trimap


def read_trimap(levels: npt.NDArray[np.uint8] | npt.NDArray[np.uint16]) -> Array:
    """Read a trimap from grey levels, however it spells "unknown" (127, 128, 102, ...).

    Args:
        levels: (H, W) uint8 or uint16; or (H, W, C), of which the first channel is read.

    Returns:
        (H, W) float32 in {0, 0.5, 1}: near black 0, near white 1, everything else 0.5.

    Raises:
        ImageError: if it is not such an array.
    """
    if levels.dtype not in (np.uint8, np.uint16) or levels.ndim not in (2, 3) or levels.size == 0:
        raise ImageError(
            f"a trimap must be a grey image of 8 or 16 bits, not {levels.shape} {levels.dtype}"
        )
    grey = levels if levels.ndim == 2 else levels[..., 0]
    white = np.iinfo(levels.dtype).max
    trimap = np.full(grey.shape, 0.5, np.float32)
    trimap[grey <= white * _KNOWN_LEVELS] = 0
    trimap[grey >= white * (1 - _KNOWN_LEVELS)] = 1
    return trimap


def encode_trimap(trimap: Array) -> npt.NDArray[np.uint8]:
    """Convert a trimap to grey levels for a file: (H, W) uint8 in {0, 128, 255}."""
    return np.where(trimap <= 0.25, 0, np.where(trimap >= 0.75, 255, 128)).astype(np.uint8)
