"""Mutated files of every format: pixels or an error of ours, and nothing of what memory held."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "fuzz.py"


@pytest.fixture(scope="module")
def fuzz() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fuzz", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_mutated_files(fuzz: ModuleType) -> None:
    """`benchmarks/fuzz.py` reads 10,000 of them."""
    outcomes = list(fuzz.fuzz(300, seed=1))
    assert [(name, fault) for name, _, _, fault in outcomes if fault] == []
    kinds = {outcome.split(":")[0] for _, _, outcome, _ in outcomes}
    assert kinds == {"read", "refused"}


def test_seeds_are_read(fuzz: ModuleType) -> None:
    for name, data in fuzz.make_seeds().items():
        assert fuzz.outcome_of(data, allow_truncated=False).startswith("read"), name


def test_a_leak_is_found(fuzz: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two outcomes of one file that differ are a fault."""
    answers = iter(range(100))
    monkeypatch.setattr(fuzz, "outcome_of", lambda *_, **__: f"read: {next(answers)}")
    assert all(fault.startswith("differs") for *_, fault in fuzz.fuzz(2))
