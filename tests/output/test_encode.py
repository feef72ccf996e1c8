"""Pictures out: every format, depth and size, and places that cannot be written."""

import io
import os
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from alphacut.errors import ImageError, OutputError
from alphacut.output.encode import (
    Raster,
    encode,
    output_format,
    quantise,
    save_image,
)
from alphacut.pipeline.image import Metadata
from alphacut.pipeline.load import load_frames, load_image
from alphacut.pipeline.metadata import keep_xmp
from made import (
    COLOUR,
    FRAMES,
    KINDS,
    NOISE,
    SRGB,
    TILE,
    XMP,
    encoded,
    read,
    samples_of,
    save,
    sizes,
)
from pictures import make_photo, with_alpha


def test_metadata_too_long_for_jpeg_are_left_out() -> None:
    metadata = Metadata(SRGB, bytes(70_000), bytes(70_000))
    data = encoded(make_photo(), "jpg", metadata=metadata)
    with PIL.Image.open(io.BytesIO(data)) as again:
        assert again.info["icc_profile"] == SRGB
        assert "exif" not in again.info
        assert "xmp" not in again.info


@pytest.mark.parametrize("kind", ["png", "tiff"])
@pytest.mark.parametrize("channels", [3, 4])
def test_16_bits_are_written(kind: str, channels: int) -> None:
    data = encoded(TILE[..., :channels], kind, metadata=Metadata(SRGB))
    by_opencv = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    order = [2, 1, 0, 3][:channels]
    np.testing.assert_array_equal(by_opencv[..., order], TILE[..., :channels])
    np.testing.assert_array_equal(read(data).image, TILE[..., :3])


@pytest.mark.parametrize("kind", ["jpg", "webp", "avif"])
def test_16_bits_are_rounded_where_the_format_has_8(kind: str) -> None:
    flat = np.full((16, 16, 3), 51528, np.uint16)  # 200.498 of 255
    np.testing.assert_allclose(load_image(encoded(flat, kind, 100)), 200, atol=1)


def test_metadata_of_animations() -> None:
    given = Metadata(SRGB, None, XMP % 1, (300, 300))
    frames = [Raster(frame) for frame in FRAMES]
    for kind in ("png", "webp", "avif"):
        data = b"".join(encode(frames, kind, metadata=given, durations_ms=[50] * 3, loop=0))
        metadata = next(load_frames(data)).metadata
        assert metadata.icc_profile == SRGB
        assert metadata.xmp == keep_xmp(XMP % 1)
        if kind == "png":
            assert metadata.dpi == pytest.approx((300, 300), abs=0.01)
            assert [data.count(name) for name in (b"iCCP", b"iTXt", b"pHYs")] == [1, 1, 1]


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (1, 1000), (1000, 1), (2, 3)])
@pytest.mark.parametrize("kind", KINDS)
def test_small_and_thin_pictures(size: tuple[int, int], kind: str) -> None:
    image = np.full((*size, 3), COLOUR, np.uint8)
    alpha = np.ones(size, np.float32)
    samples = image if kind == "jpg" else with_alpha(image, alpha)
    again = load_image(encoded(samples, kind, 100))
    assert again.shape == (*size, 3)
    np.testing.assert_allclose(again, image, atol=3)


@pytest.mark.parametrize(("kind", "longest"), [("webp", 16383), ("jpg", 65500), ("png", 1_000_000)])
def test_a_format_that_cannot_hold_the_size_says_so(kind: str, longest: int) -> None:
    encoded(np.zeros((1, longest, 3), np.uint8), kind, 50)
    with pytest.raises(OutputError, match=rf"{longest + 1} x 1 .*{kind}.*tiff"):
        encoded(np.zeros((1, longest + 1, 3), np.uint8), kind, 50)


def test_a_tiff_of_many_strips() -> None:
    image = np.random.default_rng(0).integers(0, 256, (700, 5, 3)).astype(np.uint8)
    np.testing.assert_array_equal(load_image(encoded(image, "tiff")), image)


def test_colours_stay_straight_and_hidden_ones_go() -> None:
    image = np.full((1, 3, 3), COLOUR, np.uint8)
    alpha = np.array([[0.5, 0.0, 1.0]], np.float32)
    before = image.copy(), alpha.copy()
    samples = with_alpha(image, alpha)
    assert samples[0].tolist() == [[*COLOUR, 128], [0, 0, 0, 0], [*COLOUR, 255]]
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(alpha, before[1])
    for kind in ("png", "tiff", "webp"):
        pillow = PIL.Image.open(io.BytesIO(encoded(samples, kind, 100)))
        assert np.asarray(pillow.convert("RGBA")).tolist() == samples.tolist()


