"""Strokes: what is painted is certain, what is around it is open."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphacut import Remover
from alphacut.errors import OptionError
from alphacut.pipeline.strokes import (
    Stroke,
    correct_saliency,
    correct_trimap,
    keep_strokes,
    paint,
    read_strokes,
    within,
)
from pictures import FakeRuntime, make_photo

DOT = Stroke("keep", 0.1, ((0.5, 0.5),))


def plain(H: int, W: int) -> np.ndarray:
    """An image that agrees with every stroke."""
    return np.full((H, W, 3), 90, np.uint8)


class Ghost:
    """A network that finds a face, surely, and a ghost beside it, by half."""

    device, prefers_batches = "cpu", False

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        found = np.zeros((1, 1, *batch.shape[2:]), np.float32)
        s = batch.shape[2] / 240
        found[0, 0, round(60 * s) : round(200 * s), round(40 * s) : round(120 * s)] = 0.98
        found[0, 0, round(60 * s) : round(200 * s), round(120 * s) : round(180 * s)] = 0.6
        return found


@pytest.mark.parametrize("matting", ["none", "fast", "closed-form"])
def test_a_stroke_leaves_what_it_does_not_touch(matting: str) -> None:
    """A ghost beside a face is painted over: it goes, also beyond the brush; the face stays."""
    rng = np.random.default_rng(0)
    photo = np.full((240, 240, 3), (90, 110, 130), np.uint8)
    photo[60:200, 40:120] = (205, 160, 135)
    photo = np.clip(photo + rng.normal(0, 3, photo.shape), 0, 255).astype(np.uint8)
    remover = Remover(network=Ghost(), matting=matting)
    # its edge just touches the face, and it is half as wide as the ghost
    stroke = Stroke("remove", 16 / 240, ((138 / 240, 80 / 240), (138 / 240, 180 / 240)))
    before, after = remover(photo).alpha, remover(photo, painted=[stroke]).alpha
    face = np.s_[64:196, 44:117]
    assert before[face].min() > 0.9
    assert np.abs(after - before)[face].max() < 0.03
    assert after[85:175, 125:156].max() < 0.35  # the brush ends at 154
    assert after[85:175, 158:164].mean() < before[85:175, 158:164].mean() - 0.1  # and beyond


def test_a_dot_is_a_disc_of_its_radius() -> None:
    sheet = paint((100, 200), [DOT])
    y, x = np.mgrid[:100, :200]
    distance = np.hypot(y + 0.5 - 50, x + 0.5 - 100)
    assert (sheet[distance < 19] == 1).all()
    assert np.isnan(sheet[distance > 21]).all()


def test_a_line_has_its_width_and_later_strokes_lie_above() -> None:
    line = Stroke("remove", 0.05, ((0.1, 0.5), (0.9, 0.5)))
    sheet = paint((100, 100), [DOT, line])
    assert (sheet[46:54, 12:88] == 0).all()
    assert np.isnan(sheet[50, :4]).all()
    assert sheet[42, 50] == 1  # of the dot
    assert paint((100, 100), [line, DOT])[50, 50] == 1


@pytest.mark.parametrize("label", ["keep", "remove", "unsure"])
def test_saliency_is_certain_on_a_stroke_and_kept_far_away(label: str) -> None:
    saliency = np.full((32, 32), 0.3, np.float32)
    corrected = correct_saliency(saliency, plain(200, 100), [Stroke(label, 0.05, ((0.5, 0.5),))])
    assert corrected.shape == (400, 200)
    assert corrected[200, 100] == {"keep": 1, "remove": 0, "unsure": 0.5}[label]
    np.testing.assert_allclose(corrected[:100], 0.3, atol=1e-6)
    assert (saliency == np.float32(0.3)).all()  # untouched


def test_certainty_fades_around_a_stroke() -> None:
    corrected = correct_saliency(np.zeros((400, 400), np.float32), plain(400, 400), [DOT])
    along = corrected[200, 200:]
    assert (np.diff(along) <= 0).all()
    assert {0, 1} < set(np.unique(along).tolist())


def test_a_trimap_is_unknown_around_a_stroke() -> None:
    trimap = correct_trimap(np.zeros((100, 100), np.float32), plain(100, 100), [DOT])
    assert (trimap[50, 50], trimap[50, 65], trimap[50, 75]) == (1, 0.5, 0)
    same = correct_trimap(np.ones((100, 100), np.float32), plain(100, 100), [DOT])
    assert (same == 1).all()  # nothing is in doubt where both say the same


def test_alpha_keeps_what_is_certain_only() -> None:
    alpha = np.full((50, 50), 0.25, np.float32)
    assert keep_strokes(alpha, [DOT])[25, 25] == 1
    assert keep_strokes(alpha, [Stroke("unsure", 0.1, ((0.5, 0.5),))])[25, 25] == 0.25


@pytest.mark.parametrize("matting", ["none", "fast", "closed-form"])
def test_strokes_change_a_cutout_where_they_are(matting: str) -> None:
    photo = np.asarray(cv2.resize(make_photo(), (320, 240)), np.uint8)
    remover = Remover(network=FakeRuntime(), matting=matting)
    painted = [Stroke("remove", 0.05, ((0.5, 0.5),)), Stroke("keep", 0.05, ((0.06, 0.1),))]
    plain, touched = remover(photo), remover(photo, painted=painted)
    assert (plain.alpha[120, 160], plain.alpha[24, 19]) == pytest.approx((1, 0), abs=0.01)
    assert (touched.alpha[120, 160], touched.alpha[24, 19]) == (0, 1)
    far = np.s_[200:, 200:]
    np.testing.assert_allclose(touched.alpha[far], plain.alpha[far], atol=0.05)


@given(st.lists(st.tuples(st.floats(-1, 2), st.floats(-1, 2)), min_size=1, max_size=5))
def test_strokes_come_back_from_json(points: list[tuple[float, float]]) -> None:
    record = {"label": "keep", "radius": 0.1, "points": [list(point) for point in points]}
    (stroke,) = read_strokes([record])
    assert stroke == Stroke("keep", 0.1, tuple(points))
    assert paint((20, 30), [stroke]).shape == (20, 30)  # also beyond the picture


@pytest.mark.parametrize(
    "wrong",
    [
        {"label": "burn", "radius": 0.1, "points": [[0, 0]]},
        {"label": "keep", "radius": 0.3, "points": [[0, 0]]},
        {"label": "keep", "radius": 0, "points": [[0, 0]]},
        {"label": "keep", "radius": float("nan"), "points": [[0, 0]]},
        {"label": "keep", "radius": 0.1, "points": []},
        {"label": "keep", "radius": 0.1, "points": [[0, float("inf")]]},
        {"label": "keep", "radius": 0.1, "points": [[0, 0]] * 20_001},
        {"label": "keep", "radius": "wide", "points": [[0, 0]]},
        {"label": "keep", "points": [[0, 0]]},
        "keep",
    ],
)
def test_malformed_strokes_are_refused(wrong: object) -> None:
    with pytest.raises(OptionError, match="strokes"):
        read_strokes([wrong])  # type: ignore[list-item]


def test_strokes_on_a_view_cover_the_same_pixels() -> None:
    size, view = (100, 160), (20, 40, 80, 140)
    stroke = Stroke("keep", 0.05, ((0.4, 0.4), (0.7, 0.6)))
    whole = paint(size, [stroke])[20:80, 40:140]
    part = paint((60, 100), within([stroke], view, size))
    assert np.mean(np.isnan(whole) == np.isnan(part)) > 0.99
