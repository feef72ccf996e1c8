"""Compare alphacut with rembg and with bare inference on this machine, side by side in one run.

    python benchmarks/compare.py --weights u2netp.onnx [--rembg path/to/rembg] [--runs 5]
                                 [--pictures FOLDER] [cold warm network best folder ...]

alphacut runs its default network, and rembg the quickest of its own, u2netp, which is the first of
the two looks that the default takes. Both see the same images, alternating A B A B after one
warm-up each. Tables give medians, and the median of the pairwise ratios, which is robust on a busy
machine. Without --rembg, a virtual environment with rembg 2.0.86 is created in benchmarks/.peer.

Each part that runs replaces its figures in docs/performance/figures.json; then the tables and
plots of docs/performance.md are regenerated from that file. All parts run if none is named.
"""

import argparse
import datetime
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import PIL.Image

import report

HERE = Path(__file__).parent
PEER = "rembg[cpu,cli]==2.0.86"
EXAMPLES = HERE.parent / "examples"
SIZES = ((640, 480), (1224, 816), (1732, 1155), (3000, 2000), (6000, 4000))  # (W, H)

# Each loop answers a path with the seconds from file to PNG bytes; the process keeps running
THEIR_LOOP = """
import sys, time
from rembg import new_session, remove
session = new_session("u2netp")
for line in sys.stdin:
    quality, path = line.rstrip("\\n").split(" ", 1)
    start = time.perf_counter()
    remove(open(path, "rb").read(), session=session, alpha_matting=quality == "best")
    print("seconds", time.perf_counter() - start, flush=True)
"""
OUR_LOOP = """
import sys, time
from alphacut import Remover
removers = {}
for line in sys.stdin:
    quality, path = line.rstrip("\\n").split(" ", 1)
    if quality not in removers:
        removers[quality] = Remover(quality=quality)
    remover = removers[quality]
    start = time.perf_counter()
    remover(open(path, "rb").read()).encode()
    print("seconds", time.perf_counter() - start, flush=True)
"""


@dataclass(frozen=True)
class Bench:
    """What every part needs: the peer, its environment, images, and the number of runs."""

    rembg: Path
    weights: Path
    environment: dict[str, str]
    pictures: Sequence[Path]
    scratch: Path
    runs: int

    def photo(self, size: tuple[int, int]) -> Path:
        """Return the path of a JPEG of (W, H), a photograph resized."""
        path = self.scratch / f"{size[0]}x{size[1]}.jpg"
        if not path.exists():
            with PIL.Image.open(self.pictures[0]) as picture:
                picture.convert("RGB").resize(size).save(path, quality=90)
        return path


def peer_command() -> Path:
    """Return the path of rembg's command, installing it beside this file first."""
    folder = HERE / ".peer"
    command = folder / "bin" / "rembg"
    if not command.exists():
        venv.create(folder, with_pip=True)
        subprocess.run([folder / "bin" / "pip", "install", "-q", PEER], check=True)
    return command


def measure(command: Sequence[str | Path], environment: dict[str, str]) -> tuple[float, float]:
    """Run a command to the end; return its seconds and, from the operating system, its peak MB."""
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
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def summary(pairs: Sequence[tuple[Sequence[float], Sequence[float]]]) -> dict[str, Any]:
    """Return the medians of ours and theirs, column by column, and of the pairwise ratios."""
    columns = list(zip(*(zip(*pair, strict=True) for pair in pairs), strict=True))
    return {
        "ours": [statistics.median(a for a, _ in column) for column in columns],
        "theirs": [statistics.median(b for _, b in column) for column in columns],
        "ratio": [statistics.median(b / a for a, b in column) for column in columns],
        "pairs": len(pairs),
        "load": os.getloadavg()[0],
    }


def cold(bench: Bench) -> dict[str, Any]:
    """Time the command line from start to written file, with a new process each time."""
    photo, target = bench.photo((1920, 1080)), bench.scratch
    ours = [sys.executable, "-m", "alphacut", photo, "-o", target / "a.png", "--overwrite"]
    theirs = [bench.rembg, "i", "-m", "u2netp", photo, target / "b.png"]
    pairs = [
        (measure(ours, bench.environment), measure(theirs, bench.environment))
        for _ in range(bench.runs + 1)
    ]
    return summary(pairs[1:])


