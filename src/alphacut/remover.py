"""The pipeline: from a picture to its cut-out, every stage once and in order."""

import dataclasses
import functools
import os
import time
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from alphacut import runtimes, values
from alphacut.cutout import Cutout, difference, trimap_of
from alphacut.errors import ImageError, NoForegroundWarning, OptionError, UnknownName
from alphacut.models import catalogue, weights
from alphacut.models.download import Progress
from alphacut.models.entry import NO_NETWORK, ModelSpec
from alphacut.options import DEFAULT_MODEL, OptionChanges, Options, PathText
from alphacut.output import geometry
from alphacut.output.background import load_background
from alphacut.parallel import in_order, side_by_side
from alphacut.pipeline import image as images
from alphacut.pipeline import matting, strokes, transforms
from alphacut.pipeline.doubt import measure_doubt
from alphacut.pipeline.foreground import estimate_foreground
from alphacut.pipeline.ground import Ground, estimate_shadow, fit_ground
from alphacut.pipeline.image import Image, Picture
from alphacut.pipeline.indexnet import estimate_alpha_indexnet
from alphacut.pipeline.key import key, key_alone
from alphacut.pipeline.load import Source, describe, load_frames, load_image
from alphacut.pipeline.namesake import TRIMAP_MARKS, find_namesake
from alphacut.pipeline.pair import Pair, solve_pair
from alphacut.pipeline.parts import limit
from alphacut.pipeline.plate import match_plate
from alphacut.pipeline.profile import convert_profile
from alphacut.pipeline.prompt import Answer, merge_saliency, place_mask, prompt_mask
from alphacut.pipeline.refine import refine
from alphacut.pipeline.screen import remove_spill, unmix
from alphacut.pipeline.select import Box, Place, Places, lay, part_of, select
from alphacut.pipeline.strokes import Stroke
from alphacut.pipeline.trimap import read_trimap
from alphacut.pipeline.views import predict_views
from alphacut.pipeline.vitmatte import estimate_alpha_vitmatte
from alphacut.runtimes import Runtime

if TYPE_CHECKING:
    from typing_extensions import Unpack

Array = NDArray[np.float32]


class Method(NamedTuple):
    """A way from a saliency to alpha: a rough estimate, then perhaps an exact solution.

    Attributes:
        rough: Makes alpha (H, W) of an image and a saliency.
        solve: Makes alpha (H, W) of an image and a trimap; None if the rough alpha is the result.
        prior: Whether `solve` takes the rough alpha as its `prior`.
        network: Model whose network `solve` takes as its `network`.
        require: Raises, before any work, if `solve` cannot run.
    """

    rough: Callable[[Image, Array], Array]
    solve: Callable[..., Array] | None = None
    prior: bool = False
    network: str | None = None
    require: Callable[[], None] | None = None


_SALIENCY_PX = 320  # long side of a saliency that is made of alpha
_fast = matting.estimate_alpha_fast
# By the name of the option `matting`
METHODS = MappingProxyType({
    "none": Method(matting.enlarge),
    "fast": Method(_fast),
    "closed-form": Method(_fast, matting.estimate_alpha_closed_form, prior=True,
                          require=matting.require_pymatting),
})  # fmt: skip
# By the architecture of a matting network; the option `matting` names the model
_NETWORKS: Mapping[str | None, Callable[..., Array]] = MappingProxyType({
    "indexnet": estimate_alpha_indexnet,
    "vitmatte_s": estimate_alpha_vitmatte,
})  # fmt: skip


def find_method(name: str, quality: str, output: str = "saliency") -> Method:
    """Return the method that the options `matting` and `quality` name.

    Raises:
        UnknownName: if there is neither such a method nor such a matting network.
        WeightsError: if the user's entry of the network cannot be read.
    """
    if name == "auto":
        # a matte is alpha already: fitting it to colours again costs detail (docs/log.md)
        own = "none" if output == "matte" else "fast"
        name = "closed-form" if quality == "best" else own
    if name in METHODS:
        return METHODS[name]
    networks = {spec.name: _NETWORKS[spec.arch] for spec in weights.models()
                if spec.arch in _NETWORKS}  # fmt: skip
    try:
        network = weights.find_model(name).name
        return Method(_fast, networks[network], network=network)
    except (UnknownName, KeyError):
        raise UnknownName("matting", name, ["auto", *METHODS, *networks]) from None


