"""Pictures in: everything that makes photographs of the world differ is settled here, once.

Orientation, colour mode, colour profile, bit depth, transparency, animation: behind this file there
are only arrays. `encode.py` is the other end of the pipeline.
"""

import contextlib
import io
import os
import struct
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any, TypeAlias

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray

from alphacut.errors import ImageError, MissingExtra
from alphacut.options import Options

Image: TypeAlias = NDArray[np.unsignedinteger[Any]]  # uint8 or uint16
Source: TypeAlias = "str | os.PathLike[str] | bytes | IO[bytes] | PIL.Image.Image | NDArray[Any]"

SUFFIXES = {
    ".png": "png", ".apng": "png", ".webp": "webp", ".avif": "avif",
    ".tif": "tiff", ".tiff": "tiff", ".jpg": "jpg", ".jpeg": "jpg", ".jpe": "jpg", ".jfif": "jpg",
}  # fmt: skip
INPUT_SUFFIXES = {
    *SUFFIXES, ".bmp", ".gif", ".heic", ".heif", ".jp2", ".pbm", ".pgm", ".pnm", ".ppm", ".qoi",
    ".tga",
}  # fmt: skip

# Formats that are safe to try on unknown bytes: none of them starts another program
_DECODERS = (
    "JPEG", "MPO", "PNG", "WEBP", "AVIF", "GIF", "TIFF", "BMP", "DIB", "PPM", "JPEG2000", "TGA",
    "QOI", "ICO", "PCX", "SGI", "DDS", "HEIF",
)  # fmt: skip
_ANIMATED = ("GIF", "WEBP", "PNG", "AVIF")
# How files of the commonest kinds begin
_SIGNATURES = (b"\x89PNG", b"\xff\xd8\xff", b"RIFF", b"GIF8")
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"mif1", b"msf1", b"heim", b"heis")

# What Pillow's decoders raise on damaged files, apart from errors of our own making
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError,
           OverflowError, struct.error, zlib.error, cv2.error)  # fmt: skip

_ORIENTATION = 0x0112
# How to turn an array so that it stands upright, by EXIF orientation
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
# Tags of a TIFF that describe the photograph rather than how its pixels are stored
TIFF_TAGS = (270, 271, 272, 305, 306, 315, 33432)
SUB_DIRECTORIES = (0x8769, 0x8825)
_RGB = b"RGB "  # an ICC profile's colour space
_DEEP = ("I;16", "I;16B", "RGB", "RGBA", "L", "LA")  # modes in which Pillow opens 16-bit files


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


def load_image(source: Source, options: Options | None = None) -> Image:
    """Read a picture as an upright RGB array; its first frame if it is animated.

    Args:
        source: Path, bytes, file object, Pillow image, or array (H, W), (H, W, 3) or (H, W, 4) of
            uint8 or uint16.
        options: Only the fields about reading count.

    Returns:
        (H, W, 3) uint8, or uint16 with `keep_depth`. Transparency is left out.

    Raises:
        ImageError: if the picture is missing, damaged, too large, or not a picture.
        MissingExtra: if it is a HEIC file and its reader is not installed.
    """
    return next(load_frames(source, options)).image


def load_frames(source: Source, options: Options | None = None) -> Iterator[Picture]:
    """Read a picture frame by frame; a still picture has one.

    Args and errors are those of `load_image`. The pixel limit counts all frames together.

    Yields:
        Pictures of one size.
    """
    options = options or Options()
    if isinstance(source, np.ndarray):
        yield _from_array(source, options)
        return
    name = describe(source)
    with contextlib.ExitStack() as opened:
        if isinstance(source, PIL.Image.Image):
            _check_size(source.size[::-1], 1, options, name)
            try:
                _load_pixels(source, options)
                pillow = source.copy()
            except _DAMAGE as error:
                raise _damaged(name, error) from error
            yield _decode(pillow, None, options, name)
            return
        file = _open_file(source, name, opened)
        pillow = opened.enter_context(_open_pillow(file, name))
        try:
            frames = getattr(pillow, "n_frames", 1) if pillow.format in _ANIMATED else 1
        except _DAMAGE as error:
            raise _damaged(name, error) from error
        _check_size(pillow.size[::-1], frames, options, name)
        if frames == 1:
            yield _decode(pillow, file, options, name)
            return
        first = 1 if getattr(pillow, "default_image", False) else 0
        loop = int(pillow.info.get("loop", 1 if pillow.format == "GIF" else 0))
        for index in range(first, frames):
            try:
                pillow.seek(index)
                frame = pillow.copy()
            except _DAMAGE as error:
                raise _damaged(name, error) from error
            picture = _decode(frame, None, options, name)
            duration_ms = float(pillow.info.get("duration", 0))
            yield Picture(picture.image, picture.alpha, picture.metadata, duration_ms, loop)


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


