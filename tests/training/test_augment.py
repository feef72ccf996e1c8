import numpy as np

from alphacut.training import augment


def test_blur_leaves_the_picture_in_its_place() -> None:
    picture = np.zeros((41, 41, 3), np.uint8)
    picture[20, 20] = 255
    for seed in range(30):
        blurred = augment._motion_blur(picture, np.random.default_rng(seed))[..., 0].astype(float)
        middle = [(np.arange(41) * blurred.sum(axis=axis)).sum() for axis in (0, 1)]
        assert np.abs(np.array(middle) / blurred.sum() - 20).max() < 1
