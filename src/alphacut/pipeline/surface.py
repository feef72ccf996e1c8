"""Smooth surfaces: a ground's colour at every pixel, as a polynomial of the place.

Light falls off slowly across a plain ground, so a polynomial of the second order describes it. The
fit is robust (iteratively reweighted, Tukey's biweight): what does not belong to the surface has no
say in it.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]

_ROUNDS = 10  # of reweighting
_SAMPLES = 6000  # that are fitted, at most
_TUKEY = 4.7  # standard deviations beyond which a sample has no weight
_LEAST_SPREAD = np.float64(0.4 / 255)  # rounding alone leaves 0.29 levels


@dataclass(frozen=True, eq=False)
class Surface:
    """A colour that changes smoothly across an image.

    Attributes:
        terms: (n, 3) float32, the factors of 1, x, y, xx, xy, yy; n is 1, 3 or 6, and x and y go
            from -1 to 1.
        size: (H, W) of the image.
        spread: Standard deviation of the samples around it, of levels in [0, 1].
        share: How many of the samples belong to it, in [0, 1].
    """

    terms: Array
    size: tuple[int, int]
    spread: float
    share: float

    def at(self, y: npt.NDArray[np.intp], x: npt.NDArray[np.intp]) -> Array:
        """Return the colours (n, 3) at n places."""
        return np.asarray(_powers(y, x, self.size, len(self.terms)) @ self.terms, np.float32)

    def rows(self, rows: slice) -> Array:
        """Return the colours (h, W, 3) of a band of rows."""
        H, W = self.size
        v, u = _scaled(np.arange(H)[rows], H)[:, np.newaxis], _scaled(np.arange(W), W)
        terms = np.zeros((6, 3), np.float32)
        terms[: len(self.terms)] = self.terms
        band = np.empty((len(v), W, 3), np.float32)
        for k, (one, by_u, by_v, by_uu, by_uv, by_vv) in enumerate(terms.T):
            across, down = one + u * (by_u + u * by_uu), v * (by_v + v * by_vv)
            band[..., k] = across + down + by_uv * v * u
        return band


def fit_surface(
    colours: Array,
    y: npt.NDArray[np.intp],
    x: npt.NDArray[np.intp],
    size: tuple[int, int],
    *,
    order: int = 2,
) -> Surface:
    """Fit a surface to samples of which some may belong to something else.

    Args:
        colours: (n, 3) float32 in [0, 1].
        y: (n,) their rows.
        x: (n,) their columns.
        size: (H, W) of the image.
        order: 0 for one colour, 1 for a slope, 2 for a vignette as well.
    """
    if len(colours) > _SAMPLES:  # a stride would fall in with the lattice
        drawn = np.random.default_rng(0).integers(0, len(colours), _SAMPLES)
        colours, y, x = colours[drawn], y[drawn], x[drawn]
    samples = colours.astype(np.float64)
    powers = _powers(y, x, size, (1, 3, 6)[order])
    # begin at the most common colour, not at the mean of ground and others
    start = np.median(samples, axis=0)
    off = np.abs(samples - start).max(axis=1)
    spread = max(float(np.median(off)) * 1.5, float(_LEAST_SPREAD))
    weight = _biweight(off / (_TUKEY * spread))
    terms: npt.NDArray[np.float64] = np.zeros((powers.shape[1], 3))
    for _ in range(_ROUNDS):
        weighted = powers * weight[:, np.newaxis]
        normal = weighted.T @ powers + 1e-6 * np.eye(powers.shape[1])
        terms = np.asarray(np.linalg.solve(normal, weighted.T @ samples), np.float64)
        off = np.abs(samples - powers @ terms).max(axis=1)
        near = off[weight > 0]
        middle = float(np.median(near)) if len(near) else 0.0
        spread = max(1.2 * middle, float(_LEAST_SPREAD))
        weight = _biweight(off / (_TUKEY * spread))
    share = float((weight > 0).mean()) if len(weight) else 0.0
    return Surface(terms.astype(np.float32), size, spread, share)


def _biweight(distance: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray((1 - np.minimum(distance, 1) ** 2) ** 2)


def _powers(
    y: npt.NDArray[np.intp], x: npt.NDArray[np.intp], size: tuple[int, int], terms: int
) -> Array:
    """Return the monomials (n, terms) at n places."""
    v, u = (_scaled(at, side) for at, side in zip((y, x), size, strict=True))
    columns = [np.ones_like(u), u, v, u * u, u * v, v * v][:terms]
    return np.stack(columns, axis=1).astype(np.float32)


def _scaled(at: npt.NDArray[np.intp], side: int) -> Array:
    """Return places along a side as from -1 to 1."""
    return np.asarray((2 * at.astype(np.float32) + 1) / np.float32(side) - 1, np.float32)
