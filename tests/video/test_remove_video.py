"""From film to film: containers, colours, alpha, sound, stamps, and what goes wrong."""

import contextlib
import os
import resource
import signal
import subprocess
import sys
import time
import warnings
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import PIL.Image
import pytest

from alphacut import Remover, cut_frames, remove_video
from alphacut.errors import (
    AlphacutWarning,
    ImageError,
    NoForegroundWarning,
    OptionError,
    OutputError,
)
from alphacut.video.write import spread_colours
from films import COLOUR, discs, make_film, pixels_of, sound_of, stamps_of
from pictures import FakeRuntime

IN, OUT = (24, 32), (2, 2)  # a place in the subject, and one beside it


@pytest.fixture
def film(tmp_path: Path) -> Path:
    return make_film(tmp_path / "clip.mp4", discs(12, step_px=0), matrix=1)


@pytest.mark.parametrize(
    ("name", "codec"),
    [("o.webm", "auto"), ("o.mov", "auto"), ("o.mov", "qtrle"), ("o.mov", "png"),
     ("o.mkv", "auto"), ("o.mkv", "vp9")],
)  # fmt: skip
def test_alpha_and_colours_in_every_container(
    film: Path, fake_remover: Remover, name: str, codec: Any
) -> None:
    out = film.with_name(name)
    remove_video(film, out, codec=codec, remover=fake_remover)
    frames = pixels_of(out)
    assert len(frames) == 12
    for frame in frames:
        assert frame[IN][3] >= 253
        assert frame[OUT][3] <= 2
        assert np.abs(frame[IN][:3].astype(int) - COLOUR).max() <= 3  # once more than a codec's 2
    assert stamps_of(out) == stamps_of(film)


@pytest.mark.parametrize("matrix", [1, 6, 9])
@pytest.mark.parametrize("name", ["o.mp4", "o.webm", "o.mov"])
def test_a_patch_survives_both_ways(
    tmp_path: Path, fake_remover: Remover, name: str, matrix: int
) -> None:
    film = make_film(tmp_path / "clip.mkv", discs(3, step_px=0), matrix=matrix)
    out = tmp_path / name
    remove_video(film, out, remover=fake_remover, background="#12c864", file_quality=100)
    frame = pixels_of(out)[1]
    before = pixels_of(film)[1][IN].astype(int)
    assert np.abs(frame[IN][:3].astype(int) - before).max() <= 2
    assert np.abs(frame[OUT][:3].astype(int) - (0x12, 0xC8, 0x64)).max() <= 2
    with av.open(str(out)) as container:
        assert container.streams.video[0].codec_context.colorspace == matrix


@pytest.mark.parametrize(
    ("name", "sound", "options"),
    [("o.webm", "libopus", {}), ("o.mov", "aac", {}), ("o.mov", "pcm_s16le", {}),
     ("o.mkv", "aac", {}), ("o.mp4", "aac", {"background": "green"})],
)  # fmt: skip
def test_sound_is_copied(
    tmp_path: Path, fake_remover: Remover, name: str, sound: str, options: Any
) -> None:
    film = make_film(tmp_path / "clip.mkv", discs(30), sound=sound)
    out = tmp_path / name
    remove_video(film, out, remover=fake_remover, **options)
    assert sound_of(out) == sound_of(film)
    with av.open(str(out)) as container:
        assert container.streams.audio[0].metadata["language"] == "eng"
        seconds = float(container.duration / 1e6)
    assert seconds == pytest.approx(1.2, abs=0.05)


def test_sound_that_does_not_fit_is_encoded_again_and_said(
    tmp_path: Path, fake_remover: Remover
) -> None:
    film = make_film(tmp_path / "clip.mp4", discs(30), sound="aac")
    with pytest.warns(AlphacutWarning, match="aac does not fit into webm, encoded again as opus"):
        remove_video(film, tmp_path / "o.webm", remover=fake_remover)
    with av.open(str(tmp_path / "o.webm")) as container:
        wave = np.concatenate([f.to_ndarray() for f in container.decode(audio=0)], axis=1)[0]
    crossings = np.count_nonzero(np.diff(np.signbit(wave[9600:33600])))
    assert crossings == pytest.approx(2 * 440 * 0.5, abs=4)  # still 440 Hz


