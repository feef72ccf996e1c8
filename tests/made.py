"""Files written by hand, so that the reader is not tested with its own writer."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import PIL.Image
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from PIL import ImageCms

from alphacut.options import Effort
from alphacut.output.encode import Raster, encode
from alphacut.pipeline.image import Metadata, Picture
from alphacut.pipeline.load import load_frames

COLOUR = (200, 180, 160)
KINDS = ("png", "jpg", "webp", "tiff", "avif")
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/">'
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
    b'xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" '
    b'tiff:Orientation="%d" dc:source="boat"/></rdf:RDF></x:xmpmeta>'
)
NOISE = np.random.default_rng(2).integers(0, 256, (64, 48, 3)).astype(np.uint8)
TILE = np.random.default_rng(1).integers(0, 65536, (9, 7, 4)).astype(np.uint16)
FRAMES = [np.full((12, 16, 4), (*COLOUR, 255), np.uint8) for _ in range(3)]
for number, frame in enumerate(FRAMES):
    frame[3:9, 5 * number : 5 * number + 4] = (20, 40, 60, 255)
    frame[:2] = 0
DURATIONS = [100, 200, 300]


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def make_png(array: NDArray[Any], *chunks: bytes) -> bytes:
    """(H, W) or (H, W, 2 | 3 | 4), uint8 or uint16, as an uncompressed PNG with more chunks."""
    H, W = array.shape[:2]
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[array.shape[2] if array.ndim == 3 else 1]
    header = struct.pack(">IIBBBBB", W, H, array.dtype.itemsize * 8, kind, 0, 0, 0)
    big = array.astype(array.dtype.newbyteorder(">"))
    rows = b"".join(b"\0" + row.tobytes() for row in big)
    return b"".join(
        [b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", header), *chunks,
         chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    )  # fmt: skip


def make_tiff(array: NDArray[Any], orientation: int = 1, extra: int = 2, order: str = "<") -> bytes:
    """(H, W) or (H, W, 3 | 4), uint8 or uint16, as an uncompressed TIFF of one strip."""
    H, W = array.shape[:2]
    channels = array.shape[2] if array.ndim == 3 else 1
    bits = array.dtype.itemsize * 8
    data = array.astype(array.dtype.newbyteorder(order)).tobytes()
    tags: list[tuple[int, list[int]]] = [
        (256, [W]), (257, [H]), (258, [bits] * channels), (259, [1]),
        (262, [1 if channels == 1 else 2]), (273, [0]), (274, [orientation]), (277, [channels]),
        (278, [H]), (279, [len(data)]),
    ]  # fmt: skip
    if channels == 4:
        tags.append((338, [extra]))
    after = 8 + 2 + 12 * len(tags) + 4
    long_values = b""
    entries = b""
    for tag, values in tags:
        if tag == 273:
            values = [after + 2 * (channels if channels > 2 else 0)]
        if len(values) > 2:  # too long for the entry itself
            where = after + len(long_values)
            long_values += struct.pack(f"{order}{len(values)}H", *values)
            entries += struct.pack(order + "HHII", tag, 3, len(values), where)
        else:
            entries += struct.pack(order + "HHII", tag, 4, 1, values[0])
    mark = b"II*\0" if order == "<" else b"MM\0*"
    head = mark + struct.pack(order + "IH", 8, len(tags)) + entries + bytes(4)
    return head + long_values + data


def make_exif(orientation: int = 1) -> PIL.Image.Exif:
    exif = PIL.Image.Exif()
    exif[315] = "Ada"  # artist
    exif[0x0112] = orientation
    exif.get_ifd(0x8769)[0x8827] = 400  # ISO speed
    exif.get_ifd(0x8825)[1] = "N"  # latitude
    exif[0x8769], exif[0x8825] = exif.get_ifd(0x8769), exif.get_ifd(0x8825)
    return exif


def save(image: PIL.Image.Image, kind: str, **settings: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **settings)
    return file.getvalue()


def encoded(
    samples: NDArray[Any],
    kind: str,
    quality: int = 95,
    effort: Effort = "fast",
    metadata: Metadata | None = None,
) -> bytes:
    pieces = encode([Raster(samples)], kind, metadata=metadata, quality=quality, effort=effort)
    return b"".join(pieces)


def read(source: Any, **settings: Any) -> Picture:
    """Read a still picture, and make sure that it is one."""
    (picture,) = load_frames(source, **settings)
    return picture


sizes = st.tuples(st.integers(1, 40), st.integers(1, 40))


@st.composite
def samples_of(draw: st.DrawFn) -> NDArray[Any]:
    """An array of any size, depth and number of channels."""
    channels = draw(st.sampled_from([(), (3,), (4,)]))
    return draw(arrays(draw(st.sampled_from([np.uint8, np.uint16])), (*draw(sizes), *channels)))
