"""One frame, decoded: orientation, colour mode, profile, depth and transparency end here.

Past this file there are only arrays.
"""

import contextlib
import io
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO, Any

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray

from alphacut.errors import ImageError
from alphacut.pipeline.image import Metadata, Picture, to_depth
from alphacut.pipeline.tiff import Tiff

# What Pillow's decoders raise on damaged files
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError,
           OverflowError, struct.error, zlib.error, cv2.error,
           PIL.Image.DecompressionBombError)  # fmt: skip
_ORIENTATION = 0x0112
# How to turn an array upright, by EXIF orientation
_UPRIGHT: dict[int, Callable[[NDArray[Any]], NDArray[Any]]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}
# Tags of a TIFF that describe the photograph, not how its pixels are stored
TIFF_TAGS = (270, 271, 272, 305, 306, 315, 33432)
SUB_DIRECTORIES = (0x8769, 0x8825)
_RGB = b"RGB "  # an ICC profile's colour space
_DEEP = ("I;16", "I;16B", "RGB", "RGBA", "L", "LA")  # modes in which Pillow opens 16-bit files


@contextlib.contextmanager
def damage_of(name: str) -> Iterator[None]:
    """Turn what a decoder raises on a damaged file into an `ImageError`."""
    try:
        yield
    except _DAMAGE as error:
        raise ImageError(
            f"{name}: damaged or truncated ({error}): --allow-truncated reads what is left"
        ) from error


def load_pixels(pillow: PIL.Image.Image, allow_truncated: bool) -> bool:
    """Decode an image's pixels, and return whether some are missing."""
    try:
        pillow.load()
    except _DAMAGE:
        # Pillow keeps the rows that it has decoded; without tiles it takes them for all
        if not allow_truncated or not pillow.im:
            raise
        pillow.tile = []  # type: ignore[attr-defined]
        return True
    return False


def decode(
    pillow: PIL.Image.Image,
    file: IO[bytes] | None,
    name: str,
    *,
    keep_depth: bool,
    allow_truncated: bool,
) -> Picture:
    """Decode the current frame, upright, with what its file says about it.

    Args:
        pillow: The frame; it is changed.
        file: The file it comes from, if 16 bits a channel can be read there.
        name: What messages call it.
        keep_depth: Whether 16 bits a channel stay 16.
        allow_truncated: Whether to take what is left of damaged pixels.

    Raises:
        ImageError: if it is damaged.
    """
    import PIL.ImageOps

    with damage_of(name):
        missing = load_pixels(pillow, allow_truncated)
        deep = None if missing or file is None else _read_16_bits(file, pillow)
        exif = _exif_of_tiff(pillow.getexif()) if pillow.format == "TIFF" else None
        PIL.ImageOps.exif_transpose(pillow, in_place=True)
        metadata = _metadata(pillow.info, exif)
        samples = _to_array(pillow) if deep is None else deep
        return split(samples, metadata, keep_depth=keep_depth)


def decode_tiff(
    tiff: Tiff, file: IO[bytes], name: str, *, keep_depth: bool, allow_truncated: bool
) -> Picture:
    """Decode a TIFF that Pillow does not read; arguments and errors are those of `decode`."""
    with damage_of(name):
        samples = tiff.read(allow_truncated=allow_truncated)
        upright = _UPRIGHT.get(tiff.orientation, _UPRIGHT[1])(samples)
        exif = None
        if not tiff.big:
            with contextlib.suppress(*_DAMAGE):  # metadata never costs the image
                tags = PIL.Image.Exif()
                file.seek(0)
                tags.load_from_fp(file)
                exif = _exif_of_tiff(tags)
        info = {"xmp": tiff.xmp, "dpi": tiff.dpi, "icc_profile": tiff.icc_profile}
        return split(upright, _metadata(info, exif), keep_depth=keep_depth)


def _read_16_bits(file: IO[bytes], pillow: PIL.Image.Image) -> NDArray[np.uint16] | None:
    """Read, upright, a PNG with 16 bits a channel, of which Pillow gives 8; None for others."""
    if pillow.format != "PNG" or pillow.mode not in _DEEP:
        return None
    file.seek(24)
    if file.read(1)[0] != 16:
        return None
    file.seek(0)
    array = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_UNCHANGED)
    if array is None or array.dtype != np.uint16:
        return None
    if array.ndim == 2:
        array = array[..., np.newaxis]
        hidden = pillow.info.get("transparency")  # the one grey that is transparent
        if isinstance(hidden, int):
            alpha = np.where(array == hidden, 0, 65535).astype(np.uint16)
            array = np.concatenate([array, array, array, alpha], axis=2)
    else:
        codes = {3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGBA}
        array = cv2.cvtColor(array, codes[array.shape[2]])
    array = _UPRIGHT.get(pillow.getexif().get(_ORIENTATION, 1), _UPRIGHT[1])(array)
    return np.asarray(array, np.uint16)


