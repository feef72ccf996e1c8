"""Compare alphacut with rembg on this machine, side by side in one run.

    python benchmarks/compare.py --weights u2netp.onnx [--rembg path/to/rembg] [--runs 5]
                                 [--pictures FOLDER]

With --pictures, both also cut out that folder's pictures in one warm process each, by default and
with their best matting, and both commands cut out the whole folder.

Both run the same published weights on the same picture, alternating A B A B after one warm-up
each. Medians are printed, and the median of the ratios pair by pair, which holds when the machine
is busy. Without --rembg a virtual environment with rembg 2.0.86 is made in benchmarks/.peer.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
PEER = "rembg[cpu,cli]==2.0.86"


@dataclass(frozen=True)
class Run:
    """What one process took."""

    seconds: float
    peak_mb: float


def peer_command() -> Path:
    """Return rembg's command, installing it where this benchmark keeps it."""
    folder = HERE / ".peer"
    command = folder / "bin" / "rembg"
    if not command.exists():
        venv.create(folder, with_pip=True)
        subprocess.run([folder / "bin" / "pip", "install", "-q", PEER], check=True)
    return command


def measure(command: Sequence[str | Path], environment: dict[str, str]) -> Run:
    """Run a command to its end; peak memory is the operating system's own figure."""
    start = time.perf_counter()
    process = subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert process.stdout
    text = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stdout.close()
    if process.returncode:
        raise SystemExit(f"{command} failed:\n{text.decode(errors='replace')}")
    return Run(time.perf_counter() - start, usage.ru_maxrss / 1024)


def cold(photo: Path, rembg: Path, environment: dict[str, str], runs: int) -> None:
    """Time the command line from start to file written."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        ours = [sys.executable, "-m", "alphacut", photo, "-o", home / "a.png", "--overwrite"]
        theirs = [rembg, "i", "-m", "u2netp", photo, home / "b.png"]
        pairs = [
            (measure(ours, environment), measure(theirs, environment)) for _ in range(runs + 1)
        ][1:]
    report(f"one picture from the command line, cold: {photo.name}", pairs)


# Each prints the seconds of every picture, from file to PNG bytes, after one that is not counted
THEIR_LOOP = """
import io, sys, time
from rembg import new_session, remove
session = new_session("u2netp")
for path in sys.argv[2:3] + sys.argv[2:]:
    start = time.perf_counter()
    remove(open(path, "rb").read(), session=session, alpha_matting=sys.argv[1] == "best")
    print("seconds", time.perf_counter() - start)
"""
OUR_LOOP = """
import sys, time
from alphacut import Remover
remover = Remover(quality=sys.argv[1])
for path in sys.argv[2:3] + sys.argv[2:]:
    start = time.perf_counter()
    remover(open(path, "rb").read()).encode()
    print("seconds", time.perf_counter() - start)
"""


def warm(folder: Path, quality: str, rembg: Path, environment: dict[str, str]) -> None:
    """Time every picture of a folder in a process that has loaded the network."""
    pictures = sorted(path for path in folder.iterdir() if path.suffix in (".jpg", ".png"))
    seconds = []
    for python, loop in ((Path(sys.executable), OUR_LOOP), (rembg.with_name("python"), THEIR_LOOP)):
        command = [python, "-c", loop, quality, *pictures]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        told = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("seconds")]
        seconds.append([float(word) for word in told[1:]])
    ours, theirs = (statistics.fmean(each) for each in seconds)
    ratio = statistics.median(b / a for a, b in zip(*seconds, strict=True))
    print(f"\n{len(pictures)} pictures, warm, {quality}, load {os.getloadavg()[0]:.1f}")
    print(f"alphacut {ours:.2f} s, rembg {theirs:.2f} s a picture: {ratio:.1f} x faster")


def folder_of(folder: Path, rembg: Path, environment: dict[str, str], runs: int) -> None:
    """Time both commands on a whole folder."""
    with tempfile.TemporaryDirectory() as target:
        ours = [sys.executable, "-m", "alphacut", folder, "-q", "--overwrite", "-o", f"{target}/a/"]
        theirs = [rembg, "p", "-m", "u2netp", folder]
        pairs = [
            (measure(ours, environment), measure([*theirs, f"{target}/{run}"], environment))
            for run in range(runs)
        ]
    report(f"the folder {folder.name} by the command line", pairs)


def report(title: str, pairs: Sequence[tuple[Run, Run]]) -> None:
    """Print medians of both and of their ratios."""
    print(f"\n{title}\n{len(pairs)} pairs, load {os.getloadavg()[0]:.1f}")
    print(f"{'':<10}{'seconds':>10}{'peak MB':>10}")
    for index, name in enumerate(("alphacut", "rembg")):
        seconds = statistics.median(pair[index].seconds for pair in pairs)
        peak_mb = statistics.median(pair[index].peak_mb for pair in pairs)
        print(f"{name:<10}{seconds:>10.2f}{peak_mb:>10.0f}")
    faster = statistics.median(b.seconds / a.seconds for a, b in pairs)
    smaller = statistics.median(b.peak_mb / a.peak_mb for a, b in pairs)
    print(f"alphacut is {faster:.1f} x faster and needs {smaller:.1f} x less memory")


def main() -> None:
    """Read the arguments and run the comparison."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--weights", type=Path, required=True, help="the published u2netp.onnx")
    parser.add_argument("--rembg", type=Path, help="rembg's command")
    parser.add_argument("--photo", type=Path, help="default: a 1920 x 1080 JPEG of an example")
    parser.add_argument("--pictures", type=Path, help="a folder of photographs")
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        photo = arguments.photo
        if photo is None:
            import PIL.Image

            photo = Path(folder) / "photo.jpg"
            with PIL.Image.open(HERE.parent / "examples" / "coffee.png") as example:
                example.convert("RGB").resize((1920, 1080)).save(photo, quality=90)
        rembg = arguments.rembg or peer_command()
        model = Path(folder) / "models" / "u2netp"
        model.mkdir(parents=True)
        shutil.copy(arguments.weights, model / "u2netp.onnx")
        environment = {**os.environ, "REMBG_HOME": folder}
        cold(photo, rembg, environment, arguments.runs)
        if arguments.pictures:
            for quality in ("fast", "best"):
                warm(arguments.pictures, quality, rembg, environment)
            folder_of(arguments.pictures, rembg, environment, 2)


if __name__ == "__main__":
    main()
