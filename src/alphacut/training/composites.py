"""Pictures that are made while training: subjects on backgrounds, and pictures without one."""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from alphacut.training.datasets import Files
from alphacut.training.recipe import Source
from alphacut.training.steps import Array, Pixels, Rng


@dataclass(frozen=True)
class Sample:
    """A picture with what is known about it.

    Attributes:
        image: (H, W, 3) uint8.
        alpha: (H, W) float32 in [0, 1]; without meaning where `known` is false.
        contrast: (H, W, 3) float32, foreground minus background in [-1, 1]; 0 where unknown.
        loss_weight: (H, W) float32 in [0, 1], how much a pixel counts in the loss.
        known: Whether alpha is the truth.
    """

    image: Pixels
    alpha: Array
    contrast: Array
    loss_weight: Array
    known: bool = True


def choose_canvas(source: Source, side_px: int, rng: Rng) -> tuple[int, int]:
    """(H, W) of a canvas, of the shapes that photographs have."""
    area = (side_px * rng.uniform(*source.canvas)) ** 2
    aspect = math.exp(rng.uniform(-0.55, 0.55))
    return round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))


def cut_background(files: Files, size: tuple[int, int], rng: Rng) -> Pixels:
    """A part of a photograph at a size, perhaps mirrored."""
    photograph = files.background(files.backgrounds[int(rng.integers(len(files.backgrounds)))])
    H, W = photograph.shape[:2]
    most = min(H / size[0], W / size[1])
    scale = most * rng.uniform(0.5, 1.0)
    h, w = min(H, round(size[0] * scale)), min(W, round(size[1] * scale))
    top, left = int(rng.integers(H - h + 1)), int(rng.integers(W - w + 1))
    part = photograph[top : top + h, left : left + w]
    if rng.random() < 0.5:
        part = part[:, ::-1]
    method = cv2.INTER_AREA if scale > 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(part, size[::-1], interpolation=method), np.uint8)


def draw_nothing(source: Source, files: Files, side_px: int, rng: Rng) -> Pixels:
    """A picture without a subject: a background, an even or shaded colour, or noise."""
    size = choose_canvas(source, side_px, rng)
    if rng.random() < 0.6:
        image = cut_background(files, size, rng)
        if rng.random() < 0.3:
            image = np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(2, 12)), np.uint8)
        return image
    return draw_shades(size, rng)


def draw_shades(size: tuple[int, int], rng: Rng) -> Pixels:
    """An even or shaded ground, smooth or rough, (H, W, 3) uint8."""
    corners = rng.uniform(0, 255, (2, 2, 3)).astype(np.float32)
    if rng.random() < 0.4:
        corners[:] = corners[0, 0]
    shades = cv2.resize(corners, size[::-1], interpolation=cv2.INTER_LINEAR)
    deviation = rng.uniform(0, 60) if rng.random() < 0.25 else rng.uniform(0, 4)
    noise = rng.standard_normal(shades.shape, np.float32) * deviation
    return np.asarray(np.clip(np.rint(shades + noise), 0, 255), np.uint8)


def compose(source: Source, files: Files, side_px: int, rng: Rng) -> Sample:
    """Subjects on a background that shares their sharpness and, roughly, their light."""
    size = choose_canvas(source, side_px, rng)
    if rng.random() < source.plain:
        ground = draw_shades(size, rng)
    else:
        ground = cut_background(files, size, rng)
    background = np.asarray(ground / np.float32(255), np.float32)
    odds = np.array(source.subjects)
    count = 1 + int(rng.choice(len(odds), p=odds / odds.sum()))
    layers = []
    softness = 0.0
    for _ in range(count):
        subject = files.subject(files.subjects[int(rng.integers(len(files.subjects)))])
        layer, enlarged = _place(subject, size, source, count, rng)
        layers.append(_relight(layer, background, rng))
        softness = max(softness, enlarged)
    if rng.random() < 0.7:  # enlarged subjects are soft, and sharpness should not give them away
        sigma = 0.4 * min(softness, 3.0) * rng.uniform(0, 1.5)
        if sigma > 0.2:
            background = np.asarray(cv2.GaussianBlur(background, (0, 0), sigma), np.float32)
    if rng.random() < source.alike:
        background = _take_on(background, layers[-1], rng)
    whole = np.zeros((*size, 4), np.float32)
    for layer in layers:
        whole = layer + (1 - layer[..., 3:]) * whole
    alpha = whole[..., 3]
    image = whole[..., :3] + (1 - alpha[..., np.newaxis]) * background
    foreground = whole[..., :3] / np.maximum(alpha, 1e-3)[..., np.newaxis]
    contrast = np.where(alpha[..., np.newaxis] > 0, np.clip(foreground, 0, 1) - background, 0)
    pixels = np.clip(np.rint(image * 255), 0, 255).astype(np.uint8)
    return Sample(pixels, alpha, contrast.astype(np.float32), np.ones(size, np.float32))


