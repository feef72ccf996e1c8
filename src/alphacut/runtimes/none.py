"""No network: for pictures whose ground is known, so that nothing has to be found."""

import numpy as np
from numpy.typing import NDArray

from alphacut.errors import RuntimeFailure


class NoRuntime:
    """A runtime that is asked nothing."""

    device = "none"
    prefers_batches = False

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Refuse: without a network there is no saliency.

        Raises:
            RuntimeFailure: always.
        """
        raise RuntimeFailure("model none finds no subject: choose a model, or a known ground")
