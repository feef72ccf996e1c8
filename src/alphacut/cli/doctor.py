"""`alphacut doctor`: what is installed on this machine, and whether it works."""

import platform
import time
from collections.abc import Iterator
from importlib import metadata

import click

from alphacut import __version__

PACKAGES = ("numpy", "pillow", "opencv-python-headless", "isal", "openvino", "click", "rich",
            "pillow-heif", "pymatting", "matplotlib", "torch", "safetensors", "onnxruntime", "onnx",
            "gradio", "fastapi", "ray")  # fmt: skip


@click.command()
def doctor() -> None:
    """Show what is installed, and cut out a test picture."""
    for fact, finding in examine():
        click.echo(f"{fact:<{max(map(len, PACKAGES))}} {finding}")


def examine() -> Iterator[tuple[str, str]]:
    """Examine the installation and try it.

    Yields:
        The name of a fact, and what was found.

    Raises:
        AlphacutError: if embedded weights are damaged, or the test picture comes out wrong.
    """
    from alphacut import runtimes
    from alphacut.evaluation.self_test import self_test
    from alphacut.models import catalogue, weights

    yield "alphacut", __version__
    yield "python", f"{platform.python_version()} on {platform.platform()}"
    for package in PACKAGES:
        try:
            yield package, metadata.version(package)
        except metadata.PackageNotFoundError:
            yield package, "not installed"
    yield "devices", ", ".join(runtimes.devices("openvino"))
    yield "assets", str(weights.ASSETS)
    yield "home", str(weights.home())
    for spec in catalogue.MODELS:
        if not any(file.embedded for file in spec.weights.values()):
            continue
        path = weights.fetch(spec)
        yield "embedded", f"{spec.name}, {spec.license}, {path.stat().st_size} bytes, verified"
    start = time.perf_counter()
    self_test()
    yield "self-test", f"passed in {time.perf_counter() - start:.2f} s"
