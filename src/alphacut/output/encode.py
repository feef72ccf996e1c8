"""Encoding: from arrays to the bytes of a file, with what the source said about its pixels."""

import dataclasses
import io
import itertools
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
from isal import isal_zlib as zlib
from numpy.typing import NDArray

from alphacut import files
from alphacut.errors import ImageError, OutputError
from alphacut.options import Effort, FileFormat, Options
from alphacut.parallel import shared_out
from alphacut.pipeline.image import SUFFIXES, Image, Metadata, to_depth, white
from alphacut.pipeline.load import check_array
from alphacut.pipeline.metadata import exif_directory, pack_directory

OUTPUT_SUFFIXES = SUFFIXES | {".zip": "zip", ".ora": "ora"}
ANIMATED = ("png", "webp", "avif")
OPAQUE = ("jpg",)
_LONGEST_PX = {"png": 1_000_000, "jpg": 65500, "webp": 16383, "avif": 65535}
# By effort: deflate's level, and OpenCV's row filter; "fast" has its own encoder below
_LEVEL = {"fast": 1, "balanced": 4, "small": 9}
_PNG_FILTER = {
    "balanced": cv2.IMWRITE_PNG_FILTER_PAETH,
    "small": cv2.IMWRITE_PNG_ALL_FILTERS,
}
# By effort: libwebp's method, and its quality setting, which for lossless files is search depth
_WEBP = {"fast": (0, 100), "balanced": (1, 0), "small": (6, 80)}
_MARKER_BYTES = 65502  # the longest EXIF or XMP that a JPEG marker holds after its own name
_ROWS = 256
_PNG_BAND_BYTES = 1 << 20  # deflated at a time: fits a processor's cache
_PNG_COLOR_TYPES = {1: 0, 3: 2, 4: 6}  # by number of channels
_TIFF_TYPES = {"H": 3, "I": 4}  # by the codes of struct
_PNG_UP = 2  # the filter that subtracts the byte above
_ADLER = 65521


@dataclass(frozen=True, eq=False)
class Raster:
    """The samples of one image, as a file holds them.

    Attributes:
        samples: (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGBA, uint8 or uint16, colours straight.
        alpha: (H, W) of the same dtype, beside RGB: the two are joined a band of rows at a time
            while they are encoded, so a large cut-out needs no RGBA copy. None for none.
    """

    samples: Image
    alpha: Image | None = None

    @property
    def channels(self) -> int:
        """How many values a pixel has in the file: 1, 3 or 4."""
        return 4 if self.alpha is not None else self.samples[0, 0].size

    def band(self, rows: slice) -> "Raster":
        """Return some rows, as views."""
        return Raster(self.samples[rows], None if self.alpha is None else self.alpha[rows])

    def joined(self, *, bgr: bool = False) -> Image:
        """Return one array: (H, W), (H, W, 3), or (H, W, 4) if there is alpha.

        RGB is zero where `alpha` is zero: hidden background stays hidden, and the file is smaller.
        """
        samples, alpha = self.samples, self.alpha
        if alpha is None:
            if not bgr or samples.ndim == 2:
                return samples
            codes = {3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}
            return np.asarray(cv2.cvtColor(samples, codes[samples.shape[2]]), samples.dtype)
        joined = np.zeros((*alpha.shape, 4), samples.dtype)
        code = cv2.COLOR_RGB2BGRA if bgr else cv2.COLOR_RGB2RGBA
        for top in range(0, len(alpha), _ROWS):
            rows = slice(top, top + _ROWS)
            colours = cv2.cvtColor(samples[rows], code)
            cv2.insertChannel(alpha[rows], colours, 3)
            shown = alpha[rows] if alpha.dtype == np.uint8 else (alpha[rows] > 0).astype(np.uint8)
            cv2.copyTo(colours, shown, joined[rows])
        return joined


def quantise(alpha: NDArray[np.float32], white: float = 255.0) -> Image:
    """Round alpha in [0, 1] to whole levels: uint8, or uint16 where white is 65535."""
    levels = np.empty(alpha.shape, np.uint8 if white == 255 else np.uint16)
    for top in range(0, len(alpha), _ROWS):  # in bands: no float copy of a large alpha
        rows = slice(top, top + _ROWS)
        levels[rows] = alpha[rows] * np.float32(white) + np.float32(0.5)
    return levels


