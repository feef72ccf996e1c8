"""What is known about each model, as data: one frozen row a model, read from top to bottom."""

from dataclasses import dataclass
from typing import Literal

from alphacut.errors import UnknownName

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Weights:
    """A file of weights, pinned by its checksum.

    Attributes:
        file: Name of the file; embedded ones lie in the package's `assets`.
        bytes: Its length.
        sha256: Its checksum, compared before every use.
    """

    file: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class ModelSpec:
    """One model: how to feed it, how to read its answer, where it comes from, on what terms.

    Attributes:
        name: What users type.
        aliases: Names that other programs use for the same weights.
        input_size: (H, W) of the batch; the picture is resized to it, aspect not kept.
        shrink: How a larger picture is made smaller: by area averages, or "linear", without
            antialiasing, as U-2-Net's authors did.
        scale: What divides the pixels: the picture's own maximum ("peak") or white ("white").
        mean: Subtracted from each of R, G, B after the division.
        std: Divides each of R, G, B after that.
        output: What the network answers: "saliency", already in [0, 1].
        stretch: Whether the answer is stretched to fill [0, 1], as U-2-Net's authors do.
        weights: The file of weights, in ONNX form.
        license: Terms of the weights, as an SPDX name.
        commercial: Whether the weights may be used commercially.
        source: Where network and weights come from.
    """

    name: str
    aliases: tuple[str, ...]
    input_size: tuple[int, int]
    shrink: Literal["area", "linear"]
    scale: Literal["peak", "white"]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    output: Literal["saliency"]
    stretch: bool
    weights: Weights
    license: str
    commercial: Literal["yes", "no", "unclear"]
    source: str


MODELS = (
    ModelSpec(
        name="u2net-lite",
        aliases=("u2netp",),
        input_size=(320, 320),
        shrink="area",
        scale="peak",
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        output="saliency",
        stretch=True,
        weights=Weights(
            file="u2net-lite.onnx",
            bytes=4_555_515,
            sha256="9e3e950c7499ba110ddd92f1f03dc353722b4c6a126d1efdac079e91bf263b92",
        ),
        license="Apache-2.0",
        commercial="yes",
        source="https://github.com/xuebinqin/U-2-Net (Qin et al. 2020, arXiv 2005.09007)",
    ),
)


def find_model(name: str) -> ModelSpec:
    """Return the row of a model, by its name or an alias.

    Raises:
        UnknownName: if no row has that name; the message lists the names.
    """
    for spec in MODELS:
        if name == spec.name or name in spec.aliases:
            return spec
    raise UnknownName("model", name, (spec.name for spec in MODELS))
