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

from alphacut.pipeline import image as images
from alphacut.pipeline.image import Image, downscale_to
from alphacut.video.read import Frame

Array = NDArray[np.float32]

STEADY = 1.0
REACH = 6  # frames before and after that have a say
SPARED = 2  # frames in a row, at most, that the network is not asked for
_FLOW_PX = 320  # long side at which flow is found
_LEAST_PX = 16  # shorter side of what flow can be found in
_ASTRAY = 1.0  # pixels by which there and back may miss for a trust of 1 / e
_LIKE = 25.0  # difference in levels at which a carried frame counts by 1 / e
_AGREES = 30.0  # difference in levels below which a place is the same in both frames
_CUT = 0.5  # share of such places below which the film was cut
_CALM = 0.93  # and from which the network is spared,
_STILL = 0.01  # if nothing moves further than this, of the long side
_AREA = 0.0125  # half a side of the square in which answers are compared, of the long side
_DIFFERS = (0.03, 0.12)  # mean difference in it that is an edge's blur, and one that is flicker
_SAME = 0.03  # mean difference of answers in a row up to which the network may be spared
_OWN = 1.0  # weight of a frame's own answer
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
        guide: (h, w, 3) uint8, what it looks like, RGB.
        found: (H, W) float32, the network's answer; None if it was spared.
        onward: (h, w, 3) float32, where each place is in the next frame, in pixels across and
            down from here, and how far that can be trusted, 0 to 1.
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
    centre = spared = allowed = 0
    last: Array | None = None  # what the network said last
    for frame in frames:
        moment = _Moment(frame, _guide(frame.picture.image))
        agreement, motion = 0.0, 0.0
        if window:
            agreement, motion = _join(window[-1], moment)
            moment.cut = agreement < _CUT
        if moment.cut:  # what is left of the shot has nothing more to wait for
            yield from (_emit(window, k, find, steadiness) for k in range(centre, len(window)))
            window, centre, last = [], 0, None
        calm = agreement >= _CALM and motion <= _STILL
        if not window or not calm or spared >= allowed:
            moment.found, spared = find(frame), 0
            same = last is not None and np.mean(np.abs(moment.found - last)) < _SAME
            last, allowed = moment.found, SPARED if same else 0
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
    return np.asarray(images.to_depth(downscale_to(image, _FLOW_PX), np.uint8), np.uint8)


def _join(earlier: _Moment, later: _Moment) -> tuple[float, float]:
    """Find the flow between two neighbours, both ways.

    Returns:
        The share of places that agree, and how far the fastest twentieth moves, of the long side.
    """
    h, w = later.guide.shape[:2]
    onward: Any = np.zeros((h, w, 2), np.float32)  # where the search begins
    back: Any = np.zeros((h, w, 2), np.float32)
    if min(h, w) >= _LEAST_PX:
        search = cv2.DISOpticalFlow.create(cv2.DISOpticalFlow_PRESET_ULTRAFAST)
        search.setFinestScale(1)  # at a quarter of the size, as usual, small subjects are lost
        before, after = (cv2.cvtColor(m.guide, cv2.COLOR_RGB2GRAY) for m in (earlier, later))
        search.calc(before, after, onward)
        search.calc(after, before, back)
    earlier.onward, later.back = _with_trust(onward, back), _with_trust(back, onward)
    difference = _difference(later.guide, earlier.guide, later.back)
    agreement = float(np.mean((difference < _AGREES) & (later.back[..., 2] > 0.5)))
    speed = np.hypot(back[::4, ::4, 0], back[::4, ::4, 1])
    return agreement, float(np.percentile(speed, 95)) / max(h, w)


def _with_trust(flow: Array, other: Array) -> Array:
    """Add how far the flow can be trusted: (h, w, 3); there and back has to end where it began."""
    gone = flow + _carry(other, flow)
    astray = np.square(gone[..., 0]) + np.square(gone[..., 1])
    return np.dstack([flow, np.exp(-astray / np.float32(_ASTRAY**2))])


