"""Strokes that a person paints on an image to say what is subject and what is not.

A stroke is certain where the brush went, and open at the brush's soft rim, so that the edge between
what was painted and what the network found is estimated again. Beyond the rim it has a say only
where colour and edge agree with it: on what has a colour that was painted over and is joined to the
stroke without an edge in between. Strokes are stored in shares of the image, so they fit it at any
size, and any network's output.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from alphacut.errors import OptionError
from alphacut.pipeline.image import Image, to_depth

Array = npt.NDArray[np.float32]

LABELS = {"remove": 0.0, "unsure": 0.5, "keep": 1.0}
_GRID_PX = 400  # long side of the grid on which a coarser saliency is painted: that of matting
_RIM = 1.2  # radii up to which the brush is soft, and all is open
# How certainty fades where colour and edge agree: at so many radii, so much is left
_FADING = ((2.0, 0.2), (1.7, 0.4), (1.4, 0.6), (1.2, 0.8))
_BIN = 8  # levels of a colour's channel that count as one; those next to it count as well
_BARRIER = 24  # difference of colour between neighbours on the grid that is an edge, in levels
_LARGEST = 0.25  # radius, as a share of the long side
_MOST_POINTS = 20_000
_SHIFT = 4  # bits of a pixel's fraction in OpenCV's coordinates


@dataclass(frozen=True)
class Stroke:
    """A stroke of a brush.

    Attributes:
        label: "keep", "remove" or "unsure".
        radius: The brush's, as a share of the image's long side.
        points: (x, y) along its path, from the top left, as shares of width and height.
    """

    label: str
    radius: float
    points: tuple[tuple[float, float], ...]


def read_strokes(records: Iterable[Mapping[str, Any]]) -> tuple[Stroke, ...]:
    """Read strokes from parsed JSON.

    Args:
        records: Mappings with a stroke's attributes.

    Returns:
        The strokes, in order.

    Raises:
        OptionError: if one is malformed or beyond a limit.
    """
    strokes = []
    points_left = _MOST_POINTS
    try:
        for record in records:
            points = tuple((float(x), float(y)) for x, y in record["points"])
            stroke = Stroke(str(record["label"]), float(record["radius"]), points)
            points_left -= len(points)
            inside = all(-1 <= share <= 2 for point in points for share in point)
            if stroke.label not in LABELS or not points or not inside or points_left < 0:
                raise ValueError
            if not 0 < stroke.radius <= _LARGEST:
                raise ValueError
            strokes.append(stroke)
    except (TypeError, ValueError, KeyError) as error:
        advice = f"each needs a label ({', '.join(LABELS)}), a radius up to {_LARGEST}, and points"
        raise OptionError("strokes", "...", f"{advice}, {_MOST_POINTS} in all") from error
    return tuple(strokes)


def within(
    strokes: Iterable[Stroke], view: tuple[int, int, int, int], size: tuple[int, int]
) -> tuple[Stroke, ...]:
    """Return strokes on an image (H, W) as they lie on a view of it: top, left, bottom, right."""
    (H, W), (top, left, bottom, right) = size, view
    h, w = bottom - top, right - left
    return tuple(
        Stroke(
            stroke.label, stroke.radius * max(H, W) / max(h, w),
            tuple(((x * W - left) / w, (y * H - top) / h) for x, y in stroke.points),
        )
        for stroke in strokes
    )  # fmt: skip


def paint(size: tuple[int, int], strokes: Sequence[Stroke], wider: float = 1.0) -> Array:
    """Paint strokes on an empty plane, later ones over earlier ones.

    Args:
        size: (H, W) of the plane.
        strokes: What to paint.
        wider: Factor on every brush's radius.

    Returns:
        (H, W) float32: 0 removed, 0.5 unsure, 1 kept, NaN where nothing is painted.
    """
    H, W = size
    plane = np.full(size, np.nan, np.float32)
    for stroke in strokes:
        value = LABELS[stroke.label]
        radius_px = stroke.radius * wider * max(H, W)
        path = np.array(stroke.points, np.float64) * (W, H) - 0.5
        fixed = np.rint(path * (1 << _SHIFT)).astype(np.int32)
        thickness = max(1, round(2 * radius_px))
        cv2.polylines(plane, [fixed], False, value, thickness, cv2.LINE_8, _SHIFT)
        for x, y in fixed.tolist()[:: max(1, len(fixed) - 1)]:  # ends that are round at any width
            reach = round(max(radius_px, 0.5) * (1 << _SHIFT))
            cv2.circle(plane, (x, y), reach, value, cv2.FILLED, cv2.LINE_8, _SHIFT)
    return plane


def correct_saliency(saliency: Array, image: Image, strokes: Sequence[Stroke]) -> Array:
    """Correct a saliency: certain on the strokes, less so around them where the image agrees.

    Args:
        saliency: (h, w) float32 in [0, 1], of any size.
        image: (H, W, 3) uint8 or uint16, which was painted on.
        strokes: What was painted.

    Returns:
        A new saliency, enlarged where the given one is too coarse for strokes.
    """
    H, W = image.shape[:2]
    scale = max(_GRID_PX, *saliency.shape) / max(H, W)
    h, w = max(1, math.ceil(H * scale)), max(1, math.ceil(W * scale))
    corrected = np.asarray(cv2.resize(saliency, (w, h), interpolation=cv2.INTER_LINEAR), np.float32)
    agreed = _agreed((h, w), image, strokes)
    for wider, certainty in _FADING:
        near = np.where(agreed == (around := paint((h, w), strokes, wider)), around, np.nan)
        corrected = np.where(near == 1, np.maximum(corrected, certainty), corrected)
        corrected = np.where(near == 0, np.minimum(corrected, 1 - certainty), corrected)
    on = paint((h, w), strokes)
    return np.asarray(np.where(np.isnan(on), corrected, on), np.float32)


def _agreed(size: tuple[int, int], image: Image, strokes: Sequence[Stroke]) -> Array:
    """Find where an image agrees with strokes, beyond them.

    Args:
        size: (h, w) of the grid.
        image: (H, W, 3) uint8 or uint16.
        strokes: What was painted.

    Returns:
        (h, w) float32: the label of what is joined to a stroke, without an edge in between, by
        colours that the stroke went over; NaN elsewhere.
    """
    h, w = size
    small = cv2.resize(to_depth(image, np.uint8), (w, h), interpolation=cv2.INTER_AREA)
    colours = cv2.GaussianBlur(small, (3, 3), 0).astype(np.int16)
    steps = [np.abs(np.diff(colours, axis=axis)).max(axis=2) > _BARRIER for axis in (0, 1)]
    edge = np.zeros(size, bool)
    edge[1:] |= steps[0]
    edge[:, 1:] |= steps[1]
    red, green, blue = np.moveaxis(colours // _BIN + 1, 2, 0)  # with a border, for the neighbours
    on, agreed = paint(size, strokes), np.full(size, np.nan, np.float32)
    for label in (LABELS["remove"], LABELS["keep"]):
        painted = on == label
        if not painted.any():
            continue
        known = np.zeros((256 // _BIN + 2,) * 3, bool)
        known[red[painted], green[painted], blue[painted]] = True
        for axis in range(3):
            known = known | np.roll(known, 1, axis) | np.roll(known, -1, axis)
        alike = (known[red, green, blue] & ~edge) | painted
        _, parts = cv2.connectedComponents(alike.astype(np.uint8), connectivity=4)
        agreed[np.isin(parts, np.unique(parts[painted]))] = label
    return agreed


def correct_trimap(trimap: Array, image: Image, strokes: Sequence[Stroke]) -> Array:
    """Correct a trimap: certain on the strokes, unknown around them where the image agrees.

    Args:
        trimap: (H, W) float32 in {0, 0.5, 1}.
        image: (H, W, 3) uint8 or uint16, which was painted on.
        strokes: What was painted.

    Returns:
        A new trimap.
    """
    H, W = trimap.shape
    scale = min(1.0, _GRID_PX / max(H, W))
    h, w = max(1, round(H * scale)), max(1, round(W * scale))
    agreed = cv2.resize(_agreed((h, w), image, strokes), (W, H), interpolation=cv2.INTER_NEAREST)
    wide, rim, on = (paint((H, W), strokes, wider) for wider in (_FADING[0][0], _RIM, 1.0))
    around = np.where(np.isnan(rim) & (agreed != wide), np.nan, wide)
    corrected = np.where(np.isnan(around) | (around == trimap), trimap, np.float32(0.5))
    return np.asarray(np.where(np.isnan(on), corrected, on), np.float32)


def keep_strokes(alpha: Array, strokes: Sequence[Stroke]) -> Array:
    """Set alpha to what was painted as certain, whatever matting made of it.

    Args:
        alpha: (H, W) float32 in [0, 1].
        strokes: What was painted.

    Returns:
        A new alpha: 0 where the subject was removed, 1 where it was kept.
    """
    on = paint(alpha.shape[:2], strokes)
    return np.asarray(np.where((on == 0) | (on == 1), on, alpha), np.float32)
