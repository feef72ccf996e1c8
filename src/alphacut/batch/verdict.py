"""What is found out about a cut-out, and whether it is good enough to be written."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from alphacut.cutout import Cutout
from alphacut.errors import ImageError
from alphacut.output import geometry

Box = tuple[int, int, int, int]


class Verdict(NamedTuple):
    """Facts about a cut-out, and why it is refused.

    Attributes:
        input_size: (H, W) of the image as it was read.
        box: (left, top, right, bottom) of the subject in that image, the last two exclusive; None
            if there is none.
        empty: Whether no subject was found, in any frame.
        doubt: The largest of its frames.
        ground: How the ground was known; see `Cutout.ground`.
        ground_sure: How sure that is.
        boxes: Of each subject, from left to right, if they are written separately.
        error: Why it is refused; None if it is not.
    """

    input_size: tuple[int, int]
    box: Box | None
    empty: bool
    doubt: float
    ground: str | None
    ground_sure: float
    boxes: tuple[Box, ...] | None
    error: ImageError | None

    def columns(self) -> dict[str, Any]:
        """Return the facts as a report and a manifest name them; see `manifest.Row`."""
        height, width = self.input_size
        left, top, right, bottom = self.box or (None, None, None, None)
        return {
            "input_width": width, "input_height": height,
            "left": left, "top": top, "right": right, "bottom": bottom,
            "empty": self.empty, "doubt": round(self.doubt, 4), "ground": self.ground,
            "ground_sure": round(self.ground_sure, 4) if self.ground else None,
        }  # fmt: skip


def judge(
    cutout: Cutout,
    subjects: Sequence[Cutout] | None = None,
    *,
    fail_empty: bool,
    fail_doubt: float | None,
) -> Verdict:
    """Judge a cut-out.

    Args:
        cutout: From a `Remover`.
        subjects: Its subjects, if they are written separately.
        fail_empty: Whether one without a subject is refused.
        fail_doubt: The doubt above which one is refused; None for none.
    """
    frames = (cutout, *cutout.frames)
    input_size = cutout.input_size or cutout.size
    boxes = None
    if subjects is not None:
        found = (_box_of(one, input_size) for one in subjects)
        boxes = tuple(box for box in found if box)
    empty = all(frame.empty for frame in frames)
    doubt = max(frame.doubt for frame in frames)
    error = None
    if empty and fail_empty:
        error = ImageError("no foreground found: nothing is written", "refused")
    elif fail_doubt is not None and doubt > fail_doubt:
        error = ImageError(f"doubt {doubt:.2f} is above {fail_doubt:g}: nothing is written",
                           "refused")  # fmt: skip
    return Verdict(input_size, _box_of(cutout, input_size), empty, doubt, cutout.ground,
                   cutout.ground_sure, boxes, error)  # fmt: skip


def _box_of(cutout: Cutout, size: tuple[int, int]) -> Box | None:
    """Return a cut-out's box in the image (H, W) as it was read."""
    box = cutout.box
    if box is not None and size != cutout.size:
        left, top, right, bottom = box
        place = geometry.rescale((top, left, bottom, right), cutout.size, size)
        box = place[1], place[0], place[3], place[2]
    return box
