"""Films out: containers with alpha and sound, animations, and folders of numbered pictures.

The table of `CODECS` says what each container holds. Sound is copied packet by packet, so it is the
same to the last bit; it is encoded again only where the container cannot hold it.
"""

import contextlib
import dataclasses
import io
import itertools
import os
import re
import threading
import warnings
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast, get_args

import cv2
import numpy as np
import PIL.Image

from alphacut import files
from alphacut.errors import AlphacutWarning, OptionError, OutputError, UnknownName
from alphacut.options import Effort, Options
from alphacut.output.encode import Raster, encode
from alphacut.pipeline import image as images
from alphacut.pipeline.image import Image
from alphacut.video.read import EXACT, FULL, LIMITED, SCALER, Film, Frame

if TYPE_CHECKING:
    import av
    from av.container import InputContainer, OutputContainer
    from av.video.stream import VideoStream

Codec = Literal["auto", "vp9", "prores", "qtrle", "png", "ffv1", "h264", "hevc"]
CODEC_NAMES: tuple[Codec, ...] = get_args(Codec)


class _Codec(NamedTuple):
    """An encoder: FFmpeg's name, its pixels with alpha and without, and what it is told."""

    name: str
    transparent: str | None
    opaque: str
    settings: Mapping[str, str] = MappingProxyType({})
    lossless: bool = False


_CODECS: Mapping[str, _Codec] = MappingProxyType({
    "vp9": _Codec("libvpx-vp9", "yuva420p", "yuv420p",
                  # alternate reference frames, which are never shown, cannot have alpha, and only
                  # they look ahead; the deadline "good" takes three times as long for as much
                  {"auto-alt-ref": "0", "lag-in-frames": "0", "deadline": "realtime",
                   "row-mt": "1", "tile-columns": "2"}),
    "prores": _Codec("prores_ks", "yuva444p10le", "yuv422p10le", {"vendor": "apl0"}),
    "qtrle": _Codec("qtrle", "argb", "rgb24", lossless=True),
    "png": _Codec("png", "rgba", "rgb24", lossless=True),
    "ffv1": _Codec("ffv1", "bgra", "bgr0", {"level": "3", "slicecrc": "1"}, lossless=True),
    "h264": _Codec("libx264", None, "yuv420p"),
    "hevc": _Codec("libx265", None, "yuv420p", {"x265-params": "log-level=error"}),
})  # fmt: skip
# By ending: FFmpeg's name of the container, the codecs it is written with, the first by default,
# and what sound becomes that it cannot hold
CONTAINERS: Mapping[str, tuple[str, tuple[str, ...], str]] = MappingProxyType({
    ".webm": ("webm", ("vp9",), "libopus"),
    ".mov": ("mov", ("prores", "qtrle", "png", "h264", "hevc"), "aac"),
    ".mkv": ("matroska", ("ffv1", "vp9", "h264", "hevc"), "aac"),
    ".mp4": ("mp4", ("h264", "hevc"), "aac"),
})  # fmt: skip
ANIMATIONS = {".gif": "gif", ".webp": "webp", ".png": "png", ".apng": "png", ".avif": "avif"}
_OWN_METADATA = ("encoder", "major_brand", "minor_version", "compatible_brands", "duration")
_OPUS_HZ = 48000
_NEAR = 8  # hidden pixels so far from the subject get its colours
_FADED = 1 / 64  # share of a neighbourhood that has to be visible for that


@dataclass(frozen=True)
class Target:
    """Where a film goes, and how.

    Attributes:
        path: The file, or the folder.
        kind: A container, an animation, or numbered pictures.
        codec: A name of `CODEC_NAMES`.
        pattern: Name of the pictures in a folder, such as "frame-%05d.png".
        opaque: Whether nothing shines through.
        quality: 1..100, of lossy codecs.
        fast: Whether encoding quickly matters more than size.
        effort: Of PNG and lossless WebP.
        max_megapixels: What all frames of an animation may have together.
    """

    path: Path
    kind: Literal["container", "animation", "folder"]
    codec: str = "auto"
    pattern: str = "frame-%05d.png"
    opaque: bool = False
    quality: int = Options.file_quality
    fast: bool = False
    effort: Effort = Options.png
    max_megapixels: float = Options.max_megapixels

    @property
    def flat(self) -> bool:
        """Whether its files hold no alpha."""
        return self.opaque or self.pattern.lower().endswith((".jpg", ".jpeg"))

    def number(self, index: int) -> Path:
        """Return the path of a folder's picture, by its index from 0."""
        return self.path / (self.pattern % (index + 1))


