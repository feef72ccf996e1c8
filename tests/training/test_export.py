import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from alphacut.errors import TrainingError
from alphacut.runtimes.openvino import read_convolutions
from alphacut.training.export import export
from alphacut.training.network import save_weights, start_network
from alphacut.training.recipe import Recipe


@pytest.mark.slow
def test_half_way_between_the_first_and_the_trained_weights(recipe: Recipe, tmp_path: Path) -> None:
    recipe = dataclasses.replace(recipe, start="model")
    start = start_network(recipe).state_dict()
    torch.manual_seed(0)
    trained = {name: t + 1e-3 * torch.randn_like(t) for name, t in start.items()}
    save_weights(tmp_path / "best.safetensors", trained)
    files = {share: tmp_path / f"{share}.onnx" for share in (1.0, 0.25)}
    for share, path in files.items():
        assert (
            export(recipe, tmp_path / "best.safetensors", path, "onnx", share=share).largest < 1e-3
        )
    whole, quarter = (read_convolutions(path) for path in files.values())
    name = "stage3.rebnconv2.conv_s1.weight"
    assert np.array_equal(whole[name], trained[name].numpy())
    expected = 0.75 * start[name] + 0.25 * trained[name]
    assert np.allclose(quarter[name], expected.numpy(), atol=1e-7)
    random = dataclasses.replace(recipe, start="random")
    with pytest.raises(TrainingError, match="not at random"):
        export(random, tmp_path / "best.safetensors", files[1.0], "onnx", share=0.5)
