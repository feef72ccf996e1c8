import dataclasses
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from alphacut import Options, Remover, load_image
from alphacut.cutout import Cutout, difference
from alphacut.errors import AlphacutWarning, ImageError, OptionError, OutputError
from alphacut.options import Result, Shadow
from alphacut.output import geometry
from alphacut.pipeline.image import Metadata
from alphacut.pipeline.profile import convert_profile
from made import PROFILES
from pictures import CASES


def cutout(dtype: type = np.uint8) -> Cutout:
    """Three columns: hidden, half, whole; all of one colour, which is also the photo's."""
    foreground = np.empty((2, 3, 3), np.uint8)
    foreground[:] = (200, 180, 160)
    if dtype == np.uint16:
        foreground = foreground.astype(np.uint16) * 257
    alpha = np.array([[0, 0.5, 1], [0, 0.5, 1]], np.float32)
    return Cutout(foreground, alpha, alpha, replaced=difference(foreground, foreground))


def test_views_of_a_cutout() -> None:
    cut = cutout()
    assert cut.size == (2, 3)
    assert cut.box == (1, 0, 3, 2)
    assert cut.image.crop(cut.box).size == (2, 2)
    assert not cut.empty
    assert cut.image.mode == "RGBA"
    assert cut.image.getpixel((1, 0)) == (200, 180, 160, 128)
    assert cut.image.getpixel((0, 0)) == (0, 0, 0, 0)
    np.testing.assert_array_equal(np.asarray(cut), np.asarray(cut.image))
    assert np.asarray(cut, dtype=np.float32).dtype == np.float32
    assert cutout(np.uint16).image.getpixel((2, 1)) == (200, 180, 160, 255)
    assert cut._repr_png_().startswith(b"\x89PNG")
    assert cut.mask.shape == cut.size


def test_a_cutout_is_shown_in_one_line() -> None:
    cut = dataclasses.replace(cutout(), doubt=0.126)
    assert repr(cut) == "<alphacut.Cutout 3 x 2, box (1, 0, 3, 2), doubt 0.13>"
    empty = dataclasses.replace(cut, alpha=np.zeros((2, 3), np.float32), doubt=1.0)
    assert repr(empty) == "<alphacut.Cutout 3 x 2, no subject>"
    moving = dataclasses.replace(cut, frames=(cut,))
    assert repr(moving) == "<alphacut.Cutout 3 x 2, box (1, 0, 3, 2), doubt 0.13, 2 frames>"


@pytest.mark.parametrize(
    "asked",
    [
        Options(),
        Options(crop=True, background="white"),
        Options(background="blur:3", size="50x40"),
        Options(background="#ff000080", shadow="drop"),
        Options(format="jpg"),
        Options(result="mask", crop=True, margin="5px"),
        Options(result="trimap"),
        Options(result="foreground"),
        Options(result="background"),
        Options(result="preview"),
    ],
)
def test_its_image_is_what_would_be_saved(asked: Options) -> None:
    cut = dataclasses.replace(subject(), options=asked)
    with PIL.Image.open(io.BytesIO(cut.to_bytes(file_quality=100))) as written:
        assert (cut.image.mode, cut.image.size) == (written.mode, written.size)
        tolerance = 4 if written.format == "JPEG" else 0
        np.testing.assert_allclose(cut.image, written, atol=tolerance)
    np.testing.assert_array_equal(np.asarray(cut), np.asarray(cut.image))
    with PIL.Image.open(io.BytesIO(cut._repr_png_())) as shown:
        assert shown.size == cut.image.size


def test_its_image_has_the_photos_profile_where_it_has_colours() -> None:
    cut = in_profile("AdobeRGB")
    assert cut.image.info["icc_profile"] == PROFILES["AdobeRGB"]
    mask = dataclasses.replace(cut, options=Options(result="mask"))
    assert "icc_profile" not in mask.image.info


