"""A training recipe: every setting of a run, read from one TOML file."""

import dataclasses
import sys
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from alphacut.errors import MissingExtra, TrainingError
from alphacut.models import weights
from alphacut.models.entry import ModelSpec
from alphacut.training.steps import OneOf

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where pictures come from. Paths are below the folder of data.

    Attributes:
        kind: "pairs" are photographs with their alpha; "taught" are photographs with the masks of
            other networks; "composites" are made of subjects and backgrounds; "empty" are pictures
            without a subject, so alpha is 0; "unlabelled" backgrounds have no truth: what the
            network answered before training is kept.
        part: Which part of a data set; of what has none, such as cut-outs and backgrounds, every
            fifth by name is held out of "train" and is the others.
        share: How often this source is drawn, relative to the others.
        layout: How the folders of pairs are named; see `datasets.LAYOUTS`. Composites with a layout
            take their subjects from such pairs.
        folder: Where the pairs are, or the taught photographs with their teachers.
        exif: What to do where a photograph of pairs has an EXIF orientation: "image" turns the
            photograph alone, for alphas that were made of the upright picture; "both" turns it and
            its alpha, "neither" none of them, both for alphas that fit the pixels as they are
            stored. Where it is not stated, such a photograph is an error.
        teachers: Folders, within `folder`, of the masks of the photographs in its `image`, the
            best teacher's first. Composites with teachers take their subjects from what these
            agree on.
        doubt: How much less a pixel counts where each teacher behind the first contradicts it; with
            a number for the first as well, most of three or more teachers decide what the truth is,
            and a pixel counts less where each alone sees a subject. See `teachers.py`.
        cutouts: Folder of RGBA pictures in straight colours.
        backgrounds: Folders of photographs.
        only: Patterns of the names of backgrounds, or of taught photographs, that are taken; all if
            there are none.
        names: Text files of names, one a line: these subjects alone are taken.
        grounds: The same for backgrounds. What is named is not divided into parts.
        without: Text files of names of subjects that are left out.
        subjects: How likely 1, 2, 3 ... subjects stand in a composite.
        coverage: Least and largest share of the canvas's longer side that a subject fills.
        canvas: Least and largest side of a made picture, as a multiple of the batch's.
        plain: How likely a composite's ground is even or shaded, as in a studio, and not a
            photograph.
        alike: How likely a composite's ground takes on the colour of a part of the subject.
        one_of: Steps that vary photographs, in order; see `steps.py`.
        augment: What is done to finished pictures; see `augment.py`.
        ignore_px: Pixels of a binary truth's edge, to both sides, that the loss does not look at.
    """

    kind: Literal["pairs", "taught", "composites", "empty", "unlabelled"]
    part: Literal["train", "valid", "test"] = "train"
    share: float = 1.0
    layout: str = ""
    folder: str = "."
    exif: Literal["unstated", "image", "both", "neither"] = "unstated"
    teachers: tuple[str, ...] = ()
    doubt: tuple[float, ...] = ()
    cutouts: str = "cutouts"
    backgrounds: tuple[str, ...] = ("backgrounds",)
    only: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    grounds: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    subjects: tuple[float, ...] = (1.0,)
    coverage: tuple[float, float] = (0.35, 1.0)
    canvas: tuple[float, float] = (1.1, 1.7)
    plain: float = 0.0
    alike: float = 0.0
    one_of: tuple[OneOf, ...] = ()
    augment: Literal["none", "photo"] = "none"
    ignore_px: int = 0

    def __post_init__(self) -> None:
        if self.one_of and self.kind not in ("pairs", "taught"):
            raise TrainingError(f"one_of: varies photographs, so not {self.kind}")


@dataclass(frozen=True, kw_only=True)
class Loss:
    """Weights of the terms of `losses.py`, summed for each output of the network.

    Attributes:
        outputs: Weight of each output, the best one first; they are divided by their sum. Where the
            first ones are 0, U-2-Net and IS-Net do not calculate them.
    """

    edge_rmse: float = 0.0
    l1: float = 0.0
    laplacian: float = 0.0
    gradient: float = 0.0
    band: float = 0.0
    composition: float = 0.0
    bce: float = 0.0
    outputs: tuple[float, ...] = (1.0,)

    @property
    def first(self) -> int:
        """How many outputs before the first one that counts."""
        return next((k for k, weight in enumerate(self.outputs) if weight), 0)

    @property
    def terms(self) -> dict[str, float]:
        """The terms that count, with their weights."""
        named = dataclasses.asdict(self)
        del named["outputs"]
        return {name: weight for name, weight in named.items() if weight}


@dataclass(frozen=True, kw_only=True)
class Rate:
    """Learning rate over the steps; the shapes are PyTorch's OneCycleLR and CyclicLR.

    Attributes:
        shape: "one-cycle" rises and falls once by cosines; "triangular" goes up and down between
            `least` and `peak`, "triangular2" halves the height with each cycle, "exp-range" by
            `gamma` with each step (Smith 2017, arXiv 1506.01186); "steps" multiplies by 0.1 at the
            fractions `drops` of the run; "constant" stays at `peak`.
        peak: Largest rate.
        rise: Share of a one-cycle run that rises.
        least: Smallest rate of the triangles.
        half_cycle: Steps from the smallest to the largest rate of the triangles.
        gamma: Of "exp-range".
        drops: Of "steps".
    """

    shape: Literal["one-cycle", "triangular", "triangular2", "exp-range", "steps", "constant"]
    peak: float
    rise: float = 0.3
    least: float = 1e-5
    half_cycle: int = 2000
    gamma: float = 0.9999
    drops: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """Published weights of a network's encoder, for a start that is otherwise random.

    Attributes:
        file: A state dict, relative to the working folder; what else it holds, such as a
            classifier, is left aside.
        sha256: Its checksum.
    """

    file: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class About:
    """What a run of a recipe needs and gives, for people."""

    hardware: str
    time: str
    reaches: str


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All settings of a run.

    Attributes:
        model: Catalogue entry with network, normalisation and trimap; the entry of the trained
            weights is made from it.
        start: "model" for the entry's weights, "random", or the path of a file of weights.
        encoder: What the encoder starts from if `start` is "random".
        source: Where the pictures come from.
        valid: Where those come from that the network is judged by.
        valid_pictures: How many of them at most; photographs that lie there are taken once each.
        size: Sides of the square batches; with several, one is drawn for each step.
        crop: Sides of the window around an unknown pixel that is cut out of the picture and resized
            to the batch, for networks that need a trimap; none for the whole picture.
        unknown_px: Least and largest distance to a soft pixel that makes a pixel unknown.
        resize: How a picture comes to the batch's size.
        decoded_px: Longest side at which files are decoded once, into arrays in the folder
            `decoded` of the data; 0 reads the files each time.
        batch: Pictures in a step, over all processes.
        steps: Steps in all.
        epochs: Instead of `steps`, how often each photograph is seen. The intervals below then
            count epochs, too, and may be fractions.
        loss: What is minimised.
        rate: Learning rate.
        optimizer: "adam", or "adamw" with `weight_decay`.
        weight_decay: Of AdamW.
        clip: Largest norm of the gradient; 0 for any.
        ema: Decay of the moving average of the weights; 0 for none.
        freeze: Patterns of the names of parameters that stay as they are.
        freeze_batch_norm: From this fraction of the steps on, batch norm keeps its statistics.
        amp: "auto" is mixed precision on CUDA and float32 elsewhere; "bf16" is bfloat16 anywhere;
            "off" is float32.
        full_precision: Names of modules that calculate in float32 even so.
        best_by: Measure of the pictures in `valid` that decides which weights are the best.
        valid_every: Steps between two looks at them.
        save_every: Steps between two checkpoints, of which the last one stays.
        keep_every: Steps between two checkpoints that stay as well; 0 for none.
        keep: How many of those, the last ones; 0 for all.
        draw: How many pictures in `valid` are drawn at each look, with what the network says.
        seed: Of all that is drawn.
        about: What to expect.
    """

    model: str
    start: str = "model"
    encoder: Encoder | None = None
    source: tuple[Source, ...]
    valid: tuple[Source, ...]
    valid_pictures: int = 40
    size: tuple[int, ...] = (320,)
    crop: tuple[int, ...] = ()
    unknown_px: tuple[int, int] = (1, 19)
    resize: Literal["area", "lanczos"] = "area"
    decoded_px: int = 0
    batch: int
    steps: int = 0
    epochs: int = 0
    loss: Loss
    rate: Rate
    optimizer: Literal["adam", "adamw"] = "adamw"
    weight_decay: float = 0.0
    clip: float = 0.0
    ema: float = 0.0
    freeze: tuple[str, ...] = ()
    freeze_batch_norm: float = 1.0
    amp: Literal["auto", "off", "bf16"] = "auto"
    full_precision: tuple[str, ...] = ()
    best_by: Literal["MAD", "Grad", "RMSE"] = "MAD"
    valid_every: float = 500
    save_every: float = 500
    keep_every: float = 0
    keep: int = 0
    draw: int = 8
    seed: int = 0
    about: About

    def __post_init__(self) -> None:
        if (self.steps > 0) == (self.epochs > 0):
            raise TrainingError("a recipe has either steps or epochs, 1 or more")
        for name in ("batch", "valid_pictures"):
            if getattr(self, name) < 1:
                raise TrainingError(f"{name} = {getattr(self, name)}: has to be 1 or more")
        for name in ("valid_every", "save_every", "keep_every"):
            every = getattr(self, name)
            if every < 0 or (every == 0 and name != "keep_every") or (self.steps and every % 1):
                unit = "whole number of steps" if self.steps else "number of epochs"
                raise TrainingError(f"{name} = {every:g}: has to be a {unit}, more than 0")
        if not self.loss.terms:
            raise TrainingError("loss: has no term, so there is nothing to learn")


