from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alphacut.errors import OptionError
from alphacut.output.geometry import (
    Placement,
    box_of,
    crop,
    head_of,
    lay,
    lay_plane,
    lay_saliency,
    place,
    region,
)

SIZE, BOX = (100, 200), (20, 40, 60, 140)  # a subject of 40 x 100 pixels


def placed(**asked: Any) -> Placement:
    return place(SIZE, BOX, head_x=90.0, **asked)


WHOLE = (0, 0, 100, 200)


@pytest.mark.parametrize(
    ("asked", "placement"),
    [
        ({}, Placement(WHOLE, WHOLE, (100, 200), WHOLE)),
        ({"crop": True}, Placement(BOX, BOX, (40, 100), (0, 0, 40, 100))),
        (
            {"crop": True, "margin": "10% 5px 30px 1%"},
            Placement((16, 39, 90, 145), (16, 39, 90, 145), (74, 106), (0, 0, 74, 106)),
        ),
        # the subject's place alone changes: centre, then the lower right corner
        ({"position": "center"}, Placement(WHOLE, WHOLE, (100, 200), (10, 10, 110, 210))),
        ({"position": "100%"}, Placement(WHOLE, WHOLE, (100, 200), (40, 60, 140, 260))),
        # half of the canvas: 40 x 100 fits 50 x 100 as it is, and is centred
        ({"scale": "50%"}, Placement(BOX, WHOLE, (100, 200), (30, 50, 70, 150))),
        ({"scale": "100%"}, Placement(BOX, WHOLE, (100, 200), (10, 0, 90, 200))),
        (
            {"scale": "25%", "position": "0% 100%"},
            Placement(BOX, WHOLE, (100, 200), (80, 0, 100, 50)),
        ),
        (
            {"canvas": "100x100"},
            Placement(WHOLE, (-50, 0, 150, 200), (100, 100), (25, 0, 75, 100)),
        ),
        (
            {"canvas": "100x100", "position": "bottom"},
            Placement(WHOLE, WHOLE, (100, 100), (50, 0, 100, 100)),
        ),
        (
            {"canvas": "50x400", "crop": True},
            Placement(BOX, (-360, 40, 440, 140), (400, 50), (190, 0, 210, 50)),
        ),
        (
            {"canvas": "1:1"},
            Placement(WHOLE, (-50, 0, 150, 200), (200, 200), (50, 0, 150, 200)),
        ),
        (
            {"canvas": "1:1", "crop": True},
            Placement(BOX, (-10, 40, 90, 140), (100, 100), (30, 0, 70, 100)),
        ),
        # 100 pixels are 85 percent of 118
        ({"canvas": "1:1", "scale": "85%"}, Placement(BOX, WHOLE, (118, 118), (39, 9, 79, 109))),
        (
            {"scale": "85%", "canvas": "200x200"},
            Placement(BOX, WHOLE, (200, 200), (66, 15, 134, 185)),
        ),
    ],
)
def test_placement_by_hand(asked: dict[str, Any], placement: Placement) -> None:
    assert placed(**asked) == placement


def test_portraits_have_head_room() -> None:
    tall = (50, 40, 550, 160)  # a standing person, 500 x 120
    placement = place((600, 200), tall, head_x=100.0, canvas="1:1", preset="profile")
    assert placement.canvas == (150, 150)  # 1.25 of the subject's width
    assert placement.frame == (32, 25, 182, 175)  # 12 % above the head, which is in the middle
    bust = (44, 100, 484, 600)
    frame = place((484, 700), bust, head_x=340.0, canvas="1:1", preset="profile").frame
    assert frame[2] == 484  # ends where the subject ends
    cut = place((484, 600), (44, 0, 484, 600), head_x=200.0, canvas="1:1", preset="profile").frame
    assert cut[1] == 0  # the picture's border cut her shoulder off: nothing beyond it is shown
    passport = place((600, 200), tall, head_x=100.0, canvas="7:9", preset="passport").canvas
    assert passport == (162, 126)


def test_no_subject_is_the_whole_picture() -> None:
    assert place(SIZE, None) == placed()
    for asked in ({"crop": True}, {"scale": "50%"}, {"preset": "profile", "canvas": "1:1"}):
        assert place(SIZE, None, **asked).frame == WHOLE  # type: ignore[arg-type]


def test_canvas_above_the_limit() -> None:
    with pytest.raises(OptionError, match=r"above 0\.01 megapixels"):
        place(SIZE, BOX, max_megapixels=0.01, canvas="1:10")


def test_boxes() -> None:
    alpha = np.zeros((6, 8), np.float32)
    assert box_of(alpha, 0.02) is None
    alpha[2, 3] = alpha[4, 6] = 1
    alpha[0, 0] = 0.01
    assert box_of(alpha, 0.02) == (2, 3, 5, 7)
    assert box_of(alpha, 0.005) == (0, 0, 5, 7)
    assert head_of(alpha, (2, 3, 5, 7)) == pytest.approx(3.5)


