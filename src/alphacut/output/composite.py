"""Compositing: I = alpha F + (1 - alpha) B."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alphacut.output.encode import with_alpha
from alphacut.pipeline import image as images
from alphacut.pipeline.image import Image

WHITE = (255, 255, 255)


_ROWS = 256


def composite(
    foreground: Image,
    alpha: NDArray[np.float32],
    background: tuple[int, int, int] | Image,
    *,
    opacity: NDArray[np.float32] | None = None,
    shadow: NDArray[np.float32] | None = None,
    linear_light: bool = False,
) -> Image:
    """Put a foreground on a background, with a shadow between them.

    Args:
        foreground: (H, W, 3) uint8 or uint16.
        alpha: (H, W) float32 in [0, 1].
        background: One 8-bit RGB colour, or an image of the same size and dtype.
        opacity: (H, W) float32 in [0, 1], the background's own alpha; None for opaque.
        shadow: (H, W) float32 in [0, 1], how much of the background's light it takes.
        linear_light: Whether light is mixed, by sRGB's curve, instead of sRGB numbers.

    Returns:
        (H, W, 3) of the foreground's dtype, rounded once; (H, W, 4) with `opacity`, colours
        straight and zero where alpha is zero.
    """
    peak = images.white(foreground)
    if isinstance(background, tuple):  # a colour: broadcast over the picture without a copy
        pixel = images.to_depth(np.array(background, np.uint8), foreground.dtype)
        background = np.broadcast_to(pixel, foreground.shape)
    levels = _linear_levels(peak) if linear_light else None
    H, W = alpha.shape
    image: Image = np.empty((H, W, 3 if opacity is None else 4), foreground.dtype)
    for top in range(0, H, _ROWS):  # in bands of rows: no float copy of the photo
        band = slice(top, top + _ROWS)
        a = alpha[band, :, np.newaxis]
        front, back = foreground[band], background[band]
        light = (1 - a) * (back if levels is None else levels[back])
        if opacity is not None:
            light *= opacity[band, :, np.newaxis]
        if shadow is not None:
            light *= 1 - shadow[band, :, np.newaxis]
        light += a * (front if levels is None else levels[front])
        if opacity is not None:
            behind = opacity[band, :, np.newaxis]
            if shadow is not None:
                s = shadow[band, :, np.newaxis]
                behind = s + (1 - s) * behind
            total = a + (1 - a) * behind
            light /= np.maximum(total, np.float32(1e-6))
            image[band, :, 3:] = total * np.float32(peak) + np.float32(0.5)
        if linear_light:
            light = _encode_linear(light) * np.float32(peak)
        image[band, :, :3] = np.minimum(light + np.float32(0.5), np.float32(peak))
    if opacity is not None:
        image[image[..., 3] == 0] = 0
    return image


def _linear_levels(peak: float) -> NDArray[np.float32]:
    """Return the light in [0, 1] of each sRGB level (IEC 61966-2-1)."""
    level = np.arange(peak + 1) / peak
    light = np.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4)
    return light.astype(np.float32)


def _encode_linear(light: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return sRGB in [0, 1] for light in [0, 1]."""
    curve = np.float32(1.055) * np.power(light, np.float32(1 / 2.4)) - np.float32(0.055)
    return np.asarray(np.where(light <= 0.0031308, light * np.float32(12.92), curve))


def difference(photo: Image, foreground: Image) -> tuple[NDArray[np.intp], Image]:
    """Note where a foreground differs from its photo: a few soft edges, not a second photo.

    Args:
        photo: (H, W, 3) uint8 or uint16.
        foreground: (H, W, 3) of the same dtype.

    Returns:
        Flat indexes of the samples that differ, and the photo's samples there.
    """
    H, W = photo.shape[:2]
    found = [
        np.flatnonzero(photo[top : top + _ROWS] != foreground[top : top + _ROWS]) + top * W * 3
        for top in range(0, H, _ROWS)
    ]
    where = np.concatenate(found)
    return where, photo.reshape(-1)[where]


def flatten_on_white(samples: Image) -> Image:
    """Put (H, W, 4) on white; (H, W, 3) is opaque already."""
    if samples.shape[2] == 3:
        return samples
    alpha = np.asarray(samples[..., 3] / images.white(samples), np.float32)
    return composite(samples[..., :3], alpha, WHITE)


@dataclass(frozen=True, eq=False)
class Layers:
    """What is composed, on one canvas.

    Attributes:
        foreground: (H, W, 3) uint8 or uint16.
        alpha: (H, W) float32 in [0, 1].
        background: Colours (H, W, 3) of the same dtype, or None for nothing.
        opacity: The background's alpha, None for opaque.
        shadow: Darkness (H, W), or None.
    """

    foreground: Image
    alpha: NDArray[np.float32]
    background: Image | None = None
    opacity: NDArray[np.float32] | None = None
    shadow: NDArray[np.float32] | None = None

    def flatten(self, *, linear_light: bool) -> Image:
        """Return (H, W, 3), or (H, W, 4) where something shines through."""
        if self.background is None and self.shadow is None:
            return with_alpha(self.foreground, self.alpha)
        background, opacity = self.background, self.opacity
        if background is None:
            background = np.broadcast_to(self.foreground.dtype.type(0), self.foreground.shape)
            opacity = np.broadcast_to(np.float32(0), self.alpha.shape)
        return composite(
            self.foreground, self.alpha, background,
            opacity=opacity, shadow=self.shadow, linear_light=linear_light,
        )  # fmt: skip

    def named(self) -> list[tuple[str, Image]]:
        """Return each layer (H, W, 4) with its name, the uppermost first."""
        layers = [("subject", with_alpha(self.foreground, self.alpha))]
        if self.shadow is not None:
            layers.append(("shadow", with_alpha(self.foreground * 0, self.shadow)))
        if self.background is not None:
            opacity = self.opacity
            opacity = np.ones_like(self.alpha) if opacity is None else opacity
            layers.append(("background", with_alpha(self.background, opacity)))
        return layers