def test_sound_of_a_codec_that_is_not_known_is_left_out_and_said(
    tmp_path: Path, fake_remover: Remover
) -> None:
    film = make_film(tmp_path / "clip.mkv", discs(5), sound="libopus")
    data = film.read_bytes()
    assert b"A_OPUS" in data
    film.write_bytes(data.replace(b"A_OPUS", b"A_XPUS"))
    out = tmp_path / "o.webm"
    with pytest.warns(AlphacutWarning, match="sound: track 1 is in a codec that is not known here"):
        remove_video(film, out, remover=fake_remover)
    with av.open(str(out)) as container:
        assert not container.streams.audio
        assert len(list(container.decode(video=0))) == 5


def test_tracks_that_the_result_cannot_hold_are_said(tmp_path: Path, fake_remover: Remover) -> None:
    words = tmp_path / "words.srt"
    words.write_text("1\n00:00:00,010 --> 00:00:00,150\nA disc\n\n")
    clip = make_film(tmp_path / "clip.mkv", discs(5), sound="libopus", subtitles=words)
    with pytest.warns(AlphacutWarning, match=r"o\.webm: without subtitles$"):
        remove_video(clip, tmp_path / "o.webm", remover=fake_remover)
    with pytest.warns(AlphacutWarning, match=r"o\.webp: without subtitles and sound$"):
        remove_video(clip, tmp_path / "o.webp", remover=fake_remover)


def test_part_of_a_film_with_its_sound(tmp_path: Path, fake_remover: Remover) -> None:
    film = make_film(tmp_path / "clip.mkv", discs(50), sound="pcm_s16le")
    out = tmp_path / "o.mkv"
    remove_video(film, out, remover=fake_remover, start_s=0.4, end_s=1.2)
    assert stamps_of(out) == [Fraction(k * 40, 1000) for k in range(20)]
    with av.open(str(out)) as container:
        heard = sum(f.samples for f in container.decode(audio=0)) / 48000
    assert heard == pytest.approx(0.8, abs=0.05)


def test_stamps_metadata_and_chapters_are_kept(tmp_path: Path, fake_remover: Remover) -> None:
    stamps = [0, 40, 50, 200, 210, 400]
    chapters = [
        {
            "id": 1,
            "start": 0,
            "end": 200,
            "time_base": Fraction(1, 1000),
            "metadata": {"title": "a"},
        },
        {
            "id": 2,
            "start": 200,
            "end": 440,
            "time_base": Fraction(1, 1000),
            "metadata": {"title": "b"},
        },
    ]
    film = make_film(tmp_path / "clip.mkv", discs(6), stamps=stamps, metadata={"title": "Disc"},
                     chapters=chapters)  # fmt: skip
    for name in ("o.webm", "o.mov", "o.mkv"):
        remove_video(film, tmp_path / name, remover=fake_remover)
        assert [stamp * 1000 for stamp in stamps_of(tmp_path / name)] == stamps
        with av.open(str(tmp_path / name)) as container:
            assert container.metadata["title"] == "Disc"
            found = [
                (c["metadata"]["title"], c["start"] * c["time_base"]) for c in container.chapters()
            ]
        assert found == [("a", 0), ("b", Fraction(1, 5))]


