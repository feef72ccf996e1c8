import dataclasses
import shutil
from pathlib import Path

import pytest

from alphacut import weights, zoo
from alphacut.errors import UnknownName, WeightsError

SPEC = zoo.MODELS[0]


def test_embedded_file_is_the_rows() -> None:
    path = weights.fetch(SPEC)
    assert path.stat().st_size == SPEC.weights.bytes


def test_damaged_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(weights.fetch(SPEC), tmp_path)
    monkeypatch.setattr(weights, "ASSETS", tmp_path)
    with (tmp_path / SPEC.weights.file).open("r+b") as file:
        file.seek(1000)
        file.write(b"x")
    with pytest.raises(WeightsError, match=r"u2net-lite are damaged \(SHA-256"):
        weights.fetch(SPEC)


def test_missing_weights_say_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "ASSETS", tmp_path)
    with pytest.raises(WeightsError, match="install alphacut again"):
        weights.fetch(SPEC)


def test_rows() -> None:
    names = [name for spec in zoo.MODELS for name in (spec.name, *spec.aliases)]
    assert len(names) == len(set(names))
    assert zoo.find_model("u2netp") is zoo.find_model("u2net-lite") is SPEC
    with pytest.raises(UnknownName, match=r"unknown model 'rmbg-9': choose one of u2net-lite"):
        zoo.find_model("rmbg-9")
    with pytest.raises(dataclasses.FrozenInstanceError):
        SPEC.name = "other"  # type: ignore[misc]
