import io
import pickle
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray

import alphacut
from alphacut import Options, Remover
from alphacut.errors import (
    ImageError,
    MissingExtra,
    NoForegroundWarning,
    OptionError,
    UnknownName,
    WeightsError,
)
from alphacut.models import catalogue
from alphacut.models.weights import find_model
from alphacut.parallel import side_by_side
from alphacut.pipeline.matting import estimate_alpha_fast
from alphacut.pipeline.strokes import Stroke
from pictures import GROUP, Bright, make_group

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(scope="module")
def remover() -> Remover:
    return Remover()


class Disc:
    """A runtime whose answer is known: a disc in the middle, with a soft edge."""

    device = "fake"

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        N, _, h, w = batch.shape
        y, x = np.mgrid[:h, :w]
        distance = np.hypot(y - h / 2 + 0.5, x - w / 2 + 0.5)
        disc = np.clip((h / 4 - distance) / 8 + 0.5, 0, 1)
        return np.repeat(disc[np.newaxis, np.newaxis], N, axis=0).astype(np.float32)


def photo(H: int = 90, W: int = 120) -> np.ndarray:
    y, x = np.mgrid[:H, :W]
    return np.stack([x * 255 // W, y * 255 // H, (x + y) * 255 // (H + W)], 2).astype(np.uint8)


def test_from_image_to_cutout() -> None:
    cutout = Remover(network=Disc())(photo())
    assert cutout.size == (90, 120)
    assert cutout.alpha.shape == (90, 120)
    assert cutout.alpha.dtype == np.float32
    assert cutout.alpha[45, 60] == 1
    assert cutout.alpha[0, 0] == 0
    assert cutout.doubt < 0.15
    left, top, right, bottom = cutout.box or (0, 0, 0, 0)
    np.testing.assert_allclose([top, left, bottom, right], [22, 30, 68, 90], atol=3)
    white = cutout.on("white")
    assert (white[0, 0] == 255).all()
    np.testing.assert_array_equal(white[45, 60], photo()[45, 60])
    assert set(cutout.milliseconds) == {
        "load", "preprocess", "predict", "mask", "alpha", "refine", "foreground",
    }  # fmt: skip


def test_what_the_remover_was_asked_for_is_done(tmp_path: Path) -> None:
    cutout = Remover(network=Disc(), background="red", crop=True, margin="5px")(photo())
    with PIL.Image.open(cutout.save(tmp_path / "a.png")) as written:
        assert written.mode == "RGB"
        assert written.height < 70
        assert written.getpixel((0, 0)) == (255, 0, 0)
    assert cutout.save(tmp_path / "b.png", Options()).exists()
    with PIL.Image.open(tmp_path / "b.png") as written:
        assert (written.mode, written.size) == ("RGBA", (120, 90))


def test_a_person_is_found(remover: Remover) -> None:
    cutout = remover(EXAMPLES / "astronaut.png")
    assert cutout.alpha[110, 220] > 0.99  # her face
    assert cutout.alpha[30, 480] < 0.01  # the wall behind her
    assert not cutout.empty


def test_every_kind_of_source_gives_the_same(remover: Remover) -> None:
    path = EXAMPLES / "coffee.png"
    expected = remover(path).alpha
    array = np.asarray(PIL.Image.open(path).convert("RGB"))
    with path.open("rb") as file:
        sources = [str(path), path.read_bytes(), file, PIL.Image.open(path), array]
        for source in sources:
            np.testing.assert_array_equal(remover(source).alpha, expected)


def test_inputs_are_not_modified() -> None:
    array = photo()
    array.flags.writeable = False
    pillow = PIL.Image.fromarray(photo())
    cut = Remover(network=Disc())
    cutout = cut(array)
    cut(pillow)
    np.testing.assert_array_equal(np.asarray(pillow), photo())
    cutout.foreground[:] = 0  # what is handed out belongs to the caller
    np.testing.assert_array_equal(array, photo())


def test_colours_are_not_multiplied_by_alpha() -> None:
    image = np.empty((64, 64, 3), np.uint8)
    image[:] = (200, 180, 160)
    image[:4] = 0  # or the picture would be plain
    cutout = Remover(network=Disc())(image)
    soft = (cutout.alpha > 0.3) & (cutout.alpha < 0.7)
    assert soft.any()
    assert (cutout.foreground[soft] == (200, 180, 160)).all()
    rgba = np.asarray(cutout)
    assert (rgba[soft][:, :3] == (200, 180, 160)).all()
    assert not rgba[rgba[..., 3] == 0].any()


def test_what_the_file_hides_stays_hidden() -> None:
    rgba = np.dstack([photo(), np.full((90, 120), 255, np.uint8)])
    rgba[:, :60, 3] = 0
    rgba[:, 60:70, 3] = 128
    cutout = Remover(network=Disc())(rgba)
    assert not cutout.alpha[:, :60].any()
    assert cutout.alpha[45, 65] == pytest.approx(128 / 255)
    assert cutout.alpha[45, 75] == 1


def test_grey_and_16_bits() -> None:
    cut = Remover(network=Disc())
    grey = photo()[..., 0]
    assert cut(grey).foreground.shape == (90, 120, 3)
    deep = photo().astype(np.uint16) * 257
    rounded = Remover(network=Disc(), keep_depth=False)
    assert rounded(deep).foreground.dtype == np.uint8
    kept = Remover(network=Disc(), decontaminate=False)(deep)
    np.testing.assert_array_equal(kept.foreground, deep)
    assert np.asarray(kept).dtype == np.uint16


def test_16_bits_stay_16_bits_where_the_format_has_them(tmp_path: Path) -> None:
    deep = photo().astype(np.uint16) * 257 + 100
    assert cv2.imwrite(str(tmp_path / "deep.png"), deep[..., ::-1])
    cutout = Remover(network=Disc())(tmp_path / "deep.png")
    for name, dtype in (("a.png", np.uint16), ("a.tiff", np.uint16), ("a.jpg", np.uint8)):
        assert alphacut.load_image(cutout.save(tmp_path / name)).dtype == dtype
    flat = Remover(network=Disc())(photo()).save(tmp_path / "flat.png")
    assert alphacut.load_image(flat).dtype == np.uint8


def nothing_pictures() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    pictures = {f"grey {level}": np.full((300, 400, 3), level, np.uint8) for level in (1, 128, 255)}
    pictures["black"] = np.zeros((300, 400, 3), np.uint8)
    for H, W in ((16, 16), (180, 240), (240, 320), (320, 320), (300, 400), (480, 640)):
        pictures[f"noise {H} x {W}"] = rng.integers(0, 256, (H, W, 3), np.uint8)
        pictures[f"grey noise {H} x {W}"] = rng.integers(0, 256, (H, W), np.uint8)
    pictures["faint noise"] = rng.normal(128, 5, (300, 400, 3)).clip(0, 255).astype(np.uint8)
    return pictures


@pytest.mark.parametrize("name", nothing_pictures())
def test_no_foreground_found(remover: Remover, name: str) -> None:
    with pytest.warns(NoForegroundWarning, match="ndarray: no foreground found") as caught:
        cutout = remover(nothing_pictures()[name])
    assert len(caught) == 1
    assert cutout.empty
    assert cutout.doubt == 1
    assert cutout.box is None
    assert not cutout.alpha.any()
    assert not np.asarray(cutout).any()


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (2, 3), (33, 1000)])
def test_any_size(remover: Remover, size: tuple[int, int]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NoForegroundWarning)
        cutout = remover(np.full((*size, 3), 99, np.uint8))
    assert cutout.alpha.shape == size


