"""Clean plates: aligned, matched in exposure, and refused if they show something else."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from alphacut.errors import ImageError
from alphacut.pipeline.key import key, key_alone
from alphacut.pipeline.plate import match_plate
from pictures import disc

H, W = 240, 320


def room(seed: int = 0) -> NDArray[np.float32]:
    """A scene (H, W, 3) of soft and sharp things, of levels of 255."""
    rng = np.random.default_rng(seed)
    image = cv2.resize(rng.uniform(60, 190, (6, 8, 3)).astype(np.float32), (W, H))
    for _ in range(60):
        x, y = int(rng.integers(W)), int(rng.integers(H))
        colour = tuple(float(level) for level in rng.uniform(20, 235, 3))
        cv2.rectangle(image, (x, y), (x + int(rng.integers(6, 30)), y + 9), colour, -1)
    return np.asarray(cv2.GaussianBlur(image, (0, 0), 1), np.float32)


ALPHA = np.asarray(cv2.GaussianBlur(disc(H, W, 0.2), (0, 0), 1), np.float32)


def levels(image: NDArray[np.float32], seed: int = 1) -> NDArray[np.uint8]:
    noise = np.random.default_rng(seed).normal(0, 1, image.shape)
    return np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)


def picture() -> NDArray[np.uint8]:
    a = ALPHA[..., np.newaxis]
    return levels(a * np.float32([250, 20, 240]) + (1 - a) * room())


def test_exposure_is_matched() -> None:
    ground = match_plate(picture(), levels(room() * 0.85 + 6, 2), ALPHA)
    assert ground.way == "plate"
    beside = ALPHA == 0
    assert np.abs(ground.levels * 255 - room())[beside].mean() < 2
    assert ground.sure > 0.6


def test_a_plate_without_any_noise_is_matched() -> None:
    plate = np.rint(room()).astype(np.uint8)
    ground = match_plate(np.where(ALPHA[..., np.newaxis] > 0, 250 - plate, plate), plate, ALPHA)
    assert ground.spread == 0.5 / 255
    assert ground.sure > 0.9


def test_a_moved_camera_is_aligned() -> None:
    turn = cv2.getRotationMatrix2D((W / 2, H / 2), 0.4, 1.003)
    turn[:, 2] += (2.4, -1.7)
    moved = cv2.warpAffine(room(), turn, (W, H), borderMode=cv2.BORDER_REFLECT)
    ground = match_plate(picture(), levels(moved, 2), ALPHA)
    beside = (ALPHA == 0)[8:-8, 8:-8]
    assert np.abs(ground.levels * 255 - room())[8:-8, 8:-8][beside].mean() < 5


def test_the_subject_is_what_differs() -> None:
    image = picture()
    ground = match_plate(image, levels(room(), 2))
    assert np.abs(key_alone(image, ground) - ALPHA).mean() < 0.01


def test_a_network_that_is_quite_wrong_is_overruled() -> None:
    image = picture()
    wrong = np.zeros((H, W), np.float32)
    wrong[:, :100] = 1
    ground = match_plate(image, levels(room(), 2), wrong)
    assert np.abs(key(image, ground, wrong) - ALPHA).mean() < 0.01


def test_another_scene_and_another_size_are_refused() -> None:
    with pytest.raises(ImageError, match="shows another scene"):
        match_plate(picture(), levels(room(7), 2), ALPHA)
    with pytest.raises(ImageError, match="is 300 x 240 pixels, but the picture 320 x 240"):
        match_plate(picture(), levels(room(), 2)[:, :300], ALPHA)
    with pytest.raises(ImageError, match="fills the frame"):
        match_plate(picture(), levels(room(), 2), np.ones((H, W), np.float32))
