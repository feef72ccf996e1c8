"""From frames to cut-outs: the network, steadying and matting, each at its own pace.

frames ─ network ─ steady ─ matting, several frames at once ─ cut-outs, in order

Every stage works a few frames ahead of the next, so memory does not grow with the film.
"""

from collections.abc import Callable, Generator, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from alphacut.cutout import Cutout
from alphacut.errors import OptionError
from alphacut.models.entry import NO_NETWORK
from alphacut.options import Options
from alphacut.parallel import ahead, in_order, side_by_side
from alphacut.pipeline import image as images
from alphacut.pipeline.image import Picture
from alphacut.pipeline.load import load_frames
from alphacut.remover import Remover
from alphacut.video.read import Frame
from alphacut.video.steady import STEADY, Seen, steady

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from alphacut.options import OptionChanges

Result = TypeVar("Result")


def cut_frames(
    frames: Iterable[NDArray[Any]],
    *,
    fps: float = 25.0,
    steadiness: float = STEADY,
    remover: Remover | None = None,
    threads: int | None = None,
    **options: "Unpack[OptionChanges]",
) -> Iterator[Cutout]:
    """Cut out the subject of each frame of a film, from any reader.

    Args:
        frames: (H, W, 3) or (H, W, 4) uint8, RGB or RGBA, all of one size, in order.
        fps: Frames a second, for the cut-outs' `duration_ms`.
        steadiness: 0 to 1: how much neighbouring frames agree on an edge. 0 cuts out each frame as
            if it were alone.
        remover: A loaded remover to use, instead of a new one.
        threads: Frames at a time; as many as there are processors by default.
        **options: Fields of `Options`; with `remover`, changes of its own.

    Yields:
        Cut-outs in the order of the frames. A few frames are read ahead.

    Raises:
        AlphacutError: if a frame is no such array, or an option does not exist.
    """
    if remover is None:
        remover, options = Remover(**options), {}
    chosen = check_options(remover.options.replace(**options))

    def pictures() -> Iterator[Frame]:
        for pts, array in enumerate(frames):
            read = next(load_frames(array, keep_depth=False))
            yield Frame(Picture(read.image, read.alpha, duration_ms=1000 / fps), pts, 1)

    yield from cut(pictures(), remover, chosen, lambda _, cutout: cutout,
                   steadiness=steadiness, threads=threads)  # fmt: skip


def cut(
    frames: Iterable[Frame],
    remover: Remover,
    options: Options,
    finish: Callable[[Frame, Cutout], Result],
    *,
    steadiness: float = STEADY,
    threads: int | None = None,
    skip: Callable[[Frame], Result | None] = lambda frame: None,
) -> Generator[Result, None, None]:
    """Cut out frames, and finish each cut-out, in threads.

    Args:
        frames: The frames, drawn as they are needed.
        remover: What cuts them out.
        options: What is asked for.
        finish: Makes the result of a frame and its cut-out; several threads call it.
        steadiness: See `cut_frames`.
        threads: How many frames at once.
        skip: Gives the result of a frame that need not be cut out; None for all others.

    Yields:
        Results, in order.
    """
    changes: Any = _differing(remover, options)
    alone = remover.spec.name == NO_NETWORK.name

    def find(frame: Frame) -> NDArray[np.float32]:
        picture = images.limit_megapixels(frame.picture, options.output_megapixels)
        return remover.find_subject(picture.image, **changes)

    def work(seen: Seen) -> Result:
        if (done := skip(seen.frame)) is not None:
            return done
        with side_by_side(threads):
            cutout = remover.cut(seen.frame.picture, seen.saliency, **changes)
            return finish(seen.frame, cutout)

    read = ahead(frames)
    seen = (Seen(frame, None) for frame in read) if alone else steady(read, find, steadiness)
    yield from in_order(work, ahead(seen), threads)


def check_options(options: Options) -> Options:
    """Refuse what cannot be done with a film.

    Raises:
        OptionError: if so.
    """
    for name in ("pair", "trimap"):
        if getattr(options, name) is not None:
            raise OptionError(name, getattr(options, name), "is for one picture, not for a film")
    for name, value in (("result", "preview"), ("result", "background"), ("save_trimap", True)):
        if getattr(options, name) == value:
            raise OptionError(name, value, "is for one picture, not for a film")
    if options.format != "auto":
        raise OptionError("format", options.format, "a film's format is its file's ending")
    return options


def _differing(remover: Remover, options: Options) -> dict[str, Any]:
    """Return what a call has to be told beyond the remover's own options."""
    return {name: value for name in Options.__dataclass_fields__
            if (value := getattr(options, name)) != getattr(remover.options, name)}  # fmt: skip
