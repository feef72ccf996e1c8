"""Select the subject that a person means: by a box around it, or by points on it.

The network looks at the box, not at the whole image, and what is subject there has to lie in it.
A box that a person draws is filled by its subject, which leaves it nowhere: where a look shows
something else, the network looks again, with more around it and with all around it blurred, and the
look that fits best is taken. Around a point the network looks at growing windows until it finds
something there, then at the box of what it found. Parts are what hangs together, so a point cannot
always tell apart subjects that touch: a box can, and so can a second point that drops one of them.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from alphacut.pipeline.image import Image, downscale_to
from alphacut.pipeline.parts import CORE, Parts, find_parts

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Number = TypeVar("Number", bound=np.generic)
Box = tuple[int, int, int, int]  # top, left, bottom, right, the last two exclusive
Place = tuple[int, int]  # x, y in pixels

_MARGIN = 0.25  # around a box, as a share of its longer side: the network needs surroundings
_CLOSE, _WIDE = 0.05, 0.4  # around one that a person drew
_BLUR_PX, _BLUR = 64, 0.08  # long side on which a view's surroundings are blurred; sigma, as share
_ROOM = 0.1  # around a part that was found, as a share of its own box
_SLACK = 0.15  # gap between such a box and its subject, as a share of the box
_CROSSING = 3.0  # how much worse it is to cross a box's sides than not to reach them
_FITS = 0.05  # misfit up to which no other look is taken
_SQUARE = 0.5  # shorter side of a view at least, as a share of its longer one
_INSIDE = 0.5  # share of a part that has to lie in the box
_WINDOWS = (0.35, 0.6, 1.0)  # sides of the windows around a point, as shares of the long side
_LOOKS = 4  # at most from one window on
_SETTLED = 0.8  # overlap of two views, one after the other, from which they are the same
_NEAR = 0.01  # how far beside a part a point may lie, likewise
_SPECK = 1e-4  # area of the least part that a point can choose, as a share of the image
_FINE_PX = 1024  # long side at most of what is laid together
_KEPT, _DROPPED = 1, 2
_NECK_PX = 512  # long side of the grid on which necks are looked for
_EROSIONS = 40
_SOFT = 0.3  # alpha that joins what is in a box to what is outside


class Places(NamedTuple):
    """What a person says about the subject, in pixels of the image.

    Attributes:
        box: Around the subject; nothing outside is meant.
        keep: On subjects that are meant; without any, all that is seen is meant.
        drop: On subjects that are not.
    """

    box: Box | None = None
    keep: tuple[Place, ...] = ()
    drop: tuple[Place, ...] = ()


class View(NamedTuple):
    """What the network looks at.

    Attributes:
        box: In the image.
        sharp: What of it is shown as it is, if the rest is blurred.
    """

    box: Box
    sharp: Box | None = None


Look = Callable[[View], Array]


class Selected(NamedTuple):
    """What is meant.

    Attributes:
        alpha: (H, W) float32 in [0, 1].
        region: (H, W) bool, what of the image belongs to it, transparent surroundings included.
        views: Those that show it.
    """

    alpha: Array
    region: Mask
    views: tuple[View, ...]


def select(look: Look, size: tuple[int, int], places: Places) -> Selected:
    """Select what a box and points mean.

    Args:
        look: Makes alpha (h, w) of a view of the image.
        size: (H, W) of the image.
        places: What a person says.

    Returns:
        What is selected; its alpha is zero everywhere if nothing was found.
    """
    box, keep, drop = places
    if keep and box is None:
        alpha, region, views = _search(look, size, keep)
    else:
        if box is None:
            views = (View((0, 0, *size)),)
            alpha, region = look(*views), np.ones(size, np.bool_)
        else:
            alpha, region, views = _look_into(look, size, box)
        if keep:
            parts = find_parts(alpha, _SPECK)
            # the box has said where: a place beside what was found there means the nearest part
            region &= np.isin(parts.labels, [parts.labels[y, x] for x, y in keep if parts.boxes])
            alpha = np.where(region, alpha, np.float32(0))
    dropped = _find_dropped(alpha, keep, drop)
    return Selected(np.where(dropped, np.float32(0), alpha), region & ~dropped, views)


def find_each(look: Look, size: tuple[int, int]) -> Selected:
    """Find every subject of an image, and look at each by itself: what is missing shows then.

    Args:
        look: Makes alpha (h, w) of a view of the image.
        size: (H, W) of the image.

    Returns:
        All of them. A part is divided no further, and none is found that the whole does not show.
    """
    whole = View((0, 0, *size))
    seen = look(whole)
    parts = find_parts(seen)
    chosen = Selected(np.zeros(size, np.float32), np.zeros(size, np.bool_), ())
    for number, (top, left, bottom, right) in enumerate(parts.boxes, 1):
        down, across = (round(_ROOM * length) for length in (bottom - top, right - left))
        box = (max(0, top - down), max(0, left - across),
               min(size[0], bottom + down), min(size[1], right + across))  # fmt: skip
        found = _look_into(look, size, box)
        if not (found.alpha >= CORE).any():
            found = Selected(seen, np.ones(size, np.bool_), (whole,))
        its = parts.labels == number
        chosen = Selected(np.where(its, found.alpha, chosen.alpha),
                          np.where(its, found.region, chosen.region),
                          chosen.views + found.views)  # fmt: skip
    return chosen


def view_of(box: Box, size: tuple[int, int], margin: float = _MARGIN) -> Box:
    """Return what the network looks at for a box in an image (H, W): the box and some around it.

    Args:
        box: The box.
        size: (H, W) of the image.
        margin: How much around it, as a share of its longer side.
    """
    top, left, bottom, right = box
    height, width = bottom - top, right - left
    margin *= max(height, width)
    least = _SQUARE * (max(height, width) + 2 * margin)
    down, across = (max(margin, (least - side) / 2) for side in (height, width))
    H, W = size
    return (
        max(0, round(top - down)), max(0, round(left - across)),
        min(H, round(bottom + down)), min(W, round(right + across)),
    )  # fmt: skip


def show(image: Image, view: View) -> Image:
    """Return a view of an image: (h, w, 3)."""
    part = np.ascontiguousarray(part_of(image, view.box))
    if view.sharp is None:
        return part
    small = downscale_to(part, _BLUR_PX)
    smooth = cv2.GaussianBlur(small, (0, 0), _BLUR * max(small.shape[:2]))
    blurred: Image = np.asarray(cv2.resize(smooth, part.shape[1::-1]), part.dtype)
    top, left, bottom, right = view.sharp
    y, x = view.box[:2]
    sharp = top - y, left - x, bottom - y, right - x
    part_of(blurred, sharp)[:] = part_of(part, sharp)
    return blurred


def lay(planes: Mapping[Box, Array], size: tuple[int, int]) -> Array:
    """Lay planes of views on one plane of the whole image, zero where nobody looked.

    Args:
        planes: (h, w) float32 of any size, by their views.
        size: (H, W) of the image.

    Returns:
        Float32, as fine as the finest of them, but not finer than the image or `_FINE_PX`; the
        greater value where they overlap.
    """
    finest = max(max(plane.shape[0] / (view[2] - view[0]), plane.shape[1] / (view[3] - view[1]))
                 for view, plane in planes.items())  # fmt: skip
    scale = min(1.0, finest, _FINE_PX / max(size))
    whole = np.zeros((math.ceil(size[0] * scale), math.ceil(size[1] * scale)), np.float32)
    for (top, left, bottom, right), plane in planes.items():
        y = min(round(top * scale), whole.shape[0] - 1)
        x = min(round(left * scale), whole.shape[1] - 1)
        place = whole[y : max(y + 1, round(bottom * scale)), x : max(x + 1, round(right * scale))]
        np.maximum(place, cv2.resize(plane, place.shape[::-1]), out=place)
    return whole


def part_of(plane: npt.NDArray[Number], view: Box) -> npt.NDArray[Number]:
    """Return what of a plane lies in a view, without a copy."""
    top, left, bottom, right = view
    return plane[top:bottom, left:right]


def _spread(look: Look, view: View, size: tuple[int, int]) -> Array:
    """Look at a view, and lay what is seen on an empty plane of the image's size."""
    plane = np.zeros(size, np.float32)
    part_of(plane, view.box)[:] = look(view)
    return plane


