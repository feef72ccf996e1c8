"""What is installed and embedded on this machine, and whether it works."""

import platform
import time
from collections.abc import Iterator
from importlib import metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray

import alphacut
from alphacut import runtimes, weights, zoo
from alphacut.errors import RuntimeFailure

PACKAGES = ("numpy", "pillow", "opencv-python-headless", "openvino", "click", "rich", "pillow-heif",
            "pymatting", "matplotlib", "torch", "safetensors", "onnxruntime", "onnx", "gradio",
            "fastapi", "ray")  # fmt: skip
EXAMPLE = weights.ASSETS / "example.jpg"


def examine() -> Iterator[tuple[str, str]]:
    """Look at the installation and try it.

    Yields:
        A fact's name and what was found.

    Raises:
        AlphacutError: if the embedded weights are damaged or the test picture comes out wrong.
    """
    yield "alphacut", alphacut.__version__
    yield "python", f"{platform.python_version()} on {platform.platform()}"
    for package in PACKAGES:
        try:
            yield package, metadata.version(package)
        except metadata.PackageNotFoundError:
            yield package, "not installed"
    yield "devices", ", ".join(runtimes.devices("openvino"))
    yield "folder", str(weights.ASSETS)
    yield "home", str(weights.home())
    for spec in zoo.MODELS:
        if not any(file.embedded for file in spec.weights.values()):
            continue
        path = weights.fetch(spec)
        yield "embedded", f"{spec.name}, {spec.license}, {path.stat().st_size} bytes, verified"
    start = time.perf_counter()
    self_test()
    yield "self-test", f"passed in {time.perf_counter() - start:.2f} s"


def self_test() -> None:
    """Cut out the example and compare with what is known of it.

    Raises:
        RuntimeFailure: if the person in it is not found where she is.
    """
    judge(alphacut.remove(EXAMPLE).alpha)


def judge(alpha: NDArray[np.floating[Any]]) -> None:
    """Compare an alpha (H, W) in [0, 1] of the example with what is known of it.

    Raises:
        RuntimeFailure: if the person in it is not found where she is.
    """
    H, W = alpha.shape
    face = alpha[H // 5 : H // 4, 2 * W // 5 : W // 2]
    corner = alpha[: H // 8, -W // 8 :]
    if np.min(face) < 0.9 or np.max(corner) > 0.1:
        raise RuntimeFailure("the example picture was not cut out as it should be")
