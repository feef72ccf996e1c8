"""Colour profiles: numbers of one are brought to another, so that colours that meet look right.

The intent is relative colorimetric with black point compensation: white stays white, black black.
8 bits are LittleCMS's work, through Pillow, which has no 16-bit RGB; those are computed here from
the profiles' curves and matrices, as ICC.1:2022 defines them.
"""

import functools
import io
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from alphacut.pipeline.image import Image, to_depth

_ROWS = 256
_LEVELS = 65536
_ROUNDING = 1e-3  # of the profiles' numbers, which sum up to white
_GREY = b"GRAY"
_TABLES = (b"A2B0", b"A2B1", b"B2A0", b"B2A1", b"D2B0", b"D2B1", b"B2D0", b"B2D1")
# Numbers of each type of parametric curve (ICC.1:2022, 10.18)
_PARAMETERS = {0: 1, 1: 3, 2: 4, 3: 5, 4: 7}


def convert_profile(image: Image, source: bytes | None, target: bytes | None) -> Image:
    """Bring colours from one profile to another.

    8 bits are LittleCMS's to the bit. 16 bits differ from its exact computation by rounding alone;
    its fast one, for 8 bits, errs by up to 3 levels next to black in RGB, and by more in grey. With
    profiles made of tables, 16 bits go through 8.

    Args:
        image: (H, W, 3) uint8 or uint16. Of a grey profile, all three channels are the grey.
        source: The image's ICC profile, RGB or grey; None for sRGB.
        target: The RGB profile wanted; None for sRGB.

    Returns:
        (H, W, 3) of the same dtype; the image itself if the profiles are alike to within one level
        of 8 bits, or if one cannot be read.
    """
    if source == target or not _differ(source, target):
        return image
    convert: Callable[[Image], Image] = _convert_8_bits(source, target)
    if image.dtype == np.uint16:
        of, to = _read_profile(source), _read_profile(target)
        if of and to:
            convert = functools.partial(_convert_16_bits, of, to)
        else:
            convert = functools.partial(_convert_through_8_bits, convert)
    converted = np.empty(image.shape, image.dtype)
    for top in range(0, len(image), _ROWS):  # in bands: Pillow's images and floats need more memory
        converted[top : top + _ROWS] = convert(image[top : top + _ROWS])
    return converted


# --- by LittleCMS --------------------------------------------------------------------------------


