"""Read mutated image files: no traceback, no hang, and never what memory held before.

    python benchmarks/fuzz.py --files 10000

Small seeds of every format are mutated, each by a few random changes. Each file is read twice, with
the heap filled with zeros before the first time and with ones before the second, and has to give
the same pixels or the same error. What is found is printed, and written to --keep as a file.
"""

import argparse
import collections
import hashlib
import io
import os
import struct
import sys
import time
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import tifffile
from numpy.typing import NDArray

from alphacut.errors import ImageError
from alphacut.pipeline.load import load_frames

SECONDS, RESIDENT_BYTES = 20, 2 << 30
_FILLED = [(1 << size) for size in range(6, 21)]  # bytes of the blocks that are left behind


def make_seeds() -> dict[str, bytes]:
    """Make a small file of each format and of many of its kinds."""
    H, W = 24, 31
    rng = np.random.default_rng(0)
    x, y = np.arange(W), np.arange(H)[:, np.newaxis]
    rgb = np.stack([8 * x + 0 * y, 10 * y + 0 * x, 4 * (x + y)], axis=2).astype(np.uint8)
    rgb[8:16, 8:16] = rng.integers(0, 256, (8, 8, 3))
    alpha = np.broadcast_to(8 * x, (H, W)).astype(np.uint8)
    rgba = np.dstack([rgb, alpha])
    images = {"rgb": PIL.Image.fromarray(rgb), "rgba": PIL.Image.fromarray(rgba),
              "grey": PIL.Image.fromarray(rgb[..., 0])}  # fmt: skip
    frames = [PIL.Image.fromarray(np.roll(rgba, 5 * step, axis=1)) for step in range(3)]
    exif = PIL.Image.Exif()
    exif[315], exif[0x0112] = "Ada", 6
    exif.get_ifd(0x8769)[0x8827] = 400
    exif[0x8769] = exif.get_ifd(0x8769)
    facts: dict[str, Any] = {"exif": exif, "dpi": (300, 300)}
    seeds: dict[str, bytes] = {}

    def add(name: str, image: PIL.Image.Image, kind: str, **settings: Any) -> None:
        file = io.BytesIO()
        image.save(file, kind, **settings)
        seeds[name] = file.getvalue()

    for mode, image in images.items():
        for kind in ("PNG", "WEBP", "AVIF", "JPEG2000", "TGA", "ICO"):
            add(f"{mode} {kind}", image, kind, **(facts if kind in ("PNG", "WEBP", "AVIF") else {}))
        for kind in ("JPEG", "BMP", "PPM", "PCX", "SGI", "DDS"):
            if mode != "rgba":
                if kind == "DDS" and mode == "grey":
                    continue
                add(f"{mode} {kind}", image, kind, **(facts if kind == "JPEG" else {}))
        for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
            if not (compression == "jpeg" and mode == "rgba"):
                add(f"{mode} TIFF {compression}", image, "TIFF", compression=compression)
    for mode, compression in (
        ("1", "group3"), ("1", "tiff_ccitt"), ("P", "tiff_lzw"), ("CMYK", "jpeg"),
        ("CMYK", "tiff_lzw"), ("YCbCr", "jpeg"), ("L", "zstd"), ("L", "lzma"),
    ):  # fmt: skip
        add(f"{mode} TIFF {compression}", images["rgb"].convert(mode), "TIFF",
            compression=compression)  # fmt: skip
    add("progressive JPEG", images["rgb"], "JPEG", progressive=True)
    add("CMYK JPEG", images["rgb"].convert("CMYK"), "JPEG")
    add("lossless WEBP", images["rgba"], "WEBP", lossless=True)
    add("palette PNG", images["rgb"].quantize(16), "PNG", transparency=3)
    add("QOI", images["rgba"], "QOI")
    add("MPO", images["rgb"], "MPO", save_all=True, append_images=[images["rgb"]])
    for kind in ("GIF", "PNG", "WEBP", "AVIF"):
        add(f"animated {kind}", frames[0], kind, save_all=True, append_images=frames[1:],
            duration=50)  # fmt: skip
    add("GIF", images["rgb"], "GIF")
    add("interlaced GIF", images["grey"], "GIF", interlace=1)
    deep = rgba.astype(np.uint16) * 257
    for channels in (1, 2, 3, 4):
        seeds[f"16-bit PNG {channels}"] = _deep_png(deep[..., :channels])
    for channels in (1, 3, 4):
        for planar in ("contig", "separate"):
            for compression in ("none", "adobe_deflate"):
                for dtype in ("u1", "<u2", ">u2", "f4"):
                    name = f"TIFF {channels} {planar} {compression} {dtype}"
                    seeds[name] = _tiff(deep[..., :channels], planar, compression, dtype)
    try:
        import pillow_heif
    except ImportError:
        pass
    else:
        file = io.BytesIO()
        pillow_heif.from_pillow(images["rgba"]).save(file, format="HEIF", exif=exif.tobytes())
        seeds["HEIC"] = file.getvalue()
    try:
        import pylibjxl
    except ImportError:
        pass
    else:
        seeds["JXL"] = pylibjxl.encode(rgba, lossless=True, exif=exif.tobytes()[6:])
        seeds["lossy JXL"] = pylibjxl.encode(rgb)
    return seeds


