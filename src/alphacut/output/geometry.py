"""Where the subject goes: crop, canvas, scale and position, exact to the pixel.

A box is (top, left, bottom, right) in pixels, the last two exclusive. It may reach beyond the
image, where everything is transparent.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from alphacut import values
from alphacut.errors import OptionError
from alphacut.options import Options, Preset
from alphacut.pipeline.image import Image, white

Box: TypeAlias = tuple[int, int, int, int]

# Portraits: room above the head as a share of the frame, and the frame's width over the subject's.
# A subject is shown from the head down to where the frame ends, at most to its own end.
PORTRAITS = {"profile": (0.12, 1.25), "passport": (0.10, 1.05)}
_ROWS = 256
_HEADROOM = 0.8  # cubic interpolation overshoots


@dataclass(frozen=True)
class Placement:
    """How an image is laid on a canvas.

    Attributes:
        frame: The part of the image that the subject is taken from.
        scene: The part that the photo's own background is taken from.
        canvas: (H, W) of the result.
        target: Where the frame goes on the canvas; it is resized if its size differs.
    """

    frame: Box
    scene: Box
    canvas: tuple[int, int]
    target: Box

    @property
    def resizes(self) -> bool:
        """Whether the frame has another size on the canvas."""
        return _size_of(self.frame) != _size_of(self.target)

    def keeps(self, size: tuple[int, int]) -> bool:
        """Tell whether an image of this size stays as it is."""
        return self.frame == self.target == (0, 0, *size) and self.canvas == size


def box_of(alpha: NDArray[np.float32], threshold: float) -> Box | None:
    """Return the bounding box of alpha at or above a threshold; None if there is none."""
    visible = alpha >= threshold
    rows, columns = np.flatnonzero(visible.any(axis=1)), np.flatnonzero(visible.any(axis=0))
    if not len(rows):
        return None
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def union_of(boxes: Iterable[Box | None]) -> Box | None:
    """Return the smallest box around all boxes that there are; None if there are none."""
    there = [box for box in boxes if box]
    if not there:
        return None
    tops, lefts, bottoms, rights = zip(*there, strict=True)
    return min(tops), min(lefts), max(bottoms), max(rights)


def region(option: str, text: str, size: tuple[int, int]) -> Box:
    """Return the box that an option's text means in an image.

    Args:
        option: The field of `Options`.
        text: Left, top, right and bottom, each px or %.
        size: (H, W) of the image.

    Raises:
        OptionError: if it is empty or reaches beyond the image.
    """
    H, W = size
    left, top, right, bottom = values.parse_region(option, text)
    box = round(top.of(H)), round(left.of(W)), round(bottom.of(H)), round(right.of(W))
    if box[2] > H or box[3] > W:
        raise OptionError(
            option, text, f"reaches beyond the picture, {W} x {H} pixels", "out_of_bounds"
        )
    if box[0] >= box[2] or box[1] >= box[3]:
        raise OptionError(option, text, "is empty: give left, top, right and bottom", "empty")
    return box


def rescale(box: Box, size: tuple[int, int], to: tuple[int, int]) -> Box:
    """Convert a box from an image of one size to the same image at another size."""
    (H, W), (h, w) = size, to
    top, left = box[0] * h // H, box[1] * w // W
    return top, left, max(top + 1, -(-box[2] * h // H)), max(left + 1, -(-box[3] * w // W))


def keep_inside(alpha: NDArray[np.float32], box: Box) -> NDArray[np.float32]:
    """Return alpha set to zero outside a box."""
    top, left, bottom, right = box
    inside = np.zeros_like(alpha)
    inside[top:bottom, left:right] = alpha[top:bottom, left:right]
    return inside


def place(
    size: tuple[int, int],
    box: Box | None,
    *,
    head_x: float | None = None,
    crop: bool = Options.crop,
    margin: str = Options.margin,
    canvas: str | None = Options.size,
    scale: str | None = Options.scale,
    position: str = Options.position,
    preset: Preset = Options.preset,
    max_megapixels: float = Options.max_megapixels,
) -> Placement:
    """Decide frame, canvas and place; without further arguments the image stays as it is.

    Args:
        size: (H, W) of the image.
        box: The subject's; None if there is none: then the whole image takes its part.
        head_x: Middle of the subject's head, in pixels from the left, for portraits; by default
            the middle of the box.
        crop: Whether the image is cropped to the subject.
        margin: Room around a crop, as in CSS: 1, 2 or 4 of px or % of the subject.
        canvas: Size of the result such as "800x600", width first, or its shape such as "1:1".
        scale: The subject's share of the canvas, such as "80%".
        position: Where it stands, such as "top left" or "50% 100%", or "original".
        preset: "profile" and "passport" frame a portrait.
        max_megapixels: A larger canvas is refused.

    Raises:
        OptionError: if a text is malformed, or the canvas too large.
    """
    whole = (0, 0, *size)
    wanted = values.parse_canvas(canvas) if canvas else None
    share = values.parse_scale(scale) if scale else None
    anchor = values.parse_position(position)
    frame = whole
    if box and preset in PORTRAITS:
        frame = _portrait(size, box, head_x, wanted.aspect if wanted else 1.0, preset)
    elif box and crop:
        frame = _add_margin(box, margin)
    scene = frame
    if box and share:  # the subject alone is scaled, not its surroundings
        frame = box
    (H, W), factor = _fit_canvas(_size_of(frame), _size_of(scene), wanted, share)
    megapixels = H * W / 1e6
    if megapixels > max_megapixels:
        limit = f"{max_megapixels:g} megapixels"
        raise OptionError("size", canvas, f"a canvas of {W} x {H} pixels is above {limit}")

    h, w = _size_of(frame)
    if anchor is None and wanted is None and not share:
        return Placement(frame, scene, (H, W), (0, 0, h, w))
    across, down = anchor or (0.5, 0.5)
    # what stands at the position: the subject, unless a frame was made around it
    thing = box if box and frame == whole and wanted is None else frame
    top = round(down * (H - (thing[2] - thing[0]) * factor) - (thing[0] - frame[0]) * factor)
    left = round(across * (W - (thing[3] - thing[1]) * factor) - (thing[1] - frame[1]) * factor)
    bottom, right = top + max(1, round(h * factor)), left + max(1, round(w * factor))
    if anchor is None and not share:  # the scene extends the frame over the whole canvas
        y, x = frame[0] - round(top / factor), frame[1] - round(left / factor)
        scene = y, x, y + max(1, round(H / factor)), x + max(1, round(W / factor))
    return Placement(frame, scene, (H, W), (top, left, bottom, right))


def _size_of(box: Box) -> tuple[int, int]:
    return box[2] - box[0], box[3] - box[1]


def _fit_canvas(
    frame: tuple[int, int],
    scene: tuple[int, int],
    wanted: values.Canvas | None,
    share: float | None,
) -> tuple[tuple[int, int], float]:
    """Return (H, W) of the canvas, and the factor by which the frame is resized for it."""
    h, w = frame
    if wanted and not wanted.size:  # a shape: the smallest canvas on which nothing shrinks
        share = share or 1.0
        H = max(1, math.ceil(max(h / share, w / share / wanted.aspect) - 1e-6))
        return (H, max(1, round(H * wanted.aspect))), 1.0
    if not wanted and not share:
        return scene, 1.0
    H, W = wanted.size if wanted and wanted.size else scene
    share = share or 1.0
    return (H, W), min(share * H / h, share * W / w)


def _add_margin(box: Box, margin: str) -> Box:
    """Grow a subject's box by its margins, each rounded to whole pixels."""
    top, left, bottom, right = box
    h, w = _size_of(box)
    above, beyond, below, before = values.parse_margin(margin)
    return (
        top - round(above.of(h)), left - round(before.of(w)),
        bottom + round(below.of(h)), right + round(beyond.of(w)),
    )  # fmt: skip


