"""Plain grounds: found around the subject, fitted by a smooth surface, with shadow and noise.

What the network leaves is sampled on a lattice, and a surface is fitted to it (`surface`). The
ground is plain if most of the samples belong to the surface, or are the surface made darker with
its colour kept, which is shadow. What is left of folds and shadow is a second, local surface.
"""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from alphacut.pipeline.image import Image, check_image, check_plane, downscale, downscale_to, white
from alphacut.pipeline.surface import Surface, fit_surface

Array = npt.NDArray[np.float32]
Way = Literal["plain", "screen", "plate", "pair"]

_GRID_PX = 640  # long side of the grid that grounds and subjects are compared on, at most
_LATTICE_PX = 200  # and of the lattice that grounds are fitted on
_AWAY = 0.012  # how far from the network's subject bare ground begins, of the long side
_FAINT = 0.02  # alpha that may be subject
_LEAST_BARE = 0.05  # share of the frame that must be bare
_FRAME = 0.04  # width of the frame's border that is taken for bare without a network, of its side
_MOST_SPREAD = 7 / 255  # of a plain ground: paper and cloth are below it, landscapes above
_BELONGS, _EXPLAINED = 0.6, 0.82  # least shares of samples on the surface, and with shadow
_MOST_OTHER = 0.03  # share of wide things that are neither ground nor shadow nor subject
_TOLERANCE, _LEAST_TOLERANCE = 4.0, 4 / 255  # distance from the surface, in spreads and at least
_DARKEST = 0.4  # light that a shadow leaves, at least
_GIVEN = 60 / 255  # how far a ground may be from the colour that a user says it has
_THIN = 5  # lattice points; dark parts of less are no shadow
_THIN_SPREADS = 3.0
_LOCAL = (12.0, 5.0, 2.0)  # standard deviations of the local surface, in lattice points
_SCREEN = 0.5  # share of green or blue by which it exceeds the other two channels in a screen
_SATURATED = 0.15  # and at least by so much
_DARK = np.float32(1 / 255)


@dataclass(frozen=True, eq=False)
class Ground:
    """What lies behind a subject.

    Attributes:
        way: How it was found: "plain", "screen" or "plate".
        clean: (h, w, 3) float32 in [0, 1], its colours without shadow, on a grid.
        levels: The same as they are lit in the image, shadow included.
        spread: Standard deviation of the image around it, of levels in [0, 1].
        sure: How sure it is that this is the ground, in [0, 1].
    """

    way: Way
    clean: Array
    levels: Array
    spread: float
    sure: float

    @property
    def primary(self) -> int | None:
        """The screen's channel, 1 for green and 2 for blue; None for other grounds."""
        if self.way != "screen":
            return None
        return int(np.argmax(self.clean.mean(axis=(0, 1))))


