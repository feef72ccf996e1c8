"""Settled edges: alpha of a soft pixel, and of the same place in the frames around it.

`steady` holds still what the network finds. Where an edge lies to a fraction of a pixel, and how
soft it is, is decided by the colours of one frame, with their noise. Here alphas of two frames
before and after are carried to each soft pixel along the motion and their mean is taken, as in
motion-compensated noise reduction (Dubois and Sabri, IEEE Trans. Communications 1984). A neighbour
counts as far as the flow, there and back, ends where it began, and its place looks the same.
"""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from alphacut.video.steady import Motion

Array = NDArray[np.float32]

REACH = 2  # frames before and after that have a say
_SOFT = 0.004  # least distance of a soft alpha from 0 and 1
_ASTRAY = np.float32(0.5)  # pixels of the guide by which there and back may miss for 1 / e
_LIKE = np.float32(15)  # difference in levels at which a neighbour counts by 1 / e
_LINE = 256  # places looked up at a time make lines of so many: OpenCV takes no long ones


def settle(
    alpha: Array,
    motion: Motion,
    before: Sequence[tuple[Array, Motion]],
    after: Sequence[tuple[Array, Motion]],
    steadiness: float,
) -> Array:
    """Settle the soft pixels of an alpha by those of the frames around it.

    Args:
        alpha: (H, W) float32 in [0, 1].
        motion: How its frame moves.
        before: Alphas of the frames before it in the same shot, of the same size, and how those
            move; the nearest first.
        after: The same of those after it.
        steadiness: How much each weighs at most, above 0, up to 1.

    Returns:
        (H, W) float32 in [0, 1]; a new array, or the same one if nothing is soft.
    """
    soft = cv2.inRange(alpha, _SOFT, 1 - _SOFT)
    if not (before or after) or not cv2.countNonZero(soft):
        return alpha
    soft = cv2.dilate(soft, np.ones((3, 3), np.uint8))
    (H, W), (h, w) = alpha.shape, motion.guide.shape[:2]
    x_px, y_px = cv2.findNonZero(soft).reshape(-1, 2).astype(np.intp).T
    where = y_px * W + x_px
    in_lines = -(-len(where) // _LINE), _LINE
    columns, rows = (np.resize(place.astype(np.float32), in_lines) for place in (x_px, y_px))
    start_x = (columns + np.float32(0.5)) * np.float32(w / W) - np.float32(0.5)
    start_y = (rows + np.float32(0.5)) * np.float32(h / H) - np.float32(0.5)
    colours = _look_up(motion.guide, start_x, start_y)
    total = np.resize(alpha.take(where), in_lines)
    weights = np.ones_like(total)
    for others, onward in ((before, False), (after, True)):
        x, y, here = start_x, start_y, motion
        trust: Any = np.float32(np.log(steadiness))  # logarithms are added up
        for other, there in others:
            step, back = (here.onward, there.back) if onward else (here.back, there.onward)
            if step is None or back is None:
                break
            gone_x, gone_y = cv2.split(_look_up(step, x, y))
            x, y = x + gone_x, y + gone_y
            back_x, back_y = cv2.split(_look_up(back, x, y))
            trust = trust - _squares(gone_x + back_x, gone_y + back_y) / _ASTRAY**2
            red, green, blue = cv2.split(cv2.absdiff(_look_up(there.guide, x, y), colours))
            differs = cv2.max(cv2.max(red, green), blue).astype(np.float32) / _LIKE
            weight = cv2.exp(trust - differs * differs)
            across = (x + np.float32(0.5)) * np.float32(W / w) - np.float32(0.5)
            down = (y + np.float32(0.5)) * np.float32(H / h) - np.float32(0.5)
            # linear look-up would blur what is as sharp as the film
            found = np.clip(_look_up(other, across, down, cv2.INTER_CUBIC), 0, 1)
            total += weight * found
            weights += weight
            here = there
    settled = alpha.copy()
    settled.reshape(-1)[where] = (total / weights).reshape(-1)[: len(where)]
    return settled


def _squares(x: Array, y: Array) -> Array:
    return x * x + y * y


def _look_up(plane: NDArray[Any], x: Array, y: Array, way: int = cv2.INTER_LINEAR) -> Any:
    """Interpolate a plane (H, W) or (H, W, C) at lines of places (n, m): (n, m) or (n, m, C)."""
    return cv2.remap(plane, x, y, way, borderMode=cv2.BORDER_REPLICATE)