def _portrait(
    size: tuple[int, int], box: Box, head_x: float | None, aspect: float, preset: Preset
) -> Box:
    """Frame the upper part of a person, with room above the head.

    Where the image's border cuts the subject off, the frame does not reach beyond it, unless it
    would become narrower than half of the subject.
    """
    head_room, share = PORTRAITS[preset]
    top, left, bottom, right = box
    head_x = (left + right) / 2 if head_x is None else head_x
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
    """Lay foreground and alpha on a canvas; what the image does not cover is transparent.

    Pixels that keep their size are copied, not computed. Others are resized premultiplied by
    alpha, so that no hidden colour bleeds into an edge.

    Args:
        foreground: (H, W, 3) uint8 or uint16.
        alpha: (H, W) float32 in [0, 1].
        placement: From `place`.

    Returns:
        Both of the canvas's size; the same arrays if the image stays as it is.
    """
    if placement.keeps(alpha.shape):
        return foreground, alpha
    colours, opacity = _view(foreground, placement.frame), _view(alpha, placement.frame)
    if placement.resizes:
        resized = _resize_plane(opacity, _size_of(placement.target))
        colours, opacity = _resize_colours(colours, opacity, resized), np.clip(resized, 0, 1)
    return _on_canvas(colours, placement), _on_canvas(opacity, placement)


def lay_plane(plane: NDArray[np.float32], placement: Placement) -> NDArray[np.float32]:
    """Lay one plane (H, W) in [0, 1] on a canvas, as `lay` does alpha."""
    if placement.keeps(plane.shape):
        return plane
    part = _view(plane, placement.frame)
    if placement.resizes:
        part = np.clip(_resize_plane(part, _size_of(placement.target)), 0, 1)
    return _on_canvas(part, placement)


