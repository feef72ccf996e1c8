"""Draw test pictures whose alpha and foreground are known exactly, new ones for every seed.

    python benchmarks/edges_pictures.py FOLDER --cutouts DIR ... --backgrounds DIR ...
        [--masked IMAGES MASKS] [--seed 0] [--count 40] [--half 0] [--megapixels 0.3 12]

Subjects are cut-outs (RGBA files) and photographs with masks; grounds are photographs and studio
grounds. Each picture draws from what makes edges hard: light before dark and dark before light,
grounds in the subject's own colours, strands of hair and fur, thin solid parts, JPEG, noise. The
folder gets image/, alpha/ and foreground/, as `alphacut evaluate` reads them, and pictures.csv.

Choose on the pictures of one half, report on fresh seeds of the other: no subject and no ground is
in both.
"""

import argparse
import csv
import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from alphacut.pipeline.foreground import estimate_foreground

Array = NDArray[np.float32]
Pixels = NDArray[np.uint8]

_LONGEST_PX = 1024  # subjects and grounds are read at most at this size
_SUPERSAMPLED = 2  # strands are drawn at this multiple of the picture's size
_SHIFT = 4  # fractional bits of drawn coordinates
_LEAST, _MOST = 0.03, 0.97  # share of its file that a subject covers; a mask may have found none
_MASK_SURE = (0.55, 0.95)  # what of a mask becomes 0..1: its blurred rim is old background


@dataclass(frozen=True)
class Sources:
    """Where subjects and grounds come from.

    Attributes:
        cutouts: RGBA files by folder; folders are drawn equally often.
        masked: Photographs, each with its mask.
        backgrounds: Photographs.
    """

    cutouts: Sequence[Sequence[Path]]
    masked: Sequence[tuple[Path, Path]]
    backgrounds: Sequence[Path]


@dataclass(frozen=True)
class Drawn:
    """A picture and its truth.

    Attributes:
        image: (H, W, 3) uint8, RGB, after noise and JPEG.
        alpha: (H, W) float32 in [0, 1].
        foreground: (H, W, 3) uint8, the subject's straight colours; zero where alpha is zero.
        traits: What was drawn, such as ground=studio.
    """

    image: Pixels
    alpha: Array
    foreground: Pixels
    traits: dict[str, str]


def find_sources(
    cutouts: Sequence[Path],
    masked: Sequence[tuple[Path, Path]],
    backgrounds: Sequence[Path],
    half: int,
) -> Sources:
    """List the files of folders that belong to a half, 0 or 1, by their names."""

    def belongs(path: Path) -> bool:
        stem = path.stem.split("-part")[0]
        return zlib.crc32(stem.encode()) % 2 == half

    def files(folders: Sequence[Path]) -> list[Path]:
        kinds = {".png", ".webp", ".jpg", ".jpeg"}
        found = (path for folder in folders for path in sorted(folder.iterdir()))
        ours = [path for path in found if path.suffix.lower() in kinds and belongs(path)]
        if not ours:
            raise SystemExit(f"{', '.join(map(str, folders))}: no image of half {half}")
        return ours

    pairs = []
    for images, masks in masked:
        by_stem = {path.stem: path for path in files([masks])}
        pairs += [(path, by_stem[path.stem]) for path in files([images]) if path.stem in by_stem]
    return Sources([files([folder]) for folder in cutouts], pairs, files(backgrounds))


