"""Alpha mattes: from an image and a coarse map to alpha at the image's size.

`estimate_alpha_closed_form` needs a trimap and PyMatting (extra `matting`). `estimate_alpha_fast`
needs only the network's saliency. It works in five steps, in this order:

1. thin parts: before a plain ground, a handle or a stem is a line that continues the subject and is
   unlike the ground beside it, and the network is hardly sure of it. It counts as subject;
2. colour evidence: how often does each colour occur in the subject, and how often around it? The
   two histograms (Boykov and Jolly, ICCV 2001) correct the saliency where it is in doubt;
3. guided filter: in a small window alpha is a linear function of colour, `alpha = a . I + b` (He,
   Sun and Tang, ECCV 2010). Fitted on a small grid, twice: the second time to the first's result;
4. rendering: the coefficients a and b are smooth where alpha is not, so they are what is enlarged;
   each pixel's own colour then gives its alpha (fast guided filter, arXiv 1505.00996);
5. unmixing: where one side of an edge is light, the other dark, and both are even, such as white
   fur before a dark wall, a pixel's place on the line between the two colours is its alpha.
"""

import importlib.util
from collections.abc import Sequence
from typing import Any, TypeVar, cast

import cv2
import numpy as np
import numpy.typing as npt

from alphacut.errors import ImageError, MissingExtra, RuntimeFailure
from alphacut.parallel import shared_out
from alphacut.pipeline.image import (
    TILE_PX,
    Image,
    check_image,
    check_plane,
    dot,
    downscale,
    downscale_to,
    look_up,
)

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
AnyArray = TypeVar("AnyArray", Array, Image)

_GRID_PX = 400  # long side of the grid, at least: 1.25 times a 320 px network's answer
_LEVELS = 64  # histogram bins per channel: coarser ones confuse subject and surroundings
_SURROUNDINGS = 0.3  # width of the surroundings, as a share of the long side, subject included
_RARE_PX = 2.0  # a colour seen on fewer grid pixels than this says little
_EVIDENCE_RANGE = (0.05, 0.95)  # colour alone never decides
_SALIENCY_RANGE = (0.001, 0.999)  # nor does the network
_COARSE_PX = 320  # long side of a saliency that is unsure where edges are: U-2-Net's
_RADIUS_PX = 4  # of the windows, on the grid: they have to be wider than the network's blur
_NOISE = np.float32(1e-5)  # variance of colour (0..1) that is noise, not signal: 0.8 of 255
_FLAT = np.float32(1e-4)  # variance of alpha below which there is nothing to explain
_STRETCH = ((0.1, 0.9), (0.05, 0.95))  # what becomes 0..1 after each fit: fits avoid the ends
_FAINT = 0.05  # saliency from which there may be a thin part, up to which there is certain ground
_UNLIKE = (12.0, 40.0)  # squared distance from the ground's colours, in variances: no part, a part
_EVEN = 0.035  # deviation of a ground's colours from an even slope, 0..1, up to which it is plain
_LEAST_GROUND_PX, _SLOPE_PX = 100, 4000  # grid pixels to tell it from, about as many are read
_GROUND_NOISE = np.float32(1e-3)  # least variance of a ground's colours, summed over channels
_THIN = 0.03  # width of a thin part at most, as a share of the long side
_PART = 0.97  # saliency of a part that is unlike the ground
_BLUR_PX = ((4, 3), (2, 2), (1, 2))  # shrinking, radius on it: colours from afar fill what is open
_OPEN = np.float32(3e-3)  # mean weight under which a mean is left to the wider one
_PURE = 0.97  # alpha from which, and share of ground, a pixel's colour is subject's or ground's own
_APART = (8.0, 30.0)  # squared distance of both colours, in variances: tells nothing, tells alpha
_CONTRAST = (0.5, 1.0)  # squared distance, 3 for white and black: a rim in shade, light or dark
_COLOUR_NOISE = np.float32(4e-4)  # least variance of a colour, summed over channels
_OFF_LINE = 0.01, 0.001  # distance of a mixture from the line between both: of its length, at least
_CERTAIN = 0.25, 0.06  # distance of the saliency from 0 and 1: colours decide, the network does
_SOFT = 0.004  # least distance of a soft alpha from 0 and 1
_TINY = np.float32(1e-6)
_RIM = 1 / 250  # width beyond soft pixels where colours may decide, as a share of the long side
_FINE = (2.0, 3.0)  # magnification of the saliency up to which it decides, from which it is free
_DECISION_STEP = 0.04  # saliency from 0.5 to 0.52 lifts the least alpha from 0 to 0.5, smoothly
_SOLVE_PX = 640  # long side of the closed form's grid when alpha is known roughly
_FULL_SOLVE_PX = 1024  # and when a trimap is all there is: its detail is not in any other map
_SOLVE_NOISE = 1e-6  # like _NOISE, in the 3 x 3 windows of the closed form
_TRIMAP_NOISE = 6e-8  # without a prior nothing but colour can tell, so it is fitted more closely
_PRIOR_WEIGHT = 0.1  # of (alpha - prior)² against the matting Laplacian, whose diagonal is about 1
_SOLVE_STRETCH = (0.02, 0.98)  # what becomes 0..1 of the solution, which is smooth
_SOLVE_ERROR = (1e-2, 1e-6)  # relative residual to stop at, with a prior and without
_UPSAMPLE_RADIUS_PX = 2  # windows of the fit that carries the solution to the image's size
_STRIP_PX = 1 << 15  # pixels rendered at a time: keeps the float planes in cache


