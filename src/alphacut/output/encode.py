"""Pictures out: from arrays to files of every format, with what their sources said about them."""

import io
import os
import struct
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
from isal import isal_zlib as zlib
from numpy.typing import NDArray

from alphacut import files
from alphacut.errors import ImageError, OutputError
from alphacut.options import Options
from alphacut.pipeline.decode import SUB_DIRECTORIES, TIFF_TAGS
from alphacut.pipeline.image import SUFFIXES, Image, Metadata, Picture, to_depth, white
from alphacut.pipeline.load import check_array

OUTPUT_SUFFIXES = SUFFIXES | {".zip": "zip", ".ora": "ora"}
ANIMATES = ("png", "webp", "avif")
OPAQUE = ("jpg",)
_LONGEST_PX = {"png": 1_000_000, "jpg": 65500, "webp": 16383, "avif": 65535}
# By effort: deflate's level, and OpenCV's filter of rows; "fast" is written here
_LEVEL = {"fast": 1, "balanced": 4, "small": 9}
_PNG_FILTER = {
    "balanced": cv2.IMWRITE_PNG_FILTER_PAETH,
    "small": cv2.IMWRITE_PNG_ALL_FILTERS,
}
# By effort: libwebp's method and its search, for pictures without loss
_WEBP = {"fast": (0, 100), "balanced": (1, 0), "small": (6, 80)}
_MARKER_BYTES = 65502  # EXIF or XMP that fits into a JPEG marker, behind its own name
_BAND_ROWS = 256
_PNG_BAND_BYTES = 1 << 20  # compressed at a time: fits a processor's cache
_PNG_COLORS = {1: 0, 3: 2, 4: 6}  # the standard's code, by channels
_PNG_UP = 2  # its filter that takes from each byte the one above
_ADLER = 65521


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
    check_array(image)
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
    files.write(Path(path), lambda: encode([Picture(samples)], kind, options))


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
        settings |= {"blend": 0, "disposal": 0, "compress_level": _LEVEL[options.png]}
        pillow[0].save(file, "PNG", **settings)
        return _insert_chunks(file.getbuffer(), Metadata(xmp=meta.xmp, dpi=meta.dpi))
    pillow[0].save(file, {"jpg": "JPEG"}.get(kind, kind.upper()), **settings)
    return [file.getbuffer()]


def _encode_png(picture: Picture, effort: str) -> Sequence[bytes | memoryview]:
    """Encode with metadata; docs/decisions/0004 has the figures."""
    if effort == "fast":
        return _encode_png_fast(picture)
    settings = [cv2.IMWRITE_PNG_COMPRESSION, _LEVEL[effort],
                cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_FILTERED,
                cv2.IMWRITE_PNG_FILTER, _PNG_FILTER[effort]]  # fmt: skip
    _, data = cv2.imencode(".png", _joined(picture, bgr=True), settings)
    return _insert_chunks(data.data, picture.metadata)


def _encode_png_fast(picture: Picture) -> Sequence[bytes | memoryview]:
    """Encode bands of rows side by side: each is deflated on its own, up to a byte's boundary."""
    image, alpha = picture.image, picture.alpha
    H, W = image.shape[:2]
    channels = 4 if alpha is not None else image[0, 0].size
    row_bytes = W * channels * image.itemsize
    band_rows = max(1, _PNG_BAND_BYTES // row_bytes)

    def compress(top: int) -> tuple[bytes, int, int]:
        rows = np.s_[max(top - 1, 0) : top + band_rows]  # with the row above
        samples = _joined(Picture(image[rows], None if alpha is None else alpha[rows]))
        if samples.dtype == np.uint16:
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

    with ThreadPoolExecutor(max(1, cv2.getNumThreads())) as pool:
        bands = list(pool.map(compress, range(0, H, band_rows)))
    low, high = 1, 0
    for _, check, size in bands:  # Adler-32 of all of it, from the bands'
        high = (high + (check >> 16) + size * (low - 1)) % _ADLER
        low = (low + (check & 0xFFFF) - 1) % _ADLER
    bits = 8 * image.itemsize
    header = struct.pack(">IIBBBBB", W, H, bits, _PNG_COLORS[channels], 0, 0, 0)
    return [
        b"\x89PNG\r\n\x1a\n",
        _chunk(b"IHDR", header),
        *_metadata_chunks(picture.metadata),
        _chunk(b"IDAT", b"\x78\x01"),
        *(_chunk(b"IDAT", data) for data, _, _ in bands),
        _chunk(b"IDAT", struct.pack(">HH", high, low)),
        _chunk(b"IEND", b""),
    ]


def _insert_chunks(png: memoryview, metadata: Metadata) -> Sequence[bytes | memoryview]:
    """Add metadata to a PNG, behind its header as the standard wants it."""
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
        tags.update({tag: exif[tag] for tag in TIFF_TAGS if tag in exif})
        tags.update({tag: dict(ifd) for tag in SUB_DIRECTORIES if (ifd := exif.get_ifd(tag))})
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
