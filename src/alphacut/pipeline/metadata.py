"""What a result says about its photo: the one list of what is kept, and of what is set anew.

Only what is listed here passes from a photo to a result: who took it, when, where, with what, and
on which terms. So no thumbnail of the removed background does, in whichever block a camera or
program hides it (EXIF's second directory, MakerNote, SubIFDs, xmp:Thumbnails), and nothing that
describes the file instead of the photo: dimensions, orientation, compression, regions, panoramas,
gain maps, appended videos, develop settings, editing history. What a format needs to say about its
own pixels, `output/encode.py` sets anew.
"""

import re
import struct
from dataclasses import replace
from typing import Any, TypeAlias
from xml.etree import ElementTree

from alphacut.options import KeptMetadata
from alphacut.pipeline.image import Metadata

# Type, count and bytes of an EXIF tag, or the directory that it points to
Directory: TypeAlias = "dict[int, tuple[int, int, bytes] | Directory]"

# --- the list ------------------------------------------------------------------------------------

_FIRST = -1  # directory, that no tag points to
_EXIF, _GPS, _INTEROPERABILITY = 0x8769, 0x8825, 0xA005
# By the tag that points to a directory, the tags kept there (Exif 3.0, CIPA DC-008)
_TAGS: dict[int, frozenset[int]] = {
    _FIRST: frozenset((
        0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x013C, 0x8298,  # description to copyright
        0x011A, 0x011B, 0x0128,  # density
        0x4746, 0x4749, *range(0x9C9B, 0x9CA0),  # Windows' rating, title, author, keywords
        _EXIF, _GPS,
    )),
    _EXIF: frozenset((
        0x829A, 0x829D, 0x8822, 0x8824, 0x8827, *range(0x8830, 0x8836),  # exposure and sensitivity
        0x9000, 0x9003, 0x9004, 0x9010, 0x9011, 0x9012, 0x9290, 0x9291, 0x9292,  # version, times
        *range(0x9201, 0x920B), *range(0x9400, 0x9406),  # lens, light, weather
        0x9286, 0xA000, 0xA001, 0xA500, _INTEROPERABILITY,  # comment, colour space
        0xA20B, 0xA215, 0xA217, 0xA300, 0xA301, *range(0xA401, 0xA40B), 0xA40C,  # how it was taken
        *range(0xA430, 0xA43D),  # names and serial numbers of people, cameras, lenses, programs
    )),
    _GPS: frozenset(range(32)),
    _INTEROPERABILITY: frozenset((1, 2)),
}  # fmt: skip
IMAGE_TAGS, DIRECTORY_TAGS = _TAGS[_FIRST], frozenset((_EXIF, _GPS))
_PRIVATE_TAGS = frozenset((_GPS, 0xA430, 0xA431, 0xA435))  # place, owner, serial numbers

# By XMP namespace, its usual prefix and the names of its properties
_PROPERTIES = {
    "http://purl.org/dc/elements/1.1/": ("dc", "(?!format).*"),
    "http://ns.adobe.com/xap/1.0/": (
        "xmp", "(Create|Modify|Metadata)Date|CreatorTool|Identifier|Label|Nickname|Rating",
    ),
    "http://ns.adobe.com/xap/1.0/rights/": ("xmpRights", ".*"),
    "http://ns.adobe.com/photoshop/1.0/": (
        "photoshop",
        "AuthorsPosition|CaptionWriter|(Supplemental)?Categor.*|City|Country|Credit|DateCreated|"
        "Headline|Instructions|Source|State|TransmissionReference|Urgency",
    ),
    "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/": ("Iptc4xmpCore", ".*"),
    "http://iptc.org/std/Iptc4xmpExt/2008-02-29/": ("Iptc4xmpExt", "(?!ImageRegion|MaxAvail).*"),
    "http://ns.useplus.org/ldf/xmp/1.0/": ("plus", ".*"),
    "http://creativecommons.org/ns#": ("cc", ".*"),
    "http://ns.adobe.com/lightroom/1.0/": ("lr", "hierarchicalSubject"),
    "http://ns.adobe.com/tiff/1.0/": (
        "tiff", "Artist|Copyright|DateTime|ImageDescription|Make|Model|Software",
    ),
    "http://ns.adobe.com/exif/1.0/": (
        "exif",
        "(?!Pixel|Subject(Area|Location)|MakerNote|NativeDigest|ImageUniqueID|RelatedSoundFile|"
        "CFAPattern|SpatialFrequency|FocalPlane|Component|Compressed|DeviceSetting).*",
    ),
    "http://cipa.jp/exif/1.0/": ("exifEX", "(?!CompositeImage|SourceImage).*"),
    "http://ns.adobe.com/exif/1.0/aux/": ("aux", ".*"),
}  # fmt: skip
_PRIVATE_PROPERTIES = re.compile(
    "GPS.*|City|State|Country.*|Location.*|PersonInImage.*|.*OwnerName|.*SerialNumber"
)

