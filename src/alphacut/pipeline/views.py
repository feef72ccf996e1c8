"""Several views of one image, for best quality: where a network errs in one, others outvote it.

A network's gross errors depend on how an image is presented to it, the subject does not. Four views
are predicted: the image, its mirror image, the subject's box, and a wider box mirrored. Their mean
would be half transparent wherever they disagree, inside a subject, too: `merge` decides instead.
What the image itself shows for certain stays.
"""

import math
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from alphacut.models.entry import ModelSpec
from alphacut.pipeline.image import Image
from alphacut.pipeline.transforms import to_batch

Array = NDArray[np.float32]

_SUBJECT = 0.3  # mean confidence of the first two views from which a pixel is in the subject's box
_LEAST_PX = 32  # side of a view, for models of any size
_MARGIN, _WIDE_MARGIN = 0.1, 0.25  # around the boxes, as a share of their longer side
# Difference of the middle two views up to which they are averaged, and from which one is taken
_AGREE, _DISAGREE = 0.2, 0.6
_LEAN = 0.5  # mean of all views from which that is the higher one
# Confidence of the image's own view up to which others may lower it, and from which they may not:
# what `--quality fast` keeps, the best quality never loses
_KEEP = 0.5, 0.75


def predict_views(
    image: Image,
    batch: Array,
    spec: ModelSpec,
    predict: Callable[[Array], Array],
) -> Array:
    """Predict four views of an image and merge them; two where those find nothing.

    Models of any size see the other views with about as many pixels as the image has in its batch.

    Args:
        image: (H, W, 3) uint8 or uint16.
        batch: (1, 3, h, w) float32, the image as `transforms.preprocess` makes it.
        spec: The model's entry.
        predict: Makes confidence (h', w') in [0, 1] of a batch (1, 3, h', w').

    Returns:
        Confidence (h, w) float32 in [0, 1].
    """

    def predict_mirrored(batch: Array) -> Array:
        return predict(np.ascontiguousarray(batch[..., ::-1]))[:, ::-1]

    plain, mirrored = predict(batch), predict_mirrored(batch)
    subject = (plain + mirrored) / 2 > _SUBJECT
    if not subject.any():
        return np.asarray((plain + mirrored) / 2, np.float32)
    views = [plain, mirrored]
    for margin, predict_part in ((_MARGIN, predict), (_WIDE_MARGIN, predict_mirrored)):
        top, left, bottom, right = box = _box(subject, margin, image.shape[:2])
        part = image[top:bottom, left:right]
        view = np.minimum(plain, mirrored)  # outside of the box
        closer = predict_part(to_batch(part, _size(part.shape, batch, spec), spec))
        _paste(view, closer, box, image.shape[:2])
        views.append(view)
    return merge(*views)


def merge(*views: Array) -> Array:
    """Merge four views: the mean of the middle two where they agree, a decision where they do not.

    The decision is for the higher of the middle two where all views together lean to the subject,
    and for the lower elsewhere. What the first view is sure of is never lowered.

    Args:
        *views: Four planes (h, w) float32 in [0, 1]; the first is the image's own.

    Returns:
        (h, w) float32 in [0, 1].
    """
    _, low, high, _ = np.sort(np.stack(views), axis=0)
    middle = (low + high) / 2
    decided = np.where(np.mean(views, axis=0) >= _LEAN, high, low)
    torn = np.clip((high - low - _AGREE) / (_DISAGREE - _AGREE), 0, 1)
    merged = middle + (decided - middle) * torn
    own = views[0]
    kept = own * np.clip((own - _KEEP[0]) / (_KEEP[1] - _KEEP[0]), 0, 1)
    return np.asarray(np.maximum(merged, kept), np.float32)


def _box(
    subject: NDArray[np.bool_], margin: float, size: tuple[int, ...]
) -> tuple[int, int, int, int]:
    """Return the subject's box in an image (H, W), with a margin: top, left, bottom, right."""
    (h, w), (H, W) = subject.shape, size
    rows, columns = np.flatnonzero(subject.any(axis=1)), np.flatnonzero(subject.any(axis=0))
    top, bottom = rows[0] * H / h, (rows[-1] + 1) * H / h
    left, right = columns[0] * W / w, (columns[-1] + 1) * W / w
    margin_px = margin * max(bottom - top, right - left)
    return (
        max(0, int(top - margin_px)), max(0, int(left - margin_px)),
        min(H, int(np.ceil(bottom + margin_px))), min(W, int(np.ceil(right + margin_px))),
    )  # fmt: skip


def _paste(
    plane: Array, part: Array, box: tuple[int, int, int, int], size: tuple[int, ...]
) -> None:
    """Write a prediction of a box in an image (H, W) into a plane of the whole image."""
    (h, w), (H, W), (top, left, bottom, right) = plane.shape, size, box
    y, x = round(top * h / H), round(left * w / W)
    place = plane[y : max(y + 1, round(bottom * h / H)), x : max(x + 1, round(right * w / W))]
    place[:] = _resize(part, place.shape)


def _size(shape: tuple[int, ...], batch: Array, spec: ModelSpec) -> tuple[int, int]:
    """Return (h, w) for a view: the model's own, or of its shape with as many pixels as a batch."""
    if spec.input_size:
        return spec.input_size
    factor = math.sqrt(batch[0, 0].size / (shape[0] * shape[1]))
    h, w = (
        max(math.ceil(_LEAST_PX / spec.multiple), round(factor * side / spec.multiple))
        * spec.multiple
        for side in shape[:2]
    )
    return h, w


def _resize(plane: Array, size: tuple[int, ...]) -> Array:
    h, w = size
    smaller = h * w < plane.size
    filter = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(np.ascontiguousarray(plane), (w, h), interpolation=filter))
