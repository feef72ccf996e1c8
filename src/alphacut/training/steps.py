"""Steps that a recipe strings together to vary its pictures, each with its values.

They are albumentations 1.1.0's: the same values give the same pixels, and the draws have the same
distributions. That library truncates where one would round, and so do these.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from alphacut.errors import TrainingError

Pixels = NDArray[np.uint8]
Array = NDArray[np.float32]
Rng = np.random.Generator
Planes = tuple[Pixels, Array, Array]  # a picture, its alpha, and how much each pixel counts

_LEVELS = np.arange(256)


# --- of a picture with its alpha ---


@dataclass(frozen=True, kw_only=True)
class Crop:
    """Cut off a share of each side, drawn for each, between the two of `share`."""

    odds: float = 1.0
    share: tuple[float, float]

    def __call__(self, planes: Planes, rng: Rng) -> Planes:
        """Return the inner part of each plane."""
        return crop(planes, rng.uniform(*self.share, 4))


@dataclass(frozen=True, kw_only=True)
class Mirror:
    """Exchange left and right."""

    odds: float = 1.0

    def __call__(self, planes: Planes, rng: Rng) -> Planes:
        """Return the planes mirrored; they are no views."""
        return mirror(planes)


def crop(planes: Planes, shares: NDArray[np.float64]) -> Planes:
    """Cut off shares of the height at top and bottom, and of the width at left and right."""
    H, W = planes[1].shape
    top, bottom = (int(share * H) for share in shares[:2])
    left, right = (int(share * W) for share in shares[2:])
    inner = np.s_[top : H - bottom, left : W - right]
    image, alpha, loss_weight = planes
    return image[inner], alpha[inner], loss_weight[inner]


def mirror(planes: Planes) -> Planes:
    """Exchange left and right."""
    image, alpha, loss_weight = planes
    contiguous = np.ascontiguousarray
    return contiguous(image[:, ::-1]), contiguous(alpha[:, ::-1]), contiguous(loss_weight[:, ::-1])


# --- colour ---


@dataclass(frozen=True, kw_only=True)
class ChannelShuffle:
    """Put the three channels in any order, their own included."""

    odds: float = 1.0

    def __call__(self, image: Pixels, rng: Rng) -> Pixels:
        """Return the picture with its channels shuffled."""
        return np.ascontiguousarray(image[..., rng.permutation(3)])


@dataclass(frozen=True, kw_only=True)
class RgbShift:
    """Add to each channel a number of its own, up to `levels` of 255 either way."""

    odds: float = 1.0
    levels: float

    def __call__(self, image: Pixels, rng: Rng) -> Pixels:
        """Return the picture with its channels shifted."""
        return shift_rgb(image, rng.uniform(-self.levels, self.levels, 3))


@dataclass(frozen=True, kw_only=True)
class HueSaturationValue:
    """Add numbers to the three, up to these either way; OpenCV's hue goes round in 180."""

    odds: float = 1.0
    hue: float
    saturation: float
    value: float

    def __call__(self, image: Pixels, rng: Rng) -> Pixels:
        """Return the picture with hue, saturation and value shifted."""
        limits = np.array([self.hue, self.saturation, self.value])
        return shift_hsv(image, *(rng.uniform(-1, 1, 3) * limits).tolist())


@dataclass(frozen=True, kw_only=True)
class ColorJitter:
    """Change the four in any order: factors up to these from 1, hue by a share of its circle."""

    odds: float = 1.0
    brightness: float
    contrast: float
    saturation: float
    hue: float

    def __call__(self, image: Pixels, rng: Rng) -> Pixels:
        """Return the picture with all four changed."""
        for which in rng.permutation(4):
            limit = (self.brightness, self.contrast, self.saturation, self.hue)[which]
            image = JITTERS[which](image, float(rng.uniform(-limit, limit)))
        return image


@dataclass(frozen=True, kw_only=True)
class Clahe:
    """Equalise the histograms of `tiles` x `tiles` parts, up to a limit between two."""

    odds: float = 1.0
    limit: tuple[float, float]
    tiles: int

    def __call__(self, image: Pixels, rng: Rng) -> Pixels:
        """Return the picture with its lightness equalised."""
        return equalise(image, float(rng.uniform(*self.limit)), self.tiles)


