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


def make_profile(space: bytes, kind: bytes, pcs: bytes, tags: dict[bytes, bytes]) -> bytes:
    """Build an ICC profile of version 2."""
    d50 = struct.pack(">3i", 63190, 65536, 54061)
    tags = {b"wtpt": b"XYZ " + bytes(4) + d50, **tags}
    table, data, start = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        table += name + struct.pack(">II", start + len(data), len(content))
        data += content + bytes(-len(content) % 4)
    header = struct.pack(">I4sI4s4s4s12x4s", start + len(data), b"lcms", 0x02400000, kind, space,
                         pcs, b"acsp") + bytes(28) + d50  # fmt: skip
    return header.ljust(128, b"\0") + table + data


def fixed(*values: float) -> bytes:
    return struct.pack(f">{len(values)}i", *[round(value * 65536) for value in values])


def gamma(value: float) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(value * 256))


def table(*levels: int) -> bytes:
    return b"curv" + bytes(4) + struct.pack(f">I{len(levels)}H", len(levels), *levels)


def parametric(kind: int, *values: float) -> bytes:
    return b"para" + bytes(4) + struct.pack(">HH", kind, 0) + fixed(*values)


def make_rgb(curve: bytes, *columns: tuple[float, float, float], **more: bytes) -> bytes:
    """A profile by curve and the CIE XYZ of red, green and blue under D50."""
    tags = {name: b"XYZ " + bytes(4) + fixed(*column)
            for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), columns, strict=True)}  # fmt: skip
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    tags |= {name.encode(): value for name, value in more.items()}
    return make_profile(b"RGB ", b"mntr", b"XYZ ", tags)


SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
ADOBE_RGB = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
PROFILES: dict[str, bytes | None] = {
    "none": None,
    "sRGB": SRGB,
    "AdobeRGB": make_rgb(gamma(563 / 256), *ADOBE_RGB),
    "P3": make_rgb(
        parametric(3, *SRGB_CURVE),
        (0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407),
    ),
    "ProPhoto": make_rgb(
        gamma(1.8),
        (0.79767, 0.28804, 0.0), (0.13519, 0.71188, 0.0), (0.03134, 0.00009, 0.82491),
    ),
    "table": make_rgb(
        table(*[round(65535 * (level / 99) ** 2) for level in range(100)]), *ADOBE_RGB
    ),
}  # fmt: skip


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
