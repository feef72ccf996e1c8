import numpy as np

from alphacut.pipeline.vitmatte import estimate_alpha_vitmatte


class Recorder:
    """A network that answers with the green channel, and keeps what it was asked."""

    device, prefers_batches = "here", False

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        self.batch = batch
        return batch[:, 1:2] * 0.224 + 0.456


def test_unknown_pixels_are_solved_and_the_others_kept() -> None:
    image = np.zeros((60, 90, 3), np.uint8)
    image[..., 1] = 128
    trimap = np.zeros((60, 90), np.float32)
    trimap[20:40, 30:60] = 0.5
    trimap[25:30, 40:50] = 1
    network = Recorder()
    alpha = estimate_alpha_vitmatte(image, trimap, network)
    assert network.batch.shape == (1, 4, 1024, 1024)
    assert set(np.unique(network.batch[0, 3])) == {0, 0.5, 1}
    np.testing.assert_allclose(alpha[trimap == 0.5], 128 / 255, atol=1e-5)
    np.testing.assert_array_equal(alpha[trimap != 0.5], trimap[trimap != 0.5])


def test_sixteen_bits_are_read_by_their_white() -> None:
    image = np.full((40, 40, 3), 65535 // 2, np.uint16)
    trimap = np.full((40, 40), 0.5, np.float32)
    np.testing.assert_allclose(estimate_alpha_vitmatte(image, trimap, Recorder()), 0.5, atol=1e-4)


def test_a_trimap_without_a_question_needs_no_network() -> None:
    trimap = np.eye(8, dtype=np.float32)
    image = np.zeros((8, 8, 3), np.uint8)
    np.testing.assert_array_equal(estimate_alpha_vitmatte(image, trimap, None), trimap)  # type: ignore[arg-type]