# --- the ways in and out -------------------------------------------------------------------------


def limit_metadata(metadata: Metadata, kept: KeptMetadata) -> Metadata:
    """Return as much of what a photo says as its user wants to pass on.

    Args:
        metadata: From a photo.
        kept: "keep" for all of it; "private" for no place, serial numbers, or names of owners and
            of people shown; "none" for colour profile and density alone.
    """
    if kept == "keep":
        return metadata
    if kept == "none":
        return Metadata(icc_profile=metadata.icc_profile, dpi=metadata.dpi)
    exif = metadata.exif and keep_exif(metadata.exif, private=True)
    xmp = metadata.xmp and keep_xmp(metadata.xmp, private=True)
    return replace(metadata, exif=exif, xmp=xmp)


def keep_exif(block: bytes, *, private: bool = False) -> bytes | None:
    """Copy what the list names out of an EXIF block, byte for byte.

    Args:
        block: A TIFF structure, after "Exif" and two zeros or not; what is damaged is left out.
        private: Whether to leave out what tells of places and people.

    Returns:
        A block with the same byte order; None if nothing is left.
    """
    order, directory = _read_exif(block)
    if private:
        _remove(directory, _PRIVATE_TAGS)
    if not directory:
        return None
    mark = b"II*\x00" if order == "<" else b"MM\x00*"
    return mark + struct.pack(order + "I", 8) + pack_directory(directory, 8, order)


def exif_directory(block: bytes) -> Directory:
    """Return what the list names in an EXIF block as a little-endian TIFF stores it.

    Args:
        block: As for `keep_exif`.

    Returns:
        Type, count and value by tag; directories in directories.
    """
    order, directory = _read_exif(block)
    return directory if order == "<" else _swapped(directory)


def pack_directory(directory: Directory, start: int, order: str = "<") -> bytes:
    """Write a TIFF directory, and what it points to right after it.

    Args:
        directory: Type, count and value by tag, in that byte order.
        start: Its offset in the file.
        order: "<" for little-endian, ">" for big-endian.
    """
    after = start + 2 + 12 * len(directory) + 4
    entries, values = b"", b""
    for tag, field in sorted(directory.items()):
        if isinstance(field, dict):
            kind, count, data = 4, 1, struct.pack(order + "I", after + len(values))
            values += pack_directory(field, after + len(values), order)
        else:
            kind, count, data = field
        if len(data) > 4:
            where = struct.pack(order + "I", after + len(values))
            values += data + bytes(len(data) % 2)  # offsets are even
            data = where
        entries += struct.pack(order + "HHI", tag, kind, count) + data.ljust(4, b"\0")
    return struct.pack(order + "H", len(directory)) + entries + bytes(4) + values


def keep_density(dpi: Any) -> tuple[float, float] | None:
    """Return a density (across, down) as two numbers that every format can write, or None."""
    try:
        across, down = (float(value) for value in dpi)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    # 1 is what Pillow makes of a TIFF that says nothing
    return (across, down) if all(1 < value < _HIGHEST_DPI for value in (across, down)) else None


def keep_xmp(packet: bytes | str, *, private: bool = False) -> bytes | None:
    """Copy the properties that the list names out of an XMP packet.

    Args:
        packet: XML in UTF-8; one that cannot be parsed has nothing to keep.
        private: Whether to leave out what tells of places and people.

    Returns:
        A packet with one description; None if nothing is left.
    """
    try:
        text = packet if isinstance(packet, str) else packet.decode("utf-8-sig")
        if "<!DOCTYPE" in text or len(text) > _LONGEST_XMP:  # XMP has none; entities multiply
            return None
        root = ElementTree.fromstring(text.strip("\0 \t\r\n\ufeff"))
        kept = ElementTree.Element("rdf:Description", {"rdf:about": ""})
        for description in (one for rdf in root.iter(f"{{{_RDF}}}RDF")
                            for one in rdf.findall(f"{{{_RDF}}}Description")):  # fmt: skip
            for name, value in description.items():
                if _is_listed(name, private):
                    kept.set(_prefixed(name), value)
            kept.extend(_renamed(element) for element in description
                        if _is_listed(element.tag, private) and _is_known(element))  # fmt: skip
        if len(kept) == 0 and len(kept.keys()) == 1:
            return None
        return _pack_properties(kept)
    except (SyntaxError, ValueError, RecursionError):
        return None


# --- EXIF ----------------------------------------------------------------------------------------