def read_recipe(path: Path) -> Recipe:
    """Read a recipe.

    Raises:
        TrainingError: if it cannot be read, or a setting is unknown, missing or of a wrong kind.
        MissingExtra: on Python 3.10 without tomli.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        try:
            import tomli as tomllib
        except ImportError as error:
            raise MissingExtra("tomli", "train") from error
    try:
        return _build(Recipe, tomllib.loads(path.read_text(encoding="utf-8")), "")
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise TrainingError(f"{path}: is no recipe: {error}") from error
    except TrainingError as error:
        raise TrainingError(f"{path}: {error}") from None


def find_entry(recipe: Recipe) -> ModelSpec:
    """Return the catalogue entry of a recipe's model.

    Raises:
        UnknownName: if there is no such model.
        TrainingError: if there is no network of it that learns alpha.
    """
    spec = weights.find_model(recipe.model)
    if spec.arch is None or spec.output in ("masks", "logits"):
        raise TrainingError(f"model = {recipe.model!r}: cannot be trained: choose another")
    return spec


def _build(kind: type[T], values: Mapping[str, Any], where: str) -> T:
    """Make a dataclass of a table, its fields checked by their annotations."""
    kinds = typing.get_type_hints(kind)
    if unknown := sorted(values.keys() - kinds.keys()):
        raise TrainingError(f"unknown setting {where}{unknown[0]}: choose of {', '.join(kinds)}")
    made = {name: _convert(kinds[name], value, where + name) for name, value in values.items()}
    try:
        return kind(**made)
    except TypeError as error:  # a setting without a default is missing
        raise TrainingError(f"{where or 'the recipe'}: {error}") from error


def _convert(kind: Any, value: Any, where: str) -> Any:
    """Check a value of TOML against an annotation; arrays become tuples."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if type(None) in arguments:  # TOML has no None: what is there is the other kind
        return _convert(arguments[0], value, where)
    if dataclasses.is_dataclass(kind) and isinstance(value, dict):
        return _build(typing.cast(type, kind), value, where + ".")
    if origin is Literal and value in arguments:
        return value
    if origin is tuple and isinstance(value, list):
        kinds = [arguments[0]] * len(value) if arguments[-1] is ... else arguments
        if len(kinds) == len(value):
            return tuple(_convert(k, v, where) for k, v in zip(kinds, value, strict=True))
    if kind is float and type(value) in (int, float):
        return float(value)
    if kind in (int, str) and type(value) is kind:
        return value
    wanted = "one of " + ", ".join(map(str, arguments)) if origin is Literal else f"{kind}"
    raise TrainingError(f"{where} = {value!r}: has to be {wanted}")
