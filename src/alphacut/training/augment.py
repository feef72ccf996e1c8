"""What is done to finished pictures: colour, noise, blur and JPEG, as cameras and people do."""

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Array = NDArray[np.float32]
Rng = np.random.Generator
Step = Callable[[Pixels, Rng], Pixels]
Planes = tuple[Pixels, Array, Array]  # a picture, its alpha, and how much each pixel counts


def portrait(planes: Planes, rng: Rng) -> Planes:
    """Augment as rdutta1999/bg-removal-human-portrait does, in its order and with its odds.

    Args:
        planes: Picture (H, W, 3) uint8, alpha and weights (H, W) float32.
        rng: Where randomness comes from.

    Returns:
        The same, of one size, at most (H, W).
    """
    if rng.random() < 0.5:
        planes = _crop(planes, rng.uniform(0.02, 0.2, 4))
    image, alpha, loss_weight = _mirror(planes, rng)
    for odds, steps in _PORTRAIT:
        if rng.random() < odds:
            image = _one_of(steps, rng)(image, rng)
    return image, alpha, loss_weight


def frame(planes: Planes, rng: Rng) -> Planes:
    """Mirror and crop a picture with its alpha and weights, as `portrait` takes and gives them."""
    if rng.random() < 0.6:
        planes = _crop(planes, rng.uniform(0, 0.15, 4))
    return _mirror(planes, rng)


def photo(image: Pixels, rng: Rng) -> Pixels:
    """Vary light, colour, sharpness, noise and compression of a picture (H, W, 3) uint8."""
    if rng.random() < 0.7:
        image = _gamma(_brightness_contrast(image, rng), rng)
    if rng.random() < 0.5:
        image = _hue_saturation_value(image, rng)
    if rng.random() < 0.03:
        image = np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., np.newaxis], 3, axis=2)
    if rng.random() < 0.2:
        image = _one_of(((0.7, _gaussian_blur), (0.3, _motion_blur)), rng)(image, rng)
    if rng.random() < 0.3:
        image = _gauss_noise(image, rng)
    if rng.random() < 0.7:
        image = _jpeg(image, rng)
    return image


def _crop(planes: Planes, shares: NDArray[np.float64]) -> Planes:
    """Cut off shares of the height at top and bottom, and of the width on both sides."""
    H, W = planes[1].shape
    top, bottom, left, right = shares
    rows = slice(round(top * H), H - round(bottom * H))
    columns = slice(round(left * W), W - round(right * W))
    image, alpha, loss_weight = planes
    return image[rows, columns], alpha[rows, columns], loss_weight[rows, columns]


def _mirror(planes: Planes, rng: Rng) -> Planes:
    """Mirror half of the pictures; no plane is a view any more."""
    way = np.s_[:, :: -1 if rng.random() < 0.5 else 1]
    image, alpha, loss_weight = planes
    contiguous = np.ascontiguousarray
    return contiguous(image[way]), contiguous(alpha[way]), contiguous(loss_weight[way])


def _one_of(steps: Sequence[tuple[float, Step]], rng: Rng) -> Step:
    odds = np.array([weight for weight, _ in steps])
    return steps[int(rng.choice(len(steps), p=odds / odds.sum()))][1]


def _rounded(colours: NDArray[Any]) -> Pixels:
    return np.asarray(np.clip(np.rint(colours), 0, 255), np.uint8)


def _table(image: Any, curve: NDArray[Any]) -> Pixels:
    return np.asarray(cv2.LUT(image, _rounded(curve)), np.uint8)


# --- colour ---

_LEVELS = np.arange(256, dtype=np.float64)


def _channel_shuffle(image: Pixels, rng: Rng) -> Pixels:
    return np.ascontiguousarray(image[..., rng.permutation(3)])


def _rgb_shift(image: Pixels, rng: Rng) -> Pixels:
    return _rounded(image + rng.uniform(-20, 20, 3))


def _hue_saturation_value(image: Pixels, rng: Rng) -> Pixels:
    hue, saturation, value = rng.uniform(-1, 1, 3) * (20, 30, 20)
    h, s, v = cv2.split(cv2.cvtColor(image, cv2.COLOR_RGB2HSV))
    h = ((h.astype(np.int16) + round(hue / 2)) % 180).astype(np.uint8)  # OpenCV's hue is halved
    s, v = _table(s, _LEVELS + saturation), _table(v, _LEVELS + value)
    return np.asarray(cv2.cvtColor(cv2.merge([h, s, v]), cv2.COLOR_HSV2RGB), np.uint8)


def _color_jitter(image: Pixels, rng: Rng) -> Pixels:
    brightness, contrast, saturation = rng.uniform(0.8, 1.2, 3)
    colours = image * brightness
    colours = (colours - colours.mean()) * contrast + colours.mean()
    grey = colours.mean(axis=2, keepdims=True)
    return _rounded(grey + (colours - grey) * saturation)


