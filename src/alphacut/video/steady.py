"""Steady edges: what the network finds in neighbouring frames, brought together along the motion.

A network that sees one frame at a time decides doubtful places anew in each, and edges flicker.
Here its answers of some frames before and after are carried to each frame along dense optical flow
(Kroeger et al., "Fast Optical Flow using Dense Inverse Search", ECCV 2016), and their mean is
taken, weighted by how well the frames themselves agree at each place:

1. flow between neighbours, both ways, on a small grid, added up from frame to frame;
2. weights: where a carried frame looks otherwise, something was hidden or has changed, and its
   answer does not count. The window reaches as far ahead as back, so nothing lags behind;
3. cuts: where hardly anything agrees, the film was cut, and no answer crosses;
4. sparing the network: while it says what the flow foretold, it is asked for some of the frames
   only. Where the answers before and after a spared frame disagree, it is asked after all.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from alphacut.pipeline import image as images
from alphacut.pipeline.image import downscale, downscale_to
from alphacut.video.read import Frame

Array = NDArray[np.float32]

STEADY = 1.0
REACH = 12  # frames before and after that have a say
SPARED = 2  # frames in a row, at most, that the network is not asked for
_GUIDE_PX = 320  # long side at which flow is found; it is kept at half of that
_ITERATIONS, _STRIDE_PX = 2, 5  # to find it: the usual 12 and 4 take longer and are no better
_LEAST_PX = 16  # shorter side of what flow can be found in
_ASTRAY = 0.5  # grid pixels by which there and back may miss for a trust of 1 / e
_LIKE = 25.0  # difference in levels at which a carried frame counts by 1 / e
_AGREES = 30.0  # difference in levels below which a place is the same in both frames
_CUT = 0.5  # share of such places below which the film was cut
_CALM = 0.8  # and from which the network is spared,
_STILL = 0.02  # if nothing moves further than this, of the long side
_AREA = 0.0125  # half a side of the square in which answers are compared, of the long side
_DIFFERS = (0.06, 0.16)  # mean difference in it that is an edge's blur, and one that is flicker
_SAME = 0.3  # share of the subject in which answers may differ for the network to be spared
_OWN = 1.0  # weight of a frame's own answer
_UNSEEN = np.float32(1e-3)  # weight of answers where no frame agrees


@dataclass(eq=False)
class Motion:
    """How a frame moves.

    Attributes:
        guide: (h, w, 3) uint8, what it looks like where flow is found, RGB.
        onward: (h, w, 2) float32, where each place is in the next frame, in its pixels across and
            down from here; None if there is no next one in the shot.
        back: The same, in the one before.
    """

    guide: NDArray[np.uint8]
    onward: Array | None = None
    back: Array | None = None


@dataclass(frozen=True, eq=False)
class Seen:
    """A frame and what is its subject.

    Attributes:
        frame: The frame.
        saliency: (h, w) float32 in [0, 1]; None if nobody was asked.
        motion: How it moves; None if nobody looked.
    """

    frame: Frame
    saliency: Array | None
    motion: Motion | None = None


class _Flow(NamedTuple):
    """Where each place of a frame is in another one.

    Attributes:
        shift: (h, w, 2) float32, grid pixels across and down from here.
        trust: (h, w) float32, how far that can be trusted, 0 to 1.
    """

    shift: Array
    trust: Array


@dataclass(eq=False)
class _Moment:
    """A frame in the window.

    Attributes:
        frame: The frame; without its picture once it has been emitted.
        motion: How it moves; None once it has been emitted.
        grey: (h', w') uint8, what flow is found in.
        guide: (h, w, 3) uint8, what it looks like on the grid, RGB.
        found: (H, W) float32, the network's answer; None if it was spared.
        onward: Flow to the next frame; None if there is none in the shot.
        back: The same, to the one before.
    """

    frame: Frame
    motion: Motion | None
    grey: NDArray[np.uint8]
    guide: NDArray[np.uint8]
    found: Array | None = None
    onward: _Flow | None = None
    back: _Flow | None = None


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
        The frames in order, each with a saliency of the network's size, or of the frame's shape if
        the network is a small one.
    """
    if steadiness == 0:
        yield from (Seen(frame, find(frame)) for frame in frames)
        return
    window: list[_Moment] = []
    centre = spared = allowed = 0

    def ask(frame: Frame) -> Array:
        return _in_shape(find(frame), frame.picture.image.shape[:2])

    def emit(k: int) -> Seen:
        moment = window[k]
        found = _bring_together(window, k, ask, steadiness, ahead)
        seen = Seen(moment.frame, found, moment.motion)
        moment.frame, moment.motion = dataclasses.replace(moment.frame, picture=_NO_PICTURE), None
        return seen

    for frame in frames:
        moment = _look_at(frame)
        agreement, motion = _join(window[-1], moment) if window else (1.0, 0.0)
        if agreement < _CUT:  # what is left of the shot has nothing more to wait for
            _part(window[-1], moment)
            yield from (emit(k) for k in range(centre, len(window)))
            window, centre, allowed = [], 0, 0
        window.append(moment)
        if agreement >= _CALM and motion <= _STILL and spared < allowed:
            spared += 1
        else:
            moment.found, spared = ask(frame), 0
            allowed = SPARED if _foretold(window) else 0
        while len(window) - 1 - centre >= ahead:
            yield emit(centre)
            centre += 1
        if centre > REACH:
            del window[: centre - REACH]
            centre = REACH
    yield from (emit(k) for k in range(centre, len(window)))


