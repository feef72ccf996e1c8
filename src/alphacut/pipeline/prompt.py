"""Prompt a network that answers points and boxes: a mask of what a person means.

As Segment Anything's authors do: the image's long side becomes 1024 pixels, the rest of the square
is empty, and points are given in that frame (Kirillov et al., ICCV 2023, arXiv 2304.02643).
"""

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt
import PIL.Image

from alphacut.models.entry import IMAGENET_MEAN, IMAGENET_STD
from alphacut.pipeline.image import Image, to_depth
from alphacut.pipeline.select import Box, Places
from alphacut.runtimes.prompted import BOTTOM_RIGHT, DROP, KEEP, NOWHERE, TOP_LEFT

Array = npt.NDArray[np.float32]
Answer = Callable[[Array, Array, Array], tuple[Array, Array]]

FRAME_PX = 1024
_RIM = 0.03  # around a mask's subject, as a share of its longer side
_AGREE = 0.5  # difference of mask and saliency up to which they agree


def prompt_mask(image: Image, places: Places, answer: Answer) -> Array:
    """Ask a network what a box and points mean in an image.

    Args:
        image: (H, W, 3) uint8 or uint16.
        places: What a person says; a box, or a point that is kept.
        answer: Answers a prompt; see `PromptedRuntime.answer`.

    Returns:
        (h, w) float32 in [0, 1] of the whole image, its long side 1024; above 0.5 is subject.

    Raises:
        RuntimeFailure: if the network cannot be run.
    """
    batch, (h, w) = to_frame(image)
    points, labels = to_prompt(places, image.shape[:2], (h, w))
    masks, scores = answer(batch, points, labels)
    clicks = points[labels <= KEEP], labels[labels <= KEEP]
    logits = choose_mask(masks, scores, *clicks, boxed=places.box is not None)
    whole = cv2.resize(logits, (FRAME_PX, FRAME_PX), interpolation=cv2.INTER_LINEAR)[:h, :w]
    return np.asarray(1 / (1 + np.exp(-np.clip(whole, -80, 80))), np.float32)


def to_frame(image: Image) -> tuple[Array, tuple[int, int]]:
    """Lay an image in the network's frame.

    Returns:
        Batch (1, 3, 1024, 1024) float32, and (h, w) of the image in it, at its top left.
    """
    H, W = image.shape[:2]
    scale = FRAME_PX / max(H, W)
    h, w = max(1, int(H * scale + 0.5)), max(1, int(W * scale + 0.5))
    levels = PIL.Image.fromarray(to_depth(image, np.uint8))
    small = np.asarray(levels.resize((w, h), PIL.Image.Resampling.BILINEAR))
    batch = np.zeros((1, 3, FRAME_PX, FRAME_PX), np.float32)
    colours = zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)
    for channel, (mean, std) in enumerate(colours):  # at every click: without another copy
        plane = batch[0, channel, :h, :w]
        np.divide(small[..., channel], 255 * std, out=plane, dtype=np.float32)
        plane -= mean / std
    return batch, (h, w)


def to_prompt(places: Places, size: tuple[int, int], frame: tuple[int, int]) -> tuple[Array, Array]:
    """Write what a person says as points in the frame (P, 2) and what each is (P,).

    Args:
        places: In pixels of the image.
        size: (H, W) of the image.
        frame: (h, w) of the image in the frame.
    """
    found = [(x, y, KEEP) for x, y in places.keep] + [(x, y, DROP) for x, y in places.drop]
    if places.box is None:
        points = np.array([*found, (0, 0, NOWHERE)], np.float32)
    else:
        top, left, bottom, right = places.box
        corners = [(left, top, TOP_LEFT), (right, bottom, BOTTOM_RIGHT)]
        points = np.array([*found, *corners], np.float32)
    scale = np.array((frame[1] / size[1], frame[0] / size[0]), np.float32)
    return points[:, :2] * scale, points[:, 2]


def choose_mask(masks: Array, scores: Array, points: Array, labels: Array, *, boxed: bool) -> Array:
    """Choose one of four masks: the best scored of those that fit the most points.

    The first is meant for boxes and for several points, the other three for a single one, which may
    mean a thing or a part of it.

    Args:
        masks: Logits (4, h, w).
        scores: (4,).
        points: (P, 2) in the frame.
        labels: (P,), kept or dropped.
        boxed: Whether there was a box.

    Returns:
        Logits (h, w).
    """
    h, w = masks.shape[1:]
    x = np.clip((points[:, 0] * w / FRAME_PX).astype(int), 0, w - 1)
    y = np.clip((points[:, 1] * h / FRAME_PX).astype(int), 0, h - 1)
    fits = ((masks[:, y, x] > 0) == (labels == KEEP)).sum(axis=1)
    candidates: tuple[int, ...] = (0, 1, 2, 3)
    if not len(points):
        candidates = (0,)
    elif len(points) == 1 and not boxed:
        candidates = (1, 2, 3)
    best = max(candidates, key=lambda k: (int(fits[k]), float(scores[k])))
    return np.asarray(masks[best], np.float32)


def place_mask(mask: Array, size: tuple[int, int], within: Box | None) -> Box:
    """Return the box of a mask's subject in an image (H, W), with room for its soft edge.

    Args:
        mask: (h, w) float32 in [0, 1] of the whole image.
        size: (H, W) of the image.
        within: A box that it may not leave.
    """
    (H, W), (h, w) = size, mask.shape
    across, down, width, height = cv2.boundingRect((mask > 0.5).astype(np.uint8))
    room = _RIM * max(width, height)
    top, left, bottom, right = within or (0, 0, H, W)
    top, left = (
        max(low, round((first - room) * scale))
        for low, first, scale in ((top, down, H / h), (left, across, W / w))
    )
    bottom, right = (
        min(high, round((last + room) * scale))
        for high, last, scale in ((bottom, down + height, H / h), (right, across + width, W / w))
    )
    return top, left, max(top + 1, bottom), max(left + 1, right)


def merge_saliency(saliency: Array, mask: Array) -> Array:
    """Give a mask the soft edges of a saliency: that is kept where both agree.

    Args:
        saliency: (h, w) float32 in [0, 1].
        mask: (h', w') float32 in [0, 1], of the same view.

    Returns:
        (h, w) float32 in [0, 1].
    """
    h, w = saliency.shape
    mask = np.asarray(cv2.resize(mask, (w, h), interpolation=cv2.INTER_LINEAR), np.float32)
    return np.where(np.abs(saliency - mask) < _AGREE, saliency, mask)