def test_save_to_a_file_object_or_bytes(tmp_path: Path) -> None:
    cut = cutout()
    for kind in ("png", "webp", "tiff", "zip"):
        file = io.BytesIO()
        cut.save(file, format=kind)
        assert file.getvalue() == cut.to_bytes(kind) == cut.to_bytes(format=kind)
        assert file.getvalue() == cut.save(tmp_path / f"a.{kind}").read_bytes() or kind == "zip"
    assert cut.to_bytes().startswith(b"\x89PNG")
    assert cut.to_bytes(background="red").startswith(b"\xff\xd8")
    assert cut.to_bytes("png", background="red").startswith(b"\x89PNG")
    with (tmp_path / "b").open("wb") as file:
        cut.save(file, result="mask")
    assert load_image(tmp_path / "b").shape == (2, 3, 3)
    with (tmp_path / "c").open("w") as text, pytest.raises(OutputError, match="mode 'wb'"):
        cut.save(text)  # type: ignore[call-overload]
    with pytest.raises(OutputError, match="NoneType: give a path or a file object"):
        cut.save(None)  # type: ignore[call-overload]
    moving = dataclasses.replace(cut, frames=(cut,))
    for target in (io.BytesIO(), tmp_path / "d.jpg"):
        with pytest.warns(AlphacutWarning, match="only the first of 2 frames") as caught:
            moving.save(target, format="jpg")
        assert caught[0].filename == __file__  # whoever called, not a line of alphacut


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_file_object_that_cannot_be_written() -> None:
    no_space = pytest.raises(OutputError, match="/dev/full: cannot be written: No space")
    with open("/dev/full", "wb", buffering=0) as full, no_space:
        cutout().save(full)


def test_nothing_visible() -> None:
    alpha = np.full((4, 4), 0.001, np.float32)
    cut = Cutout(np.ones((4, 4, 3), np.uint8), alpha, alpha)
    assert cut.empty
    assert not np.asarray(cut).any()


@pytest.mark.parametrize(("name", "kind"), [
    ("a.png", "PNG"), ("a.webp", "WEBP"), ("a.tif", "TIFF"), ("a.avif", "AVIF"), ("a.JPG", "JPEG"),
])  # fmt: skip
def test_save_by_ending(tmp_path: Path, name: str, kind: str) -> None:
    path = cutout().save(tmp_path / name)
    with PIL.Image.open(path) as written:
        assert written.format == kind
        assert written.size == (3, 2)
        if kind != "JPEG":
            assert written.convert("RGBA").getpixel((0, 0))[3] == 0


def test_save_mask_and_composite(tmp_path: Path) -> None:
    cutout().save(tmp_path / "mask.png", result="mask")
    with PIL.Image.open(tmp_path / "mask.png") as mask:
        assert mask.mode == "L"
        assert np.asarray(mask).tolist() == [[0, 128, 255]] * 2
    cutout().save(tmp_path / "red.png", background="red")
    with PIL.Image.open(tmp_path / "red.png") as red:
        assert red.mode == "RGB"
        assert red.getpixel((0, 0)) == (255, 0, 0)


def test_save_refuses_what_it_cannot_do(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"\.gif"):
        cutout().save(tmp_path / "a.gif")
    with pytest.raises(OutputError, match="but the format is png"):
        cutout().save(tmp_path / "a.jpg", format="png")
    with pytest.raises(OutputError, match="cannot be written"):
        cutout().save(tmp_path / "none" / "a.png")
    assert not list(tmp_path.iterdir())


