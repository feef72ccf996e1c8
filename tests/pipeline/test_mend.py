"""Metadata never cost the image: what is broken beside the pixels is dropped, and said."""

import io
import struct
import warnings
import zlib
from typing import Any

import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray

from alphacut.errors import ImageError, MetadataWarning
from alphacut.pipeline.load import load_frames, load_image
from alphacut.pipeline.mend import mend
from made import NOISE, SRGB, chunk, make_exif, make_png, read, save
from pictures import make_photo

GOOD_TEXT = chunk(b"tEXt", b"Author\0Ada")


def text(keyword: bytes, content: bytes) -> bytes:
    return chunk(b"zTXt", keyword + b"\0\0" + zlib.compress(content))


def bad_check(name: bytes, content: bytes) -> bytes:
    return chunk(name, content)[:-4] + b"\0\0\0\0"


BROKEN_CHUNKS = {
    "a short pHYs": chunk(b"pHYs", b"\0\0\1"),
    "an empty sRGB": chunk(b"sRGB", b""),
    "a text of unknown compression": chunk(b"zTXt", b"Comment\0\7rubbish"),
    "a text that unpacks to too much": text(b"Comment", bytes(2 << 20)),
    "EXIF as text that is no number": text(b"Raw profile type exif", b"\nexif\n4\nnot hex"),
    "EXIF that is no TIFF": chunk(b"eXIf", b"rubbish"),
    "a wrong check of a text": bad_check(b"tEXt", b"Comment\0hello"),
    "a wrong check of a profile": bad_check(b"iCCP", b"p\0\0" + zlib.compress(SRGB)),
    "a profile of unknown compression": chunk(b"iCCP", b"p\0\7" + zlib.compress(SRGB)),
}


def test_a_chunk_of_a_wrong_length_does_not_swallow_the_pixels() -> None:
    data = make_png(NOISE)
    wrong = bytearray(GOOD_TEXT)
    wrong[:4] = b"\x7f\xff\xff\xff"
    with pytest.warns(MetadataWarning, match="broken metadata dropped"):
        picture = read(data[:33] + bytes(wrong) + data[33:])
    np.testing.assert_array_equal(picture.image, NOISE)


@pytest.mark.parametrize("broken", BROKEN_CHUNKS)
@pytest.mark.parametrize("after_pixels", [False, True])
@pytest.mark.parametrize("deep", [False, True])
def test_a_broken_chunk_does_not_cost_a_png(broken: str, after_pixels: bool, deep: bool) -> None:
    photo = NOISE.astype(np.uint16) * 257 if deep else NOISE
    phys = chunk(b"pHYs", struct.pack(">IIB", 11811, 11811, 1))
    data = make_png(photo, phys)
    end = len(data) - 12 if after_pixels else 33
    data = data[:end] + BROKEN_CHUNKS[broken] + data[end:]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        picture = read(data)
    # Pillow itself stops at a wrong check behind the pixels, and says nothing
    assert len(caught) == (0 if after_pixels and "check" in broken else 1)
    for warning in caught:
        assert warning.category is MetadataWarning
        assert str(warning.message).startswith("bytes: broken metadata dropped (")
    np.testing.assert_array_equal(picture.image, photo)
    if broken != "a short pHYs":
        assert picture.metadata.dpi == pytest.approx((300, 300), abs=0.1)  # what is whole stays


def test_a_whole_file_is_not_mended() -> None:
    for kind in ("PNG", "JPEG", "WEBP", "TIFF"):
        settings = {"exif": make_exif(), "icc_profile": SRGB}
        assert mend(save(PIL.Image.fromarray(NOISE), kind, **settings)) is None
    assert mend(b"") is None


def test_damage_of_pixels_is_not_mended() -> None:
    data = make_png(NOISE, GOOD_TEXT)
    with pytest.raises(ImageError, match="PNG"):
        read(data[:-2000])


def jpeg_with(*segments: tuple[int, bytes]) -> tuple[bytes, NDArray[Any]]:
    data = save(PIL.Image.fromarray(make_photo()), "JPEG")
    with PIL.Image.open(io.BytesIO(data)) as pillow:
        pixels = np.asarray(pillow)
    added = b"".join(struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content
                     for marker, content in segments)  # fmt: skip
    return data[:2] + added + data[2:], pixels


@pytest.mark.filterwarnings("ignore:.*EXIF", "ignore:Image appears to be a malformed MPO")
@pytest.mark.parametrize(
    "segments",
    [
        [(0xE1, b"Exif\0\0rubbish, no TIFF")],
        [(0xE1, b"Exif\0\0II*\0\x08\0\0\0\xff\xff")],
        [(0xE1, b"Exif\0\0MM\0*\0\0\0\x08\0\1\x01\x12\0\3\0\0\0\1")],
        [(0xE2, b"MPF\0rubbish")],
        [(0xE2, b"MPF\0II*\0\x08\0\0\0\1\0\x01\xb0\x04\0\1\0\0\0\2\0\0\0")],
        [(0xED, b"Photoshop 3.0\0" + b"8BIM\4\4\xff")],
        [(0xED, b"Photoshop 3.0\0" + b"8BIM\3\xed\0\0\0\0\0\2\0\0")],
        [(0xE0, b"JFIF\0")],
        [(0xE2, b"ICC_PROFILE\0")],
        [(0xE2, b"ICC_PROFILE\0\1\2short")],
        [(0xE0, b"AVI1")],
    ],
)  # fmt: skip
def test_a_broken_segment_does_not_cost_a_jpeg(segments: list[tuple[int, bytes]]) -> None:
    data, pixels = jpeg_with(*segments)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MetadataWarning)
        np.testing.assert_array_equal(load_image(data), pixels)


