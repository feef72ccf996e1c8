"""Alpha from saliency and from trimaps."""

import sys

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from alphacut.errors import ImageError, MissingExtra
from alphacut.evaluation.metrics import iou, mad
from alphacut.pipeline import matting
from alphacut.pipeline.trimap import make_trimap, read_trimap
from pictures import SHARED

PAIRS = SHARED / "data" / "trimap_pairs"


def scene(size: int = 240, dtype: type = np.uint8) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A red disc with an anti-aliased edge on green, its alpha, and a blurred small saliency."""
    y, x = np.mgrid[:size, :size]
    distance = np.hypot(y - size / 2 + 0.5, x - size / 2 + 0.5)
    alpha = np.clip(size / 4 - distance + 0.5, 0, 1).astype(np.float32)
    white = np.iinfo(dtype).max
    colours = np.array([(0.8, 0.2, 0.1), (0.1, 0.6, 0.2)]) * white
    image = alpha[..., None] * colours[0] + (1 - alpha[..., None]) * colours[1]
    small = cv2.resize(cv2.GaussianBlur(alpha, (0, 0), size / 40), (80, 80))
    return np.rint(image).astype(dtype), alpha, np.clip(small, 0, 1)


# --- fast ---


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_edges_become_as_sharp_as_the_picture(dtype):
    image, true, saliency = scene(dtype=dtype)
    alpha = matting.estimate_alpha_fast(image, saliency)
    before = cv2.resize(saliency, true.shape)
    assert alpha.shape == true.shape
    assert alpha.dtype == np.float32
    assert mad(alpha, true) < 0.1 * mad(before, true)


def test_flat_regions_are_exactly_flat():
    rng = np.random.default_rng(2)
    image, true, saliency = scene()
    noisy = np.clip(image + rng.normal(0, 12, image.shape), 0, 255).astype(np.uint8)
    alpha = matting.estimate_alpha_fast(noisy, np.clip(saliency, 0.02, 0.98))
    near = np.ones((61, 61), np.uint8)
    assert (alpha[cv2.erode(true, near) == 1] == 1).all()
    assert (alpha[cv2.dilate(true, near) == 0] == 0).all()


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_empty_and_full_saliency_stay_so(level):
    image, _, saliency = scene(100)
    alpha = matting.estimate_alpha_fast(image, np.full_like(saliency, level))
    assert (alpha == level).all()


def test_saliency_covers_the_image_whatever_its_aspect():
    image, true, saliency = scene()
    wide = cv2.resize(image, (480, 120), interpolation=cv2.INTER_AREA)
    true = cv2.resize(true, (480, 120), interpolation=cv2.INTER_AREA)
    assert iou(matting.estimate_alpha_fast(wide, saliency), true) > 0.97


def test_strips_do_not_show(monkeypatch):
    image, _, saliency = scene()
    whole = matting.estimate_alpha_fast(image, saliency)
    monkeypatch.setattr(matting, "_STRIP_PX", 7 * 240)
    monkeypatch.setattr(matting, "TILE_PX", 50)
    assert np.abs(matting.estimate_alpha_fast(image, saliency) - whole).max() < 1e-5


def test_colour_reopens_a_hole_where_the_network_is_in_doubt():
    image, _, saliency = scene(400)
    saliency[37:43, 37:43] = 0.8
    image[190:210, 190:210] = image[0, 0]
    assert matting.estimate_alpha_fast(image, saliency)[200, 200] < 0.5


def test_a_small_picture_keeps_the_networks_decisions():
    rng = np.random.default_rng(5)
    image = rng.integers(0, 256, (90, 90, 3), np.uint8)  # colours that say nothing
    _, _, saliency = scene()
    alpha = matting.estimate_alpha_fast(image, saliency)
    network = cv2.resize(saliency, (90, 90))
    sure = np.abs(network - 0.5) > 0.05
    assert ((alpha >= 0.5) == (network >= 0.5))[sure].all()


@settings(max_examples=25, deadline=None)
@given(
    image=hnp.arrays(np.uint8, st.tuples(st.integers(1, 20), st.integers(1, 20), st.just(3))),
    saliency=hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=12),
        elements=st.floats(0, 1, width=32),
    ),
)
def test_any_picture_gives_an_alpha_and_is_left_alone(image, saliency):
    copies = image.copy(), saliency.copy()
    alpha = matting.estimate_alpha_fast(image, saliency)
    assert alpha.shape == image.shape[:2]
    assert alpha.dtype == np.float32
    assert np.isfinite(alpha).all()
    assert alpha.min() >= 0
    assert alpha.max() <= 1
    assert np.array_equal(copies[0], image)
    assert np.array_equal(copies[1], saliency)


def test_wrong_arrays_are_refused():
    image, _, saliency = scene(40)
    with pytest.raises(ImageError, match="image"):
        matting.estimate_alpha_fast(image / 255, saliency)
    with pytest.raises(ImageError, match="saliency"):
        matting.estimate_alpha_fast(image, saliency.astype(np.float64))


def test_a_thin_part_that_the_network_hardly_sees_is_kept():
    image, _, saliency = scene(400)
    stick = np.zeros((400, 400), np.uint8)
    stick[198:204, 290:380] = 1
    image[stick > 0] = (60, 60, 70)
    faint = 0.2 * cv2.GaussianBlur(stick.astype(np.float32), (0, 0), 3)
    saliency = np.maximum(saliency, cv2.resize(faint, (80, 80), interpolation=cv2.INTER_AREA))
    alpha = matting.estimate_alpha_fast(image, saliency)
    assert alpha[200:202, 300:370].min() > 0.9
    assert alpha[180:190, 320:370].max() < 0.05


def test_a_faint_shade_of_the_ground_is_no_part():
    image, _, saliency = scene(400)
    saliency[39:41, 58:76] = 0.3
    assert matting.estimate_alpha_fast(image, saliency)[200, 320:370].max() < 0.1


@pytest.mark.parametrize(("subject", "ground"), [(235, 20), (20, 235)])
def test_light_and_dark_hair_keeps_no_rim_of_the_ground(subject, ground):
    """The network's blur makes alpha too large by pixels in the gaps between strands."""
    _, true, saliency = scene(600)
    y, x = np.mgrid[:600, :600]
    rays = np.sin(np.arctan2(y - 300, x - 300) * 60) > 0
    distance = np.hypot(y - 300, x - 300)
    true = np.where((distance > 150) & (distance < 175) & rays, np.float32(1), true)
    true = cv2.GaussianBlur(true, (0, 0), 0.7)
    image = np.rint(true * subject + (1 - true) * ground).astype(np.uint8)
    alpha = matting.estimate_alpha_fast(np.dstack([image] * 3), saliency)
    near = (distance > 140) & (distance < 180)
    assert mad(alpha, true, near) < 0.03