def output_format(path: Path | None, format: FileFormat = "auto", *, opaque: bool = False) -> str:
    """Decide the kind of file to write.

    Args:
        path: The file, whose ending names its kind; None if it is not known.
        format: "png", "webp", ..., or "auto" for what the ending says.
        opaque: Whether JPEG suits the image, if neither says anything.

    Raises:
        OutputError: if the ending is unknown, or contradicts the format.
    """
    suffix = path.suffix.lower() if path else ""
    named = OUTPUT_SUFFIXES.get(suffix)
    if suffix and not named:
        known = ", ".join(sorted(OUTPUT_SUFFIXES))
        raise OutputError(f"{path}: cannot write files ending in {suffix}: use one of {known}")
    if format == "auto":
        return named or ("jpg" if opaque else "png")
    if named and named != format:
        raise OutputError(f"{path}: ends in {suffix}, but the format is {format}")
    return format


def save_image(
    path: str | os.PathLike[str], image: Image, alpha: NDArray[np.float32] | None = None
) -> None:
    """Write an image, with alpha if given, in the format of the file's ending.

    Args:
        path: The file.
        image: (H, W), (H, W, 3) or (H, W, 4) uint8 or uint16.
        alpha: (H, W) float32 in [0, 1], beside an image (H, W, 3).

    Raises:
        ImageError: if an array has another shape or dtype.
        OutputError: if the ending is unknown or the file cannot be written.
    """
    path = Path(path)
    check_array(image)
    if alpha is not None and image.shape != (*alpha.shape, 3):
        raise ImageError(f"alpha: shape {alpha.shape} does not fit an image {image.shape}")
    samples = image[..., 0] if image.shape[2:] == (1,) else image
    raster = Raster(samples, None if alpha is None else quantise(alpha, white(image)))
    kind = output_format(path)
    if kind not in SUFFIXES.values():
        raise OutputError(f"{path}: {kind} holds a cut-out, not an image: use Cutout.save")
    if kind in OPAQUE and raster.channels == 4:
        raise OutputError(f"{path}: {kind} has no alpha: choose png, or composite it first")
    files.write(path, encode([raster], kind))


def encode(
    frames: Sequence[Raster],
    kind: str,
    *,
    metadata: Metadata | None = None,
    quality: int = Options.file_quality,
    effort: Effort = Options.png,
    durations_ms: Sequence[float] = (),
    loop: int = 1,
) -> Sequence[bytes | memoryview]:
    """Encode an image or an animation as one file.

    Args:
        frames: One, unless the format is among `ANIMATED`; all of one size and dtype.
        kind: "png", "webp", "avif", "tiff" or "jpg"; the latter takes no alpha.
        metadata: What to say about the pixels. An RGB profile is left out of grey files.
        quality: 1..100 for JPEG, WebP and AVIF; 100 writes WebP without loss.
        effort: "fast", "balanced" or "small": how hard PNG and lossless WebP are compressed.
        durations_ms: How long each frame of an animation is shown.
        loop: How often an animation runs, 0 for ever.

    Returns:
        The file's bytes, in pieces to be written one after another.

    Raises:
        OutputError: if a side is longer than the format allows.
    """
    first, metadata = frames[0], metadata or Metadata()
    H, W = first.samples.shape[:2]
    if max(H, W) > _LONGEST_PX.get(kind, H + W):
        raise OutputError(
            f"{W} x {H} pixels do not fit into {kind}, which allows {_LONGEST_PX[kind]} a side: "
            "choose tiff"
        )
    if first.channels == 1:
        metadata = dataclasses.replace(metadata, icc_profile=None)
    if kind == "tiff":
        return _encode_tiff(first, metadata)
    if kind == "png" and len(frames) == 1:
        return _encode_png(first, metadata, effort)
    settings = _pillow_settings(kind, metadata, quality, effort)
    pillow = [PIL.Image.fromarray(to_depth(frame.joined(), np.uint8)) for frame in frames]
    if len(frames) > 1:
        if kind == "avif":  # Pillow takes whole milliseconds only
            durations_ms = [round(duration_ms) for duration_ms in durations_ms]
        settings |= {"save_all": True, "append_images": pillow[1:],
                     "duration": list(durations_ms), "loop": loop}  # fmt: skip
    file = io.BytesIO()
    pillow[0].save(file, {"jpg": "JPEG"}.get(kind, kind.upper()), **settings)
    if kind == "png":  # Pillow has written profile and EXIF
        return _insert_chunks(file.getbuffer(), Metadata(xmp=metadata.xmp, dpi=metadata.dpi))
    return [file.getbuffer()]


