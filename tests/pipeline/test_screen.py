"""Green and blue screens."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from test_ground import H, W, lit, photograph

from alphacut.pipeline.ground import Ground, fit_ground
from alphacut.pipeline.key import key, key_alone
from alphacut.pipeline.screen import remove_spill, unmix
from pictures import disc

Array = NDArray[np.float32]
GREEN, BLUE = (0.05, 0.7, 0.25), (0.1, 0.2, 0.8)


def plain(colour: tuple[float, float, float]) -> Array:
    return np.broadcast_to(np.float32(colour), (H, W, 3))


def on(ground: Array, subject: Array, alpha: Array, bits: int = 16) -> NDArray[np.unsignedinteger]:
    a, top = alpha[..., np.newaxis], 2**bits - 1
    mixed = np.rint((a * subject + (1 - a) * ground) * top)
    return mixed.astype(np.uint8 if bits == 8 else np.uint16)


def fitted(image: NDArray[np.unsignedinteger]) -> Ground:
    ground = fit_ground(image, None)
    assert ground is not None
    assert ground.way == "screen"
    return ground


ALPHAS = {
    "hard": cv2.GaussianBlur(disc(H, W, 0.25), (0, 0), 1),
    "motion blur": cv2.blur(cv2.GaussianBlur(disc(H, W, 0.25), (0, 0), 1), (21, 1)),
    "cloth": np.maximum(0.5 * disc(H, W, 0.35), cv2.GaussianBlur(disc(H, W, 0.2), (0, 0), 1)),
}


def test_one_pixel_by_hand() -> None:
    # half of grey 100 on green (0, 200, 0): (50, 150, 50)
    image = np.zeros((40, 40, 3), np.uint8)
    image[..., 1] = 200
    image[15:25, 15:25] = 100
    image[15:25, 25] = (50, 150, 50)
    ground = fitted(image)
    alpha = key_alone(image, ground)
    assert alpha[20, [5, 20, 25, 30]] == pytest.approx([0, 1, 0.5, 0], abs=1 / 255)
    assert unmix(image, alpha, ground)[20, 25].tolist() == pytest.approx([100] * 3, abs=1)


@pytest.mark.parametrize("screen", [GREEN, BLUE])
@pytest.mark.parametrize("kind", ALPHAS)
@pytest.mark.parametrize("skin", [(0.5, 0.5, 0.5), (0.8, 0.6, 0.5)])
def test_without_noise_it_is_exact(
    screen: tuple[float, float, float], kind: str, skin: tuple[float, float, float]
) -> None:
    alpha = ALPHAS[kind]
    image = on(plain(screen), plain(skin), alpha)
    ground = fitted(image)
    found = key_alone(image, ground)
    assert np.abs(found - alpha).max() <= 2.5 / 255
    colours = remove_spill(unmix(image, found, ground), found, ground, 1.0)
    seen = alpha > 0.1
    assert np.abs(colours[seen] / 65535 - plain(skin)[seen]).max() <= 3 / 255


def test_noise_of_two_levels() -> None:
    alpha = ALPHAS["hard"]
    mixed = on(plain(GREEN), plain((0.8, 0.6, 0.5)), alpha).astype(np.float32) / 65535
    image = photograph(mixed, 2)
    assert np.abs(key_alone(image, fitted(image)) - alpha).mean() <= 0.004


def test_folds_and_uneven_light() -> None:
    alpha = ALPHAS["hard"]
    x = np.linspace(0, 12, W, dtype=np.float32)
    folds = lit(GREEN, 0.1) * (1 + 0.05 * np.sin(x))[np.newaxis, :, np.newaxis]
    image = photograph(on(folds, plain((0.8, 0.6, 0.5)), alpha).astype(np.float32) / 65535)
    assert np.abs(key_alone(image, fitted(image)) - alpha).mean() <= 0.006


def test_the_network_keeps_what_wears_the_screens_colour() -> None:
    alpha = ALPHAS["hard"]
    subject = plain((0.6, 0.5, 0.5)).copy()
    subject[55:65, 75:85] = (0.1, 0.55, 0.25)  # a green badge, not quite the screen's green
    image = photograph(on(plain(GREEN), subject, alpha).astype(np.float32) / 65535)
    ground = fitted(image)
    assert key_alone(image, ground)[58:62, 78:82].max() < 0.6
    assert key(image, ground, alpha)[58:62, 78:82].min() == 1


def test_spill_goes_as_far_as_is_asked() -> None:
    ground = fitted(on(plain(GREEN), plain((0.5, 0.5, 0.5)), ALPHAS["hard"]))
    hair = np.full((4, 4, 3), (100, 140, 90), np.uint8)
    opaque = np.ones((4, 4), np.float32)
    assert remove_spill(hair, opaque, ground, 0) is hair
    assert remove_spill(hair, opaque, ground, 0.5)[0, 0].tolist() == [100, 120, 90]
    assert remove_spill(hair, opaque, ground, 1)[0, 0].tolist() == [100, 100, 90]
    own = np.full((4, 4, 3), (20, 170, 60), np.uint8)  # as green as the screen: its own colour
    assert np.array_equal(remove_spill(own, opaque, ground, 1), own)
    assert not np.array_equal(hair, remove_spill(hair, opaque, ground, 1))
