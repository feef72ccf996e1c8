"""What is done to composites and taught photographs: as cameras and people vary theirs."""

import cv2
import numpy as np

from alphacut.training import steps
from alphacut.training.steps import Pixels, Planes, Rng

_HSV = steps.HueSaturationValue(hue=10, saturation=30, value=20)
_LIGHT = steps.BrightnessContrast(brightness=0.2, contrast=0.2)
_GAMMA = steps.Gamma(percent=(80, 120))
_BLUR = steps.GaussianBlur(side_px=(3, 7))
_NOISE = steps.GaussNoise(variance=(10, 50))


def frame(planes: Planes, rng: Rng) -> Planes:
    """Mirror and crop a picture with its alpha and weights; see `steps.OneOf`."""
    if rng.random() < 0.6:
        planes = steps.crop(planes, rng.uniform(0, 0.15, 4))
    return steps.mirror(planes) if rng.random() < 0.5 else planes


def photo(image: Pixels, rng: Rng) -> Pixels:
    """Vary light, colour, sharpness, noise and compression of a picture (H, W, 3) uint8."""
    if rng.random() < 0.7:
        image = _GAMMA(_LIGHT(image, rng), rng)
    if rng.random() < 0.5:
        image = _HSV(image, rng)
    if rng.random() < 0.03:
        image = np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., np.newaxis], 3, axis=2)
    if rng.random() < 0.2:
        image = _BLUR(image, rng) if rng.random() < 0.7 else _motion_blur(image, rng)
    if rng.random() < 0.3:
        image = _NOISE(image, rng)
    if rng.random() < 0.7:
        image = _jpeg(image, rng)
    return image


def _motion_blur(image: Pixels, rng: Rng) -> Pixels:
    """Smear about the middle of the line, so that the picture stays where its truth is."""
    side = int(rng.choice((3, 5, 7)))
    (x1, y1), (x2, y2) = (tuple(int(x) for x in rng.integers(0, side, 2)) for _ in range(2))
    return steps.smear(image, side, (x1, y1), (x2, y2), ((x1 + x2) // 2, (y1 + y2) // 2))


def _jpeg(image: Pixels, rng: Rng) -> Pixels:
    quality = int(rng.integers(50, 96))
    data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.ascontiguousarray(
        np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)[..., ::-1]
    )
