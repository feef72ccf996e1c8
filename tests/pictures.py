"""Tiny pictures, and a network whose answer is known."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from alphacut.output.encode import Raster, quantise
from alphacut.pipeline.image import Image, white

SHARED = Path(__file__).resolve().parents[2] / "shared"  # beside the checkout, if it is there
CASES = SHARED / "cases"


def disc(H: int, W: int, radius: float = 0.3) -> NDArray[np.float32]:
    """(H, W) float32: 1 in an ellipse in the middle, 0 around it; radius in parts of a side."""
    y, x = np.mgrid[:H, :W]
    inside = np.hypot((y + 0.5) / H - 0.5, (x + 0.5) / W - 0.5) < radius
    return inside.astype(np.float32)


class FakeRuntime:
    """A network that finds a disc in the middle of every picture."""

    device = "fake"
    prefers_batches = False

    def __init__(self) -> None:
        self.batches: list[NDArray[np.float32]] = []

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        self.batches.append(batch)
        N, _, h, w = batch.shape
        return np.broadcast_to(disc(h, w), (N, 1, h, w)).copy()


class Bright:
    """A network that finds whatever is bright, wherever it looks."""

    device = "fake"
    prefers_batches = False

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        return (batch.mean(axis=1, keepdims=True) > 0.5).astype(np.float32)


# Where three subjects stand: top, left, bottom, right
GROUP = ((60, 30, 180, 90), (40, 130, 200, 200), (90, 250, 190, 330))


def make_group() -> NDArray[np.uint8]:
    """(240, 360, 3) uint8: three bright subjects that do not touch, on a dark gradient."""
    image = np.broadcast_to(np.linspace(10, 50, 360)[:, np.newaxis], (240, 360, 3)).copy()
    for (top, left, bottom, right), colour in zip(
        GROUP, ((230, 220, 200), (250, 250, 250), (220, 240, 230)), strict=True
    ):
        image[top:bottom, left:right] = colour
    return np.asarray(cv2.blur(image, (3, 3)), np.uint8)


def make_photo(H: int = 48, W: int = 64) -> NDArray[np.uint8]:
    """(H, W, 3) uint8: a warm disc on a cool gradient, smooth as photographs are."""
    across = np.broadcast_to(np.linspace(40, 120, W), (H, W))
    image = np.stack([across, across + 40, across + 80], axis=2)
    image[disc(H, W) > 0] = (200, 180, 160)
    return np.asarray(cv2.blur(image, (3, 3)), np.uint8)


def with_alpha(image: Image, alpha: NDArray[np.float32]) -> Image:
    """Join colours (H, W, 3) and alpha (H, W) in [0, 1] to (H, W, 4), zero where alpha is zero."""
    return Raster(image, quantise(alpha, white(image))).joined()
