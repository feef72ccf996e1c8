"""Films in: frames with their time stamps, from a file or a folder of numbered pictures.

`write.py` is the other end. PyAV is the extra `video`: its wheel brings FFmpeg.
"""

import dataclasses
import os
import re
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from alphacut.errors import ImageError, OptionError
from alphacut.options import Options
from alphacut.pipeline import image as images
from alphacut.pipeline.image import SUFFIXES, Image, Picture
from alphacut.pipeline.load import INPUT_SUFFIXES, load_frames
from alphacut.video import require_av

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from av.video.reformatter import VideoReformatter
    from av.video.stream import VideoStream

FILM_SUFFIXES = {
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts",
    ".wmv", ".flv", ".ogv", ".3gp", ".mxf", ".y4m",
}  # fmt: skip
# FFmpeg's numbers. Matrices: its own, and that of its scaler
BT709, BT601, BT2020 = 1, 6, 9
SCALER = {BT709: 1, BT601: 5, BT2020: 9}
_MATRICES = {1: BT709, 4: BT601, 5: BT601, 6: BT601, 9: BT2020, 10: BT2020}
FULL, LIMITED = 2, 1
_UNSPECIFIED = 2
_HDR = {16: "PQ", 18: "HLG"}  # transfer curves
_SD = 576, 1279  # lines and columns up to which players take untagged films as BT.601
_ATTACHED = 0x400  # a cover, not a film
EXACT = 2 | 0x40000 | 0x2000 | 0x4000  # bilinear, exact rounding, chroma at full size
_TICKS = 90000
_SLACK_S = 0.5  # a film that ends earlier than it says by more than this is cut short


