"""Images in: a path, bytes, a file object, a Pillow image or an array, frame by frame.

`output/encode.py` is the other end of the pipeline.
"""

import contextlib
import dataclasses
import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, TypeAlias, TypedDict

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from alphacut.errors import ImageError, MissingExtra
from alphacut.options import Options
from alphacut.pipeline.decode import (
    DAMAGE,
    damage_of,
    decode,
    decode_samples,
    decode_tiff,
    has_pixels,
    load_pixels,
    raw_mode,
    split,
    warn_of_metadata,
    words_of,
)
from alphacut.pipeline.foreign import name_foreign
from alphacut.pipeline.gif import find_gif
from alphacut.pipeline.image import SUFFIXES, Image, Metadata, Picture
from alphacut.pipeline.mend import is_cut_short, mend
from alphacut.pipeline.tiff import find_tiff, name_tiff, silence_libtiff

Source: TypeAlias = "str | os.PathLike[str] | bytes | IO[bytes] | PIL.Image.Image | NDArray[Any]"
INPUT_SUFFIXES = {
    *SUFFIXES, ".bmp", ".gif", ".heic", ".heif", ".jp2", ".jxl", ".pbm", ".pgm", ".pnm", ".ppm",
    ".qoi", ".tga",
}  # fmt: skip
# Formats that are safe to try on unknown bytes: none of them starts another program
_DECODERS = (
    "JPEG", "MPO", "PNG", "WEBP", "AVIF", "GIF", "TIFF", "BMP", "DIB", "PPM", "JPEG2000", "TGA",
    "QOI", "ICO", "PCX", "SGI", "DDS", "HEIF",
)  # fmt: skip
_ANIMATED = ("WEBP", "PNG", "AVIF")
# Formats whose first bytes are those of no other
_KNOWN_BY_SIGNATURE = (
    "JPEG",
    "MPO",
    "PNG",
    "WEBP",
    "AVIF",
    "TIFF",
    "JPEG2000",
    "QOI",
    "DDS",
    "HEIF",
)
_JXL_SIGNATURES = (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n")
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"mif1", b"msf1", b"heim", b"heis")


class _How(TypedDict):
    keep_depth: bool
    allow_truncated: bool


def load_image(
    source: Source,
    *,
    keep_depth: bool = Options.keep_depth,
    max_megapixels: float = Options.max_megapixels,
    allow_truncated: bool = Options.allow_truncated,
) -> Image:
    """Read a picture as an upright RGB array, the first frame if it is animated.

    Args:
        source: Path, bytes, file object, Pillow image, or array (H, W), (H, W, 3) or (H, W, 4) of
            uint8, uint16, or floats in [0, 1], which are sRGB values and rounded to uint8.
        keep_depth: Whether pictures of 16 bits a channel stay so; the others become 8.
        max_megapixels: Refuse larger pictures.
        allow_truncated: Whether to read what is left of a damaged file.

    Returns:
        (H, W, 3) uint8 or uint16. Transparency is left out.

    Raises:
        ImageError: if the picture is missing, damaged, too large, or not a picture.
        MissingExtra: if it is a HEIC or JPEG XL file and its reader is not installed.
    """
    frames = load_frames(
        source,
        keep_depth=keep_depth,
        max_megapixels=max_megapixels,
        allow_truncated=allow_truncated,
    )
    return next(frames).image


