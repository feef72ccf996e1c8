"""Who may import whom: arrows point down only."""

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "alphacut"

# unit: (units of alphacut it may import, third-party packages it may import)
TABLE: dict[str, tuple[str, str]] = {
    "errors": ("", ""),
    "values": ("errors", "PIL"),
    "options": ("errors values", ""),
    "zoo": ("errors", ""),
    "weights": ("errors zoo", ""),
    "image": ("errors options", "numpy cv2 PIL pillow_heif"),
    "encode": ("errors image options", "numpy cv2 PIL isal"),
    "nets": ("", "torch"),
    "shrink": ("", "numpy cv2"),
    "transforms": ("image shrink zoo", "numpy cv2"),
    "strokes": ("errors", "numpy cv2"),
    "trimap": ("errors", "numpy cv2"),
    "matting": ("errors runtimes zoo", "numpy cv2 pymatting"),
    "refine": ("errors options", "numpy cv2"),
    "foreground": ("errors shrink", "numpy cv2"),
    "metrics": ("errors", "numpy cv2"),
    "evaluate": ("compose encode errors image metrics remover shrink", "numpy cv2"),
    "geometry": ("errors image options values", "numpy cv2"),
    "background": ("errors geometry image options values", "numpy cv2 PIL"),
    "shadow": ("geometry values", "numpy cv2"),
    "archive": ("encode image options shrink", "numpy"),
    "plot": ("errors image shrink", "numpy matplotlib"),
    "compose": (
        "archive background encode errors geometry image options plot shadow trimap values",
        "numpy cv2 PIL matplotlib",
    ),
    "runtimes": (
        "errors nets options weights zoo",
        "numpy openvino onnxruntime torch safetensors onnx",
    ),
    "benchmark": ("errors options runtimes transforms weights zoo", "numpy"),
    "remover": (
        "background compose errors foreground geometry image matting options refine runtimes "
        "strokes transforms trimap weights zoo",
        "numpy cv2",
    ),
    "batch": ("compose encode errors image options remover trimap", ""),
    "doctor": ("__init__ errors runtimes weights zoo", "numpy"),
    "demo": (
        "encode errors image options remover runtimes strokes values weights zoo",
        "click fastapi gradio starlette uvicorn",
    ),
    "server": (  # it shows the page, whose work is the pool's
        "__init__ demo doctor errors image options remover runtimes strokes values zoo",
        "numpy cv2 fastapi starlette uvicorn python_multipart httpx prometheus_client limits",
    ),
    "training": (
        "errors foreground image metrics nets runtimes transforms weights zoo",
        "numpy cv2 PIL torch safetensors matplotlib tomli",
    ),
    "cluster": (
        "__init__ batch compose encode errors image options remover runtimes trimap values weights "
        "zoo",
        "numpy cv2 fsspec pyarrow ray tenacity",
    ),
    "cli_options": ("options", "click rich"),
    "cli_batch": (
        "cli_models cli_options cluster errors options runtimes weights",
        "click pyarrow prometheus_client",
    ),
    "cli_train": ("cli_options encode errors training", "click"),
    "cli_models": ("benchmark errors options runtimes weights zoo", "click rich"),
    "cli": (
        "__init__ batch cli_batch cli_models cli_options cli_train demo doctor errors evaluate "
        "image options quantize remover runtimes server transforms weights",
        "click rich",
    ),
    "__init__": ("compose encode errors image options remover runtimes zoo", ""),
    "quantize": ("errors runtimes weights", "numpy onnx"),
    "__main__": ("cli", ""),
}
STANDARD = sys.stdlib_module_names


def unit_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[0]


# Each library of a runtime is imported in one file; the writer of graphs joins them. Networks and
# training are PyTorch's.
OWN_FILES = {
    "openvino": {"openvino.py"},
    "onnxruntime": {"onnx.py"},
    "onnx": {"graph.py", "quantize.py"},
    "torch": {"pytorch.py", "graph.py"},
    "safetensors": {"pytorch.py"},
    "gradio": {"quick.py"},
    "ray": {"on_ray.py"},
}


def imports(source: str) -> Iterator[str]:
    """Absolute dotted names of all imports of a file, at any depth."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            if node.module == "alphacut":
                yield from (f"alphacut.{alias.name}" for alias in node.names)
            else:
                yield str(node.module)


def judge(unit: str, source: str) -> list[str]:
    """Sentences about the imports that the table forbids."""
    own, foreign = (set(words.split()) for words in TABLE[unit])
    faults = []
    for name in imports(source):
        first, _, rest = name.partition(".")
        if first == "alphacut":
            target = rest.split(".")[0]
            target = target if target in TABLE else "__init__"
            if target not in own | {unit}:
                faults.append(f"{unit} must not import alphacut.{target}")
        elif first not in STANDARD and first not in foreign:
            faults.append(f"{unit} must not import {first}")
    return faults


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_follow_the_table(path: Path) -> None:
    assert judge(unit_of(path), path.read_text()) == []


@pytest.mark.parametrize("library", OWN_FILES)
def test_each_library_has_its_own_file(library: str) -> None:
    users = {
        path.name
        for path in FILES
        if unit_of(path) not in ("nets", "training")
        and any(name.split(".")[0] == library for name in imports(path.read_text()))
    }
    assert users == OWN_FILES[library]


def test_table_is_complete_and_has_no_cycle() -> None:
    assert {unit_of(path) for path in FILES} == set(TABLE)
    arrows = {unit: set(own.split()) - {"__init__"} for unit, (own, _) in TABLE.items()}
    graphlib.TopologicalSorter(arrows).prepare()


@pytest.mark.parametrize(
    ("unit", "mistake"),
    [
        ("image", "import torch"),
        ("image", "from alphacut.remover import Remover"),
        ("transforms", "def f():\n    from alphacut import cli"),
        ("errors", "import numpy as np"),
        (
            "matting",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import alphacut.batch",
        ),
    ],
)
def test_planted_mistakes_are_caught(unit: str, mistake: str) -> None:
    assert judge(unit, mistake)


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
    assert not loaded_by("import alphacut.remover, alphacut.batch") & extras