def _look_into(look: Look, size: tuple[int, int], box: Box) -> Selected:
    """Find what lies in a box: look at it in several ways until what is seen fits it."""
    close, wide = (view_of(box, size, margin) for margin in (_CLOSE, _WIDE))
    best, least = None, math.inf
    for view in dict.fromkeys((View(close), View(wide), View(close, box))):
        seen = _spread(look, view, size)
        region = _belongs_inside(seen, box)
        alpha = np.where(region, seen, np.float32(0))
        misfit = _misfit(alpha, box)
        if best is None or misfit < least:
            best, least = Selected(alpha, region, (view,)), misfit
        if least <= _FITS:
            break
    assert best is not None, "there is a view"
    return best


def _misfit(alpha: Array, box: Box) -> float:
    """Return how badly what is seen fits a box; infinite if there is nothing.

    It is what is missing at the four sides beyond the usual gap, as shares of the box, and how much
    of the sides it crosses. At the image's own sides nothing is crossed.
    """
    seen, (H, W) = part_of(alpha, box), alpha.shape
    core = seen >= CORE
    if not core.any():
        return math.inf
    gaps = 0.0
    for axis, length in ((1, core.shape[0]), (0, core.shape[1])):
        found = np.flatnonzero(core.any(axis=axis))
        gaps += sum(max(0.0, gap / length - _SLACK) for gap in (found[0], length - 1 - found[-1]))
    top, left, bottom, right = box
    sides = ((top > 0, seen[0]), (left > 0, seen[:, 0]),
             (bottom < H, seen[-1]), (right < W, seen[:, -1]))  # fmt: skip
    crossed = [side for within, side in sides if within]
    return gaps + (_CROSSING * float(np.concatenate(crossed).mean()) if crossed else 0.0)


