"""Arrays that are made once from files, and mapped into memory each time after that.

To decode a photograph, and above all to solve for a subject's alpha and colours, takes longer than
a small network needs to learn from it.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from alphacut import files
from alphacut.training.steps import Pixels


class Decoded:
    """Arrays by the files they are made of, kept in a folder.

    Args:
        folder: Where they are kept; it need not exist.
        longest_px: Longest side of what is kept.
    """

    def __init__(self, folder: Path, longest_px: int) -> None:
        self._folder, self.longest_px = folder, longest_px

    def __call__(self, paths: Sequence[Path], how: object, make: Callable[[], Pixels]) -> Pixels:
        """Return what `make` returns, or has returned before for the same files.

        Args:
            paths: The files it is made of. Where one of them has changed, it is made anew.
            how: What else it depends on.
            make: Makes it; uint8, no side longer than `longest_px`.
        """
        states = [(str(path.resolve()), os.stat(path).st_mtime_ns) for path in paths]
        key = hashlib.sha256(repr((self.longest_px, states, how)).encode()).hexdigest()[:32]
        kept = self._folder / f"{key}.npy"
        if not kept.exists():
            array = make()
            with files.replacing(kept, make_folder=True) as part, part.open("wb") as file:
                np.save(file, array)
        return np.asarray(np.load(kept, mmap_mode="r"), np.uint8)
