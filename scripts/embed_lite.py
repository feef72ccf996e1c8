"""Make the embedded files of alphacut-lite from trained weights.

The first look is the embedded U-2-Net-lite, exact in one file and in 8-bit arithmetic in the other.
The second look's weights are stored in 8 bits in both, which docs/log.md compares with float32.

    python scripts/embed_lite.py runs/lite/best.safetensors
"""

import sys
import tempfile
from pathlib import Path

from alphacut import files
from alphacut.evaluation.quantize import quantize_first, round_weights
from alphacut.models import weights
from alphacut.models.nets.alphacut_lite import AlphacutLite
from alphacut.runtimes.graph import write_graph
from alphacut.runtimes.pytorch import load_network


def main() -> None:
    """Write both files, and print what the catalogue says of them."""
    network = load_network("alphacut_lite", Path(sys.argv[1]))
    full, small = (weights.ASSETS / f"alphacut-lite{end}.onnx" for end in ("", "-int8"))
    first = weights.ASSETS / "u2net-lite-int8.onnx"
    with tempfile.TemporaryDirectory() as folder:
        exported = Path(folder) / "exported.onnx"
        write_graph(network, exported, to="onnx", channels=3, sizes=[(320, 320)])
        round_weights(exported, full, AlphacutLite.exact)
    quantize_first(full, first, small)
    for path in (full, small):
        print(f"{path}: {path.stat().st_size:_} bytes, SHA-256 {files.sha256(path)}")


if __name__ == "__main__":
    main()
