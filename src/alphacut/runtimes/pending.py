"""A network that is still loading while something else is done."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from alphacut.runtimes import Runtime
from alphacut.runtimes.prompted import PromptedRuntime


class PendingRuntime:
    """A network that is loaded in the background; whoever needs it first waits for it.

    Args:
        load: Loads the network. What it raises is raised wherever the network is needed.
    """

    def __init__(self, load: Callable[[], Runtime]) -> None:
        pool = ThreadPoolExecutor(1)
        self._loading = pool.submit(load)
        pool.shutdown(wait=False)

    def wait(self) -> None:
        """Wait until the network is loaded, and raise what went wrong."""
        self._loading.result()

    @property
    def device(self) -> str:
        """Where the network runs."""
        return self._loading.result().device

    @property
    def prefers_batches(self) -> bool:
        """Whether one call with several images is faster than one call for each."""
        return self._loading.result().prefers_batches

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the output for a batch, as the network does."""
        return self._loading.result()(batch)

    def answer(
        self, batch: NDArray[np.float32], points: NDArray[np.float32], labels: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Answer a prompt, if the network is one that does; see `PromptedRuntime.answer`."""
        network = self._loading.result()
        assert isinstance(network, PromptedRuntime)
        return network.answer(batch, points, labels)
