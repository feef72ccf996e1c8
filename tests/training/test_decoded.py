"""Arrays are made once from files, and anew when the files or the wish change."""

import os
from pathlib import Path

import numpy as np

from alphacut.training.decoded import Decoded


def test_made_once(tmp_path: Path) -> None:
    file, made = tmp_path / "a.txt", []
    file.write_text("a")

    def make() -> np.ndarray:
        made.append(1)
        return np.full((2, 3), len(made), np.uint8)

    decoded = Decoded(tmp_path / "decoded", 8)
    first = decoded([file], "how", make)
    assert np.array_equal(first, np.ones((2, 3)))
    assert not first.flags.writeable
    assert np.array_equal(Decoded(tmp_path / "decoded", 8)([file], "how", make), first)
    assert len(made) == 1
    assert (decoded([file], "otherwise", make) == 2).all()
    assert (Decoded(tmp_path / "decoded", 9)([file], "how", make) == 3).all()
    os.utime(file, (1, 1))
    assert (decoded([file], "how", make) == 4).all()
