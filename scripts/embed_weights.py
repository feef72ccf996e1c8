"""Make the embedded weights from the published u2netp.onnx.

The published graph computes seven outputs, spells every size as a chain of Shape and Gather
nodes, and numbers its convolutions. This script keeps the fused output only, folds the sizes and
gives the weights the names of the authors' state dict, so that PyTorch can read them too. They
stay float32: float16 would halve the file, but moves single mask pixels by up to 50 of 255.

    python scripts/embed_weights.py u2netp.onnx src/alphacut/assets/u2net-lite.onnx

Source: https://github.com/xuebinqin/U-2-Net (Apache-2.0), as exported for rembg v0.0.0.
"""

import hashlib
import os
import sys
import tempfile
from pathlib import Path

import onnx
from onnx import TensorProto, helper, numpy_helper

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before its import
import onnxruntime as ort

PUBLISHED_SHA256 = "309c8469258dda742793dce0ebea8e6dd393174f89934733ecc8b14c76f4ddd8"
PUBLISHED_INPUT, PUBLISHED_D0 = "input.1", "1959"
STAGE_DEPTHS = {
    "stage1": 7, "stage2": 6, "stage3": 5, "stage4": 4, "stage5": 4, "stage6": 4,
    "stage5d": 4, "stage4d": 4, "stage3d": 5, "stage2d": 6, "stage1d": 7,
}  # fmt: skip


def conv_names() -> list[str]:
    """Name the 112 convolutions of the stages in the order in which the network runs them."""
    names = []
    for stage, depth in STAGE_DEPTHS.items():
        blocks = ["in", *range(1, depth + 1), *(f"{k}d" for k in range(depth - 1, 0, -1))]
        names += [f"{stage}.rebnconv{block}.conv_s1" for block in blocks]
    return names


def fold(path: Path) -> onnx.ModelProto:
    """Cut the graph after d0 and fold every constant expression."""
    with tempfile.TemporaryDirectory() as folder:
        cut, folded = f"{folder}/cut.onnx", f"{folder}/folded.onnx"
        onnx.utils.extract_model(str(path), cut, [PUBLISHED_INPUT], [PUBLISHED_D0])
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = folded
        ort.InferenceSession(cut, options, providers=["CPUExecutionProvider"])
        return onnx.load(folded)


def embed(path: Path) -> onnx.ModelProto:
    """Build the embedded model: fused output only, state-dict names."""
    graph = fold(path).graph
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    stage_convs = iter(conv_names())
    tensors: dict[str, onnx.TensorProto] = {}
    nodes: list[onnx.NodeProto] = []
    renamed = {PUBLISHED_INPUT: "batch", PUBLISHED_D0: "saliency", "": ""}

    for node in graph.node:
        inputs = []
        conv = ""
        if node.op_type == "Conv":
            published = node.input[1].removesuffix(".weight")
            conv = published if published != node.input[1] else next(stage_convs)
        for position, name in enumerate(node.input):
            if name not in arrays:
                inputs.append(renamed.setdefault(name, f"t{len(renamed)}"))
            elif conv:
                key = f"{conv}.{('', 'weight', 'bias')[position]}"
                tensors[key] = numpy_helper.from_array(arrays[name], key)
                inputs.append(key)
            elif arrays[name].size:
                array = arrays[name]  # the folded sizes: few distinct ones, so stored once each
                key = "size_" + "x".join(map(str, array.tolist()))
                tensors[key] = numpy_helper.from_array(array, key)
                inputs.append(key)
            else:  # Resize's unused region of interest and scales
                empty = "none"
                tensors[empty] = numpy_helper.from_array(arrays[name], empty)
                inputs.append(empty)
        outputs = [renamed.setdefault(name, f"t{len(renamed)}") for name in node.output]
        copy = helper.make_node(node.op_type, inputs, outputs)
        copy.attribute.extend(node.attribute)
        nodes.append(copy)
    if (left := next(stage_convs, None)) is not None:
        raise SystemExit(f"the graph has fewer convolutions than U-2-Net-lite: no {left}")

    def value(name: str, channels: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, 320, 320])

    small = helper.make_graph(
        nodes, "u2net-lite", [value("batch", 3)], [value("saliency", 1)], list(tensors.values())
    )
    model = helper.make_model(small, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)
    model.producer_name = "U-2-Net, Qin et al. 2020, Apache-2.0"
    onnx.checker.check_model(model, full_check=True)
    return model


def main() -> None:
    """Verify the published file, write the embedded one, and print its facts for the catalogue."""
    source, target = map(Path, sys.argv[1:])
    if hashlib.sha256(source.read_bytes()).hexdigest() != PUBLISHED_SHA256:
        raise SystemExit(f"{source} is not the published u2netp.onnx")
    data = embed(source).SerializeToString(deterministic=True)
    target.write_bytes(data)
    print(f"{target}: {len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()}")


if __name__ == "__main__":
    main()
