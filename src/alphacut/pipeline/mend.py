"""Files that a decoder refuses for what is beside their pixels.

Metadata never cost the image: a block that stops the decoder is taken out of a copy of the file.
"""

import io
import struct
import zlib
from collections.abc import Iterator

import PIL.Image

_PNG = b"\x89PNG\r\n\x1a\n"
_ANIMATION = (b"acTL", b"fcTL", b"fdAT")
_APP0, _APP15, _COMMENT, _START_OF_SCAN = 0xE0, 0xEF, 0xFE, 0xDA
_PROBES = 256  # blocks that are tried one by one; what follows is left out
_BESIDE = (b"Exif", b"mime", b"tmap")  # items: metadata, XMP, gain map


def mend(data: bytes) -> bytes | None:
    """Take out of a file what is no part of the image and stops its decoder.

    Args:
        data: A file that was refused.

    Returns:
        A copy without its broken blocks; None if there are none.
    """
    if data.startswith(_PNG):
        mended = _mend_png(data)
    elif data.startswith(b"\xff\xd8"):
        mended = _mend_jpeg(data)
    elif data[4:8] == b"ftyp":
        mended = _mend_heif(data)
    else:
        return None
    return None if mended == data else mended


def is_cut_short(data: bytes) -> bool:
    """Tell whether a file ends within a block that says how long it is, or before its pixels.

    Args:
        data: A file of any format; only PNG, JPEG, WebP, AVIF, HEIC and JPEG 2000 are looked into.
    """
    if data.startswith(_PNG):
        at = len(_PNG)
        while at + 12 <= len(data):
            if data[at + 4 : at + 8] in (b"IDAT", b"IEND"):
                return False
            at += 12 + int.from_bytes(data[at : at + 4], "big")
        return True
    if data.startswith(b"\xff\xd8"):
        at = 2
        while at + 4 <= len(data):
            if data[at] != 0xFF:
                return False
            scan = data[at + 1] == _START_OF_SCAN
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
            if scan:
                return at > len(data)
        return True
    if data.startswith(b"RIFF"):
        return 8 + int.from_bytes(data[4:8], "little") > len(data)
    if data[4:8] not in (b"ftyp", b"jP  "):
        return False
    at = 0
    while at + 8 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        if length == 1:  # 64 bits of it follow
            length = int.from_bytes(data[at + 8 : at + 16], "big")
        if length < 8:  # 0: up to the end, whatever that was
            return False
        at += length
    return at != len(data)


def _mend_png(data: bytes) -> bytes:
    """Leave out the ancillary chunks with which an image of one pixel is not read."""
    header, palette, kept, at = b"", b"", [], len(_PNG)
    probes = 0
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        chunk = data[at : at + 12 + length]
        swallowed = data.find(b"IDAT", at + 8) if at + 12 + length > len(data) else -1
        if swallowed > 0 and kind[0] & 0x20:  # its length is wrong
            at = swallowed - 4
            continue
        at += 12 + length
        if kind == b"IHDR":
            header = _chunk(b"IHDR", struct.pack(">II", 1, 1) + chunk[16:20] + b"\0")
        elif kind == b"PLTE":
            palette = chunk
        elif kind[0] & 0x20 and kind not in _ANIMATION:
            pixel = _chunk(b"IDAT", zlib.compress(bytes(9)))
            probe = [_PNG, header, palette, chunk, pixel, _chunk(b"IEND", b"")]
            probes += 1
            if probes > _PROBES or not _is_read(b"".join(probe)):
                continue
        kept.append(chunk)
    return b"".join([_PNG, *kept, data[at:]])


def _chunk(kind: bytes, content: bytes) -> bytes:
    """Make a PNG chunk."""
    check = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + check


def _mend_jpeg(data: bytes) -> bytes:
    """Leave out the application segments with which a small image is not read."""
    file = io.BytesIO()
    PIL.Image.new("L", (8, 8)).save(file, "JPEG")
    small, kept, at, probes = file.getvalue(), [data[:2]], 2, 0
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != _START_OF_SCAN:
        marker, length = struct.unpack_from(">xBH", data, at)
        segment = data[at : at + 2 + length]
        at += 2 + length
        beside = _APP0 <= marker <= _APP15 or marker == _COMMENT
        probes += beside
        if not beside or (probes <= _PROBES and _is_read(small[:2] + segment + small[2:])):
            kept.append(segment)
    return b"".join([*kept, data[at:]])


def _is_read(probe: bytes) -> bool:
    """Say whether Pillow reads a small image."""
    try:
        with PIL.Image.open(io.BytesIO(probe), formats=("PNG", "JPEG", "MPO")) as pillow:
            pillow.load()
    except Exception:  # one block of many, and whatever a decoder raises tells that it is broken
        return False
    return True


def _mend_heif(data: bytes) -> bytes:
    """Repair the tables of an AVIF or HEIC file, in place.

    Early encoders wrote several tables of item properties with the same version and flags, which
    libavif refuses: flags without a meaning tell them apart. Else items that are no part of the
    image get a type that no reader knows.
    """
    mended = bytearray(data)
    tables = 0
    for kind, start, stop in _boxes(data, 0, len(data)):
        if kind == b"ipma" and start + 4 <= stop and tables < 256:
            mended[start + 1] |= tables  # the highest byte of the flags; only the lowest has a use
            tables += 1
    if tables > 1:
        return bytes(mended)
    for kind, start, stop in _boxes(data, 0, len(data)):
        if kind == b"infe" and start + 14 <= stop and data[start] in (2, 3):
            type_at = start + 4 + (4 if data[start] == 2 else 6)
            if data[type_at : type_at + 4] in _BESIDE:
                mended[type_at : type_at + 4] = b"skip"
        elif kind == b"ftyp":  # the brand that promises a gain map
            mended[start:stop] = data[start:stop].replace(b"tmap", b"mif1")
    return bytes(mended)


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Walk the boxes (ISO/IEC 14496-12) that hold tables: kind, and where the content is."""
    heads = {b"meta": 4, b"iprp": 0, b"iinf": 6}  # bytes before the boxes within; iinf of version 0
    while start + 8 <= end:
        length, kind = struct.unpack_from(">I4s", data, start)
        inside, stop = start + 8, min(start + (length or end - start), end)
        if length < 8 and length:  # 1: a length of 64 bits, which no table has
            return
        yield kind, inside, stop
        if kind in heads and inside < stop:
            wide = 2 if kind == b"iinf" and data[inside] else 0
            yield from _boxes(data, inside + heads[kind] + wide, stop)
        start = stop
