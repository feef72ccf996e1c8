"""Compare BiRefNet-lite in alphacut with its stock export in ONNX Runtime, on random weights.

    pip install deform-conv2d-onnx-exporter==1.2.0
    python benchmarks/birefnet.py FOLDER [--side 1024] [--runs 3]

Into FOLDER go a stock export as the authors' notebook makes it (opset 17, deformable convolutions
unrolled by that package), and our own, of any size, with those convolutions as they are. Each form
then runs in a process of its own, one call after the other in turn, after a warm-up each. The table
has medians of seconds and processor seconds, the process's peak memory with loading, and the ratios
to the stock form: the median of the pairs' for processor seconds.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from report import table

FORMS = {
    "ONNX Runtime, stock export": "",
    "OpenVINO, our export, fp32": "fp32",
    "OpenVINO, our export, bf16": "bf16",
}


def main() -> None:
    """Make the files where they are missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the files of about 180 MB each go")
    parser.add_argument("--side", type=int, default=1024, help="of the batch, in px")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--step", choices=["make", "loop"], help=argparse.SUPPRESS)
    parser.add_argument("--form", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.step == "make":
        make(asked.folder, asked.side)
    elif asked.step == "loop":
        loop(asked.folder, asked.side, FORMS[asked.form])
    else:
        again = [sys.executable, __file__, str(asked.folder), "--side", str(asked.side), "--step"]
        subprocess.run([*again, "make"], check=True)  # its memory is none of the loops'
        compare(again, asked.runs)


def make(folder: Path, side: int) -> None:
    """Write both exports of one network, where they are missing."""
    import deform_conv2d_onnx_exporter
    import torch
    from torch.onnx._internal.torchscript_exporter._type_utils import JitScalarType

    from alphacut.models import nets
    from alphacut.models.nets import birefnet
    from alphacut.runtimes.graph import write_graph

    # The exporter translates torchvision's operation; of a graph that is traced only shapes count
    library = torch.library.Library("torchvision", "DEF")
    moves = ", ".join(f"int {name}_{axis}" for name in ("stride", "pad", "dilation")
                      for axis in "hw")  # fmt: skip
    library.define(
        "deform_conv2d(Tensor input, Tensor weight, Tensor offset, Tensor mask, Tensor bias, "
        f"{moves}, int groups, int offset_groups, bool use_mask) -> Tensor"
    )
    library.impl(
        "deform_conv2d",
        lambda x, weight, *_: x.new_zeros(len(x), len(weight), *x.shape[2:]),
        "CPU",
    )
    deform_conv2d_onnx_exporter.register_deform_conv2d_onnx_op()

    def size_of(tensor: Any, dim: int) -> int:
        """Read a size off the strides where the tracer has lost it, as the notebook does."""
        sizes = tensor.type().sizes()
        if sizes and sizes[dim] is not None:
            return int(sizes[dim])
        strides = tensor.type().strides()
        return int(strides[dim - 1] // strides[dim]) if dim else 1

    deform_conv2d_onnx_exporter.get_tensor_dim_size = size_of
    deform_conv2d_onnx_exporter.JitScalarType = JitScalarType

    def stock(module: Any, x: torch.Tensor) -> torch.Tensor:
        x, weight = x.contiguous(), module.regular_conv.weight  # strides tell the size
        offset, mask = module.offset_conv(x), 2 * torch.sigmoid(module.modulator_conv(x))
        pad, zero = weight.shape[-1] // 2, weight.new_zeros(weight.shape[0])
        y: torch.Tensor = torch.ops.torchvision.deform_conv2d(
            x, weight, offset, mask, zero, 1, 1, pad, pad, 1, 1, 1, 1, True
        )
        return y

    def answer(decoder: Any, p: torch.Tensor, cut: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = decoder.conv_out1(torch.cat((birefnet.resize(p, cut), cut), dim=1))
        return y

    torch.manual_seed(0)
    network = nets.build("birefnet_lite").eval()
    if not (folder / "ours.onnx").exists():
        sizes = ((256, 320), (192, 416))
        write_graph(network, folder / "ours.onnx", to="onnx", channels=3, sizes=sizes, dynamic=True)
    if (folder / f"stock-{side}.onnx").exists():
        return
    birefnet.DeformableConv.forward, birefnet.Decoder._answer = stock, answer
    torch.onnx.export(
        network, (torch.rand(1, 3, side, side),), folder / f"stock-{side}.onnx", dynamo=False,
        opset_version=17, input_names=["input_image"], output_names=["output_image"],
    )  # fmt: skip


def loop(folder: Path, side: int, precision: str) -> None:
    """Load a form, then run it once for each line of the input; write what each call took."""
    run = load(folder, side, precision)
    batch = np.random.default_rng(0).random((1, 3, side, side), np.float32)
    for _ in sys.stdin:
        start, before = time.perf_counter(), time.process_time()
        output = run(batch)
        took = time.perf_counter() - start, time.process_time() - before
        print(json.dumps([*took, float(output.mean()), float(output.std())]), flush=True)


def load(folder: Path, side: int, precision: str) -> Callable[[Any], Any]:
    """Return a network: alphacut's if a precision is given, else ONNX Runtime's by default."""
    if precision:
        from alphacut.runtimes.openvino import OpenVINORuntime

        return OpenVINORuntime(folder / "ours.onnx", precision=precision, size=(side, side))
    import onnxruntime

    path = folder / f"stock-{side}.onnx"
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda batch: session.run(None, {session.get_inputs()[0].name: batch})[0]


def compare(again: list[str], runs: int) -> None:
    """Alternate between the forms and print the table."""
    from alphacut.runtimes.openvino import computes_bf16

    forms = [form for form, precision in FORMS.items() if precision != "bf16" or computes_bf16()]
    loops = {
        form: subprocess.Popen(
            [*again, "loop", "--form", form], text=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for form in forms
    }  # fmt: skip
    calls: dict[str, list[list[float]]] = {form: [] for form in forms}
    for _ in range(runs + 1):
        for form, process in loops.items():
            assert process.stdin
            assert process.stdout
            print("go", file=process.stdin, flush=True)
            calls[form].append(json.loads(process.stdout.readline()))
            print(f"{form}: {calls[form][-1]}, load {os.getloadavg()[0]:.1f}", flush=True)
    peaks = {}
    for form, process in loops.items():
        assert process.stdin
        process.stdin.close()
        _, _, usage = os.wait4(process.pid, 0)
        process.returncode = 0
        peaks[form] = usage.ru_maxrss / 1024
    stock = forms[0]
    rows = []
    for form, all_calls in calls.items():
        seconds, processor = (statistics.median(call[k] for call in all_calls[1:]) for k in (0, 1))
        pairs = zip(calls[stock][1:], all_calls[1:], strict=True)
        gain = statistics.median(theirs[1] / ours[1] for theirs, ours in pairs)
        rows.append([form, f"{seconds:.1f}", f"{processor:.1f}", f"{gain:.1f} x",
                     f"{peaks[form]:,.0f}", f"{peaks[form] / peaks[stock]:.2f}"])  # fmt: skip
    print(table(["", "s", "processor s", "quicker", "MB", "share"], rows))


if __name__ == "__main__":
    main()
