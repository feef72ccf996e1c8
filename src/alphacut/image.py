"""Pictures in and out: the two ends of the pipeline, and the only file that knows file formats.

Everything that makes photographs of the world differ is settled here, once: orientation, colour
mode, colour profile, bit depth, transparency, animation. Behind it there are only arrays.
"""

import contextlib
import io
import os
import secrets
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

from alphacut.errors import ImageError, MissingExtra, OutputError
from alphacut.options import Options

Image: TypeAlias = NDArray[np.unsignedinteger[Any]]  # uint8 or uint16
Source: TypeAlias = "str | os.PathLike[str] | bytes | IO[bytes] | PIL.Image.Image | NDArray[Any]"

SUFFIXES = {
    ".png": "png", ".apng": "png", ".webp": "webp", ".avif": "avif",
    ".tif": "tiff", ".tiff": "tiff", ".jpg": "jpg", ".jpeg": "jpg", ".jpe": "jpg", ".jfif": "jpg",
}  # fmt: skip
OUTPUT_SUFFIXES = SUFFIXES | {".zip": "zip", ".ora": "ora"}
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
ANIMATES = ("png", "webp", "avif")
OPAQUE = ("jpg",)
_LONGEST_PX = {"png": 1_000_000, "jpg": 65500, "webp": 16383, "avif": 65535}
# By effort: zlib's level, strategy and filter of rows
_PNG = {
    "fast": (1, cv2.IMWRITE_PNG_STRATEGY_RLE, cv2.IMWRITE_PNG_FILTER_AVG),
    "balanced": (4, cv2.IMWRITE_PNG_STRATEGY_FILTERED, cv2.IMWRITE_PNG_FILTER_PAETH),
    "small": (9, cv2.IMWRITE_PNG_STRATEGY_FILTERED, cv2.IMWRITE_PNG_ALL_FILTERS),
}
# By effort: libwebp's method and its search, for pictures without loss
_WEBP = {"fast": (0, 100), "balanced": (1, 0), "small": (6, 80)}
_MARKER_BYTES = 65502  # EXIF or XMP that fits into a JPEG marker, behind its own name
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
_TIFF_TAGS = (270, 271, 272, 305, 306, 315, 33432)
_SUB_DIRECTORIES = (0x8769, 0x8825)
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


# --- in ---------------------------------------------------------------------------------------


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


_BAND_ROWS = 256
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
    _check_array(array)
    _check_size(array.shape[:2], 1, options, "array")
    return _split(array if array.ndim == 3 else array[..., np.newaxis], Metadata(), options)


def _check_array(array: NDArray[Any]) -> None:
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
    for tag in _TIFF_TAGS:
        if tag in whole:
            exif[tag] = whole[tag]
    for tag in _SUB_DIRECTORIES:
        if directory := whole.get_ifd(tag):
            exif.get_ifd(tag).update(directory)
            exif[tag] = exif.get_ifd(tag)
    return exif.tobytes() if len(exif) else None


# --- out --------------------------------------------------------------------------------------


def output_format(path: Path | None, options: Options) -> str:
    """Decide the kind of file to write: the option, else the name's ending, else what fits.

    Raises:
        OutputError: if the ending is unknown, or says another kind than the option.
    """
    suffix = path.suffix.lower() if path else ""
    named = OUTPUT_SUFFIXES.get(suffix)
    if suffix and not named:
        known = ", ".join(sorted(OUTPUT_SUFFIXES))
        raise OutputError(f"{path}: cannot write files ending in {suffix}: use one of {known}")
    if options.format == "auto":
        return named or ("jpg" if options.opaque else "png")
    if named and named != options.format:
        raise OutputError(f"{path}: ends in {suffix}, but the format is {options.format}")
    return options.format


def save_image(
    path: str | os.PathLike[str], image: Image, alpha: NDArray[np.float32] | None = None
) -> None:
    """Write an image, with alpha if given, as the file's ending says.

    Args:
        path: The file; its kind follows from its ending.
        image: (H, W), (H, W, 3) or (H, W, 4) uint8 or uint16.
        alpha: (H, W) float32 in [0, 1], beside an image (H, W, 3).

    Raises:
        ImageError: if an array has another shape or dtype.
        OutputError: if the ending is unknown or the file cannot be written.
    """
    options = Options()
    _check_array(image)
    if alpha is not None and image.shape != (*alpha.shape, 3):
        raise ImageError(f"alpha: shape {alpha.shape} does not go with an image {image.shape}")
    samples = image[..., 0] if image.shape[2:] == (1,) else image
    if alpha is not None:
        samples = with_alpha(image, alpha)
    kind = output_format(Path(path), options)
    if kind not in SUFFIXES.values():
        raise OutputError(f"{path}: {kind} holds a cut-out, not an image: use Cutout.save")
    if kind in OPAQUE and samples.shape[2:] == (4,):
        raise OutputError(f"{path}: {kind} has no alpha: choose png, or put it on a colour first")
    write(Path(path), lambda: encode([Picture(samples)], kind, options))


