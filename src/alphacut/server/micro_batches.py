"""One network for several threads: what they ask of it at the same time runs as one batch."""

import contextlib
import queue
import threading
from concurrent.futures import Future

import numpy as np
from numpy.typing import NDArray

from alphacut.runtimes import Runtime

_BATCH = 8


class MicroBatches:
    """A runtime that merges the batches of several threads into one for another runtime.

    Nothing waits to be merged: a batch is what has come in while the last one ran.

    Args:
        runtime: The other runtime.
    """

    def __init__(self, runtime: Runtime) -> None:
        self.device, self.prefers_batches = runtime.device, False  # it makes its own
        self._runtime = runtime
        self._waiting: queue.SimpleQueue[
            tuple[NDArray[np.float32], Future[NDArray[np.float32]]] | None
        ] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="alphacut-network", daemon=True).start()

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the output for a batch, as a runtime does."""
        future: Future[NDArray[np.float32]] = Future()
        self._waiting.put((batch, future))
        return future.result()

    def close(self) -> None:
        """Take no more batches."""
        self._waiting.put(None)

    def _run(self) -> None:
        """Run what is waiting, merging batches of the same shape."""
        while (first := self._waiting.get()) is not None:
            taken = [first]
            with contextlib.suppress(queue.Empty):
                while len(taken) < _BATCH:
                    more = self._waiting.get_nowait()
                    if more is None:
                        self.close()  # once what came before it is done
                        break
                    taken.append(more)
            for shape in {batch.shape[1:] for batch, _ in taken}:
                alike = [one for one in taken if one[0].shape[1:] == shape]
                try:
                    output = self._runtime(np.concatenate([batch for batch, _ in alike]))
                except Exception as error:  # everyone in this batch is told
                    for _, future in alike:
                        future.set_exception(error)
                    continue
                start = 0
                for batch, future in alike:
                    future.set_result(output[start : start + len(batch)])
                    start += len(batch)
