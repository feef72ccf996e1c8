"""The cut-out, and what can be made of it: I = alpha F + (1 - alpha) B."""

import io
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageColor
from numpy.typing import NDArray

from alphacut import image as images
from alphacut.errors import AlphacutWarning, ImageError
from alphacut.image import Image, Metadata, Picture
from alphacut.options import Options

# Below half a step of 8 bits, alpha is written as zero
VISIBLE = 0.5 / 255
WHITE = (255, 255, 255)
_ROWS = 256


def parse_colour(colour: str) -> tuple[int, int, int]:
    """Read a colour, a name or #rgb or #rrggbb or rgb(r, g, b), as 8-bit RGB.

    Raises:
        ImageError: if there is no such colour.
    """
    try:
        return PIL.ImageColor.getrgb(colour)[:3]
    except ValueError as error:
        raise ImageError(
            f"unknown colour {colour!r}: use a name such as white, or #rrggbb"
        ) from error


def composite(
    foreground: Image, alpha: NDArray[np.float32], background: tuple[int, int, int] | Image
) -> Image:
    """Put a foreground on a background.

    Args:
        foreground: (H, W, 3) uint8 or uint16.
        alpha: (H, W) float32 in [0, 1].
        background: One 8-bit RGB colour, or an image of the same size and dtype.

    Returns:
        (H, W, 3) of the foreground's dtype, rounded once.
    """
    peak = images.white(foreground)
    back = background
    if isinstance(back, tuple):  # a colour: broadcast over the picture without a copy
        colour = np.asarray(back, np.float32) * np.float32(peak / 255)
        back = np.broadcast_to(colour, foreground.shape)
    image = np.empty_like(foreground)
    for top in range(0, len(image), _ROWS):  # in bands of rows: no float copy of the photo
        band = slice(top, top + _ROWS)
        a = alpha[band, :, np.newaxis]
        image[band] = a * foreground[band] + (1 - a) * back[band] + np.float32(0.5)
    return image


@dataclass(frozen=True, eq=False)
class Cutout:
    """A subject without its background.

    Attributes:
        foreground: (H, W, 3) uint8 or uint16, the subject's colours, straight: not multiplied by
            alpha.
        alpha: (H, W) float32 in [0, 1].
        saliency: (h, w) float32 in [0, 1], the network's answer at its own size.
        metadata: What the input file said about its pixels.
        duration_ms: How long this frame is shown, in an animation.
        loop: How often the animation runs, 0 for ever.
        frames: The frames that follow this one in an animation.
        trimap: (H, W) float32 in {0, 0.5, 1}, what matting was told; None if it needed none.
        milliseconds: What each stage took.
    """

    foreground: Image
    alpha: NDArray[np.float32]
    saliency: NDArray[np.float32]
    metadata: Metadata = field(default_factory=Metadata)
    duration_ms: float = 0.0
    loop: int = 1
    frames: tuple["Cutout", ...] = ()
    trimap: NDArray[np.float32] | None = None
    milliseconds: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) in pixels."""
        H, W = self.alpha.shape
        return H, W

    @property
    def box(self) -> tuple[int, int, int, int] | None:
        """(top, left, bottom, right) of what is visible, the last two exclusive; None if empty."""
        visible = self.alpha >= VISIBLE
        rows, columns = np.flatnonzero(visible.any(axis=1)), np.flatnonzero(visible.any(axis=0))
        if not len(rows):
            return None
        return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1

    @property
    def empty(self) -> bool:
        """Whether no subject was found: alpha is zero everywhere."""
        return self.box is None

    @property
    def mask(self) -> NDArray[np.float32]:
        """(H, W) float32 in [0, 1], the network's answer at image size, before matting."""
        import cv2

        H, W = self.size
        mask = cv2.resize(self.saliency, (W, H), interpolation=cv2.INTER_LINEAR)
        return np.asarray(mask, np.float32)

    @property
    def image(self) -> PIL.Image.Image:
        """The cut-out as a Pillow image, RGBA, 8 bits a channel."""
        foreground = self.foreground
        if foreground.dtype == np.uint16:
            foreground = np.rint(foreground * np.float32(255 / 65535)).astype(np.uint8)
        return PIL.Image.fromarray(images.with_alpha(foreground, self.alpha))

    def on(self, background: str | tuple[int, int, int] | Image) -> Image:
        """Put the subject on a background: a colour's name, 8-bit RGB, or an image of this size.

        Returns:
            (H, W, 3) of the foreground's dtype.

        Raises:
            ImageError: if the colour is unknown, or the image of another size or dtype.
        """
        if isinstance(background, str):
            background = parse_colour(background)
        if not isinstance(background, tuple) and (
            background.shape != self.foreground.shape or background.dtype != self.foreground.dtype
        ):
            raise ImageError(
                f"background: {background.dtype} {background.shape} is unlike the foreground, "
                f"{self.foreground.dtype} {self.foreground.shape}"
            )
        return composite(self.foreground, self.alpha, background)

    def encode(self, options: Options | None = None, path: Path | None = None) -> tuple[str, Any]:
        """Encode the result as a file.

        Args:
            options: What to write, and how.
            path: Where it will go, for formats that follow from its ending.

        Returns:
            The kind of file, such as "png", and its bytes in pieces.

        Raises:
            OutputError: if the path's ending and the options do not go together.
        """
        options = options or Options()
        kind = images.output_format(path, options)
        frames = (self, *self.frames) if kind in images.ANIMATES else (self,)
        return kind, images.encode(
            [frame._picture(kind, options) for frame in frames], kind, options.file_quality
        )

    def _picture(self, kind: str, options: Options) -> Picture:
        """Lay out what is written: alpha alone, the composite, or colours with alpha."""
        metadata = self.metadata
        if options.mask:
            samples = images.quantise(self.alpha)
            metadata = Metadata(exif=metadata.exif, xmp=metadata.xmp, dpi=metadata.dpi)
        elif options.background or kind in images.OPAQUE:
            samples = self.on(options.background or WHITE)
        else:
            samples = images.with_alpha(self.foreground, self.alpha)
        return Picture(samples, None, metadata, self.duration_ms, self.loop)

    def save(
        self, path: str | os.PathLike[str], options: Options | None = None, **changes: Any
    ) -> Path:
        """Write the result to a file, whole or not at all.

        Args:
            path: The file; its ending says the format. JPEG is flattened on white, or on the
                option `background`.
            options: What to write, and how.
            **changes: Fields of `Options` to change, such as `mask=True`.

        Returns:
            The path.

        Raises:
            OutputError: if the ending is unknown or the file cannot be written.
        """
        options = (options or Options()).replace(**changes)
        path = Path(path)
        kind = images.output_format(path, options)
        if self.frames and kind not in images.ANIMATES:
            warnings.warn(
                f"{path}: {kind} cannot move: only the first of {len(self.frames) + 1} frames "
                "is written",
                AlphacutWarning,
                stacklevel=2,
            )
        images.write(path, lambda: self.encode(options, path)[1])
        return path

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Return (H, W, 4): colours and alpha in the foreground's dtype, zero where hidden."""
        array = images.with_alpha(self.foreground, self.alpha)
        return array if dtype is None else array.astype(dtype)

    def _repr_png_(self) -> bytes:
        """Show the cut-out in a notebook."""
        file = io.BytesIO()
        self.image.save(file, "PNG", compress_level=1)
        return file.getvalue()
