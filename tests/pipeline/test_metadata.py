"""What passes from a photo to its results, and above all what does not."""

import base64
import io
import struct
from typing import Any

import numpy as np
import PIL.Image
import pillow_heif
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphacut import Cutout, Options, Remover
from alphacut.options import KeptMetadata
from alphacut.output.encode import Raster, encode
from alphacut.pipeline.image import Metadata
from alphacut.pipeline.load import load_frames
from alphacut.pipeline.metadata import keep_density, keep_exif, keep_xmp, limit_metadata
from made import encoded, read, save
from pictures import CASES, FakeRuntime, make_photo

# --- makers --------------------------------------------------------------------------------------

THUMBNAIL = save(PIL.Image.fromarray(make_photo(24, 32)), "JPEG")
RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"


def make_xmp(attributes: str = "", elements: str = "", names: str = "") -> bytes:
    """An XMP packet of one description."""
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta '
        f'xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{RDF}"><rdf:Description rdf:about="" '
        'xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:xmp="http://ns.adobe.com/xap/1.0/" '
        'xmlns:exif="http://ns.adobe.com/exif/1.0/" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" '
        'xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" '
        'xmlns:aux="http://ns.adobe.com/exif/1.0/aux/" '
        f"{names} {attributes}>{elements}</rdf:Description></rdf:RDF></x:xmpmeta>"
        f'{" " * 100}<?xpacket end="w"?>'
    ).encode()


XMP_THUMBNAIL = make_xmp(
    'photoshop:City="Ulm" aux:SerialNumber="S123"',
    "<dc:creator><rdf:Seq><rdf:li>Ada</rdf:li></rdf:Seq></dc:creator>"
    '<xmp:Thumbnails><rdf:Alt><rdf:li rdf:parseType="Resource"><g:image>'
    f"{base64.b64encode(THUMBNAIL).decode()}</g:image></rdf:li></rdf:Alt></xmp:Thumbnails>",
    'xmlns:g="http://ns.adobe.com/xap/1.0/g/img/"',
)