_NO_PICTURE: Any = None  # what has been emitted needs its pixels no more


def _in_shape(found: Array, size: tuple[int, ...]) -> Array:
    """Reduce the finer side of an answer about a frame (H, W), so that its pixels are squares.

    One that is larger than the grid of the flow is left as it is: it may be a matte, with detail.
    """
    (h, w), (H, W) = found.shape, size
    if max(h, w) > _GUIDE_PX:
        return found
    return downscale(found, (min(h, max(1, round(w * H / W))), min(w, max(1, round(h * W / H)))))


def _look_at(frame: Frame) -> _Moment:
    image = images.to_depth(downscale_to(frame.picture.image, _GUIDE_PX), np.uint8)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    guide = downscale_to(image, max(1, max(grey.shape) // 2))
    return _Moment(frame, Motion(np.asarray(image, np.uint8)), np.asarray(grey, np.uint8),
                   np.asarray(guide, np.uint8))  # fmt: skip


def _part(earlier: _Moment, later: _Moment) -> None:
    """Forget how two neighbours move into each other: there is a cut between them."""
    if earlier.motion and later.motion:
        earlier.motion.onward = later.motion.back = None


def _foretold(window: list[_Moment]) -> bool:
    """Tell whether the last answer is the one before it, carried along the motion."""
    flow: _Flow | None = None
    for k in range(len(window) - 1, 0, -1):
        flow = _go_on(flow, window[k].back)
        if (earlier := window[k - 1].found) is not None:
            return _alike(window[-1].found, np.asarray(_carry(earlier, flow.shift), np.float32))
    return False


def _alike(one: Array | None, other: Array) -> bool:
    """Tell whether two answers differ in a small part of the subject only."""
    assert one is not None
    differs = float(cv2.norm(one, other, cv2.NORM_L1))
    return differs < _SAME * float(np.maximum(one, other).sum() + 1)


def _join(earlier: _Moment, later: _Moment) -> tuple[float, float]:
    """Find the flow between two neighbours, both ways.

    Returns:
        The share of places that agree, and how far the fastest twentieth moves, of the long side.
    """
    h, w = later.guide.shape[:2]
    onward: Any = np.zeros((h, w, 2), np.float32)
    back: Any = np.zeros((h, w, 2), np.float32)
    if min(later.grey.shape) >= _LEAST_PX:
        search = cv2.DISOpticalFlow.create(cv2.DISOpticalFlow_PRESET_ULTRAFAST)
        search.setFinestScale(0)  # at a half or quarter, as usual, small subjects are lost
        search.setGradientDescentIterations(_ITERATIONS)
        search.setPatchStride(_STRIDE_PX)
        H, W = later.grey.shape
        fine: list[Array] = []
        scale = np.array([w / W, h / H], np.float32)
        for one, other, flow in (
            (earlier.grey, later.grey, onward),
            (later.grey, earlier.grey, back),
        ):
            found = np.asarray(search.calc(one, other, np.zeros((H, W, 2), np.float32)), np.float32)
            fine.append(found)
            flow[:] = cv2.resize(found, (w, h), interpolation=cv2.INTER_AREA) * scale
        if earlier.motion and later.motion:
            earlier.motion.onward, later.motion.back = fine
    earlier.onward, later.back = _with_trust(onward, back), _with_trust(back, onward)
    difference = _difference(later.guide, earlier.guide, back)
    agreement = float(np.mean((difference < _AGREES) & (later.back.trust > 0.5)))
    speed = np.hypot(back[::2, ::2, 0], back[::2, ::2, 1])
    return agreement, float(np.percentile(speed, 95)) / max(h, w)


def _with_trust(shift: Array, other: Array) -> _Flow:
    """Tell how far a flow can be trusted: there and back has to end where it began."""
    gone = shift + _carry(other, shift)
    astray = np.square(gone[..., 0]) + np.square(gone[..., 1])
    return _Flow(shift, np.exp(-astray / np.float32(_ASTRAY**2)))


def _difference(guide: Any, other: Any, shift: Array) -> Array:
    """Return how far a carried frame differs from another, (h, w), in levels of any channel."""
    red, green, blue = cv2.split(cv2.blur(cv2.absdiff(guide, _carry(other, shift)), (3, 3)))
    return np.asarray(cv2.max(cv2.max(red, green), blue), np.float32)


def _carry(plane: NDArray[Any], shift: Array) -> Any:
    """Look a plane (H, W) or (H, W, C) up where a shift (h, w, 2) of the same picture leads."""
    (H, W), (h, w) = plane.shape[:2], shift.shape[:2]
    places: Any = shift
    if (h, w) != (H, W):
        places = cv2.resize(shift * np.array([W / w, H / h], np.float32), (W, H))
    places = places + _here(H, W)
    nothing: Any = None  # places are pairs
    return cv2.remap(plane, places, nothing, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


@lru_cache(4)  # a film has two grids: the guides' and the answers'
def _here(H: int, W: int) -> Array:
    """Return the place of every pixel, across and down: (H, W, 2)."""
    return np.dstack(np.meshgrid(np.arange(W, dtype=np.float32), np.arange(H, dtype=np.float32)))


def _bring_together(
    window: list[_Moment], at: int, ask: Callable[[Frame], Array], steadiness: float, ahead: int
) -> Array:
    """Bring the answers around one frame together."""
    moment = window[at]
    votes: Any = 0.0  # the sum of all answers, weighted, and of their weights
    total: Any = 0.0
    around: list[Array] = []  # the first on each side
    beside: list[Array] = []
    for step in (1, -1):
        flow: _Flow | None = None
        first = True
        for distance in range(1, REACH + 1):
            k = at + step * distance
            if not 0 <= k < len(window):
                break
            flow = _go_on(flow, window[k - step].onward if step > 0 else window[k - step].back)
            other = window[k]
            if other.found is None:
                continue
            difference = _difference(moment.guide, other.guide, flow.shift)
            near = 1 - distance / (2 * REACH + 2)
            weight = flow.trust * np.exp(-np.square(difference / np.float32(_LIKE)))
            weight = np.float32(near) * weight + _UNSEEN * np.float32(near**8)
            answer = np.asarray(_carry(other.found, flow.shift), np.float32)
            weight = np.asarray(cv2.resize(weight, other.found.shape[::-1]), np.float32)
            votes, total = votes + weight * answer, total + weight
            if first:
                around.append(answer)
                beside.append(np.square(weight))
                first = False
    sides = 2 if ahead else 1
    if moment.found is None and not (len(around) == sides and _alike(around[0], around[-1])):
        moment.found = ask(moment.frame)
    own = moment.found
    if own is None:  # the nearest answers stand in for it: fewer are less blurred
        pairs = zip(around, beside, strict=True)
        own = np.asarray(sum(a * w for a, w in pairs) / sum(beside), np.float32)
    if not around:
        return own
    weight = np.float32(_OWN / steadiness)
    mean = np.clip((votes + weight * own) / (total + weight), 0, 1)
    return _keep_edges(own, np.asarray(mean, np.float32))


def _go_on(flow: _Flow | None, further: _Flow | None) -> _Flow:
    """Go on along another flow; trust is what both can be trusted."""
    assert further is not None
    if flow is None:
        return further
    shift, trust = (_carry(plane, flow.shift) for plane in further)
    return _Flow(flow.shift + shift, flow.trust * trust)


def _keep_edges(own: Array, mean: Array) -> Array:
    """Take the mean where it differs over an area; along thin lines it is only blurred."""
    side = 2 * round(_AREA * max(own.shape)) + 1
    differs = cv2.blur(np.abs(mean - own), (side, side))
    share = np.clip((differs - _DIFFERS[0]) / (_DIFFERS[1] - _DIFFERS[0]), 0, 1)
    return np.asarray(own + share * (mean - own), np.float32)
