"""Gradio, imported without what it does for its own developers: the one file that imports it.

At every import Gradio parses its components and rewrites their type stubs in its own folder, which
takes nearly half of its import time (1.3 s of 3.0). Here the stubs stay as they were installed. The
function that writes them is not public; without it, the import is merely slower.
"""

import os
import sys
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import Any

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # before Gradio looks
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"


class _Loader(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        module.create_or_modify_pyi = lambda *_: None  # type: ignore[attr-defined]


class _Finder:
    """Finds the one module that writes stubs."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name != "gradio.component_meta":
            return None
        spec = PathFinder.find_spec(name, path)
        if spec and spec.origin and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(name, spec.origin)
        return spec


sys.meta_path.insert(0, _Finder)
try:
    import gradio as gr
finally:
    sys.meta_path.remove(_Finder)

__all__ = ["gr"]