@functools.lru_cache(maxsize=8)
def _convert_8_bits(source: bytes | None, target: bytes | None) -> Callable[[Image], Image]:
    """Build a transform; `PyCMSError` or `OSError` says that a profile is broken."""
    from PIL import ImageCms

    def open_profile(profile: bytes | None) -> Any:
        if profile is None:
            return ImageCms.createProfile("sRGB")
        return ImageCms.ImageCmsProfile(io.BytesIO(profile))

    mode = "L" if source is not None and source[16:20] == _GREY else "RGB"
    transform = ImageCms.buildTransform(
        open_profile(source), open_profile(target), mode, "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )  # fmt: skip

    def convert(image: Image) -> Image:
        samples = np.ascontiguousarray(image[..., 0] if mode == "L" else image)
        converted = ImageCms.applyTransform(PIL.Image.fromarray(samples), transform)
        return np.asarray(converted)

    return convert


@functools.lru_cache(maxsize=64)
def _differ(source: bytes | None, target: bytes | None) -> bool:
    """Tell whether a conversion changes greys and a grid of colours by more than rounding does."""
    from PIL import ImageCms

    greys = np.repeat(np.arange(256, dtype=np.uint8), 3).reshape(1, 256, 3)
    cube = np.stack(np.meshgrid(*[np.arange(0, 256, 51, dtype=np.uint8)] * 3), axis=-1)
    probe = np.concatenate([greys, cube.reshape(1, -1, 3)], axis=1)
    if source is not None and source[16:20] == _GREY:
        probe = greys
    try:
        converted = _convert_8_bits(source, target)(probe)
    except (ImageCms.PyCMSError, OSError):  # a broken profile says no more than none
        return False
    return bool(np.abs(converted.astype(int) - probe).max() > 1)


def _convert_through_8_bits(convert: Callable[[Image], Image], image: Image) -> Image:
    return to_depth(convert(to_depth(image, np.uint8)), np.uint16)


# --- by curves and matrices ----------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Profile:
    """What a profile without tables says.

    Attributes:
        curves: (3, 65536) float32, the light in [0, 1] of each level of red, green and blue.
        levels: (3, 65536) uint16, the level for the square of each 65535th of light: squares, since
            curves are steep next to black.
        matrix: (3, 3) from their light to CIE XYZ under D50; None for grey.
    """

    curves: NDArray[np.float32]
    levels: NDArray[np.uint16]
    matrix: NDArray[np.float64] | None


def _convert_16_bits(source: _Profile, target: _Profile, image: Image) -> Image:
    light = np.stack([source.curves[channel][image[..., channel]] for channel in range(3)], axis=-1)
    if source.matrix is not None and target.matrix is not None:
        matrix = np.linalg.solve(target.matrix, source.matrix)
        white = matrix.sum(axis=1, keepdims=True)
        if np.abs(white - 1).max() < _ROUNDING:
            matrix /= white
        light = light @ matrix.T.astype(np.float32)
    roots = np.sqrt(np.clip(light, 0, 1)) * np.float32(_LEVELS - 1) + np.float32(0.5)
    places = roots.astype(np.uint16)
    levels = [target.levels[channel][places[..., channel]] for channel in range(3)]
    return np.stack(levels, axis=-1)


@functools.lru_cache(maxsize=8)
def _read_profile(profile: bytes | None) -> _Profile | None:
    """Read curves and matrix; None if the profile works by tables or is malformed."""
    if profile is None:
        from PIL import ImageCms

        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    try:
        tags = {}
        for number in range(struct.unpack_from(">I", profile, 128)[0]):
            name, start, length = struct.unpack_from(">4sII", profile, 132 + 12 * number)
            tags[name] = profile[start : start + length]
        if any(table in tags for table in _TABLES):
            return None
        if profile[16:20] == _GREY:
            curves = np.stack([_read_curve(tags[b"kTRC"])] * 3)
            return _Profile(curves, _invert(curves), None)
        curves = np.stack([_read_curve(tags[name]) for name in (b"rTRC", b"gTRC", b"bTRC")])
        columns = [struct.unpack_from(">3i", tags[name], 8) for name in (b"rXYZ", b"gXYZ", b"bXYZ")]
        matrix = np.array(columns).T / 65536
        np.linalg.inv(matrix)
        return _Profile(curves, _invert(curves), matrix)
    except (struct.error, KeyError, ValueError, np.linalg.LinAlgError):
        return None


def _invert(curves: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Return the nearest levels for squares of light."""
    light = np.linspace(0, 1, _LEVELS) ** 2
    levels = [np.rint(np.interp(light, curve, np.arange(_LEVELS))) for curve in curves]
    return np.stack(levels).astype(np.uint16)


def _read_curve(tag: bytes) -> NDArray[np.float32]:
    """Return the light in [0, 1] of each 16-bit level.

    Raises:
        ValueError: if it is no curve, or does not rise.
    """
    level = np.linspace(0, 1, _LEVELS)
    if tag[:4] == b"curv":
        count = struct.unpack_from(">I", tag, 8)[0]
        if count == 0:
            light = level
        elif count == 1:
            light = level ** (struct.unpack_from(">H", tag, 12)[0] / 256)
        else:
            table = np.frombuffer(tag, ">u2", count, 12) / 65535
            light = np.interp(level, np.linspace(0, 1, count), table)
    elif tag[:4] == b"para":
        kind = struct.unpack_from(">H", tag, 8)[0]
        if kind not in _PARAMETERS:
            raise ValueError(f"parametric curve of type {kind}")
        given = [number / 65536 for number in struct.unpack_from(f">{_PARAMETERS[kind]}i", tag, 12)]
        with np.errstate(all="ignore"):  # numbers of a broken profile; seen below
            light = _parametric(level, kind, *given)
    else:
        raise ValueError(f"{tag[:4]!r} is no curve")
    if not (light[0] < 1 and np.all(np.diff(light) >= 0)):
        raise ValueError("a curve that does not rise")
    light = (light - light[0]) / (1 - light[0])  # black point compensation
    return np.asarray(np.clip(light, 0, 1), np.float32)


def _parametric(
    level: NDArray[np.float64],
    kind: int,
    gamma: float,
    a: float = 1.0,
    b: float = 0.0,
    c: float = 0.0,
    d: float = 0.0,
    e: float = 0.0,
    f: float = 0.0,
) -> NDArray[np.float64]:
    """Evaluate a parametric curve: a power above a point, a line or a constant below it."""
    if kind == 2:
        e = f = c
    if kind in (1, 2):
        c, d = 0.0, (-b / a if a else 0.0)
    if kind == 0:
        d = 0.0
    above = np.power(np.maximum(a * level + b, 0), gamma) + e
    return np.where(level >= d, above, c * level + f)
