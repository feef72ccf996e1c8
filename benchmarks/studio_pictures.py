"""Studio pictures with known alpha, colours, ground and shadow, drawn from a seed.

Cut-outs (RGBA files of a folder that you name) and drawn subjects stand on plain grounds as they
are photographed: uneven light, shadows, noise, paper, cloth, JPEG. Nothing here is tuned to look
easy: each number is drawn from a range. Files of even index are for choosing, of odd index for
reporting, and so are the seeds.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray

Array = NDArray[np.float32]

GROUNDS = {
    "white": (248, 248, 247), "light grey": (205, 206, 208), "cream": (240, 228, 205),
    "blue": (70, 110, 190), "dark grey": (70, 71, 74), "black": (14, 14, 16),
    "pink": (235, 180, 190), "mint": (175, 225, 205), "red": (190, 40, 45),
    "yellow": (245, 205, 60), "brown": (120, 90, 65), "mid grey": (128, 128, 128),
}  # fmt: skip
# By kind of picture: how it is made
KINDS = (
    "plain", "shadow", "texture", "white on white", "black on black", "glass", "wires", "hair",
    "photo",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Studio:
    """A picture and all that is true of it.

    Attributes:
        name: Kind, ground and number.
        kind: One of `KINDS`.
        image: (H, W, 3) uint8, after noise and JPEG.
        alpha: (H, W) float32 in [0, 1].
        foreground: (H, W, 3) float32 in [0, 1], where alpha is above zero.
        ground: (H, W, 3) float32 in [0, 1], lit, without shadow and noise.
        shadow: (H, W) float32, the share of light that the shadow takes.
    """

    name: str
    kind: str
    image: NDArray[np.uint8]
    alpha: Array
    foreground: Array
    ground: Array
    shadow: Array


def pictures(
    seed: int,
    cutouts: Path,
    photos: Path,
    *,
    kinds: tuple[str, ...] = KINDS,
    count: int = 6,
    side_px: int = 600,
) -> Iterator[Studio]:
    """Draw `count` pictures of each kind; an odd seed takes the odd cut-outs and photographs.

    Args:
        seed: Decides everything.
        cutouts: Folder of RGBA files.
        photos: Folder of photographs, grounds that are not plain.
        kinds: Which of `KINDS`.
        count: How many of each.
        side_px: Side of the square pictures.
    """
    files = sorted(path for path in cutouts.iterdir() if path.suffix in (".png", ".webp"))
    files = files[seed % 2 :: 2]
    views = sorted(path for path in photos.iterdir() if path.suffix in (".jpg", ".jpeg"))
    views = views[seed % 2 :: 2]
    for kind in kinds:
        rng = np.random.default_rng([seed, *kind.encode()])
        order = rng.permutation(len(files))
        for number in range(count):
            file = files[order[number % len(files)]]
            yield draw(kind, rng, file, views[int(rng.integers(len(views)))], side_px, number)


def draw(
    kind: str, rng: np.random.Generator, file: Path, view: Path, side_px: int, number: int = 0
) -> Studio:
    """Draw one picture."""
    size = side_px, side_px
    if kind in ("glass", "wires", "hair"):
        foreground, alpha = {"glass": glass, "wires": wires, "hair": hair}[kind](rng, size)
    else:
        foreground, alpha = placed(rng, file, size)
    name = str(rng.choice(list(GROUNDS)))
    if kind == "white on white":
        name, grey = "white", foreground.mean(axis=2, keepdims=True)
        foreground = np.clip(0.84 + 0.15 * (0.3 * foreground + 0.7 * grey), 0, 1)
    if kind == "black on black":
        name, foreground = "black", foreground * np.float32(0.16)
    light = lighting(rng, size, 0.12)
    ground = np.array(GROUNDS[name], np.float32) / 255 * light[..., np.newaxis]
    if kind == "texture":
        ground = ground * weave(rng, size)[..., np.newaxis]
    if kind == "photo":
        name = view.stem
        with PIL.Image.open(view) as photo:
            pixels = photo.convert("RGB").resize((side_px, side_px), PIL.Image.Resampling.LANCZOS)
        ground = np.asarray(pixels, np.float32) / 255
    ground = np.clip(ground, 0, 1).astype(np.float32)
    strong = kind == "shadow"
    shadow = cast(rng, alpha, strong) if strong or rng.random() < 0.7 else np.zeros_like(alpha)
    if kind == "photo":
        shadow = np.zeros_like(alpha)
    image = composite(foreground, alpha, ground, shadow)
    noisy = image * 255 + rng.normal(0, rng.uniform(0.5, 3), image.shape)
    levels = np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
    quality = int(rng.integers(82, 96))
    _, data = cv2.imencode(".jpg", levels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    image = np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1])
    title = f"{kind}, {name}, {file.stem if kind not in ('glass', 'wires', 'hair') else number}"
    return Studio(title, kind, image, alpha, foreground.astype(np.float32), ground, shadow)


def composite(foreground: Array, alpha: Array, ground: Array, shadow: Array) -> Array:
    """Mix them: a F + (1 - a) B (1 - s), float in [0, 1]."""
    a, s = alpha[..., np.newaxis], shadow[..., np.newaxis]
    return np.asarray(a * foreground + (1 - a) * ground * (1 - s), np.float32)


# --- subjects: colours (H, W, 3) and alpha (H, W) ---


def placed(rng: np.random.Generator, file: Path, size: tuple[int, int]) -> tuple[Array, Array]:
    """Place a cut-out, enlarged to half of the frame or more, standing in its lower part."""
    H, W = size
    with PIL.Image.open(file) as picture:
        rgba = np.asarray(picture.convert("RGBA"), np.float32) / 255
    h, w = rgba.shape[:2]
    factor = min(H * rng.uniform(0.5, 0.82) / h, W * rng.uniform(0.5, 0.82) / w)
    pre = np.dstack([rgba[..., :3] * rgba[..., 3:], rgba[..., 3]])
    way = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    pre = np.clip(cv2.resize(pre, (round(w * factor), round(h * factor)), interpolation=way), 0, 1)
    h, w = pre.shape[:2]
    top, left = int((H - h) * rng.uniform(0.4, 0.8)), int((W - w) * rng.uniform(0.3, 0.7))
    canvas = np.zeros((H, W, 4), np.float32)
    canvas[top : top + h, left : left + w] = pre
    alpha = canvas[..., 3]
    colours = canvas[..., :3] / np.maximum(alpha, 1e-3)[..., np.newaxis]
    return np.clip(colours, 0, 1), alpha


def wires(rng: np.random.Generator, size: tuple[int, int]) -> tuple[Array, Array]:
    """Draw a solid body with wires of 1 to 4 px of 600 hanging from it."""
    H, _ = size
    alpha = _body(rng, size, (0.14, 0.22))
    for _ in range(int(rng.integers(6, 16))):
        alpha = np.maximum(alpha, _curve(rng, size, rng.uniform(1, 4) * H / 600))
    return _skin(rng, size), alpha


def hair(rng: np.random.Generator, size: tuple[int, int]) -> tuple[Array, Array]:
    """Draw a round body with some hundred hairs of half to one and a half px."""
    H, _ = size
    alpha = _body(rng, size, (0.2, 0.28))
    for _ in range(int(rng.integers(150, 350))):
        one = _curve(rng, size, rng.uniform(0.5, 1.5) * H / 600, reach=rng.uniform(0.08, 0.2))
        alpha = alpha + (1 - alpha) * one * np.float32(rng.uniform(0.5, 1))
    return _skin(rng, size), alpha


def glass(rng: np.random.Generator, size: tuple[int, int]) -> tuple[Array, Array]:
    """Draw a bottle: a clear inside, a dark rim, a cap, and highlights."""
    H, W = size
    outer, inner = np.zeros(size, np.uint8), np.zeros(size, np.uint8)
    x, y, r = W // 2, int(H * 0.6), int(W * rng.uniform(0.12, 0.2))
    rim = max(2, int(r * rng.uniform(0.06, 0.14)))
    for plane, less in ((outer, 0), (inner, rim)):
        cv2.rectangle(plane, (x - r + less, y - r), (x + r - less, y + r - less), 255, -1)
        cv2.ellipse(plane, (x, y - r), (r - less, r - less), 0, 180, 360, 255, -1)
        cv2.rectangle(plane, (x - r // 3 + less, y - 3 * r), (x + r // 3 - less, y - r), 255, -1)
    outer, inner = (cv2.GaussianBlur(plane, (0, 0), 0.8 * H / 600) / np.float32(255)
                    for plane in (outer, inner))  # fmt: skip
    clear = np.float32(rng.uniform(0.1, 0.4))
    alpha = outer * (1 - inner) * np.float32(0.9) + outer * inner * clear
    cap = np.zeros(size, np.float32)
    cv2.rectangle(cap, (x - r // 3, y - 3 * r - r // 3), (x + r // 3, y - 3 * r + r // 4), 1, -1)
    spots = np.zeros(size, np.float32)
    cv2.ellipse(spots, (x - r // 2, y - r // 4), (r // 8, r // 2), 0, 0, 360, 0.9, -1)
    spots = cv2.GaussianBlur(spots, (0, 0), 2 * H / 600) * outer
    colours = np.empty((H, W, 3), np.float32)
    colours[:] = rng.uniform(0.1, 0.6, 3)
    for plane, colour in ((spots, np.ones(3)), (cap, rng.uniform(0, 1, 3))):
        total = plane + (1 - plane) * alpha
        share = (plane / np.maximum(total, 1e-6))[..., np.newaxis]
        colours = colours * (1 - share) + share * colour.astype(np.float32)
        alpha = total
    return np.clip(colours, 0, 1).astype(np.float32), np.clip(alpha, 0, 1).astype(np.float32)


def _body(rng: np.random.Generator, size: tuple[int, int], radius: tuple[float, float]) -> Array:
    H, W = size
    plane = np.zeros(size, np.uint8)
    axes = tuple(int(W * rng.uniform(*radius)) for _ in range(2))
    cv2.ellipse(plane, (W // 2, H // 2), axes, rng.uniform(0, 90), 0, 360, 255, -1, cv2.LINE_AA)
    return np.asarray(cv2.GaussianBlur(plane, (0, 0), 0.7 * H / 600) / np.float32(255))


def _curve(
    rng: np.random.Generator, size: tuple[int, int], width_px: float, reach: float = 0.45
) -> Array:
    """Draw a quadratic curve from the body outwards, antialiased by eight-fold sampling."""
    H, W = size
    angle = rng.uniform(0, 2 * np.pi)
    start = np.array([0.5, 0.5]) + 0.13 * np.array([np.cos(angle), np.sin(angle)])
    bend = angle + rng.normal(0, 0.5)
    end = start + reach * np.array([np.cos(bend), np.sin(bend)])
    middle = (start + end) / 2 + rng.normal(0, reach / 5, 2)
    t = np.linspace(0, 1, 40)[:, np.newaxis]
    points = ((1 - t) ** 2 * start + 2 * t * (1 - t) * middle + t**2 * end) * (W, H)
    low = np.maximum(np.floor(points.min(axis=0)).astype(int) - 4, 0)
    high = np.minimum(np.ceil(points.max(axis=0)).astype(int) + 5, (W, H))
    plane = np.zeros(size, np.float32)
    w, h = high - low
    if min(w, h) <= 0:
        return plane
    fine = np.zeros((h * 8, w * 8), np.uint8)
    line = np.rint((points - low) * 8).astype(np.int32)
    cv2.polylines(fine, [line], False, 255, max(1, round(width_px * 8)))
    small = cv2.resize(fine, (int(w), int(h)), interpolation=cv2.INTER_AREA)
    plane[low[1] : high[1], low[0] : high[0]] = small / np.float32(255)
    return plane


def _skin(rng: np.random.Generator, size: tuple[int, int]) -> Array:
    """Colour a drawn subject: one colour, with smooth variation of a few per cent."""
    colour = rng.uniform(0.05, 0.95, 3).astype(np.float32)
    return np.clip(colour + 0.06 * _clouds(rng, size, 12)[..., np.newaxis], 0, 1)


# --- light, shadow, texture ---


def _clouds(rng: np.random.Generator, size: tuple[int, int], cells: int) -> Array:
    """Return smooth noise of about unit variance, (H, W)."""
    H, W = size
    coarse = rng.normal(0, 1, (cells, cells)).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (W, H), interpolation=cv2.INTER_CUBIC), np.float32)


def lighting(rng: np.random.Generator, size: tuple[int, int], depth: float) -> Array:
    """Light a ground unevenly, up to `depth` both ways: a slope and a vignette."""
    H, W = size
    y, x = np.mgrid[:H, :W].astype(np.float32)
    x, y = x / W - 0.5, y / H - 0.5
    angle, slope, vignette = rng.uniform(0, 2 * np.pi), rng.uniform(0, 1), rng.uniform(0, 1)
    field = slope * 1.4 * (x * np.cos(angle) + y * np.sin(angle)) - vignette * 2 * (x * x + y * y)
    return np.asarray(1 + depth * field, np.float32)


def cast(rng: np.random.Generator, alpha: Array, strong: bool) -> Array:
    """Draw a contact shadow below the subject and, when strong, a cast one beside it."""
    H, W = alpha.shape
    visible = np.argwhere(alpha > 0.5)
    (_, left), (bottom, right) = visible.min(axis=0), visible.max(axis=0)
    plane = np.zeros_like(alpha)
    middle, wide = (left + right) // 2, max(8, (right - left) // 2)
    cv2.ellipse(plane, (int(middle), int(bottom)), (int(wide), max(4, int(wide * 0.12))),
                0, 0, 360, 1, -1)  # fmt: skip
    plane = cv2.GaussianBlur(plane, (0, 0), H * rng.uniform(0.006, 0.02))
    shadow = plane * np.float32(rng.uniform(0.2, 0.5))
    if strong:
        lean = rng.uniform(-0.5, 0.5)
        move = np.array([[1, lean, -lean * bottom], [0, 0.35, bottom * 0.65]], np.float32)
        laid = cv2.warpAffine(alpha, move, (W, H))
        laid = cv2.GaussianBlur(laid, (0, 0), H * rng.uniform(0.005, 0.025))
        shadow = np.maximum(shadow, laid * np.float32(rng.uniform(0.15, 0.45)))
    return np.asarray(shadow, np.float32)


def weave(rng: np.random.Generator, size: tuple[int, int]) -> Array:
    """Return the texture of paper or cloth as factors around 1, (H, W)."""
    H, W = size
    if rng.random() < 0.5:  # paper: fine grain
        grain = cv2.GaussianBlur(rng.normal(0, 1, size).astype(np.float32), (0, 0), 1.2)
        return np.asarray(1 + 0.02 * grain / grain.std(), np.float32)
    y, x = np.mgrid[:H, :W].astype(np.float32)  # cloth: threads and soft folds
    step = rng.uniform(3, 6) * H / 600
    threads = 0.012 * (np.sin(2 * np.pi * x / step) + np.sin(2 * np.pi * y / step))
    return np.asarray(1 + threads + 0.03 * _clouds(rng, size, 6), np.float32)
