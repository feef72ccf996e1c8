"""A film's background removed: read, cut, compose and write, in one stream."""

import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from alphacut import values
from alphacut.cutout import Cutout, place_frames
from alphacut.errors import AlphacutWarning, NoForegroundWarning, OptionError, OutputError
from alphacut.options import Options
from alphacut.output import geometry
from alphacut.output.background import load_background, make_background
from alphacut.output.encode import quantise
from alphacut.output.geometry import Box, Placement
from alphacut.remover import Remover
from alphacut.video.cut import check_options, cut
from alphacut.video.read import Film, Frame, behind, is_film, open_film
from alphacut.video.steady import STEADY
from alphacut.video.write import Codec, Prepared, Target, find_target, prepare, write_film

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from alphacut.options import OptionChanges

_OPAQUE_RESULTS = ("mask", "trimap", "foreground")


@dataclass(frozen=True)
class Written:
    """What became of a film.

    Attributes:
        path: The file or folder.
        frames: How many frames were written.
        broken: How many of them stand in for a damaged one.
        empty: How many have no subject.
    """

    path: Path
    frames: int
    broken: int
    empty: int


def remove_video(
    source: str | os.PathLike[str],
    dest: str | os.PathLike[str] | None = None,
    *,
    steadiness: float = STEADY,
    start_s: float = 0.0,
    end_s: float | None = None,
    fps: float | None = None,
    codec: Codec = "auto",
    fast: bool = False,
    skip_existing: bool = False,
    remover: Remover | None = None,
    threads: int | None = None,
    progress: Callable[[int, int | None], None] = lambda done, total: None,
    **options: "Unpack[OptionChanges]",
) -> Written:
    """Remove the background of a film.

    Args:
        source: A film, or a folder of numbered pictures.
        dest: .webm, .mov or .mkv, with transparency; .mp4, which needs a background; .gif, .webp,
            .png or .avif, animated; or a folder. By default what `default_target` says.
        steadiness: 0 to 1: how much neighbouring frames agree on an edge. 0 cuts out each frame as
            if it were alone.
        start_s: Where to begin.
        end_s: Where to end, exclusive.
        fps: Frames a second of a folder.
        codec: What the container is written with; "auto" is the first that `CONTAINERS` lists.
        fast: Whether encoding quickly matters more than the file's size.
        skip_existing: Whether pictures that the folder `dest` has already stay.
        remover: A loaded remover to use, instead of a new one.
        threads: Frames at a time; as many as there are processors by default.
        progress: Called after each frame with how many are done and how many there are, if that is
            known.
        **options: Fields of `Options`; with `remover`, changes of its own. The background may be
            a film, too: it is repeated if it is shorter.

    Returns:
        What was written. If no frame has a subject, a `NoForegroundWarning` is given.

    Raises:
        ImageError: if the film cannot be read.
        OutputError: if the result cannot be written; nothing is left behind.
        AlphacutError: if an option does not exist, or PyAV is missing.
    """
    options, backdrop = split_background(options)
    if remover is None:
        remover, options = Remover(**options), {}
    chosen = check_options(remover.options.replace(**options))
    if start_s < 0 or (end_s is not None and end_s <= start_s):
        raise OptionError("end", end_s, "give 0 <= start < end, in seconds")
    film = open_film(source, fps=fps, max_megapixels=chosen.max_megapixels)
    scene = open_film(backdrop, max_megapixels=chosen.max_megapixels) if backdrop else None
    opaque = is_opaque(chosen) or scene is not None
    path = Path(dest) if dest is not None else default_target(film.path, chosen, opaque=opaque)
    target = find_target(path, codec, chosen, opaque=opaque, fast=fast)
    if path.exists() and path.samefile(film.path):
        raise OutputError(f"{path}: is the film itself: choose another name")

    def cut_out(finish: Callable[[Frame, Cutout], Any], **more: Any) -> Iterator[Any]:
        frames = film.read(start_s, end_s, allow_truncated=chosen.allow_truncated)
        if scene:
            frames = behind(frames, film, scene)
        return cut(frames, remover, chosen, finish, steadiness=steadiness, threads=threads,
                   **more)  # fmt: skip

    placement = place_frames(film.size, None, None, chosen)
    unsized = chosen.replace(size=None)
    if unsized != unsized.arranged():  # where the subject goes depends on all frames
        placement = _place(film, chosen, cut_out(_find_box(chosen)))
    background = None if scene else _fill(chosen, placement)
    total, done, broken, empty = _expected(film, start_s, end_s), 0, 0, 0

    def finish(frame: Frame, cutout: Cutout) -> tuple[Prepared, bool]:
        under = frame.behind if scene else background
        raster = cutout.raster(chosen, placement, opaque=target.flat, background=under)
        return prepare(raster, frame, target, film), cutout.empty

    def skip(frame: Frame) -> tuple[Prepared, bool] | None:
        if skip_existing and target.kind == "folder" and target.number(frame.index).exists():
            return Prepared(frame), False
        return None

    def prepared() -> Iterator[Prepared]:
        nonlocal empty
        for frame, without in cut_out(finish, skip=skip):
            empty += without
            yield frame

    for frame in write_film(prepared(), target, film, start_s=start_s, end_s=end_s):
        done += 1
        broken += frame.broken
        progress(done, total)
    if lost := _lost(film, target):
        warnings.warn(f"{path}: without {lost}", AlphacutWarning, stacklevel=2)
    if empty == done:
        warnings.warn(f"{film.path}: no foreground found", NoForegroundWarning, stacklevel=2)
    return Written(path, done, broken, empty)


