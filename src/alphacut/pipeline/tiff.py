"""TIFF, whose ways of keeping samples are too many for the decoders at hand.

Pillow reads 8 bits a channel, side by side. What it refuses or rounds (16 bits, floating point, a
plane for each channel, BigTIFF) is read here: tifffile finds the samples, libtiff inside Pillow
inflates them. Every sample of the result was written by the file, or is zero.
"""

import contextlib
import ctypes
import functools
import io
import logging
import math
import struct
import zlib
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from alphacut.errors import ImageError
from alphacut.pipeline.color import encode_srgb, srgb_of_lab
from alphacut.pipeline.foreign import CAMERA_RAW
from alphacut.pipeline.image import to_depth

_SILENT = logging.NullHandler()
_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_INTEGER, _FLOAT = 1, 3
_SAMPLE_FORMATS = {2: " signed", 3: " float", 5: " complex", 6: " complex"}
_DEFLATE = (8, 32946)
_FAX, _JPEG = 4, 7
_JPEG_HEAD_BYTES = 1 << 16  # in which a strip's frame is found: only tables are before it
_BY_LIBTIFF = {5: "LZW", 32773: "PackBits", 34925: "LZMA", 50000: "Zstandard"}
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _CIE_LAB, _ICC_LAB = 0, 1, 2, 8, 9
_PHOTOMETRIC = {3: "palette", 4: "transparency mask", 5: "CMYK", 6: "YCbCr", 10: "ITU LAB"}
_SENSOR = (32803, 34892)  # photometric: colour filter array, linear raw
_DNG_VERSION = 50706
_CANON = b"CR\2\0"  # behind the head of a CR2 file
_ASSOCIATED, _UNASSOCIATED = 1, 2
_MOST_SAMPLES = 16  # a pixel; all are inflated, four are used
_LARGEST_TILE = 1 << 22  # pixels, if the image is smaller
_BRIGHTEST = 16.0  # floats up to here are light, of which 1 is white; larger ones are levels


