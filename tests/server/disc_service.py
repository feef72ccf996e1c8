"""The service over a network whose answer is known: a disc. Run by the tests as a program."""

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from alphacut import Remover
from alphacut.runtimes.prompted import KEEP, MASK_PX, PromptedRuntime
from alphacut.server import run
from alphacut.server.settings import Settings


class Disc:
    """A runtime that finds a disc in the middle of every picture, and takes its time."""

    device = "cpu"
    prefers_batches = False

    def __init__(self, predict_s: float) -> None:
        self.predict_s = predict_s

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        time.sleep(self.predict_s * (5 if batch.mean() < -1 else 1))  # dark ones take longer
        N, _, h, w = batch.shape
        y, x = np.mgrid[:h, :w]
        distance = np.hypot(y - h / 2 + 0.5, x - w / 2 + 0.5)
        disc = np.clip((0.4 * h - distance) / 8 + 0.5, 0, 1)
        return np.broadcast_to(disc, (N, 1, h, w)).astype(np.float32)


def find_disc(
    embedding: np.ndarray, points: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, ...]:
    """A decoder that finds a disc around the first point that is kept, an eighth of the frame."""
    y, x = np.mgrid[:MASK_PX, :MASK_PX]
    at = points[labels == KEEP][0] / 4
    mask = np.where(np.hypot(x - at[0], y - at[1]) < MASK_PX / 8, 10, -10)
    return np.stack([mask] * 4).astype(np.float32), np.ones(4, np.float32)


def main() -> None:
    wanted: dict[str, Any] = json.loads(sys.argv[1])
    disc = Disc(wanted.pop("predict_s", 0.0))
    first = wanted.pop("first", "u2net-lite")
    if wanted.get("api_keys"):
        wanted["api_keys"] = Path(wanted["api_keys"])
    settings = Settings(**wanted)
    prompted = PromptedRuntime(disc, lambda batch: batch[:, :1, ::16, ::16], find_disc, "cpu")
    removers = [Remover(network=disc), Remover("mobile-sam", network=prompted)]
    removers.sort(key=lambda remover: remover.spec.name != first)
    run.serve(settings, {remover.spec.name: remover for remover in removers})


if __name__ == "__main__":  # workers import this file anew
    main()
