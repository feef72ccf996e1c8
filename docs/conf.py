"""How Sphinx makes the site: sphinx-build -W --keep-going -c docs . build/site.

The whole checkout is the source, so that a page links to another, to CHANGELOG.md or to a notebook
as it does in the checkout itself. Nothing is fetched: the fonts are the reader's own.
"""

import inspect
import pkgutil
import re
import textwrap
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import click
from sphinx.application import Sphinx

import alphacut
from alphacut.cli.main import cli
from alphacut.cli.options import PictureCommand

ROOT = Path(__file__).parents[1]

project = "alphacut"
author = "the alphacut authors"
copyright = "the alphacut authors, Apache-2.0"
version = release = alphacut.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "docs/index"
include_patterns = [
    "docs/**.md", "examples/notebooks/*.ipynb", "examples/**.md", "packages/*/README.md",
    "integrations/*/README.md",
    "CHANGELOG.md", "CONTRIBUTING.md", "CODE_OF_CONDUCT.md", "MODELS.md", "SECURITY.md",
]  # fmt: skip
exclude_patterns = [".*", "build", "dist", "src", "tests", "shared", "**/node_modules"]

smartquotes = False  # --flag is no dash
myst_heading_anchors = 4  # as the links of a checkout's viewer
myst_enable_extensions = ["attrs_inline"]
nb_execution_mode = "off"  # the notebooks are kept with what they showed; tests run them
# a link to a file that the reader's own run would save: its name is enough
nb_mime_priority_overrides = [("html", "text/html", None)]

default_role = "code"  # docstrings write `code`
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_numpy_docstring = False
napoleon_use_ivar = True
maximum_signature_line_length = 80
python_use_unqualified_type_names = True

html_theme = "furo"
html_title = "alphacut"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_extra_path = ["_root"]  # index.html, which leads to docs/index.html
html_copy_source = False
html_show_sphinx = False
pygments_style, pygments_dark_style = "friendly", "monokai"

REFERENCE = ROOT / "docs" / "reference"
PACKAGES = ("pipeline", "output", "models", "models.nets", "runtimes", "video", "evaluation",
            "training", "batch")  # fmt: skip


def write_reference(_: Sphinx) -> None:
    """Write a page for each command and each package of stages, from their own texts."""
    program = click.Context(cli, info_name="alphacut")
    for name, command in cli.commands.items():
        context = click.Context(command, info_name=name, parent=program)
        _write("commands", name, command_page(context, "#"))
    for package in PACKAGES:
        _write("api", package, package_page(f"alphacut.{package}"))


def command_page(context: click.Context, heading: str) -> Iterator[str]:
    """Yield the MyST lines of a command, and of those below it."""
    command = context.command
    usage = " ".join(command.collect_usage_pieces(context))
    yield f"{heading} {context.command_path}\n"
    yield f"```text\n{context.command_path} {usage}\n```\n"
    for paragraph in re.split(r"\n\n+(?=\S|\b\n)", inspect.cleandoc(command.help or "")):
        if paragraph.startswith("\b\n"):  # click's mark for lines that stay as they are
            yield f"```text\n{textwrap.dedent(paragraph[2:])}\n```\n"
        else:
            yield _prose(paragraph) + "\n"
    yield f"```{{program}} {context.command_path}\n```\n"
    if isinstance(command, PictureCommand):
        sections = command.sections(context)
    else:
        options = [each for each in command.get_params(context) if isinstance(each, click.Option)]
        sections = {"": options}
    for title, options in sections.items():
        if title:
            yield f"{heading}# {title}\n"
        for option in options:
            record = option.get_help_record(context)
            if record and option.name != "help":
                signature = record[0].replace(" / ", ", ")
                yield f"```{{option}} {signature}\n{_prose(record[1])}\n```\n"
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = click.Context(command.commands[name], info_name=name, parent=context)
            yield from command_page(below, heading + "#")


def _prose(text: str) -> str:
    """Return a help text with what Markdown would take for markup escaped, code left as it is."""
    paragraphs = text.split("`")
    return "`".join(re.sub(r"([*_<[])", r"\\\1", part) if index % 2 == 0 else part
                    for index, part in enumerate(paragraphs))  # fmt: skip


def package_page(name: str) -> Iterator[str]:
    """Yield the MyST lines of a package: each of its modules, documented by its docstrings."""
    package = import_module(name)
    yield f"# {name}\n"
    yield f"```{{eval-rst}}\n.. automodule:: {name}\n```\n"
    for module in pkgutil.iter_modules(package.__path__, f"{name}."):
        if not module.ispkg:
            yield f"## {module.name.removeprefix('alphacut.')}\n"
            yield f"```{{eval-rst}}\n.. automodule:: {module.name}\n```\n"


def _write(folder: str, name: str, lines: Iterator[str]) -> None:
    path, text = REFERENCE / folder / f"{name}.md", "\n".join(lines)
    path.parent.mkdir(exist_ok=True)
    if not path.exists() or path.read_text(encoding="utf-8") != text:  # else Sphinx reads it again
        path.write_text(text, encoding="utf-8")


def keep_layout(*event: Any) -> None:
    """Make the indented blocks of docstrings literal, as they are read in the source."""
    lines = event[-1]
    tree = {number for number, line in enumerate(lines) if line[:1] in ("├", "└")}
    for number in tree | {number - 1 for number in tree}:
        lines[number] = "    " + lines[number]
    if tree:
        lines[min(tree) - 1 : min(tree) - 1] = ["::", ""]
    for number, line in enumerate(lines[:-2]):
        below = lines[number + 2]
        if line.endswith(":") and not lines[number + 1] and below.startswith("    "):
            lines[number] += ":"


def setup(app: Sphinx) -> None:
    """Register what Sphinx is to call."""
    app.connect("builder-inited", write_reference)
    app.connect("autodoc-process-docstring", keep_layout, priority=400)  # before napoleon