def with_alpha(image: Image, alpha: NDArray[np.float32]) -> Image:
    """Join colours and alpha to (H, W, 4); alpha is quantised here, once.

    RGB is zero where alpha is zero: hidden background stays hidden, and the file gets smaller.
    """
    return _joined(Picture(image, quantise(alpha, white(image))))


def _joined(picture: Picture, *, bgr: bool = False) -> Image:
    """Return a picture's samples as one array: (H, W), (H, W, 3), or (H, W, 4) with its alpha."""
    image, alpha = picture.image, picture.alpha
    if alpha is None:
        if not bgr or image.ndim == 2:
            return image
        codes = {3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}
        return np.asarray(cv2.cvtColor(image, codes[image.shape[2]]), image.dtype)
    samples = np.zeros((*alpha.shape, 4), image.dtype)
    code = cv2.COLOR_RGB2BGRA if bgr else cv2.COLOR_RGB2RGBA
    for top in range(0, len(alpha), _BAND_ROWS):
        band = np.s_[top : top + _BAND_ROWS]
        colours = cv2.cvtColor(image[band], code)
        cv2.insertChannel(alpha[band], colours, 3)
        shown = alpha[band] if alpha.dtype == np.uint8 else (alpha[band] > 0).astype(np.uint8)
        cv2.copyTo(colours, shown, samples[band])
    return samples


def quantise(alpha: NDArray[np.float32], peak: float = 255.0) -> Image:
    """Round alpha in [0, 1] to whole steps: uint8, or uint16 where white is 65535."""
    steps = np.empty(alpha.shape, np.uint8 if peak == 255 else np.uint16)
    for top in range(0, len(alpha), _BAND_ROWS):  # in bands: no float copy of a large alpha
        band = np.s_[top : top + _BAND_ROWS]
        steps[band] = alpha[band] * np.float32(peak) + np.float32(0.5)
    return steps


def encode(frames: Sequence[Picture], kind: str, options: Options) -> Sequence[bytes | memoryview]:
    """Encode pictures as one file.

    Args:
        frames: Pictures whose `image` is (H, W) grey, (H, W, 3) or (H, W, 4), or (H, W, 3) with
            an `alpha` beside it; one, unless the format can animate.
        kind: "png", "webp", "avif", "tiff" or "jpg".
        options: How: `file_quality` for lossy formats, `png` for those without loss.

    Returns:
        The file's bytes, in pieces to be written one after another.
    """
    first = frames[0]
    H, W = first.image.shape[:2]
    if max(H, W) > _LONGEST_PX.get(kind, H + W):
        raise OutputError(
            f"{W} x {H} pixels are too many for {kind}, which has at most {_LONGEST_PX[kind]} "
            "a side: choose tiff"
        )
    if kind == "png" and len(frames) == 1:
        return _encode_png(first, options.png)
    if kind == "tiff":
        return _encode_tiff(first)
    meta, file, quality = first.metadata, io.BytesIO(), options.file_quality
    exif, xmp = meta.exif and b"Exif\x00\x00" + meta.exif, meta.xmp
    if kind == "jpg":
        exif = exif if exif and len(exif) <= _MARKER_BYTES else None
        xmp = xmp if xmp and len(xmp) <= _MARKER_BYTES else None
    pillow = [PIL.Image.fromarray(to_depth(_joined(frame), np.uint8)) for frame in frames]
    settings: dict[str, Any] = {"exif": exif, "icc_profile": meta.icc_profile, "xmp": xmp}
    if kind == "jpg":
        settings |= {"quality": quality, "subsampling": 0, "dpi": meta.dpi}
    elif kind == "webp" and quality == 100:
        method, search = _WEBP[options.png]
        settings |= {"lossless": True, "method": method, "quality": search}
    elif kind == "webp":
        settings |= {"quality": quality}
    elif kind == "avif":
        settings |= {"quality": quality, "subsampling": "4:4:4"}
    if len(frames) > 1:
        durations = [frame.duration_ms for frame in frames]
        if kind == "avif":  # Pillow takes whole milliseconds only
            durations = list(map(round, durations))
        settings |= {"save_all": True, "append_images": pillow[1:], "duration": durations,
                     "loop": first.loop}  # fmt: skip
    settings = {name: value for name, value in settings.items() if value is not None}
    if kind == "png":  # blend 0 replaces the frame before it instead of painting over it
        settings |= {"blend": 0, "disposal": 0, "compress_level": _PNG[options.png][0]}
        pillow[0].save(file, "PNG", **settings)
        return _insert_chunks(file.getbuffer(), Metadata(xmp=meta.xmp, dpi=meta.dpi))
    pillow[0].save(file, {"jpg": "JPEG"}.get(kind, kind.upper()), **settings)
    return [file.getbuffer()]


