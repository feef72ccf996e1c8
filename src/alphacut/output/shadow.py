"""The shadow that a subject casts on its new background."""

import cv2
import numpy as np
from numpy.typing import NDArray

from alphacut import values
from alphacut.options import Options, Shadow
from alphacut.output import geometry

# Offset to the right and down, and blur, in percent of the subject's longer side
_DEFAULTS = {"drop": ("2% 3%", "2%"), "contact": ("0 0", "2%")}
# A contact shadow is the subject's lower part, laid flat: shares of the subject's height
_FOOT, _FLAT = 0.1, 0.06


def make_shadow(
    alpha: NDArray[np.float32],
    kind: Shadow,
    *,
    opacity: float = Options.shadow_opacity,
    offset: str | None = Options.shadow_offset,
    blur: str | None = Options.shadow_blur,
    threshold: float = Options.threshold,
) -> NDArray[np.float32] | None:
    """Draw the shadow of a subject.

    Args:
        alpha: (H, W) float32 in [0, 1], on the canvas.
        kind: "drop", the silhouette moved and blurred, as on a wall; "contact", where the subject
            stands on the ground; "none" and "keep" draw nothing.
        opacity: 0..100.
        offset: How far right and down, px or % of the subject; None for the kind's own.
        blur: Its standard deviation, px or % of the subject; None for the kind's own.
        threshold: Alpha below this is no subject.

    Returns:
        Darkness (H, W) float32 in [0, 1]; None for no shadow.

    Raises:
        OptionError: if offset or blur is malformed.
    """
    if kind in ("none", "keep"):
        return None
    box = geometry.box_of(alpha, threshold)
    if box is None or not opacity:
        return np.zeros_like(alpha)
    side_px = max(box[2] - box[0], box[3] - box[1])
    default_offset, default_blur = _DEFAULTS[kind]
    right, down = values.parse_offset(offset or default_offset)
    blur_px = values.parse_length("shadow_blur", blur or default_blur).of(side_px)
    shape = _foot(alpha, box) if kind == "contact" else alpha
    dy, dx = round(down.of(side_px)), round(right.of(side_px))
    H, W = alpha.shape
    shape = geometry.crop(shape, (-dy, -dx, H - dy, W - dx))
    shape *= np.float32(opacity / 100)
    # a contact shadow lies on the ground, which is seen at a low angle
    return _soften(shape, (blur_px / 2 if kind == "contact" else blur_px, blur_px))


def _foot(alpha: NDArray[np.float32], box: geometry.Box) -> NDArray[np.float32]:
    """Lay the lower part of a subject flat, half of it before and half behind where it stands."""
    top, left, bottom, right = box
    height = bottom - top
    part = alpha[bottom - max(1, round(_FOOT * height)) : bottom, left:right]
    flat_px = max(2, round(_FLAT * height))
    flat = cv2.resize(part, (right - left, flat_px), interpolation=cv2.INTER_AREA)
    shape = np.zeros_like(alpha)
    start = bottom - round(flat_px * 0.6)
    stop = min(start + flat_px, len(alpha))
    shape[start:stop, left:right] = flat[: stop - start]
    return shape


def _soften(shape: NDArray[np.float32], sigma_px: tuple[float, float]) -> NDArray[np.float32]:
    """Blur by standard deviations (down, across); wide ones on a smaller image."""
    H, W = shape.shape
    down, across = sigma_px
    if min(down, across) <= 0:
        return shape
    factor = max(1, int(min(down, across) / 4))
    h, w = max(1, H // factor), max(1, W // factor)
    small = cv2.resize(shape, (w, h), interpolation=cv2.INTER_AREA) if factor > 1 else shape
    small = cv2.GaussianBlur(small, (0, 0), across * w / W, sigmaY=down * h / H,
                             borderType=cv2.BORDER_CONSTANT)  # fmt: skip
    if factor > 1:
        small = cv2.resize(small, (W, H), interpolation=cv2.INTER_LINEAR)
    return np.asarray(small, np.float32)
