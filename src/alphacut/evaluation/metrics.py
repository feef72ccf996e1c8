"""Metrics of alphas, masks and cutouts against the truth, each with its scale.

No prediction is min-max normalised: an alpha that never reaches 1 is worse than one that does.
Published figures for salient objects often are, and those of trimap-based methods count unknown
pixels only (`region`): compare like with like.
"""

import itertools
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from alphacut.errors import ImageError

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Image = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]

_GRAD_SIGMA = 1.4
_GRAD_RADIUS_PX = 4  # where the Gaussian falls below 0.01
_CONN_STEP = 0.15  # smaller differences of connectivity do not count
_F_BETA2 = 0.3  # beta² of the salient-object papers: precision weighs more
_BAND_PX = 9  # size of RECOMP's square neighbourhood of soft pixels
_BACKGROUNDS = ((255, 255, 255), (0, 0, 0), (0, 255, 0))  # RECOMP's white, black and green
_TINY = float(np.finfo(np.float64).eps)


# --- alpha ---


def sad(pred_alpha: Array, true_alpha: Array, region: Mask | None = None) -> float:
    """Return the sum of absolute differences / 1000; it grows with the image.

    Args:
        pred_alpha: (H, W) float32 in [0, 1].
        true_alpha: The same shape and range.
        region: (H, W) bool, the pixels that count; all of them by default.

    Raises:
        ImageError: if the shapes differ (so do all functions of this file).
    """
    return float(np.sum(_difference(pred_alpha, true_alpha, region), dtype=np.float64)) / 1000


def mad(pred_alpha: Array, true_alpha: Array, region: Mask | None = None) -> float:
    """Return the mean absolute difference, 0 to 1; the MAE if the truth is binary."""
    return float(np.mean(_difference(pred_alpha, true_alpha, region), dtype=np.float64))


def mse(pred_alpha: Array, true_alpha: Array, region: Mask | None = None) -> float:
    """Return the mean squared error, 0 to 1."""
    return float(np.mean(_difference(pred_alpha, true_alpha, region) ** 2, dtype=np.float64))


def grad(pred_alpha: Array, true_alpha: Array, region: Mask | None = None) -> float:
    """Return the gradient error of Rhemann et al. (CVPR 2009) / 1000.

    It is the sum of squared differences between gradient magnitudes, from Gaussian derivatives of
    sigma 1.4 whose 9 x 9 kernels have unit L2 norm. It grows with the length of the edges.
    """
    difference = _difference(_gradient(pred_alpha), _gradient(true_alpha), region)
    return float(np.sum(difference**2, dtype=np.float64)) / 1000


def conn(pred_alpha: Array, true_alpha: Array, region: Mask | None = None) -> float:
    """Return the connectivity error of Rhemann et al. (CVPR 2009) / 1000.

    A pixel is connected up to the threshold, in steps of 0.1, at which it still belongs to the
    largest region that prediction and truth share; alpha that exceeds it by 0.15 is disconnected.
    """
    _check_shapes(pred_alpha, true_alpha)
    level = np.full(true_alpha.shape, -1, np.float32)
    for step in range(1, 11):
        common = (pred_alpha >= step / 10) & (true_alpha >= step / 10)
        if common.any():
            _, labels, stats, _ = cv2.connectedComponentsWithStats(
                common.astype(np.uint8), connectivity=4
            )
            largest = labels == 1 + np.argmax(stats[1:, cv2.CC_STAT_AREA])
            level[(level < 0) & ~largest] = (step - 1) / 10
    level[level < 0] = 1

    def connectivity(alpha: Array) -> Array:
        excess = alpha - level
        return 1 - excess * (excess >= _CONN_STEP)

    return sad(connectivity(pred_alpha), connectivity(true_alpha), region)


# --- alpha of films ---


def dtssd(pred: Sequence[Array], true: Sequence[Array]) -> float:
    """Return dtSSD x 100 (Erofeev et al., BMVC 2015): how much alpha flickers; lower is steadier.

    It is 100 times the root of the mean over pixels of the squared difference between what
    prediction and truth change from one frame to the next, mean over the frames but the first.

    Args:
        pred: Alphas (H, W) float32 in [0, 1] of successive frames.
        true: As many, of the same shape.

    Raises:
        ImageError: if the shapes differ, or there are fewer than two frames.
    """
    _check_film(pred, true)
    errors = [p - t for p, t in zip(pred, true, strict=True)]
    changes = (after - before for before, after in itertools.pairwise(errors))
    return 100 * float(np.mean([np.sqrt(np.mean(change**2)) for change in changes]))


