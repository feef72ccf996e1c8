"""Colours are brought from one profile to another as LittleCMS does it."""

import io
import itertools
from typing import Any

import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray
from PIL import ImageCms

from alphacut.pipeline.profile import convert_profile
from made import (
    ADOBE_RGB,
    PROFILES,
    SRGB,
    SRGB_CURVE,
    fixed,
    gamma,
    make_profile,
    make_rgb,
    parametric,
)

GREYS = {
    name: make_profile(b"GRAY", b"mntr", b"XYZ ", {b"kTRC": curve})
    for name, curve in {"linear": gamma(1), "1.8": gamma(1.8), "sRGB": parametric(3, *SRGB_CURVE)}
    .items()
}  # fmt: skip
COLOURS = np.random.default_rng(1).integers(0, 256, (300, 40, 3)).astype(np.uint8)
COLOURS[:256, 0] = np.arange(256)[:, np.newaxis]


def by_littlecms(image: NDArray[Any], *profiles: bytes | None, exact: bool = False) -> NDArray[Any]:
    opened = [
        ImageCms.createProfile("sRGB") if one is None else ImageCms.ImageCmsProfile(io.BytesIO(one))
        for one in profiles
    ]
    grey = (profiles[0] or b"")[16:20] == b"GRAY"
    flags = ImageCms.Flags.BLACKPOINTCOMPENSATION
    converted = ImageCms.profileToProfile(
        PIL.Image.fromarray(np.ascontiguousarray(image[..., 0]) if grey else image), *opened,
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC, outputMode="RGB",
        flags=flags | ImageCms.Flags.NOOPTIMIZE if exact else flags,
    )  # fmt: skip
    return np.asarray(converted, np.float64)


@pytest.mark.parametrize(("source", "target"), [*itertools.product(PROFILES, PROFILES)])
def test_colours_are_those_of_littlecms(source: str, target: str) -> None:
    profiles = PROFILES[source], PROFILES[target]
    before = COLOURS.copy()
    converted = convert_profile(COLOURS, *profiles)
    assert converted.dtype == np.uint8
    np.testing.assert_allclose(converted, by_littlecms(COLOURS, *profiles), atol=1)

    deep = convert_profile(COLOURS.astype(np.uint16) * 257, *profiles)
    assert deep.dtype == np.uint16
    # 8 bits are computed in haste, which costs up to 3 levels next to black
    exact = by_littlecms(COLOURS, PROFILES[source] or SRGB, PROFILES[target] or SRGB, exact=True)
    np.testing.assert_allclose(deep / 257, exact, atol=1.3)
    np.testing.assert_array_equal(COLOURS, before)


@pytest.mark.parametrize(("source", "target"), [*itertools.product(GREYS, PROFILES)])
def test_greys_are_those_of_littlecms(source: str, target: str) -> None:
    grey = np.repeat(COLOURS[..., :1], 3, axis=2)
    profiles = GREYS[source], PROFILES[target]
    converted = convert_profile(grey, *profiles)
    np.testing.assert_allclose(converted, by_littlecms(grey, *profiles), atol=1)
    exact = by_littlecms(grey, GREYS[source], PROFILES[target] or SRGB, exact=True)
    deep = convert_profile(grey.astype(np.uint16) * 257, *profiles)
    np.testing.assert_allclose(deep / 257, exact, atol=1.3)


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_white_and_black_stay(name: str, dtype: Any) -> None:
    ends = np.array([[[0] * 3, [np.iinfo(dtype).max] * 3]], dtype)
    for profiles in ((None, PROFILES[name]), (PROFILES[name], None)):
        converted = convert_profile(ends, *profiles)
        np.testing.assert_array_equal(converted, ends)


def test_a_known_colour() -> None:
    colour = np.array([[[0x81, 0xD4, 0xFA]]], np.uint8)
    converted = convert_profile(colour, None, PROFILES["AdobeRGB"])
    np.testing.assert_allclose(converted, [[[157, 211, 248]]], atol=1)


@pytest.mark.parametrize(
    ("kind", "values"),
    [(0, (2.0,)), (1, (2.0, 0.8, 0.2)), (2, (2.0, 0.8, 0.1, 0.05)), (3, SRGB_CURVE),
     (4, (2.0, 0.8, 0.1, 0.2, 0.1, 0.05, 0.01))],
)  # fmt: skip
def test_all_parametric_curves(kind: int, values: tuple[float, ...]) -> None:
    profile = make_rgb(parametric(kind, *values), *ADOBE_RGB)
    deep = convert_profile(COLOURS.astype(np.uint16) * 257, profile, None)
    np.testing.assert_allclose(deep / 257, by_littlecms(COLOURS, profile, SRGB, exact=True), atol=1)


def test_profiles_that_are_alike_change_nothing() -> None:
    for source, target in ((None, None), (SRGB, SRGB), (SRGB, None), (None, SRGB)):
        for image in (COLOURS, COLOURS.astype(np.uint16)):
            assert convert_profile(image, source, target) is image


@pytest.mark.parametrize("broken", [b"", b"rubbish", SRGB[:200], SRGB[:128]])
def test_a_broken_profile_says_no_more_than_none(broken: bytes) -> None:
    for image in (COLOURS, COLOURS.astype(np.uint16)):
        assert convert_profile(image, broken, None) is image
        assert convert_profile(image, None, broken) is image


def test_profiles_of_tables_are_left_to_littlecms() -> None:
    """A profile whose curves LittleCMS does not use, because it has a table as well."""
    lut = b"mft1" + bytes(4) + bytes([3, 3, 2, 0]) + fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
    lut += bytes(range(256)) * 3 + bytes(corner for index in range(8) for corner in (
        255 * (index >> 2 & 1), 128, 128)) + bytes(range(256)) * 3  # fmt: skip
    tags = {b"A2B0": lut, b"B2A0": lut}
    profile = make_profile(b"RGB ", b"mntr", b"Lab ", tags)
    expected = by_littlecms(COLOURS, profile, None)
    np.testing.assert_array_equal(convert_profile(COLOURS, profile, None), expected)
    deep = convert_profile(COLOURS.astype(np.uint16) * 257, profile, None)
    np.testing.assert_array_equal(deep / 257, expected)