@dataclass(frozen=True, kw_only=True)
class BrightnessContrast:
    """Multiply by a factor up to `contrast` from 1, and add up to `brightness` of 255."""

    odds: float = 1.0
    brightness: float
    contrast: float

    def __call__(self, image: Pixels, rng: Rng) -> Pixels:
        """Return the picture with both changed."""
        contrast = float(rng.uniform(-self.contrast, self.contrast))
        brightness = float(rng.uniform(-self.brightness, self.brightness))
        return scale_levels(image, 1 + contrast, brightness)


@dataclass(frozen=True, kw_only=True)
class Gamma:
    """Raise levels to a power of whole percent between two."""

    odds: float = 1.0
    percent: tuple[int, int]

    def __call__(self, image: Pixels, rng: Rng) -> Pixels:
        """Return the picture with another gamma."""
        return apply_gamma(image, int(rng.integers(*self.percent, endpoint=True)) / 100)


def shift_rgb(image: Pixels, shifts: NDArray[np.float64]) -> Pixels:
    """Add a number to each channel."""
    curves = (_LEVELS.astype(np.float32) + float(shift) for shift in shifts)
    return np.dstack([_table(image[..., c], curve) for c, curve in enumerate(curves)])


def shift_hsv(image: Pixels, hue: float, saturation: float, value: float) -> Pixels:
    """Add numbers to hue, which goes round in 180, saturation and value."""
    h, s, v = cv2.split(cv2.cvtColor(image, cv2.COLOR_RGB2HSV))
    hsv = [_table(h, (_LEVELS + hue) % 180), _table(s, _LEVELS + saturation),
           _table(v, _LEVELS + value)]  # fmt: skip
    return np.asarray(cv2.cvtColor(cv2.merge(hsv), cv2.COLOR_HSV2RGB), np.uint8)


def scale_levels(image: Pixels, factor: float, brightness: float) -> Pixels:
    """Multiply levels by a factor, and add a share of 255."""
    return _table(image, _LEVELS.astype(np.float32) * factor + brightness * 255)


def apply_gamma(image: Pixels, gamma: float) -> Pixels:
    """Raise levels, as shares of 255, to a power."""
    return _table(image, (_LEVELS * (1 / 255)) ** gamma * 255)


def equalise(image: Pixels, limit: float, tiles: int) -> Pixels:
    """Equalise the histogram of lightness in parts of the picture, by OpenCV's CLAHE."""
    lightness, a, b = cv2.split(cv2.cvtColor(image, cv2.COLOR_RGB2LAB))
    lightness = cv2.createCLAHE(limit, (tiles, tiles)).apply(lightness)
    return np.asarray(cv2.cvtColor(cv2.merge([lightness, a, b]), cv2.COLOR_LAB2RGB), np.uint8)


def _brighten(image: Pixels, change: float) -> Pixels:
    return _table(image, _LEVELS * (1 + change))


def _contrast(image: Pixels, change: float) -> Pixels:
    mean = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).mean()
    return _table(image, _LEVELS * (1 + change) - mean * change)


def _saturate(image: Pixels, change: float) -> Pixels:
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return np.asarray(cv2.addWeighted(image, 1 + change, grey, -change, 0), np.uint8)


def _turn_hue(image: Pixels, change: float) -> Pixels:
    return shift_hsv(image, 180 * change, 0, 0)


JITTERS = (_brighten, _contrast, _saturate, _turn_hue)  # by a change each, 0 for none


# --- noise ---


@dataclass(frozen=True, kw_only=True)
class GaussNoise:
    """Add noise to each sample; its variance, in levels squared, lies between two."""

    odds: float = 1.0
    variance: tuple[float, float]

    def __call__(self, image: Pixels, rng: Rng) -> Pixels:
        """Return the picture with noise."""
        deviation = np.float32(np.sqrt(rng.uniform(*self.variance)))
        return _levels(image + deviation * rng.standard_normal(image.shape, np.float32))


