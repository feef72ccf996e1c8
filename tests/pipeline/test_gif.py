"""GIF: frames composed as browsers compose them, and what damaged files do."""

import io
import struct
from typing import Any

import numpy as np
import PIL.Image
import pytest

from alphacut.errors import ImageError
from alphacut.pipeline.load import load_frames, load_image
from made import NOISE, read, save
from pictures import CASES

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
PALETTE = bytes([*WHITE, *RED, *GREEN, *BLUE])  # 0 is also the background colour
KEEP, TO_TRANSPARENT, TO_PREVIOUS = 1, 2, 3


def image_data(indexes: np.ndarray[Any, Any]) -> bytes:
    """LZW of 2-bit indexes that never needs longer codes: a clear code before every pixel pair."""
    bits = "".join(f"{code:03b}"[::-1] for pixel in indexes.ravel() for code in (4, int(pixel)))
    bits += "101"  # 5, the end
    bits += "0" * (-len(bits) % 8)
    packed = bytes(int(bits[at : at + 8][::-1], 2) for at in range(0, len(bits), 8))
    blocks = [packed[at : at + 255] for at in range(0, len(packed), 255)]
    return b"\2" + b"".join(bytes([len(block)]) + block for block in blocks) + b"\0"


def frame(
    indexes: np.ndarray[Any, Any],
    at: tuple[int, int] = (0, 0),
    disposal: int = KEEP,
    transparent: int | None = None,
    hundredths: int = 5,
    palette: bytes = b"",
) -> bytes:
    H, W = indexes.shape
    flags = disposal << 2 | (transparent is not None)
    control = struct.pack("<BBBBHBB", 0x21, 0xF9, 4, flags, hundredths, transparent or 0, 0)
    local = 0x81 if palette else 0
    place = struct.pack("<BHHHHB", 0x2C, at[0], at[1], W, H, local)
    return control + place + palette + image_data(indexes)


def gif(
    size: tuple[int, int], *frames: bytes, loop: int | None = None, shared: bool = True
) -> bytes:
    head = b"GIF89a" + struct.pack("<HHBBB", *size, 0x81 if shared else 0, 0, 0)
    repeat = b"" if loop is None else b"\x21\xff\x0bNETSCAPE2.0\3\1" + struct.pack("<HB", loop, 0)
    return head + (PALETTE if shared else b"") + repeat + b"".join(frames) + b";"


def rgba(data: bytes) -> list[np.ndarray[Any, Any]]:
    """The frames of a GIF, (H, W, 4)."""
    frames = []
    for picture in load_frames(data):
        alpha = picture.alpha
        opaque = np.full(picture.image.shape[:2], 255, np.uint8) if alpha is None else alpha
        frames.append(np.dstack([picture.image, opaque]))
    return frames


CLEAR = (0, 0, 0, 0)


def test_disposals() -> None:
    """What a frame leaves is kept, cleared to transparent, or what was there before."""
    all_red, spot = np.full((2, 3), 1), np.array([[2]])
    for disposal, left in ((0, GREEN), (KEEP, GREEN), (TO_TRANSPARENT, None), (TO_PREVIOUS, RED)):
        frames = rgba(
            gif(
                (3, 2),
                frame(all_red),
                frame(spot, (1, 0), disposal),
                frame(np.array([[3]]), (2, 1)),
            )
        )
        assert frames[1][0, 1].tolist() == [*GREEN, 255]
        assert frames[2][0, 1].tolist() == (list(CLEAR) if left is None else [*left, 255])
        assert frames[2][1, 2].tolist() == [*BLUE, 255]
        assert frames[2][0, 0].tolist() == [*RED, 255]


def test_an_opaque_first_frame_is_cleared_to_transparent() -> None:
    """As browsers do it; not to the background colour, which is white here."""
    frames = rgba(
        gif((2, 1), frame(np.array([[1, 1]]), (0, 0), TO_TRANSPARENT), frame(np.array([[2]])))
    )
    assert frames[1][0].tolist() == [[*GREEN, 255], list(CLEAR)]


