"""What an image is: arrays, what their file said about them, and how to change depth and size."""

from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

Image: TypeAlias = NDArray[np.unsignedinteger[Any]]  # uint8 or uint16

SUFFIXES = {
    ".png": "png", ".apng": "png", ".webp": "webp", ".avif": "avif",
    ".tif": "tiff", ".tiff": "tiff", ".jpg": "jpg", ".jpeg": "jpg", ".jpe": "jpg", ".jfif": "jpg",
}  # fmt: skip


@dataclass(frozen=True)
class Metadata:
    """What a file says about its pixels, kept from input to output.

    Attributes:
        icc_profile: RGB colour profile.
        exif: EXIF block without its "Exif" prefix, orientation reset.
        xmp: XMP packet, orientation reset.
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


def shrink(picture: Picture, megapixels: float) -> Picture:
    """Make a picture smaller, its aspect kept, until it has at most so many megapixels.

    Colours count by their alpha, so that no hidden one gets into an edge.

    Args:
        picture: The picture; it is not modified.
        megapixels: At most how many; 0 for any.

    Returns:
        A smaller picture, or the same if it is small enough.
    """
    H, W = picture.image.shape[:2]
    if not megapixels or megapixels * 1e6 >= H * W:
        return picture
    factor = (megapixels * 1e6 / (H * W)) ** 0.5
    size = max(1, int(W * factor)), max(1, int(H * factor))

    def mean(plane: Image) -> Image:
        return np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_AREA), plane.dtype)

    image, alpha, peak = picture.image, picture.alpha, white(picture.image)
    if alpha is None:
        return replace(picture, image=mean(image))
    weighted = mean(np.asarray(cv2.multiply(image, cv2.merge([alpha] * 3), scale=1 / peak)))
    alpha = mean(alpha)
    image = np.asarray(cv2.divide(weighted, cv2.merge([alpha] * 3), scale=peak), image.dtype)
    return replace(picture, image=image, alpha=alpha)
