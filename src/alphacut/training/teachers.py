"""What several networks answer to one picture: the best one's map, and how much it is trusted."""

from collections.abc import Sequence

import cv2
import numpy as np

from alphacut.training.steps import Array

_OPENING = 0.012  # of the longer side: thinner differences are edges, which coarse teachers blur
_UNSURE = (0.15, 0.85)  # of the best teacher's answer, over an area
_MOST = 0.5  # of the subject: beyond it the picture is left out
_RIM_PX = 2  # around what most say against the best one, whose soft edge is there


def weigh(masks: Sequence[Array], doubt: Sequence[float]) -> Array:
    """How much each pixel of the best teacher's answer counts.

    Args:
        masks: The teachers' maps of one picture, (H, W) float32 in [0, 1], the best one's first.
        doubt: For each of the others, how much less a pixel counts where it contradicts the first.

    Returns:
        (H, W) float32 in [0, 1]; 0 also where the first is unsure of itself over an area, and
        everywhere if half of what anyone takes for the subject is in doubt.
    """
    first, *others = masks
    low, high = _UNSURE
    loss_weight = 1 - _areas((first > low) & (first < high))
    subject = first > 0.5
    for other, less in zip(others, doubt, strict=True):
        loss_weight -= np.float32(less) * _areas(np.abs(first - other) > 0.5)
        if less >= 1:
            subject |= other > 0.5
    return _leave_out(loss_weight, subject)


def vote(masks: Sequence[Array], doubt: Sequence[float]) -> tuple[Array, Array]:
    """What most teachers say, with the best one's edges, and how much it is trusted.

    The best teacher leaves out what the others see, such as a white shoulder before a white wall,
    more often than most of them err together.

    Args:
        masks: Three or more teachers' maps of one picture, as for `weigh`.
        doubt: For each of them, how much less a pixel counts where it alone sees a subject: it may
            be right.

    Returns:
        (H, W) float32 in [0, 1], both: the truth; and its weight, 0 everywhere as for `weigh`.
    """
    first = masks[0]
    median = np.median(np.stack(masks), axis=0).astype(np.float32)
    outvoted = _areas(np.abs(first - median) > 0.5)
    near = cv2.dilate(outvoted, np.ones((2 * _RIM_PX + 1,) * 2, np.uint8)) > 0
    truth = np.where(near, median, first)
    low, high = _UNSURE
    loss_weight = 1 - _areas((truth > low) & (truth < high))
    seen = np.stack(masks) > 0.5
    alone = seen & (seen.sum(axis=0) == 1)
    for where, less in zip(alone, doubt, strict=True):
        loss_weight -= np.float32(less) * _areas(where)
    return truth, _leave_out(loss_weight, (truth > 0.5) | (loss_weight < _MOST))


def _leave_out(loss_weight: Array, subject: np.ndarray) -> Array:
    """Return weights in [0, 1], 0 everywhere if too much of what may be the subject is in doubt."""
    loss_weight = np.clip(loss_weight, 0, 1)
    if subject.any() and float(loss_weight[subject].mean()) < 1 - _MOST:
        loss_weight[:] = 0
    return loss_weight


def _areas(where: np.ndarray) -> Array:
    """What remains of a mask without what is thin, as 0 and 1."""
    reach = 1 + 2 * round(_OPENING * max(where.shape))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
    return cv2.morphologyEx(where.astype(np.uint8), cv2.MORPH_OPEN, kernel).astype(np.float32)
