"""What alphacut hides from OpenVINO has private names: a release that renames them fails here."""

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from alphacut.runtimes.openvino import OpenVINORuntime, core, read_model

VERSION = importlib.metadata.version("openvino")
CHANGED = f"OpenVINO {VERSION} has changed what runtimes/openvino.py relies on: "

# Any attempt to reach the network ends the program
START = """
import socket, sys

def refuse(*_):
    raise SystemExit("the network was asked for")

socket.socket.connect = socket.getaddrinfo = refuse
"""


def run(program: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", START + program], capture_output=True, text=True)
    assert done.returncode == 0, CHANGED + done.stderr
    return done.stdout.split()


def test_the_converter_and_its_telemetry_are_not_imported() -> None:
    loaded = run("import alphacut.runtimes.openvino; print(*sys.modules)")
    hidden = {"openvino.tools.ovc", "openvino_telemetry"}
    assert not hidden & {*loaded}, CHANGED + "its converter is imported with it"
    plain = run("import os; os.environ['CI'] = 'true'; import openvino; print(*sys.modules)")
    assert hidden <= {*plain}, CHANGED + "these are no longer the names to hide"


def test_the_converter_works_and_is_silent() -> None:
    program = """
from alphacut.models import weights
from alphacut.models.catalogue import MODELS
from alphacut.runtimes.openvino import openvino
model = openvino.convert_model(weights.fetch(MODELS[0]))
assert model.inputs[0].get_any_name() == "batch"
assert openvino.tools.ovc.convert_model is not openvino.convert_model
from openvino.tools.ovc import telemetry_utils
print(telemetry_utils.tm.__name__, *sys.modules)
"""
    telemetry, *loaded = run(program)
    assert telemetry == "openvino.tools.ovc.telemetry_stub", CHANGED + f"it reports by {telemetry}"
    assert "openvino_telemetry" not in loaded


@pytest.mark.parametrize(
    ("kernel", "bias", "mask", "group", "offset_group"),
    [
        (3, True, True, 1, 1),
        (7, False, True, 1, 1),
        (3, True, False, 2, 1),
        (1, False, False, 1, 2),
    ],
)
def test_deformable_convolution_is_onnx_runtimes(
    kernel: int, bias: bool, mask: bool, group: int, offset_group: int, tmp_path: Path
) -> None:
    """OpenVINO refuses the node as it is; with alphacut's conversion it gives the same numbers."""
    onnx = pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    float32, helper = onnx.TensorProto.FLOAT, onnx.helper
    rng = np.random.default_rng(kernel)
    taps, size = kernel * kernel * offset_group, ["n", "h", "w"]
    inputs = {
        "x": rng.normal(size=(1, 8, 9, 11)),
        "offset": 3 * rng.normal(size=(1, 2 * taps, 9, 11)),
    }
    constants = {"weight": rng.normal(size=(6, 8 // group, kernel, kernel))}
    if bias:
        constants["bias"] = rng.normal(size=6)
    if mask:
        inputs["mask"] = rng.random((1, taps, 9, 11))
    names = ["x", "weight", "offset", "bias" if bias else "", "mask" if mask else ""]
    node = helper.make_node(
        "DeformConv", names, ["y"], kernel_shape=[kernel] * 2, pads=[kernel // 2] * 4,
        group=group, offset_group=offset_group,
    )  # fmt: skip
    values = [
        helper.make_tensor_value_info(name, float32, [size[0], value.shape[1], *size[1:]])
        for name, value in inputs.items()
    ]
    tensors = [
        onnx.numpy_helper.from_array(value.astype(np.float32), name)
        for name, value in constants.items()
    ]
    result = helper.make_tensor_value_info("y", float32, [size[0], 6, *size[1:]])
    graph = helper.make_graph([node], "one", values, [result], tensors)
    path = tmp_path / "one.onnx"
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9), path
    )
    feed = {name: value.astype(np.float32) for name, value in inputs.items()}
    (expected,) = onnxruntime.InferenceSession(path).run(None, feed)
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    found = core().compile_model(read_model(path), "CPU", settings)(feed)[0]
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_a_graph_of_any_size_is_compiled_for_the_size_that_is_asked(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    sides = ["N", 3, "H", "W"]
    x, y = (onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, sides) for n in "xy")
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "any", [x], [y])
    onnx.save(onnx.helper.make_model(graph, ir_version=9), tmp_path / "any.onnx")
    runtime = OpenVINORuntime(tmp_path / "any.onnx", size=(6, 8))
    assert list(runtime._compiled().model.inputs[0].get_shape()) == [1, 3, 6, 8]
    batch = np.random.default_rng(0).standard_normal((2, 3, 6, 8), np.float32)
    np.testing.assert_array_equal(runtime(batch), np.maximum(batch, 0))
