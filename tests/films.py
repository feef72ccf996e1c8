"""Tiny films, written with PyAV alone, and what a file says when it is read with PyAV alone."""

import hashlib
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
COLOUR, GROUND = (210, 170, 140), (60, 90, 130)


def discs(n: int = 12, H: int = 48, W: int = 64, step_px: float = 1.0) -> list[Image]:
    """A warm disc that moves over a cool ground, (H, W, 3) each."""
    frames = []
    for k in range(n):
        image = np.empty((H, W, 3), np.uint8)
        image[:] = GROUND
        centre = round(16 * (W * 0.4 + step_px * k)), round(16 * H / 2)
        cv2.circle(image, centre, 16 * H // 4, COLOUR, -1, cv2.LINE_AA, 4)
        frames.append(image)
    return frames


def make_film(
    path: Path,
    images: Iterable[Image] | None = None,
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    rate: int = 25,
    stamps: Sequence[int] | None = None,
    sound: str | None = None,
    subtitles: Path | None = None,
    matrix: int | None = None,
    full: bool = False,
    transfer: int | None = None,
    settings: dict[str, str] | None = None,
    container: dict[str, str] | None = None,
    metadata: dict[str, str] | None = None,
    chapters: Sequence[Any] = (),
) -> Path:
    """Write a film; `stamps` count in 1/1000 s, where frames do not follow evenly."""
    images = discs() if images is None else list(images)
    H, W = images[0].shape[:2]
    tick = Fraction(1, 1000) if stamps else Fraction(1, rate)
    with av.open(str(path), "w", container_options=container or {}) as output:
        stream: Any = output.add_stream(codec, rate=rate)
        context = stream.codec_context
        context.width, context.height, context.pix_fmt = W, H, pix_fmt
        context.time_base = stream.time_base = tick
        context.options = {"crf": "4", **(settings or {})} if codec == "libx264" else settings or {}
        if matrix:
            context.colorspace = context.color_primaries = matrix
            context.color_trc = transfer or (14 if matrix == 9 else matrix)
        context.color_range = 2 if full else 1
        track: Any = None
        if sound:
            track = output.add_stream(sound, rate=48000)
            track.codec_context.layout = "stereo"
            track.metadata["language"] = "eng"
        said = av.open(str(subtitles)) if subtitles else None
        titles: Any = said and output.add_stream_from_template(said.streams.subtitles[0])
        output.metadata.update(metadata or {})
        if chapters:
            output.set_chapters(list(chapters))
        scaler = {1: 1, 6: 5, 9: 9}.get(matrix or 6, 5)
        for k, image in enumerate(images):
            pixels = av.VideoFrame.from_ndarray(image, "rgba" if image.shape[2] == 4 else "rgb24")
            frame = pixels
            if pix_fmt != pixels.format.name:
                rgb = pix_fmt.startswith(("rgb", "bgr", "argb", "gbr", "0rgb", "pal"))
                frame = pixels.reformat(
                    format=pix_fmt, dst_colorspace=None if rgb else scaler, src_color_range=2,
                    dst_color_range=2 if full or rgb else 1,
                    interpolation=2 | 0x40000 | 0x2000 | 0x4000,
                )  # fmt: skip
            frame.pts, frame.time_base = stamps[k] if stamps else k, tick
            if matrix:
                frame.color_primaries, frame.color_trc = matrix, context.color_trc
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
        if track is not None:
            _write_sound(output, track, (stamps[-1] / 1000 if stamps else len(images) / rate))
        for packet in said.demux() if said else ():
            if packet.dts is not None:
                packet.stream = titles
                output.mux(packet)
    return path


def _write_sound(output: Any, track: Any, seconds: float) -> None:
    times = np.arange(int(48000 * seconds)) / 48000
    wave = (8000 * np.sin(2 * np.pi * 440 * times)).astype(np.int16)
    samples = av.AudioFrame.from_ndarray(np.repeat(wave, 2)[np.newaxis], "s16", "stereo")
    samples.sample_rate, samples.pts = 48000, 0
    context = track.codec_context
    resampler = av.AudioResampler(context.format, "stereo", 48000, context.frame_size or 1024)
    for part in [*resampler.resample(samples), *resampler.resample(None)]:
        output.mux(track.encode(part))
    output.mux(track.encode(None))


def stamps_of(path: Path) -> list[Fraction]:
    """When each frame is shown, in seconds, from the first one's."""
    with av.open(str(path)) as container:
        found = sorted(p.pts * p.time_base for p in container.demux(video=0) if p.pts is not None)
    return [stamp - found[0] for stamp in found]


def sound_of(path: Path) -> list[str]:
    """The hash of each packet of sound; of all together if it is not compressed."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        packets = [bytes(p) for p in container.demux(stream) if p.dts is not None]
        if stream.codec_context.name.startswith("pcm"):
            packets = [b"".join(packets)]
    return [hashlib.sha256(packet).hexdigest() for packet in packets]


def pixels_of(path: Path) -> list[Image]:
    """Frames as RGB or RGBA, as the file says they are to be read."""
    with av.open(str(path)) as container:
        stream: Any = container.streams.video[0]
        context: Any = stream.codec_context
        if context.name == "vp9" and stream.metadata.get("alpha_mode") == "1":
            context = av.CodecContext.create("libvpx-vp9", "r")
        frames = [f for packet in container.demux(stream) for f in context.decode(packet)]
    found = []
    for frame in frames:
        alpha = any(part.is_alpha for part in frame.format.components)
        rgb = frame.format.is_rgb
        scaler = {1: 1, 9: 9}.get(frame.colorspace, 5)
        converted = frame.reformat(
            format="rgba" if alpha else "rgb24", src_colorspace=None if rgb else scaler,
            src_color_range=2 if rgb else max(1, frame.color_range), dst_color_range=2,
            interpolation=2 | 0x40000 | 0x2000 | 0x4000,
        )  # fmt: skip
        found.append(converted.to_ndarray())
    return found
