"""What the README promises."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_its_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.S)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
    assert (tmp_path / "cut.png").stat().st_size > 10_000
    assert (tmp_path / "cut.webp").exists()


def test_continuous_integration_runs_its_commands() -> None:
    commands = re.findall(r"^python3 -m venv .venv && .*$", README, re.M)
    assert commands == [
        "python3 -m venv .venv && .venv/bin/pip install . && "
        ".venv/bin/alphacut examples/astronaut.png",
        'python3 -m venv .venv && .venv/bin/pip install -e ".[dev]" && .venv/bin/pytest',
    ]
    assert "'^python3 -m venv .venv && ' README.md" in (ROOT / ".ci" / "run").read_text()


def test_its_command_line_exists() -> None:
    from click.testing import CliRunner

    from alphacut.cli.main import cli

    commands = [["batch", "run", "--help"], *([name, "--help"] for name in cli.commands)]
    text = "".join(CliRunner().invoke(cli, command).output for command in commands)
    for flag in set(re.findall(r"--[a-z][a-z-]*", README)) - {"--help"}:
        assert flag in text, flag


def test_its_gallery_is_made_by_the_script() -> None:
    script = (ROOT / "scripts" / "make_gallery.py").read_text()
    pictures = sorted((ROOT / "docs" / "gallery").iterdir())
    assert pictures
    for picture in pictures:
        assert picture.stat().st_size <= 60_000
        assert f"docs/gallery/{picture.name}" in script
    for name, options in re.findall(r"!\[\]\((docs/gallery/[\w.]+)\) `([^`]+)`", README):
        (command,) = [line for line in script.splitlines() if line.endswith(name)]
        assert set(options.split()) <= set(command.split())
    assert set(re.findall(r"docs/gallery/([\w.]+)", README)) <= {path.name for path in pictures}