def _belongs_inside(alpha: Array, box: Box) -> Mask:
    """Mark the inside of a box, without parts of alpha that it only cuts."""
    inside = np.zeros(alpha.shape, np.bool_)
    part_of(inside, box)[:] = True
    count, labels = cv2.connectedComponents((alpha > _SOFT).astype(np.uint8), connectivity=8)
    whole, within = (
        np.bincount(labels.ravel(), (alpha * part).ravel(), count) for part in (1, inside)
    )
    cut = within < _INSIDE * whole
    cut[0] = False
    return np.asarray(inside & ~cut[labels], np.bool_)


def _part_at(parts: Parts, place: Place) -> int:
    """Return the number of the part at a place, 0 if there is none."""
    x, y = place
    near = parts.distance_px[y, x] <= _NEAR * max(parts.labels.shape)
    return int(parts.labels[y, x]) if near else 0


def _search(look: Look, size: tuple[int, int], places: Sequence[Place]) -> Selected:
    """Find the part at each of several places."""
    chosen = Selected(np.zeros(size, np.float32), np.zeros(size, np.bool_), ())
    for x, y in places:
        if chosen.alpha[y, x] < CORE:  # else it is on what another place has found
            found = _find_part(look, size, (x, y))
            chosen = Selected(np.maximum(chosen.alpha, found.alpha), chosen.region | found.region,
                              chosen.views + found.views)  # fmt: skip
    return chosen


