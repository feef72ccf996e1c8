"""Compositing: I = alpha F + (1 - alpha) B."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alphacut.output.encode import Raster, quantise
from alphacut.pipeline import image as images
from alphacut.pipeline.color import encode_srgb, srgb_levels_as_light
from alphacut.pipeline.image import Image

WHITE = (255, 255, 255)
_ROWS = 256


@dataclass(frozen=True, eq=False)
class Layers:
    """What is composited, on one canvas.

    Attributes:
        foreground: (H, W, 3) uint8 or uint16, straight.
        alpha: (H, W) float32 in [0, 1].
        shadow: Darkness (H, W) float32 in [0, 1], or None.
        background: Colours (H, W, 3) of the foreground's dtype, or None for nothing.
        opacity: The background's alpha, (H, W) float32 in [0, 1]; None if it is opaque.
    """

    foreground: Image
    alpha: NDArray[np.float32]
    shadow: NDArray[np.float32] | None = None
    background: Image | None = None
    opacity: NDArray[np.float32] | None = None

    def flatten(self, *, linear_light: bool = False, opaque: bool = False) -> Raster:
        """Merge the layers.

        Args:
            linear_light: Whether light is mixed, by sRGB's curve, instead of sRGB numbers.
            opaque: Whether what shines through becomes white, for formats without alpha.

        Returns:
            RGB if nothing shines through, else RGBA; the subject alone as RGB with alpha beside.
        """
        background, opacity = self.background, self.opacity
        if background is None:
            if not opaque and self.shadow is None:
                return _raster(self.foreground, self.alpha)
            background = _plain(WHITE, self.foreground)
            opacity = None if opaque else np.broadcast_to(np.float32(0), self.alpha.shape)
        elif opaque and opacity is not None:
            background = composite(background, opacity, WHITE, linear_light=linear_light)
            opacity = None
        image = composite(
            self.foreground, self.alpha, background,
            opacity=opacity, shadow=self.shadow, linear_light=linear_light,
        )  # fmt: skip
        return Raster(image)

    def named(self, alphas: Sequence[NDArray[np.float32]] = ()) -> list[tuple[str, Raster]]:
        """Return each layer with its name, the uppermost first.

        Args:
            alphas: (H, W) float32 in [0, 1] of each subject, if there are several.
        """
        layers = [("subject", _raster(self.foreground, self.alpha))]
        if alphas:
            layers = [(f"subject {number}", _raster(self.foreground, alpha))
                      for number, alpha in enumerate(alphas, 1)]  # fmt: skip
        if self.shadow is not None:
            black = _plain((0, 0, 0), self.foreground)
            layers.append(("shadow", _raster(black, self.shadow)))
        if self.background is not None:
            opacity = np.ones_like(self.alpha) if self.opacity is None else self.opacity
            layers.append(("background", _raster(self.background, opacity)))
        return layers


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
        opacity: (H, W) float32 in [0, 1], the background's own alpha; None if it is opaque.
        shadow: (H, W) float32 in [0, 1], the share of the background's light that it takes.
        linear_light: Whether light is mixed, by sRGB's curve, instead of sRGB numbers.

    Returns:
        (H, W, 3) of the foreground's dtype, rounded once; (H, W, 4) with `opacity`, colours
        straight and zero where alpha is zero.
    """
    max_value = np.float32(images.white(foreground))
    if isinstance(background, tuple):
        background = _plain(background, foreground)
    levels = srgb_levels_as_light(images.white(foreground)) if linear_light else None
    H, W = alpha.shape
    image: Image = np.empty((H, W, 3 if opacity is None else 4), foreground.dtype)
    for top in range(0, H, _ROWS):  # in bands of rows: no float copy of the photo
        rows = slice(top, top + _ROWS)
        a = alpha[rows, :, np.newaxis]
        front, back = foreground[rows], background[rows]
        light = (1 - a) * (back if levels is None else levels[back])
        if opacity is not None:
            light *= opacity[rows, :, np.newaxis]
        if shadow is not None:
            light *= 1 - shadow[rows, :, np.newaxis]
        light += a * (front if levels is None else levels[front])
        if opacity is not None:
            behind = opacity[rows, :, np.newaxis]
            if shadow is not None:
                s = shadow[rows, :, np.newaxis]
                behind = s + (1 - s) * behind
            total = a + (1 - a) * behind
            light /= np.maximum(total, np.float32(1e-6))
            image[rows, :, 3:] = total * max_value + np.float32(0.5)
        if linear_light:
            light = encode_srgb(light) * max_value
        image[rows, :, :3] = np.minimum(light + np.float32(0.5), max_value)
    if opacity is not None:
        image[image[..., 3] == 0] = 0
    return image


def _raster(colours: Image, alpha: NDArray[np.float32]) -> Raster:
    return Raster(colours, quantise(alpha, images.white(colours)))


def _plain(colour: tuple[int, int, int], like: Image) -> Image:
    """Return a colour as an image of the shape and dtype of another, without a copy."""
    pixel = images.to_depth(np.array(colour, np.uint8), like.dtype)
    return np.broadcast_to(pixel, like.shape)