# Options that decide which network is loaded; the others may differ from call to call
_LOADED = ("model", "runtime", "device", "precision", "input_size")


class _Seen(NamedTuple):
    """What is seen in an image.

    Attributes:
        alpha: (H, W) float32 in [0, 1].
        saliency: (h, w) float32 in [0, 1], the network's answer, or alpha if it was not asked.
        judged: (h', w') float32 in [0, 1], what alpha was made of; None if no network was asked.
        trimap: (H, W) float32 in {0, 0.5, 1}; None if none was needed.
        doubt: See `measure_doubt`.
    """

    alpha: Array
    saliency: Array
    judged: Array | None = None
    trimap: Array | None = None
    doubt: float = 0.0

    def limited(self, region: NDArray[np.bool_]) -> "_Seen":
        """Return what of it lies in a region (H, W)."""
        alpha = limit(self.alpha, region)
        judged, trimap = (
            plane if plane is None else limit(plane, region) for plane in (self.judged, self.trimap)
        )
        doubt = 0.0 if judged is None else measure_doubt(judged, alpha)
        return _Seen(alpha, limit(self.saliency, region), judged, trimap, doubt)


class _Plan(NamedTuple):
    """What one call does.

    Attributes:
        options: What is asked for.
        method: How alpha is made.
        solve: The method's `solve`, its network bound.
    """

    options: Options
    method: Method
    solve: Callable[..., Array] | None


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
        # whose saliency it is: one that answers prompts has the embedded network beside it
        self._finder = weights.find_model(DEFAULT_MODEL) if model.output == "masks" else self.spec
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
        self._solver = load(weights.find_model(method.network)) if method.network else None
        self.options = options
        self._plan = _Plan(options, method, self._solve(method))

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

    def _solve(self, method: Method) -> Callable[..., Array] | None:
        """Return a method's `solve` with the loaded network that it takes."""
        if method.solve and method.network:
            return functools.partial(method.solve, network=self._solver)
        return method.solve

    def _plan_for(self, changes: OptionChanges) -> _Plan:
        """Return what a call with other options does.

        Raises:
            OptionError: if it needs a network that is not loaded.
        """
        if not changes:
            return self._plan
        options, method = self._check(self.options.replace(**changes))
        for name in _LOADED:
            if getattr(options, name) != getattr(self.options, name):
                raise OptionError(name, getattr(options, name), "decides which network is loaded: "
                                  "make a Remover with it")  # fmt: skip
        if options.asks_network and not (self.options.asks_network or self._given[1]):
            raise OptionError("model", options.model, "is not loaded, since a pair or trimap was "
                              "given: make a Remover without it")  # fmt: skip
        if method.network and method.network != self._plan.method.network:
            raise OptionError("matting", options.matting, "needs a network that is not loaded: "
                              "make a Remover with it")  # fmt: skip
        return _Plan(options, method, self._solve(method))

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
        return self._remove(source, self._plan_for(changes), painted)

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
        return self._find_subject(image, self._plan_for(changes).options, _Clock())

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
        return self._cut(picture, self._plan_for(changes), _Clock(), (), saliency)

    def _remove(self, source: Source, plan: _Plan, painted: Sequence[Stroke] = ()) -> Cutout:
        """Read a picture and take its frames through the stages."""
        clock, options = _Clock(), plan.options
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
        plan = plan._replace(options=options)
        cutout = self._cut(first, plan, clock, painted)
        del first  # a large picture's pixels, of which the cut-out has its own
        frames = tuple(self._cut(picture, plan, _Clock(), painted) for picture in pictures)
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
        plan = self._plan_for(changes)

        def attempt(source: Source) -> Cutout | Exception:
            try:
                with side_by_side(threads):
                    return self._remove(source, plan)
            except Exception as error:  # one of many
                if errors == "raise":
                    raise
                return error

        return in_order(attempt, sources, threads)

    def _cut(
        self,
        picture: Picture,
        plan: _Plan,
        clock: "_Clock",
        painted: Sequence[Stroke],
        found: Array | None = None,
    ) -> Cutout:
        """Take one frame through the stages; the network is asked unless `found` is its answer."""
        full_size, options = picture.image.shape[:2], plan.options
        picture = images.limit_megapixels(picture, options.output_megapixels)
        image = picture.image
        places = _read_places(options, full_size, image.shape[:2])
        seen, pair, ground = self._look(picture, places, plan, clock, painted, found)
        alpha = seen.alpha
        if painted and (pair or ground or places):
            alpha = strokes.keep_strokes(alpha, painted)
        with clock("refine"):
            alpha = refine(
                alpha,
                largest=options.largest,
                specks_px=options.specks_px,
                holes_px=options.holes_px,
                grow_px=options.grow_px,
                smooth_px=options.smooth_px,
                harden=options.harden,
                binary=options.binary,
                feather_px=options.feather_px,
            )
            if options.roi:
                inside = geometry.region("roi", options.roi, full_size)
                inside = geometry.rescale(inside, full_size, alpha.shape)
                alpha = geometry.keep_inside(alpha, inside)
        with clock("foreground"):
            foreground = _find_foreground(image, alpha, pair, ground, options)
        shadow = None
        if options.shadow == "keep" and ground:
            with clock("shadow"):
                shadow = estimate_shadow(image, alpha, ground)
        if picture.alpha is not None:  # what the file hides stays hidden
            shown = np.asarray(picture.alpha / images.white(picture.alpha), np.float32)
            alpha = alpha * shown
        return Cutout(
            foreground,
            alpha,
            seen.saliency,
            picture.metadata,
            picture.duration_ms,
            picture.loop,
            input_size=full_size,
            trimap=seen.trimap,
            milliseconds=clock.milliseconds,
            replaced=difference(picture.image, foreground),
            options=options,
            doubt=seen.doubt,
            ground="pair" if pair else ground.way if ground else None,
            ground_sure=pair.sure if pair else ground.sure if ground else 0.0,
            shadow=shadow,
        )

    def _look(
        self, picture: Picture, places: Places | None, plan: _Plan, clock: "_Clock",
        painted: Sequence[Stroke], found: Array | None,
    ) -> tuple[_Seen, Pair | None, Ground | None]:  # fmt: skip
        """Find alpha: from what is known of the picture if there is anything, or by the network."""
        image, options = picture.image, plan.options
        given = self._read_trimap(image, options) if options.trimap else None
        prompted = self.spec.output == "masks"
        pair: Pair | None = None
        ground: Ground | None = None
        if options.pair is not None:
            with clock("ground"):
                pair = _solve_pair(picture, options)
            seen = _unseen(pair.alpha)
        elif given is None and self.spec.name == NO_NETWORK.name:  # a copy, if pickled or sized
            with clock("ground"):
                ground = _find_ground(picture, None, options)
                seen = _unseen(key_alone(image, ground))
        elif given is not None:
            seen = self._see(image, given, plan, clock, painted, given=True)
        elif prompted and not places:
            raise OptionError("model", self.spec.name, "answers points and boxes: give one")
        else:
            if places and (prompted or (found is None and not options.solves_ground)):
                seen = self._select(image, places, plan, clock, painted)
                places = None
            else:
                saliency = self._find_subject(image, options, clock) if found is None else found
                seen = self._see(image, saliency, plan, clock, painted)
            if options.solves_ground:
                with clock("ground"):
                    if ground := _find_ground(picture, seen.alpha, options):
                        seen = seen._replace(alpha=key(image, ground, seen.alpha))
                if places and found is None and not ground:
                    return self._select(image, places, plan, clock, painted), None, None
        if places:
            with clock("select"):
                known = functools.partial(part_of, seen.alpha)
                chosen = select(known, image.shape[:2], places)
                seen = seen.limited(chosen.region)
        return seen, pair, ground

    def _see(
        self, image: Image, saliency: Array, plan: _Plan, clock: "_Clock",
        painted: Sequence[Stroke], *, given: bool = False,
    ) -> _Seen:  # fmt: skip
        """Make alpha of an image, or of a view of one, and its saliency or a given trimap."""
        with clock("alpha"):
            fits = not given and plan.method.rough is _fast
            judged = matting.coarsen(saliency) if fits else saliency
            if painted:
                judged = strokes.correct_saliency(judged, image, painted)
            trimap = saliency if given else None
            alpha, trimap = self._estimate_alpha(image, judged, trimap, plan, painted)
            # a given trimap is unsure by intention; what options clear next is no contradiction
            judged = alpha if given else judged
            return _Seen(alpha, saliency, judged, trimap, measure_doubt(judged, alpha))

    def _select(
        self, image: Image, places: Places, plan: _Plan, clock: "_Clock", painted: Sequence[Stroke]
    ) -> _Seen:
        """Look where a person points, and keep what is meant."""
        size, views, mask = image.shape[:2], dict[Box, _Seen](), None
        if self.spec.output == "masks":
            if not places.keep and places.box is None:
                raise OptionError("points", "", f"{self.spec.name} needs a point to keep, or a box")
            with clock("prompt"):
                mask = prompt_mask(image, places, self._answer)
                places = Places(box=place_mask(mask, size, places.box))

        def look(view: Box) -> Array:
            shifted = strokes.within(painted, view, size)
            part = np.ascontiguousarray(part_of(image, view))
            saliency = self._find_subject(part, plan.options, clock)
            if mask is not None:  # the answer decides
                meant = part_of(mask, geometry.rescale(view, size, mask.shape))
                saliency = merge_saliency(saliency, meant)
            views[view] = self._see(part, saliency, plan, clock, shifted)
            return views[view].alpha

        alpha, region = select(look, size, places)
        saliency, judged = (
            lay({view: getattr(seen, name) for view, seen in views.items()}, size)
            for name in ("saliency", "judged")
        )
        trimap: Array | None = None
        for view, seen in views.items():
            if seen.trimap is not None:
                trimap = np.zeros(size, np.float32) if trimap is None else trimap
                np.maximum(part_of(trimap, view), seen.trimap, out=part_of(trimap, view))
        return _Seen(alpha, saliency, judged, trimap).limited(region)

    @property
    def _answer(self) -> Answer:
        """What answers prompts; only a network for them has it."""
        answer: Answer = self.network.answer  # type: ignore[attr-defined]
        return answer

    def _find_subject(self, image: Image, options: Options, clock: "_Clock") -> Array:
        """Run the network: saliency (h, w) at its own size."""
        soft = options.class_mask == "soft"

        def predict(batch: Array) -> Array:
            output = self.network(batch)
            return transforms.read_output(output, self._finder, options.classes, soft=soft)

        with clock("preprocess"):
            batch = transforms.preprocess(image, self._finder, options.short_side)
        with clock("predict"):
            if options.quality == "best":
                confidence = predict_views(image, batch, self._finder, predict)
            else:
                confidence = predict(batch)
        with clock("mask"):
            return transforms.keep_found(confidence, batch, self._finder)

    @staticmethod
    def _estimate_alpha(
        image: Image, saliency: Array, given: Array | None, plan: _Plan, painted: Sequence[Stroke]
    ) -> tuple[Array, Array | None]:
        """Make alpha (H, W) of a saliency or a given trimap; return the trimap it used, too."""
        rough = plan.method.rough(image, saliency)
        if painted:
            rough = strokes.keep_strokes(rough, painted)
        if given is None and not plan.solve and not plan.options.save_trimap:
            return rough, None
        trimap = trimap_of(rough, plan.options) if given is None else given
        if painted:
            trimap = strokes.correct_trimap(trimap, image, painted)
        if not plan.solve:
            return (rough if given is None else np.where(trimap == 0.5, rough, trimap)), trimap
        if plan.method.prior and given is None:
            return plan.solve(image, trimap, prior=rough), trimap
        return plan.solve(image, trimap), trimap

    @staticmethod
    def _read_trimap(image: Image, options: Options) -> Array:
        """Read the trimap that the options name, downscaled as the image was."""
        given = options.trimap or b""
        levels = Picture(
            load_image(
                given,
                max_megapixels=options.max_megapixels,
                allow_truncated=options.allow_truncated,
            )
        )
        trimap = read_trimap(images.limit_megapixels(levels, options.output_megapixels).image)
        if trimap.shape != image.shape[:2]:
            size, wanted = (" x ".join(map(str, plane.shape[1::-1])) for plane in (trimap, image))
            raise ImageError(
                f"{_name(given, 'trimap')}: is {size} pixels, but the picture {wanted}: make them "
                "equal"
            )
        return trimap


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