def load_frames(
    source: Source,
    *,
    keep_depth: bool = Options.keep_depth,
    max_megapixels: float = Options.max_megapixels,
    allow_truncated: bool = Options.allow_truncated,
) -> Iterator[Picture]:
    """Read a picture frame by frame; a still picture has one.

    Args and errors are those of `load_image`. All frames together count against the limit.

    Yields:
        Pictures of one size.
    """
    name = describe(source)
    if isinstance(source, np.ndarray):
        check_array(source, floats=True)
        _check_size(source.shape[:2], 1, max_megapixels, "array")
        samples = source.astype(source.dtype.newbyteorder("="), copy=False)  # either byte order
        if samples.dtype.kind == "f":
            samples = _round_floats(samples)
        samples = samples if samples.ndim == 3 else samples[..., np.newaxis]
        yield split(samples, Metadata(), keep_depth=keep_depth)
        return

    if isinstance(source, PIL.Image.Image):
        yield _load_pillow(source, name, keep_depth, max_megapixels, allow_truncated)
        return
    with contextlib.ExitStack() as opened:
        file = _open_file(source, name, opened)
        begun = False
        try:
            for picture in _load_file(file, name, keep_depth, max_megapixels, allow_truncated):
                begun = True
                yield picture
            return
        except ImageError as error:
            if begun or error.reason == "too_large":
                raise
            refused = error
        if foreign := name_foreign(file):
            raise ImageError(f"{name}: {foreign}", "not_a_picture") from refused
        file.seek(0)
        mended = mend(file.read())
        if mended is None:
            raise refused
        pictures = _load_file(io.BytesIO(mended), name, keep_depth, max_megapixels, allow_truncated)
        try:
            first = next(pictures)
        except ImageError:
            raise refused from None
        cause = refused.__cause__
        warn_of_metadata(name, cause if isinstance(cause, Exception) else refused)
        yield first
        yield from pictures


def _load_pillow(
    source: PIL.Image.Image,
    name: str,
    keep_depth: bool,
    max_megapixels: float,
    allow_truncated: bool,
) -> Picture:
    """Read the current frame of a Pillow image, which stays as it is."""
    if _is_closed(source):
        raise ImageError(
            f"{name}: this Pillow image is closed: call its load() before its file is closed"
        )
    _check_size(source.size[::-1], 1, max_megapixels, name)
    packed = raw_mode(source)
    if source.format == "TIFF":
        silence_libtiff()
        _check_tiff(source, name)
    with damage_of(name, source.format, allow_truncated=allow_truncated):
        load_pixels(source, allow_truncated)
        pillow = source.copy()
        pillow.format = source.format  # which a copy forgets
    return decode(
        pillow, None, name, keep_depth=keep_depth, allow_truncated=allow_truncated, packed=packed
    )


def _check_tiff(pillow: PIL.Image.Image, name: str) -> None:
    """Refuse a TIFF that is still to be read, if its decoder would leave some pixels unwritten."""
    file = getattr(pillow, "fp", None)
    if file is None or not getattr(pillow, "tile", None):
        return  # its pixels are there
    with damage_of(name, "TIFF", allow_truncated=True):
        at = file.tell()
        try:
            find_tiff(file, name, pillow.tell())
        finally:
            file.seek(at)


def _is_closed(pillow: PIL.Image.Image) -> bool:
    """Say whether an image's pixels are gone, or cannot be fetched from its file any more."""
    if getattr(pillow, "tile", None):
        file = getattr(pillow, "fp", None)
        return file is None or bool(getattr(file, "closed", False))
    return not has_pixels(pillow)


