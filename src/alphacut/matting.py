"""From a network's saliency to the alpha of the picture."""

import cv2
import numpy as np
from numpy.typing import NDArray


def estimate_alpha(size: tuple[int, int], saliency: NDArray[np.float32]) -> NDArray[np.float32]:
    """Enlarge a saliency to image size.

    Cubic interpolation keeps edges steeper than linear does, without the ringing of Lanczos.

    Args:
        size: (H, W) of the image.
        saliency: (h, w) float32 in [0, 1].

    Returns:
        Alpha (H, W) float32 in [0, 1].
    """
    H, W = size
    h, w = saliency.shape
    filter = cv2.INTER_CUBIC if h <= H and w <= W else cv2.INTER_AREA
    alpha = cv2.resize(saliency, (W, H), interpolation=filter)
    return np.asarray(np.clip(alpha, 0, 1, out=alpha), np.float32)
