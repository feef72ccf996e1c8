"""Clean plates: the same scene without its subject, brought to the picture's place and exposure.

Aligned by matched features (ORB, Rublee et al., ICCV 2011), refined by ECC (Evangelidis and
Psarakis, PAMI 2008); exposure is matched by a robust gain and offset a channel.
"""

import cv2
import numpy as np
import numpy.typing as npt

from alphacut.errors import ImageError
from alphacut.pipeline.ground import Ground
from alphacut.pipeline.image import Image, check_image, downscale_to, to_depth, white

Array = npt.NDArray[np.float32]

_GRID_PX = 800  # long side of the grid that picture and plate are compared on, at most
_ALIGN_PX = 900  # long side of the images that are aligned, at most
_FEATURES = 1500
_LEAST_MATCHES = 12
_REACH = 0.08  # of the long side: how far a corner may move
_STEPS = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 40, 1e-5)
_ROUNDS = 8  # of reweighting the exposure
_LEAST_SHARE = 0.3  # of the frame that must agree
_MOST_SPREAD = 12 / 255
_AGREES = 4.0  # spreads within which a pixel agrees
_DARK = np.float32(1 / 255)


def match_plate(image: Image, plate: Image, rough: Array | None = None) -> Ground:
    """Bring a plate to a picture's place and exposure.

    Args:
        image: (H, W, 3) uint8 or uint16.
        plate: The same size, from (nearly) the same place, without the subject.
        rough: (H, W) float32 in [0, 1], the network's alpha, which is left out of the matching;
            None for none.

    Returns:
        The ground.

    Raises:
        ImageError: if the sizes differ, or the plate does not show the same scene.
    """
    check_image(image)
    check_image(plate)
    if image.shape != plate.shape:
        sizes = [" x ".join(map(str, picture.shape[1::-1])) for picture in (image, plate)]
        raise ImageError(f"is {sizes[1]} pixels, but the picture {sizes[0]}: make them equal")
    plate = to_depth(plate, image.dtype)
    matrix = _find_warp(image, plate, rough)
    H, W = image.shape[:2]
    moved = cv2.warpPerspective(
        plate, matrix, (W, H), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    seen, behind = (
        downscale_to(np.asarray(each, image.dtype), _GRID_PX).astype(np.float32)
        / np.float32(white(image))
        for each in (image, moved)
    )
    clear = np.ones(seen.shape[:2], bool)
    if rough is not None:
        small = cv2.resize(rough, seen.shape[1::-1], interpolation=cv2.INTER_AREA)
        clear = cv2.dilate(small, np.ones((9, 9), np.uint8)) < 0.02
        if clear.mean() < 0.05:
            raise ImageError("the subject fills the frame: nothing is left to compare")
    levels, spread, share = _match_exposure(seen, behind, clear)
    if share < _LEAST_SHARE or spread > _MOST_SPREAD:
        raise ImageError(
            f"shows another scene: {share:.0%} of what is not subject agrees, to "
            f"{255 * spread:.1f} levels: photograph it from the same place"
        )
    levels = np.clip(levels, _DARK, 1)
    sure = round(min(1.0, share) * max(0.0, 1 - spread / _MOST_SPREAD) ** 0.5, 3)
    return Ground("plate", levels, levels, spread, sure)


def _match_exposure(seen: Array, behind: Array, clear: npt.NDArray[np.bool_]) -> tuple[
    Array, float, float
]:  # fmt: skip
    """Fit a gain and an offset a channel, robustly; return levels, spread and agreeing share."""
    x, y = behind[clear], seen[clear]
    step = max(1, len(x) // 20000)
    x, y = x[::step].astype(np.float64), y[::step].astype(np.float64)
    gain, offset = np.ones(3), np.median(y - x, axis=0)
    spread = 0.05
    weight = np.ones(len(x))
    for _ in range(_ROUNDS):
        off = np.abs(y - gain * x - offset).max(axis=1)
        spread = max(1.2 * float(np.median(off[off <= np.percentile(off, 80)])), 0.5 / 255)
        near = np.minimum(off / (_AGREES * spread), 1)
        weight = (1 - near**2) ** 2
        for channel in range(3):
            w, u, v = weight, x[:, channel], y[:, channel]
            total = w.sum() + 1e-9
            mean, middle = (w * u).sum() / total, (w * v).sum() / total
            variance = (w * (u - mean) ** 2).sum() / total
            covariance = (w * (u - mean) * (v - middle)).sum() / total
            # a plain plate tells nothing of the gain
            gain[channel] = np.clip((covariance + 1e-4) / (variance + 1e-4), 0.5, 2)
            offset[channel] = middle - gain[channel] * mean
    share = float((weight > 0).mean())
    return np.asarray(behind * gain + offset, np.float32), spread, share


def _find_warp(image: Image, plate: Image, rough: Array | None) -> npt.NDArray[np.float64]:
    """Find the homography from pixels of the image to those of the plate."""
    first, second = (
        np.asarray(
            cv2.cvtColor(to_depth(downscale_to(each, _ALIGN_PX), np.uint8), cv2.COLOR_RGB2GRAY),
            np.uint8,
        )
        for each in (image, plate)
    )
    h, w = first.shape
    mask = np.full((h, w), 255, np.uint8)
    if rough is not None:
        small = cv2.resize(rough, (w, h), interpolation=cv2.INTER_AREA)
        mask[cv2.dilate(small, np.ones((9, 9), np.uint8)) > 0.02] = 0
    matrix = _by_features(first, second, mask)
    still = float(np.abs(first.astype(np.int16) - second)[mask > 0].mean()) if mask.any() else 0.0
    matrix = _by_correlation(first, second, mask, matrix)
    moved = cv2.warpPerspective(
        second, matrix, (w, h), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    after = float(np.abs(first.astype(np.int16) - moved)[mask > 0].mean()) if mask.any() else 0.0
    corners = np.array([[[0, 0], [w, 0], [0, h], [w, h]]], np.float64)
    reach = float(np.hypot(*(cv2.perspectiveTransform(corners, matrix) - corners)[0].T).max())
    if after > 0.95 * still or reach > _REACH * max(h, w):
        return np.eye(3)  # it stood still, or there is nothing to align by
    scale = np.diag([w / image.shape[1], h / image.shape[0], 1.0])
    centre = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1.0]])
    back = np.linalg.inv(centre)
    full = back @ np.linalg.inv(scale) @ centre @ matrix @ back @ scale @ centre
    return np.asarray(full / full[2, 2])