def test_frames_that_a_format_cannot_hold(tmp_path: Path) -> None:
    after = dataclasses.replace(cutout(), foreground=cutout().foreground // 2)
    moving = dataclasses.replace(cutout(), frames=(after,), duration_ms=40.0)
    with pytest.warns(AlphacutWarning, match="only the first of 2 frames"):
        moving.save(tmp_path / "a.jpg")
    moving.save(tmp_path / "a.png")
    with PIL.Image.open(tmp_path / "a.png") as written:
        assert written.n_frames == 2


def test_on_a_background() -> None:
    white = cutout().on("white")
    assert white.tolist() == [[[255, 255, 255], [228, 218, 208], [200, 180, 160]]] * 2
    assert cutout(np.uint16).on((0, 255, 0))[0, 0].tolist() == [0, 65535, 0]
    assert cutout().on("white", linear_light=True)[0, 1].tolist() == [230, 222, 214]
    glass = cutout().on("#0000ff80")
    assert glass.shape == (2, 3, 4)
    assert glass[0, 0].tolist() == [0, 0, 255, 128]
    np.testing.assert_array_equal(cutout().on("transparent"), np.asarray(cutout()))


@pytest.mark.parametrize("result", ["cutout", "background"])
@pytest.mark.parametrize("shadow", ["none", "drop"])
@pytest.mark.parametrize("background", [None, "transparent", "#ff000000"])
def test_jpeg_puts_what_shines_through_on_white(
    tmp_path: Path, background: str | None, shadow: Shadow, result: Result
) -> None:
    path = cutout().save(
        tmp_path / "a.jpg", background=background, shadow=shadow, result=result, file_quality=100
    )
    with PIL.Image.open(path) as written:
        assert (written.format, written.mode) == ("JPEG", "RGB")
        x = 0 if result == "cutout" else 2  # where nothing is
        if shadow == "none":
            assert min(written.getpixel((x, 0))) >= 250


def test_the_photo_is_put_together_anew() -> None:
    generator = np.random.default_rng(0)
    photo = generator.integers(0, 256, (600, 7, 3), np.uint8)
    foreground = photo.copy()
    foreground[::3, 2] ^= 1
    alpha = np.ones((600, 7), np.float32)
    cut = Cutout(foreground, alpha, alpha, replaced=difference(photo, foreground))
    np.testing.assert_array_equal(cut.photo, photo)
    with pytest.raises(ImageError, match="does not know its photo"):
        Cutout(foreground, alpha, alpha).on("blur:3")
    with pytest.raises(ImageError, match="does not know its photo"):
        cut.arrange(crop=True).on("desaturate")


def test_inverted_has_a_hole() -> None:
    hole = cutout().inverted()
    np.testing.assert_array_equal(hole.alpha, 1 - cutout().alpha)
    assert hole.foreground[0, 0].tolist() == [200, 180, 160]
    np.testing.assert_array_equal(hole.photo, cutout().photo)
    assert hole.on("black")[0, 2].tolist() == [0, 0, 0]


def subject(H: int = 40, W: int = 60) -> Cutout:
    """A rectangle at rows 10..20 and columns 20..40 of a photo in which each pixel is another."""
    y, x = np.mgrid[:H, :W]
    photo = np.stack([y * 5, x * 4, y + x], 2).astype(np.uint8)
    alpha = np.zeros((H, W), np.float32)
    alpha[10:20, 20:40] = 1
    alpha[0, 0] = 0.01  # noise
    return Cutout(photo, alpha, alpha, replaced=difference(photo, photo))


def test_crop_by_hand() -> None:
    cut = subject()
    part = cut.arrange(crop=True)
    assert part.size == (10, 20)
    np.testing.assert_array_equal(part.foreground, cut.foreground[10:20, 20:40])
    assert (part.alpha == 1).all()
    part = cut.arrange(crop=True, margin="10% 5px 20% 15%")
    assert part.size == (1 + 10 + 2, 3 + 20 + 5)
    assert part.box == (3, 1, 23, 11)
    np.testing.assert_array_equal(part.foreground, cut.foreground[9:22, 17:45])
    part = cut.arrange(crop=True, margin="15px")  # five rows more than the photo has above
    assert part.size == (40, 50)
    assert part.box == (15, 15, 35, 25)
    assert not part.foreground[:5].any()
    assert cut.arrange(crop=True, threshold=0.005).size == (20, 40)
    assert part.mask.shape == part.size


def test_an_arranged_cutout_keeps_its_options_but_is_not_arranged_again(tmp_path: Path) -> None:
    asked = Options(file_quality=50, preset="product", margin="10%", crop=True, keep_depth=True)
    part = dataclasses.replace(subject(), options=asked).arrange()
    assert part.options == Options(file_quality=50, background="white", keep_depth=True)
    with PIL.Image.open(part.save(tmp_path / "a.jpg")) as written:
        assert written.size == part.size[::-1]


@pytest.mark.parametrize("top", [0, 10])
def test_a_cropped_trimap_is_the_one_that_matting_had(tmp_path: Path, top: int) -> None:
    alpha, trimap = np.zeros((40, 60), np.float32), np.zeros((40, 60), np.float32)
    alpha[top : top + 20, :30] = 1
    trimap[top : top + 10, :30], trimap[top + 10 : top + 20, :30] = 1, 0.5
    cut = Cutout(np.zeros((40, 60, 3), np.uint8), alpha, alpha, trimap=trimap)
    path = cut.save(tmp_path / "a.png", result="trimap", crop=True)
    with PIL.Image.open(path) as written:
        levels = np.asarray(written)
    assert levels.shape == (20, 30)
    assert (levels[:10] == 255).all()
    assert (levels[10:] == 128).all()
    path = cut.save(tmp_path / "b.png", result="trimap", size="20x20")
    with PIL.Image.open(path) as written:  # resized, it is made of the alpha that is seen
        assert set(np.unique(np.asarray(written))) <= {0, 128, 255}


def test_what_has_no_subject_stays_whole() -> None:
    alpha = np.zeros((4, 6), np.float32)
    empty = Cutout(np.ones((4, 6, 3), np.uint8), alpha, alpha)
    assert empty.arrange(crop=True, margin="10%").size == (4, 6)
    assert empty.arrange(size="12x20", scale="50%").size == (20, 12)
    assert (empty.on("red", shadow="drop", preset="profile") == (255, 0, 0)).all()


def test_each_plane_is_resized_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the saliency, which is small, is enlarged to no canvas."""
    resized = []

    def resize(plane: np.ndarray, *args: Any, **settings: Any) -> Any:
        resized.append(plane.shape)
        return original(plane, *args, **settings)

    original = geometry.cv2.resize
    cut = dataclasses.replace(subject(400, 600), saliency=np.full((4, 6), 0.5, np.float32))
    monkeypatch.setattr(geometry.cv2, "resize", resize)
    part = cut.arrange(crop=True, margin="50px", size="1200x1000", threshold=0.5)
    assert resized == [(110, 120), (110, 120, 3)]
    assert part.saliency.size <= 4 * 6
    assert part.mask.shape == part.size
    resized.clear()
    assert cut.arrange().saliency is cut.saliency
    cut.encode(Options(result="mask", size="60x50"))
    assert resized == [(400, 600)]  # alpha alone


def test_own_background_keeps_its_place() -> None:
    cut = subject()
    grey = cut.on("desaturate", crop=True, margin="5px")
    assert grey.shape == (20, 30, 3)
    np.testing.assert_array_equal(grey[5:15, 5:25], cut.foreground[10:20, 20:40])
    expected = np.asarray(PIL.Image.fromarray(cut.foreground[5:25, 15:45]).convert("L"))
    np.testing.assert_allclose(grey[0, :, 0], expected[0], atol=1)
    dark = cut.on("darken:50")
    np.testing.assert_allclose(dark[0], cut.foreground[0] / 2, atol=2)


@pytest.mark.parametrize("background", ["white", "desaturate", "blur:3", "checkerboard", None])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_everything_at_once(tmp_path: Path, background: str | None, dtype: type) -> None:
    cut = cutout(dtype)
    options = Options(background=background, shadow="drop", size="40x50", scale="80%")
    path = cut.save(tmp_path / "a.png", options)
    with PIL.Image.open(path) as written:
        assert written.size == (40, 50)
        assert written.mode == ("RGBA" if background is None else "RGB")
    cut.save(tmp_path / "a.jpg", options, shadow="contact")


def test_frames_go_to_the_same_place(tmp_path: Path) -> None:
    first = subject()
    moved = dataclasses.replace(first, alpha=np.roll(first.alpha, 12, axis=1))
    moving = dataclasses.replace(first, frames=(moved,), duration_ms=40.0)
    path = moving.save(tmp_path / "a.png", crop=True)
    with PIL.Image.open(path) as written:
        assert (written.size, written.n_frames) == ((32, 10), 2)
    assert moving.arrange(crop=True).frames[0].size == (10, 32)
    hole = moving.inverted()
    assert len(hole.frames) == 1


def test_wrong_backgrounds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="background 'puce-ish': give a colour"):
        cutout().on("puce-ish")
    with pytest.raises(ImageError, match=r"array: shape \(2,\)"):
        cutout().on(np.zeros(2, np.uint8))
    with pytest.raises(ImageError, match="colour has 3 or 4 values"):
        cutout().on((1, 2, 300))
    with pytest.raises(ImageError, match=r"background '.*none\.jpg': No such file") as raised:
        cutout().on(str(tmp_path / "none.jpg"))
    assert raised.value.reason == "background"
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    with pytest.raises(ImageError, match=r"background .*broken\.jpg: is not a picture"):
        cutout().save(tmp_path / "a.png", background=tmp_path / "broken.jpg")
    with pytest.raises(ImageError, match="background bytes: empty file"):
        cutout().on(b"")


# --- colour profiles -----------------------------------------------------------------------------


def in_profile(name: str, dtype: type = np.uint8) -> Cutout:
    """The cut-out of a photo with a profile."""
    return dataclasses.replace(cutout(dtype), metadata=Metadata(PROFILES[name]))


def test_a_colour_is_brought_to_the_photos_profile(tmp_path: Path) -> None:
    cut = in_profile("AdobeRGB")
    np.testing.assert_allclose(cut.on("#81d4fa")[0, 0], (157, 211, 248), atol=1)
    np.testing.assert_allclose(cut.on((0x81, 0xD4, 0xFA))[0, 0], (157, 211, 248), atol=1)
    deep = in_profile("AdobeRGB", np.uint16).on("#81d4fa")
    np.testing.assert_allclose(deep[0, 0] / 257, (157, 211, 248), atol=1)
    np.testing.assert_array_equal(cut.on("#81d4fa")[0, 2], (200, 180, 160))  # the subject's own
    for kind in ("png", "tiff", "webp", "ora"):
        path = cut.save(tmp_path / f"a.{kind}", background="#81d4fa", file_quality=100)
        data = path.read_bytes()
        if kind == "ora":
            with zipfile.ZipFile(path) as archive:
                data = archive.read("mergedimage.png")
        with PIL.Image.open(io.BytesIO(data)) as written:
            assert written.info["icc_profile"] == PROFILES["AdobeRGB"]
            np.testing.assert_allclose(
                written.convert("RGB").getpixel((0, 0)), (157, 211, 248), atol=1
            )


def test_an_image_is_brought_to_the_photos_profile() -> None:
    red = PIL.Image.new("RGB", (3, 2), (255, 0, 0))
    red.info["icc_profile"] = PROFILES["AdobeRGB"]
    np.testing.assert_array_equal(in_profile("AdobeRGB").on(red)[0, 0], (255, 0, 0))
    red.info["icc_profile"] = PROFILES["sRGB"]
    np.testing.assert_allclose(in_profile("AdobeRGB").on(red)[0, 0], (219, 0, 0), atol=1)
    np.testing.assert_array_equal(cutout().on(red)[0, 0], (255, 0, 0))
    array = np.full((2, 3, 3), (0x81, 0xD4, 0xFA), np.uint8)
    np.testing.assert_allclose(in_profile("AdobeRGB").on(array)[0, 0], (157, 211, 248), atol=1)


def test_the_photos_own_background_stays_as_it_is() -> None:
    plain, profiled = cutout(), in_profile("ProPhoto")
    for word in ("desaturate", "darken:50%", "blur:1"):
        np.testing.assert_array_equal(profiled.on(word), plain.on(word))


def test_white_under_shadows_and_in_jpeg_is_white(tmp_path: Path) -> None:
    for name in ("AdobeRGB", "P3", "ProPhoto"):
        assert (in_profile(name).on("white")[0, 0] == 255).all()
        path = in_profile(name).save(tmp_path / "a.jpg", file_quality=100)
        with PIL.Image.open(path) as written:
            assert min(written.getpixel((0, 0))) >= 253


def test_previews_are_srgb(tmp_path: Path) -> None:
    cut = in_profile("ProPhoto")
    foreground = np.full((64, 64, 3), 128, np.uint8)  # half of ProPhoto's scale is darker in sRGB
    alpha = np.ones((64, 64), np.float32)
    cut = Cutout(foreground, alpha, alpha, metadata=cut.metadata)
    (srgb,) = convert_profile(foreground[:1, :1], PROFILES["ProPhoto"], None)[0]
    assert srgb[0] != 128
    assert cut.image.info["icc_profile"] == PROFILES["ProPhoto"]
    with zipfile.ZipFile(cut.save(tmp_path / "a.ora")) as archive:
        thumbnail = PIL.Image.open(io.BytesIO(archive.read("Thumbnails/thumbnail.png")))
        assert thumbnail.getpixel((0, 0)) == (*srgb, 255)
    with PIL.Image.open(cut.save(tmp_path / "a.png", result="preview")) as preview:
        counts = {colour: n for n, colour in preview.convert("RGB").getcolors(1 << 20) or []}
    assert counts[tuple(srgb)] > 1000
    assert counts.get((128, 128, 128), 0) < 100  # some in the letters


@pytest.mark.skipif(not CASES.exists(), reason="no ../shared/cases beside the checkout")
def test_cases_of_profiles(fake_remover: Remover) -> None:
    cut = fake_remover(CASES / "adobe.jpg")
    np.testing.assert_allclose(cut.on("#81d4fa")[0, 0], (157, 211, 248), atol=1)
    swapped = CASES / "bg_swap.png"
    np.testing.assert_allclose(cut.on(swapped)[0, 0], (219, 0, 0), atol=1)
    np.testing.assert_allclose(cutout().on(swapped)[0, 0], (255, 0, 0), atol=1)


def pair_of_subjects() -> Cutout:
    """Two columns that do not touch, and a second frame in which both have moved by a pixel."""
    foreground = np.full((20, 40, 3), 200, np.uint8)
    alphas = []
    for shift in (0, 1):
        alpha = np.zeros((20, 40), np.float32)
        alpha[4:16, 4 + shift : 12 + shift] = 1
        alpha[4:16, 26 + shift : 34 + shift] = 1
        alpha[4:16, 12 + shift] = 0.3  # a soft edge
        alphas.append(alpha)
    first, second = (Cutout(foreground, alpha, alpha, trimap=np.round(alpha)) for alpha in alphas)
    return dataclasses.replace(first, frames=(second,))


def test_subjects_one_by_one() -> None:
    cut = pair_of_subjects()
    left, right = cut.subjects()
    assert left.box == (4, 4, 13, 16)  # with its soft edge
    assert right.box == (26, 4, 34, 16)
    np.testing.assert_array_equal(left.alpha + right.alpha, cut.alpha)
    assert left.frames[0].box == (5, 4, 14, 16)
    assert right.frames[0].box == (27, 4, 35, 16)
    assert left.trimap is not None
    assert left.saliency[10, 30] == left.trimap[10, 30] == 0
    empty = dataclasses.replace(cut, alpha=np.zeros((20, 40), np.float32), frames=())
    assert empty.subjects() == ()


def test_parts_are_written_as_their_numbers(tmp_path: Path) -> None:
    path = pair_of_subjects().save(tmp_path / "parts.png", result="parts", subjects="together")
    with PIL.Image.open(path) as image:
        assert image.mode == "L"
        numbers = np.asarray(image)
    assert np.unique(numbers).tolist() == [0, 1, 2]
    assert numbers[10, 12] == 1  # the soft edge
    assert numbers[10, 30] == 2
