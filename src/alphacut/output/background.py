"""What is behind the subject: a colour, a pattern or an image that fills the canvas."""

import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray

from alphacut import values
from alphacut.errors import ImageError
from alphacut.options import Fit, Options
from alphacut.pipeline import image as images
from alphacut.pipeline.image import Image, Picture
from alphacut.pipeline.load import Source, load_frames
from alphacut.pipeline.profile import convert_profile

# A colour or word, a path, the content of a file, 8-bit RGB or RGBA, or pixels
Background: TypeAlias = (
    str | os.PathLike[str] | bytes | tuple[int, ...] | PIL.Image.Image | NDArray[Any]
)

_CHECKS = (255, 204)


def load_background(
    source: Background,
    *,
    max_megapixels: float = Options.max_megapixels,
    allow_truncated: bool = Options.allow_truncated,
) -> values.Backdrop | Picture:
    """Read a background: as words if it is words, else as pixels.

    Args:
        source: A colour, word, path, the content of a file, or pixels.
        max_megapixels: Larger images are refused.
        allow_truncated: Whether to read what is there of a damaged file.

    Raises:
        OptionError: if a text is no colour, word or path.
        ImageError: if an image cannot be read, or a colour does not have 3 or 4 values of 0..255.
    """
    if isinstance(source, str):
        backdrop = values.parse_background(source)
        if backdrop.kind != "file":
            return backdrop
        source = backdrop.path
    if isinstance(source, tuple):
        if len(source) not in (3, 4) or not all(0 <= value <= 255 for value in source):
            raise ImageError(f"background {source}: a colour has 3 or 4 values from 0 to 255")
        red, green, blue, alpha = (*source, 255)[:4]
        return values.Backdrop("colour", (red, green, blue, alpha))
    if not isinstance(source, str | os.PathLike | bytes):
        return _read(source, max_megapixels, allow_truncated)
    key = source if isinstance(source, bytes) else os.fspath(source)
    try:
        changed_ns = 0 if isinstance(key, bytes) else Path(key).stat().st_mtime_ns
        return _read_once(key, changed_ns, max_megapixels, allow_truncated)
    except (ImageError, OSError) as error:
        cause = f"{key!r}: {error.strerror}" if isinstance(error, OSError) else str(error)
        raise ImageError(f"background {cause}", "background") from error


def forget() -> None:
    """Let go of the file that `load_background` read last and keeps for the next image."""
    _read_once.cache_clear()


@functools.lru_cache(maxsize=1)
def _read_once(
    source: str | bytes, _changed_ns: int, max_megapixels: float, allow_truncated: bool
) -> Picture:
    """Read a file once for all the images that are put on it."""
    return _read(source, max_megapixels, allow_truncated)


def _read(source: Source, max_megapixels: float, allow_truncated: bool) -> Picture:
    frames = load_frames(source, max_megapixels=max_megapixels, allow_truncated=allow_truncated)
    return next(frames)


def make_background(
    background: values.Backdrop | Picture,
    size: tuple[int, int],
    *,
    dtype: Any = np.uint8,
    fit: Fit = Options.fit,
    icc_profile: bytes | None = None,
) -> tuple[Image | None, NDArray[np.float32] | None]:
    """Fill a canvas.

    Args:
        background: From `load_background`; or the photo's own, from `scene.make_scene`.
        size: (H, W) of the canvas.
        dtype: np.uint8 or np.uint16.
        fit: How an image fills the canvas; see `fit_image`.
        icc_profile: The canvas's profile, None for sRGB. Colours are sRGB, images have their own
            profile; both are converted.

    Returns:
        Colours (H, W, 3) of that dtype, and their alpha (H, W) float32, None if they are opaque.
        Plain colours are read-only views of one pixel. (None, None) for "transparent".
    """
    H, W = size
    if isinstance(background, Picture):
        image = images.to_depth(fit_image(background.image, size, fit), dtype)
        image = convert_profile(image, background.metadata.icc_profile, icc_profile)
        if background.alpha is None:
            return image, None
        max_value = np.float32(images.white(background.alpha))
        return image, fit_image(background.alpha, size, fit).astype(np.float32) / max_value
    if background.kind == "transparent":
        return None, None
    if background.kind == "checkerboard":
        square_px = max(8, min(H, W) // 32)
        checks = _to_canvas([[grey] * 3 for grey in _CHECKS], dtype, icc_profile)
        two_rows = checks[(np.arange(W) // square_px + np.array([[0], [1]])) % 2]
        return np.asarray(two_rows[np.arange(H) // square_px % 2]), None
    (pixel,) = _to_canvas([background.colour[:3]], dtype, icc_profile)
    opacity = np.float32(background.colour[3] / 255)
    image = np.broadcast_to(pixel, (H, W, 3))
    return image, None if opacity == 1 else np.broadcast_to(opacity, (H, W))


def _to_canvas(colours: Sequence[Sequence[int]], dtype: Any, icc_profile: bytes | None) -> Image:
    """Return 8-bit sRGB colours (n, 3) in the canvas's dtype and profile."""
    pixels = images.to_depth(np.array(colours, np.uint8), dtype)
    return np.asarray(convert_profile(pixels[np.newaxis], None, icc_profile)[0])


def fit_image(image: Image, size: tuple[int, int], fit: Fit) -> Image:
    """Resize and crop an image to a canvas; an image of the right size is returned as it is.

    Args:
        image: (h, w) or (h, w, 3) uint8 or uint16.
        size: (H, W) of the canvas.
        fit: "cover" resizes until the canvas is full and crops the excess evenly on both sides;
            "contain" shows the whole image with white around it; "stretch" ignores the aspect
            ratio; "tile" repeats the image from the top left; "center-crop" crops the middle
            without resizing, unless the image is too small.

    Returns:
        (H, W) or (H, W, 3) of the same dtype.
    """
    H, W = size
    h, w = image.shape[:2]
    if (h, w) == size:
        return image
    if fit == "tile":
        return np.ascontiguousarray(image[np.arange(H) % h][:, np.arange(W) % w])
    if fit == "contain":
        factor = min(H / h, W / w)
        inner = min(H, max(1, round(h * factor))), min(W, max(1, round(w * factor)))
        canvas = np.full((H, W, *image.shape[2:]), np.iinfo(image.dtype).max, image.dtype)
        top, left = (H - inner[0]) // 2, (W - inner[1]) // 2
        canvas[top : top + inner[0], left : left + inner[1]] = _resize(image, inner)
        return canvas
    if fit != "stretch":
        factor = max(H / h, W / w)
        if fit == "center-crop" and factor <= 1:
            factor = 1.0
        inner = min(h, max(1, round(H / factor))), min(w, max(1, round(W / factor)))
        top, left = (h - inner[0]) // 2, (w - inner[1]) // 2
        image = image[top : top + inner[0], left : left + inner[1]]
    return _resize(image, size)


def _resize(image: Image, size: tuple[int, int]) -> Image:
    H, W = size
    if image.shape[:2] == size:
        return image
    h, w = image.shape[:2]
    if h > 64 * H or w > 64 * W:  # OpenCV's means over very many pixels are too coarse
        image = _resize(image, (min(h, 32 * H), min(w, 32 * W)))
    shrinks = h >= H and w >= W
    filter = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    resized = cv2.resize(np.ascontiguousarray(image), (W, H), interpolation=filter)
    return np.asarray(resized, image.dtype)
