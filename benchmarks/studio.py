"""Measure known grounds against the default on studio pictures drawn by studio_pictures.py.

    python benchmarks/studio.py --cutouts FOLDER --photos FOLDER [--seed 3] [--count 8]

Each picture is cut out with one network's output, with `ground` off and with `ground` auto. For
each kind: MAD x 1000 of both, how many pixels of alpha above 0.9 came out below 0.5, how far the
composite with the kept shadow is from the true one in the shadow's area (levels of 255), and
processor milliseconds a megapixel of what `ground` adds. Even seeds were used for choosing: report
odd ones. The last line names the photographs whose ground was taken for plain; all others come out
byte for byte the same.
"""

import argparse
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import studio_pictures
from alphacut import Remover
from alphacut.pipeline.ground import estimate_shadow, fit_ground
from alphacut.pipeline.key import key
from studio_pictures import Studio

Array = NDArray[np.float32]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cutouts", type=Path, required=True, help="folder of RGBA cut-outs")
    parser.add_argument("--photos", type=Path, required=True, help="folder of photographs")
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--count", type=int, default=8, help="pictures of each kind")
    parser.add_argument("--side", type=int, default=600, help="side of the pictures in px")
    parser.add_argument("--kinds", nargs="+", default=studio_pictures.KINDS)
    asked = parser.parse_args()
    remover = Remover(decontaminate=False)
    rows = defaultdict(list)
    changed = []
    for studio in studio_pictures.pictures(
        asked.seed, asked.cutouts, asked.photos, kinds=tuple(asked.kinds), count=asked.count,
        side_px=asked.side,
    ):  # fmt: skip
        rough = remover(studio.image).alpha
        start = time.process_time()
        ground = fit_ground(studio.image, rough)
        alpha = rough if ground is None else key(studio.image, ground, rough)
        megapixels = rough.size / 1e6
        cost_ms = (time.process_time() - start) * 1000 / megapixels
        if studio.kind == "photo" and ground is not None:
            changed.append(studio.name)
        shadow = np.nan
        if ground is not None:
            shadow = shadow_error(studio, alpha, estimate_shadow(studio.image, alpha, ground))
        before, after = (
            1000 * float(np.abs(each - studio.alpha).mean()) for each in (rough, alpha)
        )
        rows[studio.kind].append((before, after, lost(rough, studio), lost(alpha, studio), shadow,
                                  cost_ms))  # fmt: skip
        print(f"{studio.name:50} {before:7.2f} -> {after:7.2f}", flush=True)
    print("kind                   off    auto  ratio    lost    lost  shadow ms/MP")
    means = {kind: np.nanmean(np.array(each), axis=0) for kind, each in rows.items()}
    means["all but photos"] = np.nanmean([means[kind] for kind in means if kind != "photo"], axis=0)
    for kind, (off, auto, gone, left, shadow, cost_ms) in means.items():
        print(f"{kind:18} {off:7.2f} {auto:7.2f} {auto / off:6.2f} {gone:7.0f} {left:7.0f} "
              f"{shadow:7.2f} {cost_ms:5.0f}")  # fmt: skip
    print(f"photographs taken for plain grounds: {', '.join(changed) or 'none'}")


def lost(alpha: Array, studio: Studio) -> int:
    """Count pixels of the subject that are missing."""
    return int(((studio.alpha > 0.9) & (alpha < 0.5)).sum())


def shadow_error(studio: Studio, alpha: Array, shadow: Array) -> float:
    """Compare composites on light grey in the shadow's area, in levels of 255."""
    area = studio.shadow > 0.02
    if not area.any():
        return float("nan")
    ground = np.full_like(studio.foreground, 200 / 255)
    truth = studio_pictures.composite(studio.foreground, studio.alpha, ground, studio.shadow)
    made = studio_pictures.composite(studio.foreground, alpha, ground, shadow)
    return float(255 * np.abs(truth - made)[area].mean())


if __name__ == "__main__":
    main()
