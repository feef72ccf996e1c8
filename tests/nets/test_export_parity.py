"""PyTorch, ONNX Runtime and OpenVINO agree on exported networks with random weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from alphacut import nets

onnxruntime = pytest.importorskip("onnxruntime")
openvino = pytest.importorskip("openvino")

# tracing is what OpenVINO's converter and the exporter that needs no further package are built on
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*legacy TorchScript-based ONNX export:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The feature will be removed:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.trace:DeprecationWarning"),
]
TRACED = (64, 96)
OTHERS = {  # sizes of the second batch of a dynamic graph
    "u2netp": (97, 131),
    "isnet": (97, 131),
    "deeplabv3_resnet50": (97, 131),
    "indexnet": (96, 64),
}
AXES = {0: "N", 2: "H", 3: "W"}


def batch_for(arch, size, n=1):
    return torch.rand(n, 4 if arch == "indexnet" else 3, *size)


def compiled(model):
    return openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})


@pytest.fixture(scope="module")
def case(request, seeded):
    return request.param, seeded(nets.build(request.param))


def check(arch, network, run, *sizes):
    for n, size in enumerate(sizes, start=1):
        batch = batch_for(arch, size, n)
        with torch.no_grad():
            expected = network(batch).numpy()
        assert np.abs(run(batch.numpy()) - expected).max() < 1e-3 * np.abs(expected).max()


@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
@pytest.mark.parametrize(
    "case", ["u2netp", "isnet", "deeplabv3_resnet50", "indexnet"], indirect=True
)
def test_onnx_in_both_runtimes(case, dynamic, tmp_path):
    arch, network = case
    path = tmp_path / "network.onnx"
    torch.onnx.export(
        network,
        (batch_for(arch, TRACED),),
        path,
        dynamo=False,
        input_names=["batch"],
        output_names=["output"],
        dynamic_axes={"batch": AXES, "output": AXES} if dynamic else None,
    )
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    model = compiled(path)
    sizes = (TRACED, OTHERS[arch]) if dynamic else (TRACED,)
    check(arch, network, lambda batch: session.run(None, {"batch": batch})[0], *sizes)
    check(arch, network, lambda batch: model(batch)[0], *sizes)


@pytest.mark.parametrize("case", ["deeplabv3_resnet50", "indexnet"], indirect=True)
def test_openvino_straight_from_pytorch(case):
    arch, network = case
    example = batch_for(arch, TRACED)
    shape = [-1, example.shape[1], -1, -1]
    model = compiled(openvino.convert_model(network, example_input=example, input=shape))
    check(arch, network, lambda batch: model(batch)[0], TRACED, OTHERS[arch])