def test_threads_share_a_remover(remover: Remover) -> None:
    paths = [EXAMPLES / name for name in ("astronaut.png", "chelsea.png", "coffee.png")] * 2
    alone = {path: remover(path).alpha for path in set(paths)}
    with ThreadPoolExecutor(4) as pool:
        for path, cutout in zip(paths, pool.map(remover, paths), strict=True):
            np.testing.assert_array_equal(cutout.alpha, alone[path])


def test_animation() -> None:
    import io

    frames = [PIL.Image.fromarray(np.roll(photo(), 20 * k, axis=1)) for k in range(3)]
    file = io.BytesIO()
    frames[0].save(file, "WEBP", save_all=True, append_images=frames[1:], duration=[50, 60, 70],
                   loop=2, lossless=True)  # fmt: skip
    cutout = Remover(network=Disc())(file.getvalue())
    assert len(cutout.frames) == 2
    assert [cutout.duration_ms, *(frame.duration_ms for frame in cutout.frames)] == [50, 60, 70]
    assert cutout.loop == 2


def test_names() -> None:
    assert Remover("u2netp", network=Disc()).spec.name == "u2net-lite"
    row = alphacut.MODELS[0]
    assert Remover(row, network=Disc()).spec is row
    assert Remover(
        options=Options(file_quality=7), network=Disc(), result="mask"
    ).options == Options(file_quality=7, result="mask")
    assert Remover(runtime="openvino").options.runtime == "openvino"
    with pytest.raises(UnknownName, match="unknown runtime 'tensorrt'"):
        alphacut.remove(photo(), runtime="tensorrt")
    with pytest.raises(UnknownName, match="u2net-lite"):
        Remover("u2net-heavy")
    with pytest.raises(UnknownName, match="unknown option 'colour'"):
        alphacut.remove(photo(), colour="red")