def draw(sources: Sources, seed: int, megapixels: tuple[float, float] = (0.3, 12)) -> Drawn:
    """Draw the picture of a seed."""
    rng = np.random.default_rng(seed)
    area = math.exp(rng.uniform(*np.log(megapixels))) * 1e6
    aspect = math.exp(rng.uniform(-0.45, 0.45))
    size = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
    colours, alpha, kind = _place(_subject(sources, rng), size, rng)
    traits = {"subject": kind, "size": f"{size[1]}x{size[0]}"}
    if (tone := _choose(rng, none=5, light=2, dark=2)) != "none":
        colours = _retone(colours, alpha, tone, rng)
    traits["tone"] = tone
    if (thin := _choose(rng, none=5, sticks=3)) != "none":
        colours, alpha = _add_sticks(colours, alpha, rng)
    traits["thin"] = thin
    if (hair := _choose(rng, none=5, fur=2, hair=3)) != "none":
        colours, alpha = _add_strands(colours, alpha, hair, rng)
    traits["strands"] = hair
    ground_kind = _choose(rng, natural=6, studio=4)
    ground = _natural(sources, size, rng) if ground_kind == "natural" else _studio(size, rng)
    traits["ground"] = ground_kind
    rim = _rim_colour(colours, alpha)
    opposite = tone != "none"
    if opposite:  # light before dark, and the reverse
        aim = rng.uniform(0.02, 0.3) if tone == "light" else rng.uniform(0.7, 0.98)
        ground = np.clip(ground + (aim - ground.mean()), 0, 1)
    elif rng.random() < 0.25:
        ground = np.clip(ground + (rim - ground.mean((0, 1))) * rng.uniform(0.5, 1), 0, 1)
        traits["ground"] += " alike"
    # Truth has the depth of its files
    alpha = np.asarray(np.rint(alpha * 255) / 255, np.float32)
    foreground = np.asarray(np.rint(np.clip(colours, 0, 1) * 255), np.uint8)
    foreground[alpha == 0] = 0
    share = alpha[..., None]
    image = foreground / np.float32(255) * share + ground * (1 - share)
    return Drawn(_photograph(image, traits, rng), alpha, foreground, traits)