@pytest.mark.parametrize("name", ["o.gif", "o.webp", "o.png", "o.avif"])
def test_animations(tmp_path: Path, fake_remover: Remover, name: str) -> None:
    film = make_film(tmp_path / "clip.mkv", discs(12, step_px=0.5))  # equal frames become one
    out = film.with_name(name)
    remove_video(film, out, remover=fake_remover, end_s=0.2)
    with PIL.Image.open(out) as image:
        assert image.n_frames == 5  # type: ignore[attr-defined]
        total = 0
        for k in range(5):
            image.seek(k)
            image.load()
            total += image.info["duration"]
            frame = np.array(image.convert("RGBA"))
            assert (frame[IN][3], frame[OUT][3]) == (255, 0)
            assert np.abs(frame[IN][:3].astype(int) - COLOUR).max() <= 8
    assert total == 200


def test_long_animations_are_refused(film: Path, fake_remover: Remover) -> None:
    with pytest.raises(OutputError, match=r"reached after 6 frames: choose \.webm"):
        remove_video(film, film.with_name("o.webp"), remover=fake_remover, max_megapixels=0.02)
    assert not film.with_name("o.webp").exists()


def test_a_folder_goes_on_where_it_stopped(film: Path, fake_remover: Remover) -> None:
    out = film.with_name("cut")
    remove_video(film, out, remover=fake_remover)
    names = sorted(path.name for path in out.iterdir())
    assert names == [f"frame-{k:05}.png" for k in range(1, 13)]
    whole = (out / "frame-00007.png").read_bytes()
    kept = out / "frame-00003.png"
    kept.write_bytes(b"mine")
    (out / "frame-00007.png").unlink()
    remove_video(film, out, remover=fake_remover, skip_existing=True)
    assert kept.read_bytes() == b"mine"
    assert (out / "frame-00007.png").read_bytes() == whole
    remove_video(film, out / "p%03d.jpg", remover=fake_remover)
    with PIL.Image.open(out / "p012.jpg") as image:
        assert image.mode == "RGB"


def test_from_folder_to_film(tmp_path: Path, fake_remover: Remover) -> None:
    for k, image in enumerate(discs(6)):
        PIL.Image.fromarray(image).save(tmp_path / f"{k:03}.png")
    remove_video(tmp_path, tmp_path / "o.webm", fps=10, remover=fake_remover)
    assert stamps_of(tmp_path / "o.webm") == [Fraction(k, 10) for k in range(6)]


def test_masks_are_grey_films(film: Path, fake_remover: Remover) -> None:
    out = film.with_name("o.mp4")
    remove_video(film, out, remover=fake_remover, result="mask")
    frame = pixels_of(out)[3]
    assert np.abs(frame[IN].astype(int) - 255).max() <= 2
    assert frame[OUT].max() <= 2


def test_backgrounds(film: Path, fake_remover: Remover, tmp_path: Path) -> None:
    out = tmp_path / "o.mkv"
    PIL.Image.new("RGB", (128, 96), (9, 99, 199)).save(tmp_path / "blue.png")
    scenes = [np.full((24, 32, 3), 50 * k, np.uint8) for k in range(5)]
    behind = make_film(tmp_path / "behind.mkv", scenes, codec="ffv1", pix_fmt="bgr0")
    expected: list[tuple[Any, list[int]]] = [
        ("red", [255, 0, 0]), (tmp_path / "blue.png", [9, 99, 199]), ("desaturate", [85, 85, 85]),
        (str(behind), [100, 100, 100]), ("darken:50%", [30, 45, 65]),
    ]  # fmt: skip
    for background, colour in expected:
        remove_video(film, out, remover=fake_remover, background=background)
        frame = pixels_of(out)[7]  # the background's third, in its second turn
        assert np.abs(frame[OUT][:3].astype(int) - colour).max() <= 3, background


