from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from alphacut.errors import OutputError, WeightsError
from alphacut.evaluation.quantize import _round_in_turn, quantize, quantize_first, round_weights
from alphacut.models import weights
from alphacut.runtimes.openvino import openvino, read_convolutions

SIZE = 16
RNG = np.random.default_rng(2)
BATCHES = [RNG.normal(size=(1, 3, SIZE, SIZE)).astype(np.float32) for _ in range(6)]


def conv(source: str, name: str) -> onnx.NodeProto:
    inputs = [source, f"{name}.weight", f"{name}.bias"]
    shape = {"kernel_shape": [3, 3], "pads": [1] * 4, "dilations": [1, 1], "strides": [1, 1]}
    return helper.make_node("Conv", inputs, [f"{name}.sum"], **shape)


def relu(name: str) -> onnx.NodeProto:
    return helper.make_node("Relu", [f"{name}.sum"], [name])


def save(path: Path, *, extra: str = "", cancelling: bool = False) -> Path:
    """A small U: down by a pool, up by a resize, a join, a residual sum, one channel out."""
    rng = np.random.default_rng(1)
    channels = {"first": (3, 8), "down": (8, 8), "up": (16, 8), "last": (8, 1)}
    arrays = {"size": np.array([1, 8, SIZE, SIZE], np.int64), "none": np.zeros(0, np.float32)}
    for name, (before, after) in channels.items():
        weight = rng.normal(size=(after, before, 3, 3)) / np.sqrt(4.5 * before)
        arrays[f"{name}.weight"] = weight.astype(np.float32)
        arrays[f"{name}.bias"] = rng.normal(size=after).astype(np.float32) / 10
    if cancelling:  # a constant channel, made large, that the next bias takes away again
        arrays["down.weight"][3], arrays["down.bias"][3] = 0, 1
        arrays["up.weight"][:, 3] = 0
        arrays["up.weight"][:, 3, 1, 1] = 300
        arrays["up.bias"] -= 300
    nodes = [
        conv("batch", "first"), relu("first"),
        helper.make_node("MaxPool", ["first"], ["pool"], kernel_shape=[2, 2], strides=[2, 2]),
        conv("pool", "down"), relu("down"),
        helper.make_node("Resize", ["down", "none", "none", "size"], ["resize"], mode="linear"),
        helper.make_node("Concat", ["resize", "first"], ["join"], axis=1),
        conv("join", "up"), relu("up"),
        helper.make_node("Add", ["up", "first"], ["both"]),
        conv("both", "last"),
        helper.make_node(extra or "Sigmoid", ["last.sum"], ["saliency"]),
    ]  # fmt: skip
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, C, SIZE, SIZE])
        for name, C in (("batch", 3), ("saliency", 1))
    ]
    tensors = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    graph = helper.make_graph(nodes, "u", ends[:1], ends[1:], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)
    onnx.save(model, path)
    return path


def answers(path: Path, batches: list[np.ndarray] = BATCHES) -> np.ndarray:
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    request = openvino.Core().compile_model(path, "CPU", settings).create_infer_request()
    return np.concatenate([request.infer([batch])[0].copy() for batch in batches])


def integers(path: Path) -> list[str]:
    tensors = onnx.load(path).graph.initializer
    return sorted(each.name for each in tensors if each.data_type == TensorProto.INT8)


def test_close_to_float32(tmp_path: Path) -> None:
    full, small = save(tmp_path / "full.onnx"), tmp_path / "small.onnx"
    assert quantize(full, BATCHES, small) == ["first"]  # it reads the picture itself
    assert integers(small) == ["down.weight.int8", "last.weight.int8", "up.weight.int8"]
    assert np.abs(answers(small) - answers(full)).mean() < 0.01


def test_what_cancels_stays_float32(tmp_path: Path) -> None:
    full, small = save(tmp_path / "full.onnx", cancelling=True), tmp_path / "small.onnx"
    assert quantize(full, BATCHES, small) == ["first", "up"]
    assert np.abs(answers(small) - answers(full)).mean() < 0.02


def test_the_same_twice(tmp_path: Path) -> None:
    full = save(tmp_path / "full.onnx")
    one, two = tmp_path / "one.onnx", tmp_path / "two.onnx"
    quantize(full, BATCHES, one)
    quantize(full, BATCHES, two)
    assert one.read_bytes() == two.read_bytes()


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no images to calibrate with"):
        quantize(save(tmp_path / "full.onnx"), [], tmp_path / "small.onnx")
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        quantize(tmp_path / "full.onnx", BATCHES, tmp_path / "file" / "small.onnx")
    with pytest.raises(WeightsError, match="cannot quantize the operation Tanh"):
        quantize(save(tmp_path / "tanh.onnx", extra="Tanh"), BATCHES, tmp_path / "small.onnx")
    assert not (tmp_path / "small.onnx").exists()


def test_rounding_in_turn() -> None:
    # two inputs that are always equal: only the sum of their weights counts
    rows, step = np.array([[0.4, 0.4]]), np.array([1.0])
    levels = _round_in_turn(rows, step, np.ones((2, 2)))
    np.testing.assert_array_equal(levels, [[0, 1]])
    # and independent ones are rounded each for itself
    np.testing.assert_array_equal(_round_in_turn(rows, step, np.eye(2)), [[0, 0]])


def test_weights_are_stored_in_8_bits_and_restored(tmp_path: Path) -> None:
    source, small = save(tmp_path / "full.onnx"), tmp_path / "small.onnx"
    round_weights(source, small, "first.")
    graph, rounded = onnx.load(source).graph, onnx.load(small).graph
    before = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    after = {tensor.name: numpy_helper.to_array(tensor) for tensor in rounded.initializer}
    exact = [name for name in before if name in after]
    assert "first.weight" in exact
    for name in exact:
        np.testing.assert_array_equal(after[name], before[name])
    read = read_convolutions(small)
    assert read.keys() == read_convolutions(source).keys()
    for name in before.keys() - after.keys():
        assert after[f"{name}.int8"].dtype == np.int8
        largest = np.abs(before[name]).max(axis=(1, 2, 3), keepdims=True)
        assert (np.abs(read[name] - before[name]) <= largest / 254 * 1.001).all()
    assert np.abs(answers(small, BATCHES) - answers(source, BATCHES)).mean() < 0.01


LITE, TWO_LOOKS = weights.find_model("u2net-lite"), weights.find_model("alphacut-lite")


def test_the_first_look_alone_changes_its_precision(tmp_path: Path) -> None:
    full, batch = weights.fetch(TWO_LOOKS), RNG.normal(size=(1, 3, 320, 320)).astype(np.float32)
    for form, most in (("onnx", 1e-6), ("int8", 0.01)):
        quantize_first(full, weights.fetch(LITE, form), tmp_path / "new.onnx")
        change = np.abs(answers(tmp_path / "new.onnx", [batch]) - answers(full, [batch]))
        assert change.mean() <= most
    assert (tmp_path / "new.onnx").read_bytes() == weights.fetch(TWO_LOOKS, "int8").read_bytes()


def test_two_looks_are_told_from_one(tmp_path: Path) -> None:
    lite, full = weights.fetch(LITE), weights.fetch(TWO_LOOKS)
    with pytest.raises(WeightsError, match=r"u2net-lite\.onnx: is not alphacut-lite"):
        quantize_first(lite, lite, tmp_path / "new.onnx")
    with pytest.raises(WeightsError, match=r"alphacut-lite\.onnx: is not U-2-Net-lite"):
        quantize_first(full, full, tmp_path / "new.onnx")
    assert not (tmp_path / "new.onnx").exists()