class Tiff:
    """A page of a TIFF that Pillow does not read, or not whole.

    Args:
        file: The file.
        name: What to call it in messages.

    Attributes:
        size: (H, W) as stored.
        orientation: How to turn it upright, as in EXIF.
        icc_profile: Colour profile, or None.
        xmp: XMP packet, or None.
        dpi: Horizontal and vertical density, or None.
        big: Whether it is a BigTIFF, whose directories Pillow does not read.
    """

    def __init__(self, file: IO[bytes], page: Any, name: str) -> None:
        self._file, self._page, self._name = file, page, name
        tags = page.tags
        self.size = int(page.imagelength), int(page.imagewidth)
        self.big = bool(page.parent.is_bigtiff)
        self.orientation = int(tags.valueof(274, 1))
        self.icc_profile = tags.valueof(34675)
        self.xmp = tags.valueof(700)
        self.dpi = _density(tags)

    def read(self, *, allow_truncated: bool) -> NDArray[Any]:
        """Decode the samples, as stored.

        Args:
            allow_truncated: Whether what is missing is zero instead of an error.

        Returns:
            (H, W, 1 | 3 | 4) uint8 or uint16: grey or RGB of which white is the largest number,
            straight, with alpha.

        Raises:
            ImageError: if it is of a kind that is not supported.
            ValueError: if samples are missing.
        """
        page = self._page
        self._check_kind()
        stored = self._stored(allow_truncated)
        extra = [int(kind) for kind in page.extrasamples]
        channels = page.samplesperpixel - len(extra)
        alpha, associated = None, False
        if extra and extra[0] in (_ASSOCIATED, _UNASSOCIATED):
            alpha, associated = stored[..., channels], extra[0] == _ASSOCIATED
        colours = stored[..., :channels]
        if alpha is not None:
            alpha = _to_levels(alpha, linear=False)[..., np.newaxis]
        if page.photometric in (_CIE_LAB, _ICC_LAB):
            srgb = srgb_of_lab(_lab(colours, icc=page.photometric == _ICC_LAB))
            levels = to_depth(srgb, page.dtype)
        else:
            levels = _to_levels(colours, linear=self.icc_profile is None)
        if page.photometric == _WHITE_IS_ZERO:
            levels = np.iinfo(levels.dtype).max - levels
        if alpha is None:
            return levels
        if associated:
            white = float(np.iinfo(levels.dtype).max)
            straight = levels * (white / np.maximum(alpha, 1).astype(np.float32))
            levels = np.minimum(np.rint(straight), white).astype(levels.dtype)
        if levels.shape[2] == 1:
            levels = np.repeat(levels, 3, axis=2)
        return np.concatenate([levels, alpha.astype(levels.dtype)], axis=2)

    def _check_kind(self) -> None:
        """Refuse what is not read here, by its name."""
        page = self._page
        unknown = ""
        if page.photometric not in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _CIE_LAB, _ICC_LAB):
            unknown = _PHOTOMETRIC.get(page.photometric, f"photometric {int(page.photometric)}")
        elif page.compression not in (1, *_DEFLATE, *_BY_LIBTIFF):
            unknown = f"{getattr(page.compression, 'name', page.compression)} compression"
        elif page.predictor not in (1, 2, 3) or page.fillorder != 1:
            unknown = f"predictor {int(page.predictor)}, fill order {int(page.fillorder)}"
        elif (
            page.samplesperpixel - len(page.extrasamples) not in (1, 3)
            or page.samplesperpixel > _MOST_SAMPLES
        ):
            unknown = f"{page.samplesperpixel} samples a pixel"
        if unknown:
            raise ImageError(
                f"{self._name}: {page.bitspersample}-bit TIFF with {unknown} is not supported: "
                "save it as RGB, 8 or 16 bits"
            )

    def _stored(self, allow_truncated: bool) -> NDArray[Any]:
        """Decode strips or tiles into (H, W, samples) in the file's own numbers."""
        page = self._page
        H, W = self.size
        samples = int(page.samplesperpixel)
        planes = samples if page.planarconfig == 2 else 1
        together = samples // planes
        rows, columns = (
            (int(page.tilelength), int(page.tilewidth))
            if page.is_tiled
            else (min(int(page.rowsperstrip), H), W)
        )
        if page.is_tiled and rows * columns > max(4 * H * W, _LARGEST_TILE):
            raise ValueError(f"tiles of {columns} x {rows} pixels")
        down, across = math.ceil(H / rows), math.ceil(W / columns)
        stored = np.zeros((H, W, samples), page.dtype)
        places = list(zip(page.dataoffsets, page.databytecounts, strict=False))
        if len(places) != planes * down * across and not allow_truncated:
            raise ValueError(f"{len(places)} strips or tiles instead of {planes * down * across}")
        for index, (offset, count) in enumerate(places[: planes * down * across]):
            plane, place = divmod(index, down * across)
            top, left = place // across * rows, place % across * columns
            height = rows if page.is_tiled else min(rows, H - top)
            block = self._block(offset, count, (height, columns, together), allow_truncated)
            bottom, right = min(top + height, H), min(left + columns, W)
            into = stored[top:bottom, left:right, plane * together : (plane + 1) * together]
            into[:] = block[: bottom - top, : right - left]
        return stored

    def _block(
        self, offset: int, count: int, shape: tuple[int, int, int], allow_truncated: bool
    ) -> NDArray[Any]:
        """Read one strip or tile: inflated, in this machine's byte order, differences summed up."""
        page = self._page
        height, width, together = shape
        wanted = math.prod(shape) * page.dtype.itemsize
        self._file.seek(offset)
        try:
            data = _inflate(self._file.read(count), int(page.compression), wanted, height)
        except (OSError, zlib.error):
            if not allow_truncated:
                raise
            data = b""
        if len(data) < wanted:
            if not allow_truncated:
                raise ValueError(f"a strip or tile has {len(data)} of {wanted} bytes")
            data = data.ljust(wanted, b"\0")
        data = data[:wanted]
        if page.predictor == 3:  # bytes of a row by significance, each the difference to the last
            octets = np.frombuffer(data, np.uint8).reshape(height, -1, together)
            octets = np.cumsum(octets, axis=1, dtype=np.uint8)
            octets = octets.reshape(height, page.dtype.itemsize, width * together)
            numbers = np.ascontiguousarray(octets.swapaxes(1, 2)).view(page.dtype.newbyteorder(">"))
            return np.asarray(numbers.reshape(shape))
        block = np.frombuffer(data, page.dtype.newbyteorder(page.parent.byteorder)).reshape(shape)
        if page.predictor == 2:
            return np.asarray(np.cumsum(block, axis=1, dtype=page.dtype))
        return block


