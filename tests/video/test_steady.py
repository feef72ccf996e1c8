"""Steadying: along the motion, without lag, never across cuts, and no ghosts."""

import itertools
import weakref
from collections.abc import Callable, Iterator

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from alphacut.pipeline.image import Picture
from alphacut.video.read import Frame
from alphacut.video.steady import REACH, steady

H, W = 120, 160
Plane = NDArray[np.float32]


def texture(seed: int) -> NDArray[np.uint8]:
    noise = np.random.default_rng(seed).normal(size=(2 * H, 4 * W, 3))
    smooth = cv2.GaussianBlur(noise, (0, 0), 4)
    return np.clip(128 + 500 * smooth, 0, 255).astype(np.uint8)


GROUND, SUBJECT = texture(1), texture(2)


def disc(x: float, y: float = H / 2, radius: float = 25) -> Plane:
    rows, columns = np.mgrid[:H, :W]
    inside = radius + 0.5 - np.hypot(rows + 0.5 - y, columns + 0.5 - x)
    return np.clip(inside, 0, 1).astype(np.float32)


def film(places: list[float | None], ground: NDArray[np.uint8] = GROUND) -> list[Frame]:
    """A textured disc at some places of a textured ground; None for no disc."""
    frames = []
    for k, x in enumerate(places):
        image = ground[:H, :W].copy()
        if x is not None:
            shift = 2 * W - round(x)
            alpha = disc(round(x))[..., np.newaxis]
            subject = SUBJECT[:H, shift : shift + W]
            image = np.rint(alpha * subject + (1 - alpha) * image).astype(np.uint8)
        frames.append(Frame(Picture(image), k, 1, index=k))
    return frames


def truth(places: list[float | None]) -> list[Plane]:
    return [np.zeros((H, W), np.float32) if x is None else disc(round(x)) for x in places]


def answers(planes: list[Plane]) -> Callable[[Frame], Plane]:
    return lambda frame: planes[frame.index]


def steadied(frames: list[Frame], planes: list[Plane], **settings: float) -> list[Plane]:
    seen = list(steady(frames, answers(planes), **settings))  # type: ignore[arg-type]
    assert [each.frame.index for each in seen] == list(range(len(frames)))
    assert all(each.saliency is not None for each in seen)
    return [each.saliency for each in seen if each.saliency is not None]


MOVING: list[float | None] = [40 + 3.0 * k for k in range(16)]


@pytest.mark.parametrize(
    ("size", "expected"),
    [((320, 320), (240, 320)), ((160, 320), (160, 213)), ((90, 120), (90, 120)), ((512, 512),) * 2],
)
def test_small_answers_get_square_pixels(size: tuple[int, int], expected: tuple[int, int]) -> None:
    answer = cv2.resize(disc(90), size[::-1], interpolation=cv2.INTER_LINEAR)
    for found in steadied(film([90.0] * 3), [np.asarray(answer, np.float32)] * 3):
        assert found.shape == expected
        assert np.abs(cv2.resize(found, (W, H)) - disc(90)).mean() < 0.004


def test_off_is_what_the_network_says() -> None:
    planes = truth(MOVING)
    found = steadied(film(MOVING), planes, steadiness=0)
    assert all(a is b for a, b in zip(found, planes, strict=True))


def test_true_answers_stay_where_they_are() -> None:
    planes = truth(MOVING)
    for found, true in zip(steadied(film(MOVING), planes), planes, strict=True):
        assert np.mean(np.abs(found - true)) < 0.006  # a lag of one frame would be 0.016
        across = float((found.sum(axis=0) * (np.arange(W) + 0.5)).sum() / found.sum())
        assert across == pytest.approx(
            float((true.sum(axis=0) * (np.arange(W) + 0.5)).sum() / true.sum()), abs=0.5
        )


def test_a_hole_in_one_answer_is_closed() -> None:
    planes = truth(MOVING)
    planes[8] = planes[8].copy()
    planes[8][50:70, 60:70] = 0
    found = steadied(film(MOVING), planes)[8]
    assert found[52:68, 61:69].mean() > 0.8