def test_region() -> None:
    assert region("roi", "0 0 100% 100%", SIZE) == WHOLE
    assert region("roi", "10px 20px 50% 50%", SIZE) == (20, 10, 50, 100)
    with pytest.raises(OptionError, match="beyond the picture, 200 x 100"):
        region("roi", "0 0 201px 100px", SIZE)
    with pytest.raises(OptionError, match="is empty"):
        region("box", "50% 0 50% 100%", SIZE)


def test_crop_beyond_the_border() -> None:
    array = np.arange(1, 7).reshape(2, 3)
    assert crop(array, (-1, 1, 2, 4)).tolist() == [[0, 0, 0], [2, 3, 0], [5, 6, 0]]
    assert not crop(array, (5, 5, 7, 7)).any()
    assert not crop(array, (-9, 0, -7, 2)).any()


@settings(deadline=None)
@given(
    st.integers(1, 40), st.integers(1, 40), st.sampled_from([np.uint8, np.uint16]),
    st.integers(0, 255),
)  # fmt: skip
def test_resizing_keeps_plain_colours_and_hides_the_hidden(
    H: int, W: int, dtype: type, level: int
) -> None:
    foreground = np.full((12, 12, 3), 255, dtype)  # white lies hidden around a plain subject
    foreground[3:9, 3:9] = level
    alpha = np.zeros((12, 12), np.float32)
    alpha[3:9, 3:9] = 1
    whole = (0, 0, 12, 12)
    image, small = lay(foreground, alpha, Placement(whole, whole, (H, W), (0, 0, H, W)))
    assert (image.shape, image.dtype) == ((H, W, 3), dtype)
    seen = small > 0.05
    off = 1 if dtype == np.uint8 else 20
    assert np.abs(image[seen].astype(int) - level).max(initial=0) <= off
    assert 0 <= small.min() <= small.max() <= 1


@pytest.mark.parametrize("asked", [
    {}, {"crop": True, "margin": "3px"}, {"canvas": "30x50"}, {"scale": "40%", "canvas": "90x80"},
])  # fmt: skip
def test_a_plane_is_laid_as_alpha_is(asked: dict[str, Any]) -> None:
    alpha = np.random.default_rng(0).random((12, 20), np.float32)
    placement = place((12, 20), (2, 3, 9, 15), **asked)
    _, laid = lay(np.zeros((12, 20, 3), np.uint8), alpha, placement)
    np.testing.assert_array_equal(lay_plane(alpha, placement), laid)
    # a saliency of the image's own size, where nothing is resized
    if not placement.resizes:
        np.testing.assert_allclose(lay_saliency(alpha, (12, 20), placement), laid, atol=1e-6)


def test_a_saliency_is_laid_at_its_own_resolution() -> None:
    """A ramp down 10 rows of an image of 1000; what is laid is read off at the canvas's size."""
    saliency = np.repeat(np.arange(10, dtype=np.float32)[:, np.newaxis] / 10, 8, axis=1)
    size, whole = (1000, 800), (0, 0, 1000, 800)
    cropped = lay_saliency(saliency, size, Placement((230, 0, 730, 800), whole, (500, 800),
                                                     (0, 0, 500, 800)))  # fmt: skip
    assert cropped.shape == (5, 8)
    # the middles of rows 230-330, 330-430, ... of the image
    np.testing.assert_allclose(cropped[:, 3], [0.23, 0.33, 0.43, 0.53, 0.63], atol=1e-6)
    placed = lay_saliency(saliency, size, Placement(whole, whole, (400, 400), (100, 200, 200, 280)))
    assert placed.shape == (40, 40)  # as fine as in the tenth of the size that the image has there
    assert not placed[:10].any()
    assert not placed[20:].any()
    assert not placed[:, :20].any()
    assert not placed[:, 28:].any()
    np.testing.assert_allclose(placed[10:20, 23], saliency[:, 0], atol=1e-6)
    small = lay_saliency(saliency, size, Placement(whole, whole, (4, 6), (0, 1, 4, 5)))
    assert small.shape == (4, 6)  # never larger than the canvas


def test_nothing_to_do_costs_nothing() -> None:
    foreground, alpha = np.zeros((4, 5, 3), np.uint8), np.zeros((4, 5), np.float32)
    whole = (0, 0, 4, 5)
    image, same = lay(foreground, alpha, Placement(whole, whole, (4, 5), whole))
    assert image is foreground
    assert same is alpha
    placement = Placement(whole, whole, (4, 5), whole)
    assert lay_plane(alpha, placement) is alpha
    saliency = np.zeros((2, 2), np.float32)
    assert lay_saliency(saliency, (4, 5), placement) is saliency