def find_tiff(file: IO[bytes], name: str, index: int = 0) -> Tiff | None:
    """Return a page of a TIFF that is read here; None for other files.

    Args:
        file: The file, at any position.
        name: What to call it in messages.
        index: Which page.

    Raises:
        Exception: what tifffile raises on a damaged directory.
    """
    file.seek(0)
    head, canon = file.read(4), file.read(8).endswith(_CANON)
    file.seek(0)
    if head not in _SIGNATURES:
        return None
    silence_libtiff()
    import tifffile

    tifffile.logger().addHandler(_SILENT)  # or what it logs goes to standard error
    page: Any = tifffile.TiffFile(file, name="").pages[index]
    sensor = page.photometric in _SENSOR or (page.tags.valueof(254, 0) & 1 and 330 in page.tags)
    if canon or sensor or _DNG_VERSION in page.tags:  # of which the first page is a preview
        raise ImageError(f"{name}: {CAMERA_RAW}", "not_a_picture")
    formats = {_INTEGER: (16,), _FLOAT: (16, 32, 64)}
    grey_with_alpha = page.photometric in (_WHITE_IS_ZERO, _BLACK_IS_ZERO) and page.extrasamples
    lab = page.photometric in (_CIE_LAB, _ICC_LAB)
    if b"+" in head or page.planarconfig == 2 or grey_with_alpha or lab:
        formats[_INTEGER] = (8, 16)
    if page.compression == _FAX:  # where rows are missing, libtiff leaves what memory held
        raise ImageError(
            f"{name}: TIFF in fax compression (CCITT group 4), of which nobody can tell whether it "
            "is whole: save it as PNG"
        )
    if page.compression == _JPEG:
        _check_jpeg(file, page, name)
    if page.dtype is None or page.bitspersample not in formats.get(int(page.sampleformat), ()):
        return None
    if page.imagedepth != 1:
        raise ImageError(f"{name}: TIFF volumes are not supported: save one slice")
    return Tiff(file, page, name)


