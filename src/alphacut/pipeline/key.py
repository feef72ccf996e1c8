"""Keying: alpha where the ground is known, I = a F + (1 - a) B with B given.

The network's alpha stays wherever it can be right. It is overruled in two places only, by evidence
against the image's own noise and the errors of its JPEG blocks:

- what differs clearly from the ground, is no shadow, and hangs together with the subject, is
  subject, however thin; its alpha is its place on the line from the ground to the nearest sure
  colour;
- what cannot be told from the ground, inside what the network calls subject, is a hole if it has a
  sharp border all around. Subject that looks like the ground has none, and is left alone.

Both are decided on a grid of bounded size. What results is linear in the pixel's colour, and is
rendered at the image's size where it differs from the network's.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from alphacut.pipeline.ground import Ground
from alphacut.pipeline.image import Image, dot, downscale, downscale_to, look_up, white
from alphacut.pipeline.screen import key_screen

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

# Luma and two colour differences (ITU-R BT.601), of which JPEG keeps the latter less exactly
_LUMA = np.array([[0.299, 0.587, 0.114], [-0.169, -0.331, 0.5], [0.5, -0.419, -0.081]], np.float32)
_CHROMA = 0.4  # weight of a colour difference against luma
_AXES = _LUMA * np.array([[1], [_CHROMA], [_CHROMA]], np.float32)
_DIFFERS, _CLEARLY = 4.0, 9.0  # from the ground, in noise: perhaps, and without doubt
_ALIKE, _MEAN_ALIKE = 3.5, 3.0  # not to be told from it: a pixel, and the mean of 5 x 5
_BLOCK_PX = 8  # of JPEG: an edge disturbs the ground as far as that
_MOST_RINGING = 0.05  # of an edge's contrast
_AWAY = 0.012  # of the long side: where bare ground begins; as in `ground`
_GAP = 0.006  # of the long side: what is closer to the subject hangs together with it
_WIDE = 0.04  # of the long side: what is as wide as that is not thin
_LEAST_PX = 12  # of anything that is added or cut
_LEAST_PART = 2e-4  # of the frame: of what is subject without a network
_RING = 16.0  # contrast in noise all around a hole
_RING_OPEN = 0.15  # share of the ring that may have less than half of it
_LIKE_SUBJECT = 0.35  # of the subject's usual contrast: what has less is a fold of the ground
_SHADOW_LIGHT = (0.25, 1.0)  # share of the ground's light that is left in a shadow
_THIN_NOISE = 6.0  # darker than its surroundings by so much noise: thin, and no shadow
_SOFT = 0.2  # slope of a shadow against its depth, per px of a 600 px image; objects exceed it
_SOFT_PX = 600
_REACH_PX = 3  # on the grid: where the nearest sure colour is looked for
_REFERENCE = 0.7  # of the strongest contrast nearby: the least that counts as alpha 1
_FULL = 0.93  # alpha from which a pixel is opaque
_AGREE = 0.5  # intersection over union of what a plate and a network find
_SAMPLES = 20_000  # that a percentile is made of: all of 300,000 take 5 ms
_PIXELS = 1 << 17  # rendered at a time: their floats fit a processor's cache


@dataclass(frozen=True, eq=False)
class _Model:
    """Alpha as a function of colour, on a grid: a = clip(I . slope + offset), mixed by weight."""

    slope: Array
    offset: Array
    noise: Array  # alpha that is noise
    weight: Array


def key(image: Image, ground: Ground, rough: Array) -> Array:
    """Correct an alpha by what is known of the ground.

    Args:
        image: (H, W, 3) uint8 or uint16.
        ground: What is behind the subject.
        rough: (H, W) float32 in [0, 1], the network's alpha; if that is nowhere above a half,
            whatever differs clearly from the ground is subject.

    Returns:
        (H, W) float32 in [0, 1].
    """
    if ground.primary is not None:
        return key_screen(image, ground, rough)
    if not (rough > 0.5).any():
        return key_alone(image, ground)
    if ground.way == "plate":  # it shows everything but the subject: a network that disagrees errs
        alone = key_alone(image, ground)
        both, either = np.minimum(alone, rough).sum(), np.maximum(alone, rough).sum()
        if both < _AGREE * either:
            return alone
    small = downscale_to(image, max(ground.levels.shape[:2]))
    h, w = small.shape[:2]
    colours = small.astype(np.float32) / np.float32(white(image))
    model = _decide(colours, ground, downscale(rough, (h, w)))
    return _render(image, rough, model)


def key_alone(image: Image, ground: Ground) -> Array:
    """Make an alpha of what is known of the ground alone.

    Args:
        image: (H, W, 3) uint8 or uint16.
        ground: What is behind the subject.

    Returns:
        (H, W) float32 in [0, 1]: whatever differs clearly from the ground is subject.
    """
    if ground.primary is not None:
        return key_screen(image, ground)
    small = downscale_to(image, max(ground.levels.shape[:2]))
    colours = small.astype(np.float32) / np.float32(white(image))
    rest = np.asarray(cv2.transform(colours - ground.levels, _AXES), np.float32)
    distance = cv2.magnitude(cv2.magnitude(rest[..., 0], rest[..., 1]), rest[..., 2])
    sigma = max(ground.spread, 0.6 / 255)
    nothing = np.zeros(distance.shape, np.float32)
    shadow, light, tinted = _shadow(colours, ground, nothing, sigma)
    weak = (distance > _DIFFERS * sigma) & ~shadow
    weak &= ~_soft_parts(weak, light, tinted, nothing, ground)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(weak.astype(np.uint8))
    clear = np.bincount(labels[weak & (distance > _CLEARLY * sigma)], minlength=count)
    keep = (clear >= _LEAST_PX) & (stats[:, cv2.CC_STAT_AREA] > _LEAST_PART * weak.size)
    keep[0] = False
    rough = keep[labels].astype(np.float32)
    # soft where it borders on the ground, whole further in
    model = _decide(colours, ground, rough)
    strongest = cv2.dilate(np.where(rough > 0, distance, 0).astype(np.float32), _square(_REACH_PX))
    soft = np.clip(distance / np.maximum(strongest, 1e-6), 0, 1)
    soft[cv2.erode(rough, _square(_REACH_PX)) > 0] = 1
    soft[(model.weight > 0) & (model.slope == 0).all(axis=2)] = 0
    H, W = image.shape[:2]
    alpha = np.where(cv2.dilate(rough, _square(1)) > 0, soft, 0).astype(np.float32)
    return np.asarray(np.clip(cv2.resize(alpha, (W, H), interpolation=cv2.INTER_LINEAR), 0, 1))


def _decide(colours: Array, ground: Ground, rough: Array) -> _Model:
    """Decide on the grid what is subject and what is ground."""
    side = max(rough.shape)
    away = round(_AWAY * side)
    levels = ground.levels
    rest = np.asarray(cv2.transform(colours - levels, _AXES), np.float32)
    distance = _size(rest)
    far = _dilate(rough > 0.02, away)
    bare = ~far
    if not bare.any():
        return _nothing(rough.shape)
    sigma = max(0.8 * _share(distance[bare], 50), 0.6 / 255)
    contrast = cv2.dilate(cv2.medianBlur(distance, 3), _square(_BLOCK_PX))
    shadow, light, off = _shadow(colours, ground, rough, sigma)
    ringing = bare & _dilate(far, _BLOCK_PX) & ~shadow & (contrast > 12 * sigma)
    share = 0.0
    if ringing.sum() > 50:
        over = np.maximum(distance[ringing] - 1.5 * sigma, 0) / contrast[ringing]
        share = 1.5 * min(_share(over, 70), _MOST_RINGING)
    noise = np.float32(sigma) + np.float32(share) * contrast
    differs = distance / noise
    hole = _holes(rest, distance, sigma, levels, rough, bare)
    weak = (differs > _DIFFERS) & (~shadow | (rough > 0.5))
    soft = _soft_parts(weak, light, off, rough, ground)
    weak &= ~soft
    whole = rough > 0.9
    usual = _share(distance[whole], 50) if whole.any() else 0.0
    clear = weak & (distance > max(_CLEARLY * sigma, _LIKE_SUBJECT * usual))
    thing = _hanging_together(weak, clear, rough)
    # along the line from the ground to the nearest sure colour, or as far as others nearby
    sure = np.minimum(distance, 1) ** 4 * (thing | (rough > 0.9))
    box = (2 * _REACH_PX + 1,) * 2
    total = cv2.blur(rest * sure[..., np.newaxis], box, borderType=cv2.BORDER_REFLECT)
    mass = cv2.blur(sure, box, borderType=cv2.BORDER_REFLECT)
    line = total / np.maximum(mass, 1e-12)[..., np.newaxis]
    length = _size(line)
    around = max(5, round(0.02 * side))
    strongest = cv2.dilate(cv2.medianBlur(distance * thing, 3), _square(around))
    strongest = cv2.blur(strongest, (around | 1,) * 2, borderType=cv2.BORDER_REFLECT)
    reference = np.maximum(np.maximum(length, np.float32(_REFERENCE) * strongest), 1e-6)
    direction = line / np.maximum(length * reference, 1e-9)[..., np.newaxis]
    slope = np.asarray(cv2.transform(direction, _AXES.T), np.float32)
    # a network loses what is thin; what is wide it has seen, and left out
    lost = thing & (rough < 0.5)
    wide = cv2.morphologyEx(lost.astype(np.uint8), cv2.MORPH_OPEN, _disc(_WIDE * side))
    lost &= ~_dilate(wide > 0, 2)
    weight = np.where(lost, _smooth(differs, _DIFFERS, _CLEARLY), 0)
    weight[(shadow | soft) & (rough < 0.5)] = 0
    weight[_dilate(hole, _REACH_PX) & (rough > 0.5)] = 1
    slope[hole] = 0
    offset = -dot(levels, slope)
    return _Model(slope, offset, noise / reference, np.asarray(weight, np.float32))


def _shadow(colours: Array, ground: Ground, rough: Array, sigma: float) -> tuple[Mask, Array, Mask]:
    """Find the ground made darker with its colour kept, thin parts excepted."""
    clean = ground.clean
    light = (dot(colours, clean) / dot(clean, clean)).astype(np.float32)
    off = _most(np.abs(colours - light[..., np.newaxis] * clean))
    tinted = off >= max(4 * ground.spread, 5 / 255)
    low, high = _SHADOW_LIGHT
    dim = np.where(rough > 0.5, 0, np.minimum(light, 1)).astype(np.float32)
    reach = round(_AWAY * max(rough.shape))
    closed = cv2.morphologyEx(cv2.medianBlur(dim, 3), cv2.MORPH_CLOSE, _square(reach))
    brightness = np.sqrt(dot(clean, clean) / 3)
    thin = (closed - light) * brightness >= _THIN_NOISE * sigma
    shadow = ~tinted & (light < high) & (light > low) & ~thin
    return shadow, light, tinted


def _holes(
    rest: Array, distance: Array, sigma: float, levels: Array, rough: Array, bare: Mask
) -> Mask:
    """Find what cannot be told from the ground inside the network's subject."""
    differs = distance / np.float32(sigma)
    mean = np.asarray(cv2.blur(rest, (5, 5), borderType=cv2.BORDER_REFLECT), np.float32)
    length = _size(mean) / np.float32(sigma)
    length /= max(_share(length[bare], 70), 0.3)
    found = ((differs < _ALIKE) & (length < _MEAN_ALIKE)).astype(np.uint8)
    alike = np.asarray(cv2.morphologyEx(found, cv2.MORPH_OPEN, _square(1)), np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(alike, connectivity=4)
    area = np.maximum(stats[:, cv2.CC_STAT_AREA], 1)

    def sums(plane: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
        return np.asarray(
            np.bincount(labels.ravel(), plane.ravel().astype(np.float64), count), np.float64
        )

    # the ring around each, less what the means of 5 x 5 and a soft edge cost it
    wide, narrow = (cv2.dilate(labels.astype(np.float32), _square(px)) for px in (6, 3))
    names = np.where(narrow == 0, wide, 0).astype(np.int32).ravel()
    ring_px = np.maximum(np.bincount(names, minlength=count), 1)

    def around(plane: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
        return np.asarray(np.bincount(names, plane.ravel().astype(np.float64), count) / ring_px)

    clipped = -_most(-levels) > 251 / 255
    clipped |= _most(levels) < 4 / 255
    hole = sums(rough < 0.5) / area < 0.5
    hole &= area >= _LEAST_PX
    hole &= around(np.minimum(differs, 60)) > _RING
    hole &= around(differs < 0.5 * _RING) < _RING_OPEN
    hole &= sums(clipped) / area < 0.5  # nothing can be told apart there
    hole[0] = False
    reach = _dilate(hole[labels], 2) & (differs < _ALIKE)  # as far as the means took from it
    return np.asarray(hole[labels] | reach)


def _soft_parts(weak: Mask, light: Array, tinted: Mask, rough: Array, ground: Ground) -> Mask:
    """Find parts that are darker ground with soft edges: shadows, however narrow."""
    apart = (weak & ~_dilate(rough > 0.1, _REACH_PX)).astype(np.uint8)
    count, labels = cv2.connectedComponents(apart, connectivity=8)
    if count == 1:
        return np.zeros(weak.shape, bool)
    across, down = (cv2.Sobel(light, cv2.CV_32F, *order, scale=1 / 8) for order in ((1, 0), (0, 1)))
    where = np.flatnonzero(labels)
    names = labels.ravel()[where]

    def means(plane: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
        sums = np.bincount(names, plane.ravel()[where].astype(np.float64), count)
        return sums / np.maximum(np.bincount(names, minlength=count), 1)

    darker = ~tinted & (light < 1)
    slope = np.sqrt(means(across * across + down * down))
    depth = np.sqrt(means((1 - light) ** 2))
    scale = min(1.0, max(_SOFT_PX / max(weak.shape), 0.4))
    soft = (means(darker) > 0.6) & (slope < _SOFT * scale * depth)
    soft[0] = False
    return np.asarray(_dilate(soft[labels], 5) & darker & (rough < 0.5))


def _hanging_together(weak: Mask, strong: Mask, rough: Array) -> Mask:
    """Keep the parts that are clear somewhere and touch the subject, or nearly."""
    count, labels = cv2.connectedComponents(weak.astype(np.uint8), connectivity=8)
    reach = _dilate(rough > 0.5, round(_GAP * max(rough.shape)))
    clear = np.bincount(labels[strong], minlength=count)
    near = np.bincount(labels[strong & reach], minlength=count)
    keep = (clear >= _LEAST_PX) & (near >= 3)
    keep[0] = False
    return np.asarray(keep[labels])


def _render(image: Image, rough: Array, model: _Model) -> Array:
    """Apply a model at the image's size, to the pixels that it says anything about."""
    (H, W) = rough.shape
    alpha, unit = rough.copy(), np.float32(1 / white(image))
    said = cv2.dilate((model.weight > 0).astype(np.uint8), _square(1))
    if not said.any():
        return alpha
    found = cv2.findNonZero(cv2.resize(said, (W, H), interpolation=cv2.INTER_NEAREST))
    grids = model.slope, np.dstack([model.offset, model.noise, model.weight])
    for start in range(0, len(found), _PIXELS):
        x, y = found[start : start + _PIXELS].reshape(-1, 2).T
        slope, rest = look_up(grids, y, x, (H, W))
        offset, noise, weight = rest.T
        a = dot(np.asarray(image[y, x] * unit, np.float32), slope) + offset
        a *= _smooth(a / np.maximum(noise, np.float32(1e-6)), 1.5, 4)
        a = np.where(a > _FULL, 1, np.clip(a, 0, 1))
        alpha[y, x] = weight * a + (1 - weight) * alpha[y, x]
    return alpha


def _nothing(size: tuple[int, ...]) -> _Model:
    zero = np.zeros(size, np.float32)
    return _Model(np.zeros((*size, 3), np.float32), zero, zero, zero)


def _share(values: npt.NDArray[np.floating[Any]], percent: float) -> float:
    """Return a percentile of many values, by at most some ten thousand of them."""
    return float(np.percentile(values[:: 1 + len(values) // _SAMPLES], percent))


def _smooth(x: Array, low: float, high: float) -> Array:
    t = np.clip((x - low) / np.float32(high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def _square(reach: int) -> npt.NDArray[np.uint8]:
    return np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)


def _disc(diameter_px: float) -> npt.NDArray[np.uint8]:
    px = 2 * max(1, round(diameter_px / 2)) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (px, px)), np.uint8)


def _dilate(mask: Mask, reach: int) -> Mask:
    return np.asarray(cv2.dilate(mask.astype(np.uint8), _square(reach)) > 0)


def _size(rest: Array) -> Array:
    return np.asarray(
        cv2.magnitude(cv2.magnitude(rest[..., 0], rest[..., 1]), rest[..., 2]), np.float32
    )


def _most(colours: Array) -> Array:
    return np.asarray(np.maximum(np.maximum(colours[..., 0], colours[..., 1]), colours[..., 2]))
