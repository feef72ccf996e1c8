"""Where the subject goes: crop, canvas, size and place, right to the pixel.

A box is (top, left, bottom, right) in pixels, the last two exclusive; it may reach beyond the
picture, where nothing is.
"""

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from alphacut import values
from alphacut.errors import OptionError
from alphacut.options import Options
from alphacut.pipeline.image import Image, white

Box: TypeAlias = tuple[int, int, int, int]

# Portraits: room above the head as a share of the frame, and the frame's width by the subject's.
# A subject is seen from the head down to where the frame ends, at the latest at its own end.
PORTRAITS = {"profile": (0.12, 1.25), "passport": (0.10, 1.05)}
_ROWS = 256
_HEADROOM = 0.8  # cubic interpolation overshoots


@dataclass(frozen=True)
class Placement:
    """How a picture is laid on a canvas.

    Attributes:
        frame: The part of the picture that the subject is taken from.
        scene: The part that the photo's own background is taken from.
        canvas: (H, W) of the result.
        target: Where the frame lies on the canvas; of another size, it is resized.
    """

    frame: Box
    scene: Box
    canvas: tuple[int, int]
    target: Box

    @property
    def resizes(self) -> bool:
        """Whether the frame is of another size on the canvas."""
        frame, target = self.frame, self.target
        return (frame[2] - frame[0], frame[3] - frame[1]) != (
            target[2] - target[0],
            target[3] - target[1],
        )


def box_of(alpha: NDArray[np.float32], threshold: float) -> Box | None:
    """Return the box of what is at least as opaque as a threshold; None if nothing is."""
    visible = alpha >= threshold
    rows, columns = np.flatnonzero(visible.any(axis=1)), np.flatnonzero(visible.any(axis=0))
    if not len(rows):
        return None
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def region(roi: str, size: tuple[int, int]) -> Box:
    """Return the box that a region of interest means in a picture.

    Raises:
        OptionError: if it is empty or reaches beyond the picture.
    """
    H, W = size
    left, top, right, bottom = values.parse_region(roi)
    box = round(top.of(H)), round(left.of(W)), round(bottom.of(H)), round(right.of(W))
    if box[2] > H or box[3] > W:
        raise OptionError("roi", roi, f"reaches beyond the picture, {W} x {H} pixels")
    if box[0] >= box[2] or box[1] >= box[3]:
        raise OptionError("roi", roi, "is empty: give left, top, right and bottom")
    return box