def _to_array(pillow: PIL.Image.Image) -> NDArray[Any]:
    """Convert any colour mode to grey, RGB or RGBA samples."""
    if pillow.mode.startswith("I;16"):
        return np.asarray(pillow).astype(np.uint16)[..., np.newaxis]
    if pillow.mode in ("I", "F"):
        # integers come from 8 or 16 bits; floats reach 1 in TIFF files, 255 in Pillow's conversions
        whites = (255.0, 65535.0) if pillow.mode == "I" else (1.0, 255.0, 65535.0)
        return _from_numbers(np.asarray(pillow), whites)[..., np.newaxis]
    transparent = pillow.has_transparency_data
    if pillow.mode == "La":  # Pillow converts it to nothing else
        pillow = pillow.convert("LA")
    profile = pillow.info.get("icc_profile")
    space = profile[16:20] if profile else _RGB
    if pillow.mode == "LAB" or (space != _RGB and pillow.mode in ("CMYK", "L", "LA")):
        alpha = pillow.getchannel("A") if pillow.mode == "LA" else None
        pillow = _to_srgb(pillow if alpha is None else pillow.convert("L"), profile)
        if alpha is not None:
            pillow.putalpha(alpha)
    return np.asarray(pillow.convert("RGBA" if transparent else "RGB"))


def _from_numbers(numbers: NDArray[Any], whites: Sequence[float]) -> NDArray[np.uint16]:
    """Scale numbers whose white is not stated: it is the first of `whites` that none exceeds."""
    numbers = np.nan_to_num(numbers.astype(np.float64))
    highest = float(numbers.max())
    white = next((value for value in whites if highest <= value), highest)
    return np.rint(np.clip(numbers / white, 0, 1) * 65535).astype(np.uint16)


def _to_srgb(pillow: PIL.Image.Image, profile: bytes | None) -> PIL.Image.Image:
    """Convert CMYK, Lab or profiled grey to sRGB by its profile."""
    from PIL import ImageCms

    srgb = ImageCms.createProfile("sRGB")
    try:
        if pillow.mode == "LAB":
            source: Any = ImageCms.createProfile("LAB")
        else:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile or b""))
        converted = ImageCms.profileToProfile(pillow, source, srgb, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError):  # a broken profile says no more than none
        return pillow.convert("RGB")
    assert converted is not None
    return converted


def split(array: NDArray[Any], metadata: Metadata, *, keep_depth: bool) -> Picture:
    """Split samples (H, W, 1 | 3 | 4) into image and alpha."""
    if array.dtype == np.uint16 and not keep_depth:
        array = to_depth(array, np.uint8)
    alpha = array[..., 3] if array.shape[2] == 4 else None
    if alpha is not None and np.all(alpha == np.iinfo(alpha.dtype).max):
        alpha = None
    image = np.repeat(array, 3, axis=2) if array.shape[2] == 1 else array[..., :3]
    return Picture(np.ascontiguousarray(image), alpha, metadata)


def _metadata(info: Mapping[Any, Any], exif_of_tiff: bytes | None) -> Metadata:
    """Collect what the file of an upright frame says about it."""
    exif = info.get("exif") or exif_of_tiff
    if exif:
        exif = exif.removeprefix(b"Exif\x00\x00")
    xmp = info.get("xmp") or info.get("XML:com.adobe.xmp")
    if isinstance(xmp, str):
        xmp = xmp.encode()
    dpi = info.get("dpi")
    try:  # 1 is what Pillow makes of a TIFF that says nothing
        dpi = (float(dpi[0]), float(dpi[1])) if dpi and min(dpi) > 1 else None
    except (TypeError, ValueError, ZeroDivisionError):
        dpi = None
    profile = info.get("icc_profile") or b""
    if profile[16:20] != _RGB:  # the samples are RGB by now
        profile = None
    return Metadata(profile, exif or None, xmp or None, dpi)


def _exif_of_tiff(tags: PIL.Image.Exif) -> bytes | None:
    """Collect the EXIF tags that a TIFF keeps among its own."""
    exif = PIL.Image.Exif()
    for tag in TIFF_TAGS:
        if tag in tags:
            exif[tag] = tags[tag]
    for tag in SUB_DIRECTORIES:
        if directory := tags.get_ifd(tag):
            exif.get_ifd(tag).update(directory)
            exif[tag] = exif.get_ifd(tag)
    return exif.tobytes() if len(exif) else None