# --- closed form ---


def test_closed_form_without_pymatting_says_what_to_do(monkeypatch):
    image, true, _ = scene(60)
    monkeypatch.setitem(sys.modules, "pymatting", None)
    with pytest.raises(MissingExtra, match=r"\.\[matting\]"):
        matting.estimate_alpha_closed_form(image, make_trimap(true))


def test_closed_form_finds_the_edge_and_keeps_what_is_known():
    image, true, _ = scene()
    trimap = make_trimap(true, erosions=8, dilations=8)
    alpha = matting.estimate_alpha_closed_form(image, trimap)
    assert mad(alpha, true, trimap == 0.5) < 0.005
    assert np.array_equal(alpha[trimap != 0.5], trimap[trimap != 0.5])


def test_closed_form_carries_its_solution_to_a_large_picture():
    image, true, _ = scene(1300)
    trimap = make_trimap(true)
    prior = cv2.GaussianBlur(true, (0, 0), 3)
    for start in (None, prior):
        alpha = matting.estimate_alpha_closed_form(image, trimap, start)
        assert mad(alpha, true, trimap == 0.5) < 0.03
        assert np.array_equal(alpha[trimap != 0.5], trimap[trimap != 0.5])


def test_closed_form_with_nothing_unknown_or_nothing_known():
    image, true, _ = scene(40)
    hard = (true > 0.5).astype(np.float32)
    assert np.array_equal(matting.estimate_alpha_closed_form(image, hard), hard)
    with pytest.raises(ImageError, match="some foreground"):
        matting.estimate_alpha_closed_form(image, np.full_like(true, 0.5))
    with pytest.raises(ImageError, match="trimap"):
        matting.estimate_alpha_closed_form(image, hard[:5])


@pytest.mark.slow
@pytest.mark.skipif(not PAIRS.is_dir(), reason="no shared/data/trimap_pairs beside the checkout")
@pytest.mark.parametrize(
    ("name", "pymatting_mad"),
    [("crowned_crane", 0.1290), ("thyme", 0.0795), ("walnutBoat", 0.0703)],
)
def test_closed_form_is_no_worse_than_pymattings_own(name, pymatting_mad):
    """The figures are those of `pymatting.estimate_alpha_cf` 1.1.16 in the unknown region."""
    image = cv2.imread(str(PAIRS / "images" / f"{name}.jpg"))[..., ::-1].copy()
    true = cv2.imread(str(PAIRS / "alphas" / f"{name}.png"), cv2.IMREAD_GRAYSCALE)
    trimap = read_trimap(cv2.imread(str(PAIRS / "trimaps" / f"{name}.png"), cv2.IMREAD_GRAYSCALE))
    alpha = matting.estimate_alpha_closed_form(image, trimap)
    assert mad(alpha, true.astype(np.float32) / 255, trimap == 0.5) <= pymatting_mad