def write(folder: Path, drawn: Drawn, name: str) -> None:
    """Write a picture and its truth."""
    for part in ("image", "alpha", "foreground"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    levels = np.asarray(np.rint(drawn.alpha * 255), np.uint8)
    cv2.imwrite(str(folder / "image" / f"{name}.png"), drawn.image[..., ::-1])
    cv2.imwrite(str(folder / "alpha" / f"{name}.png"), levels)
    rgba = np.dstack([drawn.foreground[..., ::-1], levels])
    cv2.imwrite(str(folder / "foreground" / f"{name}.png"), rgba)


# --- subjects ---


def _choose(rng: np.random.Generator, **odds: float) -> str:
    weights = np.array(list(odds.values()))
    return list(odds)[int(rng.choice(len(weights), p=weights / weights.sum()))]


@lru_cache(maxsize=512)
def _read(path: Path, flags: int) -> Pixels:
    pixels = cv2.imread(str(path), flags)
    if pixels is None:
        raise SystemExit(f"{path}: not an image")
    scale = _LONGEST_PX / max(pixels.shape[:2])
    if scale < 1:
        pixels = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return np.asarray(pixels, np.uint8)


def _subject(sources: Sources, rng: np.random.Generator) -> tuple[Array, str]:
    """Draw a subject: premultiplied (h, w, 4) float32, and its kind."""
    masked = len(sources.masked) and rng.random() < 0.4
    if masked:
        image, mask = sources.masked[int(rng.integers(len(sources.masked)))]
        pixels = np.ascontiguousarray(_read(image, cv2.IMREAD_COLOR)[..., ::-1])
        levels = _read(mask, cv2.IMREAD_GRAYSCALE) / np.float32(255)
        if levels.shape != pixels.shape[:2]:
            levels = cv2.resize(levels, pixels.shape[1::-1])
        low, high = _MASK_SURE
        alpha = np.asarray(np.clip((levels - low) / (high - low), 0, 1), np.float32)
        pixels = estimate_foreground(pixels, alpha)
    else:
        files = sources.cutouts[int(rng.integers(len(sources.cutouts)))]
        path = files[int(rng.integers(len(files)))]
        rgba = _read(path, cv2.IMREAD_UNCHANGED)
        if rgba.ndim != 3 or rgba.shape[2] != 4:
            raise SystemExit(f"{path}: no alpha")
        pixels, alpha = rgba[..., 2::-1], rgba[..., 3] / np.float32(255)
    subject = np.dstack([pixels / np.float32(255) * alpha[..., None], alpha]).astype(np.float32)
    rows, columns = (np.flatnonzero((alpha > 0.05).any(axis)) for axis in (1, 0))
    if not len(rows) or not _LEAST < alpha.mean() < _MOST:
        return _subject(sources, rng)
    subject = subject[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return subject, "masked" if masked else "cutout"


def _place(
    drawn: tuple[Array, str], size: tuple[int, int], rng: np.random.Generator
) -> tuple[Array, Array, str]:
    """Scale, mirror, turn and move a subject: straight colours, alpha, its kind."""
    subject, kind = drawn
    h, w = subject.shape[:2]
    if rng.random() < 0.5:
        subject = subject[:, ::-1]
    scale = rng.uniform(0.55, 0.95) * min(size[0] / h, size[1] / w)
    angle = 0.0 if kind == "masked" else rng.normal(0, 10)
    filter = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    fitted = max(2, round(w * scale)), max(2, round(h * scale))
    subject = cv2.resize(np.ascontiguousarray(subject), fitted, interpolation=filter)
    matrix = cv2.getRotationMatrix2D((fitted[0] / 2, fitted[1] / 2), angle, 1)
    y, x = (
        rng.uniform(0, max(1, side - own)) for side, own in zip(size, fitted[::-1], strict=True)
    )
    if kind == "masked":  # busts end where their photographs did
        y = size[0] - fitted[1]
    matrix[:, 2] += round(x), round(y)
    layer = cv2.warpAffine(subject, matrix, size[::-1], flags=cv2.INTER_LINEAR)
    alpha = np.clip(layer[..., 3], 0, 1)
    alpha[alpha < 0.5 / 255] = 0
    if scale > 1:  # an enlarged edge is soft; photographs of this size are sharper
        steep = 1 + 0.5 * (min(scale, 4) - 1) * rng.uniform(0, 1)
        alpha = np.clip((alpha - 0.5) * steep + 0.5, 0, 1)
    colours = np.clip(layer[..., :3] / np.maximum(layer[..., 3:], 1e-2), 0, 1)
    return _extend(colours, layer[..., 3]), alpha, kind


def _extend(colours: Array, alpha: Array) -> Array:
    """Carry a subject's colours outwards, so that what is added at its rim has them."""
    H, W = alpha.shape
    size = max(1, W // 8), max(1, H // 8)
    weight = (alpha > 0.9).astype(np.float32)
    total = cv2.resize(colours * weight[..., None], size, interpolation=cv2.INTER_AREA)
    weight = cv2.resize(weight, size, interpolation=cv2.INTER_AREA)
    for sigma in (1, 4, 16, 64):  # the nearest colours, and those from afar where there are none
        total = total + 1e-3 * cv2.GaussianBlur(total, (0, 0), sigma)
        weight = weight + 1e-3 * cv2.GaussianBlur(weight, (0, 0), sigma)
    mean = total / np.maximum(weight, 1e-12)[..., None]
    wide = np.clip(cv2.resize(mean, (W, H), interpolation=cv2.INTER_LINEAR), 0, 1)
    return np.asarray(np.where((alpha > 0.3)[..., None], colours, wide), np.float32)


def _retone(colours: Array, alpha: Array, tone: str, rng: np.random.Generator) -> Array:
    """Make a subject light or dark."""
    grey = colours.mean(2)
    mean = float((grey * alpha).sum() / max(float(alpha.sum()), 1))
    aim = rng.uniform(0.65, 0.9) if tone == "light" else rng.uniform(0.06, 0.2)
    power = math.log(aim) / math.log(min(max(mean, 0.02), 0.98))
    faded = grey[..., None] + (colours - grey[..., None]) * rng.uniform(0.1, 0.8)
    return np.asarray(np.clip(faded, 0, 1) ** power, np.float32)


def _rim_colour(colours: Array, alpha: Array) -> Array:
    """Return the mean colour of a subject near its edge, (3,)."""
    width = max(3, round(max(alpha.shape) / 60)) | 1
    inside = (alpha > 0.9).astype(np.uint8)
    rim = (inside > 0) & (cv2.erode(inside, np.ones((width, width), np.uint8)) == 0)
    return np.asarray(colours[rim].mean(0) if rim.any() else colours.mean((0, 1)), np.float32)


# --- thin parts ---


def _contour(alpha: Array) -> tuple[Array, Array]:
    """Return points (n, 2) x, y on a subject's outline, and the directions that lead outwards."""
    mask = (alpha > 0.5).astype(np.uint8)
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not contours:
        return np.zeros((0, 2), np.float32), np.zeros((0, 2), np.float32)
    points = max(contours, key=len).reshape(-1, 2)
    soft = cv2.GaussianBlur(alpha, (0, 0), max(1.5, max(alpha.shape) / 150))
    x, y = points.T
    out = -np.dstack([cv2.Sobel(soft, cv2.CV_32F, 1, 0), cv2.Sobel(soft, cv2.CV_32F, 0, 1)])[y, x]
    length = np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-6)
    H, W = alpha.shape
    inner = (x > 2) & (y > 2) & (x < W - 3) & (y < H - 3)
    return points[inner].astype(np.float32), np.asarray(out / length, np.float32)[inner]


def _curve(start: Array, direction: Array, length: float, bend: float, steps: int) -> Array:
    """Return a line (steps, 2) that bends evenly."""
    angle = math.atan2(direction[1], direction[0]) + bend * np.linspace(0, 1, steps)
    step = length / steps * np.stack([np.cos(angle), np.sin(angle)], 1)
    return np.asarray(start + np.cumsum(step, 0), np.float32)


def _add_sticks(colours: Array, alpha: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Add one to four thin solid parts that begin in the subject: handles, stems, cables."""
    points, out = _contour(alpha)
    if not len(points):
        return colours, alpha
    H, W = alpha.shape
    for _ in range(int(rng.integers(1, 5))):
        at = int(rng.integers(len(points)))
        length = rng.uniform(0.08, 0.35) * max(H, W)
        start = points[at] - out[at] * length * 0.15
        line = _curve(start, out[at], length * 1.15, rng.normal(0, 0.7), 32)
        width = rng.uniform(0.004, 0.02) * max(H, W)
        shape = np.zeros((H * 2, W * 2), np.uint8)
        fixed = np.rint((line * 2 + 0.5) * (1 << _SHIFT)).astype(np.int32)
        cv2.polylines(shape, [fixed], False, 255, max(1, round(width * 2)), cv2.LINE_AA, _SHIFT)
        part = cv2.resize(shape, (W, H), interpolation=cv2.INTER_AREA) / np.float32(255)
        near = colours[int(points[at][1]), int(points[at][0])]
        colour = near if rng.random() < 0.5 else rng.uniform(0.03, 0.97, 3)
        shade = cv2.resize(rng.uniform(0.8, 1.2, (4, 4)).astype(np.float32), (W, H))
        over = part[..., None]
        colours = np.clip(colour * shade[..., None], 0, 1) * over + colours * (1 - over)
        alpha = np.maximum(alpha, part)
    return np.asarray(colours, np.float32), np.asarray(alpha, np.float32)


def _add_strands(
    colours: Array, alpha: Array, kind: str, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Add hair along a part of the outline, or fur all around."""
    points, out = _contour(alpha)
    if not len(points):
        return colours, alpha
    H, W = alpha.shape
    side = max(H, W)
    if kind == "fur":
        where = rng.integers(0, len(points), max(20, len(points) // int(rng.integers(2, 7))))
        reach, thick = rng.uniform(0.008, 0.03) * side, rng.uniform(0.8, 1.8)
    else:
        first, share = int(rng.integers(len(points))), rng.uniform(0.15, 0.5)
        count = int(len(points) * share * rng.uniform(0.3, 1.2)) + 20
        where = (first + rng.integers(0, max(1, int(len(points) * share)), count)) % len(points)
        reach, thick = rng.uniform(0.03, 0.1) * side, rng.uniform(0.7, 1.5)
    thick *= max(1.0, side / 1200)
    lean = rng.normal(0, 0.6)
    scale = _SUPERSAMPLED
    canvas = np.zeros((H * scale, W * scale), np.uint8)
    for at in where:
        length = reach * rng.uniform(0.3, 1.2)
        start = points[at] - out[at] * min(length * 0.3, 6)
        angle = math.atan2(out[at][1], out[at][0]) + lean + rng.normal(0, 0.35)
        direction = np.array([math.cos(angle), math.sin(angle)], np.float32)
        line = _curve(start, direction, length, rng.normal(0, 0.8), 10)
        fixed = np.rint((line * scale + 0.5) * (1 << _SHIFT)).astype(np.int32)
        level = int(rng.uniform(110, 255))
        cv2.polylines(
            canvas, [fixed], False, level, max(1, round(thick * scale * rng.uniform(0.5, 1.2))),
            cv2.LINE_AA, _SHIFT,
        )  # fmt: skip
    strands = cv2.resize(canvas, (W, H), interpolation=cv2.INTER_AREA) / np.float32(255)
    tint = cv2.GaussianBlur(rng.normal(1, 0.5, (H, W)).astype(np.float32), (0, 0), 1.2)
    hair = np.clip(_blurred(colours, side / 100) * np.clip(tint, 0.6, 1.4)[..., None], 0, 1)
    outside = (strands * (1 - alpha) / np.maximum(strands * (1 - alpha) + alpha, 1e-4))[..., None]
    colours = hair * outside + colours * (1 - outside)
    return np.asarray(colours, np.float32), np.asarray(1 - (1 - alpha) * (1 - strands), np.float32)


def _blurred(plane: Array, sigma: float) -> Array:
    return np.asarray(cv2.GaussianBlur(plane, (0, 0), sigma), np.float32)


# --- grounds ---


def _natural(sources: Sources, size: tuple[int, int], rng: np.random.Generator) -> Array:
    """A part of a photograph, perhaps out of focus."""
    path = sources.backgrounds[int(rng.integers(len(sources.backgrounds)))]
    photo = _read(path, cv2.IMREAD_COLOR)[..., ::-1]
    H, W = photo.shape[:2]
    scale = min(H / size[0], W / size[1]) * rng.uniform(0.5, 1)
    h, w = max(1, int(size[0] * scale)), max(1, int(size[1] * scale))
    top, left = int(rng.integers(H - h + 1)), int(rng.integers(W - w + 1))
    part = np.ascontiguousarray(photo[top : top + h, left : left + w]) / np.float32(255)
    filter = cv2.INTER_AREA if scale > 1 else cv2.INTER_CUBIC
    ground = np.clip(cv2.resize(part, size[::-1], interpolation=filter), 0, 1)
    if rng.random() < 0.5:
        ground = _blurred(ground, rng.uniform(0.5, 12) * max(size) / 800)
    return np.asarray(ground, np.float32)


def _studio(size: tuple[int, int], rng: np.random.Generator) -> Array:
    """An even or shaded ground."""
    kind = _choose(rng, white=3, grey=2, black=1, colour=2)
    base: Callable[[], NDArray[np.float64]] = {
        "white": lambda: np.full(3, rng.uniform(0.9, 1)),
        "grey": lambda: np.full(3, rng.uniform(0.2, 0.85)),
        "black": lambda: np.full(3, rng.uniform(0, 0.1)),
        "colour": lambda: rng.uniform(0.1, 0.95, 3),
    }[kind]
    corners = np.tile(base(), (2, 2, 1)) * rng.uniform(0.85, 1, (2, 2, 1))
    return np.asarray(np.clip(cv2.resize(corners.astype(np.float32), size[::-1]), 0, 1), np.float32)


def _photograph(image: Array, traits: dict[str, str], rng: np.random.Generator) -> Pixels:
    """Add what lenses, sensors and files do: blur, noise, JPEG."""
    sigma = rng.uniform(0, 0.7) if rng.random() < 0.5 else 0.0
    if sigma > 0.2:
        image = _blurred(image, sigma)
    noise = float(rng.uniform(0.5, 6)) if rng.random() < 0.5 else 0.0
    image = image + rng.normal(0, 1, image.shape).astype(np.float32) * (noise / 255)
    pixels = np.asarray(np.rint(np.clip(image, 0, 1) * 255), np.uint8)
    quality = int(rng.integers(60, 99))
    traits.update(noise=f"{noise:.1f}", jpeg=str(quality))
    _, coded = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.ascontiguousarray(cv2.imdecode(coded, cv2.IMREAD_COLOR)[..., ::-1])


def main() -> None:
    """Draw the pictures that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cutouts", type=Path, nargs="+", required=True, metavar="DIR")
    parser.add_argument("--backgrounds", type=Path, nargs="+", required=True, metavar="DIR")
    parser.add_argument(
        "--masked", type=Path, nargs=2, action="append", default=[], metavar=("IMAGES", "MASKS")
    )
    parser.add_argument("--seed", type=int, default=0, help="of the first picture")
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--half", type=int, choices=(0, 1), default=0, help="of the sources")
    parser.add_argument("--megapixels", type=float, nargs=2, default=(0.3, 12))
    given = parser.parse_args()
    pairs = [(images, masks) for images, masks in given.masked]
    sources = find_sources(given.cutouts, pairs, given.backgrounds, given.half)
    rows = []
    for seed in range(given.seed, given.seed + given.count):
        drawn = draw(sources, seed, tuple(given.megapixels))
        write(given.folder, drawn, f"{seed:05}")
        rows.append({"picture": f"{seed:05}", **drawn.traits})
    with (given.folder / "pictures.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)


if __name__ == "__main__":
    main()
