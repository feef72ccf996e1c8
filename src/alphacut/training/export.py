"""From trained weights to a file for other runtimes and a model of one's own."""

import dataclasses
from pathlib import Path
from typing import Literal

from alphacut.errors import TrainingError
from alphacut.models import weights
from alphacut.models.entry import ModelSpec
from alphacut.runtimes.graph import Difference, write_graph
from alphacut.runtimes.pytorch import load_network
from alphacut.training.network import start_network
from alphacut.training.recipe import Recipe, find_entry

_OPEN_SIZE = (256, 320)  # of the batch that is tried where a row leaves the size open


def export(
    recipe: Recipe,
    trained: Path,
    target: Path,
    to: Literal["onnx", "openvino"],
    *,
    share: float = 1.0,
    fp16: bool = False,
) -> Difference:
    """Write trained weights as ONNX or in OpenVINO's format, compared with PyTorch.

    Args:
        recipe: The recipe they were trained by.
        trained: `best.safetensors` of a run, or another file of weights.
        target: The file, .onnx or .xml.
        to: Its format.
        share: How far to go from the weights the recipe starts from to the trained ones. Half way
            is often better than either, above all on other pictures than the trained (Wortsman et
            al., CVPR 2022, arXiv 2109.01903). 1 for the trained weights themselves.
        fp16: Whether the weights are stored as float16, in half the space.

    Returns:
        How far its outputs are from PyTorch's.

    Raises:
        TrainingError: if weights are to be mixed that began at random, or there is no network.
        WeightsError: if the weights cannot be read or are of another network.
        RuntimeFailure: if the answers differ.
    """
    spec = find_entry(recipe)
    network = load_network(str(spec.arch), trained, spec.arch_options)
    if share != 1:
        if recipe.start == "random":
            raise TrainingError("a share needs a recipe that starts from weights, not at random")
        start, state = start_network(recipe).state_dict(), network.state_dict()
        for name, tensor in state.items():
            if tensor.is_floating_point():
                tensor.copy_(start[name].lerp(tensor, share))
    sizes = (spec.input_size or _OPEN_SIZE,)
    dynamic = spec.input_size is None
    return write_graph(
        network, target, to=to, channels=spec.channels, sizes=sizes, dynamic=dynamic, fp16=fp16
    )


def add_model(recipe: Recipe, path: Path, name: str) -> ModelSpec:
    """Add an exported ONNX file as a model that `--model NAME` finds; return its row.

    The row feeds and reads the network as the recipe's model is, but resizes as in training. The
    answer is alpha by itself, so it is not stretched. The terms are the trainer's to state.

    Raises:
        WeightsError: if the name is unfit or the file cannot be added.
    """
    row = dataclasses.replace(
        find_entry(recipe),
        name=name, aliases=(), weights={}, min_max=False, divisor="white", downscale=recipe.resize,
        license="not stated", commercial="unclear",
        note=f"Trained from {recipe.start} by a recipe.", source=path.name,
    )  # fmt: skip
    return weights.add(path, row, "onnx")
