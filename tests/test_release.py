"""What a tag publishes: the notes, the workflow's actions, the citation."""

import re
from pathlib import Path

import pytest

from alphacut import __version__

ROOT = Path(__file__).parents[1]
WORKFLOWS = {path.name: path.read_text("utf-8")
             for path in (ROOT / ".github" / "workflows").glob("*.yml")}  # fmt: skip
CHANGELOG = "# Changelog\n\n## 0.2.0, unreleased\n\n- new\n\n## 0.1.0, 2026-12-01\n\nFirst.\n"


def test_notes_are_the_section_of_a_dated_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "scripts")
    from release_notes import notes

    assert notes("0.1.0", CHANGELOG) == "First.\n"
    with pytest.raises(LookupError, match=r"## 0\.2\.0, YYYY-MM-DD"):
        notes("0.2.0", CHANGELOG)


def test_the_changelog_knows_the_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert re.search(rf"^## {re.escape(__version__)}, ", text, re.M)
    citation = (ROOT / "CITATION.cff").read_text("utf-8")
    assert f"\nversion: {__version__}\n" in citation


def test_actions_are_pinned_and_rights_are_given_by_job() -> None:
    assert set(WORKFLOWS) == {"ci.yml", "release.yml"}
    for name, text in WORKFLOWS.items():
        used = re.findall(r"uses: (\S+)", text)
        assert used
        for action in used:
            assert re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", action), f"{name}: {action}"
        assert "\npermissions: {}\n" in text
        assert text.count("actions/checkout@") == text.count("persist-credentials: false")


def test_files_that_the_workflows_name_exist() -> None:
    for text in WORKFLOWS.values():
        for file in re.findall(r"(?:scripts|requirements|src|\.ci)/[\w/.]+", text):
            assert (ROOT / file).exists(), file
