"""What README.md, CONTRIBUTING.md and the docs promise."""

import re
from collections.abc import Iterator
from pathlib import Path

import click
from click.testing import CliRunner

from alphacut.cli.main import cli
from alphacut.cli.options import REMBG_COMMANDS, REMBG_OPTIONS
from alphacut.errors import INSTALL
from alphacut.models.entry import ModelSpec, Weights
from test_architecture import FLOORS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
DOCS = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
    if path.parent.parent.name != "reference"  # made from the commands and docstrings
}


def test_users_of_rembg_find_each_of_its_options() -> None:
    text = DOCS["docs/migrate-from-rembg.md"]
    for word in {word for word in REMBG_OPTIONS if not word.startswith("--")} - {"-i"}:
        assert re.search(rf"`{word}[` ]", text), word
    for word in REMBG_COMMANDS:
        assert f"`rembg {word}" in text
    ours = "".join(line.split("|")[2] for line in text.splitlines() if line.count("|") == 4)
    flags = {name.replace("_", "-") for name in re.findall(r"--(?:no-)?([a-z][\w-]*)", ours)}
    flags |= {name.replace("_", "-") for name in re.findall(r"(\w+)=", ours)}
    assert {"mask", "harden"} <= flags
    manual = CliRunner().invoke(cli, ["remove", "--help"]).output
    for flag in flags:
        assert f"--{flag}" in manual, flag


def test_continuous_integration_runs_its_commands() -> None:
    commands = re.findall(r"^python3 -m venv .venv && .*$", README, re.M)
    assert commands == [
        "python3 -m venv .venv && .venv/bin/pip install . && "
        ".venv/bin/alphacut examples/astronaut.png",
        'python3 -m venv .venv && .venv/bin/pip install -e ".[dev]" && .venv/bin/pytest',
    ]
    assert "'^python3 -m venv .venv && ' README.md" in (ROOT / ".ci" / "run").read_text()


def test_its_extras_exist() -> None:
    table = (ROOT / "pyproject.toml").read_text().split("[project.optional-dependencies]")[1]
    extras = set(re.findall(r"^([a-z]+) = \[", table.split("\n[")[0], re.M))
    assert "serve" in extras
    text = "".join(DOCS.values())
    named = ",".join(re.findall(r'pip install (?:-e )?"(?:alphacut|\.)\[([\w,]+)\]"', text))
    named += "," + ",".join(re.findall(r"\(?extra `(\w+)`", text))
    assert set(named.strip(",").split(",")) <= extras


def test_docs_install_extras_as_messages_do() -> None:
    """Before alphacut is published, `pip install "alphacut[serve]"` installs nothing of ours."""
    (source,) = re.findall(r'pip install "(.*)\[', INSTALL)
    for page, text in DOCS.items():
        for named in re.findall(r'pip install (?:-e )?"([^\s"[]+)\[', text):
            assert named == source, page


def test_its_command_line_exists() -> None:
    text = " ".join(flags(cli))
    for page in ("README.md", *(page for page in DOCS if page.startswith("docs/guides/"))):
        for flag in set(re.findall(r"--[a-z][a-z-]*", DOCS[page])) - {"--help"}:
            assert flag in text, f"{page}: {flag}"


def flags(command: click.Command) -> Iterator[str]:
    """All flags of a command and of those below it."""
    for parameter in command.params:
        yield from (*parameter.opts, *parameter.secondary_opts)
    for below in getattr(command, "commands", {}).values():
        yield from flags(below)


def test_its_layers_are_those_of_the_architecture() -> None:
    (line,) = re.findall(
        r"^    (__main__ cli .*(?:\n    .*)*)$", DOCS["docs/architecture.md"], re.M
    )
    assert line.split() == list(FLOORS)


def test_files_that_the_docs_name_exist() -> None:
    folders = ("docs", "src", "tests", "scripts", "benchmarks", "recipes")
    files = [f"/{path}" for folder in folders for path in (ROOT / folder).rglob("*.*")]
    for page, text in DOCS.items():
        if page in ("CHANGELOG.md", "docs/log.md"):  # records of their day
            continue
        for name in set(re.findall(r"`([\w./-]+\.(?:py|toml))`", text)) - {"utils.py"}:
            assert any(file.endswith(f"/{name}") for file in files), f"{page} names {name}"
        for name in re.findall(r"\]\((?!https?:)([^)#]+)", text):
            assert (ROOT / page).parent.joinpath(name).exists(), f"{page} links {name}"


def test_no_address_is_invented() -> None:
    """The project has no place of its own on the web yet."""
    files = [ROOT / "pyproject.toml", ROOT / "NOTICE", *(ROOT / "src").rglob("*.py"),
             *(ROOT / "packages").rglob("*.toml")]  # fmt: skip
    texts = [*DOCS.values(), *(path.read_text(encoding="utf-8") for path in files)]
    assert not [text for text in texts if re.search(r"https?://[\w./-]*alphacut", text)]


def test_the_model_to_add_is_an_entry() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", CONTRIBUTING, re.S)
    entry = eval(code, {"ModelSpec": ModelSpec, "Weights": Weights})
    assert entry.arch == "isnet"


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