def _difference(guide: Any, other: Any, flow: Array) -> Array:
    """Return how far a carried frame differs from another, (h, w), in levels of any channel."""
    around = cv2.blur(cv2.absdiff(guide, _carry(other, flow)), (5, 5))
    return np.asarray(np.max(around, axis=2), np.float32)


def _carry(plane: NDArray[Any], flow: Array) -> Any:
    """Look a plane (H, W) or (H, W, C) up where flow (h, w, 2 | 3) of the same picture leads."""
    (H, W), (h, w) = plane.shape[:2], flow.shape[:2]
    x: Any = flow[..., 0]
    y: Any = flow[..., 1]
    if (h, w) != (H, W):
        x, y = (
            np.asarray(cv2.resize(axis, (W, H)) * np.float32(scale), np.float32)
            for axis, scale in ((x, W / w), (y, H / h))
        )
    x = x + np.arange(W, dtype=np.float32)
    y = y + np.arange(H, dtype=np.float32)[:, np.newaxis]
    return cv2.remap(plane, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _emit(
    window: list[_Moment], at: int, find: Callable[[Frame], Array], steadiness: float
) -> Seen:
    """Bring the answers around one frame together."""
    moment = window[at]
    answers: list[Array] = []
    weights: list[Array] = []
    nearest: list[int] = []  # which of them are the first on their side
    for step in (1, -1):
        flow: Array | None = None
        first = True
        for distance in range(1, REACH + 1):
            k = at + step * distance
            if not 0 <= k < len(window):
                break
            onward = window[k - step].onward if step > 0 else window[k - step].back
            assert onward is not None
            flow = onward if flow is None else _add(flow, _carry(onward, flow))
            other = window[k]
            if other.found is None:
                continue
            difference = _difference(moment.guide, other.guide, flow)
            near = 1 - distance / (REACH + 1)
            weight = flow[..., 2] * np.exp(-np.square(difference / np.float32(_LIKE)))
            weight = np.float32(near) * weight + _UNSEEN * np.float32(near**8)
            if first:
                nearest.append(len(answers))
                first = False
            answers.append(np.asarray(_carry(other.found, flow), np.float32))
            weights.append(np.asarray(cv2.resize(weight, other.found.shape[::-1]), np.float32))
    own = moment.found
    if own is None and not answers:
        own = moment.found = find(moment.frame)
    if own is None:  # the nearest answers stand in for it: fewer are less blurred
        own = _mean([answers[k] for k in nearest], [np.square(weights[k]) for k in nearest])
    if not answers:
        return Seen(moment.frame, own)
    mean = _mean([own, *answers], [np.full_like(own, _OWN / steadiness), *weights])
    mean = mean * mean * (3 - 2 * mean)  # half a vote is half a subject: nearer to a decision
    return Seen(moment.frame, _keep_edges(own, mean))


def _add(flow: Array, further: Array) -> Array:
    """Go on along another flow; trust is what both can be trusted."""
    added = flow + further
    added[..., 2] = flow[..., 2] * further[..., 2]
    return added


def _mean(answers: list[Array], weights: list[Array]) -> Array:
    """Return the weighted mean of planes."""
    total, mean = np.zeros_like(answers[0]), np.zeros_like(answers[0])
    for answer, weight in zip(answers, weights, strict=True):
        total += weight
        mean += weight * answer
    return np.asarray(np.clip(mean / total, 0, 1), np.float32)


def _keep_edges(own: Array, mean: Array) -> Array:
    """Take the mean where it differs over an area; along thin lines it is only blurred."""
    side = 2 * round(_AREA * max(own.shape)) + 1
    differs = cv2.blur(np.abs(mean - own), (side, side))
    share = np.clip((differs - _DIFFERS[0]) / (_DIFFERS[1] - _DIFFERS[0]), 0, 1)
    return np.asarray(own + share * (mean - own), np.float32)
