"""A tiny folder of data, and recipes that need no more than it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small import RECIPE, photograph, write

from alphacut.training.recipe import Recipe, read_recipe


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    """Sums of several threads are not always in the same order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Six cut-outs, discs of one colour each, and six backgrounds; one of each is held out."""
    for n in range(6):
        y, x = np.mgrid[:40, :40]
        inside = np.clip(16.5 - np.hypot(y - 20, x - 20), 0, 1)
        cutout = np.zeros((40, 40, 4), np.uint8)
        cutout[..., :3] = (40 * n, 255 - 40 * n, 200)
        cutout[..., 3] = np.rint(inside * 255)
        write(tmp_path / "data" / "cutouts" / f"{n}.png", cutout)
        write(tmp_path / "data" / "backgrounds" / f"{n}.png", photograph(n))
    return tmp_path / "data"


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE)
    return read_recipe(path)