def dtssd_colours(
    pred: Sequence[tuple[Image, Array]], true: Sequence[tuple[Image, Array]]
) -> float:
    """Return dtSSD x 100 of the colours that edges add to a picture: lower is steadier.

    It is `dtssd` of straight colours times alpha, 0 to 1, over the unknown band: pixels whose true
    alpha is between 0.02 and 0.98 in the frame or the next, and what is near; 0 without one.

    Args:
        pred: (H, W, 3) uint8 or uint16 straight colours and (H, W) float32 alpha of successive
            frames.
        true: As many, of the same shape.

    Raises:
        ImageError: if the shapes differ, or there are fewer than two frames.
    """
    _check_film([alpha for _, alpha in pred], [alpha for _, alpha in true])
    errors = []
    for (seen, p), (known, t) in zip(pred, true, strict=True):
        _check_shapes(seen, known)
        errors.append(_unit(seen) * p[..., np.newaxis] - _unit(known) * t[..., np.newaxis])
    found = []
    for k in range(len(true) - 1):
        band = _band(true[k][1]) | _band(true[k + 1][1])
        change = (errors[k + 1] - errors[k])[band]
        found.append(float(np.sqrt(np.mean(change**2))) if len(change) else 0.0)
    return 100 * float(np.mean(found))


