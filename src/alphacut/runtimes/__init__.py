"""The seam: a loaded network, batch in, output out."""

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from alphacut import weights
from alphacut.zoo import ModelSpec


class Runtime(Protocol):
    """A loaded network. Any object that can be called like this is a runtime."""

    @property
    def device(self) -> str:
        """Where the network runs, in the runtime's own words, such as "CPU"."""
        ...

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the network's first output (N, K, h', w') for a batch (N, C, h, w).

        Both are float32. The output belongs to the caller. Several threads may call at once.
        """
        ...


def load(spec: ModelSpec, *, device: str = "auto", path: Path | None = None) -> Runtime:
    """Load a model's network, the only place where device and precision are set.

    Args:
        spec: The model's row.
        device: "auto", "cpu", "gpu" or "npu"; auto takes the CPU, where results are the same
            on every machine.
        path: Weights to use instead of the row's own, not verified.

    Raises:
        WeightsError: if the weights are missing or damaged.
        RuntimeFailure: if the device is not there or the library fails.
    """
    from alphacut.runtimes.openvino import OpenVINORuntime

    return OpenVINORuntime(path or weights.fetch(spec), device=device)