def test_ways_to_find_edges() -> None:
    """Each method gives the disc, and best asks the network for four views."""
    asked: list[np.ndarray] = []

    class Listening(Disc):
        def __call__(self, batch: np.ndarray) -> np.ndarray:
            asked.append(batch)
            return super().__call__(batch)

    for changes in ({"matting": "none"}, {"matting": "fast"}, {"matting": "closed-form"},
                    {"quality": "best"}):  # fmt: skip
        asked.clear()
        cutout = Remover(network=Listening(), **changes)(photo(240, 320))
        assert cutout.alpha[120, 160] == 1, changes
        assert cutout.alpha[5, 5] == 0, changes
        assert (cutout.trimap is not None) == (
            "closed-form" in changes.values() or "quality" in changes
        )
        assert len(asked) == (4 if "quality" in changes else 1)
    np.testing.assert_array_equal(asked[0], asked[1][..., ::-1])


def test_closed_form_without_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r'pip install "\.\[matting\]"'):
        Remover(network=Disc(), matting="closed-form")


@pytest.mark.parametrize("matting", ["none", "fast", "closed-form"])
def test_a_trimap_decides(tmp_path: Path, matting: str) -> None:
    levels = np.full((90, 120), 127, np.uint8)  # a foreign spelling of unknown
    levels[:, :40], levels[:, 80:] = 0, 255
    PIL.Image.fromarray(levels).save(tmp_path / "trimap.png")
    remover = Remover(network=Disc(), trimap=str(tmp_path / "trimap.png"), matting=matting)
    cutout = remover(photo())
    assert not cutout.alpha[:, :40].any()
    assert (cutout.alpha[:, 80:] == 1).all()
    with pytest.raises(
        ImageError, match=r"trimap\.png: is 120 x 90 pixels, but the picture 50 x 50"
    ):
        remover(np.zeros((50, 50, 3), np.uint8))


def test_a_trimap_needs_no_network(tmp_path: Path) -> None:
    levels = np.full((90, 120), 128, np.uint8)
    levels[20:60, 40:80], levels[:5] = 255, 0
    PIL.Image.fromarray(levels).save(tmp_path / "trimap.png")
    alpha = Remover("none", trimap=str(tmp_path / "trimap.png"))(photo()).alpha
    assert (alpha[20:60, 40:80] == 1).all()
    assert (alpha[:5] == 0).all()


def test_a_trimap_is_read_as_its_picture_is(tmp_path: Path) -> None:
    levels = np.zeros((90, 120), np.uint8)
    levels[:, 60:] = 255
    PIL.Image.fromarray(levels).save(tmp_path / "trimap.png")
    options = Options(trimap=str(tmp_path / "trimap.png"), output_megapixels=0.0027)
    cutout = Remover(network=Disc(), options=options)(photo())
    assert cutout.size == (45, 60)
    assert (cutout.alpha[:, :30] == 0).all()
    assert (cutout.alpha[:, 30:] == 1).all()
    (tmp_path / "trimap.png").unlink()
    PIL.Image.fromarray(levels).resize((400, 300)).save(tmp_path / "trimap.png")
    with pytest.raises(ImageError, match="above the limit"):
        Remover(network=Disc(), options=options, max_megapixels=0.1)(photo())


def test_clean_up_is_asked_for() -> None:
    class Specks(Disc):
        def __call__(self, batch: np.ndarray) -> np.ndarray:
            output = super().__call__(batch)
            output[..., 8:20, 8:20] = 1
            return output

    assert Remover(network=Specks(), matting="none")(photo()).alpha[3, 5] > 0.9
    for changes in ({"largest": True}, {"specks_px": 100}):
        assert not Remover(network=Specks(), matting="none", **changes)(photo()).alpha[3, 5]
    wide = Remover(network=Disc(), matting="none", grow_px=5)(photo()).alpha
    assert wide.sum() > Remover(network=Disc(), matting="none")(photo()).alpha.sum() * 1.1


