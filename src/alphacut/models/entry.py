"""One entry of the catalogue, a model and its weights files, and its JSON form."""

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from alphacut.errors import WeightsError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Format = Literal["onnx", "int8", "fp16", "openvino", "torch", "decoder"]


@dataclass(frozen=True, kw_only=True)
class Weights:
    """A weights file, pinned by its checksum.

    Attributes:
        file: File name, in the weights folder and on a mirror.
        embedded: Whether the file ships in the package's `assets` instead.
        bytes: File size; None if unpublished.
        sha256: Checksum, verified after a download and before every use; see `weights.checksum`.
            None if unpublished: such a file is never downloaded, only added by `models add`.
        md5: Where only that is published, what `models add` verifies; no use beside a SHA-256.
        urls: Where to download the file, tried in order; empty for embedded and users' own files.
        package: Python package that brings the file, if it is installed; the extra of alphacut
            that installs it has the model's name.
    """

    file: str
    embedded: bool = False
    bytes: int | None = None
    sha256: str | None = None
    md5: str | None = None
    urls: tuple[str, ...] = ()
    package: str = ""


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """One model: how to feed it, how to read its output, where it comes from and on what terms.

    Attributes:
        name: What users type.
        aliases: Names other programs use for the same weights.
        arch: Network in `nets`; None if PyTorch cannot build it and only its graph can be run.
        arch_options: Further arguments of its network, such as BiRefNet's order of patches.
        input_size: (H, W) of the batch, aspect ratio not kept; None to follow the image.
        short_side: Shorter side of a batch that follows the image; None for the image's own.
        multiple: The sides of such a batch are rounded up to multiples of this.
        downscale: How a larger image is reduced: by "area" averages, "linear" without antialiasing,
            as U-2-Net's authors did, or by Pillow's "lanczos" in 8 bits.
        divisor: What pixels are divided by: the image's own maximum ("max") or white ("white").
        mean: Subtracted from R, G and B after the division.
        std: Divides R, G and B after that.
        output: What the network returns: "saliency" in [0, 1]; a "matte", alpha without a trimap;
            class "logits"; "alpha", which takes a trimap as a fourth input channel; or "masks" for
            clicks and boxes.
        sigmoid: Whether a saliency or matte comes as its logit.
        classes: Names of the logits, background first.
        min_max: Whether the saliency is min-max normalised to [0, 1].
        weights: The file of each format: "onnx" for OpenVINO and ONNX Runtime, "int8" for the same
            in 8-bit arithmetic, "fp16" in half precision, "openvino" for OpenVINO alone (.xml
            beside .bin), "torch" for PyTorch, "decoder" for the second part of a network that
            answers clicks. If "onnx" or "torch" is missing, it is made from the other where
            possible.
        bf16_loss: Mean difference of the saliency in bfloat16 from that in float32, as measured on
            photographs; None if it was not.
        code_license: Terms of the authors' code.
        license: Terms of the weights.
        commercial: Whether the weights' licence allows commercial use: "unclear" if the authors
            state none. Unless "yes", they are downloaded only once their terms are accepted.
        note: What else users should know about the terms, training data included.
        good_for: What it is good for, in a few words.
        scores: Figures that its authors publish.
        source: Where network and weights come from.
    """

    name: str
    aliases: tuple[str, ...] = ()
    arch: str | None
    arch_options: Mapping[str, Any] = field(default_factory=dict)
    input_size: tuple[int, int] | None = None
    short_side: int | None = None
    multiple: int = 1
    downscale: Literal["area", "linear", "lanczos"] = "area"
    divisor: Literal["max", "white"] = "white"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    output: Literal["saliency", "matte", "logits", "alpha", "masks"] = "saliency"
    sigmoid: bool = False
    classes: tuple[str, ...] = ()
    min_max: bool = False
    weights: Mapping[Format, Weights] = field(default_factory=dict)
    bf16_loss: float | None = None
    code_license: str
    license: str
    commercial: Literal["yes", "no", "unclear"]
    note: str = ""
    good_for: str = ""
    scores: str = ""
    source: str

    @property
    def channels(self) -> int:
        """Channels of the batch: RGB, plus a trimap if the model takes one."""
        return 4 if self.output == "alpha" else 3

    @property
    def finds_subjects(self) -> bool:
        """Whether a picture is all it needs: no trimap, no clicks."""
        return self.output not in ("alpha", "masks")


# Nothing is found: the ground is known, and the cut is solved from it
NO_NETWORK = ModelSpec(
    name="none", arch=None, code_license="", license="", commercial="yes", source=""
)  # fmt: skip


def to_json(spec: ModelSpec, like: ModelSpec) -> str:
    """Return an entry as JSON: the name of the entry it is like, and the fields that differ."""
    ours, theirs = dataclasses.asdict(spec), dataclasses.asdict(like)
    changes = {key: ours[key] for key in ours if ours[key] != theirs[key]}
    return json.dumps({"like": like.name, **changes}, indent=2) + "\n"


def from_json(text: str, known: Iterable[ModelSpec]) -> ModelSpec:
    """Return the entry that `to_json` wrote.

    Args:
        text: The JSON.
        known: Entries it may be like.

    Raises:
        WeightsError: if the text is not JSON, or its fields do not make an entry.
    """
    try:
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in json.loads(text).items()
        }
        name = values.pop("like")
        like = {spec.name: spec for spec in known}[name]
        if "weights" in values:
            values["weights"] = {
                format: Weights(**{**facts, "urls": tuple(facts.get("urls", ()))})
                for format, facts in values["weights"].items()
            }
        return dataclasses.replace(like, **values)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise WeightsError(f"not a model entry: {type(error).__name__}: {error}") from error
