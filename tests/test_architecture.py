"""Who may import whom: the house is one line of floors, and each room knows only those below it."""

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "alphacut"

# The floors, from the roof to the ground, each with the third-party packages that it may import
FLOORS: dict[str, str] = {
    "__main__": "",
    "cli": "click rich numpy pyarrow prometheus_client",
    "server": "numpy cv2 fastapi starlette uvicorn python_multipart httpx prometheus_client limits",
    "demo": "PIL click fastapi gradio starlette uvicorn",
    "mcp": "anyio mcp numpy",
    "batch": "numpy cv2 filelock fsspec pyarrow ray tenacity watchdog",
    "training": "numpy cv2 PIL torch safetensors matplotlib tomli",
    "evaluation": "numpy cv2 onnx",
    "video": "numpy cv2 PIL av pyvirtualcam",
    "remover": "numpy",
    "stages": "numpy",
    "cutout": "numpy cv2 PIL matplotlib",
    "output": "numpy cv2 PIL isal matplotlib",
    "pipeline": "numpy cv2 PIL pillow_heif pylibjxl pymatting tifffile",
    "runtimes": "numpy openvino onnxruntime torch safetensors onnx",
    "models": "torch filelock",
    "options": "",
    "values": "PIL",
    "parallel": "cv2",
    "files": "",
    "errors": "",
}
# Each library of a runtime is imported in one file; the writer of graphs joins them. Networks and
# training are PyTorch's.
OWN_FILES = {
    "openvino": {"openvino.py"},
    "onnxruntime": {"onnx.py"},
    "onnx": {"graph.py", "quantize.py"},
    "torch": {"pytorch.py", "graph.py"},
    "safetensors": {"pytorch.py"},
    "gradio": {"gradio_import.py"},
    "ray": {"on_ray.py"},
    "watchdog": {"watch.py"},
    "mcp": {"mcp.py"},
}
TYPES_ONLY = ("typing_extensions",)  # type checkers have it; programs do not need it
ORDER = list(FLOORS)
FILES = {
    path.relative_to(PACKAGE).with_suffix("").as_posix().replace("/", "."): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
ROOT = "__init__"  # the public names, which lie on the roof and are loaded when they are used


def imports(source: str) -> Iterator[str]:
    """Absolute dotted names of all imports of a file, at any depth."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def file_of(name: str) -> str:
    """The file of this package that an absolute name belongs to."""
    parts = name.split(".")[1:]
    while parts:
        for candidate in (".".join(parts), ".".join([*parts, "__init__"])):
            if candidate in FILES:
                return candidate
        parts.pop()
    return ROOT


def arrows(sources: dict[str, str]) -> dict[str, set[str]]:
    """The files that each file imports."""
    return {
        file: {
            file_of(name)
            for name in imports(source)
            if name.split(".")[0] == "alphacut" and name != "alphacut.__version__"
        }
        - {file}
        for file, source in sources.items()
    }


def judge(file: str, source: str) -> list[str]:
    """Sentences about the imports of a file that the order of the floors forbids."""
    floor = file.split(".")[0]
    if floor == ROOT:
        return []
    faults = [
        f"{file} must not import alphacut.{target}"
        for target in sorted(arrows({file: source})[file])
        if target == ROOT or ORDER.index(target.split(".")[0]) < ORDER.index(floor)
    ]
    for name in imports(source):
        package = name.split(".")[0]
        known = package in ("alphacut", *TYPES_ONLY) or package in sys.stdlib_module_names
        if not known and package not in FLOORS[floor].split():
            faults.append(f"{file} must not import {package}")
    return faults


# Doors that are distributions of their own: folder, packages, and rooms of alphacut that they enter
OUTSIDE = {
    "packages/alphacut-rembg/src/rembg": (
        "click numpy PIL rembg",
        "cli.terminal server.run server.settings batch remover cutout output pipeline runtimes "
        "models options values parallel files errors",
    ),
    "integrations/krita/alphacut_krita": ("krita PyQt5", ""),  # alphacut is a process of its own
    "integrations/comfyui": ("numpy torch nodes", "output pipeline models options errors"),
}


def judge_outside(source: str, packages: str, rooms: str) -> list[str]:
    """Sentences about the imports of a door outside that go past the pipeline."""
    faults = []
    for name in imports(source.replace("from .nodes", "from nodes")):
        package, _, within = name.partition(".")
        if package == "alphacut":
            target = file_of(name)
            if target != ROOT and not any(
                target == room or target.startswith(f"{room}.") for room in rooms.split()
            ):
                faults.append(f"must not import alphacut.{within}")
        elif package not in {*sys.stdlib_module_names, *packages.split()}:
            faults.append(f"must not import {package}")
    return faults


@pytest.mark.parametrize("folder", OUTSIDE)
def test_doors_outside_call_the_pipeline_only(folder: str) -> None:
    files = sorted((PACKAGE.parents[1] / folder).rglob("*.py"))
    assert files
    for path in files:
        assert judge_outside(path.read_text(encoding="utf-8"), *OUTSIDE[folder]) == [], path
    assert judge_outside("from alphacut.demo import app", *OUTSIDE[folder])
    assert judge_outside("import pandas", *OUTSIDE[folder])


def cycle(sources: dict[str, str]) -> list[str]:
    """The files that import each other in a circle, wherever in a file the imports stand."""
    graph = {file: targets for file, targets in arrows(sources).items() if file != ROOT}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


SOURCES = {file: path.read_text(encoding="utf-8") for file, path in FILES.items()}


@pytest.mark.parametrize("file", FILES)
def test_imports_point_down(file: str) -> None:
    assert judge(file, SOURCES[file]) == []


def test_no_files_import_each_other_in_a_circle() -> None:
    assert cycle(SOURCES) == []


def test_every_room_has_its_floor() -> None:
    assert {file.split(".")[0] for file in FILES} == {*FLOORS, ROOT}


@pytest.mark.parametrize("library", OWN_FILES)
def test_each_library_has_its_own_file(library: str) -> None:
    users = {
        FILES[file].name
        for file, source in SOURCES.items()
        if not file.startswith(("models.nets", "training"))
        and any(name.split(".")[0] == library for name in imports(source))
    }
    assert users == OWN_FILES[library]


@pytest.mark.parametrize(
    ("file", "mistake"),
    [
        ("pipeline.image", "import torch"),
        ("pipeline.image", "from alphacut.remover import Remover"),
        ("pipeline.matting", "from alphacut.output import encode"),  # a room above
        ("pipeline.transforms", "def f():\n    from alphacut import cli"),
        ("batch.work", "from alphacut import remove"),  # the public names are for users
        ("errors", "import numpy as np"),
        (
            "output.encode",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import alphacut.batch.job",
        ),
    ],
)
def test_planted_mistakes_are_caught(file: str, mistake: str) -> None:
    assert judge(file, mistake)


@pytest.mark.parametrize(
    ("file", "mistake"),
    [
        ("pipeline.image", "from alphacut.pipeline import load"),
        ("batch.work", "def f():\n    from alphacut.batch.job import plan"),  # hidden in a function
    ],
)
def test_planted_cycles_are_caught(file: str, mistake: str) -> None:
    assert file in cycle({**SOURCES, file: f"{SOURCES[file]}\n{mistake}\n"})


def loaded_by(statement: str) -> set[str]:
    """Top-level modules that a fresh interpreter holds after a statement."""
    code = f"{statement}\nimport sys\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_import_is_light() -> None:
    heavy = {
        "openvino",
        "cv2",
        "torch",
        "numba",
        "numpy",
        "PIL",
        "rich",
        "pymatting",
        "onnxruntime",
        "gradio",
        "ray",
        "pyarrow",
        "fsspec",
        "filelock",
        "tifffile",
        "watchdog",
    }
    assert not loaded_by("import alphacut") & heavy
    assert not loaded_by("import alphacut.cli.main") & heavy


def test_pipeline_modules_load_no_extra() -> None:
    extras = {
        "openvino",
        "torch",
        "numba",
        "onnxruntime",
        "pymatting",
        "matplotlib",
        "rich",
        "pillow_heif",
    }
    assert not loaded_by("import alphacut.remover, alphacut.batch.folder") & extras
