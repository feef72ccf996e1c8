"""Prompts: the decoder's graph agrees in three runtimes, and published files can be fed."""

import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from alphacut.errors import RuntimeFailure
from alphacut.models import nets
from alphacut.models.nets.mobile_sam import MobileSAM
from alphacut.runtimes.graph import write_decoder, write_graph
from alphacut.runtimes.onnx import ONNXGraph
from alphacut.runtimes.openvino import OpenVINOGraph
from alphacut.runtimes.prompted import Decoder, Encoder, PromptedRuntime
from alphacut.runtimes.pytorch import TorchDecoder

Array = NDArray[np.float32]
# (x, y, label): a click, a box, both with a point that is dropped
PROMPTS = (
    ((300, 620, 1), (0, 0, -1)),
    ((200, 150, 2), (800, 700, 3)),
    ((512, 400, 1), (100, 900, 0), (200, 150, 2), (800, 700, 3)),
)


@pytest.fixture(scope="module")
def network() -> MobileSAM:
    torch.manual_seed(zlib.crc32(b"mobile_sam"))
    built = nets.build("mobile_sam").eval()
    assert isinstance(built, MobileSAM)
    return built


@pytest.fixture(scope="module")
def decoder_file(network: MobileSAM, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sam") / "decoder.onnx"
    write_decoder(network, path)
    return path


def parts(prompt: tuple[tuple[int, int, int], ...]) -> tuple[Array, Array]:
    points = np.array(prompt, np.float32)
    return points[:, :2], points[:, 2]


def direct(network: MobileSAM, embedding: Array, prompt: tuple[tuple[int, int, int], ...]) -> Array:
    """The network's own answer, its box given as such."""
    clicks = torch.tensor([point for point in prompt if point[2] in (0, 1)]).reshape(-1, 3).float()
    corners = [point[:2] for point in prompt if point[2] in (2, 3)]
    box = torch.tensor(corners).float() if corners else None
    with torch.no_grad():
        masks, _ = network.answer(torch.from_numpy(embedding), clicks[:, :2], clicks[:, 2], box)
    return np.asarray(masks[0])


@pytest.mark.slow
def test_three_runtimes_answer_alike(network: MobileSAM, decoder_file: Path) -> None:
    embedding = np.random.default_rng(1).normal(size=(1, 256, 64, 64)).astype(np.float32)
    decoders = (Decoder(ONNXGraph(decoder_file)), Decoder(OpenVINOGraph(decoder_file)),
                TorchDecoder(network))  # fmt: skip
    for prompt in PROMPTS:
        expected = direct(network, embedding, prompt)
        for decoder in decoders:
            masks, scores = decoder(embedding, *parts(prompt))
            assert masks.dtype == scores.dtype == np.float32
            assert scores.shape == (4,)
            assert np.abs(masks - expected).max() <= 1e-3 * np.abs(expected).max()


class Published:
    """A graph with the inputs of the published files, that notes what it is fed."""

    def __init__(self, **inputs: int) -> None:
        self.inputs: Mapping[str, int] = inputs
        self.fed: dict[str, Array] = {}

    def __call__(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        self.fed = dict(feeds)
        assert {name: array.ndim for name, array in feeds.items()} == self.inputs
        masks, scores = np.zeros((1, 4, 256, 256), np.float32), np.zeros((1, 4), np.float32)
        return {"masks": masks, "iou_predictions": scores, "low_res_masks": masks}


def test_a_published_decoder_gets_all_that_it_wants() -> None:
    graph = Published(image_embeddings=4, point_coords=3, point_labels=2, mask_input=4,
                      has_mask_input=1, orig_im_size=1)  # fmt: skip
    masks, scores = Decoder(graph)(np.zeros((1, 256, 64, 64), np.float32), *parts(PROMPTS[0]))
    assert (masks.shape, scores.shape) == ((4, 256, 256), (4,))
    assert not graph.fed["has_mask_input"].any()
    assert graph.fed["point_labels"].tolist() == [[1, -1]]


def test_a_published_encoder_gets_levels() -> None:
    fed: list[Array] = []

    class Levels:
        inputs: Mapping[str, int] = {"input_image": 3}

        def __call__(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
            fed.append(feeds["input_image"])
            return {"image_embeddings": np.zeros((1, 256, 2, 2), np.float32)}

    image = np.random.default_rng(3).integers(0, 256, (32, 32, 3)).astype(np.float32)
    mean, std = np.array((123.675, 116.28, 103.53)), np.array((58.395, 57.12, 57.375))
    batch = ((image - mean) / std).transpose(2, 0, 1)[np.newaxis].astype(np.float32)
    assert Encoder(Levels())(batch).shape == (1, 256, 2, 2)
    np.testing.assert_allclose(fed[0], image, atol=1e-3)


def test_an_encoder_of_our_own_gets_the_batch() -> None:
    class Whole:
        inputs: Mapping[str, int] = {"batch": 4}

        def __call__(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
            return {"output": feeds["batch"] * 2}

    batch = np.ones((1, 3, 4, 4), np.float32)
    np.testing.assert_array_equal(Encoder(Whole())(batch), 2 * batch)


def test_an_answer_of_another_shape_is_refused() -> None:
    def decoder(embedding: Array, points: Array, labels: Array) -> tuple[Array, Array]:
        return np.zeros((1, 256, 256), np.float32), np.zeros(1, np.float32)

    prompted = PromptedRuntime(lambda batch: batch, lambda batch: batch, decoder, "cpu")
    with pytest.raises(RuntimeFailure, match="not 4 of 256 x 256"):
        prompted.answer(np.zeros((1, 3, 8, 8), np.float32), *parts(PROMPTS[0]))


@pytest.mark.slow
def test_the_encoder_is_a_graph_like_any_other(network: MobileSAM, tmp_path: Path) -> None:
    path = tmp_path / "encoder.onnx"
    write_graph(network, path, to="onnx", channels=3, sizes=((64, 96),), dynamic=True)
    batch = np.random.default_rng(5).random((1, 3, 96, 64), np.float32)
    with torch.no_grad():
        expected = network(torch.from_numpy(batch)).numpy()
    for graph in (ONNXGraph(path), OpenVINOGraph(path)):
        found = Encoder(graph)(batch)
        assert np.abs(found - expected).max() <= 1e-3 * np.abs(expected).max()