def _clahe(image: Pixels, rng: Rng) -> Pixels:
    light, a, b = cv2.split(cv2.cvtColor(image, cv2.COLOR_RGB2LAB))
    light = cv2.createCLAHE(rng.uniform(1, 4), (8, 8)).apply(light)
    return np.asarray(cv2.cvtColor(cv2.merge([light, a, b]), cv2.COLOR_LAB2RGB), np.uint8)


def _brightness_contrast(image: Pixels, rng: Rng) -> Pixels:
    contrast, brightness = rng.uniform(-0.2, 0.2, 2)
    return _table(image, _LEVELS * (1 + contrast) + brightness * 255)


def _gamma(image: Pixels, rng: Rng) -> Pixels:
    return _table(image, (_LEVELS / 255) ** rng.uniform(0.8, 1.2) * 255)


# --- noise ---


def _gauss_noise(image: Pixels, rng: Rng) -> Pixels:
    deviation = np.sqrt(rng.uniform(10, 50))
    return _rounded(image + deviation * rng.standard_normal(image.shape, np.float32))


def _iso_noise(image: Pixels, rng: Rng) -> Pixels:
    """More noise where it is bright, and a little of it in the colours."""
    hue, strength = rng.uniform(0.01, 0.05), rng.uniform(0.1, 0.5)
    hls: Array = np.asarray(cv2.cvtColor(image / np.float32(255), cv2.COLOR_RGB2HLS))
    deviation = float(hls[..., 1].std()) * strength
    hls[..., 0] += rng.normal(0, hue * 360 * strength, hls.shape[:2])
    hls[..., 1] += (1 - hls[..., 1]) * rng.poisson(deviation * 255, hls.shape[:2]) / 255
    hls[..., 0] = np.mod(hls[..., 0], 360)
    return _rounded(np.asarray(cv2.cvtColor(hls, cv2.COLOR_HLS2RGB)) * 255)


# --- sharpness ---


def _odd(rng: Rng) -> int:
    return int(rng.choice((3, 5, 7)))


def _blur(image: Pixels, rng: Rng) -> Pixels:
    k = _odd(rng)
    return np.asarray(cv2.blur(image, (k, k)), np.uint8)


def _gaussian_blur(image: Pixels, rng: Rng) -> Pixels:
    k = _odd(rng)
    return np.asarray(cv2.GaussianBlur(image, (k, k), 0), np.uint8)


def _median_blur(image: Pixels, rng: Rng) -> Pixels:
    return np.asarray(cv2.medianBlur(image, _odd(rng)), np.uint8)


def _motion_blur(image: Pixels, rng: Rng) -> Pixels:
    k = _odd(rng)
    kernel = np.zeros((k, k), np.uint8)
    ends = [tuple(int(x) for x in rng.integers(0, k, 2)) for _ in range(2)]
    cv2.line(kernel, ends[0], ends[1], 1)
    # about the middle of the line, so that the picture stays where its truth is
    middle = (sum(x for x, _ in ends) // 2, sum(y for _, y in ends) // 2)
    return np.asarray(cv2.filter2D(image, -1, kernel / kernel.sum(), anchor=middle), np.uint8)


def _glass_blur(image: Pixels, rng: Rng) -> Pixels:
    """Pixels seen through uneven glass: each comes from up to 4 pixels away."""
    H, W = image.shape[:2]
    y, x = np.mgrid[:H, :W].astype(np.float32)
    dy, dx = rng.integers(-4, 5, (2, H, W)).astype(np.float32)
    moved = cv2.remap(image, x + dx, y + dy, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT)
    return np.asarray(cv2.GaussianBlur(moved, (0, 0), 0.7), np.uint8)


def _jpeg(image: Pixels, rng: Rng) -> Pixels:
    quality = int(rng.integers(50, 96))
    data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.ascontiguousarray(
        np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)[..., ::-1]
    )


# Groups of the portrait recipe: the odds of a group, and of each step within it
_PORTRAIT: tuple[tuple[float, tuple[tuple[float, Step], ...]], ...] = (
    (0.3, ((0.2, _channel_shuffle), (0.4, _rgb_shift), (0.4, _hue_saturation_value))),
    (0.3, ((0.2, _color_jitter), (0.3, _clahe), (0.3, _brightness_contrast), (0.2, _gamma))),
    (0.2, ((0.5, _gauss_noise), (0.5, _iso_noise))),
    (0.2, ((0.1, _blur), (0.3, _gaussian_blur), (0.1, _glass_blur), (0.3, _median_blur),
           (0.2, _motion_blur))),
)  # fmt: skip