def _pillow_settings(kind: str, metadata: Metadata, quality: int, effort: Effort) -> dict[str, Any]:
    """Return what Pillow's writer of a format has to be told."""
    exif, xmp = metadata.exif and b"Exif\x00\x00" + metadata.exif, metadata.xmp
    settings: dict[str, Any] = {}
    if kind == "jpg":
        exif, xmp = (block if block and len(block) <= _MARKER_BYTES else None
                     for block in (exif, xmp))  # fmt: skip
        settings = {"quality": quality, "subsampling": 0, "dpi": metadata.dpi}
    elif kind == "webp" and quality == 100:
        method, search = _WEBP[effort]
        settings = {"lossless": True, "method": method, "quality": search}
    elif kind == "webp":
        settings = {"quality": quality}
    elif kind == "avif":
        settings = {"quality": quality, "subsampling": "4:4:4"}
    elif kind == "png":  # blend 0 replaces the previous frame instead of painting over it
        settings = {"blend": 0, "disposal": 0, "compress_level": _LEVEL[effort]}
    settings |= {"exif": exif, "icc_profile": metadata.icc_profile, "xmp": xmp}
    return {name: value for name, value in settings.items() if value is not None}


def _encode_png(raster: Raster, metadata: Metadata, effort: Effort) -> Sequence[bytes | memoryview]:
    """Encode a still image with its metadata; docs/decisions/0004 has the figures."""
    if effort == "fast":
        return _encode_png_fast(raster, metadata)
    settings = [cv2.IMWRITE_PNG_COMPRESSION, _LEVEL[effort],
                cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_FILTERED,
                cv2.IMWRITE_PNG_FILTER, _PNG_FILTER[effort]]  # fmt: skip
    _, data = cv2.imencode(".png", raster.joined(bgr=True), settings)
    return _insert_chunks(data.data, metadata)