def make_directory(
    order: str, start: int, *fields: tuple[int, int, bytes], after: int = 0
) -> bytes:
    """A TIFF directory of (tag, type, value), the values behind it; longs are not swapped."""
    sizes = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 7: 1}
    entries, values = b"", b""
    for tag, kind, value in fields:
        data = value.ljust(4, b"\0")
        if len(value) > 4:
            where = start + 2 + 12 * len(fields) + 4 + len(values)
            data, values = struct.pack(order + "I", where), values + value
        entries += struct.pack(order + "HHI", tag, kind, len(value) // sizes[kind]) + data
    head = struct.pack(order + "H", len(fields))
    return head + entries + struct.pack(order + "I", after) + values


def make_block(order: str = "<") -> bytes:
    """EXIF with the photo's thumbnail in every place that cameras and programs know."""

    def short(value: int) -> bytes:
        return struct.pack(order + "H", value)

    def long(value: int) -> bytes:
        return struct.pack(order + "I", value)

    exif = make_directory(
        order, 1000, (0x8827, 3, short(400)), (0x9003, 2, b"2026:11:29 08:00:00\0"),
        (0x927C, 7, b"MAKER" + THUMBNAIL), (0xA002, 4, long(64)), (0xA003, 4, long(48)),
        (0xA431, 2, b"S123456\0"),
    )  # fmt: skip
    gps = make_directory(order, 4000, (1, 2, b"N\0"), (2, 5, struct.pack(order + "6I", *[7] * 6)))
    first = make_directory(
        order, 8, (0x0100, 4, long(64)), (0x0101, 4, long(48)), (0x010F, 2, b"Camera\0"),
        (0x0112, 3, short(1)), (0x013B, 2, b"Ada\0"), (0x014A, 4, long(4500)),
        (0x8298, 2, b"(c) Ada\0"), (0x8769, 4, long(1000)), (0x8825, 4, long(4000)),
        (0xC4A5, 7, b"PrintIM" + THUMBNAIL), after=5000,
    )  # fmt: skip
    places = {
        8: first, 1000: exif, 4000: gps,
        4500: make_directory(order, 4500, (0x0201, 4, long(5100))),
        5000: make_directory(order, 5000, (0x0201, 4, long(5100)),
                             (0x0202, 4, long(len(THUMBNAIL)))),
        5100: THUMBNAIL,
    }  # fmt: skip
    block = bytearray((b"II*\0" if order == "<" else b"MM\0*") + long(8))
    for start, content in places.items():
        assert len(block) <= start
        block += bytes(start - len(block)) + content
    return bytes(block)


def make_source(kind: str) -> bytes:
    """A photo with the thumbnail of its whole scene in EXIF and XMP."""
    photo = PIL.Image.fromarray(make_photo())
    block = b"Exif\0\0" + make_block()
    if kind == "TIFF":  # as its own tags, a second directory, and a second page
        tags = PIL.Image.Exif()
        tags[0x013B], tags[700], tags[0xC4A5] = "Ada", XMP_THUMBNAIL, THUMBNAIL
        tags.get_ifd(0x8769)[0x927C] = THUMBNAIL
        tags[0x8769] = tags.get_ifd(0x8769)
        small = photo.resize((32, 24))
        return save(photo, kind, exif=tags, save_all=True, append_images=[small])
    if kind == "HEIF":
        pillow_heif.register_heif_opener()
    if kind == "MPO":
        return save(photo, kind, exif=block, xmp=XMP_THUMBNAIL, save_all=True,
                    append_images=[photo.resize((32, 24))])  # fmt: skip
    if kind == "PNG":
        return encoded(make_photo(), "png", metadata=Metadata(exif=make_block(), xmp=XMP_THUMBNAIL))
    return save(photo, kind, exif=block, xmp=XMP_THUMBNAIL)


def shows_thumbnail(data: bytes) -> bool:
    """Whether a file holds the thumbnail's pixels, as they are or as text."""
    return THUMBNAIL[-80:-20] in data or base64.b64encode(THUMBNAIL)[-100:-20] in data


def cut(source: bytes, **options: Any) -> tuple[Cutout, bytes]:
    cutout = Remover(network=FakeRuntime(), **options)(source)
    return cutout, b"".join(cutout.encode()[1])


# --- no thumbnail of the removed background ------------------------------------------------------

SOURCES = ("JPEG", "MPO", "PNG", "WEBP", "AVIF", "HEIF", "TIFF")
TARGETS = ("png", "webp", "avif", "jpg", "tiff", "ora", "zip")


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("kind", SOURCES)
def test_no_thumbnail_in_any_result(kind: str, target: str) -> None:
    source = make_source(kind)
    assert shows_thumbnail(source)
    cutout, data = cut(source, format=target)
    assert not shows_thumbnail(data)
    assert b"Ada" in (cutout.metadata.exif or b"")
    assert b"Ada" in data  # the author stays


@pytest.mark.parametrize(
    "options",
    [{"result": "mask"}, {"result": "background"}, {"result": "foreground"}, {"crop": True},
     {"png": "small"}, {"background": "white", "format": "jpg"}],
)  # fmt: skip
def test_no_thumbnail_by_any_option(options: dict[str, Any]) -> None:
    assert not shows_thumbnail(cut(make_source("JPEG"), **options)[1])


@pytest.mark.parametrize("name", ["thumb_o1.jpg", "xmpthumb.jpg"])
@pytest.mark.skipif(not CASES.exists(), reason="no ../shared/cases beside the checkout")
def test_no_thumbnail_of_files_that_leaked(name: str) -> None:
    for target in TARGETS:
        _, data = cut((CASES / name).read_bytes(), format=target)
        assert data.count(b"JFIF") == (target in ("jpg", "zip"))  # its own
        assert b"xmpGImg" not in data
        assert b"/9j/" not in data


@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_is_copied_by_the_list(order: str) -> None:
    block = keep_exif(make_block(order))
    assert block is not None
    assert not shows_thumbnail(block)
    exif = PIL.Image.Exif()
    exif.load(block)
    inner = exif.get_ifd(0x8769)
    assert dict(exif).keys() == {0x010F, 0x013B, 0x8298, 0x8769, 0x8825}
    assert (exif[0x010F], exif[0x013B], exif[0x8298]) == ("Camera", "Ada", "(c) Ada")
    assert inner == {0x8827: 400, 0x9003: "2026:11:29 08:00:00", 0xA431: "S123456"}
    assert exif.get_ifd(0x8825) == {1: "N", 2: (1.0, 1.0, 1.0)}
    assert not exif.get_ifd(1)
    assert keep_exif(block) == block


@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff_says_the_same_in_its_own_byte_order(order: str) -> None:
    metadata = Metadata(exif=keep_exif(make_block(order)))
    data = encoded(make_photo(), "tiff", metadata=metadata)
    with PIL.Image.open(io.BytesIO(data)) as pillow:
        exif = pillow.getexif()
        assert exif[0x013B] == "Ada"
        assert exif.get_ifd(0x8769) == {
            0x8827: 400, 0x9003: "2026:11:29 08:00:00", 0xA431: "S123456"}  # fmt: skip
        assert exif.get_ifd(0x8825)[2] == (1.0, 1.0, 1.0)


@given(st.integers(0, 5000), st.binary(min_size=1, max_size=12), st.sampled_from("<>"))
def test_damaged_exif_never_costs_the_image(at: int, noise: bytes, order: str) -> None:
    block = bytearray(make_block(order))
    block[at : at + len(noise)] = noise
    kept = keep_exif(bytes(block[: len(block) - at % 7 * 100]))
    image = np.zeros((2, 2, 3), np.uint8)
    for kind in ("tiff", "png", "jpg"):
        data = b"".join(encode([Raster(image)], kind, metadata=Metadata(exif=kept)))
        assert next(load_frames(data)).image.shape == (2, 2, 3)


# --- what no longer holds ------------------------------------------------------------------------

MOTION = make_xmp(
    'GCamera:MotionPhoto="1" GCamera:MicroVideoOffset="4096" hdrgm:Version="1.0" '
    'GPano:FullPanoWidthPixels="8000" tiff:ImageWidth="240" tiff:Orientation="6" '
    'exif:PixelXDimension="240" crs:Exposure2012="+1.00" tiff:Make="Camera" dc:format="image/jpeg" '
    'dc:source="kept" exif:ExposureTime="1/60"',
    "<C:Directory><rdf:Seq><rdf:li>video</rdf:li></rdf:Seq></C:Directory>"
    '<dc:rights><rdf:Alt><rdf:li xml:lang="de">Ada &amp; Söhne</rdf:li></rdf:Alt></dc:rights>',
    'xmlns:GCamera="http://ns.google.com/photos/1.0/camera/" '
    'xmlns:C="http://ns.google.com/photos/1.0/container/" '
    'xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" '
    'xmlns:crs="http://ns.adobe.com/camera-raw-settings/1.0/" '
    'xmlns:GPano="http://ns.google.com/photos/1.0/panorama/"',
)


def test_xmp_of_the_input_file_is_left_out() -> None:
    names = [("dc", "purl.org/dc/elements"), ("tiff", "ns.adobe.com/tiff"),
             ("exif", "ns.adobe.com/exif")]  # fmt: skip
    expected = (
        '<rdf:Description rdf:about="" tiff:Make="Camera" dc:source="kept" '
        'exif:ExposureTime="1/60"><dc:rights><rdf:Alt><rdf:li xml:lang="de">Ada &amp; Söhne'
        "</rdf:li></rdf:Alt></dc:rights></rdf:Description>"
    )
    packet = keep_xmp(MOTION)
    assert packet is not None
    head, _, rest = packet.decode().partition("<rdf:Desc")
    assert ("<rdf:Desc" + rest).startswith(expected + "</rdf:RDF></x:xmpmeta><?xpacket end")
    assert head.count("xmlns:") == 2 + len(names)
    for prefix, address in names:
        assert f'xmlns:{prefix}="http://{address}/1.' in head


@pytest.mark.skipif(not CASES.exists(), reason="no ../shared/cases beside the checkout")
@pytest.mark.parametrize("target", TARGETS)
def test_result_of_a_motion_photo_is_a_still(target: str) -> None:
    cutout, data = cut((CASES / "motion.jpg").read_bytes(), format=target)
    for word in (b"Motion", b"MicroVideo", b"hdrgm", b"GPano", b"Container", b"ImageWidth"):
        assert word not in data
    assert b"kept" in data
    exif = PIL.Image.Exif()
    exif.load(cutout.metadata.exif or b"")
    assert dict(exif) == {0x010F: "Cam"}


def test_a_property_with_an_unknown_part_is_left_out() -> None:
    packet = make_xmp(elements="<dc:relation><g:image>AAAA</g:image></dc:relation>",
                      names='xmlns:g="http://ns.adobe.com/xap/1.0/g/img/"')  # fmt: skip
    assert keep_xmp(packet) is None


@pytest.mark.parametrize(
    "packet",
    [b"", b"no XML", b"<a>", b"\xff\xfe<\0a\0/\0>\0", b"<a/>", "<x:xmpmeta/>", "\ud800",
     b'<!DOCTYPE a [<!ENTITY b "bbbb">]>' + make_xmp('dc:source="kept"'),
     b"<a>" * 5000 + b"</a>" * 5000,
     make_xmp(elements="<dc:a>" + "<rdf:li>" * 5000 + "</rdf:li>" * 5000 + "</dc:a>"),
     make_xmp('dc:source="' + "x" * 5_000_000 + '"')],
    ids=range(11),
)  # fmt: skip
def test_xmp_that_cannot_be_used_is_dropped(packet: Any) -> None:
    assert keep_xmp(packet) is None


@pytest.mark.parametrize(
    ("given", "kept"),
    [((72, 96), (72, 96)), ((1, 1), None), (None, None), ((float("nan"), 72), None), ("ab", None),
     ((72,), None), ((1e9, 1e9), None)],
)  # fmt: skip
def test_density_that_a_file_can_hold(given: Any, kept: Any) -> None:
    assert keep_density(given) == kept


# --- the choice ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kept", "place", "serial", "author"),
    [("keep", True, True, True), ("private", False, False, True), ("none", False, False, False)],
)
@pytest.mark.parametrize("target", TARGETS)
def test_what_is_passed_on_is_the_users_choice(
    target: str, kept: KeptMetadata, place: bool, serial: bool, author: bool
) -> None:
    cutout, data = cut(make_source("JPEG"), format=target, metadata=kept)
    assert b"Ada" in (cutout.metadata.exif or b"")  # it is chosen when the file is written
    assert (b"Ulm" in data) == place
    assert (b"S123" in data) == serial
    assert (b"Ada" in data) == author


def test_private_keeps_the_camera_and_none_the_colours() -> None:
    given = Metadata(b"profile", keep_exif(make_block()), keep_xmp(XMP_THUMBNAIL), (300.0, 300.0))
    assert limit_metadata(given, "keep") is given
    assert limit_metadata(given, "none") == Metadata(b"profile", dpi=(300.0, 300.0))
    exif = PIL.Image.Exif()
    exif.load(limit_metadata(given, "private").exif or b"")
    assert exif[0x010F] == "Camera"
    assert not exif.get_ifd(0x8825)
    assert limit_metadata(read(make_source("TIFF")).metadata, "private").exif is not None
    assert Options().metadata == "keep"
