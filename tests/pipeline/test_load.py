"""Pictures in: every mode, depth, orientation and format, and what damaged files do."""

import io
import struct
import sys
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pillow_heif
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import ImageCms

from alphacut.errors import ImageError, MetadataWarning, MissingExtra
from alphacut.output.encode import Raster, encode
from alphacut.pipeline.load import INPUT_SUFFIXES, _identify, describe, load_frames, load_image
from made import (
    COLOUR,
    DURATIONS,
    FRAMES,
    KINDS,
    NOISE,
    SRGB,
    TILE,
    XMP,
    chunk,
    encoded,
    make_exif,
    make_png,
    make_profile,
    make_tiff,
    read,
    samples_of,
    save,
    sizes,
)
from pictures import make_photo

# --- makers -------------------------------------------------------------------------------------


LINEAR_GREY = make_profile(
    b"GRAY", b"mntr", b"XYZ ", {b"kTRC": b"curv" + bytes(4) + struct.pack(">IH", 1, 256)}
)


def make_ink_profile() -> bytes:
    """A CMYK profile of odd inks: full cyan alone prints `COLOUR`, any other ink black."""
    identity = bytes(range(256))
    lab = [(255, 128, 128), *[(0, 128, 128)] * 15]
    lab[0b1000] = (189, 128 + 4, 128 + 13)  # (200, 180, 160) in 8-bit Lab
    lut = b"mft1" + bytes(4) + bytes([4, 3, 2, 0])
    lut += struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    lut += identity * 4 + bytes(value for node in lab for value in node) + identity * 3
    return make_profile(b"CMYK", b"prtr", b"Lab ", {b"A2B0": lut})


# --- orientation --------------------------------------------------------------------------------

# How "ABC DEF" is stored, by the standard's words for rows and columns 0: 6 is "right, top"
STORED = {
    1: "ABC DEF", 2: "CBA FED", 3: "FED CBA", 4: "DEF ABC",
    5: "AD BE CF", 6: "CF BE AD", 7: "FC EB DA", 8: "DA EB FC",
}  # fmt: skip


