"""One frame, decoded: orientation, colour mode, profile, depth and transparency end here.

Past this file there are only arrays.
"""

import contextlib
import io
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO, Any

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from alphacut.errors import ImageError, MetadataWarning
from alphacut.pipeline.image import Metadata, Picture, to_depth
from alphacut.pipeline.metadata import (
    DIRECTORY_TAGS,
    IMAGE_TAGS,
    keep_density,
    keep_exif,
    keep_xmp,
)
from alphacut.pipeline.profile import convert_profile
from alphacut.pipeline.tiff import Tiff

# What Pillow's decoders raise on damaged files
DAMAGE = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError,
          AttributeError, OverflowError, ZeroDivisionError, RuntimeError, MemoryError, struct.error,
          zlib.error, PIL.Image.DecompressionBombError)  # fmt: skip
# What they raise where they did not look first: its words are about Python, not about the file
_STUMBLES = (KeyError, TypeError, IndexError, AttributeError, ZeroDivisionError, struct.error)
_WHOLE = ("AVIF", "HEIF", "WEBP", "JXL", "JPEG2000")  # whose decoders give all pixels or none
# What libavif says of files that are sound
_BEYOND = ("Reformat failed", "Not implemented")
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
_RGB = b"RGB "  # an ICC profile's colour space
# How a PNG of 16 bits is packed, and how to unpack the bytes that Pillow leaves out
_LOW_BYTES = {"RGB;16B": "RGB;16L", "RGBA;16B": "RGBA;16L", "LA;16B": "RGBA"}
_KEY_STEPS = {"L;2": 85, "L;4": 17}  # between the levels of a PNG of few bits


@contextlib.contextmanager
def damage_of(
    name: str, kind: str | None = None, *, allow_truncated: bool = False
) -> Iterator[None]:
    """Turn what a decoder raises on a damaged file into an `ImageError`.

    Args:
        name: What messages call the file.
        kind: Its format, if that is known.
        allow_truncated: Whether what is left of it was asked for already.
    """
    try:
        yield
    except DAMAGE as error:
        advice = "--allow-truncated reads what is left"
        if allow_truncated or kind in _WHOLE:
            advice = "get the file again, or convert it to PNG with a program that reads it"
        what = f"damaged or truncated {kind}" if kind else "damaged or truncated"
        if any(words in str(error) for words in _BEYOND):
            what = f"{kind} of a kind that its decoder lacks"
        raise ImageError(f"{name}: {what} ({words_of(error)}): {advice}") from error


def load_pixels(pillow: PIL.Image.Image, allow_truncated: bool) -> None:
    """Decode an image's pixels; what is missing and may be is zero."""
    try:
        pillow.load()
    except DAMAGE:
        # Pillow keeps the rows that it has decoded; without tiles it takes them for all
        whole = pillow.format in _WHOLE  # or nothing: what is there are zeros
        if not allow_truncated or whole or not has_pixels(pillow):
            raise
        pillow.tile = []  # type: ignore[attr-defined]


def has_pixels(pillow: PIL.Image.Image) -> bool:
    """Say whether pixels are in memory, all or some."""
    try:
        return pillow.im is not None
    except (AssertionError, ValueError):  # there were none yet, or the image is closed
        return False


def words_of(error: Exception) -> str:
    """Return a decoder's own words, in one line."""
    if isinstance(error, _STUMBLES) or isinstance(error.__cause__, _STUMBLES):
        return "broken structure"
    if "values to unpack" in (words := " ".join(str(error).split())):
        return "broken structure"
    return words or type(error).__name__


def warn_of_metadata(name: str, error: Exception) -> None:
    """Warn that metadata were dropped."""
    message = f"{name}: broken metadata dropped ({words_of(error)})"
    warnings.warn(message, MetadataWarning, stacklevel=2)


def raw_mode(pillow: PIL.Image.Image) -> str:
    """Return how the samples of a PNG are packed, in Pillow's words; "" once they are loaded."""
    tiles = getattr(pillow, "tile", None)
    packed = tiles[0][3] if tiles and pillow.format == "PNG" else ""
    return packed if isinstance(packed, str) else ""


