"""True colours at soft edges."""

import numpy as np
import pytest

from alphacut.errors import ImageError
from alphacut.pipeline.foreground import estimate_foreground


def soft_disc(size: int = 90) -> np.ndarray:
    y, x = np.mgrid[:size, :size]
    distance = np.hypot(y - size / 2, x - size / 2)
    return np.clip((size / 4 - distance) / 6 + 0.5, 0, 1).astype(np.float32)


def mixture(alpha: np.ndarray, foreground, background, dtype=np.uint8) -> np.ndarray:
    a = alpha[..., None]
    mixed = a * np.array(foreground) + (1 - a) * np.array(background)
    return np.rint(mixed * (np.iinfo(dtype).max / 255)).astype(dtype)


@pytest.mark.parametrize("size", [90, 777])  # the larger on a grid of 388 pixels
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_plain_colours_are_unmixed(dtype, size):
    alpha = soft_disc(size)
    image = mixture(alpha, (200, 40, 30), (10, 220, 60), dtype)
    foreground = estimate_foreground(image, alpha)
    assert foreground.dtype == dtype
    white = np.iinfo(dtype).max
    error = np.abs(foreground / white - np.array((200, 40, 30)) / 255)
    soft = (alpha > 0) & (alpha < 1)
    assert (error * alpha[..., None])[soft].max() < 5 / 255  # as far as it will be seen


def test_solid_and_empty_pixels_keep_the_photo():
    alpha = soft_disc()
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (*alpha.shape, 3), np.uint8)
    before = image.copy()
    foreground = estimate_foreground(image, alpha)
    sure = (alpha == 0) | (alpha == 1)
    assert np.array_equal(foreground[sure], image[sure])
    assert np.array_equal(image, before)
    assert not np.shares_memory(foreground, image)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_alpha_that_the_depth_cannot_hold_is_not_soft(dtype):
    level = 1 / np.iinfo(dtype).max
    alpha = np.tile(np.float32([0, 0.4 * level, 0.6 * level, 0.5, 1 - 0.4 * level, 1]), (60, 1))
    image = np.random.default_rng(2).integers(0, level**-1, (*alpha.shape, 3), dtype)
    changed = (estimate_foreground(image, alpha) != image).any(axis=(0, 2))
    assert list(changed) == [False, False, True, True, False, False]


def test_nothing_soft_means_a_plain_copy():
    image = np.full((5, 6, 3), 9, np.uint8)
    for constant in (0, 1):
        alpha = np.full((5, 6), constant, np.float32)
        assert np.array_equal(estimate_foreground(image, alpha), image)


def test_soft_everywhere_gives_finite_colours():
    image = np.full((40, 300, 3), 100, np.uint8)
    foreground = estimate_foreground(image, np.full((40, 300), 0.5, np.float32))
    assert np.abs(foreground.astype(int) - 100).max() <= 1


def test_tiles_leave_no_seam(monkeypatch):
    from alphacut.pipeline import foreground as module

    y, x = np.mgrid[:120, :130]
    alpha = np.clip(0.5 + 0.4 * np.sin(x / 9) * np.cos(y / 7), 0, 1).astype(np.float32)
    image = mixture(alpha, (180, 90, 20), (20, 60, 200))
    whole = estimate_foreground(image, alpha)
    monkeypatch.setattr(module, "TILE_PX", 32)
    tiled = estimate_foreground(image, alpha)
    assert np.abs(whole.astype(int) - tiled).max() <= 1


def test_fringe_of_the_old_background_is_gone():
    alpha = soft_disc()
    image = mixture(alpha, (60, 50, 40), (255, 255, 255))
    foreground = estimate_foreground(image, alpha)
    edge = (alpha > 0.2) & (alpha < 0.8)
    a = alpha[edge][:, None]
    assert (a * image[edge]).max() > 80  # on black the photo's own colours shine
    assert (a * foreground[edge]).max() < 55


def test_bad_input_is_named():
    image, alpha = np.zeros((4, 5, 3), np.uint8), np.zeros((4, 5), np.float32)
    with pytest.raises(ImageError, match="image"):
        estimate_foreground(image.astype(np.float32), alpha)
    with pytest.raises(ImageError, match="alpha"):
        estimate_foreground(image, alpha[:3])
