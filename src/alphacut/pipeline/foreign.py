"""Formats that are not read: what they are called, and what to do."""

import struct
from typing import IO

_EXPORT = "export it as PNG, TIFF or JPEG"
_DEVELOP = "develop it with a raw converter, or give the JPEG that the camera wrote"
CAMERA_RAW = f"camera raw is not supported: {_DEVELOP}"
# First bytes, at which offset, and what to say
_SIGNATURES = (
    (0, b"8BPS", f"a Photoshop document (PSD) is not supported: {_EXPORT}"),
    (0, b"gimp xcf", f"a GIMP document (XCF) is not supported: {_EXPORT}"),
    (0, b"%PDF", "PDF is not supported: export the page as PNG"),
    (0, b"%!PS", "PostScript is not supported: export it as PNG"),
    (0, b"v/1\x01", f"OpenEXR is not supported: {_EXPORT}"),
    (0, b"#?RADIANCE", f"Radiance HDR is not supported: {_EXPORT}"),
    (0, b"II\xbc\x01", f"JPEG XR is not supported: {_EXPORT}"),
    (0, b"FUJIFILMCCD-RAW", CAMERA_RAW),
    (0, b"IIRO", CAMERA_RAW),
    (0, b"IIRS", CAMERA_RAW),
    (0, b"MMOR", CAMERA_RAW),
    (0, b"IIU\0", CAMERA_RAW),
    (6, b"HEAPCCDR", CAMERA_RAW),
    (4, b"ftypcrx ", CAMERA_RAW),
    (0, b"\0MRM", CAMERA_RAW),
    (4, b"ftypisom", "a film is not supported: save one of its frames as PNG"),
    (4, b"ftypmp4", "a film is not supported: save one of its frames as PNG"),
    (4, b"ftypqt", "a film is not supported: save one of its frames as PNG"),
    (0, b"\x1aE\xdf\xa3", "a film is not supported: save one of its frames as PNG"),
    (0, b"PK\3\4", "an archive is not supported: unpack it and give the pictures"),
    (0, b"version https://git-lfs", "a Git LFS pointer, not the picture: run 'git lfs pull'"),
)  # fmt: skip
_LOSSLESS = (0xC3, 0xC5, 0xC6, 0xC7, 0xCB, 0xCD, 0xCE, 0xCF)  # starts of frames


def name_foreign(file: IO[bytes]) -> str | None:
    """Name the format of a file that no decoder of ours reads.

    Args:
        file: The file, at any position.

    Returns:
        What it is and what to do, such as "PDF is not supported: export the page as PNG"; None if
        the format is unknown.
    """
    file.seek(0)
    head = file.read(4096)
    for at, signature, advice in _SIGNATURES:
        if head.startswith(signature, at):
            return advice
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith(b"<") and b"<svg" in text:
        return "an SVG drawing is not supported: export it as PNG, in the size that you need"
    if text.startswith((b"<!doctype html", b"<html")):
        return "a web page, not a picture: download the picture itself"
    if head.startswith(b"\xff\xd8") and _is_lossless_jpeg(file):
        return f"lossless JPEG is not supported: {_EXPORT}"
    return None


def _is_lossless_jpeg(file: IO[bytes]) -> bool:
    """Look for the start of a frame whose process no common decoder knows (ITU-T T.81, B.1)."""
    file.seek(2)
    while len(start := file.read(4)) == 4:
        mark, marker, length = struct.unpack(">BBH", start)
        if mark != 0xFF or marker == 0xDA or length < 2:
            return False
        if marker in _LOSSLESS:
            return True
        file.seek(length - 2, 1)
    return False
