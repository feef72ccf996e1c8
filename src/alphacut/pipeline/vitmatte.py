"""Alpha by a transformer that reads image and trimap at one size."""

import cv2
import numpy as np
import numpy.typing as npt

from alphacut.models.entry import IMAGENET_MEAN, IMAGENET_STD
from alphacut.pipeline.image import Image, check_image, check_plane, white
from alphacut.runtimes import Runtime

Array = npt.NDArray[np.float32]

_SIDE_PX = 1024  # of the batch: published files take no other; memory grows with its 4th power
_MARGIN = 1 / 8  # what the network sees around the unknown pixels, as a share of their box


def estimate_alpha_vitmatte(image: Image, trimap: Array, network: Runtime) -> Array:
    """Run the ViTMatte network (Yao et al., Information Fusion 2024).

    The part of the image that holds the unknown pixels is resized to a square of 1024 pixels and
    its alpha back. Certain pixels keep the trimap's value, which the network does not ensure.

    Args:
        image: (H, W, 3) uint8 or uint16, RGB.
        trimap: (H, W) float32 in {0, 0.5, 1}.
        network: The loaded network of a model of the architecture `vitmatte_s`.

    Returns:
        (H, W) float32 in [0, 1].

    Raises:
        ImageError: if a shape or dtype is wrong.
        RuntimeFailure: if the network cannot be run.
    """
    check_image(image)
    check_plane("trimap", trimap, image.shape[:2])
    unknown = trimap == 0.5
    if not unknown.any():
        return trimap.copy()
    x, y, width, height = cv2.boundingRect(unknown.astype(np.uint8))
    across, down = round(width * _MARGIN), round(height * _MARGIN)
    part = np.s_[max(y - down, 0) : y + height + down, max(x - across, 0) : x + width + across]
    size = _SIDE_PX, _SIDE_PX
    shrinks = max(trimap[part].shape) > _SIDE_PX
    colours = cv2.resize(
        image[part], size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    )
    scaled = colours.astype(np.float32) / white(image)
    normal = (scaled - np.array(IMAGENET_MEAN, np.float32)) / np.array(IMAGENET_STD, np.float32)
    levels = cv2.resize(trimap[part], size, interpolation=cv2.INTER_NEAREST)
    batch = np.concatenate([normal.transpose(2, 0, 1), levels[np.newaxis]])[np.newaxis]
    output = network(np.ascontiguousarray(batch, np.float32))[0, 0]
    h, w = trimap[part].shape
    solved = cv2.resize(output, (w, h), interpolation=cv2.INTER_LINEAR).clip(0, 1)
    alpha = trimap.copy()
    alpha[part][unknown[part]] = solved[unknown[part]]
    return alpha