def _find_part(look: Look, size: tuple[int, int], place: Place) -> Selected:
    """Look at growing windows around a place until something is there, then at its own box.

    The box is looked at again until what is seen lies within it; if it never does, what the largest
    window shows is taken.
    """
    found = Selected(np.zeros(size, np.float32), np.zeros(size, np.bool_), ())
    for window in _windows(place, size):
        view = window
        for _ in range(_LOOKS):
            seen = _spread(look, View(view), size)
            parts = find_parts(seen, _SPECK)
            if not (part := _part_at(parts, place)):
                break
            region = np.zeros(size, np.bool_)
            part_of(region, view)[:] = part_of(parts.labels, view) == part
            found = Selected(np.where(region, seen, np.float32(0)), region, (View(view),))
            box = parts.boxes[part - 1]
            next_view = view_of(box, size)
            if _overlap(view, next_view) > _SETTLED and _lies_within(box, view, size):
                return found
            view = next_view
    return found


def _overlap(first: Box, second: Box) -> float:
    """Return the intersection of two boxes over their union."""
    top, left = max(first[0], second[0]), max(first[1], second[1])
    bottom, right = min(first[2], second[2]), min(first[3], second[3])
    both = max(0, bottom - top) * max(0, right - left)
    areas = [(each[2] - each[0]) * (each[3] - each[1]) for each in (first, second)]
    return both / (sum(areas) - both)


def _windows(place: Place, size: tuple[int, int]) -> Iterator[Box]:
    (x, y), (H, W) = place, size
    for share in _WINDOWS:
        side = round(share * max(size))
        height, width = min(H, side), min(W, side)
        top, left = min(max(0, y - height // 2), H - height), min(max(0, x - width // 2), W - width)
        yield top, left, top + height, left + width


def _lies_within(box: Box, view: Box, size: tuple[int, int]) -> bool:
    """Tell whether a box does not reach a side of a view that is not the image's."""
    (top, left, bottom, right), (H, W) = box, size
    return (
        (top > view[0] or not view[0]) and (left > view[1] or not view[1])
        and (bottom < view[2] or view[2] == H) and (right < view[3] or view[3] == W)
    )  # fmt: skip


def _find_dropped(alpha: Array, keep: Sequence[Place], drop: Sequence[Place]) -> Mask:
    """Mark the parts at places; one that is also kept is divided between both at its necks."""
    dropped = np.zeros(alpha.shape, np.bool_)
    if not drop:
        return dropped
    parts = find_parts(alpha, _SPECK)
    kept = {_part_at(parts, place) for place in keep}
    for number in {_part_at(parts, place) for place in drop} - {0}:
        where = parts.labels == number
        if number in kept:
            where &= _nearer_to(drop, keep, np.where(where, alpha, np.float32(0)))
        dropped |= where
    return dropped


def _nearer_to(drop: Sequence[Place], keep: Sequence[Place], alpha: Array) -> Mask:
    """Divide a part between places: True where it belongs to those that are dropped.

    The part is eroded until no piece holds places of both kinds, so it parts at its necks; whatever
    was eroded goes to the nearest piece.
    """
    small = downscale_to(alpha, _NECK_PX)
    (H, W), (h, w) = alpha.shape, small.shape
    depth = cv2.distanceTransform((small >= CORE).astype(np.uint8), cv2.DIST_L2, 5)
    seeds = np.zeros((h, w), np.uint8)
    for kind, places in ((_KEPT, keep), (_DROPPED, drop)):
        for x, y in places:
            seeds[y * h // H, x * w // W] = kind
    owned = seeds
    for level in np.linspace(0, float(depth.max()), _EROSIONS):
        pieces = cv2.connectedComponents(((depth > level) | (seeds > 0)).astype(np.uint8))[1]
        kept, dropped = (np.unique(pieces[seeds == kind]) for kind in (_KEPT, _DROPPED))
        if not np.isin(kept, dropped).any():
            owned = np.isin(pieces, kept) * _KEPT + np.isin(pieces, dropped) * _DROPPED
            break
    nearest = [cv2.distanceTransform((owned != kind).astype(np.uint8), cv2.DIST_L2, 5)
               for kind in (_KEPT, _DROPPED)]  # fmt: skip
    divided = (nearest[1] < nearest[0]).astype(np.uint8)
    return np.asarray(cv2.resize(divided, (W, H), interpolation=cv2.INTER_NEAREST) > 0, np.bool_)
