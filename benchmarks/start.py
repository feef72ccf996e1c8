"""Time three commands from their start to a written file, side by side: rembg, and its stand-in.

    python benchmarks/start.py --rembg PATH/rembg [--ours PATH/rembg] [--runs 15]

`rembg i -m u2netp photo.jpg cut.png`, by rembg 2.0.86, by alphacut-rembg, and `alphacut` itself, in
turns after one warm-up each. Told are medians in seconds of wall time and of processor time, which
others on a busy machine hardly change, and the medians of the pairwise ratios. Without --ours, the
checkout's drop-in runs in this environment, from bytecode as an installed one does.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import PIL.Image

ROOT = Path(__file__).parents[1]
SIZE = 1920, 1080
MAIN = "from rembg.cli import main; main()"


def measure(command: Sequence[str | Path], environment: dict[str, str]) -> tuple[float, float]:
    """Run a command to its end; return its seconds of wall time and of processor time."""
    start = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)  # fmt: skip
    assert process.stderr
    text = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    taken_s = time.perf_counter() - start
    process.stderr.close()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command} failed:\n{text.decode(errors='replace')}")
    return taken_s, usage.ru_utime + usage.ru_stime


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rembg", type=Path, required=True, help="The command of rembg 2.0.86.")
    parser.add_argument("--ours", type=Path, help="An installed drop-in's command.")
    parser.add_argument("--runs", type=int, default=15)
    given = parser.parse_args()
    paths = ROOT / "packages/alphacut-rembg/src", ROOT / "src"
    alone = {name: value for name, value in os.environ.items()
             if name not in ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE")}  # fmt: skip
    ours = alone if given.ours else {**alone, "PYTHONPATH": os.pathsep.join(map(str, paths))}
    command = [given.ours] if given.ours else [sys.executable, "-c", MAIN]
    python = given.ours.with_name("python") if given.ours else sys.executable
    with tempfile.TemporaryDirectory() as name:
        photo, cut = Path(name, "photo.jpg"), Path(name, "cut.png")
        with PIL.Image.open(ROOT / "examples" / "astronaut.png") as picture:
            picture.convert("RGB").resize(SIZE).save(photo, quality=90)
        words = ["i", "-m", "u2netp", photo, cut]
        rows = []
        for run in range(given.runs + 1):
            row = [
                measure([given.rembg, *words], alone),
                measure([*command, *words], ours),
                measure([python, "-m", "alphacut", photo, "-o", cut, "--overwrite", "-q"], ours),
            ]
            if run:
                rows.append(row)
    print(f"{given.runs} runs, load {os.getloadavg()[0]:.1f}, {os.cpu_count()} processors")
    for at, what in enumerate(("wall", "processor")):
        theirs = [row[0][at] for row in rows]
        print(f"{what:10} rembg {statistics.median(theirs):.2f} s", end="")
        for other, label in ((1, "alphacut-rembg"), (2, "alphacut")):
            seconds = statistics.median(row[other][at] for row in rows)
            ratio = statistics.median(row[0][at] / row[other][at] for row in rows)
            print(f", {label} {seconds:.2f} s ({ratio:.2f} x)", end="")
        print()


if __name__ == "__main__":
    main()