def _deep_png(array: NDArray[np.uint16]) -> bytes:
    """A PNG of 16 bits a channel, with every filter."""
    H, W, channels = array.shape
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    step = 2 * channels
    rows = array.astype(">u2").tobytes()
    stride, packed, last = W * step, b"", bytes(W * step)
    for row in range(H):
        now = rows[row * stride : (row + 1) * stride]
        method = row % 3
        before = (
            bytes(step) + now[:-step] if method == 1 else last if method == 2 else bytes(stride)
        )
        packed += bytes([method]) + bytes((a - b) & 255 for a, b in zip(now, before, strict=True))
        last = now
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", W, H, 16, kind, 0, 0, 0)),
              (b"pHYs", struct.pack(">IIB", 11811, 11811, 1)), (b"tEXt", b"Author\0Ada"),
              (b"IDAT", zlib.compress(packed)), (b"IEND", b"")]  # fmt: skip
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, content) for name, content in chunks)


def _chunk(name: bytes, content: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(name + content))
    return struct.pack(">I", len(content)) + name + content + check


def _tiff(array: NDArray[np.uint16], planar: str, compression: str, dtype: str) -> bytes:
    order = ">" if dtype.startswith(">") else "<"
    numbers: NDArray[Any] = array / 65535 if dtype == "f4" else array >> (8 if dtype == "u1" else 0)
    numbers = numbers.astype(dtype)
    channels = array.shape[2]
    if planar == "separate":
        numbers = np.moveaxis(numbers, 2, 0)
    if channels == 1:
        numbers = numbers.reshape(array.shape[:2])
    file = io.BytesIO()
    tifffile.imwrite(
        file, numbers, byteorder=order, photometric="rgb" if channels > 2 else "minisblack",
        planarconfig=planar if channels > 1 else None,
        extrasamples=["UNASSALPHA"] if channels == 4 else None,
        compression=None if compression == "none" else compression, rowsperstrip=7, metadata=None,
    )  # fmt: skip
    return file.getvalue()