def _check_jpeg(file: IO[bytes], page: Any, name: str) -> None:
    """Refuse JPEG strips and tiles that are smaller than the file says.

    libtiff only warns of them, and leaves the rest of each to what memory held.
    """
    from PIL.JpegImagePlugin import JpegImageFile

    H, W = int(page.imagelength), int(page.imagewidth)
    rows, columns = (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, W)
    across, down = -(-W // columns), -(-H // rows)
    for index, offset in enumerate(page.dataoffsets):
        row, column = divmod(index % (across * down), across)  # planes follow one another
        height, width = min(rows, H - row * rows), min(columns, W - column * columns)
        file.seek(offset)
        if not (head := file.read(_JPEG_HEAD_BYTES)):
            continue  # the file ends before it, and libtiff says so
        with JpegImageFile(io.BytesIO(head)) as strip:
            if strip.width < width or strip.height < height:
                raise ImageError(
                    f"{name}: TIFF of {W} x {H} pixels with a JPEG of {strip.width} x "
                    f"{strip.height} where one of {width} x {height} belongs: get the file again"
                )


@functools.cache
def silence_libtiff() -> None:
    """Keep libtiff inside Pillow from writing to standard error: what is wrong is raised.

    Pillow has no switch for it. Where libtiff is a part of Pillow's own module, it is out of reach.
    """
    from PIL import _imaging

    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(_imaging.__file__)
        library.TIFFSetErrorHandler(None)
        library.TIFFSetWarningHandler(None)


def name_tiff(file: IO[bytes]) -> str:
    """Say in a few words what kind of TIFF a file is, for one that is not read.

    Args:
        file: The file, at any position.

    Returns:
        Such as "TIFF (32-bit, RGB, JPEG2000 compression)"; "TIFF" if its directory is damaged.
    """
    import tifffile

    file.seek(0)
    try:
        page: Any = tifffile.TiffFile(file, name="").pages.first
        bits, format_ = page.bitspersample, _SAMPLE_FORMATS.get(int(page.sampleformat), "")
        colours = getattr(page.photometric, "name", str(page.photometric))
        packed = getattr(page.compression, "name", str(page.compression))
        return f"TIFF ({bits}-bit{format_}, {colours}, {packed} compression)"
    except Exception:  # whatever a damaged directory raises: it is only a name
        return "TIFF"


def _inflate(data: bytes, compression: int, wanted: int, rows: int) -> bytes:
    """Undo the compression of a strip or tile, to at most the bytes that are wanted of it."""
    if compression == 1:
        return data
    if compression in _DEFLATE:
        return zlib.decompressobj().decompress(data, wanted)
    # libtiff decodes the bytes as if they were a small grey picture
    tags = [(256, wanted // rows), (257, rows), (258, 8), (259, compression), (262, 1),
            (273, 8 + 2 + 12 * 9 + 4), (277, 1), (278, rows), (279, len(data))]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    small = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + b"\0\0\0\0" + data
    from PIL.TiffImagePlugin import TiffImageFile

    with TiffImageFile(io.BytesIO(small)) as pillow:  # not `open`, which has a limit of its own
        return pillow.tobytes()


def _to_levels(numbers: NDArray[Any], *, linear: bool) -> NDArray[Any]:
    """Turn stored numbers into uint8 or uint16 levels; floats that are light, into sRGB's."""
    if numbers.dtype.kind == "u":
        return numbers
    values = np.nan_to_num(numbers.astype(np.float32), posinf=1.0)
    largest = float(values.max(initial=0))
    if largest > _BRIGHTEST:  # levels of integers, kept as floats
        values = values / (255 if largest <= 255 else max(65535.0, largest))
    elif linear:
        values = encode_srgb(np.clip(values, 0, 1))
    return np.rint(np.clip(values, 0, 1) * 65535).astype(np.uint16)


def _lab(numbers: NDArray[Any], *, icc: bool) -> NDArray[np.float32]:
    """Turn stored CIE L*a*b* (TIFF 6.0, section 23) into L in [0, 100], a and b about zero."""
    bits = numbers.dtype.itemsize * 8
    values = numbers.astype(np.float32)
    step = 256.0 if bits == 16 else 1.0
    if icc:
        full, a_b = (65280.0 if bits == 16 else 255.0), values[..., 1:] / step - 128
    else:
        full = 65535.0 if bits == 16 else 255.0
        a_b = numbers[..., 1:].astype(f"i{bits // 8}").astype(np.float32) / step
    return np.concatenate([values[..., :1] * (100 / full), a_b], axis=-1)


def _density(tags: Any) -> tuple[float, float] | None:
    """Return dots an inch, if the file states them."""
    unit = {2: 1.0, 3: 2.54}.get(int(tags.valueof(296, 2)))
    try:
        across, down = (numerator / denominator for numerator, denominator in
                        (tags.valueof(282, (0, 1)), tags.valueof(283, (0, 1))))  # fmt: skip
    except (TypeError, ZeroDivisionError):
        return None
    return (across * unit, down * unit) if unit and min(across, down) > 1 else None