def _load_file(
    file: IO[bytes], name: str, keep_depth: bool, max_megapixels: float, allow_truncated: bool
) -> Iterator[Picture]:
    """Read an open file frame by frame."""
    how: _How = {"keep_depth": keep_depth, "allow_truncated": allow_truncated}
    with damage_of(name, "TIFF", allow_truncated=True):  # nothing is left without a directory
        tiff = find_tiff(file, name)
    if tiff:
        _check_size(tiff.size, 1, max_megapixels, name)
        yield decode_tiff(tiff, file, name, **how)
        return
    with damage_of(name, "GIF", allow_truncated=True):
        gif = find_gif(file)
    if gif:
        _check_size(gif.size, gif.frames, max_megapixels, name)
        _check_size((gif.largest, 1), 1, max_megapixels, name)
        composed = gif.compose(allow_truncated=allow_truncated)
        while True:
            with damage_of(name, "GIF", allow_truncated=allow_truncated):
                samples, duration_ms = next(composed, (None, 0.0))
            if samples is None:
                return
            picture = split(samples, Metadata(), keep_depth=keep_depth)
            if gif.frames > 1:
                picture = dataclasses.replace(picture, duration_ms=duration_ms, loop=gif.loop)
            yield picture
    file.seek(0)
    if file.read(12).startswith(_JXL_SIGNATURES):
        yield _load_jxl(file, name, keep_depth, max_megapixels)
        return
    with _open_pillow(file, name) as pillow:
        with damage_of(name, pillow.format, allow_truncated=allow_truncated):
            frames = getattr(pillow, "n_frames", 1) if pillow.format in _ANIMATED else 1
        _check_size(pillow.size[::-1], frames, max_megapixels, name)
        if frames == 1:
            yield decode(pillow, file, name, **how)
            return
        first = 1 if getattr(pillow, "default_image", False) else 0
        loop = int(pillow.info.get("loop", 0))
        for index in range(first, frames):
            try:
                with damage_of(name, pillow.format, allow_truncated=allow_truncated):
                    pillow.seek(index)
                    load_pixels(pillow, allow_truncated and index == first)
                    frame = pillow.copy()
            except ImageError:
                if not allow_truncated or index == first:
                    raise
                return  # the frames before it are what is left
            duration_ms = float(pillow.info.get("duration", 0))
            picture = decode(frame, None, name, **how)
            yield dataclasses.replace(picture, duration_ms=duration_ms, loop=loop)


def _load_jxl(file: IO[bytes], name: str, keep_depth: bool, max_megapixels: float) -> Picture:
    """Read a JPEG XL file: upright, 8 bits a channel, the first frame of an animation."""
    try:
        import pylibjxl
    except ImportError as error:
        raise MissingExtra("pylibjxl, which reads JPEG XL files,", "jxl") from error
    file.seek(0)
    data = file.read()
    with damage_of(name, "JXL"):
        header = pylibjxl.probe(data)
    _check_size((header["height"], header["width"]), 1, max_megapixels, name)
    with damage_of(name, "JXL"):
        samples, blocks = pylibjxl.decode(data, metadata=True)
        if samples.ndim == 2:
            samples = samples[..., np.newaxis]
        elif samples.shape[2] == 2:
            samples = samples[..., [0, 0, 0, 1]]
        return decode_samples(samples, blocks, name, keep_depth=keep_depth)


def describe(source: Source) -> str:
    """Return what messages call a source: its file name, or its type."""
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    name = getattr(source, "name", None) or getattr(source, "filename", None)
    return name if isinstance(name, str) and name else type(source).__name__


def _open_file(source: Any, name: str, opened: contextlib.ExitStack) -> IO[bytes]:
    """Open a path, bytes or a file object for reading; refuse empty ones."""
    try:
        if isinstance(source, bytes | bytearray | memoryview):
            file: IO[bytes] = io.BytesIO(source)
        elif isinstance(source, str | os.PathLike):
            if Path(source).is_dir():
                raise ImageError(f"{name}: is a folder, not a picture")
            file = opened.enter_context(open(source, "rb"))  # noqa: SIM115
            if not file.seekable():  # a pipe
                file = io.BytesIO(file.read())
        elif hasattr(source, "read"):
            content = source.read()
            if isinstance(content, str):
                raise ImageError(f"{name}: opened as text: open it in mode 'rb'")
            file = io.BytesIO(content)
        else:
            raise ImageError(
                f"{name}: give a path, bytes, a file object, a Pillow image or an array"
            )
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"{name}: cannot be read: {reason}") from error
    if not file.read(1):
        raise ImageError(f"{name}: empty file")
    file.seek(0)
    return file


