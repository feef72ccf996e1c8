"""Pictures in: a path, bytes, a file object, a Pillow image or an array, frame by frame.

`output/encode.py` is the other end of the pipeline.
"""

import contextlib
import io
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from alphacut.errors import ImageError, MissingExtra
from alphacut.options import Options
from alphacut.pipeline.decode import DAMAGE, damaged, decode, load_pixels, split
from alphacut.pipeline.image import SUFFIXES, Image, Metadata, Picture

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
# How files of the commonest kinds begin
_SIGNATURES = (b"\x89PNG", b"\xff\xd8\xff", b"RIFF", b"GIF8")
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"mif1", b"msf1", b"heim", b"heis")


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
                load_pixels(source, options)
                pillow = source.copy()
            except DAMAGE as error:
                raise damaged(name, error) from error
            yield decode(pillow, None, options, name)
            return
        file = _open_file(source, name, opened)
        pillow = opened.enter_context(_open_pillow(file, name))
        try:
            frames = getattr(pillow, "n_frames", 1) if pillow.format in _ANIMATED else 1
        except DAMAGE as error:
            raise damaged(name, error) from error
        _check_size(pillow.size[::-1], frames, options, name)
        if frames == 1:
            yield decode(pillow, file, options, name)
            return
        first = 1 if getattr(pillow, "default_image", False) else 0
        loop = int(pillow.info.get("loop", 1 if pillow.format == "GIF" else 0))
        for index in range(first, frames):
            try:
                pillow.seek(index)
                frame = pillow.copy()
            except DAMAGE as error:
                raise damaged(name, error) from error
            picture = decode(frame, None, options, name)
            duration_ms = float(pillow.info.get("duration", 0))
            yield Picture(picture.image, picture.alpha, picture.metadata, duration_ms, loop)


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
        except DAMAGE as error:
            raise damaged(name, error) from error
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


def _from_array(array: NDArray[Any], options: Options) -> Picture:
    """Take a caller's array as a picture."""
    check_array(array)
    _check_size(array.shape[:2], 1, options, "array")
    return split(array if array.ndim == 3 else array[..., np.newaxis], Metadata(), options)


def check_array(array: NDArray[Any]) -> None:
    """Refuse an array that is no picture."""
    if array.dtype not in (np.uint8, np.uint16):
        raise ImageError(f"array: dtype {array.dtype} is not uint8 or uint16")
    if array.ndim not in (2, 3) or array.shape[2:] not in ((), (1,), (3,), (4,)):
        raise ImageError(f"array: shape {array.shape} is not (H, W), (H, W, 3) or (H, W, 4)")
    if not array.size:
        raise ImageError(f"array: has no pixels, its shape is {array.shape}", "no_size")