def messddt(pred: Sequence[Array], true: Sequence[Array]) -> float:
    """Return MESSDdt x 1000 (Erofeev et al., BMVC 2015): flicker along the motion.

    For each pixel p of the unknown band, the squared error at p is compared with that of the next
    frame at p + v, where v is the truth's flow (Farneback): the mean of the absolute differences
    over the band, mean over the frames but the last; 0 where there is no band.

    Args:
        pred: See `dtssd`.
        true: See `dtssd`.

    Raises:
        ImageError: if the shapes differ, or there are fewer than two frames.
    """
    _check_film(pred, true)
    found = []
    for k in range(len(true) - 1):
        band = _band(true[k])
        if not band.any():
            found.append(0.0)
            continue
        before, after = (np.rint(t * 255).astype(np.uint8) for t in (true[k], true[k + 1]))
        start = np.zeros((*before.shape, 2), np.float32)
        flow = cv2.calcOpticalFlowFarneback(before, after, start, 0.5, 3, 15, 3, 5, 1.2, 0)
        H, W = before.shape
        x = flow[..., 0] + np.arange(W, dtype=np.float32)
        y = flow[..., 1] + np.arange(H, dtype=np.float32)[:, np.newaxis]
        p, t = (
            cv2.remap(plane[k + 1], x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            for plane in (pred, true)
        )
        moved = np.abs((pred[k] - true[k]) ** 2 - (p - t) ** 2)
        found.append(float(np.mean(moved[band])))
    return 1000 * float(np.mean(found))


# --- masks ---


def iou(pred_mask: Array, true_mask: Array, threshold: float = 0.5) -> float:
    """Return the intersection over union at a threshold of both masks; 1 if both are empty."""
    _check_shapes(pred_mask, true_mask)
    pred, true = pred_mask >= threshold, true_mask >= threshold
    union = np.count_nonzero(pred | true)
    return np.count_nonzero(pred & true) / union if union else 1.0


def f_beta(pred_mask: Array, true_mask: Array, threshold: float = 0.5) -> float:
    """Return the F-measure, beta² = 0.3, at a threshold of the prediction (Achanta et al. 2009).

    The truth is binarised at 0.5. "Adaptive F" uses the threshold `min(2 * pred_mask.mean(), 1)`.
    """
    _check_shapes(pred_mask, true_mask)
    pred, true = pred_mask >= threshold, true_mask > 0.5
    hits = np.count_nonzero(pred & true)
    if not hits:
        return 0.0
    precision, recall = hits / np.count_nonzero(pred), hits / np.count_nonzero(true)
    return (1 + _F_BETA2) * precision * recall / (_F_BETA2 * precision + recall)


def s_measure(pred_mask: Array, true_mask: Array) -> float:
    """Return the structure measure (Fan et al., ICCV 2017): half object, half region similarity.

    The truth is binarised at 0.5.
    """
    _check_shapes(pred_mask, true_mask)
    pred, true = pred_mask.astype(np.float64), true_mask > 0.5
    share = float(true.mean())
    if share == 0:
        return float(1 - pred.mean())
    if share == 1:
        return float(pred.mean())
    objects = share * _object_score(pred[true]) + (1 - share) * _object_score(1 - pred[~true])
    y, x = (round(float(where.mean())) + 1 for where in np.nonzero(true))
    regions = sum(
        part.size / true.size * _region_score(pred[rows, columns], part)
        for rows in (np.s_[:y], np.s_[y:])
        for columns in (np.s_[:x], np.s_[x:])
        if (part := true[rows, columns]).size
    )
    return max(0.0, (objects + regions) / 2)


def e_measure(pred_mask: Array, true_mask: Array, threshold: float = 0.5) -> float:
    """Return the enhanced-alignment measure at a threshold (Fan et al., IJCAI 2018), 0 to 1.

    The truth is binarised at 0.5. "Adaptive E" uses the threshold `min(2 * pred_mask.mean(), 1)`.
    """
    _check_shapes(pred_mask, true_mask)
    pred, true = pred_mask >= threshold, true_mask > 0.5
    if not true.any():
        aligned = (~pred).astype(np.float64)
    elif true.all():
        aligned = pred.astype(np.float64)
    else:
        u, v = pred - pred.mean(), true - true.mean()
        aligned = (1 + 2 * u * v / (u * u + v * v + _TINY)) ** 2 / 4
    return float(aligned.sum() / max(true.size - 1, 1))


# --- cutouts ---


def recomp(
    pred_foreground: Image, pred_alpha: Array, true_foreground: Image, true_alpha: Array
) -> float:
    """Return the recomposition error in levels of 255: what shows at edges on new backgrounds.

    It is the mean absolute difference of prediction and truth, each composited on white, black and
    pure green, over the 9 x 9 neighbourhoods of pixels whose true alpha is between 0.02 and 0.98;
    0 if there are none.

    Args:
        pred_foreground: (H, W, 3) uint8 or uint16, straight colours.
        pred_alpha: (H, W) float32 in [0, 1].
        true_foreground: As `pred_foreground`.
        true_alpha: As `pred_alpha`.
    """
    _check_shapes(pred_alpha, true_alpha)
    _check_shapes(pred_foreground, true_foreground)
    band = _band(true_alpha)
    if not band.any():
        return 0.0
    pred_color, true_color = (
        image[band] * np.float32(255 / np.iinfo(image.dtype).max)
        for image in (pred_foreground, true_foreground)
    )
    p, t = pred_alpha[band][:, None], true_alpha[band][:, None]
    foregrounds = p * pred_color - t * true_color
    errors = [
        np.mean(np.abs(foregrounds + (t - p) * np.array(c, np.float32))) for c in _BACKGROUNDS
    ]
    return float(np.mean(errors))


# --- parts ---


def _band(true_alpha: Array) -> Mask:
    """Mark the unknown band: where true alpha is soft, and the 9 x 9 neighbourhoods of that."""
    soft = ((true_alpha > 0.02) & (true_alpha < 0.98)).astype(np.uint8)
    return np.asarray(cv2.dilate(soft, np.ones((_BAND_PX, _BAND_PX), np.uint8)) > 0, np.bool_)


def _unit(image: Image) -> Array:
    """Convert to float32 in [0, 1]."""
    return np.asarray(image * np.float32(1 / np.iinfo(image.dtype).max), np.float32)


def _check_film(pred: Sequence[Array], true: Sequence[Array]) -> None:
    if len(pred) != len(true) or len(true) < 2:
        raise ImageError(f"{len(pred)} and {len(true)} frames: there must be as many, two or more")
    for p, t in zip(pred, true, strict=True):
        _check_shapes(p, t)


def _check_shapes(pred: npt.NDArray[np.generic], true: npt.NDArray[np.generic]) -> None:
    if pred.shape != true.shape:
        raise ImageError(f"prediction {pred.shape} and truth {true.shape} differ in shape")


def _difference(pred: Array, true: Array, region: Mask | None) -> Array:
    """Return the absolute differences of the pixels that count."""
    _check_shapes(pred, true)
    difference = np.asarray(np.abs(pred - true), np.float32)
    return difference if region is None else difference[region]


def _gradient(alpha: Array) -> Array:
    """Return the magnitude of Gaussian derivatives whose kernels have unit L2 norm."""
    x = np.arange(-_GRAD_RADIUS_PX, _GRAD_RADIUS_PX + 1)
    smooth = np.asarray(np.exp(-(x**2) / (2 * _GRAD_SIGMA**2)), np.float64)
    derive = -x * smooth
    smooth /= np.linalg.norm(smooth)
    derive /= np.linalg.norm(derive)
    border = cv2.BORDER_REPLICATE
    gx = cv2.sepFilter2D(alpha, cv2.CV_32F, derive, smooth, borderType=border)
    gy = cv2.sepFilter2D(alpha, cv2.CV_32F, smooth, derive, borderType=border)
    return np.asarray(cv2.magnitude(gx, gy), np.float32)


def _object_score(values: npt.NDArray[np.float64]) -> float:
    mean = float(values.mean())
    deviation = float(values.std(ddof=1)) if values.size > 1 else 0.0
    return 2 * mean / (mean**2 + 1 + deviation + _TINY)


def _region_score(pred: npt.NDArray[np.float64], true: Mask) -> float:
    """Return the similarity of two regions: luminance, contrast and structure in one quotient."""
    mx, my = float(pred.mean()), float(true.mean())
    n = max(true.size - 1, 1)
    xx, yy = float(((pred - mx) ** 2).sum()) / n, float(((true - my) ** 2).sum()) / n
    xy = float(((pred - mx) * (true - my)).sum()) / n
    above, below = 4 * mx * my * xy, (mx**2 + my**2) * (xx + yy)
    if above:
        return above / (below + _TINY)
    return 0.0 if below else 1.0
