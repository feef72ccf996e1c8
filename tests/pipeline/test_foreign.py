"""Formats that are not read: one line that names them."""

import struct

import PIL.Image
import pytest

from alphacut.errors import ImageError
from alphacut.pipeline.load import load_image
from made import save


def lossless_jpeg() -> bytes:
    """A JPEG whose frame starts with SOF3, as medical programs and DNG files have it."""
    data = save(PIL.Image.new("RGB", (16, 16)), "JPEG")
    return data.replace(b"\xff\xc0", b"\xff\xc3")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'<?xml version="1.0"?><svg width="4" height="4"/>', "SVG"),
        (b'\xef\xbb\xbf  <SVG width="4" height="4"/>', "SVG"),
        (b"8BPS\0\1" + bytes(20), "Photoshop"),
        (b"gimp xcf v011\0" + bytes(20), "GIMP"),
        (b"%PDF-1.7\n", "PDF"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "PostScript"),
        (b"FUJIFILMCCD-RAW 0201", "raw converter"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "raw converter"),
        (b"IIU\0\x18\0\0\0" + bytes(30), "raw converter"),
        (b"\0\0\0\x18ftypisom\0\0\2\0", "video"),
        (b"<!DOCTYPE html><html><body>404", "web page"),
        (b"PK\3\4" + bytes(30), "archives"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
    ],
)
def test_a_format_is_named(content: bytes, words: str) -> None:
    with pytest.raises(ImageError, match=words) as caught:
        load_image(content)
    assert str(caught.value).startswith("bytes: ")
    assert "\n" not in str(caught.value)
    assert caught.value.reason == "not_a_picture"


def test_lossless_jpeg_is_named() -> None:
    with pytest.raises(ImageError, match="lossless JPEG is not supported: export it as PNG"):
        load_image(lossless_jpeg())


def raw_tiff(*entries: tuple[int, int, int]) -> bytes:
    """A TIFF of one small grey preview, with more tags: (tag, type, value)."""
    tags = [(256, 4, 2), (257, 4, 2), (258, 4, 8), (259, 4, 1), (262, 4, 1), (273, 4, 8),
            (277, 4, 1), (278, 4, 2), (279, 4, 4), *entries]  # fmt: skip
    packed = b"".join(
        struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in sorted(tags)
    )
    return (
        b"II*\0"
        + struct.pack("<I", 12)
        + b"\1\2\3\4"
        + struct.pack("<H", len(tags))
        + packed
        + bytes(4)
    )


def test_camera_raw_is_no_tiff() -> None:
    """Its first page is a thumbnail, which must not pass for the photograph."""
    assert load_image(raw_tiff()).shape == (2, 2, 3)
    for entries in (
        [(50706, 4, 0x401)],  # DNG
        [(254, 4, 1), (330, 4, 8)],  # a preview, with the sensor's numbers in a sub-directory
    ):
        with pytest.raises(ImageError, match="camera raw is not supported: develop it"):
            load_image(raw_tiff(*entries))