def _open_pillow(file: IO[bytes], name: str) -> PIL.Image.Image:
    """Read a picture's header; its pixels follow on demand."""
    PIL.Image.preinit()  # the common formats; the others are loaded for files that need them
    refused = None
    for learn_more in (PIL.Image.init, lambda: _register_heif(file), None):
        pillow, refused = _identify(file)
        if pillow:
            return pillow
        if learn_more:
            learn_more()
    if refused is None:
        raise ImageError(
            f"{name}: is not a picture, or its format is not supported", "not_a_picture"
        )
    kind, error = refused
    file.seek(0)
    if is_cut_short(file.read()):
        raise ImageError(
            f"{name}: {kind} file cut short before its pixels can be read: get the file again"
        ) from error
    if kind == "TIFF":
        raise ImageError(
            f"{name}: {name_tiff(file)} is damaged or of an unsupported kind ({words_of(error)}): "
            "save it as RGB, 8 or 16 bits"
        ) from error
    raise ImageError(
        f"{name}: damaged {kind} header ({words_of(error)}), dimensions unreadable: get the file "
        "again",
        "no_size",
    ) from error


def _identify(
    file: IO[bytes],
) -> tuple[PIL.Image.Image | None, tuple[str, Exception] | None]:
    """Find the decoder of a file, or the one that should have read it, and its reason.

    `PIL.Image.open` does as much, but refuses large pictures by a limit that is one for the whole
    process; ours is an option, and changing theirs even for a moment would open other threads'
    programs to what it guards them from.
    """
    file.seek(0)
    head = file.read(16)
    refused = None
    for kind in _DECODERS:
        decoder, accepts = PIL.Image.OPEN.get(kind, (None, None))
        try:
            if decoder is None or (accepts and accepts(head) is not True):
                continue
            file.seek(0)
            return decoder(file, ""), None
        except DAMAGE as error:  # not of this format after all, or damaged
            if kind in _KNOWN_BY_SIGNATURE:
                refused = kind, error
    return None, refused


def _register_heif(file: IO[bytes]) -> None:
    """Register the HEIC reader with Pillow if the file needs it."""
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


def _check_size(size: Sequence[int], frames: int, max_megapixels: float, name: str) -> None:
    """Refuse pictures above the limit before any pixel is decoded."""
    H, W = size
    megapixels = H * W * frames / 1e6
    if megapixels > max_megapixels:
        many = f" x {frames} frames" if frames > 1 else ""
        raise ImageError(
            f"{name}: {W} x {H} pixels{many} are {megapixels:.0f} megapixels, above the limit of "
            f"{max_megapixels:g}: raise --max-megapixels",
            "too_large",
        )
    if not H * W:
        raise ImageError(f"{name}: has no pixels ({W} x {H})", "no_size")


def check_array(array: NDArray[Any], *, floats: bool = False) -> None:
    """Refuse an array that is not an image; floats are one only where it is said."""
    if array.dtype.newbyteorder("=") not in (np.uint8, np.uint16) and not (
        floats and array.dtype.kind == "f"
    ):
        also = ", nor floats in [0, 1]" if floats else ""
        raise ImageError(f"array: dtype {array.dtype} is not uint8 or uint16{also}")
    if array.ndim not in (2, 3) or array.shape[2:] not in ((), (1,), (3,), (4,)):
        raise ImageError(f"array: shape {array.shape} is not (H, W), (H, W, 3) or (H, W, 4)")
    if not array.size:
        raise ImageError(f"array: has no pixels, its shape is {array.shape}", "no_size")


def _round_floats(samples: NDArray[Any]) -> NDArray[np.uint8]:
    """Round floats in [0, 1] to uint8.

    Raises:
        ImageError: if one is outside, or not a number.
    """
    least, most = samples.min(), samples.max()
    if not (least >= 0 and most <= 1):
        raise ImageError(
            f"array: floats from {least:g} to {most:g} are not in [0, 1]: divide them by their "
            "white, or convert them to uint8"
        )
    rounded: NDArray[np.uint8] = np.rint(samples * 255).astype(np.uint8)
    return rounded