@dataclass(frozen=True)
class Colour:
    """How a film writes colours: matrix, primaries and transfer curve, by FFmpeg's numbers."""

    matrix: int = BT709
    primaries: int = BT709
    transfer: int = BT709


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame of a film.

    Attributes:
        picture: Its pixels, uint8, upright; with the alpha that the film already has.
        pts: When it is shown, in ticks of the film's `time_base`, from the film's beginning.
        duration: How long, in ticks.
        broken: Whether its own data are damaged, and its neighbour stands in for it.
        index: How many frames came before it.
        behind: (h, w, 3) or (h, w, 4), what it is put on, if that is a film of its own.
    """

    picture: Picture
    pts: int
    duration: int
    broken: bool = False
    index: int = 0
    behind: Image | None = None


@dataclass(frozen=True)
class Film:
    """A film that can be read, as often as one likes.

    Attributes:
        path: The file, or the folder of numbered pictures.
        size: (H, W) in pixels, upright.
        rate: Frames a second, on average.
        time_base: Seconds in a tick.
        begins: Time in seconds at which the file's clock starts.
        duration_s: How long it says it is; None if it does not.
        frames: How many frames there are, about; None if it is not known.
        colour: How it writes colours.
        pixel_aspect: Width of a pixel over its height.
        metadata: Title, author and so on.
        chapters: As PyAV has them.
        sounds: How many tracks of sound it has.
        subtitles: How many tracks of subtitles.
    """

    path: Path
    size: tuple[int, int]
    rate: Fraction
    time_base: Fraction
    begins: Fraction = Fraction(0)
    duration_s: float | None = None
    frames: int | None = None
    colour: Colour = Colour()
    pixel_aspect: Fraction = Fraction(1)
    metadata: Mapping[str, str] = field(default_factory=dict)
    chapters: Sequence[Any] = ()
    sounds: int = 0
    subtitles: int = 0

    def read(
        self,
        start_s: float = 0.0,
        end_s: float | None = None,
        *,
        allow_truncated: bool = Options.allow_truncated,
    ) -> Iterator[Frame]:
        """Read the frames from a time on, up to another; their stamps count from the first time.

        Args:
            start_s: Where to begin.
            end_s: Where to end, exclusive; the film's end by default.
            allow_truncated: Whether to take what is there of a film that is cut short.

        Raises:
            ImageError: if nothing can be read, or the film is cut short.
        """
        first = round(start_s / self.time_base)
        end = None if end_s is None else round(end_s / self.time_base)
        frames = _read_folder(self) if self.path.is_dir() else _read_file(self, start_s)
        last, count = 0, 0
        for frame in frames:
            if end is not None and frame.pts >= end:
                frames.close()
                return
            last = frame.pts + frame.duration
            if frame.pts >= first:
                yield dataclasses.replace(frame, pts=frame.pts - first, index=count)
                count += 1
        if not count:
            raise ImageError(f"{self.path}: has no frame" + (f" after {start_s:g} s" * (first > 0)))
        ended_s = float(last * self.time_base)
        short = self.duration_s is not None and ended_s < self.duration_s - _SLACK_S
        if short and not allow_truncated:
            raise ImageError(
                f"{self.path}: is cut short: it ends after {ended_s:.1f} s of "
                f"{self.duration_s:.1f} s: add --allow-truncated to take what is there"
            )


def is_film(path: PurePath) -> bool:
    """Tell by its ending whether a file is a film."""
    return path.suffix.lower() in FILM_SUFFIXES


def open_film(
    path: str | os.PathLike[str],
    *,
    fps: float | None = None,
    max_megapixels: float = Options.max_megapixels,
) -> Film:
    """Find out what a film is like.

    Args:
        path: A file, or a folder of numbered pictures.
        fps: Frames a second of a folder, which it cannot say itself.
        max_megapixels: Films with larger frames are refused.

    Raises:
        ImageError: if it cannot be read, has no frame, is too large, or is HDR.
        OptionError: if a folder has no `fps`.
        MissingExtra: if PyAV is not installed.
    """
    path = Path(path)
    if path.is_dir():
        return _open_folder(path, fps, max_megapixels)
    if fps is not None:
        raise OptionError("fps", fps, "is for a folder of numbered pictures: a film has its own")
    with _opened(path) as (container, stream):
        context = stream.codec_context
        if context.width * context.height > max_megapixels * 1e6:
            raise ImageError(
                f"{path}: {context.width} x {context.height} is above {max_megapixels:g} "
                "megapixels: raise --max-megapixels",
                "too_large",
            )
        frame = next((f for f in _decode(container, stream) if not isinstance(f, int)), None)
        if frame is None:
            raise ImageError(f"{path}: has no frame that can be read")
        if kind := _HDR.get(frame.color_trc) or _HDR.get(context.color_trc):
            raise ImageError(
                f"{path}: is HDR ({kind}): convert it to SDR first, as ffmpeg -vf tonemap does"
            )
        H, W = frame.height, frame.width
        turned, *_ = _orientation(frame)
        time_base = stream.time_base or Fraction(1, _TICKS)
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        aspect = stream.sample_aspect_ratio or Fraction(1)
        begins = Fraction(container.start_time or 0, 1_000_000)
        duration_s = _duration_s(container, stream, begins)
        count = stream.frames or (duration_s and round(duration_s * rate)) or None
        return Film(
            path, (W, H) if turned else (H, W), rate, time_base, begins, duration_s, count,
            _colour(frame), 1 / aspect if turned else aspect,
            {**container.metadata}, container.chapters(), len(container.streams.audio),
            len(container.streams.subtitles),
        )  # fmt: skip


# --- files ---


@contextmanager
def _opened(path: Path) -> "Iterator[tuple[InputContainer, VideoStream]]":
    """Open a file and find its film."""
    require_av()
    import av

    try:
        container = av.open(str(path), metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        if isinstance(error, EOFError):
            reason = "it has no frame"
        elif isinstance(error, ValueError):
            reason = "it is not a film, or is cut short"
        raise ImageError(f"{path}: cannot be read: {reason}") from error
    with container:
        streams = [s for s in container.streams.video if not int(s.disposition) & _ATTACHED]
        if not streams:
            raise ImageError(f"{path}: has no moving pictures", "not_a_picture")
        known: Any = streams[0].codec_context  # typed as if it were always there
        if known is None:
            raise ImageError(
                f"{path}: its moving pictures are in a codec that is not known here: convert it, "
                "with ffmpeg to H.264, say"
            )
        yield container, streams[0]


def _duration_s(
    container: "InputContainer", stream: "VideoStream", begins: Fraction
) -> float | None:
    """Return when the last frame ends, from the film's beginning, if the file says so."""
    if stream.duration and stream.time_base:
        start = Fraction(stream.start_time or 0) * stream.time_base
        return float(start + stream.duration * stream.time_base - begins)
    if found := re.match(r"(\d+):(\d+):(\d+(?:\.\d+)?)", stream.metadata.get("DURATION", "")):
        hours, minutes, seconds = found.groups()  # as Matroska has it
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    if container.duration and not container.streams.audio:
        return container.duration / 1e6
    return None