def decode(
    pillow: PIL.Image.Image,
    file: IO[bytes] | None,
    name: str,
    *,
    keep_depth: bool,
    allow_truncated: bool,
    packed: str = "",
) -> Picture:
    """Decode the current frame, upright, with what its file says about it.

    Args:
        pillow: The frame; it is changed.
        file: The file it comes from, if 16 bits a channel can be read there.
        name: What messages call it.
        keep_depth: Whether 16 bits a channel stay 16.
        allow_truncated: Whether to take what is left of damaged pixels.
        packed: Its `raw_mode`, if it is loaded already.

    Raises:
        ImageError: if it is damaged.
    """
    with damage_of(name, pillow.format, allow_truncated=allow_truncated):
        packed = packed or raw_mode(pillow)
        load_pixels(pillow, allow_truncated)
        if packed in _KEY_STEPS and isinstance(pillow.info.get("transparency"), int):
            pillow.info["transparency"] *= _KEY_STEPS[packed]  # the samples are multiplied already
        deep = None if file is None else _read_16_bits(file, pillow, packed, allow_truncated)
        info = dict(pillow.info)  # as it is, before EXIF is written without its orientation
        orientation, exif = _turn(pillow, name)
        metadata = _metadata(info, exif)
        samples = _to_array(pillow, name) if deep is None else turn_upright(deep, orientation)
        if samples.dtype == np.uint16:  # of 8 bits, the profile is applied already
            samples = _grey_to_srgb(samples, info.get("icc_profile"))
        return split(samples, metadata, keep_depth=keep_depth)


def decode_tiff(
    tiff: Tiff, file: IO[bytes], name: str, *, keep_depth: bool, allow_truncated: bool
) -> Picture:
    """Decode a TIFF that Pillow does not read; arguments and errors are those of `decode`."""
    with damage_of(name, "TIFF", allow_truncated=allow_truncated):
        samples = tiff.read(allow_truncated=allow_truncated)
    exif = None
    if not tiff.big:
        try:
            tags = PIL.Image.Exif()
            file.seek(0)
            tags.load_from_fp(file)
            exif = _exif_of_tiff(tags)
        except DAMAGE as error:
            warn_of_metadata(name, error)
    info = {"xmp": tiff.xmp, "dpi": tiff.dpi, "icc_profile": tiff.icc_profile}
    upright = turn_upright(_grey_to_srgb(samples, tiff.icc_profile), tiff.orientation)
    return split(upright, _metadata(info, exif), keep_depth=keep_depth)


def decode_samples(
    samples: NDArray[Any], blocks: Mapping[str, bytes], name: str, *, keep_depth: bool
) -> Picture:
    """Join upright samples with the blocks "icc", "exif" and "xmp" of their file.

    Args:
        samples: (H, W, 1 | 3 | 4) uint8 or uint16.
        blocks: What was beside them.
        name: What messages call the file.
        keep_depth: Whether 16 bits a channel stay 16.
    """
    info = {**blocks, "icc_profile": blocks.get("icc")}
    samples = _grey_to_srgb(samples, info["icc_profile"])
    return split(samples, _metadata(info, None), keep_depth=keep_depth)


def _turn(pillow: PIL.Image.Image, name: str) -> tuple[int, bytes | None]:
    """Turn an image upright; return how it was, and what EXIF its TIFF kept.

    Broken metadata are dropped, with a warning.
    """
    import PIL.ImageOps

    exif = None
    try:
        orientation = pillow.getexif().get(_ORIENTATION, 1)
        if pillow.format == "TIFF":
            exif = _exif_of_tiff(pillow.getexif())
        PIL.ImageOps.exif_transpose(pillow, in_place=True)
    except DAMAGE as error:
        warn_of_metadata(name, error)
        for key in ("exif", "Raw profile type exif"):
            pillow.info.pop(key, None)
        return 1, None
    return orientation, exif


