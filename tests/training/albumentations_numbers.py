"""Ask albumentations 1.1.0, the portrait notebook's, for the numbers that `test_steps.py` compares.

    python3.9 -m venv venv
    venv/bin/pip install albumentations==1.1.0 "numpy<1.24" "opencv-python-headless<4.8"
    venv/bin/python tests/training/albumentations_numbers.py

writes `albumentations-1.1.0.npz`: a small picture with a mask, what that library's functions make
of it with stated values, and how figures of the picture are distributed after each of its
transforms as the notebook calls them, and after all of them.
"""

import random
from pathlib import Path

import cv2
import numpy as np

FILE = Path(__file__).with_name("albumentations-1.1.0.npz")
DRAWS = 12_000
LEVELS = 24  # of each distribution that are kept


def picture() -> tuple[np.ndarray, np.ndarray]:
    """Colours of all kinds, 24 x 32, and a mask of the right half and more."""
    rng = np.random.default_rng(7)
    coarse = rng.integers(0, 256, (4, 5, 3), np.uint8)
    image = cv2.resize(coarse, (32, 24), interpolation=cv2.INTER_CUBIC).astype(int)
    image += rng.integers(-12, 13, image.shape)
    mask = np.zeros((24, 32), np.uint8)
    mask[4:, 14:] = 255
    return np.clip(image, 0, 255).astype(np.uint8), mask


def figures(image: np.ndarray, before: np.ndarray) -> list[float]:
    """Means of the channels, spread, sharpness, where the light lies, and the change."""
    grey = image.astype(float).mean(axis=2)
    change = np.abs(image.astype(float) - before).mean() if image.shape == before.shape else 0.0
    return [
        *image.astype(float).mean(axis=(0, 1)),
        grey.std(),
        np.abs(np.diff(grey, axis=1)).mean(),
        (grey * np.linspace(-1, 1, grey.shape[1])).mean() / grey.mean(),
        change,
    ]


def placed(image: np.ndarray, mask: np.ndarray, before: np.ndarray) -> list[float]:
    """The same of all transforms in a row, and the size, the mask, and how they fit together."""
    inside = mask > 0
    fit = image.mean(axis=2)[inside].mean() if inside.any() else 0.0
    return [*image.shape[:2], inside.mean(), fit, *figures(image, before)[:6]]


def distribution(rows: list[list[float]]) -> np.ndarray:
    """Of each figure, values and the share of draws that are no larger, (figures, 2, LEVELS)."""
    found = []
    for values in np.sort(np.array(rows).T, axis=1):
        at = values[np.linspace(0, len(values) - 1, LEVELS).round().astype(int)]
        shares = np.searchsorted(values, at + 1e-3, side="right") / len(values)
        found.append([at, shares])
    return np.array(found, np.float32)


def main() -> None:
    import albumentations as A
    import albumentations.augmentations.functional as F

    random.seed(0)
    np.random.seed(0)
    image, mask = picture()
    made = {"picture": image, "mask": mask}

    rng = np.random.default_rng(3)
    hls = cv2.cvtColor(image * np.float32(1 / 255), cv2.COLOR_RGB2HLS)
    assert hls.dtype == np.float32
    noise = rng.normal(0, 6, image.shape).astype(np.float32)
    moves = rng.integers(-4, 4, (16 * 24, 2, 2))
    kernel = np.zeros((7, 7), np.uint8)
    cv2.line(kernel, (1, 0), (3, 5), 1, thickness=1)
    made |= {"noise": noise, "moves": moves}
    exact = {
        "shift_rgb": F.shift_rgb(image, 11.3, -7.8, 19.9),
        "shift_hsv": F.shift_hsv(image, 17.4, -22.6, 13.2),
        "scale_levels": F.brightness_contrast_adjust(image, 1.13, -0.07, True),
        "apply_gamma": F.gamma_transform(image, 0.83),
        "equalise": F.clahe(image, 2.7, (8, 8)),
        "brighten": F.adjust_brightness_torchvision(image, 1.17),
        "contrast": F.adjust_contrast_torchvision(image, 0.84),
        "saturate": F.adjust_saturation_torchvision(image, 1.19),
        "turn_hue": F.adjust_hue_torchvision(image, -0.15),
        "gauss_noise": F.gauss_noise(image, noise),
        "iso_noise": F.iso_noise(image, 0.03, 0.4, np.random.RandomState(5)),
        "blur": F.blur(image, 5),
        "gaussian_blur": F.gaussian_blur(image, 7, 0),
        "median_blur": F.median_blur(image, 5),
        "motion_blur": F.convolve(image, kernel.astype(np.float32) / kernel.sum()),
        "glass_blur": F.glass_blur(image, 0.7, 4, 2, moves, "fast"),
    }
    made |= {f"exact {name}": result for name, result in exact.items()}

    notebook = [
        A.CropAndPad(percent=(-0.02, -0.2), keep_size=False, sample_independently=True, p=0.5),
        A.HorizontalFlip(p=0.5),
        A.OneOf([A.ChannelShuffle(p=0.2), A.RGBShift(p=0.4), A.HueSaturationValue(p=0.4)], p=0.3),
        A.OneOf(
            [A.ColorJitter(p=0.2), A.CLAHE(p=0.3), A.RandomBrightnessContrast(p=0.3),
             A.RandomGamma(p=0.2)],
            p=0.3,
        ),
        A.OneOf([A.GaussNoise(p=0.5), A.ISONoise(p=0.5)], p=0.2),
        A.OneOf(
            [A.Blur(p=0.1), A.GaussianBlur(p=0.3), A.GlassBlur(p=0.1), A.MedianBlur(p=0.3),
             A.MotionBlur(p=0.2)],
            p=0.2,
        ),
    ]  # fmt: skip
    names = {
        "ChannelShuffle": "channel_shuffle", "RGBShift": "rgb_shift",
        "HueSaturationValue": "hue_saturation_value", "ColorJitter": "color_jitter",
        "CLAHE": "clahe", "RandomBrightnessContrast": "brightness_contrast",
        "RandomGamma": "gamma", "GaussNoise": "gauss_noise", "ISONoise": "iso_noise",
        "Blur": "blur", "GaussianBlur": "gaussian_blur", "GlassBlur": "glass_blur",
        "MedianBlur": "median_blur", "MotionBlur": "motion_blur",
    }  # fmt: skip
    for group in notebook[2:]:
        for transform in group.transforms:
            drawn = (transform(force_apply=True, image=image)["image"] for _ in range(DRAWS))
            name = names[type(transform).__name__]
            made[f"draws {name}"] = distribution([figures(each, image) for each in drawn])
    whole = A.Compose(notebook)
    drawn = (whole(image=image, mask=mask) for _ in range(DRAWS))
    made["draws all"] = distribution([placed(d["image"], d["mask"], image) for d in drawn])
    np.savez_compressed(FILE, **made)


if __name__ == "__main__":
    main()
