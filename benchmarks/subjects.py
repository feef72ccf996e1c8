"""Measure how well boxes and points choose among several subjects, and how well they are divided.

    python benchmarks/subjects.py --cutouts FOLDER --photos FOLDER [--seed 3] [--count 30]

Each subject of each picture is asked for by a box with 10 % slack on every side, by a point at its
inmost place, and by both. For each way: mean IoU with what is seen of the right subject, at alpha
0.5, in pictures whose subjects stand apart and in those where they touch; the share of alpha that
lies on a wrong subject; and how many subjects are missed (IoU below 0.5). With --separate, subjects
are taken one by one, as `Cutout.subjects` does, in the pictures where they stand apart: how often
there are as many as in truth, and then their mean IoU. Even seeds were used for choosing: report
odd ones.
"""

import argparse
import warnings
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

import subjects_pictures
from alphacut import Remover
from alphacut.errors import NoForegroundWarning
from alphacut.output import geometry
from subjects_pictures import Group

Array = NDArray[np.float32]

_SLACK = 0.1


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cutouts", type=Path, required=True, help="folder of RGBA cut-outs")
    parser.add_argument("--photos", type=Path, required=True, help="folder of photographs")
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--count", type=int, default=30, help="pictures")
    parser.add_argument("--model", default="u2net-lite")
    parser.add_argument("--ways", nargs="+", default=["box", "point", "both"], help="of asking")
    parser.add_argument("--separate", action="store_true", help="take subjects one by one")
    parser.add_argument("--verbose", action="store_true", help="print each subject")
    asked = parser.parse_args()
    warnings.simplefilter("ignore", NoForegroundWarning)
    remover = Remover(asked.model, decontaminate=False)
    groups = subjects_pictures.pictures(
        asked.seed, asked.cutouts, asked.photos, count=asked.count
    )  # fmt: skip
    if asked.separate:
        separate(remover, groups)
        return
    rows = defaultdict(list)
    for group in groups:
        for number, truth in enumerate(group.alphas):
            for way in asked.ways:
                changes = ways(truth)[way]
                alpha = remover(group.image, **changes).alpha
                right, wrong = iou(alpha, truth), stray(alpha, group, number)
                rows[way].append((group.apart, right, wrong))
                if asked.verbose:
                    print(f"{group.name} | {number} {way:6} {right:.3f} {wrong:.3f}", flush=True)
    print("way     apart  touching  all    wrong  missed")
    for way, found in rows.items():
        apart, right, wrong = (np.array(each) for each in zip(*found, strict=True))
        print(f"{way:6} {right[apart].mean():6.3f} {right[~apart].mean():7.3f} {right.mean():7.3f} "
              f"{wrong.mean():7.4f} {(right < 0.5).sum():4} of {len(right)}")  # fmt: skip


def separate(remover: Remover, groups: Iterable[Group]) -> None:
    """Print how well subjects that stand apart are taken one by one."""
    pictures, found = 0, []
    for group in groups:
        if group.apart:
            pictures += 1
            subjects = remover(group.image, subjects="separate").subjects()
            if len(subjects) == len(group.alphas):
                both = zip(subjects, group.alphas, strict=True)
                found.append([iou(one.alpha, truth) for one, truth in both])
            print(f"{group.name}: {len(subjects)} of {len(group.alphas)}", flush=True)
    least = [min(each) for each in found]
    print(f"as many as in truth in {len(found)} of {pictures}; mean IoU "
          f"{np.mean([one for each in found for one in each]):.3f}; all of a picture above 0.9 in "
          f"{sum(each > 0.9 for each in least)}")  # fmt: skip


def ways(truth: Array) -> dict[str, dict[str, str]]:
    """Return the options that ask for a subject, by what they are."""
    top, left, bottom, right = geometry.box_of(truth, 0.5) or (0, 0, 1, 1)
    down, across = _SLACK * (bottom - top), _SLACK * (right - left)
    H, W = truth.shape
    sides = max(0, left - across), max(0, top - down), min(W, right + across), min(H, bottom + down)
    box = " ".join(f"{side:.0f}" for side in sides)
    depth = cv2.distanceTransform((truth > 0.5).astype(np.uint8), cv2.DIST_L2, 5)
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    return {"box": {"box": box}, "point": {"points": f"{x} {y}"},
            "both": {"box": box, "points": f"{x} {y}"}}  # fmt: skip


def iou(alpha: Array, truth: Array) -> float:
    """Return intersection over union at alpha 0.5."""
    found, right = alpha > 0.5, truth > 0.5
    return float(np.count_nonzero(found & right) / max(1, np.count_nonzero(found | right)))


def stray(alpha: Array, group: Group, number: int) -> float:
    """Return which share of alpha lies on other subjects."""
    others = np.max([each for index, each in enumerate(group.alphas) if index != number], axis=0)
    return float(alpha[others > 0.5].sum() / max(1.0, alpha.sum()))


if __name__ == "__main__":
    main()
