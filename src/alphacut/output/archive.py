"""Formats that hold several images in one file: zip with colours and alpha, and OpenRaster."""

import io
import zipfile
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from alphacut.options import Effort, Options
from alphacut.output.composite import Layers
from alphacut.output.encode import Raster, encode, quantise
from alphacut.pipeline import image as images
from alphacut.pipeline.image import Metadata, downscale_to
from alphacut.pipeline.profile import convert_profile

ARCHIVES = ("zip", "ora")
_THUMBNAIL_PX = 256


def encode_archive(
    layers: Layers,
    kind: str,
    *,
    alphas: Sequence[NDArray[np.float32]] = (),
    metadata: Metadata | None = None,
    linear_light: bool = Options.linear_light,
    quality: int = Options.file_quality,
    effort: Effort = Options.png,
) -> memoryview:
    """Encode layers as one file.

    Args:
        layers: What the file holds.
        kind: "zip", color.jpg with every pixel filled and alpha.png in 8-bit grey, both named and
            ordered as in remove.bg's zip format, which programs look up; or "ora", OpenRaster,
            which GIMP, Krita and MyPaint open.
        alphas: (H, W) float32 in [0, 1] of each subject, which get a layer each in ora.
        metadata: What to say about the pixels.
        linear_light: How the layers are merged; see `Layers.flatten`.
        quality: 1..100, of the JPEG.
        effort: How hard the PNGs are compressed; see `encode`.

    Returns:
        The file's bytes.
    """
    metadata = metadata or Metadata()
    if kind == "zip":
        return _encode_zip(layers, metadata, linear_light, quality, effort)
    return _encode_ora(layers, alphas, metadata, linear_light, effort)


def _encode_zip(
    layers: Layers, metadata: Metadata, linear_light: bool, quality: int, effort: Effort
) -> memoryview:
    if layers.background is None and layers.shadow is None:
        colours, alpha = layers.foreground, quantise(layers.alpha)
    else:
        merged = images.to_depth(layers.flatten(linear_light=linear_light).samples, np.uint8)
        opaque = merged.shape[2] == 3
        alpha = np.full(merged.shape[:2], 255, np.uint8) if opaque else merged[..., 3]
        colours = merged[..., :3]
    return _pack([
        ("color.jpg", encode([Raster(colours)], "jpg", metadata=metadata, quality=quality)),
        ("alpha.png", encode([Raster(alpha)], "png", metadata=Metadata(dpi=metadata.dpi),
                             effort=effort)),
    ])  # fmt: skip


def _encode_ora(
    layers: Layers,
    alphas: Sequence[NDArray[np.float32]],
    metadata: Metadata,
    linear_light: bool,
    effort: Effort,
) -> memoryview:
    """Encode as https://www.openraster.org/baseline/file-layout-spec.html says."""
    merged = layers.flatten(linear_light=linear_light).joined()
    thumbnail = images.to_depth(downscale_to(merged, _THUMBNAIL_PX), np.uint8)
    srgb = convert_profile(thumbnail[..., :3], metadata.icc_profile, None)
    thumbnail = np.concatenate([srgb, thumbnail[..., 3:]], axis=2)
    H, W = layers.alpha.shape
    stack, files = "", []
    for index, (name, layer) in enumerate(layers.named(alphas)):
        address = f"data/{index}.png"
        stack += (
            f'<layer name="{name}" src="{address}" x="0" y="0" opacity="1.0" '
            'visibility="visible" composite-op="svg:src-over"/>'
        )
        files.append((address, encode([layer], "png", metadata=metadata, effort=effort)))
    xml = (
        '<?xml version="1.0" encoding="UTF-8"?>'
        f'<image version="0.0.5" w="{W}" h="{H}"><stack>{stack}</stack></image>'
    )
    return _pack([
        ("mimetype", [b"image/openraster"]),  # comes first, as the format demands
        ("stack.xml", [xml.encode()]),
        *files,
        ("mergedimage.png", encode([Raster(merged)], "png", metadata=metadata, effort=effort)),
        ("Thumbnails/thumbnail.png", encode([Raster(thumbnail)], "png", effort=effort)),
    ])  # fmt: skip


def _pack(files: Sequence[tuple[str, Sequence[bytes | memoryview]]]) -> memoryview:
    """Store files without compression: they are compressed already."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for name, pieces in files:
            with archive.open(zipfile.ZipInfo(name), "w") as entry:
                entry.writelines(pieces)
    return packed.getbuffer()
