"""See whether the constants of `matting.py` hold on subjects of a kind that did not choose them.

    python benchmarks/leave_one_out.py DATA [--pictures 16] [--seed 0]

DATA is a folder as docs/training.md describes it. Subjects are divided into collections by what
they are; `edges_pictures.py` draws each collection's pictures. Every constant below is changed by
itself. Then one collection after the other is left out, the change that is best for all others
is taken, and the one left out tells what that choice is worth: the ratio of MAD, Grad and RECOMP
to those of the constants as they are. Where all say 1.00, they would have been chosen again.
"""

import argparse
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

import edges_pictures
from alphacut import runtimes
from alphacut.evaluation import metrics
from alphacut.models import weights
from alphacut.options import DEFAULT_MODEL
from alphacut.pipeline import matting, transforms
from alphacut.pipeline.foreground import estimate_foreground
from alphacut.runtimes import Runtime
from edges_pictures import Sources
from report import table

Array = NDArray[np.float32]

SPEC = weights.find_model(DEFAULT_MODEL)
AS_IS = "as is"
CHANGES: Mapping[str, Mapping[str, Any]] = MappingProxyType({
    AS_IS: {},
    "windows 3 px": {"_RADIUS_PX": 3},
    "windows 6 px": {"_RADIUS_PX": 6},
    "less stretch": {"_STRETCH": ((0.05, 0.95), (0.02, 0.98))},
    "more stretch": {"_STRETCH": ((0.15, 0.85), (0.1, 0.9))},
    "narrow surroundings": {"_SURROUNDINGS": 0.15},
    "wide surroundings": {"_SURROUNDINGS": 0.5},
    "32 levels": {"_LEVELS": 32},
    "colours decide sooner": {"_APART": (4.0, 15.0)},
    "colours decide later": {"_APART": (16.0, 60.0)},
    "less contrast": {"_CONTRAST": (0.25, 0.6)},
    "more contrast": {"_CONTRAST": (0.8, 1.5)},
    "thin parts sooner": {"_UNLIKE": (8.0, 25.0), "_EVEN": 0.05},
    "no thin parts": {"_EVEN": 0.0},
})  # fmt: skip
_MEGAPIXELS = (0.3, 0.8)
_KINDS = {"birds": "birds", "mammals": "mammals", "household": "household", "vehicles": "vehicles"}
_OTHERS = "other cut-outs"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="folder of the data")
    parser.add_argument("--pictures", type=int, default=16, help="of a collection (default: 16)")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    network = runtimes.load(SPEC)
    found: dict[str, Array] = {}
    for name, sources in collect(asked.data):
        first = asked.seed + zlib.crc32(name.encode()) % 10_000
        rows = [measure(network, sources, first + n) for n in range(asked.pictures)]
        found[name] = np.mean(rows, axis=0)
        print(f"{name}: {' / '.join(f'{value:.2f}' for value in found[name][0])}", flush=True)
    print(table(["left out", "chosen by the others", "MAD", "Grad", "RECOMP"], choose(found)))


def collect(data: Path) -> Iterator[tuple[str, Sources]]:
    """Each collection by its name."""
    folders = data / "backgrounds", data / "pool2" / "background"
    files = (path for folder in folders for path in sorted(folder.iterdir()))
    grounds = [path for path in files if path.suffix in {".jpg", ".webp"}]
    by_kind: dict[str, list[Path]] = {}
    for path in sorted((data / "cutouts").glob("*.png")):
        by_kind.setdefault(_KINDS.get(path.stem.split("_")[0], _OTHERS), []).append(path)
    by_kind["goods"] = sorted((data / "pool2" / "cutout").glob("*.webp"))
    for name, cutouts in by_kind.items():
        yield name, Sources([cutouts], [], grounds)
    pool = data / "pool"
    for name, start in (("people", "p-"), ("clothes and things", "o-")):
        pairs = [(path, pool / "teacher" / path.name)
                 for path in sorted((pool / "image").glob(f"{start}*.webp"))]  # fmt: skip
        yield name, Sources([by_kind["goods"]], pairs, grounds)


def measure(network: Runtime, sources: Sources, seed: int) -> Array:
    """MAD, Grad and RECOMP of a picture after each of the changes: (changes, 3)."""
    while True:
        drawn = edges_pictures.draw(sources, seed, _MEGAPIXELS)
        if not sources.masked or drawn.traits["subject"] == "masked":
            break
        seed += 100_000  # this one is not of the collection
    batch = transforms.preprocess(drawn.image, SPEC)
    saliency = transforms.postprocess(network(batch), batch, SPEC)
    rows = []
    for change in CHANGES.values():
        kept = {name: getattr(matting, name) for name in change}
        for name, value in change.items():
            setattr(matting, name, value)
        try:
            alpha = matting.estimate_alpha_fast(drawn.image, saliency)
        finally:
            for name, value in kept.items():
                setattr(matting, name, value)
        colours = estimate_foreground(drawn.image, alpha)
        rows.append((
            1000 * metrics.mad(alpha, drawn.alpha),
            metrics.grad(alpha, drawn.alpha),
            metrics.recomp(colours, alpha, drawn.foreground, drawn.alpha),
        ))  # fmt: skip
    return np.asarray(rows, np.float32)


def choose(found: Mapping[str, Array]) -> list[list[str]]:
    """The table's rows; in each, one collection is left out."""
    names = list(CHANGES)
    ratios = {name: values / values[names.index(AS_IS)] for name, values in found.items()}
    rows = []
    for left_out, own in ratios.items():
        others = np.mean([each for name, each in ratios.items() if name != left_out], axis=0)
        best = int(others.mean(axis=1).argmin())
        rows.append([left_out, names[best], *(f"{value:.3f}" for value in own[best])])
    return rows


if __name__ == "__main__":
    main()
