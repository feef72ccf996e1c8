"""Steady edges: what the network finds in neighbouring frames, brought together along the motion.

A network that sees one frame at a time decides doubtful places anew in each, and edges flicker.
Here its answers of some frames before and after are carried to each frame along dense optical flow
(Kroeger et al., "Fast Optical Flow using Dense Inverse Search", ECCV 2016), and their mean is
taken, weighted by how well the frames themselves agree at each place:

1. flow between neighbours, at the network's own size, added up from frame to frame;
2. weights: where a carried frame looks otherwise, something was hidden or has changed, and its
   answer does not count. The window reaches as far ahead as back, so nothing lags behind;
3. cuts: where hardly anything agrees, the film was cut, and no answer crosses;
4. sparing the network: while neighbours agree well, it is asked for some of the frames only.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from alphacut.pipeline.image import Image, downscale_to
from alphacut.video.read import Frame

Array = NDArray[np.float32]

STEADY = 1.0
REACH = 4  # frames before and after that have a say
SPARED = 1  # frames in a row, at most, that the network is not asked for
_FLOW_PX = 320  # long side at which flow is found
_LIKE = 14.0  # difference in levels at which a carried frame counts by 1 / e
_AGREES = 30.0  # difference in levels below which a place is the same in both frames
_CUT = 0.5  # share of such places below which the film was cut
_CALM = 0.93  # and from which the network is spared
_OUTLIER = 0.35  # distance from the mean at which an answer counts by 1 / e
_UNSEEN = np.float32(1e-3)  # weight of answers where no frame agrees


@dataclass(frozen=True, eq=False)
class Seen:
    """A frame and what is its subject: (h, w) float32 in [0, 1], or None if nobody was asked."""

    frame: Frame
    saliency: Array | None


@dataclass(eq=False)
class _Moment:
    """A frame in the window.

    Attributes:
        frame: The frame.
        guide: (h, w) uint8, what it looks like.
        found: (H, W) float32, the network's answer; None if it was spared.
        onward: (h, w, 2) float32, where each place is in the next frame, in pixels from here.
        back: The same, in the one before.
        cut: Whether the film was cut before it.
    """

    frame: Frame
    guide: NDArray[np.uint8]
    found: Array | None = None
    onward: Array | None = None
    back: Array | None = None
    cut: bool = False


def steady(
    frames: Iterable[Frame],
    find: Callable[[Frame], Array],
    steadiness: float = STEADY,
    *,
    ahead: int = REACH,
) -> Iterator[Seen]:
    """Find the subject of each frame, so that it changes only where the film does.

    Args:
        frames: Frames of one size, in order.
        find: Asks the network: saliency (h, w) float32 in [0, 1] of a frame.
        steadiness: How much the neighbours weigh, 0 to 1; 0 is what the network says of each frame.
        ahead: How many frames may be looked ahead; 0 for live pictures.

    Yields:
        The frames in order, each with a saliency of the network's size.
    """
    if steadiness == 0:
        yield from (Seen(frame, find(frame)) for frame in frames)
        return
    window: list[_Moment] = []
    centre = spared = 0
    for frame in frames:
        moment = _Moment(frame, _guide(frame.picture.image))
        agreement = 0.0
        if window:
            agreement = _join(window[-1], moment)
            moment.cut = agreement < _CUT
        if moment.cut:  # what is left of the shot has nothing more to wait for
            yield from (_emit(window, k, find, steadiness) for k in range(centre, len(window)))
            window, centre = [], 0
        if not window or agreement < _CALM or spared == SPARED:
            moment.found, spared = find(frame), 0
        else:
            spared += 1
        window.append(moment)
        while len(window) - 1 - centre >= ahead:
            yield _emit(window, centre, find, steadiness)
            centre += 1
        if centre > REACH:
            del window[: centre - REACH]
            centre = REACH
    yield from (_emit(window, k, find, steadiness) for k in range(centre, len(window)))


def _guide(image: Image) -> NDArray[np.uint8]:
    grey = cv2.cvtColor(downscale_to(image, _FLOW_PX), cv2.COLOR_RGB2GRAY)
    return np.asarray(grey, np.uint8)


def _join(earlier: _Moment, later: _Moment) -> float:
    """Find the flow between two neighbours, both ways; return the share of places that agree."""
    if min(later.guide.shape) < 16:  # too small for patches: nothing moves
        still = np.zeros((*later.guide.shape, 2), np.float32)
        earlier.onward = later.back = still
    else:
        search = cv2.DISOpticalFlow.create(cv2.DISOpticalFlow_PRESET_ULTRAFAST)
        onward: Any = np.zeros((*later.guide.shape, 2), np.float32)  # where the search begins
        back: Any = np.zeros_like(onward)
        search.calc(earlier.guide, later.guide, onward)
        search.calc(later.guide, earlier.guide, back)
        earlier.onward, later.back = onward, back
    carried = _carry(earlier.guide, later.back)
    difference = cv2.blur(cv2.absdiff(later.guide, carried), (5, 5))
    return float(np.mean(difference < _AGREES))


def _carry(plane: NDArray[Any], flow: Array) -> Any:
    """Look a plane (H, W) or (H, W, 2) up where flow (h, w, 2) of the same picture leads."""
    (H, W), (h, w) = plane.shape[:2], flow.shape[:2]
    if (h, w) != (H, W):
        flow = np.asarray(cv2.resize(flow, (W, H)) * np.array([W / w, H / h], np.float32))
    x = flow[..., 0] + np.arange(W, dtype=np.float32)
    y = flow[..., 1] + np.arange(H, dtype=np.float32)[:, np.newaxis]
    return cv2.remap(plane, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _emit(
    window: list[_Moment], at: int, find: Callable[[Frame], Array], steadiness: float
) -> Seen:
    """Bring the answers around one frame together."""
    moment = window[at]
    answers: list[Array] = []
    weights: list[Array] = []
    if moment.found is not None:
        answers.append(moment.found)
        weights.append(np.ones_like(moment.found))
    for step in (1, -1):
        flow: Array | None = None
        for distance in range(1, REACH + 1):
            k = at + step * distance
            if not 0 <= k < len(window):
                break
            onward = window[k - step].onward if step > 0 else window[k - step].back
            assert onward is not None
            flow = onward if flow is None else flow + _carry(onward, flow)
            other = window[k]
            if other.found is None:
                continue
            difference = cv2.blur(cv2.absdiff(moment.guide, _carry(other.guide, flow)), (5, 5))
            near = 1 - distance / (REACH + 1)
            weight = np.exp(-np.square(difference.astype(np.float32) / _LIKE)) * near * steadiness
            answers.append(np.asarray(_carry(other.found, flow), np.float32))
            weights.append(cv2.resize(weight + _UNSEEN * near, other.found.shape[::-1]))
    if not answers:
        moment.found = find(moment.frame)
        return Seen(moment.frame, moment.found)
    return Seen(moment.frame, _mean(answers, weights))


def _mean(answers: list[Array], weights: list[Array]) -> Array:
    """Return the weighted mean of planes, those far from it left out."""
    total = sum(weights[1:], weights[0])
    mean = sum((a * w for a, w in zip(answers, weights, strict=True)), np.zeros_like(total)) / total
    if len(answers) < 3:
        return np.asarray(mean, np.float32)
    kept = [w * np.exp(-np.square((a - mean) / _OUTLIER))
            for a, w in zip(answers, weights, strict=True)]  # fmt: skip
    weight, total = total, sum(kept[1:], kept[0]) + _UNSEEN * total
    mean = sum((a * w for a, w in zip(answers, kept, strict=True)), _UNSEEN * weight * mean) / total
    return np.asarray(np.clip(mean, 0, 1), np.float32)