def test_what_no_frame_covers_is_transparent() -> None:
    (only,) = rgba(gif((3, 1), frame(np.array([[1]]), (1, 0))))
    assert only[0].tolist() == [list(CLEAR), [*RED, 255], list(CLEAR)]


def test_a_transparent_index_lets_through() -> None:
    frames = rgba(gif((2, 1), frame(np.array([[1, 1]])), frame(np.array([[0, 3]]), transparent=0)))
    assert frames[1][0].tolist() == [[*RED, 255], [*BLUE, 255]]


def test_a_frame_has_its_own_colours_or_none() -> None:
    own = bytes([9, 8, 7] * 4)
    frames = rgba(gif((1, 1), frame(np.array([[1]]), palette=own), frame(np.array([[1]]))))
    assert frames[0][0, 0].tolist() == [9, 8, 7, 255]
    assert frames[1][0, 0].tolist() == [*RED, 255]
    (grey,) = rgba(gif((1, 1), frame(np.array([[2]])), shared=False))
    assert grey[0, 0].tolist() == [2, 2, 2, 255]


def test_durations_and_loop() -> None:
    one = np.array([[1]])
    data = gif((1, 1), frame(one, hundredths=7), frame(one, hundredths=0), loop=3)
    pictures = list(load_frames(data))
    assert [picture.duration_ms for picture in pictures] == [70, 0]
    assert [picture.loop for picture in pictures] == [3, 3]


def test_a_first_frame_larger_than_the_screen_makes_the_canvas() -> None:
    frames = rgba(gif((1, 1), frame(np.full((2, 2), 1)), frame(np.full((9, 9), 2))))
    assert [image.shape for image in frames] == [(2, 2, 4)] * 2
    assert frames[1][1, 1].tolist() == [*GREEN, 255]


def test_a_large_frame_counts_against_the_limit() -> None:
    data = gif((1, 1), frame(np.array([[1]])), frame(np.full((9, 9), 2)))
    with pytest.raises(ImageError, match="above the limit"):
        list(load_frames(data, max_megapixels=50e-6))


def test_interlaced_rows_are_put_in_order() -> None:
    rows = np.repeat(np.arange(40, dtype=np.uint8)[:, None] * 6, 4, axis=1)
    image = PIL.Image.fromarray(rows)
    for interlace in (0, 1):
        np.testing.assert_array_equal(
            load_image(save(image, "GIF", interlace=interlace))[..., 0], rows
        )


def test_still_gifs_are_what_pillow_reads() -> None:
    for source in (NOISE, NOISE[..., 0]):
        data = save(PIL.Image.fromarray(source), "GIF")
        with PIL.Image.open(io.BytesIO(data)) as pillow:
            np.testing.assert_array_equal(load_image(data), np.asarray(pillow.convert("RGB")))


def test_pillow_s_limit_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    data = save(PIL.Image.fromarray(NOISE), "GIF")
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 10)
    assert load_image(data).shape == NOISE.shape


def test_a_gif_cut_short() -> None:
    data = save(PIL.Image.fromarray(NOISE), "GIF", interlace=0)
    with pytest.raises(ImageError, match=r"GIF.*--allow-truncated"):
        load_image(data[: len(data) // 2])
    left = load_image(data[: len(data) // 2], allow_truncated=True)
    np.testing.assert_array_equal(left[:16], load_image(data)[:16])
    with pytest.raises(ImageError, match="no frame"):
        load_image(data[:20])


def test_bytes_between_blocks_are_skipped() -> None:
    one = frame(np.array([[1]]))
    assert len(rgba(gif((1, 1), one, b"\0\0", one))) == 2


@pytest.mark.skipif(not CASES.exists(), reason="the cases are not beside the checkout")
def test_the_case() -> None:
    frames = rgba((CASES / "disp.gif").read_bytes())
    assert any((image[..., 3] == 0).any() for image in frames)
    assert read((CASES / "logo4.png").read_bytes()).alpha is not None