def letters(words: str, step: int, dtype: Any, block: int = 1) -> NDArray[Any]:
    """Spell an array: A is `step`, B twice that, ...; each letter a square of pixels."""
    values = [[(ord(letter) - 64) * step for letter in word] for word in words.split()]
    return np.kron(np.array(values, dtype), np.ones((block, block), dtype))


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_orientation_of_8_bits(orientation: int, kind: str) -> None:
    stored = PIL.Image.fromarray(letters(STORED[orientation], 40, np.uint8, 16)).convert("RGB")
    data = save(stored, kind, exif=make_exif(orientation), quality=95)
    image = load_image(data)
    expected = letters("ABC DEF", 40, np.uint8, 16)
    assert image.shape == (32, 48, 3)
    middle = np.s_[8::16, 8::16]
    np.testing.assert_allclose(image[..., 0][middle], expected[middle], atol=4)


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("keep_depth", [True, False])
def test_orientation_of_16_bits(orientation: int, channels: int, keep_depth: bool) -> None:
    grey = letters(STORED[orientation], 8224, np.uint16)
    stored = grey if channels == 1 else np.dstack([grey, grey // 2, grey // 4, grey][:channels])
    expected = letters("ABC DEF", 8224 if keep_depth else 32, np.uint16)
    exif = make_exif(orientation).tobytes().removeprefix(b"Exif\0\0")
    for data in (
        make_png(stored, chunk(b"eXIf", exif)),
        make_tiff(stored, orientation),
        make_tiff(stored, orientation, order=">"),
    ):
        np.testing.assert_array_equal(load_image(data, keep_depth=keep_depth)[..., 0], expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("orientation", [6, 2])
def test_orientation_is_applied_once(orientation: int, kind: str) -> None:
    stored = PIL.Image.fromarray(letters(STORED[orientation], 40, np.uint8, 16)).convert("RGB")
    data = save(stored, "JPEG", exif=make_exif(orientation), xmp=XMP % orientation, quality=95)
    picture = read(data)
    output = encoded(picture.image, kind, metadata=picture.metadata)

    with PIL.Image.open(io.BytesIO(output)) as again:
        assert again.getexif().get(0x0112, 1) == 1
        assert again.getexif()[315] == "Ada"
        xmp = again.info["xmp"]
        assert b"boat" in xmp
        assert b"Orientation" not in xmp
        assert again.size == (48, 32)
    middle = np.s_[8::16, 8::16]
    np.testing.assert_allclose(
        load_image(output)[..., 0][middle], letters("ABC DEF", 40, np.uint8), atol=8
    )


def make_xmp_chunk(xmp: bytes) -> bytes:
    return chunk(b"iTXt", b"XML:com.adobe.xmp" + bytes(5) + xmp)


def test_orientation_in_xmp_alone() -> None:
    stored = letters(STORED[8], 40, np.uint8)
    picture = read(make_png(stored, make_xmp_chunk(XMP % 8)))
    np.testing.assert_array_equal(picture.image[..., 0], letters("ABC DEF", 40, np.uint8))
    assert picture.metadata.xmp is not None
    assert b"boat" in picture.metadata.xmp
    assert b"Orientation" not in picture.metadata.xmp


# --- metadata -----------------------------------------------------------------------------------


@pytest.mark.parametrize("target", KINDS)
@pytest.mark.parametrize("source", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF"])
def test_metadata_survive(source: str, target: str) -> None:
    photo = PIL.Image.fromarray(make_photo())
    exif = make_exif()
    if source == "TIFF":
        exif[700] = XMP % 1
    facts = {"icc_profile": SRGB, "exif": exif, "xmp": XMP % 1, "dpi": (300, 300)}
    data = save(photo, source, **facts)
    if source == "PNG":  # Pillow writes no XMP there
        data = data[:33] + make_xmp_chunk(XMP % 1) + data[33:]
    picture = read(data)
    output = encoded(picture.image, target, metadata=picture.metadata)

    with PIL.Image.open(io.BytesIO(output)) as again:
        assert again.info["icc_profile"] == SRGB
        exif = again.getexif()
        assert exif[315] == "Ada"
        assert exif.get_ifd(0x8769)[0x8827] == 400
        assert exif.get_ifd(0x8825)[1] == "N"
        assert b"boat" in again.info["xmp"]
        if "WEBP" not in (source, target.upper()) and "AVIF" not in (source, target.upper()):
            assert again.info["dpi"] == pytest.approx((300, 300), abs=0.01)
    assert read(output).metadata.icc_profile == SRGB


def test_a_tiff_that_says_no_density_gets_none() -> None:
    assert read(make_tiff(make_photo())).metadata.dpi is None


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("exif", [b"rubbish, not TIFF", b"II*\0\x08\0\0\0\xff\xff"])
def test_damaged_exif_does_not_stop_a_picture(exif: bytes) -> None:
    data = save(PIL.Image.fromarray(make_photo()), "JPEG", exif=b"Exif\0\0" + exif)
    assert load_image(data).shape == (48, 64, 3)


def test_profile_of_grey_is_not_attached_to_rgb() -> None:
    grey = np.full((4, 4), 128, np.uint8)
    iccp = chunk(b"iCCP", b"grey\0\0" + zlib.compress(LINEAR_GREY))
    for array in (grey, grey.astype(np.uint16) * 257):
        assert read(make_png(array, iccp)).metadata.icc_profile is None


def test_profile_of_grey_is_applied() -> None:
    # half of the light is 188 in sRGB, 255 * (1.055 * 0.502 ** (1 / 2.4) - 0.055)
    grey = PIL.Image.new("L", (4, 4), 128)
    picture = read(save(grey, "PNG", icc_profile=LINEAR_GREY))
    np.testing.assert_allclose(picture.image, 188, atol=1)

    grey.putalpha(100)
    picture = read(save(grey, "PNG", icc_profile=LINEAR_GREY))
    np.testing.assert_allclose(picture.image, 188, atol=1)
    assert picture.alpha is not None
    np.testing.assert_array_equal(picture.alpha, 100)


@pytest.mark.parametrize("alpha", [False, True])
def test_profile_of_16_bit_grey_is_applied(alpha: bool) -> None:
    grey = np.full((4, 4, 2), 128 * 257, np.uint16)
    stored = grey if alpha else grey[..., 0]
    iccp = chunk(b"iCCP", b"grey\0\0" + zlib.compress(LINEAR_GREY))
    for data in (make_png(stored, iccp), save(PIL.Image.fromarray(grey[..., 0]), "TIFF",
                                              icc_profile=LINEAR_GREY)):  # fmt: skip
        picture = read(data)
        assert picture.image.dtype == np.uint16
        np.testing.assert_allclose(picture.image / 257, 188, atol=1)
        assert picture.metadata.icc_profile is None


def test_broken_profile_does_not_stop_a_picture() -> None:
    data = save(PIL.Image.new("L", (4, 4), 128), "PNG", icc_profile=LINEAR_GREY[:140])
    with pytest.warns(MetadataWarning, match="bytes: broken metadata dropped"):
        picture = read(data)
    np.testing.assert_array_equal(picture.image, 128)


# --- depth --------------------------------------------------------------------------------------

MAKERS: dict[str, Callable[[NDArray[Any]], bytes]] = {
    "png": make_png,
    "tiff": make_tiff,
    "big-endian tiff": lambda array: make_tiff(array, order=">"),
}


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_16_bits_are_kept_or_rounded(maker: str, channels: int) -> None:
    array = TILE[..., 0] if channels == 1 else TILE[..., :channels]
    deep, flat = (read(MAKERS[maker](array), keep_depth=keep) for keep in (True, False))
    colours = np.repeat(TILE[..., :1], 3, axis=2) if channels == 1 else TILE[..., :3]
    assert deep.image.dtype == np.uint16
    assert flat.image.dtype == np.uint8
    np.testing.assert_array_equal(deep.image, colours)
    np.testing.assert_array_equal(flat.image, np.rint(colours / 257))
    if channels == 4:
        assert deep.alpha is not None
        assert flat.alpha is not None
        np.testing.assert_array_equal(deep.alpha, TILE[..., 3])
        np.testing.assert_array_equal(flat.alpha, np.rint(TILE[..., 3] / 257))


def test_8_bits_stay_8(photo: NDArray[np.uint8]) -> None:
    for data in (make_png(photo), make_tiff(photo)):
        image = load_image(data)
        assert image.dtype == np.uint8
        np.testing.assert_array_equal(image, photo)


def test_premultiplied_tiff_becomes_straight() -> None:
    stored = np.array([[[25700, 23130, 20560, 32768], [0, 0, 0, 0]]], np.uint16)
    picture = read(make_tiff(stored, extra=1))
    np.testing.assert_allclose(picture.image[0, 0], np.multiply(COLOUR, 257), atol=3)
    picture = read(make_tiff(stored, extra=1), keep_depth=False)
    np.testing.assert_allclose(picture.image[0, 0], COLOUR, atol=1)


@pytest.mark.parametrize(("value", "white"), [(0.5, 1), (100.0, 255), (30000.0, 65535)])
def test_floats_have_the_white_that_holds_them(value: float, white: float) -> None:
    numbers = np.full((2, 2), value, np.float32)
    numbers[0, 0] = np.nan
    image = load_image(PIL.Image.fromarray(numbers))
    assert image[1, 1, 0] == round(value / white * 65535)
    assert image[0, 0, 0] == 0


# --- colour modes -------------------------------------------------------------------------------


def make_mode(mode: str) -> PIL.Image.Image:
    """A picture of `COLOUR`, or of its grey where the mode has no colour, at half alpha if any."""
    rgb = PIL.Image.new("RGB", (4, 3), COLOUR)
    if mode == "LAB":
        profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        lab = ImageCms.profileToProfile(rgb, *profiles, outputMode="LAB")
        assert lab is not None
        return lab
    if mode == "1":  # knows black and white only
        return PIL.Image.new("1", (4, 3), 1)
    if mode == "P":
        return rgb.quantize(4)
    if mode in ("PA", "RGBA", "RGBa"):
        rgb.putalpha(128)
        return rgb.quantize(4).convert("PA") if mode == "PA" else rgb.convert(mode)
    if mode in ("LA", "La"):
        rgb = rgb.convert("L")
        rgb.putalpha(128)
        return rgb.convert(mode)
    if mode.startswith("I;16"):
        return PIL.Image.new(mode, (4, 3), 184 * 257)
    return rgb.convert(mode)


GREY = (184, 184, 184)  # 0.299 R + 0.587 G + 0.114 B


@pytest.mark.parametrize(
    ("mode", "colour", "tolerance"),
    [
        ("1", (255, 255, 255), 0),
        ("L", GREY, 0),
        ("LA", GREY, 0),
        ("La", GREY, 1),
        ("P", COLOUR, 0),
        ("PA", COLOUR, 0),
        ("RGB", COLOUR, 0),
        ("RGBX", COLOUR, 0),
        ("RGBA", COLOUR, 0),
        ("RGBa", COLOUR, 1),
        ("CMYK", COLOUR, 0),
        ("YCbCr", COLOUR, 2),
        ("LAB", COLOUR, 1),
        ("HSV", COLOUR, 1),
        ("I", GREY, 0),
        ("I;16", GREY, 0),
        ("I;16L", GREY, 0),
        ("I;16B", GREY, 0),
        ("F", GREY, 1),
    ],
)
def test_modes(mode: str, colour: tuple[int, int, int], tolerance: int) -> None:
    source = make_mode(mode)
    before = source.mode, source.tobytes(), dict(source.info)
    picture = read(source, keep_depth=False)
    assert picture.image.shape == (3, 4, 3)
    assert picture.image.dtype == np.uint8
    np.testing.assert_allclose(picture.image, np.broadcast_to(colour, (3, 4, 3)), atol=tolerance)
    if "A" in mode.upper() and mode != "LAB":
        assert picture.alpha is not None
        np.testing.assert_array_equal(picture.alpha, 128)
    else:
        assert picture.alpha is None
    assert (source.mode, source.tobytes(), dict(source.info)) == before


@pytest.mark.parametrize(
    ("mode", "kind"), [("CMYK", "JPEG"), ("CMYK", "TIFF"), ("YCbCr", "JPEG"), ("LAB", "TIFF")]
)
def test_modes_in_files(mode: str, kind: str) -> None:
    data = save(make_mode(mode).resize((32, 24)), kind, quality=100)
    np.testing.assert_allclose(load_image(data)[12, 16], COLOUR, atol=3)


def test_cmyk_by_its_profile() -> None:
    cyan = PIL.Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    assert load_image(cyan)[8, 8].tolist() == [0, 255, 255]
    for kind in ("TIFF", "JPEG"):
        picture = read(save(cyan, kind, icc_profile=make_ink_profile(), quality=100))
        np.testing.assert_allclose(picture.image[8, 8], COLOUR, atol=4)
        assert picture.metadata.icc_profile is None


@pytest.mark.parametrize("keep_depth", [True, False])
def test_grey_whose_white_is_zero(keep_depth: bool) -> None:
    """A TIFF says so; scanners of film and X-rays write it, of 8 bits and of 16."""
    for dtype in (np.uint8, np.uint16):
        entry = struct.pack("<HHI", 262, 4, 1)
        data = make_tiff(np.zeros((2, 3), dtype))
        inverted = data.replace(entry + struct.pack("<I", 1), entry + bytes(4))
        assert inverted != data
        image = load_image(inverted, keep_depth=keep_depth)
        np.testing.assert_array_equal(image, np.iinfo(image.dtype).max)


def test_transparent_colour_of_a_palette() -> None:
    image = PIL.Image.new("P", (2, 1))
    image.putpalette([*COLOUR, 1, 2, 3])
    image.putdata([0, 1])
    for hidden in (1, bytes([128, 0])):  # one index, or an alpha for each
        picture = read(save(image, "PNG", transparency=hidden))
        assert picture.image[0].tolist() == [list(COLOUR), [1, 2, 3]]
        assert picture.alpha is not None
        assert picture.alpha[0].tolist() == [255 if hidden == 1 else 128, 0]


@pytest.mark.parametrize("allow_truncated", [True, False])
def test_palette_that_is_missing(allow_truncated: bool) -> None:
    image = PIL.Image.new("P", (4, 3))
    image.putpalette(COLOUR)
    data = save(image, "PNG")
    start = data.index(b"PLTE") - 4
    length = struct.unpack_from(">I", data, start)[0]
    data = data[:start] + data[start + 12 + length :]
    with pytest.raises(ImageError, match="PNG without the palette it needs"):
        read(data, allow_truncated=allow_truncated)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("keep_depth", [True, False])
def test_transparent_colour(dtype: Any, channels: int, keep_depth: bool) -> None:
    """One colour of a PNG may stand for transparent, at either depth."""
    array = np.full((1, 2, channels), 77, dtype)
    array[0, 1] = np.iinfo(dtype).max // 2
    hidden = chunk(b"tRNS", struct.pack(">H", 77) * channels)
    data = make_png(array[..., 0] if channels == 1 else array, hidden)
    picture = read(data, keep_depth=keep_depth)
    assert picture.alpha is not None
    assert picture.alpha[0].tolist() == [0, np.iinfo(picture.alpha.dtype).max]


@pytest.mark.parametrize(("bits", "key"), [(1, 0), (1, 1), (2, 2), (4, 9), (8, 200)])
@pytest.mark.parametrize("opened", [False, True])
def test_transparent_level_of_few_bits(bits: int, key: int, opened: bool) -> None:
    """The level is stated in the file's own bits, and samples are read in 8."""
    levels = np.array([[key, key ^ 1]], np.uint8)
    packed = np.packbits(np.unpackbits(levels[..., np.newaxis], axis=2)[..., 8 - bits :])
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, bits, 0, 0, 0, 0))
    hidden, pixels = struct.pack(">H", key), zlib.compress(b"\0" + packed.tobytes())
    data = b"".join([b"\x89PNG\r\n\x1a\n", header, chunk(b"tRNS", hidden),
                     chunk(b"IDAT", pixels), chunk(b"IEND", b"")])  # fmt: skip
    picture = read(PIL.Image.open(io.BytesIO(data)) if opened else data)
    np.testing.assert_array_equal(picture.image[..., 0], levels * (255 // (2**bits - 1)))
    assert picture.alpha is not None
    assert picture.alpha[0].tolist() == [0, 255]


def test_interlaced_png_of_16_bits() -> None:
    """Adam7 by hand: of 1 x 2 pixels the left is in the first pass, the right in the sixth."""
    rows = [struct.pack(">B3H", 0, 1, 258, 65535), struct.pack(">B3H", 0, 4660, 5, 256)]
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 1))
    data = b"".join([b"\x89PNG\r\n\x1a\n", header, chunk(b"IDAT", zlib.compress(b"".join(rows))),
                     chunk(b"IEND", b"")])  # fmt: skip
    assert load_image(data)[0].tolist() == [[1, 258, 65535], [4660, 5, 256]]


def test_grey_with_alpha_of_16_bits() -> None:
    array = TILE[..., :2]
    picture = read(make_png(array))
    np.testing.assert_array_equal(picture.image, np.repeat(array[..., :1], 3, axis=2))
    np.testing.assert_array_equal(picture.alpha, array[..., 1])


def test_alpha_that_hides_nothing_is_none(photo: NDArray[np.uint8]) -> None:
    assert read(PIL.Image.fromarray(photo).convert("RGBA")).alpha is None


# --- animation ----------------------------------------------------------------------------------


def make_animation(kind: str, **settings: Any) -> bytes:
    first, *others = map(PIL.Image.fromarray, FRAMES)
    if kind == "WEBP":
        settings |= {"lossless": True}
    if kind == "PNG":
        settings |= {"blend": 0, "disposal": 0}
    return save(first, kind, save_all=True, append_images=others, duration=DURATIONS, loop=3,
                **settings)  # fmt: skip


@pytest.mark.parametrize("source", ["GIF", "WEBP", "PNG", "AVIF"])
@pytest.mark.parametrize("target", ["png", "webp", "avif"])
def test_animations_keep_frames_durations_and_loop(source: str, target: str) -> None:
    settings = {"disposal": 2} if source == "GIF" else {}
    settings |= {"quality": 100, "subsampling": "4:4:4"} if source == "AVIF" else {}
    pictures = list(load_frames(make_animation(source, **settings)))
    assert [picture.duration_ms for picture in pictures] == DURATIONS
    if source != "AVIF":  # Pillow writes none there
        assert {picture.loop for picture in pictures} == {3}

    frames = []
    for picture, expected in zip(pictures, FRAMES, strict=True):
        assert picture.alpha is not None
        np.testing.assert_array_equal(picture.alpha, expected[..., 3])
        np.testing.assert_allclose(picture.image[2:], expected[2:, :, :3], atol=2)
        frames.append(Raster(picture.image, picture.alpha))
    output = b"".join(
        encode(frames, target, quality=100, durations_ms=DURATIONS, loop=pictures[0].loop)
    )

    again = list(load_frames(output))
    assert [picture.duration_ms for picture in again] == DURATIONS
    if target != "avif":
        assert {picture.loop for picture in again} == {pictures[0].loop}
    for picture, expected in zip(again, FRAMES, strict=True):
        assert picture.alpha is not None
        np.testing.assert_array_equal(picture.alpha, expected[..., 3])
        np.testing.assert_allclose(picture.image[2:], expected[2:, :, :3], atol=3)


def test_default_image_of_a_png_is_no_frame() -> None:
    still = PIL.Image.new("RGBA", (16, 12), (255, 0, 0, 255))
    first, *others = map(PIL.Image.fromarray, FRAMES)
    data = save(still, "PNG", save_all=True, default_image=True, append_images=[first, *others],
                duration=DURATIONS, loop=0, blend=0, disposal=0)  # fmt: skip
    pictures = list(load_frames(data))
    assert [picture.duration_ms for picture in pictures] == DURATIONS
    np.testing.assert_array_equal(pictures[0].image[2:], FRAMES[0][2:, :, :3])
    np.testing.assert_array_equal(load_image(data), pictures[0].image)


def test_an_endless_gif_stays_endless_and_a_single_play_single() -> None:
    first, *others = map(PIL.Image.fromarray, FRAMES)
    for facts, loop in (({"loop": 0}, 0), ({}, 1)):
        data = save(first, "GIF", save_all=True, append_images=others, **facts)
        assert next(load_frames(data)).loop == loop


def test_all_frames_count_against_the_limit() -> None:
    data = make_animation("PNG")  # 3 frames of 12 x 16
    assert len(list(load_frames(data, max_megapixels=0.0006))) == 3
    with pytest.raises(ImageError, match="3 frames"):
        next(load_frames(data, max_megapixels=0.0005))


def test_the_second_picture_of_a_camera_file_is_no_frame(photo: NDArray[np.uint8]) -> None:
    big = PIL.Image.fromarray(photo)
    data = save(big, "MPO", save_all=True, append_images=[big.resize((16, 12))])
    assert read(data).image.shape == photo.shape


# --- HEIC ---------------------------------------------------------------------------------------


def make_heic(photo: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    heif = pillow_heif.from_pillow(PIL.Image.fromarray(photo))
    heif.save(file, quality=95, exif=make_exif().tobytes(), format="HEIF")
    return file.getvalue()


def test_heic(photo: NDArray[np.uint8]) -> None:
    picture = read(make_heic(photo))
    assert np.abs(picture.image.astype(int) - photo).mean() < 3
    assert picture.metadata.exif is not None
    assert b"Ada" in picture.metadata.exif


def test_heic_without_its_reader(photo: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch) -> None:
    data = make_heic(photo)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.delitem(PIL.Image.OPEN, "HEIF", raising=False)
    with pytest.raises(MissingExtra, match=r'pip install "\.\[heif\]"'):
        load_image(data)


# --- JPEG XL ------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", [1, 6])
def test_jpeg_xl(photo: NDArray[np.uint8], orientation: int) -> None:
    """Its decoder turns pixels by the file's head; the EXIF beside it is not obeyed again."""
    pylibjxl = pytest.importorskip("pylibjxl")
    exif = make_exif(orientation).tobytes().removeprefix(b"Exif\0\0")
    data = pylibjxl.encode(photo, lossless=True, exif=exif, xmp=XMP % 1, icc=SRGB)
    picture = read(data)
    np.testing.assert_array_equal(picture.image, photo)
    assert picture.alpha is None
    assert picture.metadata.icc_profile is not None
    assert picture.metadata.exif is not None
    assert b"Ada" in picture.metadata.exif
    again = PIL.Image.Exif()
    again.load(picture.metadata.exif)
    assert again.get(0x0112, 1) == 1


def test_jpeg_xl_with_alpha_damage_and_limit(photo: NDArray[np.uint8]) -> None:
    pylibjxl = pytest.importorskip("pylibjxl")
    data = pylibjxl.encode(np.dstack([photo, photo[..., 0]]), lossless=True)
    picture = read(data)
    np.testing.assert_array_equal(picture.alpha, photo[..., 0])
    with pytest.raises(ImageError, match=r"damaged or truncated JXL .*get the file again"):
        load_image(data[: len(data) // 2])
    with pytest.raises(ImageError, match="above the limit"):
        load_image(data, max_megapixels=0.001)


def test_jpeg_xl_without_its_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pylibjxl", None)
    with pytest.raises(MissingExtra, match=r'pip install "\.\[jxl\]"'):
        load_image(b"\xff\x0a" + bytes(30))


# --- what cannot be read ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"Dear photographer, ...", "is not a picture"),
        (b"\xff\xd8", "is not a picture"),
        (b"BM", "is not a picture"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF\0", "JPEG file cut short"),
        (b"\x89PNG\r\n\x1a\n", "PNG file cut short"),
    ],
)
def test_not_a_picture(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    for source, name in ((path, str(path)), (content, "bytes"), (io.BytesIO(content), "BytesIO")):
        with pytest.raises(ImageError, match=reason) as caught:
            load_image(source)
        assert str(caught.value).startswith(f"{name}: ")


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"none.png: cannot be read: No such file"):
        load_image(tmp_path / "none.png")
    with pytest.raises(ImageError, match="is a folder"):
        load_image(tmp_path)
    with pytest.raises(ImageError, match="cannot be read: embedded null byte"):
        load_image("photo\0.png")


NOISE_DEEP = np.random.default_rng(2).integers(0, 65536, (64, 48, 3)).astype(np.uint16)
CUT = {
    "jpg": save(PIL.Image.fromarray(NOISE), "JPEG", quality=95),
    "png": save(PIL.Image.fromarray(NOISE), "PNG"),
    "16-bit png": make_png(NOISE_DEEP),
    "webp": save(PIL.Image.fromarray(NOISE), "WEBP"),
    "tiff": make_tiff(NOISE),
    "gif": save(PIL.Image.fromarray(NOISE), "GIF"),
    "bmp": save(PIL.Image.fromarray(NOISE), "BMP"),
    "avif": save(PIL.Image.fromarray(NOISE), "AVIF"),
    "jp2": save(PIL.Image.fromarray(NOISE), "JPEG2000"),
}


@pytest.mark.filterwarnings("ignore:Truncated File Read")
@pytest.mark.parametrize("kind", CUT)
@pytest.mark.parametrize("part", [0.02, 0.5, 0.9])
def test_truncated_files_are_refused(kind: str, part: float) -> None:
    data = CUT[kind]
    with pytest.raises(ImageError):
        load_image(data[: int(len(data) * part)])


@pytest.mark.parametrize(
    ("kind", "places"),
    [("png", (30, 40, 46)), ("jpg", (8, 100, 400)), ("webp", (20, 999)), ("avif", (40, 200)),
     ("jp2", (20, 60))],
)  # fmt: skip
def test_what_is_cut_before_its_pixels_is_said_to_be(kind: str, places: tuple[int, ...]) -> None:
    """Whatever the decoder stumbles over: it is no header of unreadable dimensions."""
    data = CUT[kind]
    if kind == "png":
        data = data[:33] + chunk(b"tEXt", b"Author\0Ada") + data[33:]
    for place in places:
        for allow_truncated in (False, True):
            with pytest.raises(ImageError, match="file cut short before its pixels") as error:
                load_image(data[:place], allow_truncated=allow_truncated)
            assert error.value.reason == "unreadable"


def test_an_avif_of_colours_that_libavif_does_not_convert() -> None:
    """BT.2020 with constant luminance, matrix 10, as some HDR files have: it is not damaged."""
    data = CUT["avif"].replace(b"colrnclx\0\1\0\r\0\6", b"colrnclx\0\x09\0\x10\0\x0a")
    assert data != CUT["avif"]
    with pytest.raises(ImageError, match=r"AVIF of a kind that its decoder lacks .*convert it"):
        load_image(data)


def test_an_animation_that_is_cut() -> None:
    frames = [PIL.Image.fromarray(np.roll(NOISE, 9 * n, axis=0)) for n in range(4)]
    file = io.BytesIO()
    frames[0].save(file, "PNG", save_all=True, append_images=frames[1:], duration=70)
    cut = file.getvalue()[: len(file.getvalue()) * 6 // 10]
    with pytest.raises(ImageError, match="--allow-truncated reads what is left"):
        list(load_frames(cut))
    pictures = list(load_frames(cut, allow_truncated=True))
    assert 0 < len(pictures) < 4
    for picture, frame in zip(pictures, frames, strict=False):
        np.testing.assert_array_equal(picture.image, np.asarray(frame))
    first = next(load_frames(file.getvalue()[: len(file.getvalue()) // 8], allow_truncated=True))
    np.testing.assert_array_equal(first.image[:8], NOISE[:8])


@pytest.mark.parametrize("kind", ["webp", "avif", "jp2"])
def test_formats_that_are_whole_or_nothing(kind: str) -> None:
    """Their decoders give no pixels of a part; it is said, and not how to read what is left."""
    webp = CUT["webp"][:30] + b"\xff" * 8 + CUT["webp"][38:]
    data = webp if kind == "webp" else CUT[kind][:-9]
    for allow_truncated in (False, True):
        with pytest.raises(ImageError, match=r"damaged or truncated .*: get the file again"):
            load_image(data, allow_truncated=allow_truncated)


@pytest.mark.parametrize("kind", ["jpg", "png", "16-bit png"])
def test_truncated_files_give_what_is_there(kind: str) -> None:
    data = CUT[kind]
    with pytest.raises(ImageError, match="--allow-truncated"):
        load_image(data[: len(data) // 2])
    image = load_image(data[: len(data) // 2], allow_truncated=True)
    whole = load_image(data)
    assert image.shape == whole.shape
    assert image.dtype == whole.dtype
    np.testing.assert_allclose(image[:8], whole[:8], atol=1)
    assert np.any(image[-8:] != whole[-8:])


def test_a_damaged_pillow_image_is_damaged_too() -> None:
    """Pillow reads pixels when they are needed, which is here."""
    half = CUT["jpg"][: len(CUT["jpg"]) // 2]
    with pytest.raises(ImageError, match="JpegImageFile: damaged or truncated"):
        load_image(PIL.Image.open(io.BytesIO(half)))
    image = load_image(PIL.Image.open(io.BytesIO(half)), allow_truncated=True)
    np.testing.assert_allclose(image[:8], load_image(CUT["jpg"])[:8], atol=1)


def test_bombs_are_refused_before_decoding() -> None:
    header = struct.pack(">IIBBBBB", 20000, 20000, 8, 2, 0, 0, 0)
    bomb = b"".join([b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", header),
                     chunk(b"IDAT", zlib.compress(bytes(1000))), chunk(b"IEND", b"")])  # fmt: skip
    tracemalloc.start()
    with pytest.raises(ImageError, match=r"20000 x 20000 .* 400 megapixels.*--max-megapixels"):
        load_image(bomb)
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()


def test_the_limit_is_an_option(photo: NDArray[np.uint8]) -> None:
    """It holds for every kind of source; 48 x 64 pixels are 0.003072 megapixels."""
    pillow = PIL.Image.fromarray(photo)
    for source in (photo, pillow, save(pillow, "PNG")):
        assert load_image(source, max_megapixels=0.003072).shape == photo.shape
        with pytest.raises(ImageError, match="above the limit"):
            load_image(source, max_megapixels=0.003)


def test_pillow_s_own_limit_is_left_alone(photo: NDArray[np.uint8]) -> None:
    """It is one for the process: others rely on it, whenever they look."""
    theirs = PIL.Image.MAX_IMAGE_PIXELS
    seen = set()

    class Watched(io.BytesIO):
        def read(self, *size: int) -> bytes:
            seen.add(PIL.Image.MAX_IMAGE_PIXELS)
            return super().read(*size)

    data = save(PIL.Image.fromarray(photo), "PNG")
    try:
        PIL.Image.MAX_IMAGE_PIXELS = 100  # lower than ours
        file, pixels = Watched(data), load_image(data)
        pillow, _ = _identify(file)
        assert pillow is not None
        assert pillow.size == (64, 48)
        np.testing.assert_array_equal(pixels, photo)
        assert seen == {100}
    finally:
        PIL.Image.MAX_IMAGE_PIXELS = theirs


# --- sources ------------------------------------------------------------------------------------


def test_every_kind_of_source(tmp_path: Path, photo: NDArray[np.uint8]) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(make_png(photo))
    with path.open("rb") as file, PIL.Image.open(path) as pillow:
        sources = [path, str(path), path.read_bytes(), bytearray(path.read_bytes()), file, pillow,
                   PIL.Image.fromarray(photo), photo, photo[::-1][::-1]]  # fmt: skip
        for source in sources:
            np.testing.assert_array_equal(load_image(source), photo)
    assert describe(path) == describe(str(path)) == str(path)
    assert describe(b"") == "bytes"


def test_arrays_of_every_shape() -> None:
    grey = np.arange(6, dtype=np.uint8).reshape(2, 3)
    for array in (grey, grey[..., np.newaxis]):
        np.testing.assert_array_equal(load_image(array), np.dstack([grey] * 3))
    picture = read(np.dstack([grey, grey, grey, grey + 100]))
    assert picture.alpha is not None
    np.testing.assert_array_equal(picture.alpha, grey + 100)
    deep = grey.astype(np.uint16) * 257 + 100
    assert load_image(deep).dtype == np.uint16
    np.testing.assert_array_equal(load_image(deep, keep_depth=False)[..., 0], grey)


@pytest.mark.parametrize("order", "<>")
def test_arrays_of_either_byte_order(order: str) -> None:
    deep = TILE[..., :3].astype(order + "u2")
    image = load_image(deep)
    assert image.dtype == np.uint16
    assert image.dtype.isnative
    np.testing.assert_array_equal(image, TILE[..., :3])


def test_a_closed_pillow_image_is_said_to_be_closed(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(make_png(NOISE))
    with PIL.Image.open(path) as left:
        pass
    gone = PIL.Image.open(path)
    gone.close()
    made = PIL.Image.fromarray(NOISE)
    made.close()
    emptied = PIL.Image.open(path)
    assert emptied.fp is not None
    emptied.fp.close()
    for closed in (left, gone, made, emptied):
        with pytest.raises(ImageError, match=r"this Pillow image is closed: call its load\(\)"):
            load_image(closed)
    with PIL.Image.open(path) as kept:
        kept.load()
    np.testing.assert_array_equal(load_image(kept), NOISE)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (np.zeros((2, 2, 3), np.complex64), "complex64"),
        (np.zeros((2, 2), np.int16), "int16"),
        (np.zeros((2, 2), bool), "bool"),
        (np.zeros(5, np.uint8), r"\(5,\)"),
        (np.zeros((), np.uint8), r"\(\)"),
        (np.zeros((2, 2, 2), np.uint8), r"\(2, 2, 2\)"),
        (np.zeros((1, 2, 2, 3), np.uint8), r"\(1, 2, 2, 3\)"),
        (np.zeros((0, 5, 3), np.uint8), "no pixels"),
        (None, "give a path"),
        (42, "give a path"),
        (io.StringIO("text"), "open it in mode 'rb'"),
    ],
)
def test_unsuitable_sources(source: Any, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        load_image(source)


def test_arrays_are_not_modified(photo: NDArray[np.uint8]) -> None:
    for array in (photo, np.dstack([photo, photo[..., 0]]), photo.astype(np.uint16) * 200):
        before = array.copy()
        array.flags.writeable = False
        for keep_depth in (True, False):
            load_image(array, keep_depth=keep_depth)
        np.testing.assert_array_equal(array, before)


# --- properties ---------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(samples_of(), st.booleans())
def test_any_array_becomes_a_picture(array: NDArray[Any], keep_depth: bool) -> None:
    before = array.copy()
    picture = read(array, keep_depth=keep_depth)
    dtype = array.dtype if keep_depth else np.dtype(np.uint8)
    assert picture.image.shape == (*array.shape[:2], 3)
    assert picture.image.dtype == dtype
    if picture.alpha is not None:
        assert picture.alpha.shape == array.shape[:2]
        assert picture.alpha.dtype == dtype
    np.testing.assert_array_equal(array, before)


MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "CMYK", "YCbCr", "LAB", "HSV",
         "I", "I;16", "I;16B", "F")  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(MODES), sizes, st.booleans(), st.binary(min_size=64, max_size=64))
def test_any_mode_becomes_rgb(
    mode: str, size: tuple[int, int], keep_depth: bool, content: bytes
) -> None:
    H, W = size
    length = len(PIL.Image.new(mode, (W, H)).tobytes())
    content = (content * (length // 64 + 1))[:length]
    if mode == "F":  # any bits but those of numbers without an end
        content = np.frombuffer(content, np.uint8).astype(np.float32)[: H * W].tobytes()
        content = content.ljust(length, b"\0")
    source = PIL.Image.frombytes(mode, (W, H), content)
    before = source.tobytes()
    picture = read(source, keep_depth=keep_depth)
    deep = keep_depth and mode.startswith(("I", "F"))
    assert picture.image.shape == (H, W, 3)
    assert picture.image.dtype == (np.uint16 if deep else np.uint8)
    assert picture.alpha is None or picture.alpha.shape == (H, W)
    assert source.tobytes() == before


@settings(max_examples=40, deadline=None)
@given(st.sampled_from([".png", ".jpg", ".tiff", ".webp", ".gif"]), st.binary(max_size=200),
       st.integers(0, 2000))  # fmt: skip
def test_damage_is_an_image_error(suffix: str, rubbish: bytes, at: int) -> None:
    """Whatever is damaged, either pixels come or one of our own errors."""
    kinds = {".png": "png", ".jpg": "jpg", ".tiff": "tiff", ".webp": "webp", ".gif": "gif"}
    data = CUT[kinds[suffix]]
    at = min(at, len(data))
    damaged = data[:at] + rubbish + data[at + len(rubbish) :]
    assert suffix in INPUT_SUFFIXES
    try:
        assert load_image(damaged, max_megapixels=1).shape[2] == 3
    except ImageError:
        pass
    except UserWarning:  # Pillow's, an error in these tests
        pass
