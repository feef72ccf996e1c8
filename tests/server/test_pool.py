import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from alphacut import Remover
from alphacut.server.pool import MicroBatches, Pool


class Doubles:
    """A runtime that doubles its batch, slowly, and notes how large it was."""

    device = "GPU"

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.go_on = threading.Event()
        self.go_on.set()

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        self.sizes.append(len(batch))
        time.sleep(0.05)
        assert self.go_on.wait(60)
        if (batch < 0).any():
            raise RuntimeError("negative")
        return batch * 2


def test_what_waits_runs_together() -> None:
    runtime = Doubles()
    network = MicroBatches(runtime)
    batches = [np.full((1, 3, 4, 4), number, np.float32) for number in range(12)]
    with ThreadPoolExecutor(12) as threads:
        outputs = list(threads.map(network, batches))
    for number, output in enumerate(outputs):
        np.testing.assert_array_equal(output, 2 * batches[number])
    assert sum(runtime.sizes) == 12
    assert 1 < max(runtime.sizes) <= 8
    network.close()
    wait_for_the_end()


def test_other_shapes_and_errors_stay_apart() -> None:
    network = MicroBatches(Doubles())
    shapes = [(1, 3, 4, 4), (2, 3, 4, 4), (1, 3, 8, 8)]
    with ThreadPoolExecutor(6) as threads:
        outputs = threads.map(network, [np.ones(shape, np.float32) for shape in shapes * 4])
        assert [output.shape for output in outputs] == shapes * 4
        with pytest.raises(RuntimeError, match="negative"):
            network(np.full((1, 3, 4, 4), -1, np.float32))
        assert network(np.ones((1, 3, 4, 4), np.float32)).max() == 2
    network.close()
    wait_for_the_end()


def test_what_was_asked_before_the_end_is_done() -> None:
    runtime = Doubles()
    runtime.go_on.clear()
    network = MicroBatches(runtime)
    with ThreadPoolExecutor(3) as threads:
        outputs = [threads.submit(network, np.ones((1, 3, 4, 4), np.float32)) for _ in range(3)]
        while not runtime.sizes or sum(runtime.sizes) + network._waiting.qsize() < 3:
            time.sleep(0.01)
        network.close()
        runtime.go_on.set()
        assert [output.result(60).max() for output in outputs] == [2, 2, 2]
    wait_for_the_end()


def wait_for_the_end() -> None:
    for thread in threading.enumerate():
        if thread.name == "alphacut-network":
            thread.join(60)
            assert not thread.is_alive()


@pytest.mark.parametrize("runtime", ["openvino", "torch"])
def test_a_processor_runs_no_batches_of_several(runtime: str) -> None:
    """Told by a property of the network: PyTorch calls it "cpu", OpenVINO once called it "CPU"."""
    remover = Remover(runtime=runtime, device="cpu", precision="fp32")
    pool = Pool({"u2net-lite": remover}, workers=1, waiting=1, timeout_s=1, memory_bytes=2**30)
    assert pool._networks["u2net-lite"] is remover.network


def test_what_prefers_batches_gets_them(fake_remover: Remover) -> None:
    fake_remover.network.prefers_batches = True
    pool = Pool({"net": fake_remover}, workers=1, waiting=1, timeout_s=1, memory_bytes=2**30)
    network = pool._networks["net"]
    assert isinstance(network, MicroBatches)
    network.close()