def _place(
    pixels: Pixels, size: tuple[int, int], source: Source, count: int, rng: Rng
) -> tuple[Array, float]:
    """Premultiply, scale, turn, mirror and move a subject on a canvas; tell how much it grew."""
    matte = pixels[..., 3:] / np.float32(255)
    subject = np.concatenate([pixels[..., :3] / np.float32(255) * matte, matte], axis=2)
    h, w = subject.shape[:2]
    low, high = source.coverage
    share = rng.uniform(low, high) / math.sqrt(count)
    scale = share * min(max(size) / max(h, w), 1.15 * size[0] / h, 1.15 * size[1] / w)
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    fitted = (max(2, round(w * scale)), max(2, round(h * scale)))
    subject = np.asarray(cv2.resize(subject, fitted, interpolation=method), np.float32)
    matte = np.clip(subject[..., 3:], 0, 1)  # cubic overshoots, in colours by the same factor
    colours = np.clip(subject[..., :3] / np.maximum(subject[..., 3:], 1e-3), 0, 1)
    subject = np.concatenate([colours * matte, matte], axis=2)
    if rng.random() < 0.5:
        subject = subject[:, ::-1]
    h, w = subject.shape[:2]
    cut = float((subject[-1, :, 3] > 0.5).mean()) > 0.3  # busts end where their photograph did
    angle = rng.normal(0, 12) if rng.random() < 0.5 and not cut else 0.0
    free_y, free_x = max(0, size[0] - h), max(0, size[1] - w)
    beyond = 0.3 if rng.random() < 0.25 else 0.05  # parts of some subjects are cut off
    y = rng.uniform(-beyond * h, free_y + beyond * h) if free_y else (size[0] - h) / 2
    if cut and free_y:
        y = free_y + rng.uniform(0, beyond) * h
    x = rng.uniform(-beyond * w, free_x + beyond * w) if free_x else (size[1] - w) / 2
    matrix = cv2.getRotationMatrix2D((w / 2, h / 2), angle, 1.0)
    matrix[:, 2] += (round(x), round(y))
    moved = cv2.warpAffine(
        np.ascontiguousarray(subject), matrix, size[::-1], flags=cv2.INTER_LINEAR
    )
    moved[..., :3] = np.minimum(moved[..., :3], moved[..., 3:])
    return np.asarray(moved, np.float32), scale


def _relight(layer: Array, background: Array, rng: Rng) -> Array:
    """Vary a subject's light and saturation, at times towards the background's."""
    colours, alpha = layer[..., :3], layer[..., 3:]
    weight = max(float(alpha.sum()), 1.0)
    own = max(float(colours.sum()) / weight / 3, 0.05)
    gain = rng.uniform(0.8, 1.2)
    if rng.random() < 0.5:
        gain *= float(np.clip((float(background.mean()) / own) ** 0.3, 0.75, 1.3))
    grey = colours.mean(axis=2, keepdims=True)
    colours = grey + (colours - grey) * rng.uniform(0.7, 1.2)
    tint = 1 + rng.uniform(-0.05, 0.05, 3)
    colours = np.clip(colours * (gain * tint), 0, alpha)
    return np.concatenate([colours, alpha], axis=2).astype(np.float32)


def _take_on(background: Array, layer: Array, rng: Rng) -> Array:
    """Give a ground the colour of a part of the subject: dark jackets stand before dark walls."""
    inside = np.flatnonzero(layer[..., 3] > 0.95)
    if not len(inside):
        return background
    y, x = divmod(int(rng.choice(inside)), layer.shape[1])
    part = layer[max(0, y - 6) : y + 7, max(0, x - 6) : x + 7]
    colour = part[..., :3].sum(axis=(0, 1)) / max(float(part[..., 3].sum()), 1e-3)
    near, contrast = rng.uniform(0.6, 1.0), rng.uniform(0.3, 0.9)
    middle = background.mean(axis=(0, 1))
    target = near * colour + (1 - near) * middle
    return np.asarray(np.clip(target + (background - middle) * contrast, 0, 1), np.float32)
