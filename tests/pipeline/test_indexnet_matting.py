"""Alpha by IndexNet, with a network whose answer is known."""

import numpy as np

from alphacut.pipeline.indexnet import estimate_alpha_indexnet


class Listening:
    """A network that answers the red of each pixel, and notes what it is asked."""

    device = "fake"

    def __init__(self) -> None:
        self.batches: list[np.ndarray] = []

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        self.batches.append(batch)
        return batch[:, :1] * 0.229 + 0.485  # red as it was


def test_indexnet_sees_what_its_authors_gave_it() -> None:
    image = np.zeros((40, 50, 3), np.uint8)
    image[..., 0] = 153
    trimap = np.full((40, 50), 0.5, np.float32)
    trimap[:, :10], trimap[:, 40:] = 0, 1
    network = Listening()
    alpha = estimate_alpha_indexnet(image, trimap, network)
    (batch,) = network.batches
    assert batch.shape == (1, 4, 64, 64)  # the next multiples of 32, by resizing
    assert set(np.unique(batch[0, 3])) == {0, np.float32(128 / 255), 1}
    np.testing.assert_allclose(alpha[:, 10:40], 0.6, atol=1e-5)
    assert (alpha[:, :10] == 0).all()
    assert (alpha[:, 40:] == 1).all()


def test_indexnet_looks_only_at_tiles_with_unknown_pixels() -> None:
    down = np.linspace(0, 255, 2400).astype(np.uint8)[:, None, None]
    image = np.broadcast_to(down, (2400, 1300, 3))
    trimap = np.zeros((2400, 1300), np.float32)
    trimap[1200:] = 1
    trimap[1150:1250, 300:700] = 0.5
    network = Listening()
    alpha = estimate_alpha_indexnet(image, trimap, network)
    assert len(network.batches) == 1
    unknown = trimap == 0.5
    np.testing.assert_allclose(alpha[unknown], image[..., 0][unknown] / 255, atol=0.01)
    np.testing.assert_array_equal(alpha[~unknown], trimap[~unknown])