def split_background(options: "OptionChanges") -> "tuple[OptionChanges, str | None]":
    """Take a background that is a film out of options, which know still ones only."""
    chosen = options.get("background")
    if isinstance(chosen, bytes) or chosen is None or not is_film(Path(chosen)):
        return options, None
    others: Any = {name: value for name, value in options.items() if name != "background"}
    return others, os.fspath(chosen)


def is_opaque(options: Options) -> bool:
    """Tell whether nothing shines through what options ask for."""
    return options.opaque or options.result in _OPAQUE_RESULTS


def default_target(source: Path, options: Options, *, opaque: bool) -> Path:
    """Return the path of a film's result: NAME-cutout.webm beside it, .mp4 if it is opaque."""
    word = "cutout" if options.result == "cutout" else options.result
    name = source.name if source.is_dir() else source.stem
    return source.with_name(f"{name}-{word}.{'mp4' if opaque else 'webm'}")


def _lost(film: Film, target: Target) -> str:
    """Name the tracks of a film that its result cannot hold."""
    lost = ["subtitles"] if film.subtitles else []
    if film.sounds and target.kind != "container":
        lost.append("sound")
    return " and ".join(lost)


def _find_box(options: Options) -> Callable[[Frame, Cutout], tuple[Box | None, float | None]]:
    def find(_: Frame, cutout: Cutout) -> tuple[Box | None, float | None]:
        box = geometry.box_of(cutout.alpha, options.threshold)
        return box, geometry.head_of(cutout.alpha, box) if box else None

    return find


def _place(
    film: Film, options: Options, found: Iterator[tuple[Box | None, float | None]]
) -> Placement:
    """Place the subject by the union of its boxes, so that the frame stands still."""
    box: Box | None = None
    heads: list[float] = []
    for one, head_x in found:
        box = geometry.union_of((box, one))
        heads += [] if head_x is None else [head_x]
    return place_frames(film.size, box, float(np.mean(heads)) if heads else None, options)


def _fill(options: Options, placement: Placement) -> NDArray[Any] | None:
    """Fit a background image to the canvas once, for all frames; None for any other."""
    if options.background is None or options.result != "cutout":
        return None
    loaded = load_background(
        options.background, max_megapixels=options.max_megapixels,
        allow_truncated=options.allow_truncated,
    )  # fmt: skip
    if isinstance(loaded, values.Backdrop):
        return None
    image, opacity = make_background(loaded, placement.canvas, fit=options.fit)
    if image is None or opacity is None:
        return image
    return np.dstack([image, quantise(opacity)])


def _expected(film: Film, start_s: float, end_s: float | None) -> int | None:
    """Return about how many frames there will be."""
    if film.frames is None or (start_s == 0 and end_s is None):
        return film.frames
    until_s = float(film.frames / film.rate)
    end_s = until_s if end_s is None else min(end_s, until_s)
    return max(1, round((end_s - start_s) * float(film.rate)))
