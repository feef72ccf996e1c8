"""What an image is: arrays, what their file said about them, and how depth and size change."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias, TypeVar, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from alphacut.errors import ImageError

Image: TypeAlias = NDArray[np.unsignedinteger[Any]]  # uint8 or uint16
Plane = TypeVar("Plane", bound=NDArray[np.integer[Any] | np.floating[Any]])

SUFFIXES = {
    ".png": "png", ".apng": "png", ".webp": "webp", ".avif": "avif",
    ".tif": "tiff", ".tiff": "tiff", ".jpg": "jpg", ".jpeg": "jpg", ".jpe": "jpg", ".jfif": "jpg",
}  # fmt: skip


TILE_PX = 512  # side of an image's tiles: the soft pixels' floats of one fit a processor's cache
_LINE = 256  # places looked up at a time make lines of so many: OpenCV takes no long ones


@dataclass(frozen=True)
class Metadata:
    """What a file says about its pixels, kept from input to output.

    Attributes:
        icc_profile: RGB colour profile.
        exif: EXIF block without its "Exif" prefix, from `metadata.keep_exif`: no orientation.
        xmp: XMP packet, from `metadata.keep_xmp`: no orientation.
        dpi: Horizontal and vertical density.
    """

    icc_profile: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None


@dataclass(frozen=True)
class Picture:
    """One decoded picture, or one frame of an animation.

    Attributes:
        image: (H, W, 3) uint8, or uint16 if 16 bits are kept; upright, RGB.
        alpha: (H, W) of the same dtype, the transparency that the file already has, or None.
        metadata: What the file says about its pixels.
        duration_ms: How long the frame is shown.
        loop: How often the animation runs, 0 for ever.
    """

    image: Image
    alpha: Image | None = None
    metadata: Metadata = field(default_factory=Metadata)
    duration_ms: float = 0.0
    loop: int = 1


def check_image(image: Image) -> None:
    """Refuse what is not (H, W, 3) uint8 or uint16 with pixels.

    Raises:
        ImageError: if so.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype not in (np.uint8, np.uint16):
        raise ImageError(
            f"image must be (H, W, 3) uint8 or uint16, not {image.shape} {image.dtype}"
        )
    if image.size == 0:
        raise ImageError("image has no pixels")


def check_plane(name: str, plane: NDArray[Any], size: tuple[int, ...] | None = None) -> None:
    """Refuse what is not (H, W) float32 with pixels, of one size if that is given.

    Raises:
        ImageError: if so.
    """
    right = plane.ndim == 2 and plane.size and plane.dtype == np.float32
    if not right or size not in (None, plane.shape):
        raise ImageError(
            f"{name} must be {size or '(H, W)'} float32, not {plane.shape} {plane.dtype}"
        )


def white(image: NDArray[Any]) -> float:
    """Return the value of white: 255 or 65535, by the dtype."""
    return float(np.iinfo(image.dtype).max)


def to_depth(image: Image, depth: Any) -> Image:
    """Return an image as uint8 or uint16, itself if it is that already."""
    if image.dtype == depth:
        return image
    if depth == np.uint16:
        return np.asarray(image.astype(np.uint16) * np.uint16(257))
    return np.asarray((image.astype(np.uint32) * 255 + 32767) // 65535, np.uint8)


def downscale(plane: Plane, size: tuple[int, int]) -> Plane:
    """Average over the area that each new pixel covers.

    OpenCV's filter for any factor reads 6 megapixels in 22 ms, its filter for one half in 2, so
    sides are halved as long as they are even and at least twice the new ones. Integers are rounded
    each time, which moves a mean by a third of a level on average. A guided filter notices: the
    guide of `matting` is downscaled by OpenCV's filter, with which Grad on 12 photographs is 14.9
    instead of 15.6.

    Args:
        plane: (H, W) or (H, W, C) of uint8, uint16 or float32.
        size: (h, w), at most (H, W).

    Returns:
        (h, w) or (h, w, C) of the same dtype.
    """
    h, w = size
    H, W = plane.shape[:2]
    while 2 * h <= H and 2 * w <= W and H % 2 == 0 and W % 2 == 0:
        H, W = H // 2, W // 2
        plane = cast(Plane, cv2.resize(plane, (W, H), interpolation=cv2.INTER_AREA))
    if (h, w) == (H, W):
        return plane
    return cast(Plane, cv2.resize(plane, (w, h), interpolation=cv2.INTER_AREA))


def downscale_to(plane: Plane, longest_px: int) -> Plane:
    """Downscale, keeping the aspect, until no side is longer; return what is small enough as is."""
    H, W = plane.shape[:2]
    factor = min(1.0, longest_px / max(H, W))
    return downscale(plane, (max(1, round(H * factor)), max(1, round(W * factor))))


def limit_megapixels(picture: Picture, megapixels: float) -> Picture:
    """Downscale a picture, keeping its aspect, to at most so many megapixels.

    Colours are weighted by alpha, so that no hidden one gets into an edge.

    Args:
        picture: The picture.
        megapixels: The limit; 0 for none.

    Returns:
        A smaller picture, or the same one if it is small enough.
    """
    H, W = picture.image.shape[:2]
    if not megapixels or megapixels * 1e6 >= H * W:
        return picture
    factor = (megapixels * 1e6 / (H * W)) ** 0.5
    size = max(1, int(W * factor)), max(1, int(H * factor))

    def mean(plane: Image) -> Image:
        return np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_AREA), plane.dtype)

    image, alpha, max_value = picture.image, picture.alpha, white(picture.image)
    if alpha is None:
        return replace(picture, image=mean(image))
    weighted = mean(np.asarray(cv2.multiply(image, cv2.merge([alpha] * 3), scale=1 / max_value)))
    alpha = mean(alpha)
    image = np.asarray(cv2.divide(weighted, cv2.merge([alpha] * 3), scale=max_value), image.dtype)
    return replace(picture, image=image, alpha=alpha)


def look_up(
    grids: Sequence[NDArray[np.float32]],
    y: NDArray[Any],
    x: NDArray[Any],
    size: tuple[int, int],
) -> list[NDArray[np.float32]]:
    """Interpolate grids (h, w, C) at n pixels of a picture of (H, W): (n, C) each; C is at most 4.

    The grids are of one size.
    """
    (H, W), (h, w), lines = size, grids[0].shape[:2], (-(-len(y) // _LINE), _LINE)
    down, across = (y + 0.5) * (h / H) - 0.5, (x + 0.5) * (w / W) - 0.5
    down, across = (np.resize(place.astype(np.float32), lines) for place in (down, across))
    found = (cv2.remap(grid, across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
             for grid in grids)  # fmt: skip
    return [np.asarray(each.reshape(-1, each.shape[2])[: len(y)], np.float32) for each in found]


def dot(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float32]:
    """Multiply colours (..., 3) and add: NumPy's own sum over three takes several times as long."""
    product = first * second
    return np.asarray(product[..., 0] + product[..., 1] + product[..., 2], np.float32)