def find_target(path: Path, codec: Codec, options: Options, *, opaque: bool, fast: bool) -> Target:
    """Decide how a film is written, by the ending of its path.

    Args:
        path: A file; a folder; or names of pictures in one, such as cut/frame-%05d.png.
        codec: A codec, or "auto".
        options: What is written.
        opaque: Whether nothing shines through.
        fast: Whether encoding quickly matters more than size.

    Raises:
        OutputError: if the ending is unknown, or the container cannot hold the result.
        OptionError: if the container is not written with that codec.
        UnknownName: if there is no such codec.
    """
    if codec not in CODEC_NAMES:
        raise UnknownName("codec", codec, CODEC_NAMES)
    common: dict[str, Any] = {
        "opaque": opaque, "quality": options.file_quality, "effort": options.png, "fast": fast,
        "max_megapixels": options.max_megapixels,
    }  # fmt: skip
    suffix = path.suffix.lower()
    if "%" in path.name:
        if not re.fullmatch(r"[^%]*%0?\d*d[^%]*\.(png|webp|tiff?|jpe?g|avif)", path.name.lower()):
            raise OutputError(f"{path}: name the pictures like frame-%05d.png")
        return Target(path.parent, "folder", pattern=path.name, **common)
    if not suffix or path.is_dir():
        return Target(path, "folder", **common)
    if suffix in ANIMATIONS:
        return Target(path, "animation", **common)
    if suffix not in CONTAINERS:
        known = ", ".join([*CONTAINERS, *ANIMATIONS])
        raise OutputError(f"{path}: films are written as {known}, or into a folder")
    _, codecs, _ = CONTAINERS[suffix]
    if codec != "auto" and codec not in codecs:
        raise OptionError("codec", codec, f"{suffix} is written with {', '.join(codecs)}")
    name = codecs[0] if codec == "auto" else codec
    if not opaque and _CODECS[name].transparent is None:
        raise OutputError(
            f"{path}: {name} in {suffix} has no transparency: add --background green, or write "
            ".webm or .mov"
        )
    return Target(path, "container", name, **common)


@dataclass(frozen=True)
class Prepared:
    """One frame, ready to be encoded.

    Attributes:
        frame: The frame that it was made of, with its stamps.
        raster: Its samples, for pictures; None if they are converted already.
        samples: In the codec's pixels, for containers.
    """

    frame: Frame
    raster: Raster | None = None
    samples: Any = None


_local = threading.local()


def prepare(raster: Raster, frame: Frame, target: Target, film: Film) -> Prepared:
    """Convert a frame to what its encoder takes; several threads may do so at once."""
    if target.kind != "container":
        return Prepared(frame, raster)
    from av import VideoFrame
    from av.video.reformatter import VideoReformatter

    codec = _CODECS[target.codec]
    joined = images.to_depth(raster.joined(), np.uint8)
    if joined.ndim == 2:
        joined = np.repeat(joined[..., np.newaxis], 3, axis=2)
    if joined.shape[2] == 4 and not codec.lossless:
        joined = spread_colours(joined)
    joined = _even(joined, codec.opaque if target.opaque else codec.transparent or "")
    pixels = VideoFrame.from_numpy_buffer(joined, "rgba" if joined.shape[2] == 4 else "rgb24")
    if not hasattr(_local, "reformatter"):
        _local.reformatter = VideoReformatter()
    reformatter: Any = _local.reformatter
    kind = codec.opaque if target.opaque else codec.transparent
    if codec.lossless:
        samples = reformatter.reformat(pixels, format=kind)
    else:
        samples = reformatter.reformat(
            pixels, format=kind, src_color_range=FULL, dst_color_range=LIMITED,
            dst_colorspace=SCALER[film.colour.matrix], interpolation=EXACT, threads=1,
        )  # fmt: skip
    samples.color_primaries, samples.color_trc = film.colour.primaries, film.colour.transfer
    samples.pts, samples.time_base, samples.duration = frame.pts, film.time_base, frame.duration
    return Prepared(dataclasses.replace(frame, picture=_NO_PICTURE), samples=samples)


_NO_PICTURE: Any = None  # what waits to be encoded needs the photo no more