class Half(Disc):
    """A runtime that is unsure of the lower half of the disc."""

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        disc = super().__call__(batch)
        disc[..., disc.shape[2] // 2 :, :] *= 0.5
        return disc


def test_a_doubtful_cutout_says_so() -> None:
    assert Remover(network=Disc())(photo()).doubt < 0.15
    torn = Remover(network=Half(), matting="none", crop=True)(photo())
    assert torn.doubt == pytest.approx(0.5, abs=0.15)
    assert torn.inverted().doubt == torn.arrange().doubt == torn.doubt


def test_what_options_clear_is_not_doubted() -> None:
    cutout = Remover(network=Disc(), roi="0,0,60,90")(photo())
    assert not cutout.alpha[:, 61:].any()
    assert cutout.doubt < 0.15


def test_unknown_parts_of_a_given_trimap_are_not_doubted(tmp_path: Path) -> None:
    trimap = np.full((90, 120), 128, np.uint8)
    trimap[30:60, 40:80], trimap[:5] = 255, 0
    PIL.Image.fromarray(trimap).save(tmp_path / "trimap.png")
    image = np.zeros((90, 120, 3), np.uint8)
    image[25:65, 35:85] = 200
    remover = Remover(network=Disc(), trimap=str(tmp_path / "trimap.png"), matting="closed-form")
    assert remover(image).doubt < 0.15


def test_colours_of_soft_edges_lose_the_old_background() -> None:
    """A red disc blended onto blue: its soft edge comes out red, or as it was if that is asked."""
    y, x = np.mgrid[:320, :320]
    disc = np.clip((80 - np.hypot(y - 159.5, x - 159.5)) / 8 + 0.5, 0, 1)[..., np.newaxis]
    mixed = np.rint(disc * (200, 30, 30) + (1 - disc) * (20, 40, 220)).astype(np.uint8)
    clean = Remover(network=Disc())(mixed)
    soft = (clean.alpha > 0.3) & (clean.alpha < 0.7)
    assert soft.any()
    fringe = np.abs(mixed[soft].astype(int) - (200, 30, 30)).mean()
    assert np.abs(clean.foreground[soft].astype(int) - (200, 30, 30)).mean() < 0.35 * fringe
    kept = Remover(network=Disc(), decontaminate=False)(mixed)
    np.testing.assert_array_equal(kept.foreground, mixed)


def test_many_pictures_in_order() -> None:
    remover = Remover(network=Disc(), matting="none")
    drawn = []

    def sources() -> Iterator[np.ndarray]:
        for H in range(20, 60):
            drawn.append(H)
            yield photo(H, 40)

    cutouts = remover.map(sources(), threads=3)
    assert next(cutouts).size == (20, 40)
    assert len(drawn) <= 5, "pictures are drawn as they are needed"
    assert [cutout.size[0] for cutout in cutouts] == list(range(21, 60))


def test_a_broken_picture_raises_in_its_place() -> None:
    cutouts = Remover(network=Disc(), matting="none").map([photo(), b"", photo()], threads=2)
    assert next(cutouts).size == (90, 120)
    with pytest.raises(ImageError, match="empty file"):
        next(cutouts)


def test_a_broken_picture_can_be_passed_over() -> None:
    remover = Remover(network=Disc(), matting="none")
    first, second, third = remover.map([photo(), b"", photo()], errors="return", crop=True)
    assert isinstance(first, alphacut.Cutout)
    assert isinstance(second, ImageError)
    assert isinstance(third, alphacut.Cutout)
    assert third.options.crop
    with pytest.raises(UnknownName, match="unknown errors 'ignore'"):
        remover.map([], errors="ignore")
    with pytest.raises(OptionError, match="margin '60%'"):  # at once, not in place of each picture
        remover.map([photo()], errors="return", margin="60%")


def test_options_by_call() -> None:
    remover = Remover(network=Disc(), background="white")
    best = remover(photo(240, 320), quality="best", background="red")
    assert best.trimap is not None
    assert (best.options.quality, best.options.background) == ("best", "red")
    assert remover(photo()).trimap is None  # for that call only
    assert remover(photo()).options == remover.options == Options(background="white")
    assert remover(photo(), grow_px=9).alpha.sum() > remover(photo()).alpha.sum()
    for changes in ({"model": "u2net"}, {"runtime": "onnx"}, {"precision": "int8"},
                    {"matting": "indexnet"}):  # fmt: skip
        with pytest.raises(OptionError, match="make a Remover with it"):
            remover(photo(), **changes)
    assert remover(photo(), model="alphacut-lite").size == (90, 120)  # the one that it has
    with pytest.raises(UnknownName, match="unknown option 'colour'"):
        remover(photo(), colour="red")
    with pytest.raises(ImageError, match=r"background 'none\.jpg': No such file"):
        remover(photo(), background="none.jpg")


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
def test_floats(dtype: str) -> None:
    floats = (photo() / 255).astype(dtype)
    expected = Remover(network=Disc(), decontaminate=False)(photo())
    cutout = Remover(network=Disc(), decontaminate=False)(floats)
    np.testing.assert_array_equal(cutout.foreground, expected.foreground)
    np.testing.assert_array_equal(cutout.alpha, expected.alpha)


@pytest.mark.parametrize("wrong", [-0.1, 255.0, np.nan])
def test_floats_that_are_no_samples(wrong: float) -> None:
    floats = np.zeros((8, 8, 3))
    floats[0, 0, 0] = wrong
    with pytest.raises(ImageError, match=r"are not in \[0, 1\]: divide"):
        Remover(network=Disc())(floats)


def test_pictures_side_by_side_leave_opencv_one_thread_and_give_it_back() -> None:
    before = cv2.getNumThreads()
    with side_by_side(2):
        assert cv2.getNumThreads() == 1
        with side_by_side():
            assert cv2.getNumThreads() == 1
        assert cv2.getNumThreads() == 1
    assert cv2.getNumThreads() == before
    with side_by_side(1):
        assert cv2.getNumThreads() == before


def test_an_unfinished_map_leaves_opencv_its_threads() -> None:
    seen: list[int] = []

    class Counting(Disc):
        def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
            seen.append(cv2.getNumThreads())
            return super().__call__(batch)

    before = cv2.getNumThreads()
    cutouts = Remover(network=Counting()).map([photo()] * 9, threads=2)
    next(cutouts)
    for _ in range(200):  # what has begun goes on for a moment
        if cv2.getNumThreads() == before:
            break
        time.sleep(0.05)
    assert cv2.getNumThreads() == before
    assert set(seen) == {1}
    cutouts.close()


def test_a_binary_alpha_is_the_soft_one_rounded() -> None:
    soft, hard = (Remover(network=Disc(), matting="none", binary=at)(photo()) for at in (None, 0.5))
    np.testing.assert_array_equal(hard.alpha, np.rint(soft.alpha))  # as NumPy rounds it
    assert ((soft.alpha > 0) & (soft.alpha < 1)).any()
    np.testing.assert_array_equal(hard.foreground[hard.alpha == 1], photo()[hard.alpha == 1])
    with pytest.raises(OptionError, match=r"binary 0\.5: give it or harden, not both"):
        Options(binary=0.5, harden=0.5)


class Sized(Disc):
    """A disc, and the sizes of the batches that it was asked about."""

    def __init__(self) -> None:
        self.sizes: list[tuple[int, ...]] = []

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        self.sizes.append(batch.shape[2:])
        return super().__call__(batch)


@pytest.mark.parametrize("model", ["u2net-lite", "alphacut-lite"])
def test_the_networks_input_has_the_size_that_was_asked_for(model: str) -> None:
    network = Sized()
    remover = Remover(model, network=network, input_size="64x48")
    assert remover(photo()).size == (90, 120)
    assert network.sizes == [(48, 64)]
    remover(photo(), quality="best")
    assert set(network.sizes) == {(48, 64)}
    with pytest.raises(OptionError, match="decides which network is loaded"):
        remover(photo(), input_size="96x96")
    with pytest.raises(OptionError, match="input_size '64': give width x height, 32 to 8192"):
        Options(input_size="64")
    with pytest.raises(OptionError, match="give it or short_side, not both"):
        Options(input_size="64x64", short_side=64)


def test_sizes_that_a_model_does_not_take_are_refused_before_it_is_loaded() -> None:
    spec = replace(find_model("deeplabv3"), multiple=32)
    with pytest.raises(
        OptionError, match="input_size '64x50': deeplabv3-resnet101 takes multiples"
    ):
        Remover(spec, input_size="64x50")


def test_trimaps_are_made_as_it_was_asked_for(tmp_path: Path) -> None:
    mask = Remover(network=Disc(), matting="none", binary=0.5)(photo()).alpha
    settings = {"trimap_kernel": "10x4", "trimap_erode": 2, "trimap_dilate": 3}
    made = Remover(network=Disc(), matting="none", binary=0.5, **settings)(photo())
    kernel = np.ones((4, 10), np.uint8)
    inner = cv2.erode(mask, kernel, iterations=2)
    outer = cv2.dilate(mask, kernel, iterations=3)
    made.save(tmp_path / "trimap.png", result="trimap")
    levels = np.asarray(PIL.Image.open(tmp_path / "trimap.png"))
    np.testing.assert_array_equal(levels, np.where(inner == 1, 255, np.where(outer == 0, 0, 128)))
    saved = Remover(network=Disc(), matting="none", save_trimap=True, **settings)(photo())
    assert saved.trimap is not None
    with pytest.raises(OptionError, match="trimap_kernel '10': give width x height"):
        Options(trimap_kernel="10")


def test_each_picture_takes_its_trimap_from_a_folder(tmp_path: Path) -> None:
    for name, level in (("a", 255), ("b_trimap", 0)):
        PIL.Image.new("L", (120, 90), level).save(tmp_path / f"{name}.png")
    for name in "abc":
        (tmp_path / "photos").mkdir(exist_ok=True)
        PIL.Image.fromarray(photo()).save(tmp_path / "photos" / f"{name}.jpg")
    remover = Remover(network=Disc(), trimap=tmp_path, matting="none")
    assert remover(tmp_path / "photos" / "a.jpg").alpha.min() == 1
    with pytest.warns(NoForegroundWarning):
        assert remover(tmp_path / "photos" / "b.jpg").alpha.max() == 0
    with pytest.raises(ImageError, match=r"c\.jpg: has no trimap in .*name it c-trimap\.png"):
        remover(tmp_path / "photos" / "c.jpg")


# --- known grounds ---


def studio(
    background: tuple[float, ...] = (205, 200, 210), *, wire: bool = True, shadow: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """A disc that `Disc` finds, on one colour, with a wire that it does not find, and its alpha."""
    H, W = 120, 160
    y, x = np.mgrid[:H, :W]
    inside = np.clip((np.hypot((y + 0.5) / H - 0.5, (x + 0.5) / W - 0.5) < 0.24) * 1.0, 0, 1)
    alpha = cv2.GaussianBlur(inside.astype(np.float32), (0, 0), 0.8)
    if wire:
        alpha[58:60, 110:156] = 1
    light = 1 - shadow * np.exp(-(((x - 118) / 20) ** 2) - ((y - 90) / 12) ** 2)
    a = alpha[..., np.newaxis]
    mixed = a * (30, 60, 120) + (1 - a) * np.array(background) * light[..., np.newaxis]
    noise = np.random.default_rng(0).normal(0, 0.7, mixed.shape)
    return np.clip(np.rint(mixed + noise), 0, 255).astype(np.uint8), alpha


def test_a_plain_ground_brings_back_what_the_network_lost() -> None:
    image, truth = studio()
    remover = Remover(network=Disc())
    off, auto = remover(image), remover(image, ground="auto")
    assert (off.ground, off.ground_sure) == (None, 0)
    assert auto.ground == "plain"
    assert auto.ground_sure > 0.5
    assert np.abs(auto.alpha - truth).mean() < np.abs(off.alpha - truth).mean() * 0.7
    assert remover(image, ground="#cdc8d2").ground == "plain"
    with pytest.raises(ImageError, match="no plain ground of blue found"):
        remover(image, ground="blue")


def test_where_the_ground_is_not_plain_not_a_bit_changes() -> None:
    remover = Remover(network=Disc())
    image = (photo() // 3 + np.random.default_rng(1).integers(0, 160, (90, 120, 3))).astype(
        np.uint8
    )
    off, auto = remover(image), remover(image, ground="auto")
    assert auto.ground is None
    assert np.array_equal(np.asarray(off), np.asarray(auto))


def test_a_network_that_finds_nothing_leaves_it_to_the_ground() -> None:
    class Blind(Disc):
        def __call__(self, batch: np.ndarray) -> np.ndarray:
            return super().__call__(batch) * np.float32(0)

    image, truth = studio()
    cutout = Remover(network=Blind(), ground="auto")(image)
    assert cutout.ground == "plain"
    assert cutout.doubt == 1  # nobody else has seen it
    assert np.abs(cutout.alpha - truth).mean() < 0.01
    with pytest.warns(NoForegroundWarning):
        assert Remover(network=Blind())(image).empty


def test_without_a_network_the_ground_says_it_all() -> None:
    image, truth = studio()
    cutout = Remover("none", ground="auto")(image)
    assert cutout.ground == "plain"
    assert np.abs(cutout.alpha - truth).mean() < 0.01
    green, truth = studio((10, 180, 60))
    cutout = Remover("none", ground="auto")(green)
    assert cutout.ground == "screen"
    assert np.abs(cutout.alpha - truth).mean() < 0.01
    with pytest.raises(ImageError, match="no plain ground found"):
        Remover("none", ground="auto")(
            np.random.default_rng(1).integers(0, 256, (90, 120, 3), np.uint8)
        )


def test_no_network_is_none_in_another_process_and_at_another_size() -> None:
    image, _ = studio()
    remover = Remover("none", ground="auto", input_size="64x64")
    expected = remover(image)
    assert expected.ground == "plain"
    unpickled = pickle.loads(pickle.dumps(remover))
    np.testing.assert_array_equal(unpickled(image).alpha, expected.alpha)


def test_a_trimap_wins_over_the_ground_without_a_network_too(tmp_path: Path) -> None:
    image, _ = studio()
    levels = np.full(image.shape[:2], 128, np.uint8)
    levels[:, :50], levels[:, 50:60] = 0, 255
    PIL.Image.fromarray(levels).save(tmp_path / "trimap.png")
    for model in ("u2net-lite", "none"):
        cutout = Remover(model, ground="auto", trimap=tmp_path / "trimap.png")(image)
        assert cutout.ground is None
        assert not cutout.alpha[:, :50].any()
        assert (cutout.alpha[:, 50:60] == 1).all()


def test_a_pair_needs_no_network(tmp_path: Path) -> None:
    image, truth = studio((255, 255, 255))
    other, _ = studio((0, 0, 0))
    (tmp_path / "black").mkdir()
    alphacut.save_image(tmp_path / "black" / "cup.png", other)
    alphacut.save_image(tmp_path / "cup.png", image)
    remover = Remover("none", pair=tmp_path / "black")
    cutout = remover(tmp_path / "cup.png")
    assert cutout.ground == "pair"
    assert np.abs(cutout.alpha - truth).max() < 6 / 255
    assert np.array_equal(cutout.photo, image)
    content = (tmp_path / "black" / "cup.png").read_bytes()
    assert np.array_equal(Remover("none", pair=content)(image).alpha, cutout.alpha)
    with pytest.raises(
        ImageError, match=r"cup\.png: is 160 x 120 pixels, but the picture 100 x 120"
    ):
        Remover("none", pair=tmp_path / "black" / "cup.png")(image[:, :100])


@pytest.mark.parametrize("known", ["pair", "trimap"])
def test_no_network_is_loaded_where_none_is_asked(tmp_path: Path, known: str) -> None:
    image, _ = studio((255, 255, 255))
    other, _ = studio((0, 0, 0))
    alphacut.save_image(tmp_path / "known.png", other)
    with pytest.raises(WeightsError, match="birefnet-lite"):  # its weights are not here
        Remover("birefnet-lite")
    remover = Remover("birefnet-lite", **{known: tmp_path / "known.png"})
    assert remover.network.device == "none"
    cutout = remover(image)
    assert not cutout.empty
    assert np.array_equal(pickle.loads(pickle.dumps(remover))(image).alpha, cutout.alpha)
    with pytest.raises(OptionError, match="not loaded, since a pair or trimap was given"):
        remover(image, **{known: None})
    assert remover(image, **{known: (tmp_path / "known.png").read_bytes()}).box == cutout.box
    changeable = Remover(network=Disc(), **{known: tmp_path / "known.png"})
    assert not changeable(image, **{known: None}).empty


def test_a_plate_is_the_scene_without_the_subject(tmp_path: Path) -> None:
    scene = cv2.resize(np.random.default_rng(3).integers(60, 220, (12, 16, 3)).astype(np.uint8),
                       (160, 120))  # fmt: skip
    _, alpha = studio()
    a = alpha[..., np.newaxis]
    image = np.rint(a * np.array((250, 0, 250)) + (1 - a) * scene).astype(np.uint8)
    alphacut.save_image(tmp_path / "empty.png", scene)
    cutout = Remover("none", plate=tmp_path / "empty.png")(image)
    assert cutout.ground == "plate"
    assert np.abs(cutout.alpha - alpha).mean() < 0.02


@pytest.mark.parametrize("option", ["pair", "plate"])
def test_a_second_picture_that_cannot_be_read_is_named_once(tmp_path: Path, option: str) -> None:
    with pytest.raises(ImageError) as caught:
        Remover("none", **{option: tmp_path / "none.png"})(photo())
    assert str(caught.value).startswith(f"{tmp_path / 'none.png'}: cannot be read: ")


def test_the_real_shadow_goes_with_the_subject() -> None:
    image, truth = studio(wire=False, shadow=0.5)
    cutout = Remover(network=Disc(), ground="auto", shadow="keep")(image)
    assert cutout.shadow is not None
    beside = (truth == 0) & (cutout.shadow > 0.2)
    assert beside.sum() > 200
    on_grey = cutout.on("#808080")
    dark = 128 * (1 - cutout.shadow)
    assert np.abs(on_grey[beside, 0] - dark[beside]).max() <= 1
    moved = cutout.arrange(crop=True, margin="20px")
    assert moved.shadow is not None
    assert moved.shadow.shape == moved.alpha.shape
    layers = np.asarray(cutout)  # one picture: black where only the shadow is
    assert layers[beside, 3] == pytest.approx(cutout.shadow[beside] * 255, abs=1)
    assert layers[beside, :3].max() == 0


def test_strokes_win_over_the_ground() -> None:
    image, _ = studio()
    stroke = alphacut.Stroke("remove", radius=0.05, points=((0.8, 0.49), (0.95, 0.49)))
    painted = Remover(network=Disc(), ground="auto")(image, painted=[stroke])
    assert painted.alpha[59, 132:150].max() == 0


class Fine(Disc):
    """A network that answers at 1024 pixels, and is sure of each of them."""

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        y, x = np.mgrid[:1024, :1024]
        return (np.hypot(y - 512, x - 512) < 300).astype(np.float32)[np.newaxis, np.newaxis]


def test_a_fine_answer_leaves_edges_to_the_image() -> None:
    """Its band is as wide as that of a coarse one: its own would be too narrow for hair."""
    image = np.repeat(np.linspace(60, 120, 512, dtype=np.float32)[:, None], 512, axis=1)
    image = np.dstack([image] * 3).astype(np.uint8)
    y, x = np.mgrid[:512, :512]
    image[np.hypot(y - 256, x - 256) < 145] = (200, 60, 40)  # 5 pixels less than it says
    saliency = Fine()(image)[0, 0]
    by_itself = estimate_alpha_fast(image, saliency)
    cutout = Remover(network=Fine())(image)
    between = (np.hypot(y - 256, x - 256) > 146) & (np.hypot(y - 256, x - 256) < 149)
    assert cutout.alpha[between].mean() < by_itself[between].mean() - 0.1
    assert cutout.saliency.shape == (1024, 1024)


def test_a_matte_is_kept_as_it_is() -> None:
    spec = replace(catalogue.MODELS[0], name="soft", output="matte")
    image = photo()
    kept, fitted = Remover(spec, network=Disc()), Remover(spec, network=Disc(), matting="fast")
    np.testing.assert_array_equal(
        kept(image).alpha, Remover(network=Disc(), matting="none")(image).alpha
    )
    assert (fitted(image).alpha != kept(image).alpha).any()
    logits = replace(spec, sigmoid=True)

    class Logits(Disc):
        def __call__(self, batch: np.ndarray) -> np.ndarray:
            p = np.clip(super().__call__(batch), 1e-7, 1 - 1e-7)
            return np.log(p / (1 - p))

    np.testing.assert_allclose(
        Remover(logits, network=Logits())(image).alpha, kept(image).alpha, atol=1e-5
    )


def test_a_box_holds_for_all_frames_and_strokes_have_the_last_word() -> None:
    frames = [PIL.Image.fromarray(make_group()) for _ in range(2)]
    frames[1].putpixel((0, 0), (9, 9, 9))
    file = io.BytesIO()
    frames[0].save(file, "PNG", save_all=True, append_images=frames[1:], duration=100)
    remover = Remover(network=Bright())
    top, left, bottom, right = GROUP[1]
    box = f"{left - 5} {top - 5} {right + 5} {bottom + 5}"
    cutout = remover(file.getvalue(), box=box)
    assert len(cutout.frames) == 1
    for frame in (cutout, *cutout.frames):
        assert frame.box == pytest.approx((left, top, right, bottom), abs=3)
        assert frame.doubt < 0.2
    stroke = Stroke("keep", 0.02, ((60 / 360, 120 / 240),))  # on another subject
    painted = remover(make_group(), box=box, painted=[stroke])
    assert painted.alpha[120, 60] == 1
    assert painted.alpha[120, 300] == 0


@pytest.mark.parametrize("options", [{"trimap": True}, {"ground": "auto"}, {"matting": "none"}])
def test_points_go_with_what_is_known(options: dict[str, Any], tmp_path: Path) -> None:
    image = np.full((240, 360, 3), 60, np.uint8)
    alpha = np.zeros((240, 360), np.uint8)
    for top, left, bottom, right in GROUP:
        image[top:bottom, left:right] = 230
        alpha[top:bottom, left:right] = 255
    if options.get("trimap"):
        PIL.Image.fromarray(alpha).save(tmp_path / "trimap.png")
        options = {"trimap": str(tmp_path / "trimap.png")}
    cutout = Remover(network=Bright())(image, points="45% 50%", **options)
    top, left, bottom, right = GROUP[1]
    assert cutout.box == pytest.approx((left, top, right, bottom), abs=3)
