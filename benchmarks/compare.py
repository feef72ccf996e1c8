"""Compare alphacut with rembg on this machine, side by side in one run.

    python benchmarks/compare.py --weights u2netp.onnx [--rembg path/to/rembg] [--runs 5]

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


def cold(photo: Path, weights: Path, rembg: Path, runs: int) -> None:
    """Time the command line from start to file written."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        model = home / "models" / "u2netp"
        model.mkdir(parents=True)
        shutil.copy(weights, model / "u2netp.onnx")
        environment = {**os.environ, "REMBG_HOME": str(home)}
        ours = [sys.executable, "-m", "alphacut", photo, "-o", home / "a.png", "--overwrite"]
        theirs = [rembg, "i", "-m", "u2netp", photo, home / "b.png"]
        pairs = [
            (measure(ours, environment), measure(theirs, environment)) for _ in range(runs + 1)
        ][1:]
    report(f"one picture from the command line, cold: {photo.name}", pairs)


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
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        photo = arguments.photo
        if photo is None:
            import PIL.Image

            photo = Path(folder) / "photo.jpg"
            with PIL.Image.open(HERE.parent / "examples" / "coffee.png") as example:
                example.convert("RGB").resize((1920, 1080)).save(photo, quality=90)
        cold(photo, arguments.weights, arguments.rembg or peer_command(), arguments.runs)


if __name__ == "__main__":
    main()
