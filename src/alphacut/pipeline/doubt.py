"""How far a cut-out is to be doubted: where network and matting are unsure, or contradict."""

import cv2
import numpy as np
import numpy.typing as npt

from alphacut.pipeline.image import check_plane

Array = npt.NDArray[np.float32]

_EDGE = 1 / 45  # width of an edge, which is always unsure, as a share of the saliency's long side
_SURE = 0.1  # distance from 0 and from 1 up to which a value counts as sure


def measure_doubt(saliency: Array, alpha: Array) -> float:
    """Measure which share of the subject is in doubt.

    A place is in doubt as far as its saliency or its alpha is from both 0 and 1, or as far as they
    contradict each other, whichever is most. Edges are soft in every cut-out: what is narrower
    than one does not count.

    Args:
        saliency: (h, w) float32 in [0, 1].
        alpha: (H, W) float32 in [0, 1], made of it.

    Returns:
        The doubtful share, weighted by its doubt, of the area that may be subject: 0 to 1. It is
        1 if both are empty: nothing was found to be sure of.

    Raises:
        ImageError: if a shape or dtype is wrong.
    """
    check_plane("saliency", saliency)
    check_plane("alpha", alpha)
    h, w = saliency.shape
    seen = np.asarray(cv2.resize(alpha, (w, h), interpolation=cv2.INTER_AREA), np.float32)
    unsure = np.maximum(np.minimum(saliency, 1 - saliency), np.minimum(seen, 1 - seen))
    doubt = np.clip((unsure - _SURE) / (0.5 - _SURE), 0, 1)
    doubt = np.maximum(doubt, np.abs(saliency - seen))
    width = max(1, round(_EDGE * max(h, w)))
    wide = cv2.morphologyEx(doubt, cv2.MORPH_OPEN, np.ones((width, width), np.uint8))
    area = float(np.maximum(np.maximum(saliency, seen), wide).sum())
    return float(wide.sum()) / area if area else 1.0
