"""A runtime that remembers its last answers, for people who try settings on one picture."""

import hashlib
import threading
from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray

from alphacut.runtimes import Runtime


class Remembering:
    """A network that is not run again for a batch that it has answered lately.

    It keeps outputs and the batches' SHA-256, never a picture.

    Args:
        runtime: The network.
        most_bytes: How much memory the outputs may take.
    """

    def __init__(self, runtime: Runtime, most_bytes: int = 64_000_000) -> None:
        self.device = runtime.device
        self._runtime = runtime
        self._most_bytes = most_bytes
        self._outputs: OrderedDict[bytes, NDArray[np.float32]] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the output for a batch, as the network does."""
        samples = np.ascontiguousarray(batch).data
        key = hashlib.sha256(repr(batch.shape).encode() + samples.cast("B")).digest()
        with self._lock:
            if key in self._outputs:
                self._outputs.move_to_end(key)
                return self._outputs[key].copy()
        output = self._runtime(batch)
        with self._lock:
            self._outputs[key] = output.copy()
            while sum(kept.nbytes for kept in self._outputs.values()) > self._most_bytes:
                self._outputs.popitem(last=False)
        return output