def fit_ground(
    image: Image, rough: Array | None, colour: tuple[int, int, int] | None = None
) -> Ground | None:
    """Fit the ground that a subject stands before, if it is plain.

    Args:
        image: (H, W, 3) uint8 or uint16.
        rough: (H, W) float32 in [0, 1], the network's alpha; None to take the image's border for
            ground, as if it is nowhere above a half.
        colour: What the ground is said to be, 8-bit RGB; None to find it.

    Returns:
        The ground, or None if it is not plain.

    Raises:
        ImageError: if a shape or dtype is wrong.
    """
    check_image(image)
    H, W = image.shape[:2]
    if rough is not None:
        check_plane("rough", rough, (H, W))
        rough = rough if (rough > 0.5).any() else None
    step = -(-max(H, W) // _LATTICE_PX)
    rows, columns = np.arange(step // 2, H, step), np.arange(step // 2, W, step)
    lattice = len(rows), len(columns)
    y, x = (at.ravel() for at in np.meshgrid(rows, columns, indexing="ij"))
    seen = image[y, x].astype(np.float32) / np.float32(white(image))
    bare = _bare(rough, step, lattice) if rough is not None else _border(lattice)
    bare = bare.ravel()
    if colour is not None:
        said = np.array(colour, np.float32) / 255
        near = np.abs(seen - said).max(axis=1) < _GIVEN
        bare = bare & near if rough is not None else near
    if bare.mean() < (_LEAST_BARE if rough is not None else 0.02):
        return None
    surface = fit_surface(seen[bare], y[bare], x[bare], (H, W))
    clean = np.clip(surface.at(y, x), _DARK, 1)
    light, off = _darkened(seen, clean)
    tolerance = max(_TOLERANCE * surface.spread, _LEAST_TOLERANCE)
    off_surface = np.abs(seen - clean).max(axis=1)
    belongs = off_surface < tolerance
    explained = belongs | ((light < 1) & (light > _DARKEST) & (off < tolerance))
    share, more = float(belongs[bare].mean()), float(explained[bare].mean())
    if surface.spread > _MOST_SPREAD or share < _BELONGS or more < _EXPLAINED:
        return None
    other = (bare & ~explained).reshape(lattice).astype(np.uint8)
    wide = cv2.morphologyEx(other, cv2.MORPH_OPEN, np.ones((_THIN, _THIN), np.uint8))
    if colour is None and wide.sum() > _MOST_OTHER * bare.sum():  # a table before a wall
        return None
    way: Way = "screen" if _is_screen(clean) else "plain"
    usable = explained & (bare if rough is not None else True)
    if way == "screen":  # whose light shines through soft edges: they look like shadow, too
        usable &= off_surface < max(_TOLERANCE * surface.spread, 1 / 255)
    local = _local(seen - clean, light, usable, surface, clean, lattice)
    size = _grid_size((H, W))
    grid = _on_grid(surface, size)
    levels = np.clip(grid + cv2.resize(local, size[::-1]), _DARK, 1)
    sure = min(1.0, max(0.0, 1 - surface.spread / _MOST_SPREAD)) ** 0.5 * more
    return Ground(way, grid, np.asarray(levels, np.float32), surface.spread, round(sure, 3))


def estimate_shadow(image: Image, alpha: Array, ground: Ground) -> Array:
    """Estimate how much of the ground's light its shadow takes.

    Args:
        image: (H, W, 3) uint8 or uint16.
        alpha: (H, W) float32 in [0, 1], of the subject, under which the shadow goes on.
        ground: From `fit_ground` or `plate.match_plate`.

    Returns:
        Darkness (H, W) float32 in [0, 1], 0 where the ground is as bright as elsewhere.
    """
    H, W = alpha.shape
    reduced = downscale_to(image, max(ground.clean.shape[:2]))
    small = reduced.astype(np.float32) / np.float32(white(image))
    h, w = small.shape[:2]
    there = cv2.resize(alpha, (w, h), interpolation=cv2.INTER_AREA)
    light, off = _darkened(small, ground.clean)
    tolerance = max(_TOLERANCE * ground.spread, 2 * _LEAST_TOLERANCE)
    clear = (cv2.dilate(there, np.ones((3, 3), np.uint8)) < _FAINT) & (off < tolerance)
    dark = np.clip(1 - cv2.medianBlur(light.astype(np.float32), 5), 0, 1)
    brightness = np.maximum(ground.clean.mean(axis=2), 0.05)
    filled, weight = dark * clear, clear.astype(np.float32)
    shadow = np.zeros((h, w), np.float32)
    for sigma in (0.08, 0.02, 0.008, 0.0015):  # coarse to fine: what the subject hides is filled in
        px = max(0.6, sigma * max(h, w))
        total, mass = (cv2.GaussianBlur(plane, (0, 0), px) for plane in (filled, weight))
        trust = np.clip(mass * 4, 0, 1)
        shadow = trust * total / np.maximum(mass, 1e-6) + (1 - trust) * shadow
    floor = 1.5 * ground.spread / brightness  # noise is no shadow
    shadow = shadow * np.clip((shadow - 0.5 * floor) / np.maximum(floor, 1e-6), 0, 1)
    return np.asarray(np.clip(cv2.resize(shadow, (W, H)), 0, 1), np.float32)


def _darkened(seen: Array, clean: Array) -> tuple[Array, Array]:
    """Return the share of the ground's light in each colour, and how far it is off that line."""
    light = (seen * clean).sum(axis=-1) / (clean * clean).sum(axis=-1)
    return light, np.abs(seen - light[..., np.newaxis] * clean).max(axis=-1)


def _bare(rough: Array, step: int, lattice: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Tell which lattice points are away from anything that may be subject."""
    some = (rough > _FAINT).astype(np.uint8) * np.uint8(255)
    # half of a point or more counts: what is left of thin parts lies within the margin
    small = downscale(some, lattice) if step > 1 else some
    reach = 1 + 2 * max(1, round(_AWAY * max(rough.shape) / step))
    return np.asarray(cv2.dilate(small, np.ones((reach, reach), np.uint8)) < 128)


def _border(lattice: tuple[int, int]) -> npt.NDArray[np.bool_]:
    border = np.ones(lattice, bool)
    edge = max(1, round(_FRAME * max(lattice)))
    border[edge:-edge, edge:-edge] = False
    return border


def _local(
    rest: Array,
    light: Array,
    usable: npt.NDArray[np.bool_],
    surface: Surface,
    clean: Array,
    lattice: tuple[int, int],
) -> Array:
    """Smooth what the surface leaves: folds, and shadow without thin dark parts of the subject."""
    dim = np.where(usable, np.minimum(light, 1.2), 1).reshape(lattice).astype(np.float32)
    closed = cv2.morphologyEx(dim, cv2.MORPH_CLOSE, np.ones((_THIN, _THIN), np.uint8))
    thin = closed - dim > _THIN_SPREADS * surface.spread / max(float(clean.mean()), 0.05)
    weight = (usable.reshape(lattice) & ~thin).astype(np.float32)
    samples = rest.reshape(*lattice, 3) * weight[..., np.newaxis]
    local = np.zeros_like(samples)
    for sigma in _LOCAL:
        total = cv2.GaussianBlur(samples, (0, 0), sigma)
        mass = cv2.GaussianBlur(weight, (0, 0), sigma)
        trust = np.clip(8 * mass, 0, 1)[..., np.newaxis]
        nearer = total / np.maximum(mass, 1e-4)[..., np.newaxis]
        local = trust * nearer + (1 - trust) * local * np.float32(0.7)
    return np.asarray(local, np.float32)


def _grid_size(size: tuple[int, int]) -> tuple[int, int]:
    factor = min(1.0, _GRID_PX / max(size))
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def _on_grid(surface: Surface, size: tuple[int, int]) -> Array:
    return np.clip(Surface(surface.terms, size, 0.0, 1.0).rows(slice(None)), _DARK, 1)


def _is_screen(clean: Array) -> bool:
    """Tell whether the ground is a green or blue screen, by its colour."""
    red, green, blue = (float(level) for level in clean.mean(axis=0))
    most, excess = max(green, blue), max(green - max(red, blue), blue - max(red, green))
    return excess > _SCREEN * most and excess > _SATURATED
