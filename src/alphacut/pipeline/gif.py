"""GIF, its frames composed as browsers compose them.

Pillow clears what a frame leaves behind to the background colour, browsers to transparent. So the
blocks are parsed here, Pillow inflates each frame alone, and the frames meet on one canvas
(GIF89a, sections 18 to 26).
"""

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL.GifImagePlugin import GifImageFile

from alphacut.pipeline.decode import load_pixels

_TO_TRANSPARENT, _TO_PREVIOUS = 2, 3  # disposals; the others leave the frame where it is
_HEADER_BYTES = 13
_GREY = np.repeat(np.arange(256, dtype=np.uint8)[:, np.newaxis], 3, axis=1)


@dataclass(frozen=True)
class _Frame:
    """One image of the file: where it goes, how it is coloured, and how it is left."""

    left: int
    top: int
    width: int
    height: int
    interlaced: bool
    palette: NDArray[np.uint8]
    data: bytes
    transparent: int | None
    disposal: int
    duration_ms: float


class Gif:
    """A parsed GIF.

    Attributes:
        size: (H, W) of the canvas: the screen, or the first frame where that is larger.
        frames: How many frames it has.
        largest: Pixels of the largest frame, which may be larger than the canvas.
        loop: How often it runs, 0 for ever.
    """

    def __init__(self, data: bytes) -> None:
        """Parse a file.

        Args:
            data: The whole file.

        Raises:
            ValueError: if it holds no frame.
        """
        self.loop = 1
        self._frames = list(self._parse(data))
        if not self._frames:
            raise ValueError("no frame")
        first = self._frames[0]
        W, H = struct.unpack_from("<HH", data, 6)
        self.size = max(H, first.top + first.height), max(W, first.left + first.width)
        self.frames = len(self._frames)
        self.largest = max(frame.width * frame.height for frame in self._frames)

    def _parse(self, data: bytes) -> Iterator[_Frame]:
        """Read block by block, as far as there are whole heads of blocks."""
        if len(data) < _HEADER_BYTES:
            return
        shared, at = _palette(data, data[10], _HEADER_BYTES)
        transparent: int | None = None
        disposal, duration_ms = 0, 0.0
        while at < len(data) and data[at] != 0x3B:
            kind, at = data[at], at + 1
            if kind == 0x21 and at < len(data):  # an extension
                label, first = data[at], at + 1
                at = _skip_blocks(data, first)
                content = data[first + 1 : at]
                if label == 0xF9 and len(content) >= 4:
                    flags, hundredths, index = struct.unpack_from("<BHB", content)
                    transparent = index if flags & 1 else None
                    disposal, duration_ms = flags >> 2 & 7, hundredths * 10.0
                elif label == 0xFF and content.startswith(b"NETSCAPE2.0\x03\x01"):
                    self.loop = int.from_bytes(content[13:15], "little")
            elif kind == 0x2C and at + 9 <= len(data):
                left, top, width, height, flags = struct.unpack_from("<HHHHB", data, at)
                own, at = _palette(data, flags, at + 9)
                start = at
                if start >= len(data):
                    return
                at = _skip_blocks(data, at + 1)  # behind the smallest size of a code
                palette = own if own is not None else shared
                yield _Frame(
                    left, top, width, height, bool(flags & 0x40),
                    _GREY if palette is None else palette, data[start:at], transparent, disposal,
                    duration_ms,
                )  # fmt: skip
                transparent, disposal, duration_ms = None, 0, 0.0

    def compose(self, *, allow_truncated: bool) -> Iterator[tuple[NDArray[np.uint8], float]]:
        """Decode and compose frame by frame.

        Args:
            allow_truncated: Whether to take what is left of a damaged frame.

        Yields:
            (H, W, 4) uint8 RGBA, straight, and how long it is shown, in ms.

        Raises:
            OSError: if a frame is damaged.
        """
        canvas = np.zeros((*self.size, 4), np.uint8)
        for frame in self._frames:
            before = canvas.copy() if frame.disposal == _TO_PREVIOUS else canvas
            area = canvas[
                frame.top : frame.top + frame.height, frame.left : frame.left + frame.width
            ]
            if area.size:
                indexes = _decode(frame, allow_truncated)[: area.shape[0], : area.shape[1]]
                opaque = np.full((256, 4), 255, np.uint8)
                opaque[:, :3] = frame.palette
                colours = opaque[indexes]
                if frame.transparent is None:
                    area[:] = colours
                else:
                    shown = indexes != frame.transparent
                    area[shown] = colours[shown]
            yield canvas.copy(), frame.duration_ms
            if frame.disposal == _TO_PREVIOUS:
                canvas = before
            elif frame.disposal == _TO_TRANSPARENT:
                area[:] = 0


def find_gif(file: IO[bytes]) -> Gif | None:
    """Return the parsed file if it is a GIF, None for other files.

    Args:
        file: The file, at any position.

    Raises:
        ValueError: if it is a GIF without a frame.
    """
    file.seek(0)
    head = file.read(6)
    if head not in (b"GIF87a", b"GIF89a"):
        return None
    return Gif(head + file.read())


def _palette(data: bytes, flags: int, at: int) -> tuple[NDArray[np.uint8] | None, int]:
    """Read the colour table that flags announce: (256, 3), black where it is short."""
    if not flags & 0x80:
        return None, at
    end = at + 3 * 2 ** ((flags & 7) + 1)
    colours = np.frombuffer(data[at:end].ljust(768, b"\0"), np.uint8).reshape(256, 3)
    return colours, end


def _skip_blocks(data: bytes, at: int) -> int:
    """Return where the sub-blocks end that start here."""
    while at < len(data) and (length := data[at]):
        at += 1 + length
    return min(at + 1, len(data))


def _decode(frame: _Frame, allow_truncated: bool) -> NDArray[np.uint8]:
    """Inflate the indexes of a frame, (H, W), by a file of this frame alone."""
    size = frame.width, frame.height
    alone = b"GIF89a" + struct.pack("<HHBBB", *size, 0, 0, 0)
    if frame.transparent is not None:  # which Pillow takes for what is missing
        alone += struct.pack("<BBBBHBB", 0x21, 0xF9, 4, 1, 0, frame.transparent, 0)
    alone += struct.pack("<BHHHHB", 0x2C, 0, 0, *size, 0x40 * frame.interlaced) + frame.data
    pillow = GifImageFile(io.BytesIO(alone))  # not `open`, which has a limit of its own
    load_pixels(pillow, allow_truncated)
    return np.asarray(pillow)