def _by_features(
    first: npt.NDArray[np.uint8], second: npt.NDArray[np.uint8], mask: npt.NDArray[np.uint8]
) -> npt.NDArray[np.float64]:
    orb = cv2.ORB.create(nfeatures=_FEATURES)
    here, mine = orb.detectAndCompute(first, mask)
    there, theirs = orb.detectAndCompute(second, None)
    if min(len(here), len(there)) < _LEAST_MATCHES:  # or there are no descriptors
        return np.eye(3)
    matches = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True).match(mine, theirs)
    if len(matches) < _LEAST_MATCHES:
        return np.eye(3)
    source = np.array([here[match.queryIdx].pt for match in matches], np.float32)
    target = np.array([there[match.trainIdx].pt for match in matches], np.float32)
    matrix, inliers = cv2.estimateAffinePartial2D(source, target, ransacReprojThreshold=2.0)
    if np.ndim(matrix) != 2 or int(inliers.sum()) < _LEAST_MATCHES:  # None if none was found
        return np.eye(3)
    return np.vstack([matrix, [0, 0, 1]])


def _by_correlation(
    first: npt.NDArray[np.uint8],
    second: npt.NDArray[np.uint8],
    mask: npt.NDArray[np.uint8],
    start: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    try:
        _, matrix = cv2.findTransformECC(
            first, second, start[:2].astype(np.float32), cv2.MOTION_AFFINE, _STEPS, mask, 5
        )
    except cv2.error:  # it does not converge where there is nothing to compare
        return start
    return np.vstack([matrix, [0, 0, 1]]).astype(np.float64)