_HIGHEST_DPI = 1 << 16
_LONGEST_VALUE = 1 << 16  # what a JPEG holds of EXIF altogether
# Bytes of a value, by type (TIFF 6.0)
_VALUE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4,
                129: 1}  # fmt: skip


def _read_exif(block: bytes) -> tuple[str, Directory]:
    """Read byte order and listed tags of an EXIF block."""
    block = block.removeprefix(b"Exif\x00\x00")
    order = {b"II*\x00": "<", b"MM\x00*": ">"}.get(block[:4])
    if order is None or len(block) < 8:
        return "<", {}
    start = struct.unpack_from(order + "I", block, 4)[0]
    return order, _read_directory(block, order, start, _FIRST)


def _read_directory(block: bytes, order: str, start: int, name: int) -> Directory:
    """Read the listed tags of a directory and of those it points to."""
    directory: Directory = {}
    if start + 2 > len(block):
        return directory
    count = struct.unpack_from(order + "H", block, start)[0]
    for entry in range(start + 2, min(start + 2 + 12 * count, len(block) - 11), 12):
        tag, kind, values = struct.unpack_from(order + "HHI", block, entry)
        length = values * _VALUE_BYTES.get(kind, 0)
        where = entry + 8 if length <= 4 else struct.unpack_from(order + "I", block, entry + 8)[0]
        longest = min(_LONGEST_VALUE, len(block) - where)
        if tag not in _TAGS[name] or tag in directory or not 0 < length <= longest:
            continue
        if tag in _TAGS:
            where = struct.unpack_from(order + "I", block, entry + 8)[0]
            if inner := _read_directory(block, order, where, tag):
                directory[tag] = inner
        else:
            directory[tag] = kind, values, block[where : where + length]
    return directory


def _remove(directory: Directory, tags: frozenset[int]) -> None:
    """Remove tags from a directory and those within it, which go if they become empty."""
    for tag, field in list(directory.items()):
        if isinstance(field, dict):
            _remove(field, tags)
        if tag in tags or field == {}:
            del directory[tag]


def _swapped(directory: Directory) -> Directory:
    """Turn big-endian values into little-endian ones."""
    swapped: Directory = {}
    for tag, field in directory.items():
        if isinstance(field, dict):
            swapped[tag] = _swapped(field)
        else:
            kind, count, data = field
            step = _VALUE_BYTES[kind] // (2 if kind in (5, 10) else 1)  # two numbers make a ratio
            parts = (data[at : at + step][::-1] for at in range(0, len(data), step))
            swapped[tag] = kind, count, b"".join(parts)
    return swapped


# --- XMP -----------------------------------------------------------------------------------------

_LONGEST_XMP = 1 << 22  # characters
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_XML = "http://www.w3.org/XML/1998/namespace"
_PREFIXES = {_RDF: "rdf", _XML: "xml"} | {uri: prefix for uri, (prefix, _) in _PROPERTIES.items()}


def _split_name(name: str) -> tuple[str, str]:
    """Split ElementTree's {namespace}name."""
    uri, _, local = name.removeprefix("{").rpartition("}")
    return uri, local


def _is_listed(name: str, private: bool) -> bool:
    uri, local = _split_name(name)
    if uri not in _PROPERTIES or (private and _PRIVATE_PROPERTIES.fullmatch(local)):
        return False
    return bool(re.fullmatch(_PROPERTIES[uri][1], local))


def _is_known(element: ElementTree.Element) -> bool:
    """Return whether all that a property holds belongs to namespaces of the list."""
    return all(_split_name(name)[0] in _PREFIXES
               for part in element.iter() for name in (part.tag, *part.keys()))  # fmt: skip


def _prefixed(name: str) -> str:
    uri, local = _split_name(name)
    return f"{_PREFIXES[uri]}:{local}"


def _renamed(element: ElementTree.Element) -> ElementTree.Element:
    """Name an element and all within it by the usual prefixes, which readers look for."""
    for part in element.iter():
        attributes = {_prefixed(name): value for name, value in part.items()}
        part.tag = _prefixed(part.tag)
        part.attrib.clear()
        part.attrib.update(attributes)
    element.tail = None
    return element


def _pack_properties(description: ElementTree.Element) -> bytes:
    """Write a packet (ISO 16684-1) around a description."""
    used = {name.partition(":")[0] for part in description.iter()
            for name in (part.tag, *part.keys())}  # fmt: skip
    names = "".join(f' xmlns:{prefix}="{uri}"' for uri, prefix in _PREFIXES.items()
                    if prefix in used and prefix != "xml")  # fmt: skip
    body = ElementTree.tostring(description, "unicode")
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF{names}>{body}</rdf:RDF></x:xmpmeta>'
        '<?xpacket end="w"?>'
    ).encode()