def spread_colours(image: Image) -> Image:
    """Give hidden pixels near the subject its colours.

    Codecs for films blend neighbouring colours whatever their alpha is, so black beside an edge
    would darken it.

    Args:
        image: (H, W, 4) uint8, colours straight and zero where alpha is zero.

    Returns:
        (H, W, 4) uint8; alpha and visible colours as they were.
    """
    H, W = image.shape[:2]
    hidden = cv2.inRange(image[..., 3], 0, 0)
    if not hidden.any() or hidden.all():
        return image
    size = max(1, W // _NEAR), max(1, H // _NEAR)
    shown = cv2.bitwise_not(hidden)
    colours, weight = (
        cv2.blur(cv2.resize(plane, size, interpolation=cv2.INTER_AREA).astype(np.float32), (3, 3))
        for plane in (image, shown)
    )
    weight = weight / 255
    near = weight > _FADED
    mean = np.where(near[..., np.newaxis], colours / np.maximum(weight, 1e-6)[..., np.newaxis], 0)
    mean[..., 3] = 0
    spread = cv2.resize(np.minimum(mean, 255).astype(np.uint8), (W, H))
    cv2.copyTo(image, shown, spread)
    return np.asarray(spread, np.uint8)


def _even(image: Image, kind: str) -> Image:
    """Repeat the last row and column of an image of odd sides, where chroma is halved."""
    H, W = image.shape[:2]
    if not (H % 2 or W % 2) or not kind.startswith(("yuv420", "yuva420", "yuv422")):
        return image
    below, beside = H % 2 * ("420" in kind), W % 2
    return np.asarray(
        cv2.copyMakeBorder(image, 0, below, 0, beside, cv2.BORDER_REPLICATE), image.dtype
    )


def write_film(
    frames: Iterable[Prepared],
    target: Target,
    film: Film,
    *,
    start_s: float = 0.0,
    end_s: float | None = None,
) -> Generator[Frame, None, None]:
    """Write a film, whole or not at all; a folder picture by picture.

    Args:
        frames: From `prepare`, in order.
        target: Where and how.
        film: What the frames come from: its sound, chapters and metadata are kept.
        start_s: Where in the film the frames begin.
        end_s: Where they end; the film's end by default.

    Yields:
        Each frame once it is written. An `AlphacutWarning` says which sound had to be encoded
        again.

    Raises:
        OutputError: if it cannot be written; nothing is left behind, but for a folder's pictures.
    """
    if target.kind == "folder":
        yield from _write_folder(frames, target)
    elif target.kind == "animation":
        yield from _write_animation(frames, target, film)
    else:
        yield from _write_container(frames, target, film, start_s, end_s)


# --- containers ---


def _write_container(
    frames: Iterable[Prepared],
    target: Target,
    film: Film,
    start_s: float,
    end_s: float | None,
) -> Generator[Frame, None, None]:
    import av

    form, _, fallback = CONTAINERS[target.path.suffix.lower()]
    waiting = iter(frames)
    first = next(waiting)  # before the file is begun: the source may be unreadable
    options = {"movflags": "+faststart"} if form in ("mp4", "mov") else {}
    with files.replacing(target.path) as part, contextlib.ExitStack() as opened:
        try:
            output = opened.enter_context(
                av.open(str(part), "w", format=form, container_options=options)
            )
            stream = _add_stream(output, target, film, first.samples)
            sound = None
            if film.sounds:
                source = opened.enter_context(av.open(str(film.path), metadata_errors="replace"))
                sound = _Sound(source, output, form, fallback, film.begins, start_s, end_s)
                for note in sound.notes:
                    warnings.warn(f"{film.path}: {note}", AlphacutWarning, stacklevel=2)
            output.metadata.update(_kept(film.metadata))
            if film.chapters:
                output.set_chapters(_chapters(film, start_s, end_s))
            durations: dict[int, int] = {}
            for prepared in _chain(first, waiting):
                frame = prepared.frame
                durations[frame.pts] = frame.duration
                _mux(output, stream.encode(prepared.samples), durations, film.time_base)
                if sound:
                    sound.copy_until(frame.pts * film.time_base)
                yield frame
            _mux(output, stream.encode(None), durations, film.time_base)
            if sound:
                sound.copy_until(None)
            output.close()
        except av.FFmpegError as error:
            if isinstance(error, OSError):
                raise
            raise OutputError(f"{target.path}: cannot be written: {error.strerror}") from error


def _chain(first: Prepared, others: Iterator[Prepared]) -> Iterator[Prepared]:
    yield first
    yield from others


def _add_stream(
    output: "OutputContainer", target: Target, film: Film, like: "av.VideoFrame"
) -> "VideoStream":
    """Add the film's stream, ready to encode frames like the given one."""
    codec = _CODECS[target.codec]
    settings = dict(codec.settings)
    if target.codec == "prores":
        settings["profile"] = "hq" if target.opaque else "4444"
    elif target.codec == "vp9":
        settings |= {"crf": str(min(63, 116 - target.quality)), "b": "0",
                     "cpu-used": "8" if target.fast else "6"}  # fmt: skip
    elif target.codec in ("h264", "hevc"):
        settings |= {"crf": str(min(51, 108 - target.quality)),
                     "preset": "ultrafast" if target.fast else "medium"}  # fmt: skip
    stream = cast("VideoStream", output.add_stream(codec.name, rate=film.rate))
    context = stream.codec_context
    context.width, context.height = like.width, like.height
    context.pix_fmt = like.format.name
    context.time_base = stream.time_base = film.time_base
    context.sample_aspect_ratio = film.pixel_aspect
    context.options = settings
    if target.codec == "vp9":
        context.bit_rate = 0
    if not codec.lossless:
        context.colorspace, context.color_range = film.colour.matrix, LIMITED
        context.color_primaries, context.color_trc = film.colour.primaries, film.colour.transfer
    if target.codec == "hevc" and target.path.suffix.lower() != ".mkv":
        context.codec_tag = "hvc1"  # QuickTime plays no other
    return stream


def _mux(
    output: "OutputContainer", packets: Iterable[Any], durations: dict[int, int], tick: Fraction
) -> None:
    """Write packets of the film, each with its frame's duration, which encoders forget."""
    for packet in packets:
        if packet.pts is not None and packet.time_base == tick:
            packet.duration = durations.pop(packet.pts, packet.duration or 0)
        output.mux(packet)


def _kept(metadata: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in metadata.items() if name.lower() not in _OWN_METADATA}


def _chapters(film: Film, start_s: float, end_s: float | None) -> list[Any]:
    """Return the chapters of a part of a film, by the part's clock."""
    kept = []
    for chapter in film.chapters:
        tick = chapter["time_base"]
        start, end = (chapter[edge] * tick - film.begins - start_s for edge in ("start", "end"))
        length = None if end_s is None else end_s - start_s
        if end <= 0 or (length is not None and start >= length):
            continue
        start, end = max(0, start), end if length is None else min(end, length)
        kept.append({**chapter, "start": round(start / tick), "end": round(end / tick)})
    return kept


@dataclass
class _Track:
    """One track of sound: where it goes, and how if it is encoded again."""

    stream: Any
    resampler: Any = None


@dataclass
class _Sound:
    """Copies a film's sound, a little at a time, as far as its pictures are written.

    Attributes:
        source: The film.
        output: What it is copied to.
        form: FFmpeg's name of that container.
        fallback: Codec of sound that the container cannot hold.
        begins: Time at which the film's clock starts.
        start_s: Where the part begins that is copied.
        end_s: Where it ends.
        notes: What is worth knowing about it.
    """

    source: "InputContainer"
    output: "OutputContainer"
    form: str
    fallback: str
    begins: Fraction
    start_s: float
    end_s: float | None
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        import av

        self._tracks: dict[int, _Track] = {}
        held, known = self.output.supported_codecs, []
        for number, stream in enumerate(self.source.streams.audio, 1):
            context: Any = stream.codec_context  # typed as if it were always there
            if context is None:
                self.notes.append(f"sound: track {number} is in a codec that is not known here, "
                                  "and is left out")  # fmt: skip
                continue
            known.append(stream)
            name = context.name
            track: _Track | None = None
            if av.codec.Codec(name, "r").canonical_name in held or name in held:
                with contextlib.suppress(ValueError, av.FFmpegError):
                    track = _Track(self.output.add_stream_from_template(stream))
            if track is None:
                track = self._encoded(stream)
                self.notes.append(f"sound: {name} does not fit into {self.form}, encoded again "
                                  f"as {self.fallback.removeprefix('lib')}")  # fmt: skip
            track.stream.metadata.update(_kept(stream.metadata))
            self._tracks[stream.index] = track
        if self.start_s > 0:
            self.source.seek(int((self.start_s + self.begins) * 1_000_000))
        self._packets = self.source.demux(*known) if known else iter(())  # without, demux gives all
        self._next: Any = None

    def _encoded(self, stream: Any) -> _Track:
        import av

        rate = _OPUS_HZ if self.fallback == "libopus" else stream.codec_context.sample_rate
        added: Any = self.output.add_stream(self.fallback, rate=rate)
        context = added.codec_context
        context.layout = stream.codec_context.layout
        context.open()
        resampler = av.AudioResampler(
            context.format, context.layout, rate, frame_size=context.frame_size or None
        )
        return _Track(added, resampler)

    def copy_until(self, time_s: Fraction | None) -> None:
        """Copy what sounds up to a time of the part, or all that is left."""
        import av

        while True:
            if self._next is None:
                try:
                    self._next = next(self._packets, None)
                except (EOFError, av.FFmpegError):  # what is cut off
                    self._next = None
                if self._next is None:
                    if time_s is None:
                        self._flush()
                    return
            packet = self._next
            if packet.dts is None or packet.pts is None:  # ends a track, or is broken
                self._next = None
                continue
            seconds = packet.pts * packet.time_base - self.begins
            if time_s is not None and seconds - Fraction(self.start_s) > time_s:
                return
            self._next = None
            if self.end_s is not None and seconds >= self.end_s:
                continue
            if self.start_s > 0 and seconds < self.start_s:
                continue
            self._copy(packet)

    def _copy(self, packet: Any) -> None:
        track = self._tracks[packet.stream.index]
        offset = round((self.begins + Fraction(self.start_s)) / packet.time_base)
        if track.resampler is None:
            packet.pts -= offset
            packet.dts -= offset
            packet.stream = track.stream
            self.output.mux(packet)
            return
        import av

        with contextlib.suppress(av.error.InvalidDataError):
            for frame in packet.decode():
                if frame.pts is not None:  # else it follows the one before
                    frame.pts -= offset
                for part in track.resampler.resample(frame):
                    self.output.mux(track.stream.encode(part))

    def _flush(self) -> None:
        for track in self._tracks.values():
            if track.resampler is not None:
                for part in track.resampler.resample(None):
                    self.output.mux(track.stream.encode(part))
                self.output.mux(track.stream.encode(None))


# --- animations and folders ---


def _write_animation(
    frames: Iterable[Prepared], target: Target, film: Film
) -> Generator[Frame, None, None]:
    """Encode all frames at once: they are held in memory, so their number is bounded."""
    kind = ANIMATIONS[target.path.suffix.lower()]
    most = target.max_megapixels
    rasters: list[Raster] = []
    times: list[Fraction] = []
    megapixels = 0.0
    for prepared in frames:
        raster = prepared.raster
        assert raster is not None
        megapixels += raster.samples.shape[0] * raster.samples.shape[1] / 1e6
        if megapixels > most:
            raise OutputError(
                f"{target.path}: an animation of more than {most:g} megapixels in all, which is "
                f"reached after {len(rasters)} frames: choose .webm, a shorter part (--end), or "
                "raise --max-megapixels"
            )
        rasters.append(raster)
        times.append(prepared.frame.pts * film.time_base)
        end = (prepared.frame.pts + prepared.frame.duration) * film.time_base
        yield prepared.frame
    unit = 10 if kind == "gif" else 1  # milliseconds
    edges = [round((time - times[0]) * 1000 / unit) * unit for time in [*times, end]]
    durations_ms = [float(b - a) for a, b in itertools.pairwise(edges)]
    if kind == "gif":
        files.write(target.path, [_encode_gif(rasters, durations_ms)])
        return
    files.write(target.path, encode(
        rasters, kind, quality=target.quality, effort=target.effort, durations_ms=durations_ms,
        loop=0,
    ))  # fmt: skip


def _encode_gif(rasters: list[Raster], durations_ms: list[float]) -> bytes:
    """Encode a GIF: 256 colours a frame, and alpha that is all or nothing."""
    frames = []
    for raster in rasters:
        image = images.to_depth(raster.joined(), np.uint8)
        if image.shape[2:] == (4,):
            image = np.where(image[..., 3:] < 128, np.uint8(0), image)
            image[..., 3] = np.where(image[..., 3] < 128, 0, 255)
        frames.append(PIL.Image.fromarray(image))
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], loop=0, disposal=2,
                   duration=durations_ms)  # fmt: skip
    return file.getvalue()


def _write_folder(frames: Iterable[Prepared], target: Target) -> Generator[Frame, None, None]:
    suffix = os.path.splitext(target.pattern)[1].lower()
    kind = {".tif": "tiff", ".jpeg": "jpg"}.get(suffix, suffix[1:])
    for index, prepared in enumerate(frames):
        if prepared.raster is not None:  # else it is there already
            files.write(
                target.number(index),
                encode([prepared.raster], kind, quality=target.quality, effort=target.effort),
                make_folder=True,
            )
        yield prepared.frame
