"""In which order a BiRefNet's weights expect the patches of an image, which no file says."""

import dataclasses
import warnings
from pathlib import Path

import numpy as np

from alphacut import runtimes
from alphacut.errors import NoForegroundWarning
from alphacut.models.entry import ModelSpec
from alphacut.models.weights import ASSETS
from alphacut.remover import Remover

EXAMPLE = ASSETS / "example.jpg"
SIZE = (512, 512)  # (H, W) of the batches


def find_patch_order(spec: ModelSpec, path: Path) -> str:
    """Return the order in which weights cut out the example as the embedded network does.

    The other one makes a noisy mask, which differs more.

    Args:
        spec: An entry whose network has an order of patches.
        path: PyTorch weights of it.

    Returns:
        "row" or "column".

    Raises:
        MissingExtra: if PyTorch is not installed.
        WeightsError: if the weights cannot be read.
    """
    expected = Remover(matting="none")(EXAMPLE).alpha
    differences: dict[str, float] = {}
    for order in ("row", "column"):
        options = {**spec.arch_options, "patch_order": order}
        ordered = dataclasses.replace(spec, arch_options=options, input_size=SIZE)
        network = runtimes.load(ordered, runtime="torch", path=path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NoForegroundWarning)
            alpha = Remover(ordered, network=network, matting="none")(EXAMPLE).alpha
        differences[order] = float(np.abs(alpha - expected).mean())
    return min(differences, key=differences.__getitem__)
