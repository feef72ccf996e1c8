"""Make docs/video.webp: a film before and after, from examples/ and a drawn ground.

python scripts/make_film.py
"""

from pathlib import Path

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray

from alphacut import Remover, cut_frames

ROOT = Path(__file__).parents[1]
FRAMES, SIZE = 20, (160, 200)


def draw_ground(time: float) -> NDArray[np.uint8]:
    """Hills that go by, (H, W, 3) RGB."""
    H, W = SIZE
    rows = np.linspace(0, 1, H)[:, np.newaxis, np.newaxis]
    ground = (1 - rows) * (250, 190, 120) + rows * (240, 120, 110)
    image = np.ascontiguousarray(np.broadcast_to(ground, (H, W, 3)).astype(np.uint8))
    for depth, colour in enumerate([(150, 90, 120), (100, 70, 110), (60, 45, 80)], 1):
        across = np.arange(W)
        height = (
            105 + 22 * depth + 14 * np.sin(across / (38 - 6 * depth) + depth + 2.4 * time * depth)
        )
        outline = np.column_stack([across, height]).round().astype(np.int32)
        cv2.fillPoly(image, [np.vstack([outline, [[W, H], [0, H]]])], colour, cv2.LINE_AA)
    return np.asarray(image, np.uint8)


def main() -> None:
    """Make the film, cut it out, and put both side by side."""
    remover = Remover()
    person = remover(ROOT / "examples" / "astronaut.png", crop=True).arrange()
    H, W = SIZE
    frames = []
    for k in range(FRAMES):
        time = 0.5 - 0.5 * np.cos(2 * np.pi * k / FRAMES)  # there and back
        height = H * 0.95
        h = person.size[0]
        scale = height / h
        move = np.array([[scale, 0, W * (0.02 + 0.12 * time)], [0, scale, H - height]], np.float32)
        alpha = cv2.warpAffine(person.alpha, move, (W, H), flags=cv2.INTER_AREA)[..., np.newaxis]
        colours = cv2.warpAffine(person.foreground, move, (W, H), flags=cv2.INTER_AREA)
        frames.append(np.rint(alpha * colours + (1 - alpha) * draw_ground(time)).astype(np.uint8))
    pages = []
    for frame, cutout in zip(frames, cut_frames(frames, remover=remover), strict=True):
        pages.append(PIL.Image.fromarray(np.hstack([frame, cutout.on("checkerboard")])))
    path = ROOT / "docs" / "video.webp"
    pages[0].save(path, save_all=True, append_images=pages[1:], duration=90, loop=0, quality=45,
                  method=6)  # fmt: skip
    print(path, path.stat().st_size)


if __name__ == "__main__":
    main()