@dataclass(frozen=True, kw_only=True)
class IsoNoise:
    """Brighten pixels by chance and turn their hue, as a sensor does at a high ISO.

    Attributes:
        odds: Of this step.
        intensity: Least and largest strength of both.
        hue: Least and largest deviation of the hue at strength 1, of its circle.
    """

    odds: float = 1.0
    intensity: tuple[float, float]
    hue: tuple[float, float]

    def __call__(self, image: Pixels, rng: Rng) -> Pixels:
        """Return the picture with noise."""
        hls: Array = np.asarray(cv2.cvtColor(image * np.float32(1 / 255), cv2.COLOR_RGB2HLS))
        intensity = rng.uniform(*self.intensity)
        turns = rng.normal(0, rng.uniform(*self.hue) * 360 * intensity, hls.shape[:2])
        light = rng.poisson(float(hls[..., 1].std()) * intensity * 255, hls.shape[:2])
        return add_iso_noise(hls, turns, light)


def add_iso_noise(hls: Array, turns: NDArray[Any], light: NDArray[Any]) -> Pixels:
    """Turn hues, and move lightness towards white; return RGB.

    Args:
        hls: (H, W, 3) float32, hue in degrees, the others in [0, 1]; it is changed.
        turns: (H, W), in degrees.
        light: (H, W), in 255ths of what is missing to white.
    """
    hls[..., 0] = np.mod(hls[..., 0] + turns, 360)
    hls[..., 1] += light / 255 * (1 - hls[..., 1])
    return _levels(np.asarray(cv2.cvtColor(hls, cv2.COLOR_HLS2RGB)) * 255)


# --- sharpness ---


@dataclass(frozen=True, kw_only=True)
class Blur:
    """Take the mean of a square whose side is odd, between two."""

    odds: float = 1.0
    side_px: tuple[int, int]

    def __call__(self, image: Pixels, rng: Rng) -> Pixels:
        """Return the picture blurred."""
        side = _odd(self.side_px, rng)
        return np.asarray(cv2.blur(image, (side, side)), np.uint8)


@dataclass(frozen=True, kw_only=True)
class GaussianBlur:
    """Blur by a Gaussian in a square whose side lies between two; even sides grow by 1."""

    odds: float = 1.0
    side_px: tuple[int, int]

    def __call__(self, image: Pixels, rng: Rng) -> Pixels:
        """Return the picture blurred."""
        side = int(rng.integers(*self.side_px, endpoint=True)) | 1
        return np.asarray(cv2.GaussianBlur(image, (side, side), 0), np.uint8)


@dataclass(frozen=True, kw_only=True)
class MedianBlur:
    """Take the median of a square whose side is odd, between two."""

    odds: float = 1.0
    side_px: tuple[int, int]

    def __call__(self, image: Pixels, rng: Rng) -> Pixels:
        """Return the picture blurred."""
        return np.asarray(cv2.medianBlur(image, _odd(self.side_px, rng)), np.uint8)


@dataclass(frozen=True, kw_only=True)
class MotionBlur:
    """Take the mean along any line in a square whose side is odd, between two.

    The line need not go through the middle, so the picture may move by half of the side.
    """

    odds: float = 1.0
    side_px: tuple[int, int]

    def __call__(self, image: Pixels, rng: Rng) -> Pixels:
        """Return the picture blurred."""
        side = _odd(self.side_px, rng)
        (x1, x2), (y1, y2) = rng.integers(0, side, 2), rng.integers(0, side, 2)
        if x1 == x2:
            y1, y2 = rng.choice(side, 2, replace=False)
        return smear(image, side, (int(x1), int(y1)), (int(x2), int(y2)))


@dataclass(frozen=True, kw_only=True)
class GlassBlur:
    """Exchange pixels with others near by, between two Gaussian blurs.

    Attributes:
        odds: Of this step.
        sigma_px: Of the blurs.
        reach_px: How far a pixel goes at most.
        times: How often.
    """

    odds: float = 1.0
    sigma_px: float
    reach_px: int
    times: int

    def __call__(self, image: Pixels, rng: Rng) -> Pixels:
        """Return the picture as through uneven glass."""
        H, W = (max(side - 2 * self.reach_px, 0) for side in image.shape[:2])
        moves = rng.integers(-self.reach_px, self.reach_px, (H * W, self.times, 2))
        return scatter(image, moves, self.sigma_px, self.reach_px)


