"""Alpha by a network that reads image and trimap."""

import cv2
import numpy as np
import numpy.typing as npt

from alphacut.models.entry import IMAGENET_MEAN, IMAGENET_STD
from alphacut.pipeline.image import Image, check_image, check_plane, white
from alphacut.runtimes import Runtime

Array = npt.NDArray[np.float32]

_TILE_PX = 1024  # side of the tiles that the network is run on
_OVERLAP_PX = 128  # what it sees around each


def estimate_alpha_indexnet(image: Image, trimap: Array, network: Runtime) -> Array:
    """Run the IndexNet network (Lu, Dai, Shen and Xu, ICCV 2019).

    As its authors do: the batch is resized to multiples of 32, not padded, and certain pixels keep
    the trimap's value. Large images are processed in overlapping tiles, where pixels are unknown.

    Args:
        image: (H, W, 3) uint8 or uint16, RGB.
        trimap: (H, W) float32 in {0, 0.5, 1}.
        network: The loaded network of a model of the architecture `indexnet`.

    Returns:
        (H, W) float32 in [0, 1].

    Raises:
        ImageError: if a shape or dtype is wrong.
        RuntimeFailure: if the network cannot be run.
    """
    check_image(image)
    check_plane("trimap", trimap, image.shape[:2])
    H, W = trimap.shape
    step, overlap = (max(H, W), 0) if H * W <= _TILE_PX**2 else (_TILE_PX, _OVERLAP_PX)
    alpha = trimap.copy()
    for top in range(0, H, step):
        for left in range(0, W, step):
            unknown = trimap[top : top + step, left : left + step] == 0.5
            if not unknown.any():
                continue
            y, x = max(top - overlap, 0), max(left - overlap, 0)
            around = np.s_[y : top + step + overlap, x : left + step + overlap]
            solved = _solve_tile(image[around], trimap[around], network)
            h, w = unknown.shape
            solved = solved[top - y : top - y + h, left - x : left - x + w]
            alpha[top : top + h, left : left + w][unknown] = solved[unknown]
    return alpha


def _solve_tile(image: Image, trimap: Array, network: Runtime) -> Array:
    """Run the network on one tile, resized there and back: (h, w) float32 in [0, 1]."""
    h, w = trimap.shape
    size = -w % 32 + w, -h % 32 + h
    mean, std = np.array(IMAGENET_MEAN, np.float32), np.array(IMAGENET_STD, np.float32)
    colours = (image * np.float32(1 / white(image)) - mean) / std
    fitted = cv2.resize(colours, size, interpolation=cv2.INTER_CUBIC)
    levels = cv2.resize(trimap, size, interpolation=cv2.INTER_NEAREST)
    levels[levels == 0.5] = 128 / 255  # the authors' spelling of unknown
    batch = np.concatenate([fitted.transpose(2, 0, 1), levels[np.newaxis]])[np.newaxis]
    output = network(np.ascontiguousarray(batch, np.float32))[0, 0]
    alpha: Array = cv2.resize(output, (w, h), interpolation=cv2.INTER_CUBIC)
    return alpha.clip(0, 1)