@overload
def _find_ground(picture: Picture, alpha: None, options: Options) -> Ground: ...


@overload
def _find_ground(picture: Picture, alpha: Array, options: Options) -> Ground | None: ...


def _find_ground(picture: Picture, alpha: Array | None, options: Options) -> Ground | None:
    """Find the ground that the options ask for; None if alpha is known and it is not plain.

    Raises:
        ImageError: if it has to be there and is not.
    """
    if options.plate is not None:
        plate = _read_like(picture, options.plate, options)
        try:
            return match_plate(picture.image, plate, alpha)
        except ImageError as error:
            raise ImageError(f"{_name(options.plate, 'plate')}: {error}") from error
    colour = values.parse_ground(options.ground)
    ground = fit_ground(picture.image, alpha, colour)
    if ground is None and (colour or alpha is None):
        said = f"no plain ground of {options.ground}" if colour else "no plain ground"
        raise ImageError(f"{said} found: choose ground off, and a model that finds subjects")
    return ground


def _unseen(alpha: Array) -> _Seen:
    """Return an alpha that was found without a network."""
    return _Seen(alpha, images.downscale_to(alpha, _SALIENCY_PX))


def _read_places(
    options: Options, full_size: tuple[int, int], size: tuple[int, int]
) -> Places | None:
    """Read where a person points, in pixels of an image that may have been downscaled.

    Raises:
        OptionError: if a point or the box lies outside the image, or the box is empty.
    """
    if not options.points.strip() and options.box is None:
        return None
    box = None
    if options.box is not None:
        box = geometry.region("box", options.box, full_size)
        box = geometry.rescale(box, full_size, size)
    (H, W), (h, w) = full_size, size
    found: dict[bool, list[Place]] = {True: [], False: []}
    for point in values.parse_points(options.points):
        x, y = point.x.of(W), point.y.of(H)
        if x > W or y > H:
            raise OptionError("points", f"{x:g} {y:g}", f"lies outside the picture, {W} x {H} "
                              "pixels", "out_of_bounds")  # fmt: skip
        place = min(int(x * w / W), w - 1), min(int(y * h / H), h - 1)
        found[point.keep].append(place)
    return Places(box, tuple(found[True]), tuple(found[False]))


