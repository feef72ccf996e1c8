"""Make clips whose alpha is known: cut-outs that move over photographs.

    python benchmarks/video_clips.py CUTOUTS BACKGROUNDS clips/choose --part choose
    python benchmarks/video_clips.py CUTOUTS BACKGROUNDS clips/report --part report

CUTOUTS holds straight RGBA files, BACKGROUNDS photographs. Each part has 8 clips of 48 frames at
640 x 360, from seeds and from subjects and photographs that the other does not have. Subject and
background move apart (pan, zoom, turn, slow deformation) under a camera held by hand; light changes
slowly; there are motion blur and sensor noise. A clip is a folder of image/, alpha/ and foreground/
(straight colours), as `alphacut evaluate --video` takes it.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

FRAMES, SIZE, CLIPS = 48, (360, 640), 8
SHUTTER = 0.5  # of a frame's time
SAMPLES = 4  # moments within it
NOISE = 2.5  # standard deviation, levels
SEEDS = {"choose": 100, "report": 200}
LEAST_PX = 150  # of a cut-out's shorter side: smaller ones would be blurred by enlarging
Array = NDArray[np.float32]


def wander(rng: np.random.Generator, smooth: float) -> Array:
    """A smooth random path (FRAMES + 1,), about -1 to 1."""
    steps = rng.normal(size=FRAMES + 1 + 40)
    path = cv2.GaussianBlur(steps[np.newaxis], (0, 0), smooth)[0, 20:-20]
    path = path - path.mean()
    return np.asarray(path / max(np.abs(path).max(), 1e-6), np.float32)


class Path1D:
    """A value that changes over a clip: from start to end, wandering on the way."""

    def __init__(self, rng: np.random.Generator, start: float, end: float, sway: float,
                 smooth: float = 8.0) -> None:  # fmt: skip
        self.values = np.linspace(start, end, FRAMES + 1) + sway * wander(rng, smooth)

    def at(self, time: float) -> float:
        """Return the value at a time, in frames."""
        return float(np.interp(time, np.arange(FRAMES + 1), self.values))


def make_clip(cutout: NDArray[np.uint8], photo: NDArray[np.uint8], seed: int, folder: Path) -> None:
    rng = np.random.default_rng(seed)
    H, W = SIZE
    premultiplied = cutout.astype(np.float32) / 255
    premultiplied[..., :3] *= premultiplied[..., 3:]
    h, w = cutout.shape[:2]
    fit = rng.uniform(0.55, 0.75) * min(H / h, W / w)
    across, down = rng.uniform(0.06, 0.16, 2) * rng.choice([-1, 1], 2)
    x = Path1D(rng, W * (0.5 - across), W * (0.5 + across), W * 0.04)
    y = Path1D(rng, H * (0.52 - down / 3), H * (0.52 + down / 3), H * 0.03)
    turn = Path1D(rng, *rng.uniform(-0.15, 0.15, 2), 0.05)
    zoom = Path1D(rng, *(fit * rng.uniform(0.9, 1.12, 2)), fit * 0.02)
    bend, phase = Path1D(rng, 0, 0, 0.03 * h), Path1D(rng, 0, rng.uniform(-4, 4), 0.5)
    shake_x, shake_y = Path1D(rng, 0, 0, 3.0, 1.5), Path1D(rng, 0, 0, 3.0, 1.5)
    light, light_behind = Path1D(rng, 1, 1, 0.1), Path1D(rng, 1, 1, 0.1)
    ph, pw = photo.shape[:2]
    cover = 1.35 * max(H / ph, W / pw)
    back_x, back_y = Path1D(rng, -30, 30, 12), Path1D(rng, -8, 8, 6)
    back_zoom = Path1D(rng, cover, cover * rng.uniform(0.95, 1.06), 0.005)
    behind = photo.astype(np.float32) / 255
    rows, columns = np.mgrid[:H, :W].astype(np.float32)
    for part in ("image", "alpha", "foreground"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for k in range(FRAMES):
        image, colours = np.zeros((H, W, 3), np.float32), np.zeros((H, W, 3), np.float32)
        alpha = np.zeros((H, W), np.float32)
        for sample in range(SAMPLES):
            t = k + SHUTTER * sample / SAMPLES
            dx, dy = shake_x.at(t), shake_y.at(t)
            cos, sin = np.cos(turn.at(t)) / zoom.at(t), np.sin(turn.at(t)) / zoom.at(t)
            u, v = columns - x.at(t) - dx, rows - y.at(t) - dy
            sx, sy = cos * u + sin * v + w / 2, -sin * u + cos * v + h / 2
            sx = sx + bend.at(t) * np.sin(sy / h * 4 + phase.at(t))
            subject = cv2.remap(premultiplied, sx.astype(np.float32), sy.astype(np.float32),
                                cv2.INTER_LINEAR, borderValue=(0, 0, 0, 0))  # fmt: skip
            scale = 1 / back_zoom.at(t)
            bx = (columns - W / 2 - back_x.at(t) - dx) * scale + pw / 2
            by = (rows - H / 2 - back_y.at(t) - dy) * scale + ph / 2
            ground = cv2.remap(behind, bx, by, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
            a = subject[..., 3:]
            lit = subject[..., :3] * light.at(t)
            colours += lit
            image += lit + (1 - a) * ground * light_behind.at(t)
            alpha += a[..., 0]
        image = image / SAMPLES * 255 + rng.normal(scale=NOISE, size=image.shape)
        levels = np.clip(np.rint(image), 0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / "image" / f"{k:05}.jpg"), levels, [cv2.IMWRITE_JPEG_QUALITY, 93])
        cv2.imwrite(str(folder / "alpha" / f"{k:05}.png"),
                    np.rint(alpha / SAMPLES * 255).astype(np.uint8))  # fmt: skip
        straight = colours / np.maximum(alpha, 1e-6)[..., np.newaxis] * 255
        cv2.imwrite(str(folder / "foreground" / f"{k:05}.png"),
                    np.clip(np.rint(straight), 0, 255).astype(np.uint8))  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("cutouts", type=Path)
    parser.add_argument("backgrounds", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--part", choices=SEEDS, required=True)
    given = parser.parse_args()
    cutouts = []
    for path in sorted(given.cutouts.glob("*.png")):
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if image.ndim == 3 and image.shape[2] == 4 and min(image.shape[:2]) >= LEAST_PX:
            cutouts.append(image)
    photos = sorted(given.backgrounds.glob("*.jpg"))
    rng = np.random.default_rng(7)
    order, scenes = rng.permutation(len(cutouts)), rng.permutation(len(photos))
    half = list(SEEDS).index(given.part) * CLIPS
    for k in range(CLIPS):
        photo = cv2.imread(str(photos[scenes[half + k]]))
        size = round(photo.shape[1] * 720 / photo.shape[0]), 720
        photo = cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
        make_clip(
            cutouts[order[half + k]], photo, SEEDS[given.part] + k, given.folder / f"clip-{k}"
        )
        print(f"{given.folder / f'clip-{k}'}")


if __name__ == "__main__":
    main()