def rescale(box: Box, size: tuple[int, int], to: tuple[int, int]) -> Box:
    """Return the box that a box in a picture of one size is in the same picture of another."""
    (H, W), (h, w) = size, to
    top, left = box[0] * h // H, box[1] * w // W
    return top, left, max(top + 1, -(-box[2] * h // H)), max(left + 1, -(-box[3] * w // W))


def keep_inside(alpha: NDArray[np.float32], box: Box) -> NDArray[np.float32]:
    """Return alpha with zero outside a box."""
    top, left, bottom, right = box
    inside = np.zeros_like(alpha)
    inside[top:bottom, left:right] = alpha[top:bottom, left:right]
    return inside


def place(size: tuple[int, int], box: Box | None, head_x: float, options: Options) -> Placement:
    """Decide frame, canvas and place.

    Args:
        size: (H, W) of the picture.
        box: The subject's, or None if there is none: then the whole picture takes its part.
        head_x: Middle of the subject's upper part, in pixels from the left, for portraits.
        options: `crop`, `margin`, `size`, `scale`, `position` and `preset`.

    Raises:
        OptionError: if the canvas would be above the limit of megapixels.
    """
    whole = (0, 0, *size)
    canvas = values.parse_canvas(options.size) if options.size else None
    scale, position = values.parse_scale(options.scale), values.parse_position(options.position)
    frame = whole
    if box and options.preset in PORTRAITS:
        aspect = canvas.aspect if canvas else 1.0
        frame = _portrait(size, box, head_x, aspect, options.preset)
    elif box and options.crop:
        frame = _crop(box, options.margin)
    scene = frame
    H, W = scene[2] - scene[0], scene[3] - scene[1]
    if box and scale:  # the subject alone is sized, not what surrounds it
        frame = box
    h, w = frame[2] - frame[0], frame[3] - frame[1]
    if canvas and canvas.size:
        H, W = canvas.size
    elif canvas:  # a shape: the smallest canvas on which nothing shrinks
        share = scale or 1.0
        H = max(1, math.ceil(max(h / share, w / share / canvas.aspect) - 1e-6))
        W = max(1, round(H * canvas.aspect))
    factor = 1.0
    if canvas is None or canvas.size:
        share = scale or 1.0
        factor = min(share * H / h, share * W / w) if canvas or scale else 1.0
    megapixels = H * W / 1e6
    if megapixels > options.max_megapixels:
        limit = f"{options.max_megapixels:g} megapixels"
        raise OptionError("size", options.size, f"a canvas of {W} x {H} pixels is above {limit}")

    if position is None and canvas is None and not scale:
        return Placement(frame, scene, (H, W), (0, 0, h, w))
    across, down = position or (0.5, 0.5)
    # what stands at the position: the subject, unless a frame was made around it
    thing = box if box and frame == whole and canvas is None else frame
    top = round(down * (H - (thing[2] - thing[0]) * factor) - (thing[0] - frame[0]) * factor)
    left = round(across * (W - (thing[3] - thing[1]) * factor) - (thing[1] - frame[1]) * factor)
    bottom, right = top + max(1, round(h * factor)), left + max(1, round(w * factor))
    if position is None and not scale:  # the scene goes on around the frame, in its place
        y, x = frame[0] - round(top / factor), frame[1] - round(left / factor)
        scene = y, x, y + max(1, round(H / factor)), x + max(1, round(W / factor))
    return Placement(frame, scene, (H, W), (top, left, bottom, right))


def _crop(box: Box, margin: str) -> Box:
    """Grow a subject's box by its margins, each rounded to whole pixels."""
    top, left, bottom, right = box
    h, w = bottom - top, right - left
    above, beyond, below, before = values.parse_margin(margin)
    return (
        top - round(above.of(h)), left - round(before.of(w)),
        bottom + round(below.of(h)), right + round(beyond.of(w)),
    )  # fmt: skip


def _portrait(size: tuple[int, int], box: Box, head_x: float, aspect: float, preset: str) -> Box:
    """Frame the upper part of a person, with room above the head.

    Where the picture's border cuts the subject off, the frame does not reach beyond it, unless it
    would get narrower than half of the subject.
    """
    head_room, share = PORTRAITS[preset]
    top, left, bottom, right = box
    width = min((bottom - top) / (1 - head_room) * aspect, share * (right - left))
    if left <= 0:
        width = min(width, max(2 * head_x, (right - left) / 2))
    if right >= size[1]:
        width = min(width, max(2 * (size[1] - head_x), (right - left) / 2))
    H, W = max(1, round(width / aspect)), max(1, round(width))
    y, x = top - round(head_room * H), round(head_x - W / 2)
    return y, x, y + H, x + W


def head_of(alpha: NDArray[np.float32], box: Box) -> float:
    """Return the middle of a subject's upper fifth, in pixels from the left."""
    top, left, bottom, right = box
    part = alpha[top : top + max(1, (bottom - top) // 5), left:right]
    weights = part.sum(axis=0, dtype=np.float64)
    return left + float(np.average(np.arange(len(weights)) + 0.5, weights=weights + 1e-9))


def lay(
    foreground: Image, alpha: NDArray[np.float32], placement: Placement
) -> tuple[Image, NDArray[np.float32]]:
    """Lay foreground and alpha on a canvas; what the picture does not cover is transparent.

    Pixels that keep their size are copied, not computed. Others are resized multiplied by alpha,
    so that no hidden colour gets into an edge.
    """
    H, W = placement.canvas
    if placement.frame == placement.target == (0, 0, *alpha.shape) and alpha.shape == (H, W):
        return foreground, alpha
    foreground = crop(foreground, placement.frame)
    alpha = crop(alpha, placement.frame)
    top, left, bottom, right = placement.target
    if placement.resizes:
        foreground, alpha = _resize(foreground, alpha, (bottom - top, right - left))
    box = -top, -left, H - top, W - left
    return crop(foreground, box), crop(alpha, box)


def crop(array: NDArray[Any], box: Box) -> NDArray[Any]:
    """Cut a box out of an array (H, W, ...), as a copy; beyond its border is zero."""
    H, W = array.shape[:2]
    top, left, bottom, right = box
    part = np.zeros((bottom - top, right - left, *array.shape[2:]), array.dtype)
    y, x = slice(max(top, 0), min(bottom, H)), slice(max(left, 0), min(right, W))
    if y.start < y.stop and x.start < x.stop:
        part[y.start - top : y.stop - top, x.start - left : x.stop - left] = array[y, x]
    return part


def _resize(
    foreground: Image, alpha: NDArray[np.float32], size: tuple[int, int]
) -> tuple[Image, NDArray[np.float32]]:
    """Resize colours weighted by alpha, kept in 16 bits meanwhile: half of what float takes."""
    peak = white(foreground)
    unit = np.float32(_HEADROOM * 65535 / peak)
    weighted = np.empty(foreground.shape, np.uint16)
    for top in range(0, len(alpha), _ROWS):
        band = slice(top, top + _ROWS)
        weighted[band] = foreground[band] * (alpha[band, :, np.newaxis] * unit) + np.float32(0.5)
    H, W = size
    h, w = alpha.shape
    filter = cv2.INTER_AREA if h >= H and w >= W else cv2.INTER_CUBIC
    weighted = np.asarray(cv2.resize(weighted, (W, H), interpolation=filter), np.uint16)
    small = np.asarray(cv2.resize(alpha, (W, H), interpolation=filter), np.float32)
    image = np.empty((H, W, 3), foreground.dtype)
    for top in range(0, H, _ROWS):
        band = slice(top, top + _ROWS)
        divisor = np.maximum(small[band, :, np.newaxis], np.float32(1e-4)) * unit
        image[band] = np.minimum(weighted[band] / divisor + np.float32(0.5), peak)
    return image, np.clip(small, 0, 1, out=small)
