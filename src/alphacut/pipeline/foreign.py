"""Formats that are not read: what they are called, and what to do."""

import struct
from typing import IO

_EXPORT = "export it as PNG, TIFF or JPEG"
CAMERA_RAW = (
    "camera raw is not supported: develop it with a raw converter, or use the camera's JPEG"
)
_VIDEO = "is a film: use alphacut video"
# Offset, the bytes there, and what to say
_SIGNATURES = (
    (0, b"8BPS", f"Photoshop documents (PSD) are not supported: {_EXPORT}"),
    (0, b"gimp xcf", f"GIMP documents (XCF) are not supported: {_EXPORT}"),
    (0, b"%PDF", "PDF is not supported: export the page as PNG"),
    (0, b"%!PS", "PostScript is not supported: export the page as PNG"),
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
    (4, b"ftypmp4", _VIDEO),
    (4, b"ftypqt", _VIDEO),
    (4, b"ftypiso", _VIDEO),
    (4, b"ftypM4V", _VIDEO),
    (4, b"ftypavc1", _VIDEO),
    (4, b"ftypdash", _VIDEO),
    (4, b"ftyp3g", _VIDEO),
    (8, b"AVI LIST", _VIDEO),
    (0, b"\0\0\1\xba", _VIDEO),
    (0, b"FLV\1", _VIDEO),
    (0, b"\x1aE\xdf\xa3", _VIDEO),
    (0, b"PK\3\4", "archives are not supported: unpack it first"),
    (0, b"version https://git-lfs", "is a Git LFS pointer, not the picture: run 'git lfs pull'"),
)  # fmt: skip
# Starts of JPEG frames whose process no common decoder knows (ITU-T T.81, table B.1)
_RARE_JPEG = {
    0xC3: "lossless", 0xC7: "lossless", 0xCB: "lossless", 0xCF: "lossless",
    0xC5: "hierarchical", 0xC6: "hierarchical", 0xCD: "hierarchical", 0xCE: "hierarchical",
}  # fmt: skip


def name_foreign(file: IO[bytes]) -> str | None:
    """Name the format of a file that none of our decoders reads.

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
        return "SVG is not supported: export it as PNG at the size you need"
    if text.startswith((b"<!doctype html", b"<html")):
        return "is a web page, not a picture: download the picture itself"
    if head.startswith(b"\xff\xd8") and (process := _rare_process(file)):
        return f"{process} JPEG is not supported: {_EXPORT}"
    return None


def _rare_process(file: IO[bytes]) -> str | None:
    """Name the process of a JPEG that no common decoder reads."""
    file.seek(2)
    while len(start := file.read(4)) == 4:
        mark, marker, length = struct.unpack(">BBH", start)
        if mark != 0xFF or marker == 0xDA or length < 2:
            return None
        if marker in _RARE_JPEG:
            return _RARE_JPEG[marker]
        file.seek(length - 2, 1)
    return None