@pytest.mark.parametrize("kind", ["WEBP", "AVIF"])
def test_broken_exif_does_not_cost_other_formats(kind: str) -> None:
    whole = save(PIL.Image.fromarray(make_photo()), kind, exif=make_exif())
    at = whole.index(b"MM\0*")
    with pytest.warns(MetadataWarning):
        picture = read(whole[:at] + b"rubbish." + whole[at + 8 :])
    np.testing.assert_array_equal(picture.image, read(whole).image)
    assert picture.metadata.exif is None


def boxes_with_two_tables(data: bytes) -> tuple[bytes, int]:
    """An AVIF whose item properties lie in two tables, as older encoders wrote them."""
    at = data.index(b"ipma") - 4
    length = int.from_bytes(data[at : at + 4], "big")
    table = data[at : at + length]
    first, second = split_table(table)
    grown = len(first) + len(second) - len(table)
    data = data[:at] + first + second + data[at + length :]
    for kind in (b"iprp", b"meta"):
        where = data.index(kind) - 4
        old = int.from_bytes(data[where : where + 4], "big")
        data = data[:where] + struct.pack(">I", old + grown) + data[where + 4 :]
    return data, grown


def split_table(table: bytes) -> tuple[bytes, bytes]:
    """One `ipma` box of two items as two boxes of one item each."""
    assert table[8:12] == bytes(4)
    (count,) = struct.unpack_from(">I", table, 12)
    entries, at = [], 16
    for _ in range(count):
        properties = table[at + 2]
        entries.append(table[at : at + 3 + properties])
        at += 3 + properties

    def box(part: list[bytes]) -> bytes:
        content = b"".join(part)
        return struct.pack(">I4sII", 16 + len(content), b"ipma", 0, len(part)) + content

    return box(entries[:1]), box(entries[1:])


def moved_items(data: bytes, by: int) -> bytes:
    """Add to the offsets of a version 0 `iloc` box whose offsets and lengths have 4 bytes."""
    at = data.index(b"iloc") + 4
    assert data[at] == 0
    assert data[at + 4] == 0x44
    out, (count,) = bytearray(data), struct.unpack_from(">H", data, at + 6)
    at += 8
    for _ in range(count):
        (extents,) = struct.unpack_from(">H", data, at + 4)
        for index in range(extents):
            where = at + 6 + 8 * index
            struct.pack_into(">I", out, where, struct.unpack_from(">I", data, where)[0] + by)
        at += 6 + 8 * extents
    return bytes(out)


def test_an_avif_with_alpha_of_an_older_encoder() -> None:
    photo = np.dstack([make_photo(), np.full((48, 64), 100, np.uint8)])
    whole = save(PIL.Image.fromarray(photo), "AVIF", quality=90)
    data, grown = boxes_with_two_tables(whole)
    data = moved_items(data, grown)
    with pytest.raises(PIL.UnidentifiedImageError):
        PIL.Image.open(io.BytesIO(data), formats=("AVIF",))
    with pytest.warns(MetadataWarning):
        picture = read(data)
    expected = read(whole)
    np.testing.assert_array_equal(picture.image, expected.image)
    np.testing.assert_array_equal(picture.alpha, expected.alpha)


def test_a_broken_gain_map_does_not_cost_an_avif() -> None:
    whole = save(PIL.Image.fromarray(make_photo()), "AVIF", exif=make_exif())
    data = whole.replace(b"mif1", b"tmap", 1).replace(b"Exif", b"tmap", 1)
    with pytest.warns(MetadataWarning, match="Invalid tone mapped image item"):
        picture = read(data)
    np.testing.assert_array_equal(picture.image, read(whole).image)


def test_frames_are_mended_once() -> None:
    first, second = PIL.Image.fromarray(NOISE), PIL.Image.fromarray(NOISE[::-1].copy())
    data = save(first, "PNG", save_all=True, append_images=[second], duration=50)
    data = data[:33] + BROKEN_CHUNKS["an empty sRGB"] + data[33:]
    with pytest.warns(MetadataWarning):
        assert len(list(load_frames(data))) == 2


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "AVIF"])
def test_whatever_is_cut_short_is_mended_or_not(kind: str) -> None:
    """The file was refused, so that nothing in it can be relied on."""
    whole = save(PIL.Image.fromarray(NOISE[:9, :9]), kind, exif=make_exif())
    for length in range(min(len(whole), 500)):
        mend(whole[:length])
