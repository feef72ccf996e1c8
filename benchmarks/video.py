"""Frames a second of a film to WebM, beside ffmpeg and rembg, and memory by length.

    python benchmarks/video.py speed CLIP --rembg /path/to/rembg [--pairs 3] [--flags=--fast]
    python benchmarks/video.py stages CLIP [--flags=--fast]
    python benchmarks/video.py memory

`speed` runs both from the film to a finished WebM, alternating; rembg gets raw frames from ffmpeg
and writes PNG files (`rembg b`), which ffmpeg encodes. Both use the weights of u2netp, unless
--flags="--model alphacut-lite" asks for the default, say. `stages` takes the default and
runs one stage after the other on one thread and prints the processor time that each takes a frame.
`memory` cuts out 300 and 3,000 small frames with a network that finds a disc, each in a process of
its own, and prints the largest resident size of both.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

MEMORY = """
import sys, numpy as np, resource
sys.path.insert(0, {tests!r})
from pathlib import Path
from alphacut import Remover, remove_video
from films import discs, make_film
from pictures import FakeRuntime
folder, n = Path(sys.argv[1]), int(sys.argv[2])
film = folder / "clip.mkv"
if not film.exists():  # by a process of its own, so that its pixels do not count
    make_film(film, discs(n, 54, 96, 0.01), sound="libopus")
    sys.exit()
class Forgetful(FakeRuntime):  # which keeps its batches for the tests
    def __call__(self, batch):
        self.batches.clear()
        return super().__call__(batch)
remove_video(film, folder / "out.webm", remover=Remover(network=Forgetful()), fast=True)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def run(*command: object, **settings: object) -> None:
    subprocess.run([*map(str, command)], check=True, **settings)  # type: ignore[call-overload]


def ours(clip: Path, folder: Path, *flags: str) -> None:
    run(sys.executable, "-m", "alphacut", "video", clip, "-o", folder / "ours.webm", "-q",
        "--overwrite", "--model", "u2netp", *flags)  # fmt: skip


def theirs(clip: Path, folder: Path, rembg: Path, size: tuple[int, int]) -> None:
    for path in folder.glob("peer-*.png"):
        path.unlink()
    decode = subprocess.Popen(
        ["ffmpeg", "-loglevel", "error", "-i", str(clip), "-f", "rawvideo", "-pix_fmt", "rgb24",
         "pipe:1"], stdout=subprocess.PIPE,
    )  # fmt: skip
    run(rembg, "b", "-m", "u2netp", size[0], size[1], "-o", folder / "peer-%05u.png",
        stdin=decode.stdout, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)  # fmt: skip
    decode.wait()
    run("ffmpeg", "-loglevel", "error", "-y", "-framerate", "25", "-pattern_type", "glob", "-i",
        str(folder / "peer-*.png"), "-i", clip, "-map", "0:v", "-map", "1:a?", "-c:v",
        "libvpx-vp9", "-pix_fmt", "yuva420p", "-crf", "24", "-b:v", "0", "-deadline", "good",
        "-cpu-used", "5", "-row-mt", "1", folder / "peer.webm")  # fmt: skip


def speed(clip: Path, rembg: Path, pairs: int, flags: list[str]) -> None:
    import av

    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        size, frames = (stream.width, stream.height), sum(1 for _ in container.decode(video=0))
    ratios = []
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        for pair in range(pairs):
            seconds = []
            for work in (lambda: ours(clip, folder, *flags),
                         lambda: theirs(clip, folder, rembg, size)):  # fmt: skip
                begun, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
                work()
                after = resource.getrusage(resource.RUSAGE_CHILDREN)
                cpu = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
                seconds.append((time.perf_counter() - begun, cpu))
            (a, a_cpu), (b, b_cpu) = seconds
            ratios.append((b / a, b_cpu / a_cpu))
            print(f"pair {pair}: alphacut {frames / a:.2f}/s, {a_cpu / frames * 1000:.0f} ms of "
                  f"processor a frame; rembg {frames / b:.2f}/s, {b_cpu / frames * 1000:.0f} ms; "
                  f"ratios {b / a:.2f} and {b_cpu / a_cpu:.2f}", flush=True)  # fmt: skip
    print(f"median ratio {statistics.median(r for r, _ in ratios):.2f}, of processor time "
          f"{statistics.median(r for _, r in ratios):.2f}")  # fmt: skip


