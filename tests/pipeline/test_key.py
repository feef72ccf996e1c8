"""Keying: the network is overruled by evidence, and by nothing else."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from test_ground import H, W, lit, photograph

from alphacut.pipeline.ground import fit_ground
from alphacut.pipeline.key import key, key_alone
from pictures import disc

Array = NDArray[np.float32]
GREY = lit((0.8, 0.8, 0.82))


def mix(colour: tuple[float, float, float], alpha: Array, ground: Array = GREY) -> Array:
    a = alpha[..., np.newaxis]
    return np.asarray(a * np.float32(colour) + (1 - a) * ground, np.float32)


def keyed(image: NDArray[np.uint8], rough: Array) -> Array:
    ground = fit_ground(image, rough)
    assert ground is not None
    return key(image, ground, rough)


def body() -> Array:
    return np.asarray(cv2.GaussianBlur(disc(H, W, 0.2), (0, 0), 0.8), np.float32)


def test_a_lost_wire_comes_back() -> None:
    rough = body()
    truth = rough.copy()
    truth[58:60, 100:150] = 1  # two pixels wide, to the right of the body
    alpha = keyed(photograph(mix((0.1, 0.2, 0.5), truth)), rough)
    assert alpha[58:60, 115:148].min() > 0.8
    assert np.abs(alpha - truth).mean() < np.abs(rough - truth).mean() / 4


def test_a_gap_in_the_subject_is_cut() -> None:
    rough = body()
    truth = rough.copy()
    truth[50:66, 74:86] = 0
    alpha = keyed(photograph(mix((0.1, 0.2, 0.5), truth)), rough)
    assert alpha[53:63, 77:83].max() == 0
    assert np.abs(alpha - truth).mean() < np.abs(rough - truth).mean() / 3


def test_a_subject_that_looks_like_the_ground_is_left_to_the_network() -> None:
    rough = body()
    image = photograph(mix((0.79, 0.79, 0.81), rough))  # white on white, with no border
    assert (keyed(image, rough) == rough).mean() > 0.999


def test_a_soft_shadow_beside_the_subject_is_not_subject() -> None:
    rough = body()
    y, x = np.mgrid[:H, :W].astype(np.float32)
    shadow = 0.4 * np.exp(-(((x - 105) / 22) ** 2) - ((y - 78) / 12) ** 2)
    image = photograph(mix((0.1, 0.2, 0.5), rough, GREY * (1 - shadow[..., np.newaxis])))
    assert np.abs(keyed(image, rough) - rough).mean() < 0.002


def test_something_apart_is_not_part_of_the_subject() -> None:
    rough = body()
    everything = np.maximum(rough, np.roll(disc(H, W, 0.05), 60, axis=1))
    image = photograph(mix((0.1, 0.2, 0.5), everything))
    assert keyed(image, rough)[:, 130:].max() == 0


def test_noise_alone_changes_nothing() -> None:
    rough = body()
    for seed in range(3):
        image = photograph(mix((0.1, 0.2, 0.5), rough), 3, seed)
        assert np.abs(keyed(image, rough) - rough).max() < 0.35
        assert np.abs(keyed(image, rough) - rough).mean() < 5e-4


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_without_a_network_all_that_differs_is_subject(depth: type) -> None:
    truth = body()
    truth[50:66, 74:86] = 0
    image = photograph(mix((0.1, 0.2, 0.5), truth)).astype(depth)
    image *= depth(257 if depth is np.uint16 else 1)
    ground = fit_ground(image, None)
    assert ground is not None
    assert np.abs(key_alone(image, ground) - truth).mean() < 0.004


def test_where_the_network_finds_nothing_the_ground_speaks() -> None:
    truth, nothing = body(), np.zeros((H, W), np.float32)
    image = photograph(mix((0.1, 0.2, 0.5), truth))
    assert np.abs(keyed(image, nothing) - truth).mean() < 0.004
    assert not keyed(photograph(GREY), nothing).any()


def test_what_is_not_on_a_plain_ground_is_not_found_without_a_network() -> None:
    rng = np.random.default_rng(2)
    busy = cv2.resize(rng.uniform(0, 1, (8, 10, 3)).astype(np.float32), (W, H))
    image = photograph(mix((0.1, 0.2, 0.5), body(), busy))
    assert fit_ground(image, np.zeros((H, W), np.float32)) is None


def test_nothing_there_is_nothing() -> None:
    image = photograph(GREY)
    ground = fit_ground(image, None)
    assert ground is not None
    assert not key_alone(image, ground).any()


def test_more_pixels_than_the_grid_has() -> None:
    size = 900, 1200
    rough = cv2.resize(body(), size[::-1])
    truth = rough.copy()
    truth[430:436, 700:1100] = 1
    image = photograph(mix((0.1, 0.2, 0.5), truth, cv2.resize(GREY, size[::-1])))
    alpha = keyed(image, rough)
    assert alpha.shape == size
    assert np.abs(alpha - truth).mean() < np.abs(rough - truth).mean() / 3
