"""Results that are several pictures in one file: zip of colour and alpha, and OpenRaster."""

import io
import zipfile
from collections.abc import Sequence
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray

from alphacut.options import Options
from alphacut.output.encode import encode, quantise
from alphacut.pipeline import image as images
from alphacut.pipeline.image import Metadata, Picture, downscale_to

_THUMBNAIL_PX = 256


def encode_zip(colour: Picture, alpha: NDArray[np.float32], options: Options) -> memoryview:
    """Encode color.jpg, every pixel of it filled, and alpha.png, 8-bit grey, uncompressed.

    The names and the order are those of remove.bg's zip format, which programs look up.

    Args:
        colour: (H, W, 3), not multiplied by alpha.
        alpha: (H, W) float32 in [0, 1].
        options: How; see `encode.encode`.
    """
    grey = Picture(quantise(alpha), None, Metadata(dpi=colour.metadata.dpi))
    return _archive([
        ("color.jpg", encode([colour], "jpg", options)),
        ("alpha.png", encode([grey], "png", options)),
    ])  # fmt: skip


def encode_ora(
    layers: Sequence[tuple[str, Picture]], merged: Picture, options: Options
) -> memoryview:
    """Encode layers as OpenRaster, which GIMP, Krita and MyPaint open.

    Args:
        layers: Name and picture (H, W, 4) of each, the upper ones first.
        merged: What they look like together, for programs that know no layers.
        options: How; see `encode.encode`.

    Source: https://www.openraster.org/baseline/file-layout-spec.html
    """
    H, W = merged.image.shape[:2]
    stack = "".join(
        f'<layer name={quoteattr(name)} src="data/{index}.png" x="0" y="0" opacity="1.0" '
        'visibility="visible" composite-op="svg:src-over"/>'
        for index, (name, _) in enumerate(layers)
    )
    xml = (
        '<?xml version="1.0" encoding="UTF-8"?>'
        f'<image version="0.0.5" w="{W}" h="{H}"><stack>{stack}</stack></image>'
    )
    small = Picture(images.to_depth(downscale_to(merged.image, _THUMBNAIL_PX), np.uint8))
    pictures = [(f"data/{index}.png", picture) for index, (_, picture) in enumerate(layers)]
    pictures += [("mergedimage.png", merged), ("Thumbnails/thumbnail.png", small)]
    entries: list[tuple[str, Sequence[bytes | memoryview]]] = [
        ("mimetype", [b"image/openraster"]),  # comes first, as the format wants it
        ("stack.xml", [xml.encode()]),
    ]
    return _archive(
        entries + [(name, encode([picture], "png", options)) for name, picture in pictures]
    )


def _archive(entries: Sequence[tuple[str, Sequence[bytes | memoryview]]]) -> memoryview:
    """Store files without compression: they are compressed already."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, pieces in entries:
            with archive.open(zipfile.ZipInfo(name), "w") as entry:
                for piece in pieces:
                    entry.write(piece)
    return file.getbuffer()
