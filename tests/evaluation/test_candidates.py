"""`benchmarks/candidates.py`: what it combines, and that nothing is trained on what chooses."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from alphacut.models import weights
from alphacut.runtimes.pytorch import load_network

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
LISTS = BENCHMARKS.parent / "recipes" / "pool"


@pytest.fixture(scope="module")
def candidates() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("candidates", BENCHMARKS / "candidates.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        patch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        yield module


class Says:
    """A network that answers with one plane."""

    device, prefers_batches = "cpu", False

    def __init__(self, plane: np.ndarray) -> None:
        self.plane = plane.astype(np.float32)[np.newaxis, np.newaxis]

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        return self.plane


def names(name: str) -> set[str]:
    return set((LISTS / name).read_text(encoding="utf-8").split())


def test_nothing_is_trained_on_what_chooses() -> None:
    photographs = names("valid-photographs.txt")
    assert {name for name in photographs if name[0] != "s"} <= names("held-out.txt")
    assert not photographs & names("struck.txt")
    grounds = names("grounds.txt") | names("grounds-busy.txt")
    assert not grounds & (photographs | names("valid-empty.txt") | names("valid-busy.txt"))


def test_two_networks(candidates: ModuleType) -> None:
    sure, torn = np.zeros((96, 96), np.float32), np.zeros((96, 96), np.float32)
    sure[20:70, 20:70] = 1
    torn[20:70, 20:70] = 0.5
    parts = {"sure": Says(sure), "torn": Says(torn)}
    batch = np.zeros((1, 3, 96, 96), np.float32)
    for text, expected in (
        ("sure+torn", (sure + torn) / 2),
        ("sure?0.1:torn", sure),
        ("torn?0.1:sure", sure),
        ("torn?0.1:sure+torn", (sure + torn) / 2),
        ("sure^torn", sure),
        ("torn^sure", sure),
    ):
        np.testing.assert_allclose(candidates.read_candidate(text, parts)(batch)[0, 0], expected)


@pytest.mark.slow
def test_means_and_shares_of_weights(candidates: ModuleType, tmp_path: Path) -> None:
    spec = weights.find_model("u2net-lite")
    start = load_network("u2netp", weights.fetch(spec, "onnx")).state_dict()
    paths = []
    for shift in (1.0, 3.0):
        paths.append(tmp_path / f"{shift}.safetensors")
        save_file({name: (t + shift).contiguous() for name, t in start.items()}, paths[-1])
    for share, shift in ((1.0, 2.0), (0.25, 0.5)):
        found = candidates.mean_network(paths, share).state_dict()
        for name, tensor in start.items():
            torch.testing.assert_close(found[name], tensor + shift, rtol=1e-5, atol=1e-4)