def test_crop_holds_the_subject_of_all_frames(tmp_path: Path) -> None:
    class Moving(FakeRuntime):
        def __call__(self, batch: Any) -> Any:
            found = super().__call__(batch)
            self.batches.append(batch)
            return np.roll(found, 8 * (len(self.batches) // 2 % 6), axis=3)

    film = make_film(tmp_path / "clip.mkv", discs(6))
    remove_video(film, tmp_path / "o.mkv", remover=Remover(network=Moving(), matting="none"),
                 crop=True, steadiness=0.0)  # fmt: skip
    (H, W), sizes = (
        pixels_of(tmp_path / "o.mkv")[0].shape[:2],
        {f.shape for f in pixels_of(tmp_path / "o.mkv")},
    )
    assert len(sizes) == 1
    assert W > H  # a round subject that moves across


@pytest.mark.parametrize(("options", "readings"), [({"size": "32x24"}, 1), ({"crop": True}, 2)])
def test_a_film_is_cut_out_twice_only_to_place_its_subject(
    tmp_path: Path, options: Any, readings: int
) -> None:
    film = make_film(tmp_path / "clip.mkv", discs(4))
    network = FakeRuntime()
    remove_video(film, tmp_path / "o.mkv", remover=Remover(network=network), steadiness=0.0,
                 **options)  # fmt: skip
    assert len(network.batches) == 4 * readings
    if readings == 1:
        assert pixels_of(tmp_path / "o.mkv")[0].shape[:2] == (24, 32)


def test_odd_sizes_and_a_single_pixel(tmp_path: Path, fake_remover: Remover) -> None:
    for H, W in ((33, 47), (1, 1), (2, 3)):
        film = make_film(tmp_path / "clip.mkv", discs(2, H, W), codec="ffv1", pix_fmt="bgr0")
        for name, exact in (("o.webm", False), ("o.mov", True), ("o.mkv", True), ("o.mp4", False)):
            options: Any = {"background": "green"} if name == "o.mp4" else {}
            with contextlib.suppress(OutputError), warnings.catch_warnings():
                warnings.simplefilter("ignore", NoForegroundWarning)
                remove_video(film, tmp_path / name, remover=fake_remover, **options)
                h, w = pixels_of(tmp_path / name)[0].shape[:2]
                assert (h - H, w - W) == (0, 0) if exact else h - H in (0, 1) and w - W in (0, 1)
        assert not list(tmp_path.glob(".*.part"))


def test_no_subject_is_said_once(film: Path) -> None:
    class Blind(FakeRuntime):
        def __call__(self, batch: Any) -> Any:
            return np.zeros_like(super().__call__(batch))

    with pytest.warns(NoForegroundWarning, match="no foreground found") as said:
        written = remove_video(film, film.with_name("o.mkv"), remover=Remover(network=Blind()))
    assert (len(said), written.empty) == (1, 12)


def test_hidden_colours_near_the_subject_are_its_own() -> None:
    image = np.zeros((64, 64, 4), np.uint8)
    image[20:44, 20:44] = (200, 100, 50, 255)
    spread = spread_colours(image)
    assert np.array_equal(spread[..., 3], image[..., 3])
    assert np.array_equal(spread[20:44, 20:44], image[20:44, 20:44])
    assert np.abs(spread[19, 30, :3].astype(int) - (200, 100, 50)).max() <= 2
    assert not spread[:4, :4].any()


# --- frames from any reader ---


def test_without_steadying_frames_are_cut_out_as_stills(fake_remover: Remover) -> None:
    frames = discs(5)
    cutouts = list(cut_frames(iter(frames), fps=50, steadiness=0, remover=fake_remover))
    assert [cutout.duration_ms for cutout in cutouts] == [20.0] * 5
    for frame, cutout in zip(frames, cutouts, strict=True):
        still = fake_remover(frame)
        assert np.array_equal(cutout.alpha, still.alpha)
        assert np.array_equal(cutout.foreground, still.foreground)


def test_frames_are_drawn_as_they_are_needed(fake_remover: Remover) -> None:
    drawn = 0

    def endless() -> Any:
        nonlocal drawn
        while True:
            drawn += 1
            yield discs(1)[0]

    cutouts = cut_frames(endless(), remover=fake_remover)
    for _ in range(3):
        next(cutouts)
    time.sleep(0.5)
    assert drawn < 40
    cutouts.close()  # type: ignore[attr-defined]


def test_an_error_of_the_reader_reaches_the_caller(fake_remover: Remover) -> None:
    def broken() -> Any:
        yield discs(1)[0]
        raise OSError("the camera is gone")

    with pytest.raises(OSError, match="the camera is gone"):
        list(cut_frames(broken(), remover=fake_remover))


@pytest.mark.parametrize(
    "options", [{"pair": b"x"}, {"trimap": b"x"}, {"result": "preview"}, {"format": "png"}]
)
def test_what_is_for_stills(fake_remover: Remover, options: Any) -> None:
    with pytest.raises(OptionError):
        list(cut_frames(discs(1), remover=fake_remover, **options))


# --- what goes wrong ---


def test_what_a_container_cannot_hold(film: Path, fake_remover: Remover) -> None:
    for name, codec, message in (
        (
            "o.mp4",
            "auto",
            "h264 in .mp4 has no transparency: add --background green, or write .webm",
        ),
        ("o.xyz", "auto", "films are written as .webm, .mov"),
        ("o.webm", "prores", "codec 'prores': .webm is written with vp9"),
        ("o.webm", "divx", "unknown codec 'divx'"),
        ("f%d%d.png", "auto", "name the pictures like frame-%05d.png"),
    ):
        with pytest.raises(Exception, match=message):
            remove_video(film, film.with_name(name), codec=codec, remover=fake_remover)  # type: ignore[arg-type]
        assert [path.name for path in film.parent.iterdir()] == ["clip.mp4"]
    with pytest.raises(OutputError, match="is the film itself"):
        remove_video(film, film, remover=fake_remover, background="green")
    with pytest.raises(OptionError, match="0 <= start < end"):
        remove_video(film, start_s=2, end_s=1, remover=fake_remover)


@pytest.mark.slow
def test_a_cut_film_leaves_nothing_behind(tmp_path: Path, fake_remover: Remover) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (60, 48, 64, 3)).astype(np.uint8)
    film = make_film(tmp_path / "clip.mkv", noise)
    film.write_bytes(film.read_bytes()[: film.stat().st_size // 2])
    with pytest.raises(ImageError, match="is cut short"):
        remove_video(film, tmp_path / "o.webm", remover=fake_remover)
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mkv"]
    written = remove_video(film, tmp_path / "o.webm", remover=fake_remover, allow_truncated=True)
    assert 20 < written.frames < 60


def test_broken_frames_are_counted(tmp_path: Path, fake_remover: Remover) -> None:
    film = make_film(tmp_path / "clip.mov", discs(12), codec="png", pix_fmt="rgb24")
    with av.open(str(film)) as container:
        data = bytes([p for p in container.demux(video=0) if p.size][4])
    film.write_bytes(film.read_bytes().replace(data, b"\xff" * len(data)))
    written = remove_video(film, tmp_path / "o.webm", remover=fake_remover)
    assert (written.frames, written.broken) == (12, 1)


def run(code: str, *arguments: object, **settings: Any) -> subprocess.CompletedProcess[str]:
    start = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(start, capture_output=True, text=True, check=False, **settings)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="no limit on a file's size here")
@pytest.mark.parametrize("name", ["o.mkv", "o.webp"])
def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, name: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (30, 96, 128, 3)).astype(np.uint8)
    film = make_film(tmp_path / "clip.mkv", noise, codec="ffv1", pix_fmt="bgr0")
    code = (
        "import sys; from alphacut import Remover, remove_video; from pictures import FakeRuntime;"
        "remove_video(sys.argv[1], sys.argv[2], remover=Remover(network=FakeRuntime()))"
    )

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))

    paths = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
    done = run(
        code, film, tmp_path / name, preexec_fn=limit, env={**os.environ, "PYTHONPATH": paths}
    )
    assert "OutputError" in done.stderr.splitlines()[-1]
    assert "free some space" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mkv"]