def _encode_png_fast(raster: Raster, metadata: Metadata) -> Sequence[bytes | memoryview]:
    """Encode bands of rows in parallel, each deflated on its own up to a byte boundary."""
    H, W = raster.samples.shape[:2]
    dtype = raster.samples.dtype
    row_bytes = W * raster.channels * dtype.itemsize
    band_rows = max(1, _PNG_BAND_BYTES // row_bytes)

    def compress(top: int) -> tuple[bytes, int, int]:
        samples = raster.band(slice(max(top - 1, 0), top + band_rows)).joined()  # and the row above
        if dtype == np.uint16:
            samples = samples.astype(">u2")
        lines = np.ascontiguousarray(samples).view(np.uint8).reshape(-1, row_bytes)
        filtered = np.empty((min(band_rows, H - top), 1 + row_bytes), np.uint8)
        filtered[:, 0] = _PNG_UP
        if top == 0:
            filtered[0, 1:] = lines[0]
        above = lines[:-1]
        np.subtract(lines[1:], above, out=filtered[len(filtered) - len(above) :, 1:])
        deflate = zlib.compressobj(_LEVEL["fast"], zlib.DEFLATED, -15)
        last = top + band_rows >= H
        data = deflate.compress(filtered)
        data += deflate.flush(zlib.Z_FINISH if last else zlib.Z_SYNC_FLUSH)
        return data, zlib.adler32(filtered), filtered.size

    bands = shared_out(compress, range(0, H, band_rows))
    low, high = 1, 0
    for _, check, size in bands:  # Adler-32 of the whole, from that of each band
        high = (high + (check >> 16) + size * (low - 1)) % _ADLER
        low = (low + (check & 0xFFFF) - 1) % _ADLER
    color_type = _PNG_COLOR_TYPES[raster.channels]
    header = struct.pack(">IIBBBBB", W, H, 8 * dtype.itemsize, color_type, 0, 0, 0)
    return [
        b"\x89PNG\r\n\x1a\n",
        _chunk(b"IHDR", header),
        *_metadata_chunks(metadata),
        _chunk(b"IDAT", b"\x78\x01"),
        *(_chunk(b"IDAT", data) for data, _, _ in bands),
        _chunk(b"IDAT", struct.pack(">HH", high, low)),
        _chunk(b"IEND", b""),
    ]


def _insert_chunks(png: memoryview, metadata: Metadata) -> Sequence[bytes | memoryview]:
    """Add metadata to a PNG, right after its header as the standard demands."""
    header = 33  # signature and IHDR
    return [png[:header], *_metadata_chunks(metadata), png[header:]]


def _metadata_chunks(metadata: Metadata) -> list[bytes]:
    chunks = []
    if metadata.icc_profile:
        profile = b"ICC profile\x00\x00" + zlib.compress(metadata.icc_profile)
        chunks.append(_chunk(b"iCCP", profile))
    if metadata.dpi:
        across, down = (round(dpi / 0.0254) for dpi in metadata.dpi)
        chunks.append(_chunk(b"pHYs", struct.pack(">IIB", across, down, 1)))
    if metadata.exif:
        chunks.append(_chunk(b"eXIf", metadata.exif))
    if metadata.xmp:
        text = b"XML:com.adobe.xmp\x00\x00\x00\x00\x00" + metadata.xmp
        chunks.append(_chunk(b"iTXt", text))
    return chunks


def _chunk(name: bytes, data: bytes) -> bytes:
    check = zlib.crc32(data, zlib.crc32(name))
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", check)


def _encode_tiff(raster: Raster, metadata: Metadata) -> Sequence[bytes | memoryview]:
    """Encode 8 or 16 bits a channel; Pillow's own writer has no 16-bit colour."""
    (H, W), channels = raster.samples.shape[:2], raster.channels
    little_endian = raster.samples.dtype.newbyteorder("<")
    bands = (raster.band(slice(top, top + _ROWS)).joined() for top in range(0, H, _ROWS))
    strips = [zlib.compress(np.ascontiguousarray(band, little_endian), 1) for band in bands]
    ends = list(itertools.accumulate(map(len, strips)))
    tags = exif_directory(metadata.exif) if metadata.exif else {}

    def put(tag: int, code: str, *values: int) -> None:
        tags[tag] = _TIFF_TYPES[code], len(values), struct.pack(f"<{len(values)}{code}", *values)

    put(256, "I", W)
    put(257, "I", H)
    put(258, "H", *[8 * little_endian.itemsize] * channels)
    put(259, "H", 8)  # Deflate
    put(262, "H", 1 if channels == 1 else 2)  # black is zero, or RGB
    put(277, "H", channels)
    put(278, "I", _ROWS)
    put(279, "I", *map(len, strips))
    if channels == 4:
        put(338, "H", 2)  # the fourth is alpha, not multiplied into the colours
    if metadata.dpi:
        for tag, dpi in zip((282, 283), metadata.dpi, strict=True):
            tags[tag] = 5, 1, struct.pack("<II", round(dpi * 1000), 1000)
        put(296, "H", 2)  # to the inch
    if metadata.xmp:
        tags[700] = 1, len(metadata.xmp), metadata.xmp
    if metadata.icc_profile:
        tags[34675] = 7, len(metadata.icc_profile), metadata.icc_profile
    begin = 0
    for _ in range(2):  # how long the directory is, then where the strips are after it
        put(273, "I", *(begin + end - len(strip) for end, strip in zip(ends, strips, strict=True)))
        directory = pack_directory(tags, 8)
        begin = 8 + len(directory)
    return [b"II*\x00\x08\x00\x00\x00", directory, *strips]
