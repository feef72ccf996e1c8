"""Colour spaces: sRGB's curve, CIE L*a*b*, and profiles."""

import numpy as np
from numpy.typing import NDArray

# From CIE XYZ under D50 to linear sRGB, with Bradford's adaptation to D65 (ICC.1:2022, annex E)
_SRGB_OF_XYZ_D50 = np.array(
    [
        [3.1338561, -1.6168667, -0.4906146],
        [-0.9787684, 1.9161415, 0.0334540],
        [0.0719453, -0.2289914, 1.4052427],
    ],
    np.float32,
)
_D50 = np.array([0.96422, 1.0, 0.82521], np.float32)
_BANDS = 1 << 18


def encode_srgb(light: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return sRGB in [0, 1] for light in [0, 1] (IEC 61966-2-1)."""
    curve = np.float32(1.055) * np.power(light, np.float32(1 / 2.4)) - np.float32(0.055)
    return np.asarray(np.where(light <= 0.0031308, light * np.float32(12.92), curve), np.float32)


def srgb_levels_as_light(white: float) -> NDArray[np.float32]:
    """Return the light in [0, 1] of each sRGB level from 0 to `white` (IEC 61966-2-1)."""
    level = np.arange(white + 1) / white
    light = np.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4)
    return light.astype(np.float32)


def srgb_of_lab(lab: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Convert CIE L*a*b* under D50 to sRGB.

    Args:
        lab: (H, W, 3) float32, L in [0, 100].

    Returns:
        (H, W, 3) uint16; colours outside sRGB are clipped.
    """
    srgb = np.empty(lab.shape, np.uint16)
    flat, out = lab.reshape(-1, 3), srgb.reshape(-1, 3)
    for start in range(0, len(flat), _BANDS):  # in bands: a matrix product needs little memory so
        part = flat[start : start + _BANDS]
        y = (part[:, 0] + 16) / 116
        f = np.stack([y + part[:, 1] / 500, y, y - part[:, 2] / 200], axis=1)
        xyz = _D50 * np.where(f > 6 / 29, f**3, (f - 4 / 29) * (3 * (6 / 29) ** 2))
        light = np.clip(xyz.astype(np.float32) @ _SRGB_OF_XYZ_D50.T, 0, 1)
        out[start : start + _BANDS] = np.rint(encode_srgb(light) * 65535)
    return srgb
