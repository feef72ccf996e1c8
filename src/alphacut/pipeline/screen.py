"""Green and blue screens: alpha by colour difference, colours without the screen's light.

In a screen's channel p the ground exceeds the others, q and s; subjects rarely do. The difference
D = I_p - (I_q + I_s) / 2 is linear in the colour, so with I = a F + (1 - a) B alpha is
(D_B - D) / (D_B - D_F), with the ground's D_B and the nearest sure subject's D_F. Grey subjects,
D_F = 0, are exact (Smith and Blinn, "Blue Screen Matting", SIGGRAPH 1996).
"""

import cv2
import numpy as np
import numpy.typing as npt

from alphacut.pipeline.ground import Ground
from alphacut.pipeline.image import Image, white

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

_SURE = 0.8  # key from which a pixel may be all subject
_FLAT = 0.02  # and how little it varies around it
_NEAR = (0.006, 0.02, 0.08)  # radii within which the subject's own key is looked for, of the side
_THROUGH = 0.9  # of the subject's own key: below it, ground may shine through
_DEEP = 0.015  # of the long side: so far from there, none does
_SNAP = 3.0  # alpha within so many standard deviations of 0 or 1 is that
_ALIKE = 3.5  # standard deviations from the ground within which a pixel is it
_LEAST_DEEP_PX = 4
_OWN = (
    0.4,
    0.75,
)  # excess of the screen's channel, against the ground's, that is the subject's own
_ROWS = 128


def key_screen(image: Image, ground: Ground, rough: Array | None = None) -> Array:
    """Solve alpha before a green or blue screen.

    Args:
        image: (H, W, 3) uint8 or uint16.
        ground: The screen.
        rough: (H, W) float32 in [0, 1], the network's alpha, which keeps what wears the screen's
            colour and leaves out what is no part of the subject; None for none.

    Returns:
        (H, W) float32 in [0, 1].
    """
    H, W = image.shape[:2]
    side, own = max(H, W), _channel(ground)
    behind = cv2.resize(_difference(ground.levels, own), (W, H), interpolation=cv2.INTER_LINEAR)
    share = np.empty((H, W), np.float32)
    unit = np.float32(1 / white(image))
    for top in range(0, H, _ROWS):
        rows = slice(top, top + _ROWS)
        part = _difference(image[rows].astype(np.float32) * unit, own)
        share[rows] = 1 - part / behind[rows]
    noise = max(0.0, ground.spread - 0.5 / 255) * 1.3 / max(float(behind.mean()), 0.05)
    subject = _subject_share(share, noise)
    alpha = np.asarray(np.clip(share / subject, 0, 1), np.float32)
    through = (share < _THROUGH * subject).astype(np.uint8)
    deep = _square(max(_LEAST_DEEP_PX, round(_DEEP * side)))
    near = cv2.dilate(through, deep) > 0
    alpha[~near] = 1
    alpha[alpha < _SNAP * noise] = 0
    alpha[alpha > 1 - _SNAP * noise] = 1
    if rough is None or not (rough > 0.5).any():
        return alpha
    solid = cv2.erode((rough > 0.95).astype(np.uint8), deep) > 0
    alike = np.abs(share) < max(_ALIKE * noise, 0.05)
    alpha[solid & ~alike] = 1
    return np.asarray(np.where(_apart(alpha, rough), 0, alpha), np.float32)


def remove_spill(foreground: Image, alpha: Array, ground: Ground, strength: float) -> Image:
    """Take a screen's light off a subject: what its channel has above the other two.

    Args:
        foreground: (H, W, 3) uint8 or uint16.
        alpha: (H, W) float32 in [0, 1].
        ground: The screen.
        strength: 0..1.

    Returns:
        (H, W, 3) of the same dtype. What has the screen's channel as strongly as the screen itself
        is the subject's own colour, and stays.
    """
    if not strength:
        return foreground
    own = _channel(ground)
    others = [channel for channel in range(3) if channel != own]
    full = float(_excess(ground.levels, own, others).mean()) * white(foreground)
    cleaned = foreground.copy()
    for top in range(0, len(foreground), _ROWS):
        rows = slice(top, top + _ROWS)
        part = foreground[rows].astype(np.float32)
        over = _excess(part, own, others)
        low, high = _OWN
        spilt = np.clip((high - over / full) / (high - low), 0, 1)
        less = part[..., own] - strength * spilt * np.maximum(over, 0)
        cleaned[rows, :, own] = np.where(alpha[rows] > 0, np.rint(less), part[..., own])
    return cleaned


def unmix(image: Image, alpha: Array, ground: Ground) -> Image:
    """Solve the subject's colours, (I - (1 - a) B) / a, where alpha is above zero.

    Args:
        image: (H, W, 3) uint8 or uint16.
        alpha: (H, W) float32 in [0, 1].
        ground: What is behind.

    Returns:
        (H, W, 3) of the image's dtype; the image where alpha is 0 or 1.
    """
    (H, W), top_level = alpha.shape, np.float32(white(image))
    foreground = image.copy()
    levels = cv2.resize(ground.levels, (W, H), interpolation=cv2.INTER_LINEAR)
    for top in range(0, H, _ROWS):
        rows = slice(top, top + _ROWS)
        a = alpha[rows, :, np.newaxis]
        soft = (a > 0) & (a < 1)
        light = image[rows] - (1 - a) * levels[rows] * top_level
        colours = np.clip(light / np.maximum(a, np.float32(1e-3)), 0, top_level)
        foreground[rows] = np.where(soft, np.rint(colours), image[rows])
    return foreground


def _channel(ground: Ground) -> int:
    assert ground.primary is not None
    return ground.primary


def _difference(colours: Array, own: int) -> Array:
    total = colours.sum(axis=-1)
    return np.asarray(1.5 * colours[..., own] - 0.5 * total, np.float32)


def _excess(colours: Array, own: int, others: list[int]) -> Array:
    return np.asarray(colours[..., own] - colours[..., others].max(axis=-1), np.float32)


def _subject_share(share: Array, noise: float) -> Array:
    """Find, near each pixel, the share that is all subject: 1 if it is grey."""
    H, W = share.shape
    even = cv2.blur(share, (3, 3))  # a third of the noise
    low, high = cv2.erode(even, _square(1)), cv2.dilate(even, _square(1))
    flat = (low > _SURE) & (high - low < max(_FLAT, 3 * noise))
    if not flat.any():
        return np.ones_like(share)
    weight = flat.astype(np.float32)
    values = np.where(flat, share, 0).astype(np.float32)
    found = np.full((H, W), np.median(share[flat]), np.float32)
    for radius in reversed(_NEAR):
        px = max(1, round(radius * max(H, W)))
        box = 2 * px + 1, 2 * px + 1
        total, mass = (cv2.blur(plane, box) for plane in (values, weight))
        trust = np.clip(mass * (box[0] * box[1]) / 6, 0, 1)
        found = trust * total / np.maximum(mass, 1e-6) + (1 - trust) * found
    return np.maximum(found, np.float32(_SURE))


def _apart(alpha: Array, rough: Array) -> Mask:
    """Find parts that do not hang together with the network's subject."""
    _, labels = cv2.connectedComponents((alpha > 0.02).astype(np.uint8), connectivity=8)
    touched = np.bincount(labels.ravel(), (rough > 0.5).ravel().astype(np.float64)) > 0
    touched[0] = True
    return np.asarray(~touched[labels])


def _square(reach: int) -> npt.NDArray[np.uint8]:
    return np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
