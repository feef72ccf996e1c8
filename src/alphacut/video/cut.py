"""From frames to cut-outs: the network, steadying and matting, each at its own pace.

frames ─ network ─ steady ─ matting ─ settle, colours ─ cut-outs, in order

Every stage works a few frames ahead of the next, so memory does not grow with the film.
"""

import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

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
from alphacut.stages import Matte
from alphacut.video.read import Frame
from alphacut.video.settle import REACH, settle
from alphacut.video.steady import STEADY, Motion, Seen, steady

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

    def matte(seen: Seen) -> _Matted | Result:
        if (done := skip(seen.frame)) is not None:
            return done
        with side_by_side(threads):
            return _Matted(seen, remover.matte(seen.frame.picture, seen.saliency, **changes))

    def work(at: _Neighbourhood[Result]) -> Result:
        matted, before, after = at
        if not isinstance(matted, _Matted):
            return matted
        with side_by_side(threads):
            made = matted.matte
            if motion := matted.seen.motion:
                around = (_same_shot(before), _same_shot(after))
                made = made.with_alpha(settle(made.alpha, motion, *around, steadiness))
            return finish(matted.seen.frame, remover.finish(made, **changes))

    read = ahead(frames)
    seen = (Seen(frame, None) for frame in read) if alone else steady(read, find, steadiness)
    mattes = in_order(matte, ahead(seen), threads)
    yield from in_order(work, ahead(_neighbourhoods(mattes, REACH)), threads)


class _Matted(NamedTuple):
    """A frame and its alpha."""

    seen: Seen
    matte: Matte


class _Neighbourhood(NamedTuple, Generic[Result]):
    """What became of a frame, and of those before and after it, the nearest first."""

    frame: _Matted | Result
    before: Sequence[_Matted | Result]
    after: Sequence[_Matted | Result]


def _neighbourhoods(
    items: Iterable[_Matted | Result], reach: int
) -> Iterator[_Neighbourhood[Result]]:
    """Yield each item with the ones around it."""
    window: deque[Any] = deque(maxlen=2 * reach + 1)
    for item in itertools.chain(items, itertools.repeat(None, reach)):  # nothing follows the last
        window.append(item)
        held, centre = [*window], len(window) - 1 - reach
        if centre >= 0:
            yield _Neighbourhood(held[centre], held[:centre][::-1], held[centre + 1 :])


def _same_shot(around: Sequence[Any]) -> list[tuple[NDArray[np.float32], Motion]]:
    """Return alphas and motions of the frames up to the first that was not looked at."""
    looked = itertools.takewhile(lambda one: isinstance(one, _Matted) and one.seen.motion, around)
    return [(one.matte.alpha, one.seen.motion) for one in looked]


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