def test_alpha_is_rounded() -> None:
    alpha = np.array([[0, 0.4 / 255, 0.6 / 255, 254.4 / 255, 1]], np.float32)
    assert quantise(alpha).tolist() == [[0, 0, 1, 254, 255]]
    assert quantise(np.array([[0, 0.5, 1]], np.float32), 65535.0).tolist() == [[0, 32768, 65535]]


def test_format_follows_from_the_name() -> None:
    for name, kind in [("a.png", "png"), ("a.APNG", "png"), ("a.JPeG", "jpg"), ("a.tif", "tiff"),
                       ("a.webp", "webp"), ("a.avif", "avif"), ("a.ora", "ora")]:  # fmt: skip
        assert output_format(Path(name)) == kind
        assert output_format(Path(name), kind, opaque=True) == kind  # type: ignore[arg-type]
    assert output_format(None) == "png"
    assert output_format(None, "webp") == "webp"
    assert output_format(None, opaque=True) == output_format(Path("a"), opaque=True) == "jpg"
    with pytest.raises(OutputError, match=r"\.gif: use one of .*\.png"):
        output_format(Path("a.gif"))
    with pytest.raises(OutputError, match="the format is webp"):
        output_format(Path("a.png"), "webp")


@pytest.mark.parametrize("kind", KINDS)
def test_files_are_of_the_kind_their_name_says(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"photo.{kind}"
    save_image(path, make_photo())
    with PIL.Image.open(path) as pillow:
        assert pillow.format == {"jpg": "JPEG"}.get(kind, kind.upper())
        assert pillow.mode == "RGB"


def test_save_image_with_alpha(tmp_path: Path, photo: NDArray[np.uint8]) -> None:
    alpha = np.linspace(0, 1, photo[..., 0].size, dtype=np.float32).reshape(photo.shape[:2])
    save_image(tmp_path / "cut.png", photo, alpha)
    with PIL.Image.open(tmp_path / "cut.png") as pillow:
        np.testing.assert_array_equal(np.asarray(pillow), with_alpha(photo, alpha))
    deep = photo.astype(np.uint16) * 257
    save_image(tmp_path / "deep.png", deep)
    np.testing.assert_array_equal(load_image(tmp_path / "deep.png"), deep)


@pytest.mark.parametrize(
    ("image", "alpha", "error"),
    [
        (make_photo() / np.float32(255), None, "dtype float32 is not uint8 or uint16"),
        (make_photo()[..., :2], None, r"shape \(48, 64, 2\)"),
        (make_photo()[:0], None, "has no pixels"),
        (make_photo(), np.ones((9, 9), np.float32), r"alpha: shape \(9, 9\)"),
        (make_photo()[..., 0], np.ones((48, 64), np.float32), "alpha: shape"),
    ],
)
def test_save_image_refuses_what_is_no_picture(
    tmp_path: Path, image: Any, alpha: Any, error: str
) -> None:
    with pytest.raises(ImageError, match=error):
        save_image(tmp_path / "a.png", image, alpha)
    assert os.listdir(tmp_path) == []


def test_save_image_to_what_has_no_alpha(tmp_path: Path, photo: NDArray[np.uint8]) -> None:
    with pytest.raises(OutputError, match=r"jpg has no alpha: choose png"):
        save_image(tmp_path / "a.jpg", photo, np.ones((48, 64), np.float32))
    save_image(tmp_path / "a.jpg", photo[..., :1])
    assert os.listdir(tmp_path) == ["a.jpg"]


def test_grey_is_written_as_grey(photo: NDArray[np.uint8]) -> None:
    for kind in KINDS:
        data = encoded(photo[..., 0], kind, 100, metadata=Metadata(SRGB))
        pillow = PIL.Image.open(io.BytesIO(data))
        assert pillow.mode == "L" or kind in ("webp", "avif")
        assert "icc_profile" not in pillow.info  # that of RGB does not describe grey
        np.testing.assert_allclose(np.asarray(pillow.convert("L")), photo[..., 0], atol=3)


@pytest.mark.parametrize("kind", ["png", "tiff", "webp", "avif"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_alpha_beside_colours_is_joined(kind: str, dtype: type) -> None:
    """In bands, of which the picture has several, as if the two were one array."""
    y, x = np.mgrid[:600, :9]
    colours = np.stack([x * 20, y % 256, x + y % 7], 2).astype(dtype)
    alpha = ((y // 2 + x) % 256).astype(dtype)
    if dtype == np.uint16:
        colours, alpha = colours * np.uint16(257), alpha * np.uint16(257)
    raster = Raster(colours, alpha)
    assert raster.joined()[..., 3].tolist() == alpha.tolist()
    apart, joined = (b"".join(encode([given], kind, quality=100))
                     for given in (raster, Raster(raster.joined())))  # fmt: skip
    assert apart == joined


@pytest.mark.parametrize(("kind", "tolerance"), [("webp", 0), ("avif", 3), ("jpg", 5)])
def test_quality_100_loses_nothing_or_little(kind: str, tolerance: int) -> None:
    """Even of noise: colours are not stored at half the resolution."""
    np.testing.assert_allclose(load_image(encoded(NOISE, kind, 100)), NOISE, atol=tolerance)
    assert len(encoded(NOISE, kind, 50)) < len(encoded(NOISE, kind, 100)) / 2


def test_places_that_cannot_be_written(tmp_path: Path, photo: NDArray[np.uint8]) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    for name in ("none/cut.png", "file/cut.png", "folder.png", "x" * 300 + ".png"):
        with pytest.raises(OutputError, match="cannot be written"):
            save_image(tmp_path / name, photo)
    assert sorted(os.listdir(tmp_path)) == ["file", "folder.png"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits on the length of files")
def test_no_room_for_the_file(tmp_path: Path) -> None:
    """A limit on the length of files fails a write half-way, as a full disk does."""
    code = (
        "import resource, sys, numpy, alphacut\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "noise = numpy.random.default_rng(0).integers(0, 256, (99, 99, 3)).astype('uint8')\n"
        "try:\n    alphacut.save_image(sys.argv[1], noise)\n"
        "except alphacut.AlphacutError as error:\n    print(error)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "cut.png")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.endswith("cut.png: cannot be written: File too large: free some space\n")
    assert os.listdir(tmp_path) == []


@settings(max_examples=60, deadline=None)
@given(samples_of(), st.sampled_from(["png", "tiff"]))
def test_any_array_survives_a_file(array: NDArray[Any], kind: str) -> None:
    data = encoded(array, kind)
    picture, expected = read(data), read(array)
    assert picture.image.dtype == array.dtype
    np.testing.assert_array_equal(picture.image, expected.image)
    if expected.alpha is not None:
        assert picture.alpha is not None
        np.testing.assert_array_equal(picture.alpha, expected.alpha)
    else:
        assert picture.alpha is None


@settings(max_examples=60, deadline=None)
@given(samples_of(), st.integers(1, 99))
def test_png_of_several_bands_is_sound(array: NDArray[Any], band_bytes: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("alphacut.output.encode._PNG_BAND_BYTES", band_bytes)
        data = encoded(array, "png")
    with PIL.Image.open(io.BytesIO(data)) as pillow:
        pillow.verify()  # the checksums of the chunks
    compressed = b"".join(body for name, body in chunks_of(data) if name == b"IDAT")
    filtered = zlib.decompress(compressed)  # and that of all samples
    assert len(filtered) == array.nbytes + len(array)
    np.testing.assert_array_equal(read(data).image, read(array).image)


def chunks_of(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = 8
    while place < len(png):
        length = int.from_bytes(png[place : place + 4], "big")
        yield png[place + 4 : place + 8], png[place + 8 : place + 8 + length]
        place += 12 + length


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_hidden_pixels_have_no_colour(data: st.DataObject) -> None:
    size = data.draw(sizes)
    image = data.draw(arrays(np.uint8, (*size, 3)))
    alpha = data.draw(arrays(np.float32, size, elements=st.floats(0, 1, width=32)))
    samples = with_alpha(image, alpha)
    hidden = samples[..., 3] == 0
    assert not samples[hidden].any()
    np.testing.assert_array_equal(samples[~hidden][:, :3], image[~hidden])
    assert np.abs(samples[..., 3] / 255 - alpha).max() <= 0.5 / 255 + 1e-6


@pytest.mark.parametrize("kind", ["png", "webp"])
@pytest.mark.parametrize("alpha", [False, True])
def test_more_effort_gives_smaller_files_and_no_effort_loses_a_pixel(
    kind: str, alpha: bool
) -> None:
    image = load_image(Path(__file__).parents[2] / "examples" / "chelsea.png")
    H, W = image.shape[:2]
    if alpha:
        y, x = np.ogrid[:H, :W]
        inside = 1 - np.hypot(y - H / 2, x - W / 2) / (H / 3)
        image = with_alpha(image, np.clip(inside * 9, 0, 1).astype(np.float32))
    files = [encoded(image, kind, 100, effort) for effort in ("fast", "balanced", "small")]
    for data in files:
        again = np.asarray(PIL.Image.open(io.BytesIO(data)))
        shown = image[..., -1] > 0 if alpha else slice(None)
        np.testing.assert_array_equal(again[shown], image[shown])
    fast, balanced, small = map(len, files)
    assert small < min(fast, balanced) * 1.02  # of tiny pictures, effort may gain nothing
    assert small < fast
    usual = save(PIL.Image.fromarray(image), kind.upper(), lossless=True)
    assert fast <= 1.4 * len(usual)
