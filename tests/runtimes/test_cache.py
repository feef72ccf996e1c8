import numpy as np

from alphacut.runtimes.cache import CachedRuntime
from pictures import FakeRuntime


def test_the_same_batch_is_not_run_again() -> None:
    network = FakeRuntime()
    cached = CachedRuntime(network)
    batch = np.zeros((1, 3, 8, 8), np.float32)
    first = cached(batch)
    expected = first.copy()
    first[:] = 7  # the caller's own
    np.testing.assert_array_equal(cached(batch.copy()), expected)
    assert len(network.batches) == 1
    cached(batch + 1)
    cached(batch[..., ::-1])  # equal in samples, so it is the same
    assert len(network.batches) == 2
    cached(batch.reshape(1, 3, 4, 16))
    assert len(network.batches) == 3


def test_the_oldest_are_forgotten() -> None:
    network = FakeRuntime()
    cached = CachedRuntime(network, max_bytes=2 * 8 * 8 * 4)
    a, b, c = (np.full((1, 3, 8, 8), value, np.float32) for value in range(3))
    for batch in (a, b, a, c, a):  # c takes the place of b
        cached(batch)
    assert len(network.batches) == 3
    cached(b)
    assert len(network.batches) == 4
    assert cached.device == "fake"