def _solve_pair(picture: Picture, options: Options) -> Pair:
    """Solve a picture with the one that the options pair it with.

    Raises:
        ImageError: if that cannot be read, or does not belong to it.
    """
    given = options.pair or b""
    other = _read_like(picture, given, options)
    try:
        return solve_pair(picture.image, other)
    except ImageError as error:
        raise ImageError(f"{_name(given, 'pair')}: {error}") from error


def _find_foreground(
    image: Image, alpha: Array, pair: Pair | None, ground: Ground | None, options: Options
) -> Image:
    """Find the subject's own colours, from what is known of the ground."""
    if not options.decontaminate:
        return image.copy()
    if pair:
        return pair.foreground
    if ground and ground.primary is not None:
        foreground = unmix(image, alpha, ground)
        return remove_spill(foreground, alpha, ground, options.spill)
    return estimate_foreground(image, alpha)


def _read_like(picture: Picture, source: PathText | bytes, options: Options) -> Image:
    """Read an image that belongs to a picture: in its profile, downscaled as it was."""
    frames = load_frames(
        source,
        keep_depth=options.keep_depth,
        max_megapixels=options.max_megapixels,
        allow_truncated=options.allow_truncated,
    )
    other = images.limit_megapixels(next(frames), options.output_megapixels)
    theirs, ours = other.metadata.icc_profile, picture.metadata.icc_profile
    return convert_profile(other.image, theirs, ours)


def _name(source: PathText | bytes, otherwise: str) -> str:
    return otherwise if isinstance(source, bytes) else os.fspath(source)


class _Clock:
    """Notes how long each stage takes, all its turns together."""

    def __init__(self) -> None:
        self.milliseconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        taken_ms = (time.perf_counter() - start) * 1000
        self.milliseconds[stage] = round(self.milliseconds.get(stage, 0.0) + taken_ms, 2)


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
