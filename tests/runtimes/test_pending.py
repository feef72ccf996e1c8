"""A network that is still loading."""

import threading

import numpy as np
import pytest
from numpy.typing import NDArray

from alphacut.errors import WeightsError
from alphacut.runtimes import Runtime
from alphacut.runtimes.pending import PendingRuntime


class Double:
    device = "CPU"

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        return 2 * batch


def test_it_loads_while_its_user_goes_on() -> None:
    may_load = threading.Event()

    def load() -> Runtime:
        assert may_load.wait(60)
        return Double()

    network = PendingRuntime(load)  # returns although nothing can be loaded yet
    may_load.set()
    assert network(np.ones((1, 1, 2, 2), np.float32)).tolist() == [[[[2, 2], [2, 2]]]]
    assert network.device == "CPU"


def test_what_went_wrong_is_told_wherever_it_is_needed() -> None:
    def load() -> Runtime:
        raise WeightsError("damaged")

    network = PendingRuntime(load)
    with pytest.raises(WeightsError, match="damaged"):
        network.wait()
    with pytest.raises(WeightsError, match="damaged"):
        network(np.ones((1, 1, 2, 2), np.float32))
    with pytest.raises(WeightsError, match="damaged"):
        _ = network.device
