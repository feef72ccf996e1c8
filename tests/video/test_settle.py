"""Settling: noise of edges goes, edges stay as sharp and where they are, cuts are not crossed."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from alphacut.pipeline.image import Picture
from alphacut.video.read import Frame
from alphacut.video.settle import settle
from alphacut.video.steady import Motion, Seen, steady

H, W = 120, 160
Plane = NDArray[np.float32]


def texture(seed: int) -> NDArray[np.uint8]:
    noise = np.random.default_rng(seed).normal(size=(H, 2 * W, 3))
    return np.clip(128 + 500 * cv2.GaussianBlur(noise, (0, 0), 4), 0, 255).astype(np.uint8)


GROUND, SUBJECT = texture(1), texture(2)


def disc(x: float) -> Plane:
    rows, columns = np.mgrid[:H, :W]
    inside = 25.5 - np.hypot(rows + 0.5 - H / 2, columns + 0.5 - x)
    return np.clip(inside / 3, 0, 1).astype(np.float32)


def film(places: list[int]) -> list[Seen]:
    """A textured disc at some places, as steadying hands it on."""
    frames = []
    for k, x in enumerate(places):
        alpha = disc(x)[..., np.newaxis]
        image = alpha * SUBJECT[:, W - x : 2 * W - x] + (1 - alpha) * GROUND[:, :W]
        frames.append(Frame(Picture(np.rint(image).astype(np.uint8)), k, 1, index=k))
    return list(steady(frames, lambda frame: disc(places[frame.index])))


def motions(seen: list[Seen]) -> list[Motion]:
    found = [each.motion for each in seen if each.motion is not None]
    assert len(found) == len(seen)
    return found


def settled(alphas: list[Plane], moving: list[Motion], k: int, steadiness: float = 1.0) -> Plane:
    pairs = list(zip(alphas, moving, strict=True))
    before, after = pairs[max(0, k - 2) : k][::-1], pairs[k + 1 : k + 3]
    return settle(alphas[k], moving[k], before, after, steadiness)


PLACES = [60 + 3 * k for k in range(7)]


def test_noise_of_edges_goes_and_nothing_lags() -> None:
    rng = np.random.default_rng(0)
    true = [disc(x) for x in PLACES]
    soft = [(plane > 0) & (plane < 1) for plane in true]
    alphas = [np.clip(plane + edge * rng.normal(scale=0.1, size=(H, W)), 0, 1).astype(np.float32)
              for plane, edge in zip(true, soft, strict=True)]  # fmt: skip
    moving = motions(film(PLACES))
    before = np.abs(alphas[3] - true[3])[soft[3]].mean()
    now = settled(alphas, moving, 3) - true[3]
    assert np.abs(now)[soft[3]].mean() < 0.75 * before
    assert abs(now.mean()) < 0.001
    half = settled(alphas, moving, 3, 0.5)
    assert np.abs(now)[soft[3]].mean() < np.abs(half - true[3])[soft[3]].mean() < before


def test_true_edges_stay() -> None:
    true = [disc(x) for x in PLACES]
    found = settled(true, motions(film(PLACES)), 3)
    assert np.abs(found - true[3]).max() < 0.3
    assert np.abs(found - true[3])[(true[3] > 0) & (true[3] < 1)].mean() < 0.03
    sure = cv2.dilate(((true[3] > 0) & (true[3] < 1)).astype(np.uint8), np.ones((3, 3))) == 0
    assert np.array_equal(found[sure], true[3][sure])


def test_what_looks_otherwise_has_no_say() -> None:
    seen = film(PLACES)
    moving = motions(seen)
    for each in (moving[2], moving[4], moving[1], moving[5]):
        each.guide = np.asarray(255 - each.guide, np.uint8)
    true = disc(PLACES[3])
    alphas = [np.zeros((H, W), np.float32) if k != 3 else true for k in range(7)]
    # grey stays grey when it is turned round, so a few pixels still agree
    assert np.mean(np.abs(settled(alphas, moving, 3) - true)) < 0.002


def test_nothing_crosses_a_cut() -> None:
    other = [Frame(Picture(np.full((H, W, 3), 30 + k, np.uint8)), k, 1, index=k) for k in range(3)]
    first = [each.frame for each in film(PLACES[:3])]
    frames = [*first, *other]
    moving = motions(list(steady(frames, lambda frame: disc(60))))
    assert moving[1].onward is not None
    assert moving[2].onward is None
    assert moving[3].back is None
    assert moving[3].onward is not None
    alphas = [np.full((H, W), 0.5 if k < 3 else 0.1, np.float32) for k in range(6)]
    for k in range(6):
        assert settled(alphas, moving, k) == pytest.approx(alphas[k], abs=1e-5)


def test_alone_or_all_sure_it_is_itself() -> None:
    moving = motions(film(PLACES[:2]))
    alpha = disc(60)
    assert settle(alpha, moving[0], [], [], 1.0) is alpha
    sure = (alpha > 0.5).astype(np.float32)
    assert settle(sure, moving[0], [], [(alpha, moving[1])], 1.0) is sure