def lay_saliency(
    saliency: NDArray[np.float32], size: tuple[int, int], placement: Placement
) -> NDArray[np.float32]:
    """Lay a network's saliency on a canvas without enlarging it to the size of its image.

    Args:
        saliency: (h, w) float32 in [0, 1], at the network's size.
        size: (H, W) of the image.
        placement: From `place`.

    Returns:
        float32 of the canvas's shape, at about the resolution that the saliency has in the image.
    """
    if placement.keeps(size):
        return saliency
    axes = [
        _sample(saliency.shape[axis], size[axis], placement.canvas[axis],
                placement.frame[axis::2], placement.target[axis::2])
        for axis in (0, 1)
    ]  # fmt: skip
    (y, inside_y), (x, inside_x) = axes
    maps = np.meshgrid(x, y)
    laid = cv2.remap(saliency, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(laid * np.outer(inside_y, inside_x), np.float32)


def _sample(
    n: int, image_px: int, canvas_px: int, frame: tuple[int, ...], target: tuple[int, ...]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Sample a canvas along one axis, as finely as the n pixels of a saliency resolve its image.

    Returns:
        For each sample, the pixel of the saliency, and whether the image and its frame reach there.
    """
    scale = (target[1] - target[0]) / (frame[1] - frame[0])
    count = min(canvas_px, math.ceil(canvas_px / scale * n / image_px))
    on_canvas = (np.arange(count) + 0.5) * canvas_px / count
    in_image = (on_canvas - target[0]) / scale + frame[0]
    inside = (in_image >= max(frame[0], 0)) & (in_image < min(frame[1], image_px))
    return (in_image * n / image_px - 0.5).astype(np.float32), inside


def crop(array: NDArray[Any], box: Box) -> NDArray[Any]:
    """Crop an array (H, W, ...) to a box, as a copy; beyond its border is zero."""
    H, W = array.shape[:2]
    top, left, bottom, right = box
    part = np.zeros((bottom - top, right - left, *array.shape[2:]), array.dtype)
    y, x = slice(max(top, 0), min(bottom, H)), slice(max(left, 0), min(right, W))
    if y.start < y.stop and x.start < x.stop:
        part[y.start - top : y.stop - top, x.start - left : x.stop - left] = array[y, x]
    return part


def _view(array: NDArray[Any], box: Box) -> NDArray[Any]:
    """Crop without a copy, if the box lies inside."""
    top, left, bottom, right = box
    if min(top, left) >= 0 and bottom <= array.shape[0] and right <= array.shape[1]:
        return array[top:bottom, left:right]
    return crop(array, box)


def _on_canvas(part: NDArray[Any], placement: Placement) -> NDArray[Any]:
    """Put what fills the target on the canvas."""
    (H, W), (top, left, _, _) = placement.canvas, placement.target
    return crop(part, (-top, -left, H - top, W - left))


def _interpolation(before: tuple[int, ...], after: tuple[int, ...]) -> int:
    shrinks = before[0] >= after[0] and before[1] >= after[1]
    return cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC


def _resize_plane(plane: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    H, W = size
    resized = cv2.resize(plane, (W, H), interpolation=_interpolation(plane.shape, size))
    return np.asarray(resized, np.float32)


def _resize_colours(
    foreground: Image, alpha: NDArray[np.float32], resized: NDArray[np.float32]
) -> Image:
    """Resize colours weighted by alpha, kept in 16 bits meanwhile: half of what float takes.

    Args:
        foreground: (h, w, 3) uint8 or uint16.
        alpha: (h, w) float32.
        resized: Alpha (H, W), overshooting as the weighted colours do.
    """
    max_value = white(foreground)
    unit = np.float32(_HEADROOM * 65535 / max_value)
    weighted = np.empty(foreground.shape, np.uint16)
    for top in range(0, len(alpha), _ROWS):
        rows = slice(top, top + _ROWS)
        weighted[rows] = foreground[rows] * (alpha[rows, :, np.newaxis] * unit) + np.float32(0.5)
    H, W = resized.shape
    filter = _interpolation(alpha.shape, resized.shape)
    weighted = np.asarray(cv2.resize(weighted, (W, H), interpolation=filter), np.uint16)
    image = np.empty((H, W, 3), foreground.dtype)
    for top in range(0, H, _ROWS):
        rows = slice(top, top + _ROWS)
        divisor = np.maximum(resized[rows, :, np.newaxis], np.float32(1e-4)) * unit
        image[rows] = np.minimum(weighted[rows] / divisor + np.float32(0.5), max_value)
    return image