def _colour(frame: "av.VideoFrame") -> Colour:
    """Return how a frame writes colours; what it does not say is taken as players take it."""
    small = frame.height <= _SD[0] and frame.width <= _SD[1]
    usual = BT601 if small and not frame.format.is_rgb else BT709
    matrix = _MATRICES.get(frame.colorspace, usual)
    known = frame.color_primaries, frame.color_trc
    primaries, transfer = (matrix if tag in (0, _UNSPECIFIED) else tag for tag in known)
    return Colour(matrix, int(primaries), 14 if transfer == BT2020 else int(transfer))


def _decode(container: "InputContainer", stream: "VideoStream") -> "Iterator[av.VideoFrame | int]":
    """Decode a film: its frames, and in the place of one that is damaged its stamp."""
    import av

    context: Any = stream.codec_context
    if stream.metadata.get("alpha_mode") == "1":  # FFmpeg's own decoders drop the alpha
        names = {"vp9": "libvpx-vp9", "vp8": "libvpx"}
        if name := names.get(context.name):
            context = av.CodecContext.create(name, "r")
            context.extradata = stream.codec_context.extradata
    context.thread_type = "SLICE"  # frame threads report damage late
    lost: list[int] = []
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except (StopIteration, EOFError):
            break
        except av.FFmpegError:  # the rest cannot be found
            break
        try:
            decoded = context.decode(packet)
        except av.FFmpegError:
            if packet.pts is not None:
                lost.append(packet.pts)
            continue
        for frame in decoded:
            while lost and frame.pts is not None and lost[0] < frame.pts:
                yield lost.pop(0)
            if frame.is_corrupt and frame.pts is not None:
                yield frame.pts
            else:
                yield frame
    yield from lost


def _read_file(film: Film, start_s: float) -> Generator[Frame, None, None]:
    """Read a file's frames, from at or before a time on."""
    from av.video.reformatter import VideoReformatter

    with _opened(film.path) as (container, stream):
        reformatter = VideoReformatter()  # one for all: a frame's own would be made anew each time
        offset = round(film.begins / film.time_base)
        if start_s > 0:
            container.seek(int((start_s + film.begins) * 1_000_000))
        usual = max(1, round(1 / film.rate / film.time_base))
        stamp, picture, waiting = 0, None, []
        for frame in _decode(container, stream):
            if isinstance(frame, int):
                if picture is None:  # its neighbour is still to come
                    waiting.append(frame - offset)
                else:
                    yield Frame(picture, frame - offset, usual, broken=True)
                continue
            picture = _picture(frame, film, reformatter)
            for earlier in waiting:
                yield Frame(picture, earlier, usual, broken=True)
            waiting = []
            pts = stamp if frame.pts is None else frame.pts - offset
            duration = frame.duration or usual
            stamp = pts + duration
            yield Frame(picture, pts, duration)


def _picture(frame: "av.VideoFrame", film: Film, reformatter: "VideoReformatter") -> Picture:
    """Convert a decoded frame to upright RGB, with its alpha if it has any."""
    transparent = any(part.is_alpha for part in frame.format.components)
    kind = "rgba" if transparent else "rgb24"
    full = frame.color_range == FULL or frame.format.is_rgb or frame.format.name.startswith("yuvj")
    image: Any = frame
    if frame.format.name != kind:
        matrix = None if frame.format.is_rgb else SCALER[film.colour.matrix]
        image = reformatter.reformat(
            frame, format=kind, src_colorspace=matrix, src_color_range=FULL if full else LIMITED,
            dst_color_range=FULL, interpolation=EXACT,
        )  # fmt: skip
    turned, mirrored, flipped = _orientation(frame)
    pixels: NDArray[Any] = image.to_ndarray()
    if turned:
        pixels = pixels.swapaxes(0, 1)
    pixels = pixels[:: -1 if flipped else 1, :: -1 if mirrored else 1]
    if pixels.shape[:2] != film.size:
        raise ImageError(
            f"{film.path}: its frames change their size, from {film.size[1]} x {film.size[0]} to "
            f"{pixels.shape[1]} x {pixels.shape[0]}: convert it to one size first"
        )
    colours: Image = np.ascontiguousarray(pixels[..., :3])
    return Picture(colours, np.ascontiguousarray(pixels[..., 3]) if transparent else None)


