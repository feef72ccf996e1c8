"""The notebooks run from first to last cell, as a reader would run them, and show pictures."""

import os
import re
import shutil
from pathlib import Path

import nbclient
import nbformat
import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "examples" / "notebooks").glob("*.ipynb"))


def test_there_are_five() -> None:
    assert [path.name[0] for path in NOTEBOOKS] == list("12345")


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Offline: what cannot be had is replaced as the notebook itself says."""
    monkeypatch.setenv("ALPHACUT_OFFLINE", "1")
    monkeypatch.setenv("PYTHONWARNINGS", "default")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    examples = tmp_path / "examples"
    shutil.copytree(
        ROOT / "examples", examples, ignore=shutil.ignore_patterns("*-cutout.*", "results")
    )
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    before = set(os.listdir(examples))
    notebook = nbformat.read(examples / "notebooks" / path.name, as_version=4)
    folder = {"metadata": {"path": str(examples / "notebooks")}}
    nbclient.NotebookClient(notebook, timeout=240, resources=folder).execute()

    pictures = [
        output
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "image/jpeg" in output.get("data", {})
    ]
    assert len(pictures) >= 2
    links = set(re.findall(r"href='(results/[^']+)'", str(notebook.cells)))
    assert links
    for link in links:  # what the recipe saves
        assert (examples / "notebooks" / link).stat().st_size > 1000
    assert set(os.listdir(examples)) == before  # nothing is left behind


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_says_what_ran_and_links_what_it_saved(path: Path) -> None:
    """As it is kept, with the pictures that a reader sees."""
    text = path.read_text(encoding="utf-8")
    assert "FileLink(" in text
    if "rmbg" in text:
        assert "What runs: " in text


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_small_and_says_where_weights_are_random(path: Path) -> None:
    assert path.stat().st_size < 600_000
    text = path.read_text(encoding="utf-8")
    if "nets.build(" in text:
        assert "**random" in text
        assert "Random weights:" in text
    assert '"output_type": "error"' not in text
