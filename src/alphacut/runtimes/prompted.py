"""Networks that answer points and boxes: an image is encoded once, then asked as often as needed.

Such a network has two parts. The encoder is a network like any other; the decoder takes its output
and a prompt, by the names of Segment Anything's exporter. A network that finds soft edges stands
beside them: their masks are coarse and hard.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from alphacut.errors import RuntimeFailure
from alphacut.models.entry import IMAGENET_MEAN, IMAGENET_STD

Array = NDArray[np.float32]

# What a prompt's points are, by Segment Anything's numbers; nowhere stands where there is no box
DROP, KEEP, TOP_LEFT, BOTTOM_RIGHT, NOWHERE = 0, 1, 2, 3, -1
MASK_PX = 256  # side of the decoder's masks
_EMBEDDING, _MASKS, _SCORES = "image_embeddings", "low_res_masks", "iou_predictions"


class Part(Protocol):
    """A network that takes a batch, as any runtime does."""

    @property
    def device(self) -> str:
        """Where it runs."""
        ...

    @property
    def prefers_batches(self) -> bool:
        """Whether one call with several images is faster than one call for each."""
        ...

    def __call__(self, batch: Array) -> Array:
        """Return its first output for a batch."""
        ...


class Graph(Protocol):
    """A graph with several inputs and outputs.

    Attributes:
        inputs: Number of dimensions of each input, by its name.
    """

    inputs: Mapping[str, int]

    def __call__(self, feeds: Mapping[str, Array]) -> Mapping[str, Array]:
        """Return the outputs by their names."""
        ...


class Encoder:
    """The first part as a graph, which may want levels of RGB (h, w, 3) instead of a batch."""

    device = "cpu"
    prefers_batches = False

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        ((self._input, self._rank),) = graph.inputs.items()

    def __call__(self, batch: Array) -> Array:
        """Return the embedding (1, 256, h / 16, w / 16) of a batch (1, 3, h, w), normalised."""
        if self._rank == 4:
            feed = batch
        else:  # published files normalise by themselves
            levels = batch[0].transpose(1, 2, 0) * np.array(IMAGENET_STD) + IMAGENET_MEAN
            feed = np.ascontiguousarray(255 * levels, np.float32)
        (embedding,) = self._graph({self._input: feed}).values()
        return embedding


class Decoder:
    """The second part as a graph."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    def __call__(self, embedding: Array, points: Array, labels: Array) -> tuple[Array, Array]:
        """Answer a prompt; see `PromptedRuntime.answer`."""
        given = {_EMBEDDING: embedding, "point_coords": points[np.newaxis],
                 "point_labels": labels[np.newaxis]}  # fmt: skip
        # further inputs of published files: an earlier mask, of which there is none, and the size
        # of another output
        nothing = {
            "mask_input": np.zeros((1, 1, MASK_PX, MASK_PX), np.float32),
            "has_mask_input": np.zeros(1, np.float32),
            "orig_im_size": np.full(2, MASK_PX, np.float32),
        }
        found = self._graph({name: (given | nothing)[name] for name in self._graph.inputs})
        return found[_MASKS][0], found[_SCORES][0]


class PromptedRuntime:
    """A network that answers points and boxes; called with a batch, it finds soft edges.

    Args:
        finder: Makes a saliency (1, 1, h, w) of a batch, as the embedded network does.
        encoder: Makes an embedding of a batch (1, 3, 1024, 1024).
        decoder: Makes masks and scores of an embedding, points and labels.
        device: Where they run.
    """

    prefers_batches = False

    def __init__(
        self,
        finder: Part,
        encoder: Part,
        decoder: Callable[[Array, Array, Array], tuple[Array, Array]],
        device: str,
    ) -> None:
        self.finder, self.encoder, self.decoder, self.device = finder, encoder, decoder, device

    def __call__(self, batch: Array) -> Array:
        """Return the finder's output for a batch."""
        return self.finder(batch)

    def answer(self, batch: Array, points: Array, labels: Array) -> tuple[Array, Array]:
        """Answer a prompt.

        Args:
            batch: (1, 3, 1024, 1024) float32, the image in its frame.
            points: (P, 2) float32, x and y in pixels of the frame.
            labels: (P,) float32, what each point is.

        Returns:
            Logits (4, 256, 256) of four masks and their scores (4,), which estimate their IoU. The
            first mask is for boxes and several points, the others are for one point.

        Raises:
            RuntimeFailure: if the network cannot be run.
        """
        masks, scores = self.decoder(self.encoder(batch), points, labels)
        if masks.shape != (4, MASK_PX, MASK_PX) or scores.shape != (4,):
            raise RuntimeFailure(f"the decoder returns masks {masks.shape} and scores "
                                 f"{scores.shape}, not 4 of 256 x 256")  # fmt: skip
        return masks, scores
