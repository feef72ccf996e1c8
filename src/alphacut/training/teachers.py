"""What several networks answer to one picture: the best one's map, and how much it is trusted."""

from collections.abc import Sequence

import cv2
import numpy as np

from alphacut.training.steps import Array

_OPENING = 0.012  # of the longer side: thinner differences are edges, which coarse teachers blur
_UNSURE = (0.15, 0.85)  # of the best teacher's answer, over an area
_MOST = 0.5  # of the subject: beyond it the picture is left out


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
    loss_weight = np.clip(loss_weight, 0, 1)
    if subject.any() and float(loss_weight[subject].mean()) < 1 - _MOST:
        loss_weight[:] = 0
    return loss_weight


def _areas(where: np.ndarray) -> Array:
    """What remains of a mask without what is thin, as 0 and 1."""
    reach = 1 + 2 * round(_OPENING * max(where.shape))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
    return cv2.morphologyEx(where.astype(np.uint8), cv2.MORPH_OPEN, kernel).astype(np.float32)