def stages(clip: Path, fast: bool) -> None:
    import cv2

    from alphacut import Options, Remover
    from alphacut.cutout import place_frames
    from alphacut.video.read import open_film
    from alphacut.video.settle import REACH, settle
    from alphacut.video.steady import steady
    from alphacut.video.write import find_target, prepare, write_film

    cv2.setNumThreads(1)
    film, remover, options = open_film(clip), Remover(threads=1), Options()
    asked = network_s = 0.0

    def find(frame: Any) -> Any:
        nonlocal asked, network_s
        begun = time.process_time()
        found = remover.find_subject(frame.picture.image)
        asked, network_s = asked + 1, network_s + time.process_time() - begun
        return found

    def timed(name: str, work: Callable[[], Iterable[Any]]) -> list[Any]:
        begun, before = time.process_time(), network_s
        made = list(work())
        spent[name] = time.process_time() - begun - (network_s - before)
        return made

    spent: dict[str, float] = {}
    frames = timed("reading", film.read)
    find(frames[0])  # the first run is slower
    asked = network_s = 0
    seen = timed("steadying", lambda: steady(frames, find))
    mattes = timed("edges", lambda: (remover.matte(s.frame.picture, s.saliency) for s in seen))
    known = [(matte.alpha, s.motion) for matte, s in zip(mattes, seen, strict=True)]
    alphas = timed("settling", lambda: (
        settle(*known[k], known[max(0, k - REACH) : k][::-1], known[k + 1 : k + 1 + REACH], 1.0)
        for k in range(len(known))
    ))  # fmt: skip
    cut = timed("colours", lambda: (
        remover.finish(matte.with_alpha(alpha)) for matte, alpha in zip(mattes, alphas, strict=True)
    ))  # fmt: skip
    with tempfile.TemporaryDirectory() as made:
        target = find_target(Path(made) / "o.webm", "auto", options, opaque=False, fast=fast)
        place = place_frames(film.size, None, None, options)
        ready = timed("conversion", lambda: (
            prepare(c.raster(options, place, opaque=False), s.frame, target, film)
            for c, s in zip(cut, seen, strict=True)
        ))  # fmt: skip
        timed("VP9", lambda: write_film(iter(ready), target, film))
    spent["network"] = network_s
    whole = sum(spent.values())
    for name, seconds in spent.items():
        print(f"{name:18}{seconds / len(seen) * 1000:6.0f} ms {seconds / whole:5.0%}")
    print(f"{'all':18}{whole / len(seen) * 1000:6.0f} ms; network asked for {asked:.0f} of "
          f"{len(seen)} frames")  # fmt: skip


def memory() -> None:
    tests = str(Path(__file__).parents[1] / "tests")
    for n in (300, 3000):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-c", MEMORY.format(tests=tests), folder, str(n)]
            for _ in range(2):
                done = subprocess.run(command, check=True, capture_output=True, text=True)
            print(f"{n} frames: {int(done.stdout) / 1024:.0f} MB", flush=True)


def main() -> None:
    raw = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("what", choices=("speed", "stages", "memory"))
    parser.add_argument("clip", type=Path, nargs="?")
    parser.add_argument("--rembg", type=Path, default=Path("rembg"))
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--flags", default="", help="of alphacut video")
    given = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", str(len(os.sched_getaffinity(0))))
    if given.what == "memory":
        memory()
    elif given.what == "stages":
        stages(given.clip, "--fast" in given.flags)
    else:
        speed(given.clip, given.rembg, given.pairs, given.flags.split())


if __name__ == "__main__":
    main()
