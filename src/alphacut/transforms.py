"""Between pictures and networks: preprocess an image into a batch, read an output as a saliency."""

import cv2
import numpy as np
from numpy.typing import NDArray

from alphacut.image import Image, white
from alphacut.zoo import ModelSpec

# A subject is decided: of what a network finds at all (> 0.1), most is nearly certain (> 0.9).
# Photographs with a subject reach 0.25 to 1, clouds, sea and noise stay below 0.2.
FOUND, CERTAIN, DECIDED = 0.1, 0.9, 0.2

# Neighbouring pixels of a photograph agree: their correlation at 320 x 320 is 0.78 to 1.
# White noise has about 0, and networks answer it with confident nonsense.
CORRELATION = 0.7
_FLAT = 1e-9  # variance of a plain picture's rounding


def preprocess(image: Image, spec: ModelSpec) -> NDArray[np.float32]:
    """Turn an image into the batch that a model was trained on.

    The picture is resized first, while it is small in memory, and without keeping its aspect, as
    the authors do.

    Args:
        image: (H, W, 3) uint8 or uint16.
        spec: The model's row.

    Returns:
        Batch (1, 3, h, w) float32.
    """
    h, w = spec.input_size
    H, W = image.shape[:2]
    by_area = spec.shrink == "area" and h <= H and w <= W
    small = cv2.resize(image, (w, h), interpolation=cv2.INTER_AREA if by_area else cv2.INTER_LINEAR)
    peak = float(small.max()) if spec.scale == "peak" else white(image)
    batch = small.astype(np.float32) / max(peak, 1.0)
    batch -= np.asarray(spec.mean, np.float32)
    batch /= np.asarray(spec.std, np.float32)
    return np.ascontiguousarray(batch.transpose(2, 0, 1))[np.newaxis]


def postprocess(
    output: NDArray[np.float32], batch: NDArray[np.float32], spec: ModelSpec
) -> NDArray[np.float32]:
    """Read a network's output as a saliency, all zero where it found no subject.

    Stretching the answer to fill [0, 1] would make a subject of whatever is largest in a picture
    that has none, so the stretch asks first whether anything was found.

    Args:
        output: (1, 1, h, w) float32 in [0, 1], as the runtime gave it.
        batch: (1, 3, h, w) float32, the batch it answers.
        spec: The model's row.

    Returns:
        Saliency (h, w) float32 in [0, 1].
    """
    saliency = np.clip(output[0, 0], 0, 1)
    if not is_decided(saliency) or not is_photograph(batch):
        return np.zeros_like(saliency)
    if spec.stretch:
        low, high = float(saliency.min()), float(saliency.max())
        saliency = (saliency - low) / (high - low) if low < high else saliency
    return np.asarray(saliency, np.float32)


def is_decided(saliency: NDArray[np.float32]) -> bool:
    """Tell whether a network is sure of what it found, before any stretch."""
    found = np.count_nonzero(saliency > FOUND)
    return bool(np.count_nonzero(saliency > CERTAIN) > DECIDED * found)


def is_photograph(batch: NDArray[np.float32]) -> bool:
    """Tell whether neighbouring pixels of a batch (1, 3, h, w) agree, as noise's do not."""
    grey = batch[0].mean(axis=0)
    grey = grey - grey.mean()
    variance = float(np.mean(grey * grey))
    across = float(np.mean(grey[:, 1:] * grey[:, :-1]))
    down = float(np.mean(grey[1:] * grey[:-1]))
    return variance > _FLAT and max(across, down) > CORRELATION * variance