def test_an_answer_that_flickers_is_held() -> None:
    rng = np.random.default_rng(0)
    blocks = [
        rng.normal(scale=0.2, size=(4, 4)).repeat(H // 4, 0).repeat(W // 4, 1) for _ in MOVING
    ]
    planes = [np.clip(plane + block, 0, 1).astype(np.float32)
              for plane, block in zip(truth(MOVING), blocks, strict=True)]  # fmt: skip
    true = truth(MOVING)
    found = steadied(film(MOVING), planes)

    def flicker(planes: list[Plane]) -> float:
        errors = [p - t for p, t in zip(planes, true, strict=True)]
        return float(np.mean([np.std(b - a) for a, b in itertools.pairwise(errors)]))

    assert flicker(found) < 0.6 * flicker(planes)


def test_the_network_is_spared_while_it_says_what_was_foretold() -> None:
    asked: list[int] = []

    def find(planes: list[Plane]) -> Callable[[Frame], Plane]:
        asked.clear()

        def answer(frame: Frame) -> Plane:
            asked.append(frame.index)
            return planes[frame.index]

        return answer

    slow: list[float | None] = [40 + 1.0 * k for k in range(16)]
    list(steady(film(slow), find(truth(slow))))
    assert asked == [0, 1, 4, 7, 10, 13, 14, 15]  # the last two have no answer after them
    other = [np.roll(plane, 40 * (k % 2), axis=1) for k, plane in enumerate(truth(slow))]
    list(steady(film(slow), find(other)))
    assert asked == list(range(16))
    # it changes its mind while it is spared: those in between are asked for after all
    turned = [plane if k < 6 else np.roll(plane, 40, axis=1) for k, plane in enumerate(truth(slow))]
    list(steady(film(slow), find(turned)))
    assert {5, 6} < set(asked)
    fast: list[float | None] = [20 + 8.0 * k for k in range(14)]
    list(steady(film(fast), find(truth(fast))))
    assert len(asked) >= 12


def test_what_has_been_emitted_keeps_no_pixels() -> None:
    alive: list[weakref.ref[object]] = []

    def frames() -> Iterator[Frame]:
        for k in range(40):
            image = np.full((20, 24, 3), 90, np.uint8)
            alive.append(weakref.ref(image))
            yield Frame(Picture(image), k, 1, index=k)

    answer = np.full((8, 8), 0.5, np.float32)
    most = 0
    for _ in steady(frames(), lambda frame: answer):
        most = max(most, sum(ref() is not None for ref in alive))
    assert REACH < most <= REACH + 4  # those ahead, not those behind


def test_nothing_crosses_a_cut() -> None:
    places: list[float | None] = [60.0] * 6
    other = texture(9)
    frames = film(places) + [
        Frame(frame.picture, frame.pts + 6, 1, index=frame.index + 6)
        for frame in film([None] * 6, other)
    ]
    planes = truth([*places, *[None] * 6])
    found = steadied(frames, planes)
    assert all(plane.max() < 0.01 for plane in found[6:])
    assert all(np.mean(np.abs(a - b)) < 0.005 for a, b in zip(found[:6], planes, strict=False))


def test_a_subject_that_enters_and_leaves_has_no_ghost() -> None:
    places: list[float | None] = [
        None,
        None,
        None,
        None,
        -10,
        10,
        30,
        50,
        70,
        90,
        110,
        130,
        150,
        170,
        None,
        None,
        None,
    ]
    frames, planes = film(places), truth(places)
    for found, true in zip(steadied(frames, planes), planes, strict=True):
        far = cv2.dilate(true, np.ones((9, 9))) == 0
        assert found[far].mean() < 0.01
        assert np.mean(found[far] > 0.3) < 0.005
        assert np.mean(np.abs(found - true)) < 0.02


def test_live_pictures_are_not_waited_for() -> None:
    drawn = 0

    def coming() -> object:
        nonlocal drawn
        for frame in film(MOVING):
            drawn += 1
            yield frame

    planes = truth(MOVING)
    for k, seen in enumerate(steady(coming(), answers(planes), ahead=0)):  # type: ignore[arg-type]
        assert (seen.frame.index, drawn) == (k, k + 1)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (15, 40)])
def test_tiny_frames(size: tuple[int, int]) -> None:
    images = [np.full((*size, 3), 10 * k, np.uint8) for k in range(6)]
    frames = [Frame(Picture(image), k, 1, index=k) for k, image in enumerate(images)]
    found = steadied(frames, [np.full((8, 8), 0.5, np.float32)] * 6)
    assert all(np.allclose(plane, 0.5, atol=1e-4) for plane in found)