def turn_upright(array: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn an array (H, W) or (H, W, C) upright, by EXIF orientation."""
    return _UPRIGHT.get(orientation, _UPRIGHT[1])(array)


def _read_16_bits(
    file: IO[bytes], pillow: PIL.Image.Image, packed: str, allow_truncated: bool
) -> NDArray[np.uint16] | None:
    """Read a PNG with 16 bits a channel, of which Pillow gives 8; None for others."""
    hidden = pillow.info.get("transparency")  # the one colour that is transparent
    if packed == "I;16B":
        deep = np.asarray(pillow).astype(np.uint16)[..., np.newaxis]
    elif packed in _LOW_BYTES:
        from PIL.PngImagePlugin import PngImageFile

        file.seek(0)
        again = PngImageFile(file)
        tile = again.tile[0]
        again.tile = [tile._replace(args=_LOW_BYTES[packed])]
        load_pixels(again, allow_truncated)
        high, low = np.asarray(pillow), np.asarray(again)
        if packed == "LA;16B":
            deep = np.ascontiguousarray(low).view(">u2").astype(np.uint16)
            deep = deep[..., [0, 0, 0, 1]]
        else:
            deep = high.astype(np.uint16)
            deep <<= 8
            deep |= low
    else:
        return None
    if hidden is not None and deep.shape[2] < 4:
        colours = np.repeat(deep, 3, axis=2) if deep.shape[2] == 1 else deep
        alpha = np.where((deep == np.asarray(hidden)).all(axis=2), 0, 65535).astype(np.uint16)
        deep = np.concatenate([colours, alpha[..., np.newaxis]], axis=2)
    return np.asarray(deep, np.uint16)


def _to_array(pillow: PIL.Image.Image, name: str) -> NDArray[Any]:
    """Convert any colour mode to grey, RGB or RGBA samples."""
    if pillow.mode.startswith("I;16"):
        return np.asarray(pillow).astype(np.uint16)[..., np.newaxis]
    if pillow.mode in ("I", "F"):
        # integers come from 8 or 16 bits; floats reach 1 in TIFF files, 255 in Pillow's conversions
        whites = (255.0, 65535.0) if pillow.mode == "I" else (1.0, 255.0, 65535.0)
        return _from_numbers(np.asarray(pillow), whites)[..., np.newaxis]
    if pillow.mode in ("P", "PA") and pillow.palette is None:
        raise ImageError(
            f"{name}: {pillow.format} without the palette it needs: get the file again"
        )
    transparent = pillow.has_transparency_data
    if pillow.mode == "La":  # Pillow converts it to nothing else
        pillow = pillow.convert("LA")
    profile = pillow.info.get("icc_profile")
    space = profile[16:20] if profile else _RGB
    if pillow.mode == "LAB" or (space != _RGB and pillow.mode in ("CMYK", "L", "LA")):
        alpha = pillow.getchannel("A") if pillow.mode == "LA" else None
        pillow = _to_srgb(pillow if alpha is None else pillow.convert("L"), profile, name)
        if alpha is not None:
            pillow.putalpha(alpha)
    return np.asarray(pillow.convert("RGBA" if transparent else "RGB"))


def _from_numbers(numbers: NDArray[Any], whites: Sequence[float]) -> NDArray[np.uint16]:
    """Scale numbers whose white is not stated: it is the first of `whites` that none exceeds."""
    numbers = np.nan_to_num(numbers.astype(np.float64))
    highest = float(numbers.max())
    white = next((value for value in whites if highest <= value), highest)
    return np.rint(np.clip(numbers / white, 0, 1) * 65535).astype(np.uint16)


def _to_srgb(pillow: PIL.Image.Image, profile: bytes | None, name: str) -> PIL.Image.Image:
    """Convert CMYK, Lab or profiled grey to sRGB by its profile."""
    from PIL import ImageCms

    srgb = ImageCms.createProfile("sRGB")
    try:
        if pillow.mode == "LAB":
            source: Any = ImageCms.createProfile("LAB")
        else:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile or b""))
        converted = ImageCms.profileToProfile(pillow, source, srgb, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError) as error:  # a broken profile says no more than none
        warn_of_metadata(name, error)
        return pillow.convert("RGB")
    assert converted is not None
    return converted


def _grey_to_srgb(samples: NDArray[Any], profile: bytes | None) -> NDArray[Any]:
    """Bring grey (H, W, 1), or (H, W, 4) with alpha, to sRGB if its profile is one for grey."""
    if not profile or profile[16:20] != b"GRAY":
        return samples
    colours = np.repeat(samples, 3, axis=2) if samples.shape[2] == 1 else samples[..., :3]
    if not np.array_equal(colours[..., 0], colours[..., 1]):  # another image's profile
        return samples
    return np.concatenate([convert_profile(colours, profile, None), samples[..., 3:]], axis=2)


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
    """Collect what a frame's file says about it, as far as a result may say it, too."""
    exif = info.get("exif") or exif_of_tiff
    xmp = info.get("xmp") or info.get("XML:com.adobe.xmp")
    profile = info.get("icc_profile") or b""
    if profile[16:20] != _RGB:  # the samples are RGB by now
        profile = None
    return Metadata(profile, exif and keep_exif(exif), xmp and keep_xmp(xmp),
                    keep_density(info.get("dpi")))  # fmt: skip


def _exif_of_tiff(tags: PIL.Image.Exif) -> bytes | None:
    """Collect the EXIF tags that a TIFF keeps among its own."""
    exif = PIL.Image.Exif()
    for tag in IMAGE_TAGS & tags.keys():
        if tag not in DIRECTORY_TAGS:
            exif[tag] = tags[tag]
        elif directory := tags.get_ifd(tag):
            exif.get_ifd(tag).update(directory)
            exif[tag] = exif.get_ifd(tag)
    return exif.tobytes() if len(exif) else None