def _orientation(frame: "av.VideoFrame") -> tuple[bool, bool, bool]:
    """Return what makes a frame upright: whether to transpose it, then mirror, then flip it."""
    side: Any = frame.side_data.get("DISPLAYMATRIX")
    if side is None:
        return False, False, False
    a, b, _, c, d, *_ = np.frombuffer(side, np.int32).tolist()  # x' = a x + c y, y' = b x + d y
    turned = abs(b) > abs(a)
    across, down = (c, b) if turned else (a, d)
    return turned, across < 0, down < 0


# --- folders ---


def _open_folder(folder: Path, fps: float | None, max_megapixels: float) -> Film:
    files = numbered(folder)
    if not files:
        raise ImageError(f"{folder}: has no numbered pictures, such as frame-00001.png")
    if fps is None:
        raise OptionError("fps", fps, f"how fast do the frames of {folder} follow? Give --fps 25")
    if not 0 < fps <= 1000:
        raise OptionError("fps", fps, "give frames a second, above 0, up to 1000")
    first = next(load_frames(files[0], keep_depth=False, max_megapixels=max_megapixels))
    H, W = first.image.shape[:2]
    rate = Fraction(fps).limit_denominator(1001)
    return Film(folder, (H, W), rate, 1 / rate, duration_s=float(len(files) / rate),
                frames=len(files))  # fmt: skip


def numbered(folder: Path) -> list[Path]:
    """Return the pictures of a folder whose names end in a number, by that number."""
    found = [
        (int(number[1]), path)
        for path in folder.iterdir()
        if path.suffix.lower() in {*SUFFIXES, *INPUT_SUFFIXES}
        and not path.name.startswith(".")
        and (number := re.search(r"(\d+)$", path.stem))
    ]
    return [path for _, path in sorted(found)]


def _read_folder(film: Film) -> Generator[Frame, None, None]:
    """Read a folder's pictures; one that cannot be read is replaced by its neighbour."""
    picture: Picture | None = None
    waiting = 0
    for pts, path in enumerate(numbered(film.path)):
        try:
            read = next(load_frames(path, keep_depth=False))
        except ImageError:
            if picture is None:
                waiting += 1
            else:
                yield Frame(picture, pts, 1, broken=True)
            continue
        picture = Picture(images.to_depth(read.image, np.uint8), read.alpha)
        if picture.image.shape[:2] != film.size:
            H, W = picture.image.shape[:2]
            raise ImageError(
                f"{path}: {W} x {H}, but the first frame is {film.size[1]} x {film.size[0]}"
            )
        yield from (Frame(picture, earlier, 1, broken=True) for earlier in range(waiting))
        waiting = 0
        yield Frame(picture, pts, 1)


def behind(frames: Iterable[Frame], film: Film, background: Film) -> Iterator[Frame]:
    """Give each frame the one that a background shows at its time; that is repeated at its end."""
    scenes = _looped(background)
    shown, coming = next(scenes), next(scenes)
    for frame in frames:
        time = frame.pts * film.time_base
        while coming[0] <= time:
            shown, coming = coming, next(scenes)
        yield dataclasses.replace(frame, behind=shown[1])


def _looped(film: Film) -> Iterator[tuple[Fraction, Image]]:
    """Read a film again and again: when each frame is shown, and its colours."""
    begin = 0
    while True:
        end = begin
        for frame in film.read(allow_truncated=True):
            end = begin + frame.pts + frame.duration
            yield (begin + frame.pts) * film.time_base, frame.picture.image
        begin = end
