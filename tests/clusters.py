"""A folder of tiny pictures, some broken, and a network of one convolution that reads them."""

import dataclasses
import random
from pathlib import Path

import numpy as np
import PIL.Image

from alphacut.models import catalogue, weights
from pictures import make_photo

EXAMPLES = Path(__file__).parents[1] / "examples"


def add_tiny_model(folder: Path) -> str:
    """Add a model that finds what is red; return its name."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    kernel = np.zeros((1, 3, 5, 5), np.float32)
    kernel[0, 0] = 4 / 25
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w", "b"], ["c"], pads=[2, 2, 2, 2]),
            helper.make_node("Sigmoid", ["c"], ["y"]),
        ],
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 320, 320])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, 320, 320])],
        [
            numpy_helper.from_array(kernel, "w"),
            numpy_helper.from_array(np.array([-2], np.float32), "b"),
        ],
    )
    path = folder / "tiny.onnx"
    opset = [helper.make_opsetid("", 13)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    row = next(row for row in catalogue.MODELS if row.arch == "u2net")
    spec = dataclasses.replace(
        row, name="tiny", aliases=(), weights={}, license="-", commercial="yes", note="",
        source="here",
    )  # fmt: skip
    return weights.add(path, spec, "onnx").name


def make_pictures(folder: Path, count: int, *, broken: bool = True) -> list[str]:
    """Write pictures of 64 to 128 pixels, and two real ones; one in twenty is broken.

    Returns:
        Their names below the folder, sorted.
    """
    dice = np.random.default_rng(1)
    names = []
    for index in range(count):
        name = f"{index % 5}/{index:05d}.{('jpg', 'png', 'webp')[index % 3]}"
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        H, W = dice.integers(64, 129, 2)
        image = make_photo(int(H), int(W)).astype(int) + dice.integers(-9, 10, (H, W, 3))
        picture = PIL.Image.fromarray(np.clip(image, 0, 255).astype(np.uint8))
        if index % 100 < 2:
            real = ("astronaut.png", "chelsea.png")[index % 2]
            with PIL.Image.open(EXAMPLES / real) as photo:
                picture = photo.convert("RGB").resize((128, 96))
        picture.save(path)
        if broken and index % 20 == 10:
            content = path.read_bytes()
            path.write_bytes(random.Random(index).choice([b"", b"no picture", content[:60]]))
        names.append(name)
    return sorted(names)