def _alternate(
    bench: Bench, quality: str, photos: Sequence[Path], runs: int
) -> list[list[tuple[list[float], list[float]]]]:
    """Alternate between two processes that have loaded the network; return pairs for each photo."""
    loops = [
        subprocess.Popen(
            [python, "-c", loop],
            env=bench.environment,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for python, loop in (
            (sys.executable, OUR_LOOP),
            (bench.rembg.with_name("python"), THEIR_LOOP),
        )
    ]

    def ask(loop: subprocess.Popen[str], photo: Path) -> list[float]:
        assert loop.stdin
        assert loop.stdout
        loop.stdin.write(f"{quality} {photo}\n")
        loop.stdin.flush()
        for line in loop.stdout:  # PyMatting prints warnings in between
            if line.startswith("seconds "):
                return [float(line.split()[1])]
        raise SystemExit("a process of the comparison exited early: see its message above")

    pairs = []
    for photo in photos:
        both = [(ask(loops[0], photo), ask(loops[1], photo)) for _ in range(runs + 1)]
        pairs.append(both[1:])
    for loop in loops:
        loop.communicate()
    return pairs


def warm(bench: Bench) -> dict[str, Any]:
    """Time single images of several sizes, from JPEG file to PNG bytes."""
    photos = [bench.photo(size) for size in SIZES]
    pairs = _alternate(bench, "fast", photos, bench.runs)
    return {
        f"{width * height / 1e6:.1f}": summary(each)
        for (width, height), each in zip(SIZES, pairs, strict=True)
    }


def best(bench: Bench) -> dict[str, Any]:
    """Time the best matting of both: four views and closed form against alpha matting."""
    photos = [bench.photo(size) for size in SIZES[1:3]]
    pairs = _alternate(bench, "best", photos, max(2, bench.runs // 2))
    return {
        f"{width * height / 1e6:.1f}": summary(each)
        for (width, height), each in zip(SIZES[1:3], pairs, strict=True)
    }


def photographs(bench: Bench) -> dict[str, Any]:
    """Time four unresized photographs, with the defaults and with the best matting of both."""
    photos = bench.pictures[:: max(1, len(bench.pictures) // 4)][:4]
    result = {}
    for quality in ("fast", "best"):
        each = _alternate(bench, quality, photos, max(2, bench.runs // 2))
        result[quality] = summary([pair for pairs in each for pair in pairs])
    return result


def folder(bench: Bench) -> dict[str, Any]:
    """Time both commands on a folder."""
    source = bench.scratch / "folder"
    source.mkdir()
    for picture in bench.pictures:
        shutil.copy(picture, source)
    out = bench.scratch / "out"
    ours = [sys.executable, "-m", "alphacut", source, "-q", "--overwrite", "-o", f"{out}/a/"]
    pairs = []
    for run in range(max(2, bench.runs // 2)):
        theirs = [bench.rembg, "p", "-m", "u2netp", source, f"{out}/{run}"]
        pairs.append((measure(ours, bench.environment), measure(theirs, bench.environment)))
    return summary(pairs) | {"pictures": len(bench.pictures)}


def network(bench: Bench) -> dict[str, Any]:
    """Time inference alone: the published file in both runtimes, the same weights, the default."""
    import numpy as np
    import openvino

    from alphacut import Remover
    from alphacut.runtimes.onnx import onnxruntime  # without its telemetry

    batch = np.random.default_rng(1).random((1, 3, 320, 320), np.float32)
    exact = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    bare = openvino.Core().compile_model(bench.weights, "CPU", exact)
    request = bare.create_infer_request()
    session = onnxruntime.InferenceSession(bench.weights, providers=["CPUExecutionProvider"])
    given = session.get_inputs()[0].name
    runs: dict[str, Callable[[], Any]] = {
        "OpenVINO, float32, seven outputs": lambda: request.infer(batch),
        "ONNX Runtime, float32, seven outputs": lambda: session.run(None, {given: batch}),
    }
    for model in ("u2net-lite", "alphacut-lite"):
        for precision in ("fp32", "int8"):
            runtime = Remover(model, precision=precision).network
            runs[f"{model}, {precision}"] = lambda runtime=runtime: runtime(batch)
    took: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(2 * bench.runs + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            took[name].append((time.perf_counter() - start) * 1000)
    return {name: statistics.median(times[1:]) for name, times in took.items()}


def stages(bench: Bench) -> dict[str, Any]:
    """Time each stage in milliseconds, by image size."""
    from alphacut import Remover

    remover = Remover()
    result = {}
    for width, height in SIZES:
        data = bench.photo((width, height)).read_bytes()
        rows = []
        for _ in range(bench.runs + 1):
            cutout = remover(data)
            start = time.perf_counter()
            cutout.encode()
            encode_ms = (time.perf_counter() - start) * 1000
            rows.append({**cutout.milliseconds, "encode": encode_ms})
        result[f"{width * height / 1e6:.1f}"] = {
            stage: statistics.median(row[stage] for row in rows[1:]) for stage in rows[0]
        }
    return result


def threads(bench: Bench) -> dict[str, Any]:
    """Measure images per second by number of threads, files in and files out."""
    from alphacut import Remover
    from alphacut.batch.folder import list_items, run

    remover = Remover()
    items = list_items(
        [str(path) for path in bench.pictures], f"{bench.scratch}/t/", remover.options
    )
    result = {}
    for count in (1, 2, 3, 4):
        best_s = float("inf")
        for _ in range(3):
            start = time.perf_counter()
            for outcome in run(items, remover, existing="overwrite", threads=count):
                if outcome.error:
                    raise outcome.error
            best_s = min(best_s, time.perf_counter() - start)
        result[str(count)] = len(items) / best_s
    return result


def memory(bench: Bench) -> dict[str, Any]:
    """Follow the memory, in MB, of a process that works through 1,000 images."""
    import psutil

    from alphacut import Remover
    from alphacut.batch.folder import Item, run

    remover, process, seen = Remover(hint="throughput"), psutil.Process(), []
    items = [
        Item(str(bench.pictures[index % len(bench.pictures)]), f"{bench.scratch}/m/{index}.png")
        for index in range(1000)
    ]
    for outcome in run(items, remover, existing="overwrite"):
        if outcome.error:
            raise outcome.error
        Path(outcome.item.target).unlink()
        seen.append(process.memory_info().rss / 2**20)
    # maxima over fifty: single values rise and fall with the images in work
    return {str(end): max(seen[end - 50 : end]) for end in range(50, 1001, 50)}


# Peaks come first: a process inherits its parent's memory at the fork
PARTS: dict[str, Callable[[Bench], dict[str, Any]]] = {
    part.__name__: part
    for part in (cold, folder, warm, best, photographs, network, stages, threads, memory)
}


def make_pictures(target: Path) -> list[Path]:
    """Make 20 JPEGs of 0.5 to 2 megapixels from the examples, each cropped differently."""
    pictures = []
    for index in range(20):
        path = target / f"picture-{index:02}.jpg"
        names = sorted(EXAMPLES.glob("[!.]*[!t].png"))
        with PIL.Image.open(names[index % len(names)]) as example:
            image = example.convert("RGB")
        side = round(min(image.size) * (0.8 + 0.01 * index))
        image = image.crop((0, 0, *(max(side, edge - 3 * index) for edge in image.size)))
        factor = ((0.5 + 0.08 * index) * 1e6 / (image.width * image.height)) ** 0.5
        size = round(image.width * factor), round(image.height * factor)
        image.resize(size).save(path, quality=90)
        pictures.append(path)
    return pictures


def machine() -> str:
    """Describe the processor, its cores, and the relevant versions."""
    from importlib.metadata import version

    cpu = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        cpu = next((line.split(": ")[1] for line in lines if line.startswith("model name")), cpu)
    return (
        f"{cpu}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}, "
        f"OpenVINO {version('openvino').split('-')[0]}"
    )


def main() -> None:
    """Parse the arguments, run the parts and write the report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("parts", nargs="*", help="parts to run; all by default")
    parser.add_argument("--weights", type=Path, required=True, help="the published u2netp.onnx")
    parser.add_argument("--rembg", type=Path, help="path of rembg's command")
    parser.add_argument("--pictures", type=Path, help="a folder of at least 4 photographs")
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    figures = json.loads(report.FIGURES.read_text()) if report.FIGURES.exists() else {}
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        if arguments.pictures:
            pictures = sorted(path for path in arguments.pictures.iterdir()
                              if path.suffix in (".jpg", ".png"))  # fmt: skip
        else:
            (scratch / "pictures").mkdir()
            pictures = make_pictures(scratch / "pictures")
        model = scratch / "models" / "u2netp"
        model.mkdir(parents=True)
        shutil.copy(arguments.weights, model / "u2netp.onnx")
        bench = Bench(
            arguments.rembg or peer_command(),
            arguments.weights,
            # pip compiles what it installs; a checkout must be allowed to cache its bytecode, too
            {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
            | {"REMBG_HOME": name},
            pictures,
            scratch,
            arguments.runs,
        )
        for part in (part for part in PARTS if part in (arguments.parts or PARTS)):
            if part == "photographs" and not arguments.pictures:
                continue  # those made from the examples are enlarged
            figures[part] = PARTS[part](bench)
            print(part, json.dumps(figures[part], indent=1))
            figures |= {"machine": machine(), "date": datetime.date.today().isoformat()}
            report.FIGURES.write_text(json.dumps(figures, indent=1) + "\n")
    if figures.keys() >= PARTS.keys() - {"photographs"}:
        report.write(figures)


if __name__ == "__main__":
    main()
