"""A loaded model that cuts out pictures, with the options that it was given."""

import dataclasses
import functools
import os
import warnings
from collections.abc import Generator, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from alphacut import runtimes
from alphacut.cutout import Cutout
from alphacut.errors import NoForegroundWarning, OptionError, UnknownName
from alphacut.models import catalogue, weights
from alphacut.models.download import Progress
from alphacut.models.entry import NO_NETWORK, ModelSpec
from alphacut.options import DEFAULT_MODEL, OptionChanges, Options
from alphacut.output.background import load_background
from alphacut.parallel import in_order, side_by_side
from alphacut.pipeline import image as images
from alphacut.pipeline.image import Image, Picture
from alphacut.pipeline.load import Source, describe, load_frames
from alphacut.pipeline.namesake import TRIMAP_MARKS, find_namesake
from alphacut.pipeline.strokes import Stroke
from alphacut.runtimes import Runtime
from alphacut.stages import Clock, Matte, Method, Stages, find_method

if TYPE_CHECKING:
    from typing_extensions import Unpack

Array = NDArray[np.float32]

# Options that decide which network is loaded; the others may differ from call to call
_LOADED = ("model", "runtime", "device", "precision", "input_size")


class Remover:
    """A loaded model that cuts out many pictures, from any number of threads.

    It is pickled as its options, and loads its network anew where it is unpickled.

    Args:
        model: Name of a model, or an entry of your own; instead of `options.model`.
        network: A loaded network, instead of the one that the options name. Neither is needed with
            `pair` or `trimap`.
        options: All that can be chosen.
        hint: What to load the network for: the "latency" of one picture, or the "throughput" of
            several at once, as in `map`.
        threads: How many processors the network may use; all by default.
        accept_license: Whether you accept the terms of weights that do not allow every use, if
            they must be downloaded first.
        progress: Called with the progress of such a download.
        **changes: Fields of `Options` to change, such as `quality="best"`.

    Attributes:
        options: All that was chosen.
        spec: The model's entry.
        network: The loaded network.

    Raises:
        UnknownName: if a model, runtime, device, class or option does not exist, or the model does
            not find subjects.
        OptionError: if an option's value is malformed or beyond its limits.
        ImageError: if the background that the options name cannot be read.
        WeightsError: if the weights are missing or damaged, or their terms are not accepted.
        MissingExtra: if the runtime or PyMatting is needed and not installed.
        RuntimeFailure: if the device does not exist.
    """

    def __init__(
        self,
        model: str | ModelSpec | None = None,
        /,
        *,
        network: Runtime | None = None,
        options: Options | None = None,
        hint: runtimes.Hint = "latency",
        threads: int | None = None,
        accept_license: bool = False,
        progress: Progress | None = None,
        **changes: "Unpack[OptionChanges]",
    ) -> None:
        if model is not None:
            changes["model"] = model if isinstance(model, str) else model.name
        options = (options or Options()).replace(**changes)
        if model is None or isinstance(model, str):
            model = weights.find_model(options.model)
        self.spec = model
        if not (model.finds_subjects or model.output == "masks"):
            finders = (spec.name for spec in weights.models() if spec.finds_subjects)
            raise UnknownName("model that finds subjects", model.name, finders)
        if size := options.network_size:
            if any(side % model.multiple for side in size):
                raise OptionError("input_size", options.input_size,
                                  f"{model.name} takes multiples of {model.multiple}")  # fmt: skip
            self.spec = dataclasses.replace(model, input_size=size, short_side=None)
        options, method = self._check(options)  # before anything is loaded
        load = functools.partial(
            runtimes.load,
            runtime=options.runtime,
            device=options.device,
            precision=options.precision,
            hint=hint,
            threads=threads,
            accept_license=accept_license,
            progress=progress,
        )
        self.network = network or load(model if options.asks_network else NO_NETWORK, size=size)
        self._given = model, network, hint, threads, accept_license
        self.options = options
        self._stages = Stages(
            options=options,
            spec=self.spec,
            finder=weights.find_model(DEFAULT_MODEL) if model.output == "masks" else self.spec,
            network=self.network,
            method=method,
            solver=load(weights.find_model(method.network)) if method.network else None,
        )

    def _check(self, options: Options) -> tuple[Options, Method]:
        """Refuse what cannot work; return the options, what pipes gave read, and the method.

        Raises:
            UnknownName: if a class or matting does not exist.
            OptionError: if the background is malformed.
            ImageError: if it cannot be read.
            MissingExtra: if PyMatting is needed and not installed.
        """
        options = options.without_streams()
        if options.classes:
            catalogue.choose_classes(self.spec, options.classes)
        method = find_method(options.matting, options.quality, self.spec.output)
        if method.require:
            method.require()
        if options.background is not None:
            load_background(
                options.background,
                max_megapixels=options.max_megapixels,
                allow_truncated=options.allow_truncated,
            )
        return options, method

    def _stages_for(self, changes: OptionChanges) -> Stages:
        """Return the stages of a call with other options.

        Raises:
            OptionError: if it needs a network that is not loaded.
        """
        if not changes:
            return self._stages
        options, method = self._check(self.options.replace(**changes))
        for name in _LOADED:
            if getattr(options, name) != getattr(self.options, name):
                raise OptionError(name, getattr(options, name), "decides which network is loaded: "
                                  "make a Remover with it")  # fmt: skip
        if options.asks_network and not (self.options.asks_network or self._given[1]):
            raise OptionError("model", options.model, "is not loaded, since a pair or trimap was "
                              "given: make a Remover without it")  # fmt: skip
        if method.network and method.network != self._stages.method.network:
            raise OptionError("matting", options.matting, "needs a network that is not loaded: "
                              "make a Remover with it")  # fmt: skip
        return dataclasses.replace(self._stages, options=options, method=method)

    def __reduce__(self) -> tuple[Any, ...]:
        return _load, (self.options, *self._given)

    def __call__(
        self,
        source: Source,
        *,
        painted: Sequence[Stroke] = (),
        **changes: "Unpack[OptionChanges]",
    ) -> Cutout:
        """Remove the background of a picture.

        Args:
            source: Path, bytes, file object, Pillow image, or array (H, W), (H, W, 3) or
                (H, W, 4) of uint8, uint16, or floats in [0, 1]. It is not modified.
            painted: Strokes by which a person corrects the network, in every frame.
            **changes: Fields of `Options` to change for this call, such as `quality="best"`; not
                those that decide which network is loaded.

        Returns:
            The cut-out; of an animation the first frame, with the others in `frames`. Where no
            subject is found its alpha is zero, and a `NoForegroundWarning` is given.

        Raises:
            ImageError: if the picture cannot be read.
            OptionError: if a change is malformed or needs another network.
            RuntimeFailure: if the network cannot be run.
        """
        return self._remove(source, self._stages_for(changes), painted)

    def find_subject(self, image: Image, **changes: "Unpack[OptionChanges]") -> Array:
        """Run the network alone: what `__call__` makes alpha of.

        Args:
            image: (H, W, 3) uint8 or uint16, RGB.
            **changes: As for `__call__`.

        Returns:
            Saliency (h, w) float32 in [0, 1] at the network's size, all zero if it found nothing.

        Raises:
            ImageError: if the array has another shape or dtype.
            OptionError: if a change is malformed or needs another network.
            RuntimeFailure: if the network cannot be run.
        """
        images.check_image(image)
        return self._stages_for(changes).find_saliency(image, Clock())

    def cut(
        self,
        picture: Picture,
        saliency: Array | None = None,
        **changes: "Unpack[OptionChanges]",
    ) -> Cutout:
        """Cut out one decoded picture, such as a frame of a film; an empty one gives no warning.

        Args:
            picture: The picture.
            saliency: (h, w) float32 in [0, 1] of any size, instead of asking the network, such as
                that of `find_subject`.
            **changes: As for `__call__`.

        Raises:
            OptionError: if a change is malformed or needs another network.
            RuntimeFailure: if the network cannot be run.
        """
        return self.finish(self.matte(picture, saliency, **changes), **changes)

    def matte(
        self,
        picture: Picture,
        saliency: Array | None = None,
        **changes: "Unpack[OptionChanges]",
    ) -> Matte:
        """Find the alpha of one decoded picture: the first half of `cut`, which says what it takes.

        `finish` is the other; in between, frames of a film may settle each other's edges.

        Raises:
            OptionError: if a change is malformed or needs another network.
            RuntimeFailure: if the network cannot be run.
        """
        return self._stages_for(changes).matte(picture, Clock(), found=saliency)

    def finish(self, matte: Matte, **changes: "Unpack[OptionChanges]") -> Cutout:
        """Make a cut-out of what `matte` returned, with the same changes.

        Raises:
            OptionError: if a change is malformed or needs another network.
        """
        return self._stages_for(changes).finish(matte, Clock())

    @staticmethod
    def _remove(source: Source, stages: Stages, painted: Sequence[Stroke] = ()) -> Cutout:
        """Read a picture and take its frames through the stages."""
        clock, options = Clock(), stages.options
        pictures = load_frames(
            source,
            keep_depth=options.keep_depth,
            max_megapixels=options.max_megapixels,
            allow_truncated=options.allow_truncated,
        )
        with clock("load"):
            first = next(pictures)
        if isinstance(options.trimap, str) and os.path.isdir(options.trimap):
            trimap = find_namesake(Path(options.trimap), describe(source), "trimap", TRIMAP_MARKS)
            options = options.replace(trimap=trimap)
        if isinstance(options.pair, str) and os.path.isdir(options.pair):
            pair = find_namesake(Path(options.pair), describe(source), "pair")
            options = options.replace(pair=pair)
        stages = dataclasses.replace(stages, options=options)
        cutout = stages.cut_out(first, clock, painted=painted)
        del first  # a large picture's pixels, of which the cut-out has its own
        frames = tuple(stages.cut_out(picture, Clock(), painted=painted) for picture in pictures)
        if all(frame.empty for frame in (cutout, *frames)):
            warnings.warn(
                f"{describe(source)}: no foreground found", NoForegroundWarning, stacklevel=3
            )
        return dataclasses.replace(cutout, frames=frames) if frames else cutout

    @overload
    def map(
        self,
        sources: Iterable[Source],
        *,
        threads: int | None = None,
        errors: Literal["raise"] = "raise",
        **changes: "Unpack[OptionChanges]",
    ) -> Generator[Cutout, None, None]: ...

    @overload
    def map(
        self,
        sources: Iterable[Source],
        *,
        threads: int | None = None,
        errors: Literal["return"],
        **changes: "Unpack[OptionChanges]",
    ) -> Generator[Cutout | Exception, None, None]: ...

    def map(
        self,
        sources: Iterable[Source],
        *,
        threads: int | None = None,
        errors: Literal["raise", "return"] = "raise",
        **changes: "Unpack[OptionChanges]",
    ) -> Generator[Cutout | Exception, None, None]:
        """Remove the background of many pictures, several at a time.

        Args:
            sources: Pictures, drawn as they are needed; see `__call__`.
            threads: How many at once; as many as there are processors by default.
            errors: What becomes of a picture that cannot be done: "raise" ends the iteration in
                its place, "return" yields the exception there and goes on.
            **changes: Fields of `Options` to change, as for `__call__`.

        Yields:
            Cut-outs in the order of the sources.

        Raises:
            OptionError: if a change is malformed or needs another network.
        """
        if errors not in ("raise", "return"):
            raise UnknownName("errors", errors, ("raise", "return"))
        stages = self._stages_for(changes)

        def attempt(source: Source) -> Cutout | Exception:
            try:
                with side_by_side(threads):
                    return self._remove(source, stages)
            except Exception as error:  # one of many
                if errors == "raise":
                    raise
                return error

        return in_order(attempt, sources, threads)


def _load(
    options: Options,
    model: ModelSpec,
    network: Runtime | None,
    hint: runtimes.Hint,
    threads: int | None,
    accept_license: bool,
) -> Remover:
    """Load an unpickled remover."""
    return Remover(
        model,
        network=network,
        options=options,
        hint=hint,
        threads=threads,
        accept_license=accept_license,
    )


def remove(source: Source, **options: "Unpack[OptionChanges]") -> Cutout:
    """Remove the background of one picture.

    Args:
        source: Path, bytes, file object, Pillow image or array; see `Remover`.
        **options: Fields of `Options`, such as `quality="best"`.

    Returns:
        The cut-out.

    Raises:
        AlphacutError: if the picture cannot be read or an option does not exist.
    """
    return Remover(**options)(source)
