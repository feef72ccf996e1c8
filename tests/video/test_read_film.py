"""Films in: pixels, stamps, and what cannot be read."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import PIL.Image
import pytest

from alphacut.errors import ImageError, OptionError
from alphacut.video.read import behind, open_film
from films import COLOUR, GROUND, discs, make_film


def patch(H: int, W: int) -> np.ndarray:
    """Four plain colours, a quarter each."""
    image = np.empty((H, W, 3), np.uint8)
    image[: H // 2, : W // 2], image[: H // 2, W // 2 :] = (200, 60, 40), (30, 160, 70)
    image[H // 2 :, : W // 2], image[H // 2 :, W // 2 :] = (40, 60, 190), (128, 128, 128)
    return image


def quarters(image: np.ndarray) -> np.ndarray:
    H, W = image.shape[:2]
    return np.array([image[y, x] for y in (H // 4, 3 * H // 4) for x in (W // 4, 3 * W // 4)], int)


@pytest.mark.parametrize("matrix", [1, 6, 9])
@pytest.mark.parametrize("full", [False, True])
def test_colours_by_matrix_and_range(tmp_path: Path, matrix: int, full: bool) -> None:
    path = make_film(tmp_path / "a.mp4", [patch(64, 96)] * 2, matrix=matrix, full=full)
    film = open_film(path)
    (frame, *_) = film.read()
    assert film.colour.matrix == matrix
    assert np.abs(quarters(frame.picture.image) - quarters(patch(64, 96))).max() <= 2


def test_untagged_films_are_taken_as_players_do(tmp_path: Path) -> None:
    for lines, matrix in ((576, 6), (720, 1)):
        path = make_film(tmp_path / f"{lines}.mkv", [patch(lines, 128)], codec="rawvideo")
        assert open_film(path).colour.matrix == matrix


def test_hdr_is_refused(tmp_path: Path) -> None:
    path = make_film(tmp_path / "hdr.mp4", matrix=9, transfer=16)
    with pytest.raises(ImageError, match="is HDR \\(PQ\\): convert it to SDR"):
        open_film(path)


def test_a_codec_that_is_not_known_is_named_as_one(tmp_path: Path) -> None:
    path = make_film(tmp_path / "clip.mkv")
    data = path.read_bytes()
    assert b"V_MPEG4/ISO/AVC" in data
    path.write_bytes(data.replace(b"V_MPEG4/ISO/AVC", b"V_MPEG9/ISO/XYZ"))
    with pytest.raises(ImageError, match="in a codec that is not known here: convert it"):
        open_film(path)


def test_stamps_of_a_variable_rate(tmp_path: Path) -> None:
    stamps = [0, 40, 50, 200, 210, 400]
    path = make_film(tmp_path / "vfr.mkv", discs(6), stamps=stamps)
    film = open_film(path)
    frames = list(film.read())
    assert [frame.pts * film.time_base * 1000 for frame in frames] == stamps
    part = list(film.read(0.05, 0.21))
    assert [frame.pts * film.time_base * 1000 for frame in part] == [0, 150]
    assert [frame.index for frame in part] == [0, 1]


# what x and y become: x' = a x + c y, y' = b x + d y; and the same of pixels
@pytest.mark.parametrize(
    ("matrix", "upright"),
    [
        ((0, 1, -1, 0), lambda image: np.rot90(image, -1)),
        ((-1, 0, 0, -1), lambda image: np.rot90(image, 2)),
        ((0, -1, 1, 0), np.rot90),
        ((-1, 0, 0, 1), np.fliplr),
        ((1, 0, 0, -1), np.flipud),
        ((0, 1, 1, 0), lambda image: image.swapaxes(0, 1)),
        ((0, -1, -1, 0), lambda image: np.rot90(image, 2).swapaxes(0, 1)),
    ],
    ids=["90", "180", "270", "mirrored", "flipped", "transposed", "transversed"],
)
def test_turned_and_mirrored_films(
    tmp_path: Path, matrix: tuple[int, int, int, int], upright: Callable[[Any], Any]
) -> None:
    plain = make_film(tmp_path / "plain.mp4", [patch(48, 64)] * 2)
    turned = tmp_path / "turned.mp4"
    data = bytearray(plain.read_bytes())
    at = data.rindex(b"tkhd") + 4 + 40  # the matrix of the track's header
    a, b, c, d = ((value << 16).to_bytes(4, "big", signed=True) for value in matrix)
    none = b"\0" * 4
    data[at : at + 36] = a + b + none + c + d + none + none + none + (1 << 30).to_bytes(4, "big")
    turned.write_bytes(data)
    film = open_film(turned)
    (frame, *_) = film.read()
    expected = upright(patch(48, 64))
    assert film.size == expected.shape[:2]
    assert np.abs(quarters(frame.picture.image) - quarters(expected)).max() <= 2


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [("a.webm", "libvpx-vp9", "yuva420p"), ("a.mov", "prores_ks", "yuva444p10le"),
     ("a.mov", "qtrle", "argb"), ("a.mov", "png", "rgba"), ("a.mkv", "ffv1", "bgra"),
     ("a.mkv", "ffv1", "yuva420p")],
)  # fmt: skip
def test_alpha_of_films(tmp_path: Path, name: str, codec: str, pix_fmt: str) -> None:
    image = np.dstack([patch(64, 96), np.full((64, 96), 90, np.uint8)])
    image[:32, :, 3] = 255
    settings = {"auto-alt-ref": "0", "crf": "4", "b": "0"} if "vpx" in codec else {}
    path = make_film(tmp_path / name, [image], codec=codec, pix_fmt=pix_fmt, settings=settings)
    (frame,) = open_film(path).read()
    assert frame.picture.alpha is not None
    assert abs(int(frame.picture.alpha[16, 48]) - 255) <= 2
    assert abs(int(frame.picture.alpha[48, 48]) - 90) <= 2
    assert np.abs(quarters(frame.picture.image) - quarters(patch(64, 96))).max() <= 2


@pytest.mark.parametrize("H", [1, 3, 33])
def test_odd_sizes(tmp_path: Path, H: int) -> None:
    path = make_film(
        tmp_path / "odd.mkv", [np.full((H, H, 3), 100, np.uint8)], codec="ffv1", pix_fmt="bgr0"
    )
    (frame,) = open_film(path).read()
    assert frame.picture.image.shape == (H, H, 3)
    assert np.all(frame.picture.image == 100)


def test_a_folder_of_pictures(tmp_path: Path) -> None:
    for k, image in enumerate(discs(11)):
        PIL.Image.fromarray(image).save(tmp_path / f"f{k}.png")  # f10 comes after f9
    (tmp_path / "f5.png").write_bytes(b"broken")
    (tmp_path / "notes.txt").touch()
    film = open_film(tmp_path, fps=24)
    frames = list(film.read())
    assert (film.rate, len(frames)) == (24, 11)
    assert [frame.broken for frame in frames] == [k == 5 for k in range(11)]
    assert np.array_equal(frames[10].picture.image, discs(11)[10])
    assert np.array_equal(frames[5].picture.image, discs(11)[4])
    with pytest.raises(OptionError, match="Give --fps 25"):
        open_film(tmp_path)


def test_a_background_follows_the_films_clock(tmp_path: Path) -> None:
    film = open_film(make_film(tmp_path / "a.mkv", discs(12), rate=25))
    grey = [np.full((48, 64, 3), 20 * k, np.uint8) for k in range(4)]
    scene = open_film(make_film(tmp_path / "b.mkv", grey, codec="ffv1", pix_fmt="bgr0", rate=10))
    shown = [
        round(f.behind[0, 0, 0] / 20)
        for f in behind(film.read(), film, scene)
        if f.behind is not None
    ]
    assert shown == [0, 0, 0, 1, 1, 2, 2, 2, 3, 3, 0, 0]  # every 100 ms, again after 400 ms


# --- what cannot be read ---


def damage(path: Path, packet: int) -> None:
    """Overwrite the data of one packet of a film."""
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(video=0) if p.size]
        data, size = bytes(packets[packet]), packets[packet].size
    whole = path.read_bytes()
    at = whole.index(data)
    path.write_bytes(whole[:at] + b"\xff" * size + whole[at + size :])


@pytest.mark.parametrize("k", [0, 5])
def test_a_broken_frame_is_its_neighbours(tmp_path: Path, k: int) -> None:
    path = make_film(tmp_path / "a.mov", discs(12), codec="png", pix_fmt="rgb24")
    damage(path, k)
    film = open_film(path)
    frames = list(film.read())
    assert [frame.broken for frame in frames] == [i == k for i in range(12)]
    assert [frame.pts * film.time_base for frame in frames] == [Fraction(i, 25) for i in range(12)]
    assert np.array_equal(frames[k].picture.image, discs(12)[max(k - 1, 1)])


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_a_cut_film(tmp_path: Path, name: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (60, 48, 64, 3)).astype(np.uint8)
    path = make_film(
        tmp_path / name, noise, container={"movflags": "faststart"} if "mp4" in name else {}
    )
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    film = open_film(path)
    with pytest.raises(ImageError, match=r"is cut short: it ends after .* --allow-truncated"):
        list(film.read())
    assert 20 < len(list(film.read(allow_truncated=True))) < 60


def test_what_is_no_film(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="No such file"):
        open_film(tmp_path / "none.mp4")
    (tmp_path / "text.mp4").write_text("words")
    with pytest.raises(ImageError, match="it is not a film, or is cut short"):
        open_film(tmp_path / "text.mp4")
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(ImageError, match=r"empty.mp4: cannot be read"):
        open_film(tmp_path / "empty.mp4")
    with av.open(str(tmp_path / "sound.mkv"), "w") as output:
        track = output.add_stream("pcm_s16le", rate=48000)
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 2000), np.int16), "s16", "stereo")
        samples.sample_rate = 48000
        output.mux(track.encode(samples))
    with pytest.raises(ImageError, match="has no moving pictures"):
        open_film(tmp_path / "sound.mkv")
    with pytest.raises(ImageError, match="no numbered pictures"):
        open_film(tmp_path, fps=25)


def test_a_film_without_frames(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "none.mkv"), "w") as output:
        stream = output.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "bgr0"
        output.start_encoding()
    with pytest.raises(ImageError, match="has no frame"):
        open_film(tmp_path / "none.mkv")
    with pytest.raises(ImageError, match="has no frame after 9 s"):
        list(open_film(make_film(tmp_path / "a.mp4")).read(9.0))


@pytest.mark.slow
def test_large_frames_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    path = make_film(tmp_path / "a.mkv", [np.zeros((4320, 7680, 3), np.uint8)], codec="libx264",
                     settings={"preset": "ultrafast"})  # fmt: skip
    with pytest.raises(ImageError, match="7680 x 4320 is above 20 megapixels"):
        open_film(path, max_megapixels=20)


def test_known_colours_are_where_they_should_be(tmp_path: Path) -> None:
    (frame, *_) = open_film(make_film(tmp_path / "a.mp4")).read()
    image = frame.picture.image.astype(int)
    assert np.abs(image[24, 26] - COLOUR).max() <= 3
    assert np.abs(image[2, 2] - GROUND).max() <= 3