def estimate_alpha_fast(image: Image, saliency: Array) -> Array:
    """Estimate alpha at the image's size from a saliency; time is linear in the number of pixels.

    Args:
        image: (H, W, 3) uint8 or uint16, RGB.
        saliency: (h, w) float32 in [0, 1] of any size, best the network's own. It covers the whole
            image, whatever its aspect ratio.

    Returns:
        (H, W) float32 in [0, 1]; exactly 0 or exactly 1 away from edges.

    Raises:
        ImageError: if a shape or dtype is wrong.
    """
    check_image(image)
    check_plane("saliency", saliency)
    grid = _grid_size(image, max(_GRID_PX, *saliency.shape))
    guide = _unit_range(_resize(image, grid))
    seen = _resize(saliency, grid)
    coarse = _resize(guide, (-(-grid[0] // 2), -(-grid[1] // 2)))
    thin = _find_thin_parts(guide, coarse, seen)
    seen = np.maximum(seen, thin)
    prior = _weigh_colours(guide, seen)
    unknown = _near_edges(prior)
    model = _model(guide, prior, prior > 0.5, unknown, _RADIUS_PX, _STRETCH)
    alpha = _keep_decisions(_render(image, model), saliency, thin)
    # a thin part's colour is its own
    _unmix(image, alpha, coarse, np.where(thin > 0, np.float32(1), seen))
    return alpha


def coarsen(saliency: Array) -> Array:
    """Reduce a fine saliency so far that `estimate_alpha_fast` looks for edges in a wide band.

    A network that answers at 1024 pixels is sure of every pixel, at hair too, where it should not
    be: its own band is too narrow. The image has the detail.

    Args:
        saliency: (h, w) float32 in [0, 1].

    Returns:
        (h', w') float32 in [0, 1], of 320 pixels at most.
    """
    return downscale_to(saliency, _COARSE_PX)


def estimate_alpha_closed_form(image: Image, trimap: Array, prior: Array | None = None) -> Array:
    """Solve closed-form matting (Levin, Lischinski and Weiss, CVPR 2006).

    Alpha is a linear function of colour in every 3 x 3 window. The sparse system is solved for the
    unknown pixels only, on a grid of bounded size; a guided filter carries the solution to the
    image's size. Needs PyMatting (extra `matting`).

    Args:
        image: (H, W, 3) uint8 or uint16, RGB.
        trimap: (H, W) float32 in {0, 0.5, 1}.
        prior: (H, W) float32 in [0, 1], a rough alpha to stay close to, such as that of
            `estimate_alpha_fast`. It makes the system much easier, and errors of the trimap weigh
            less.

    Returns:
        (H, W) float32 in [0, 1]; the trimap's 0 and 1 where it is certain.

    Raises:
        ImageError: if a shape or dtype is wrong, or the trimap has no certain pixel and there is no
            prior.
        MissingExtra: if PyMatting is not installed.
    """
    check_image(image)
    check_plane("trimap", trimap, image.shape[:2])
    if prior is not None:
        check_plane("prior", prior, image.shape[:2])
    grid = _grid_size(image, _FULL_SOLVE_PX if prior is None else _SOLVE_PX)
    small = _resize(trimap, grid)
    unknown = (small > 0) & (small < 1)
    if not unknown.any():
        return trimap.copy()
    if prior is None and unknown.all():
        raise ImageError("the trimap must mark some foreground and some background")
    guide = _unit_range(_resize(image, grid))
    start = None if prior is None else _resize(prior, grid)
    alpha = _solve(guide, (small >= 1).astype(np.float32), unknown, start)
    if grid != trimap.shape:
        near = cv2.dilate(unknown.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
        model = _model(guide, alpha, alpha, near, _UPSAMPLE_RADIUS_PX, ((0, 1),))
        alpha = _render(image, model)
    np.copyto(alpha, trimap, where=trimap != 0.5)
    return alpha


def enlarge(image: Image, saliency: Array) -> Array:
    """Estimate alpha (H, W) by interpolation alone; cubic keeps edges steeper than linear does."""
    H, W = image.shape[:2]
    h, w = saliency.shape
    interpolation = cv2.INTER_CUBIC if h <= H and w <= W else cv2.INTER_AREA
    alpha = cv2.resize(saliency, (W, H), interpolation=interpolation)
    return np.clip(alpha, 0, 1)


def require_pymatting() -> None:
    """Make sure, before any work, that closed-form matting can run.

    Raises:
        MissingExtra: if PyMatting is not installed.
    """
    if importlib.util.find_spec("pymatting") is None:
        raise MissingExtra("PyMatting, which solves closed-form matting,", "matting")


# --- 1. thin parts ---


def _find_thin_parts(guide: Array, coarse: Array, saliency: Array) -> Array:
    """Find thin parts that the network hardly sees: their saliency (h, w), zero elsewhere.

    Args:
        guide: (h, w, 3) float32 in [0, 1].
        coarse: (h / 2, w / 2, 3), the same at half the size.
        saliency: (h, w) float32 in [0, 1].
    """
    part = np.zeros_like(saliency)
    faint, square = saliency > _FAINT, np.ones((3, 3), np.uint8)
    ground = cv2.erode((~faint).astype(np.uint8), square).astype(np.float32)
    if not (faint & (saliency < 0.5)).any() or not _is_plain(guide, ground > 0):
        return part  # on uneven ground what is unlike it is ground as well
    colours = _local_colours(coarse, _resize(ground, coarse.shape[:2]))
    colours = _resize(colours, saliency.shape)
    offset = guide - colours[..., :3]
    distance = dot(offset, offset) / (colours[..., 3] + _GROUND_NOISE)
    unlike = np.interp(distance, _UNLIKE, (0, _PART)).astype(np.float32)
    possible = (faint & (unlike > 0)) | (saliency > 0.5)
    count, labels = cv2.connectedComponents(possible.astype(np.uint8), connectivity=8)
    continues = np.zeros(count, np.bool_)
    continues[labels[saliency > 0.8]] = True
    width = max(3, round(_THIN * max(saliency.shape)) | 1)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))
    thick = cv2.morphologyEx(possible.astype(np.uint8), cv2.MORPH_OPEN, disc)
    thin = possible & continues[labels] & (cv2.dilate(thick, square) == 0)
    np.copyto(part, unlike, where=thin)
    return part


def _is_plain(guide: Array, ground: Mask) -> bool:
    """Return whether the colours of a ground are an even slope, as in a studio."""
    found = np.flatnonzero(ground)
    if len(found) < _LEAST_GROUND_PX:
        return False
    y, x = np.divmod(found[:: max(1, len(found) // _SLOPE_PX)], ground.shape[1])
    places = np.column_stack((y, x, np.ones_like(x))).astype(np.float32)
    colours = guide[y, x]
    slope = np.linalg.lstsq(places, colours, rcond=None)[0]
    return bool(np.sqrt(np.mean((colours - places @ slope) ** 2)) < _EVEN)


def _local_colours(coarse: Array, weight: Array) -> Array:
    """Return the weighted mean and variance (h, w, 4) of the colours around each pixel."""
    h, w = weight.shape
    red, green, blue = cv2.split(coarse)
    square: Any = red * red + green * green + blue * blue
    shares: Any = cv2.merge([plane * weight for plane in (red, green, blue, square)])
    found: Any = np.array([[[0.5, 0.5, 0.5, 1]]], np.float32)
    for factor, radius_px in _BLUR_PX:
        size, kernel = (-(-h // factor), -(-w // factor)), (2 * radius_px + 1, 2 * radius_px + 1)
        total, mass = (
            cv2.blur(_resize(plane, size), kernel, borderType=cv2.BORDER_REPLICATE)
            for plane in (shares, weight)
        )
        total = cv2.scaleAdd(_resize(found, size), float(_OPEN), total)
        found = cv2.divide(total, cv2.merge([mass + _OPEN] * 4))
    red, green, blue, square = cv2.split(found)
    variance: Any = np.maximum(square - red * red - green * green - blue * blue, 0)
    return np.asarray(cv2.merge([red, green, blue, variance]), np.float32)


# --- 2. colour evidence ---


def _weigh_colours(guide: Array, saliency: Array) -> Array:
    """Move the saliency by the evidence of each pixel's colour; both are of the guide's size."""
    reach = 1 + 2 * int(_SURROUNDINGS * max(saliency.shape) / 2)
    near = cv2.dilate((saliency > 0.5).astype(np.uint8), np.ones((reach, reach), np.uint8)) > 0
    if not near.any():
        return saliency
    bins = (guide * (_LEVELS - 1e-3)).astype(np.int32)
    colours = (bins[..., 0] * _LEVELS + bins[..., 1]) * _LEVELS + bins[..., 2]
    seen = colours[near]
    lean = 2 * saliency[near] - 1
    inside, outside = np.maximum(lean, 0), np.maximum(-lean, 0)
    subject, around = _histogram(seen, inside), _histogram(seen, outside)
    belief = (subject + _RARE_PX / 2) / (subject + around + _RARE_PX)
    # The share of the subject that looks like the surroundings, and vice versa
    likely = belief[seen]
    overlap = ((1 - likely) * inside).sum() / max(inside.sum(), 1)
    overlap += (likely * outside).sum() / max(outside.sum(), 1)
    trust = max(0.0, 1.0 - float(overlap))
    doubt = _logit(saliency, _SALIENCY_RANGE) + trust * _logit(belief[colours], _EVIDENCE_RANGE)
    return np.asarray(1 / (1 + np.exp(-doubt)), np.float32)


def _histogram(colours: npt.NDArray[np.int32], weights: Array) -> Array:
    """Count each colour code by weight, (_LEVELS**3,), smoothed over neighbouring colours."""
    counts = np.bincount(colours, weights, _LEVELS**3).astype(np.float32)
    binomial = np.array([1, 4, 6, 4, 1], np.float32) / 16
    border = cv2.BORDER_REPLICATE
    cube = counts.reshape((_LEVELS,) * 3)  # rows red, columns green, channels blue
    rows = cv2.sepFilter2D(cube, -1, binomial, binomial, borderType=border).reshape(-1, _LEVELS)
    smooth = cv2.sepFilter2D(rows, -1, binomial, np.ones(1, np.float32), borderType=border)
    return np.asarray(smooth, np.float32).ravel()


def _logit(probability: Array, limits: tuple[float, float]) -> Array:
    p = np.clip(probability, *limits)
    return np.asarray(np.log(p / (1 - p)), np.float32)


# --- 3. guided filter ---


def _near_edges(prior: Array) -> Mask:
    """Mark where a fit can come out between 0 and 1: in reach of both 0 and 1, or of neither."""
    reach = 1 + 4 * len(_STRETCH) * _RADIUS_PX  # a fit looks two radii far
    low, high = _STRETCH[0]
    kernel = np.ones((reach, reach), np.uint8)
    some = cv2.dilate((prior > low).astype(np.uint8), kernel)
    every = cv2.erode((prior >= high).astype(np.uint8), kernel)
    return np.asarray((some > 0) & (every == 0), np.bool_)


def _model(
    guide: Array,
    alpha: Array,
    elsewhere: npt.NDArray[np.generic],
    region: Mask,
    radius_px: int,
    stretches: Sequence[tuple[float, float]],
) -> Array:
    """Fit linear models (h, w, 4) of alpha in a region; elsewhere they are constants."""
    model = np.zeros((*alpha.shape, 4), np.float32)
    model[..., 3] = elsewhere
    if region.any():
        x, y, width, height = cv2.boundingRect(region.astype(np.uint8))
        box = np.s_[y : y + height, x : x + width]
        fitted = _fit(guide[box], alpha[box], radius_px, stretches)
        np.copyto(model[box], fitted, where=region[box][..., np.newaxis])
    return model


def _fit(
    guide: Array, alpha: Array, radius_px: int, stretches: Sequence[tuple[float, float]]
) -> Array:
    """Fit linear models (h, w, 4) of alpha, once for each stretch, to the last one's result.

    Each window's 3 x 3 system is solved by elimination with pivots of at least `_NOISE`: float32
    is precise enough for that, but not for the usual inverse by cofactors.
    """

    def mean(plane: npt.NDArray[np.floating[Any]]) -> Array:
        size = 2 * radius_px + 1
        return np.asarray(cv2.blur(plane, (size, size), borderType=cv2.BORDER_REFLECT), np.float32)

    I0, I1, I2 = (np.ascontiguousarray(guide[..., c]) for c in range(3))
    m0, m1, m2 = mean(I0), mean(I1), mean(I2)
    v01, v02, v12 = mean(I0 * I1) - m0 * m1, mean(I0 * I2) - m0 * m2, mean(I1 * I2) - m1 * m2
    d0 = np.maximum(mean(I0 * I0) - m0 * m0, 0) + _NOISE
    l1, l2 = v01 / d0, v02 / d0
    d1 = np.maximum(mean(I1 * I1) - m1 * m1 - v01 * l1, 0) + _NOISE
    l3 = (v12 - v02 * l1) / d1
    d2 = np.maximum(mean(I2 * I2) - m2 * m2 - v02 * l2 - l3 * l3 * d1, 0) + _NOISE
    for low, high in stretches:
        m = mean(alpha)
        c0, c1, c2 = mean(I0 * alpha) - m0 * m, mean(I1 * alpha) - m1 * m, mean(I2 * alpha) - m2 * m
        y1 = c1 - l1 * c0
        a2 = (c2 - l2 * c0 - l3 * y1) / d2
        a1 = y1 / d1 - l3 * a2
        a0 = c0 / d0 - l1 * a1 - l2 * a2
        b = m - a0 * m0 - a1 * m1 - a2 * m2
        # R², the share of alpha's variance that colour explains; the rest of alpha stays
        variance = mean(alpha * alpha) - m * m
        r = mean(np.clip((a0 * c0 + a1 * c1 + a2 * c2) / (variance + _FLAT), 0, 1))
        gain = np.float32(1 / (high - low))
        r_gain = r * gain
        a0, a1, a2 = mean(a0) * r_gain, mean(a1) * r_gain, mean(a2) * r_gain
        b = mean(b) * r_gain + alpha * (gain - r_gain) - gain * np.float32(low)
        alpha = np.clip(a0 * I0 + a1 * I1 + a2 * I2 + b, 0, 1)
    return np.asarray(np.dstack((a0, a1, a2, b)), np.float32)


# --- 4. rendering ---


def _render(image: Image, model: Array) -> Array:
    """Apply the enlarged linear models to every pixel, in strips of rows: (H, W) in [0, 1]."""
    H, W = image.shape[:2]
    tall = model.shape[1], H
    unit = np.float32(1 / np.iinfo(image.dtype).max)
    slopes: Any = cv2.resize(model[..., :3] * unit, tall)
    offsets: Any = cv2.resize(np.ascontiguousarray(model[..., 3]), tall)
    alpha = np.empty((H, W), np.float32)
    rows = max(1, _STRIP_PX // W)

    def render(top: int) -> None:
        here = np.s_[top : top + rows]
        strip, size = image[here], (W, len(offsets[here]))
        b: Any = cv2.resize(offsets[here], size)
        if slopes[here].any():
            a: Any = cv2.resize(slopes[here], size)
            a *= strip
            b += cv2.transform(a, np.ones((1, 3), np.float32))
        np.clip(b, 0, 1, out=alpha[here])

    shared_out(render, range(0, H, rows))
    return alpha


def _keep_decisions(alpha: Array, saliency: Array, thin: Array) -> Array:
    """In images hardly finer than the network's grid, let the network decide what is subject.

    There its output is about as sharp as the image, and thin parts whose colours are mixed with
    the background's would be lost. Colours then decide only how soft the edges are.
    """
    magnification = max(alpha.shape) / max(saliency.shape)
    if magnification >= _FINE[1]:
        return alpha
    sure = float(np.interp(magnification, _FINE, (0.5, 1)))
    saliency = _resize(saliency, alpha.shape)
    low = np.clip((saliency - sure) / _DECISION_STEP, 0, 0.5)
    if thin.any():  # what it hardly sees may be thicker than its answer
        saliency = np.maximum(saliency, _resize(thin, alpha.shape))
    high = 1 - np.clip((1 - sure - saliency) / _DECISION_STEP, 0, 0.5)
    return np.clip(alpha, low, high)


# --- 5. unmixing ---


def _unmix(image: Image, alpha: Array, coarse: Array, saliency: Array) -> None:
    """Set alpha, in place, from colours that are far apart and even on both sides of an edge."""
    (H, W), (h, w) = alpha.shape, coarse.shape[:2]
    small = downscale(alpha, (h, w))
    subject, ground = (
        _local_colours(coarse, np.clip((share - _PURE) / (1 - _PURE), 0, 1))
        for share in (small, 1 - small)
    )
    line = subject[..., :3] - ground[..., :3]
    contrast = dot(line, line)
    apart = contrast / (subject[..., 3] + ground[..., 3] + _COLOUR_NOISE)
    trust = np.interp(apart, _APART, (0, 1)).astype(np.float32)
    trust *= trust * (3 - 2 * trust) * np.interp(contrast, _CONTRAST, (0, 1)).astype(np.float32)
    if not trust.any():
        return
    ground[..., 3] = trust
    grids = ground, np.dstack((line, _resize(saliency, (h, w))))
    reach = 2 * max(1, round(_RIM * max(H, W))) + 1
    soft = cv2.inRange(alpha, _SOFT, 1 - _SOFT)
    soft = cv2.dilate(soft, np.ones((reach, reach), np.uint8))
    told = np.where(trust > 0, np.uint8(255), np.uint8(0))
    soft = cv2.bitwise_and(soft, cv2.resize(told, (W, H), interpolation=cv2.INTER_LINEAR))
    pixels = np.ascontiguousarray(image).reshape(-1, 3)
    unit = np.float32(1 / np.iinfo(image.dtype).max)

    def unmix(tile: tuple[int, int]) -> None:
        top, left = tile
        part = soft[top : top + TILE_PX, left : left + TILE_PX]
        if not cv2.countNonZero(part):
            return
        x, y = cv2.findNonZero(part).reshape(-1, 2).astype(np.intp).T
        y, x = y + top, x + left
        first, second = look_up(grids, y, x, (H, W))
        line, trust, seen = second[:, :3], first[:, 3], second[:, 3]
        offset = pixels.take(y * W + x, axis=0) * unit - first[:, :3]
        length = np.maximum(dot(line, line), _TINY)
        share = np.clip(dot(offset, line) / length, 0, 1)
        rest = offset - share[:, None] * line
        off = dot(rest, rest)
        trust = trust * np.clip(2 - off / (_OFF_LINE[0] * length + _OFF_LINE[1]), 0, 1)
        rough = alpha[y, x]
        unsure = np.where(share < rough, 1 - seen, seen)  # colours do not overrule a sure network
        free, bound = _CERTAIN
        trust *= np.clip((unsure - bound) / (free - bound), 0, 1)
        alpha[y, x] = rough + trust * (share - rough)

    tiles = [(top, left) for top in range(0, H, TILE_PX) for left in range(0, W, TILE_PX)]
    shared_out(unmix, tiles)


# --- closed form ---


def _solve(guide: Array, alpha: Array, unknown: Mask, prior: Array | None) -> Array:
    """Minimise the matting Laplacian's form over the unknown pixels: (h, w) float32 in [0, 1]."""
    require_pymatting()
    from pymatting import cf_laplacian, cg, ichol

    x, y, width, height = cv2.boundingRect(unknown.astype(np.uint8))
    # Two pixels more on each side: all windows that hold an unknown pixel.
    box = np.s_[max(y - 2, 0) : y + height + 2, max(x - 2, 0) : x + width + 2]
    inside = unknown[box]
    noise = _TRIMAP_NOISE if prior is None else _SOLVE_NOISE
    try:
        laplacian = cf_laplacian(guide[box].astype(np.float64), epsilon=noise, is_known=~inside)
        rows = laplacian[inside.ravel()]
        system = rows[:, inside.ravel()]
        known = -(rows @ np.where(inside, 0.0, alpha[box]).ravel())
        if prior is None:
            solution = cg(system, known, M=ichol(system), rtol=_SOLVE_ERROR[1])
        else:
            start = prior[box][inside].astype(np.float64)
            system.setdiag(system.diagonal() + _PRIOR_WEIGHT)
            diagonal = system.diagonal()
            solution = cg(
                system,
                known + _PRIOR_WEIGHT * start,
                x0=start,
                M=lambda residual: residual / diagonal,
                rtol=_SOLVE_ERROR[0],
            )
            low, high = _SOLVE_STRETCH
            solution = (solution - low) / (high - low)
    except (ArithmeticError, ValueError) as error:
        raise RuntimeFailure(
            f"closed-form matting found no solution ({error}); use another matting method"
        ) from error
    alpha = alpha.copy()
    alpha[box][inside] = np.clip(solution, 0, 1)
    return alpha


# --- shared ---


def _grid_size(image: Image, long_side_px: int) -> tuple[int, int]:
    H, W = image.shape[:2]
    scale = min(1.0, long_side_px / max(H, W))
    return max(1, round(H * scale)), max(1, round(W * scale))


def _resize(plane: AnyArray, size: tuple[int, int]) -> AnyArray:
    """Downscale with an area filter, enlarge linearly."""
    smaller = size[0] * size[1] < plane.shape[0] * plane.shape[1]
    interpolation = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    resized: Any = cv2.resize(plane, size[::-1], interpolation=interpolation)
    return cast(AnyArray, resized)


def _unit_range(image: Image) -> Array:
    """Convert to (H, W, 3) float32 in [0, 1]."""
    return np.asarray(image * np.float32(1 / np.iinfo(image.dtype).max))