def write(path: Path, pieces: Callable[[], Sequence[bytes | memoryview]]) -> None:
    """Write a file whole or not at all: to a temporary name beside it, then renamed.

    Args:
        path: The file, replaced if it exists.
        pieces: Makes what goes into it.

    Raises:
        OutputError: if it cannot be written; nothing is left behind.
    """
    part = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with part.open("xb") as file:
            for piece in pieces():
                file.write(piece)
        part.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink()


def to_depth(image: Image, depth: Any) -> Image:
    """Return an image as uint8 or uint16, itself if it is that already."""
    if image.dtype == depth:
        return image
    if depth == np.uint16:
        return np.asarray(image.astype(np.uint16) * np.uint16(257))
    return np.asarray((image.astype(np.uint32) * 255 + 32767) // 65535, np.uint8)


def _encode_png(picture: Picture, effort: str) -> Sequence[bytes | memoryview]:
    """Encode by OpenCV; docs/decisions/0004 has the figures."""
    level, strategy, rows = _PNG[effort]
    settings = [cv2.IMWRITE_PNG_COMPRESSION, level, cv2.IMWRITE_PNG_STRATEGY, strategy,
                cv2.IMWRITE_PNG_FILTER, rows]  # fmt: skip
    _, data = cv2.imencode(".png", _joined(picture, bgr=True), settings)
    return _insert_chunks(data.data, picture.metadata)


def _insert_chunks(png: memoryview, metadata: Metadata) -> Sequence[bytes | memoryview]:
    """Add metadata to a PNG, behind its header as the standard wants it."""
    chunks = []

    def chunk(name: bytes, data: bytes) -> None:
        check = zlib.crc32(name + data)
        chunks.append(struct.pack(">I", len(data)) + name + data + struct.pack(">I", check))

    if metadata.icc_profile:
        chunk(b"iCCP", b"ICC profile\x00\x00" + zlib.compress(metadata.icc_profile))
    if metadata.dpi:
        across, down = (round(dpi / 0.0254) for dpi in metadata.dpi)
        chunk(b"pHYs", struct.pack(">IIB", across, down, 1))
    if metadata.exif:
        chunk(b"eXIf", metadata.exif)
    if metadata.xmp:
        chunk(b"iTXt", b"XML:com.adobe.xmp\x00\x00\x00\x00\x00" + metadata.xmp)
    header = 33  # signature and IHDR
    return [png[:header], *chunks, png[header:]]


def _encode_tiff(picture: Picture) -> Sequence[bytes | memoryview]:
    """Encode 8 or 16 bits a channel; Pillow's own writer knows no 16-bit colour."""
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    samples, meta = _joined(picture), picture.metadata
    H, W = samples.shape[:2]
    channels = 1 if samples.ndim == 2 else samples.shape[2]
    little = samples.astype(samples.dtype.newbyteorder("<"), copy=False)
    strip_rows = 256
    strips = [zlib.compress(np.ascontiguousarray(little[row : row + strip_rows]).tobytes(), 1)
              for row in range(0, H, strip_rows)]  # fmt: skip
    tags = ImageFileDirectory_v2(b"II*\x00\x08\x00\x00\x00")
    if meta.exif:
        exif = PIL.Image.Exif()
        exif.load(meta.exif)
        tags.update({tag: exif[tag] for tag in _TIFF_TAGS if tag in exif})
        tags.update({tag: dict(ifd) for tag in _SUB_DIRECTORIES if (ifd := exif.get_ifd(tag))})
    tags[256], tags[257] = W, H
    tags[258] = (samples.dtype.itemsize * 8,) * channels
    tags[259] = 8  # Deflate
    tags[262] = 1 if channels == 1 else 2  # black is zero, or RGB
    tags[277], tags[278] = channels, strip_rows
    if channels == 4:
        tags[338] = 2  # the fourth is alpha, not multiplied into the colours
    if meta.dpi:
        tags[282], tags[283], tags[296] = meta.dpi[0], meta.dpi[1], 2
    if meta.xmp:
        tags[700] = meta.xmp
    if meta.icc_profile:
        tags[34675] = meta.icc_profile
    tags[279] = lengths = tuple(map(len, strips))
    # counted from the end of the directory, which Pillow adds
    tags[273] = tuple(sum(lengths[:index]) for index in range(len(strips)))
    return [b"II*\x00\x08\x00\x00\x00", tags.tobytes(8), *strips]