def describe(source: Source) -> str:
    """Return what to call a source in a message: its file name, or its kind."""
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    name = getattr(source, "name", None) or getattr(source, "filename", None)
    return name if isinstance(name, str) and name else type(source).__name__


def _open_file(source: Any, name: str, opened: contextlib.ExitStack) -> IO[bytes]:
    """Open a path, bytes or file object for reading, and refuse empty ones."""
    try:
        if isinstance(source, bytes | bytearray | memoryview):
            file: IO[bytes] = io.BytesIO(source)
        elif isinstance(source, str | os.PathLike):
            if Path(source).is_dir():
                raise ImageError(f"{name}: is a folder, not a picture")
            file = opened.enter_context(open(source, "rb"))  # noqa: SIM115
        elif hasattr(source, "read"):
            content = source.read()
            if isinstance(content, str):
                raise ImageError(f"{name}: is open as text: open it with mode 'rb'")
            file = io.BytesIO(content)
        else:
            raise ImageError(
                f"{name}: give a path, bytes, a file object, a Pillow image or an array"
            )
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"{name}: cannot be read: {reason}") from error
    if not file.read(1):
        raise ImageError(f"{name}: is empty, 0 bytes")
    file.seek(0)
    return file


_limit = threading.Lock()


def _open_pillow(file: IO[bytes], name: str) -> PIL.Image.Image:
    """Read a picture's header; its pixels follow on demand."""
    PIL.Image.preinit()  # the common formats; the others are loaded for files that need them
    for learn_more in (PIL.Image.init, lambda: _register_heif(file), None):
        try:
            # Pillow's own limit is one global for the process; ours is an option, checked next
            with _limit:
                theirs, PIL.Image.MAX_IMAGE_PIXELS = PIL.Image.MAX_IMAGE_PIXELS, None
                try:
                    known = [kind for kind in _DECODERS if kind in PIL.Image.OPEN]
                    return PIL.Image.open(file, formats=known)
                finally:
                    PIL.Image.MAX_IMAGE_PIXELS = theirs
        except PIL.UnidentifiedImageError:
            if learn_more:
                learn_more()
        except _DAMAGE as error:
            raise _damaged(name, error) from error
    file.seek(0)
    if file.read(4).startswith(_SIGNATURES):
        raise ImageError(f"{name}: its head is damaged, so it has no size", "no_size")
    raise ImageError(f"{name}: is not a picture, or of a kind that cannot be read", "not_a_picture")


def _register_heif(file: IO[bytes]) -> None:
    """Teach Pillow to read HEIC files, if this is one."""
    file.seek(0)
    head = file.read(12)
    file.seek(0)
    if head[4:8] != b"ftyp" or head[8:12] not in _HEIF_BRANDS:
        return
    try:
        import pillow_heif
    except ImportError as error:
        raise MissingExtra("pillow-heif, which reads HEIC files,", "heif") from error
    pillow_heif.register_heif_opener()


def _check_size(size: Sequence[int], frames: int, options: Options, name: str) -> None:
    """Refuse pictures above the pixel limit before any pixel is decoded."""
    H, W = size
    megapixels = H * W * frames / 1e6
    if megapixels > options.max_megapixels:
        many = f" x {frames} frames" if frames > 1 else ""
        raise ImageError(
            f"{name}: {W} x {H} pixels{many} are {megapixels:.0f} megapixels, above the limit of "
            f"{options.max_megapixels:g}: raise --max-megapixels",
            "too_large",
        )
    if not H * W:
        raise ImageError(f"{name}: has no pixels ({W} x {H})", "no_size")


def _damaged(name: str, error: Exception) -> ImageError:
    return ImageError(
        f"{name}: is damaged or cut short ({error}): "
        "--allow-truncated reads what is there, if anything is"
    )


def _from_array(array: NDArray[Any], options: Options) -> Picture:
    """Take a caller's array as a picture."""
    check_array(array)
    _check_size(array.shape[:2], 1, options, "array")
    return _split(array if array.ndim == 3 else array[..., np.newaxis], Metadata(), options)


def check_array(array: NDArray[Any]) -> None:
    """Refuse an array that is no picture."""
    if array.dtype not in (np.uint8, np.uint16):
        raise ImageError(f"array: dtype {array.dtype} is not uint8 or uint16")
    if array.ndim not in (2, 3) or array.shape[2:] not in ((), (1,), (3,), (4,)):
        raise ImageError(f"array: shape {array.shape} is not (H, W), (H, W, 3) or (H, W, 4)")
    if not array.size:
        raise ImageError(f"array: has no pixels, its shape is {array.shape}", "no_size")