def smear(
    image: Pixels,
    side_px: int,
    start: tuple[int, int],
    end: tuple[int, int],
    middle: tuple[int, int] = (-1, -1),
) -> Pixels:
    """Take the mean along a line of a square.

    Args:
        image: The picture.
        side_px: Side of the square.
        start: Where in the square the line begins, across and down.
        end: Where it ends.
        middle: What in the square is laid on the pixel; its middle by default.
    """
    kernel = np.zeros((side_px, side_px), np.uint8)
    cv2.line(kernel, start, end, 1)
    weights = kernel.astype(np.float32) / kernel.sum()
    return np.asarray(cv2.filter2D(image, -1, weights, anchor=middle), np.uint8)


def scatter(image: Pixels, moves: NDArray[np.int64], sigma_px: float, reach_px: int) -> Pixels:
    """Exchange each inner pixel with another, between two blurs.

    Args:
        image: The picture.
        moves: (N, times, 2), how far down and across; from the last row, column by column.
        sigma_px: Of the blurs.
        reach_px: Width of the border that is not moved.
    """
    blurred = np.asarray(cv2.GaussianBlur(image, (0, 0), sigma_px), np.uint8)
    H, W = image.shape[:2]
    inner_rows, inner_columns = (np.arange(side - reach_px, reach_px, -1) for side in (H, W))
    rows = np.tile(inner_rows, len(inner_columns))
    columns = np.repeat(inner_columns, len(inner_rows))
    for down, across in moves.transpose(1, 2, 0):
        there = rows + down, columns + across
        coming, going = blurred[there], blurred[rows, columns]
        blurred[rows, columns] = coming
        blurred[there] = going  # of pixels that meet, the last one stays
    return np.asarray(cv2.GaussianBlur(blurred, (0, 0), sigma_px), np.uint8)


# --- groups ---


@dataclass(frozen=True, kw_only=True)
class OneOf:
    """Steps of which one is done, or none.

    Attributes:
        odds: How likely one is done.
        crop: As the others, a step; each is chosen by its `odds`, of the sum of all.
    """

    odds: float
    crop: Crop | None = None
    mirror: Mirror | None = None
    channel_shuffle: ChannelShuffle | None = None
    rgb_shift: RgbShift | None = None
    hue_saturation_value: HueSaturationValue | None = None
    color_jitter: ColorJitter | None = None
    clahe: Clahe | None = None
    brightness_contrast: BrightnessContrast | None = None
    gamma: Gamma | None = None
    gauss_noise: GaussNoise | None = None
    iso_noise: IsoNoise | None = None
    blur: Blur | None = None
    gaussian_blur: GaussianBlur | None = None
    median_blur: MedianBlur | None = None
    motion_blur: MotionBlur | None = None
    glass_blur: GlassBlur | None = None

    def __post_init__(self) -> None:
        if not self.steps:
            raise TrainingError("one_of: names no step")

    @property
    def steps(self) -> dict[str, Any]:
        """The steps that are there, by name."""
        named = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)[1:]}
        return {name: step for name, step in named.items() if step is not None}

    def __call__(self, planes: Planes, rng: Rng) -> Planes:
        """Do one of the steps to a picture, or none.

        Args:
            planes: Picture (H, W, 3) uint8, alpha and weights (H, W) float32.
            rng: Where randomness comes from.

        Returns:
            The same, of one size, at most (H, W).
        """
        if rng.random() >= self.odds:
            return planes
        steps = [*self.steps.values()]
        odds = np.array([step.odds for step in steps])
        step: Callable[..., Any] = steps[int(rng.choice(len(steps), p=odds / odds.sum()))]
        if isinstance(step, Crop | Mirror):
            return step(planes, rng)
        image, alpha, loss_weight = planes
        return step(image, rng), alpha, loss_weight


def _levels(colours: NDArray[Any]) -> Pixels:
    return np.asarray(np.clip(colours, 0, 255), np.uint8)


def _table(image: Any, curve: NDArray[Any]) -> Pixels:
    return np.asarray(cv2.LUT(image, _levels(curve)), np.uint8)


def _odd(sides: tuple[int, int], rng: Rng) -> int:
    return int(rng.choice(np.arange(sides[0], sides[1] + 1, 2)))
