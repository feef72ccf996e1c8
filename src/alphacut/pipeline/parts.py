"""The parts of an alpha: what hangs together, numbered from left to right."""

from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from alphacut.pipeline.image import check_plane

Array = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int32]

CORE = 0.5  # alpha from which pixels hang together; softer ones belong to the nearest of those
LEAST = 0.01  # area of a part of its own, as a share of the image


class Parts(NamedTuple):
    """A division of an image among the parts that were found.

    Attributes:
        labels: (H, W) int32, each pixel's part, from 1, also where nothing is seen: the nearest
            part's; 0 everywhere if nothing was found.
        distance_px: (H, W) float32, how far each pixel is from its part; 0 on it.
        boxes: (top, left, bottom, right) of each part, the last two exclusive, from left to right.
    """

    labels: Labels
    distance_px: Array
    boxes: tuple[tuple[int, int, int, int], ...]


def find_parts(alpha: Array, least: float = LEAST) -> Parts:
    """Divide an image among the parts of its alpha. Subjects that touch are one part.

    Args:
        alpha: (H, W) float32 in [0, 1].
        least: Area below which a part belongs to its nearest, as a share of the image. If none is
            larger, all are one part.

    Returns:
        The parts, from left to right by their middles.

    Raises:
        ImageError: if the shape or dtype is wrong.
    """
    check_plane("alpha", alpha)
    core = (alpha >= CORE).astype(np.uint8)
    count, found, facts, middles = cv2.connectedComponentsWithStats(core, connectivity=8)
    if count == 1:
        nothing = np.zeros(alpha.shape, np.int32)
        return Parts(nothing, np.full(alpha.shape, np.inf, np.float32), ())
    areas = facts[1:, cv2.CC_STAT_AREA]
    large = 1 + np.flatnonzero(areas >= min(least * alpha.size, areas.max()))
    if least * alpha.size > areas.max():
        large = large[:1]
    large = large[np.argsort(middles[large, 0], kind="stable")]
    number = np.zeros(count, np.int32)
    number[large] = np.arange(1, len(large) + 1)
    numbered = number[found]
    distance, nearest = cv2.distanceTransformWithLabels(
        (numbered == 0).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_CCOMP
    )
    # OpenCV numbers the parts in an order of its own
    ours = np.zeros(int(nearest.max()) + 1, np.int32)
    ours[nearest[numbered > 0]] = numbered[numbered > 0]
    labels = ours[nearest]
    boxes = []
    for part in range(1, len(large) + 1):
        across, down, width, height = cv2.boundingRect(
            ((labels == part) & (core > 0)).astype(np.uint8)
        )
        boxes.append((down, across, down + height, across + width))
    return Parts(labels, np.asarray(distance, np.float32), tuple(boxes))


def limit(plane: Array, region: npt.NDArray[np.bool_]) -> Array:
    """Return a plane (h, w) that is zero outside a region (H, W) of the same image."""
    h, w = plane.shape
    inside = cv2.resize(region.astype(np.uint8), (w, h), interpolation=cv2.INTER_NEAREST)
    return np.where(inside > 0, plane, np.float32(0))
