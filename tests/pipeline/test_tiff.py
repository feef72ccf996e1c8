"""TIFF of every kind that programs write: a table, compared with what was put in."""

import contextlib
import io
import itertools
import subprocess
import sys
import tracemalloc
import warnings
from typing import Any

import numpy as np
import PIL.Image
import pytest
import tifffile
from numpy.typing import NDArray

from alphacut.errors import ImageError
from alphacut.pipeline.load import load_frames, load_image
from made import NOISE, save
from pictures import CASES

H, W = 40, 48
X, Y = np.arange(W), np.arange(H)[:, None]
RED, GREEN, BLUE = 5 * X + 0 * Y, 6 * Y + 0 * X, 2 * (X + Y)
ALPHA = np.broadcast_to(255 * X // 47, (H, W))

KINDS = {  # colours, and the kind of the extra sample
    "grey": (1, None),
    "grey + associated": (1, "ASSOCALPHA"),
    "grey + unassociated": (1, "UNASSALPHA"),
    "rgb": (3, None),
    "rgb + associated": (3, "ASSOCALPHA"),
    "rgb + unassociated": (3, "UNASSALPHA"),
    "rgb + unspecified": (3, "UNSPECIFIED"),
}
TABLE = list(
    itertools.product(
        KINDS,
        (8, 16),
        ("contig", "separate"),
        ("none", "adobe_deflate", "lzw", "packbits"),
        ("strips", "tiles"),
        ("<", ">"),
    )
)


def made(
    kind: str, bits: int, planar: str, compression: str, layout: str, order: str, **more: Any
) -> bytes:
    """A TIFF of a kind, written by tifffile."""
    channels, extra = KINDS[kind]
    white = 2**bits - 1
    samples = [GREEN] if channels == 1 else [RED, GREEN, BLUE]
    samples = [plane * (white // 255) for plane in samples]
    if extra == "ASSOCALPHA":
        samples = [np.rint(plane * (ALPHA / 255)) for plane in samples]
    if extra:
        samples.append(ALPHA * (white // 255))
    array = np.stack(samples, axis=0 if planar == "separate" else 2)
    array = array.astype(f"{order}u{bits // 8}")
    if len(samples) == 1:
        array = array.reshape(H, W)
    file = io.BytesIO()
    tifffile.imwrite(
        file, array, byteorder=order, photometric="rgb" if channels == 3 else "minisblack",
        planarconfig=planar if len(samples) > 1 else None,
        extrasamples=[extra] if extra else None,
        compression=None if compression == "none" else compression,
        rowsperstrip=None if layout == "tiles" else 7,
        tile=(16, 32) if layout == "tiles" else None,
        metadata=None, **more,
    )  # fmt: skip
    return file.getvalue()


def read(data: bytes) -> tuple[NDArray[Any], NDArray[Any] | None]:
    picture = next(load_frames(data, keep_depth=True))
    return picture.image, picture.alpha


def check(data: bytes, kind: str, bits: int) -> None:
    channels, extra = KINDS[kind]
    step = (2**bits - 1) // 255
    image, alpha = read(data)
    assert image.dtype == (np.uint8 if bits == 8 else np.uint16)
    expected = np.stack([GREEN] * 3 if channels == 1 else [RED, GREEN, BLUE], axis=2) * step
    if extra == "ASSOCALPHA":  # what was multiplied is known to half a level of the product
        shown = ALPHA >= 64
        np.testing.assert_allclose(image[shown], np.minimum(expected, 255 * step)[shown], atol=3)
    else:
        np.testing.assert_array_equal(image, expected)
    if extra in ("ASSOCALPHA", "UNASSALPHA"):
        assert alpha is not None
        np.testing.assert_array_equal(alpha, ALPHA * step)
    else:
        assert alpha is None


@pytest.mark.parametrize(("kind", "bits"), [*itertools.product(KINDS, (8, 16))])
def test_the_table(kind: str, bits: int) -> None:
    for row in TABLE:
        if row[:2] == (kind, bits):
            check(made(*row), kind, bits)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_differences_and_bigtiff(bits: int, planar: str) -> None:
    for order, compression in itertools.product("<>", ("lzw", "adobe_deflate")):
        row = ("rgb", bits, planar, compression, "strips", order)
        check(made(*row, predictor=True), "rgb", bits)
        check(made(*row, bigtiff=True), "rgb", bits)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize("channels", [1, 3])
def test_floats_are_light(dtype: str, channels: int) -> None:
    light = np.linspace(0, 1.25, H * W * channels).reshape(H, W, channels).astype(dtype)
    file = io.BytesIO()
    kind = "rgb" if channels == 3 else "minisblack"
    array = light if channels == 3 else light[..., 0]
    tifffile.imwrite(file, array, photometric=kind, metadata=None)
    image, _ = read(file.getvalue())
    linear = np.clip(light.astype(float), 0, 1)  # what is brighter than white is white
    encoded = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    np.testing.assert_allclose(image[..., :channels] / 65535, encoded, atol=1e-4)


def test_float_differences() -> None:
    light = np.linspace(0, 1, H * W * 3, dtype=np.float32).reshape(H, W, 3)
    plain, packed = io.BytesIO(), io.BytesIO()
    tifffile.imwrite(plain, light, photometric="rgb", metadata=None)
    tifffile.imwrite(
        packed, light, photometric="rgb", metadata=None, compression="adobe_deflate", predictor=True
    )
    np.testing.assert_array_equal(read(plain.getvalue())[0], read(packed.getvalue())[0])


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("photometric", ["CIELAB", "ICCLAB"])
def test_lab(bits: int, photometric: str) -> None:
    """White, mid grey and the sRGB red of a D50 profile, as TIFF 6.0 stores them."""
    lab = np.array([[[100, 0, 0], [53.39, 0, 0], [54.29, 80.81, 69.89]]])
    step = 1 if bits == 8 else 256
    if photometric == "CIELAB":
        lightness = lab[..., :1] * ((255 if bits == 8 else 65535) / 100)
        stored = np.concatenate([lightness, lab[..., 1:] * step], axis=2)
        array = np.rint(stored).astype(f"i{bits // 4}").astype(f"u{bits // 8}")
    else:
        lightness = lab[..., :1] * ((255 if bits == 8 else 65280) / 100)
        array = np.concatenate([lightness, (lab[..., 1:] + 128) * step], axis=2)
        array = np.rint(array).astype(f"u{bits // 8}")
    file = io.BytesIO()
    tifffile.imwrite(file, array, photometric=photometric, metadata=None, planarconfig="contig")
    image, _ = read(file.getvalue())
    white = np.iinfo(image.dtype).max
    expected = [[[255, 255, 255], [128, 128, 128], [255, 0, 0]]]
    np.testing.assert_allclose(image * (255 / white), expected, atol=2.5 if bits == 8 else 1.5)


def test_what_is_not_supported_is_named() -> None:
    file = io.BytesIO()
    cmyk = np.zeros((8, 8, 4), np.uint16)
    tifffile.imwrite(file, cmyk, photometric="separated", metadata=None)
    with pytest.raises(ImageError, match="16-bit TIFF with CMYK is not supported"):
        read(file.getvalue())


def patched(data: bytes, tag: int, value: int) -> bytes:
    """Set a number in the directory of a little-endian TIFF."""
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        at = file.pages.first.tags[tag].offset
    kind = data[at + 2]
    number = value.to_bytes(2 if kind == 3 else 4, "little")
    return data[: at + 8] + number.ljust(4, b"\0") + data[at + 12 :]


def test_tiles_far_larger_than_the_image_are_refused() -> None:
    """A few bytes deflated would fill gigabytes of such a tile."""
    data = made("rgb", 16, "contig", "adobe_deflate", "tiles", "<")
    for tag in (322, 323):
        data = patched(data, tag, 65520)
    tracemalloc.start()
    with pytest.raises(ImageError, match="tiles of 65520 x 65520 pixels"):
        read(data)
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()


def test_a_kind_that_no_decoder_reads_is_named() -> None:
    for dtype, words in (("c8", "64-bit complex"), ("u4", "32-bit"), ("i8", "64-bit signed")):
        file = io.BytesIO()
        array = np.zeros((8, 8, 3), dtype)
        tifffile.imwrite(file, array, photometric="rgb", metadata=None)
        with pytest.raises(ImageError, match=rf"TIFF \({words}, RGB, NONE compression\)") as caught:
            read(file.getvalue())
        assert "save it as RGB, 8 or 16 bits" in str(caught.value)


@pytest.mark.parametrize("compression", ["none", "adobe_deflate", "lzw", "packbits"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_a_file_cut_short(planar: str, compression: str) -> None:
    """What is missing is an error, or zero where that is allowed: never what memory held."""
    data = made("rgb", 16, planar, compression, "strips", "<")
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        last = file.pages.first.dataoffsets[-1]
    short = data[: last + 2] if last > 1000 else data
    with pytest.raises(ImageError, match="damaged or truncated"):
        read(short)
    first = next(load_frames(short, keep_depth=True, allow_truncated=True)).image
    again = next(load_frames(short, keep_depth=True, allow_truncated=True)).image
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first[:7], read(data)[0][:7])


LEAK = """
import sys, numpy as np
from alphacut.pipeline.load import load_frames
data = open(sys.argv[1], "rb").read()
for level in (0, 37, 255):
    held = [np.full((H, W, 3), level, np.uint16) for H in (40, 64, 512) for W in (48, 64, 512)]
    del held  # what the next allocation finds
    print(next(load_frames(data, keep_depth=True)).image.tobytes().hex())
"""


@pytest.mark.skipif(not CASES.exists(), reason="the cases are not beside the checkout")
@pytest.mark.parametrize("name", ["planar-rgb16.tif", "planar-rgba16.tif"])
def test_planes_hold_nothing_of_what_was_in_memory(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LEAK, CASES / name], capture_output=True, text=True, check=True
    )
    assert len(set(done.stdout.split())) == 1
    image, alpha = read((CASES / name).read_bytes())
    np.testing.assert_array_equal(image, np.stack([RED, GREEN, BLUE], axis=2) * 257)
    if alpha is not None:
        np.testing.assert_array_equal(alpha, ALPHA * 257)


@pytest.mark.skipif(not CASES.exists(), reason="the cases are not beside the checkout")
def test_cases() -> None:
    image, alpha = read((CASES / "planar-premultiplied8.tif").read_bytes())
    shown = ALPHA >= 64
    np.testing.assert_allclose(image[shown], np.stack([RED, GREEN, BLUE], 2)[shown], atol=3)
    np.testing.assert_array_equal(alpha, ALPHA)
    image, _ = read((CASES / "bigtiff-mm.tif").read_bytes())
    np.testing.assert_array_equal(image, np.stack([RED, GREEN, BLUE], axis=2))
    image, alpha = read((CASES / "grey-alpha16.tif").read_bytes())
    np.testing.assert_array_equal(image, np.stack([GREEN] * 3, axis=2) * 257)
    np.testing.assert_array_equal(alpha, ALPHA * 257)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "jpeg", "raw"])
@pytest.mark.parametrize("by_pillow", [True, False])
def test_decoders_write_nothing_to_standard_error(
    compression: str, by_pillow: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    """libtiff has words of its own for each broken strip and tag."""
    file = io.BytesIO()
    PIL.Image.fromarray(NOISE).save(file, "TIFF", compression=compression)
    whole = file.getvalue()
    for at in range(8, len(whole), len(whole) // 40):
        data = whole[:at] + b"\xff\x55\0" + whole[at + 3 :]
        with contextlib.suppress(ImageError), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if by_pillow:
                with contextlib.suppress(OSError, SyntaxError):
                    load_image(PIL.Image.open(io.BytesIO(data)))
            else:
                load_image(data)
    assert capfd.readouterr().err == ""


def of_jpegs(tile: tuple[int, int] | None, size: tuple[int, int]) -> bytes:
    """A grey TIFF of (H, W) whose strips of 16 rows, or tiles, are JPEGs of one size (h, w)."""
    file, strip = io.BytesIO(), io.BytesIO()
    PIL.Image.new("L", size[::-1], 200).save(strip, "JPEG", quality=95)
    rows, columns = tile or (16, W)
    count = -(-H // rows) * -(-W // columns)
    tifffile.imwrite(
        file, iter([strip.getvalue()] * count), shape=(H, W), dtype=np.uint8, compression="jpeg",
        photometric="minisblack", tile=tile, rowsperstrip=None if tile else 16, metadata=None,
    )  # fmt: skip
    return file.getvalue()


@pytest.mark.parametrize("tile", [None, (16, 32)])
@pytest.mark.parametrize("allow_truncated", [True, False])
def test_a_jpeg_smaller_than_its_place_is_refused(
    tile: tuple[int, int] | None, allow_truncated: bool
) -> None:
    """libtiff leaves the rest of the strip to what memory held before."""
    whole = (16, tile[1] if tile else W)
    image = load_image(of_jpegs(tile, whole), allow_truncated=allow_truncated)
    assert image.shape == (H, W, 3)
    assert np.abs(image.astype(int) - 200).max() <= 2
    for h, w in ((16, whole[1] - 8), (12, whole[1])):
        data = of_jpegs(tile, (h, w))
        for source in (data, PIL.Image.open(io.BytesIO(data))):
            with pytest.raises(ImageError, match=f"JPEG of {w} x {h} where one of {whole[1]} x 16"):
                load_image(source, allow_truncated=allow_truncated)


def test_the_page_that_pillow_has_turned_to_is_checked() -> None:
    file, strip = io.BytesIO(), io.BytesIO()
    PIL.Image.new("L", (W - 8, H)).save(strip, "JPEG")
    with tifffile.TiffWriter(file) as writer:
        writer.write(np.zeros((H, W), np.uint8))
        writer.write(iter([strip.getvalue()]), shape=(H, W), dtype=np.uint8, compression="jpeg",
                     photometric="minisblack", rowsperstrip=H)  # fmt: skip
    pillow = PIL.Image.open(file)
    assert load_image(pillow).shape == (H, W, 3)
    pillow.seek(1)
    with pytest.raises(ImageError, match=f"JPEG of {W - 8} x {H} where one of {W} x {H} belongs"):
        load_image(pillow)


def test_fax_compression_is_refused() -> None:
    """Of group 4, libtiff reads a strip that ends early as if it were whole."""
    image = PIL.Image.fromarray(NOISE).convert("1")
    with pytest.raises(ImageError, match="fax compression"):
        load_image(save(image, "TIFF", compression="group4"))
    for compression in ("group3", "tiff_ccitt"):
        read_back = load_image(save(image, "TIFF", compression=compression))
        np.testing.assert_array_equal(read_back[..., 0] > 0, np.asarray(image))
