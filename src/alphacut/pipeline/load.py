"""Images in: a path, bytes, a file object, a Pillow image or an array, frame by frame.

`output/encode.py` is the other end of the pipeline.
"""

import contextlib
import dataclasses
import io
import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from alphacut.errors import ImageError, MissingExtra
from alphacut.options import Options
from alphacut.pipeline.decode import damage_of, decode, decode_tiff, load_pixels, split
from alphacut.pipeline.image import SUFFIXES, Image, Metadata, Picture
from alphacut.pipeline.tiff import find_tiff

Source: TypeAlias = "str | os.PathLike[str] | bytes | IO[bytes] | PIL.Image.Image | NDArray[Any]"
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
# First bytes of the most common formats
_SIGNATURES = (b"\x89PNG", b"\xff\xd8\xff", b"RIFF", b"GIF8")
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"mif1", b"msf1", b"heim", b"heis")


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
            uint8 or uint16.
        keep_depth: Whether pictures of 16 bits a channel stay so; the others become 8.
        max_megapixels: Refuse larger pictures.
        allow_truncated: Whether to read what is left of a damaged file.

    Returns:
        (H, W, 3) uint8 or uint16. Transparency is left out.

    Raises:
        ImageError: if the picture is missing, damaged, too large, or not a picture.
        MissingExtra: if it is a HEIC file and its reader is not installed.
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
        check_array(source)
        _check_size(source.shape[:2], 1, max_megapixels, "array")
        samples = source if source.ndim == 3 else source[..., np.newaxis]
        yield split(samples, Metadata(), keep_depth=keep_depth)
        return

    def settle(pillow: PIL.Image.Image, file: IO[bytes] | None = None) -> Picture:
        return decode(pillow, file, name, keep_depth=keep_depth, allow_truncated=allow_truncated)

    if isinstance(source, PIL.Image.Image):
        _check_size(source.size[::-1], 1, max_megapixels, name)
        with damage_of(name):
            load_pixels(source, allow_truncated)
            pillow = source.copy()
        yield settle(pillow)
        return
    with contextlib.ExitStack() as opened:
        file = _open_file(source, name, opened)
        with damage_of(name):
            tiff = find_tiff(file, name)
        if tiff:
            _check_size(tiff.size, 1, max_megapixels, name)
            yield decode_tiff(
                tiff, file, name, keep_depth=keep_depth, allow_truncated=allow_truncated
            )
            return
        pillow = opened.enter_context(_open_pillow(file, name))
        with damage_of(name):
            frames = getattr(pillow, "n_frames", 1) if pillow.format in _ANIMATED else 1
        _check_size(pillow.size[::-1], frames, max_megapixels, name)
        if frames == 1:
            yield settle(pillow, file)
            return
        first = 1 if getattr(pillow, "default_image", False) else 0
        loop = int(pillow.info.get("loop", 1 if pillow.format == "GIF" else 0))
        for index in range(first, frames):
            with damage_of(name):
                pillow.seek(index)
                frame = pillow.copy()
            duration_ms = float(pillow.info.get("duration", 0))
            yield dataclasses.replace(settle(frame), duration_ms=duration_ms, loop=loop)


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
    for learn_more in (PIL.Image.init, lambda: _register_heif(file), None):
        with damage_of(name):
            if pillow := _identify(file):
                return pillow
        if learn_more:
            learn_more()
    file.seek(0)
    if file.read(4).startswith(_SIGNATURES):
        raise ImageError(f"{name}: damaged header, dimensions unreadable", "no_size")
    raise ImageError(f"{name}: is not a picture, or its format is not supported", "not_a_picture")


def _identify(file: IO[bytes]) -> PIL.Image.Image | None:
    """Find the decoder of a file.

    `PIL.Image.open` does as much, but refuses large pictures by a limit that is one for the whole
    process; ours is an option, and changing theirs even for a moment would open other threads'
    programs to what it guards them from.
    """
    file.seek(0)
    head = file.read(16)
    for kind in _DECODERS:
        decoder, accepts = PIL.Image.OPEN.get(kind, (None, None))
        if decoder is None or (accepts and accepts(head) is not True):
            continue
        file.seek(0)
        try:
            return decoder(file, "")
        except (SyntaxError, IndexError, TypeError, struct.error):  # not of this format after all
            continue
    return None


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


def check_array(array: NDArray[Any]) -> None:
    """Refuse an array that is not an image."""
    if array.dtype not in (np.uint8, np.uint16):
        raise ImageError(f"array: dtype {array.dtype} is not uint8 or uint16")
    if array.ndim not in (2, 3) or array.shape[2:] not in ((), (1,), (3,), (4,)):
        raise ImageError(f"array: shape {array.shape} is not (H, W), (H, W, 3) or (H, W, 4)")
    if not array.size:
        raise ImageError(f"array: has no pixels, its shape is {array.shape}", "no_size")
