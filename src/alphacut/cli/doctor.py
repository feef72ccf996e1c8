"""What is installed and embedded on this machine, and whether it works."""

import platform
import time
from collections.abc import Iterator
from importlib import metadata

from alphacut import __version__, runtimes
from alphacut.evaluation.self_test import self_test
from alphacut.models import catalogue, weights

PACKAGES = ("numpy", "pillow", "opencv-python-headless", "openvino", "click", "rich", "pillow-heif",
            "pymatting", "matplotlib", "torch", "safetensors", "onnxruntime", "onnx", "gradio",
            "fastapi", "ray")  # fmt: skip


def examine() -> Iterator[tuple[str, str]]:
    """Look at the installation and try it.

    Yields:
        A fact's name and what was found.

    Raises:
        AlphacutError: if the embedded weights are damaged or the test picture comes out wrong.
    """
    yield "alphacut", __version__
    yield "python", f"{platform.python_version()} on {platform.platform()}"
    for package in PACKAGES:
        try:
            yield package, metadata.version(package)
        except metadata.PackageNotFoundError:
            yield package, "not installed"
    yield "devices", ", ".join(runtimes.devices("openvino"))
    yield "folder", str(weights.ASSETS)
    yield "home", str(weights.home())
    for spec in catalogue.MODELS:
        if not any(file.embedded for file in spec.weights.values()):
            continue
        path = weights.fetch(spec)
        yield "embedded", f"{spec.name}, {spec.license}, {path.stat().st_size} bytes, verified"
    start = time.perf_counter()
    self_test()
    yield "self-test", f"passed in {time.perf_counter() - start:.2f} s"
