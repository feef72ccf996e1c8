"""Compare the engines of `alphacut batch`: do they agree, and what does Ray cost?

    python benchmarks/cluster.py --pictures 200 --long-side 640 local ray:1 ray:2
    python benchmarks/cluster.py --pictures 2000 --long-side 96 local ray:2     # do they agree?

It makes pictures from the examples and noise, one in twenty broken, runs them with each engine in
turn, and compares manifests and results. The rate is taken between the first result and the last,
because starting takes the same time for a hundred pictures and for ten million; that time is
printed, too. Target: all agree, and ray:2 reaches at least 85 % of local's rate.
"""

import argparse
import hashlib
import io
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

EXAMPLES = Path(__file__).parents[1] / "examples"


def make_pictures(folder: Path, count: int, long_side_px: int) -> None:
    """Write pictures: examples, each with noise of its own."""
    photos = [PIL.Image.open(path).convert("RGB") for path in sorted(EXAMPLES.glob("*.png"))
              if "-cutout" not in path.name]  # fmt: skip
    rng = np.random.default_rng(1)
    for index in range(count):
        photo = photos[index % len(photos)]
        photo.thumbnail((long_side_px, long_side_px))
        image = np.asarray(photo).astype(int) + rng.integers(-8, 9, (photo.height, photo.width, 1))
        file = io.BytesIO()
        picture = PIL.Image.fromarray(np.clip(image, 0, 255).astype(np.uint8))
        picture.save(file, "JPEG" if index % 4 else "PNG", quality=90)
        content = file.getvalue()
        path = folder / f"{index % 7}" / f"{index:06d}.{'jpg' if index % 4 else 'png'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content[:200] if index % 20 == 10 else content)


def measure(source: Path, dest: Path, engine: str) -> tuple[dict[str, Any], list[Any]]:
    """Run all pictures with an engine; return figures, and what other engines must agree on."""
    from alphacut.batch import lock, manifest
    from alphacut.batch import run as runs
    from alphacut.batch.job import Job, plan
    from alphacut.batch.store import Store

    name, _, actors = engine.partition(":")
    job = Job(
        source=str(source), dest=str(dest), engine=name, actors=int(actors) if actors else None
    )
    start = time.perf_counter()
    times = []
    with lock.claimed(Store(job.dest)) as claim:
        for _ in runs.run(job, plan(job), claim):
            times.append(time.perf_counter() - start)
        table = manifest.load(Store(job.dest))
    rows = []
    for row in table.to_pylist():
        path, pixels = dest / f"{row['id']}.png", ""
        assert path.exists() == (row["status"] == "done")
        if path.exists():  # ISA-L does not always deflate the same pixels to the same bytes
            with PIL.Image.open(path) as picture:
                pixels = hashlib.sha256(picture.tobytes()).hexdigest()
        rows.append((row["id"], row["status"], row["error"], row["input_sha256"], pixels))
    # Ray returns a block of rows at a time: counting begins after the first block
    first = sum(moment <= times[0] + 0.2 for moment in times)
    rate = (len(times) - first) / (times[-1] - times[first - 1])
    failed = sum(status != "done" for _, status, *_ in rows)
    mean_bytes = float(np.mean([row["output_bytes"] for row in table.to_pylist()]))
    figures = {"engine": engine, "pictures": len(rows), "failed": failed, "rate": rate,
               "start_s": times[0], "all_s": times[-1], "output_bytes": mean_bytes}  # fmt: skip
    return figures, rows


def main() -> None:
    """Compare engines and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("engines", nargs="+", help="local, ray, or ray:ACTORS; the first is 100 %%")
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--long-side", type=int, default=640, metavar="PX")
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")  # about broken pictures: their rows say it
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "in"
        make_pictures(source, chosen.pictures, chosen.long_side)
        reference = None
        for index, engine in enumerate(chosen.engines):
            figures, rows = measure(source, Path(folder) / f"out{index}", engine)
            reference = reference or (figures, rows)
            print(
                f"{engine:<8} {figures['rate']:6.2f} pictures/s "
                f"({figures['rate'] / reference[0]['rate']:.0%}), first result after "
                f"{figures['start_s']:.1f} s, all after {figures['all_s']:.1f} s, "
                f"{figures['failed']} of {figures['pictures']} failed, "
                f"{figures['output_bytes'] / 1e3:.0f} kB each, "
                + ("agrees" if rows == reference[1] else "DIFFERS: ids, errors or pixels"),
                flush=True,
            )


if __name__ == "__main__":
    main()