def _load_pixels(pillow: PIL.Image.Image, options: Options) -> bool:
    """Decode a picture's pixels, and tell whether some of them are missing."""
    try:
        pillow.load()
    except _DAMAGE:
        # Pillow keeps the rows that it has decoded; without tiles it takes them for all
        if not options.allow_truncated or not pillow.im:
            raise
        pillow.tile = []  # type: ignore[attr-defined]
        return True
    return False


def _decode(
    pillow: PIL.Image.Image, file: IO[bytes] | None, options: Options, name: str
) -> Picture:
    """Decode the current frame, upright, with what its file says about it.

    Args:
        pillow: The picture; it is changed.
        file: Where it comes from, if all 16 bits of it can be read there.
        options: The fields about reading.
        name: What to call it in messages.
    """
    import PIL.ImageOps

    try:
        damaged = _load_pixels(pillow, options)
        deep = None if damaged or file is None else _read_16_bits(file, pillow)
        exif_of_tiff = _exif_of_tiff(pillow)
        PIL.ImageOps.exif_transpose(pillow, in_place=True)
        metadata = _metadata(pillow, exif_of_tiff)
        return _split(_to_array(pillow) if deep is None else deep, metadata, options)
    except _DAMAGE as error:
        raise _damaged(name, error) from error


def _read_16_bits(file: IO[bytes], pillow: PIL.Image.Image) -> NDArray[np.uint16] | None:
    """Read, upright, a file with 16 bits a channel, of which Pillow gives 8; None if it has not."""
    depth = 8
    if pillow.format == "PNG":
        file.seek(24)
        depth = file.read(1)[0]
    elif pillow.format == "TIFF":
        depth = max(pillow.tag_v2.get(258, (1,)))  # type: ignore[attr-defined]
    if depth != 16 or pillow.mode not in _DEEP:
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
    if pillow.format == "PNG":  # of a TIFF, OpenCV applies the orientation
        array = _UPRIGHT.get(pillow.getexif().get(_ORIENTATION, 1), _UPRIGHT[1])(array)
    elif pillow.tag_v2.get(262) == 0:  # type: ignore[attr-defined]
        array = 65535 - array  # grey whose white is 0
    elif array.shape[2] == 4 and pillow.tag_v2.get(338) == (1,):  # type: ignore[attr-defined]
        opaque = np.maximum(array[..., 3:], 1).astype(np.float32)  # colours multiplied by alpha
        array[..., :3] = np.minimum(np.rint(array[..., :3] * (65535 / opaque)), 65535)
    return np.asarray(array, np.uint16)


def _to_array(pillow: PIL.Image.Image) -> NDArray[Any]:
    """Turn any colour mode into grey, RGB or RGBA samples."""
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
    """Read numbers that have no stated white: the first of `whites` that holds them all."""
    numbers = np.nan_to_num(numbers.astype(np.float64))
    peak = float(numbers.max())
    top = next((value for value in whites if peak <= value), peak)
    return np.rint(np.clip(numbers / top, 0, 1) * 65535).astype(np.uint16)


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


def _split(array: NDArray[Any], metadata: Metadata, options: Options) -> Picture:
    """Part samples (H, W, 1 | 3 | 4) into image and alpha, at the depth that was asked for."""
    if array.dtype == np.uint16 and not options.keep_depth:
        array = to_depth(array, np.uint8)
    alpha = array[..., 3] if array.shape[2] == 4 else None
    if alpha is not None and np.all(alpha == np.iinfo(alpha.dtype).max):
        alpha = None
    image = np.repeat(array, 3, axis=2) if array.shape[2] == 1 else array[..., :3]
    return Picture(np.ascontiguousarray(image), alpha, metadata)


def _metadata(pillow: PIL.Image.Image, exif_of_tiff: bytes | None) -> Metadata:
    """Collect what an upright picture's file says about it."""
    info = pillow.info
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


def _exif_of_tiff(pillow: PIL.Image.Image) -> bytes | None:
    """Gather the EXIF tags that a TIFF keeps among those of its storage."""
    if pillow.format != "TIFF":
        return None
    whole, exif = pillow.getexif(), PIL.Image.Exif()
    for tag in TIFF_TAGS:
        if tag in whole:
            exif[tag] = whole[tag]
    for tag in SUB_DIRECTORIES:
        if directory := whole.get_ifd(tag):
            exif.get_ifd(tag).update(directory)
            exif[tag] = exif.get_ifd(tag)
    return exif.tobytes() if len(exif) else None
