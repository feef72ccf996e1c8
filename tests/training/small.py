"""Small pictures, their files, and a recipe that needs no more."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

RECIPE = """
model = "u2net-lite"
start = "random"
batch = 2
steps = 4
size = [32]
optimizer = "adam"
valid_pictures = 2
valid_every = 2
save_every = 2
[rate]
shape = "one-cycle"
peak = 1e-3
[loss]
l1 = 1.0
outputs = [1, 1, 1, 1, 1, 1, 1]
[[source]]
kind = "composites"
[[valid]]
kind = "composites"
part = "valid"
[about]
hardware = "any"
time = "none"
reaches = "nothing"
"""


def photograph(seed: int, H: int = 60, W: int = 80) -> NDArray[np.uint8]:
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), np.uint8)
    return np.asarray(cv2.resize(coarse, (W, H), interpolation=cv2.INTER_CUBIC), np.uint8)


def write(path: Path, array: NDArray[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    order = {2: slice(None), 3: slice(None, None, -1), 4: [2, 1, 0, 3]}
    channels = array.shape[2] if array.ndim == 3 else 2
    picture = array if array.ndim == 2 else array[..., order[channels]]
    assert cv2.imwrite(str(path), np.ascontiguousarray(picture))