def mutate(seed: bytes, others: list[bytes], rng: np.random.Generator) -> bytes:
    """Change a file in a few places: bits, bytes, numbers, blocks left out, doubled or swapped."""
    data = bytearray(seed)
    for _ in range(rng.integers(1, 6)):
        if not data:
            break
        # half of the changes meet the head, where the structure is
        reach = min(len(data), 400) if rng.random() < 0.5 else len(data)
        at = int(rng.integers(reach))
        length = int(rng.integers(1, 33))
        how = rng.integers(8)
        if how == 0:
            data[at] ^= 1 << int(rng.integers(8))
        elif how == 1:
            data[at] = int(rng.integers(256))
        elif how == 2:
            data[at : at + 4] = rng.choice([b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff",
                                            b"\0\0\0\1", b"\1\0\0\0", b"\0\1\0\0"])  # fmt: skip
        elif how == 3:
            del data[at : at + length]
        elif how == 4:
            data[at:at] = data[at : at + length]
        elif how == 5:
            data[at : at + length] = rng.bytes(length)
        elif how == 6:
            del data[int(rng.integers(len(data) // 2, len(data))) :]
        else:
            other = others[rng.integers(len(others))]
            start = int(rng.integers(len(other)))
            data[at : at + length] = other[start : start + length]
    result = bytes(data)
    return (
        _checked_again(result) if result.startswith(b"\x89PNG") and rng.random() < 0.8 else result
    )


def _checked_again(data: bytes) -> bytes:
    """Set the checks of a PNG's chunks right, so that what is in them is read."""
    out, at = [data[:8]], 8
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        if at + 12 + length > len(data):
            break
        out.append(_chunk(data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    return b"".join([*out, data[at:]])


def fill_memory(value: int) -> None:
    """Leave blocks of many sizes behind that hold one value, for what is allocated next."""
    held = [np.full(size, value, np.uint8) for size in _FILLED for _ in range(3)]
    del held


def outcome_of(data: bytes, *, allow_truncated: bool) -> str:
    """Read a file; return its frames' digest, or its error."""
    digest = hashlib.sha256()
    try:
        for picture in load_frames(data, max_megapixels=4, allow_truncated=allow_truncated):
            for plane in (picture.image, picture.alpha):
                if plane is not None:
                    digest.update(repr((plane.shape, plane.dtype)).encode() + plane.tobytes())
            digest.update(repr((picture.metadata, picture.duration_ms, picture.loop)).encode())
    except ImageError as error:
        return f"refused: {error}"
    return f"read: {digest.hexdigest()}"


def fuzz(files: int, *, seed: int = 0) -> Iterator[tuple[str, bytes, str, str]]:
    """Mutate and read files.

    Args:
        files: How many.
        seed: Which ones.

    Yields:
        The name of the seed, the file, what became of it, and what is wrong with that: "" if
        nothing is.
    """
    seeds = make_seeds()
    names, contents = list(seeds), list(seeds.values())
    for number in range(files):
        rng = np.random.default_rng([seed, number])
        name = names[number % len(names)]
        data = mutate(seeds[name], contents, rng)
        allow_truncated = bool(rng.random() < 0.5)
        outcomes, fault = [], ""
        for value in (0, 255):
            fill_memory(value)
            began = time.monotonic()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    outcomes.append(outcome_of(data, allow_truncated=allow_truncated))
                except BaseException as error:  # whatever it is, it is what we look for
                    outcomes.append(f"raised {type(error).__name__}: {error}")
                    fault = outcomes[-1]
            if time.monotonic() - began > SECONDS:
                fault = f"took {time.monotonic() - began:.0f} s"
        if outcomes[0] != outcomes[1]:
            fault = f"differs: {outcomes[0]} | {outcomes[1]}"
        yield name, data, outcomes[0], fault


def _resident() -> int:
    """Bytes that this process holds in memory."""
    status = Path("/proc/self/statm")
    return int(status.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if status.exists() else 0


def main(report: Callable[[str], object] = print) -> int:
    """Run as a program; return how many faults were found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="Folder for files with which something is wrong.")
    asked = parser.parse_args()
    counts: collections.Counter[str] = collections.Counter()
    faults, largest, began = 0, 0, time.monotonic()
    for number, (name, data, outcome, fault) in enumerate(fuzz(asked.files, seed=asked.seed)):
        counts[outcome.split(":")[0]] += 1
        resident = _resident()
        largest = max(largest, resident)
        if resident > RESIDENT_BYTES:
            fault = fault or f"{resident >> 20} MB"
        if fault:
            faults += 1
            report(f"{number} {name}: {fault}")
            if asked.keep:
                asked.keep.mkdir(parents=True, exist_ok=True)
                (asked.keep / f"{number}.bin").write_bytes(data)
    spent = time.monotonic() - began
    report(f"{asked.files} files, {dict(counts)}, {faults} faults, at most {largest >> 20} MB, "
           f"{spent:.0f} s")  # fmt: skip
    return faults


if __name__ == "__main__":
    sys.exit(bool(main()))
