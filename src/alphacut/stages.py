"""The stages from a picture to its cut-out, every one once and in order."""

import dataclasses
import functools
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from alphacut import values
from alphacut.cutout import Cutout, difference, trimap_of
from alphacut.errors import ImageError, OptionError, UnknownName
from alphacut.models import weights
from alphacut.models.entry import NO_NETWORK, ModelSpec
from alphacut.options import Options, PathText
from alphacut.output import geometry
from alphacut.pipeline import image as images
from alphacut.pipeline import matting, strokes, transforms
from alphacut.pipeline.doubt import measure_doubt
from alphacut.pipeline.foreground import estimate_foreground
from alphacut.pipeline.ground import Ground, estimate_shadow, fit_ground
from alphacut.pipeline.image import Image, Picture
from alphacut.pipeline.indexnet import estimate_alpha_indexnet
from alphacut.pipeline.key import key, key_alone
from alphacut.pipeline.load import load_frames, load_image
from alphacut.pipeline.pair import Pair, solve_pair
from alphacut.pipeline.parts import limit
from alphacut.pipeline.plate import match_plate
from alphacut.pipeline.profile import convert_profile
from alphacut.pipeline.prompt import Answer, merge_saliency, place_mask, prompt_mask
from alphacut.pipeline.refine import refine
from alphacut.pipeline.screen import remove_spill, unmix
from alphacut.pipeline.select import (
    Place,
    Places,
    View,
    find_each,
    lay,
    part_of,
    select,
    show,
)
from alphacut.pipeline.strokes import Stroke
from alphacut.pipeline.trimap import read_trimap
from alphacut.pipeline.views import predict_views
from alphacut.pipeline.vitmatte import estimate_alpha_vitmatte
from alphacut.runtimes import Runtime

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


class _Seen(NamedTuple):
    """What is seen in an image.

    Attributes:
        alpha: (H, W) float32 in [0, 1].
        saliency: (h, w) float32 in [0, 1], the network's answer, or alpha if it was not asked.
        judged: (h', w') float32 in [0, 1], what alpha was made of; None if no network was asked.
        trimap: (H, W) float32 in {0, 0.5, 1}; None if none was needed.
        doubt: See `measure_doubt`.
        pair: What solved it, if a second picture did.
        ground: What is known of the ground, if anything is.
    """

    alpha: Array
    saliency: Array
    judged: Array | None = None
    trimap: Array | None = None
    doubt: float = 0.0
    pair: Pair | None = None
    ground: Ground | None = None

    def limited(self, region: NDArray[np.bool_]) -> "_Seen":
        """Return what of it lies in a region (H, W)."""
        alpha = limit(self.alpha, region)
        judged, trimap = (
            plane if plane is None else limit(plane, region) for plane in (self.judged, self.trimap)
        )
        doubt = 0.0 if judged is None else measure_doubt(judged, alpha)
        saliency = limit(self.saliency, region)
        return _Seen(alpha, saliency, judged, trimap, doubt, self.pair, self.ground)


@dataclass(frozen=True, eq=False)
class Matte:
    """A picture and its alpha, before that is cleaned up and colours are found.

    Attributes:
        picture: The picture, downscaled as the options say.
        full_size: (H, W) before.
        seen: What is seen in it.
    """

    picture: Picture
    full_size: tuple[int, int]
    seen: _Seen

    @property
    def alpha(self) -> Array:
        """(H, W) float32 in [0, 1]."""
        return self.seen.alpha

    def with_alpha(self, alpha: Array) -> "Matte":
        """Return the same with another alpha of its size."""
        return dataclasses.replace(self, seen=self.seen._replace(alpha=alpha))


@dataclass(frozen=True, kw_only=True)
class Stages:
    """The stages as options, a network and a way of matting decide them.

    Attributes:
        options: What is asked for.
        spec: The network's entry.
        finder: The entry of the network whose saliency it is: one that answers prompts has the
            embedded network beside it.
        network: The loaded network, which is not asked where alpha is known without it.
        method: How alpha is made.
        solver: The loaded network that the method takes.
    """

    options: Options
    spec: ModelSpec
    finder: ModelSpec
    network: Runtime
    method: Method
    solver: Runtime | None = None

    @property
    def _prompted(self) -> bool:
        """Whether the network answers points and boxes."""
        return self.spec.output == "masks"

    def cut_out(
        self,
        picture: Picture,
        clock: "Clock",
        *,
        painted: Sequence[Stroke] = (),
        found: Array | None = None,
    ) -> Cutout:
        """Take one picture through the stages.

        Args:
            picture: The picture.
            clock: Notes how long each stage takes.
            painted: Strokes by which a person corrects the network.
            found: Saliency (h, w) in [0, 1], instead of asking the network.

        Raises:
            ImageError: if what the options name beside the picture cannot be read or does not fit.
            OptionError: if a place lies outside the picture, or the network needs one.
            RuntimeFailure: if the network cannot be run.
        """
        return self.finish(self.matte(picture, clock, painted=painted, found=found), clock)

    def matte(
        self,
        picture: Picture,
        clock: "Clock",
        *,
        painted: Sequence[Stroke] = (),
        found: Array | None = None,
    ) -> Matte:
        """Find a picture's alpha: the first half of `cut_out`, which says what it takes."""
        full_size, options = picture.image.shape[:2], self.options
        picture = images.limit_megapixels(picture, options.output_megapixels)
        places = _read_places(options, full_size, picture.image.shape[:2])
        seen = self._look(picture, places, clock, painted, found)
        if painted and (seen.pair or seen.ground or places):
            seen = seen._replace(alpha=strokes.keep_strokes(seen.alpha, painted))
        return Matte(picture, full_size, seen)

    def finish(self, matte: Matte, clock: "Clock") -> Cutout:
        """Clean up an alpha and find the subject's colours: the second half of `cut_out`."""
        options, picture, seen = self.options, matte.picture, matte.seen
        image, alpha, full_size = picture.image, seen.alpha, matte.full_size
        pair, ground = seen.pair, seen.ground
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

    def find_saliency(self, image: Image, clock: "Clock") -> Array:
        """Run the network: saliency (h, w) float32 in [0, 1] at its own size."""
        soft = self.options.class_mask == "soft"

        def predict(batch: Array) -> Array:
            output = self.network(batch)
            return transforms.read_output(output, self.finder, self.options.classes, soft=soft)

        with clock("preprocess"):
            batch = transforms.preprocess(image, self.finder, self.options.short_side)
        with clock("predict"):
            if self.options.quality == "best":
                confidence = predict_views(image, batch, self.finder, predict)
            else:
                confidence = predict(batch)
        with clock("mask"):
            return transforms.keep_found(confidence, batch, self.finder)

    def _look(
        self, picture: Picture, places: Places | None, clock: "Clock", painted: Sequence[Stroke],
        found: Array | None,
    ) -> _Seen:  # fmt: skip
        """Find alpha: from what is known of the picture if there is anything, or by the network."""
        image, options = picture.image, self.options
        if options.pair is not None:
            with clock("ground"):
                pair = _solve_pair(picture, options)
                seen = _unseen(pair.alpha)._replace(pair=pair)
        elif options.trimap is not None:
            seen = self._see(image, _read_trimap(image, options), clock, painted, given=True)
        elif self.spec.name == NO_NETWORK.name:  # a copy, if pickled or sized
            with clock("ground"):
                ground = _find_ground(picture, None, options)
                seen = _unseen(key_alone(image, ground))._replace(ground=ground)
        else:
            return self._ask(picture, places, clock, painted, found)
        return _within(seen, image, places, clock)

    def _ask(
        self, picture: Picture, places: Places | None, clock: "Clock", painted: Sequence[Stroke],
        found: Array | None,
    ) -> _Seen:  # fmt: skip
        """Find alpha by the network, then by the ground if that turns out to be known."""
        image = picture.image
        if self._prompted:
            if not places:
                raise OptionError("model", self.spec.name, "answers points and boxes: give one")
            seen = self._select(image, places, clock, painted)
            return self._key(picture, seen, clock) or seen
        # the network can still look somewhere alone
        looks = found is None and (places is not None or self.options.subjects == "separate")
        if looks and not self.options.solves_ground:
            return self._select(image, places, clock, painted)
        saliency = self.find_saliency(image, clock) if found is None else found
        seen = self._see(image, saliency, clock, painted)
        keyed = self._key(picture, seen, clock)
        if looks and not keyed:
            return self._select(image, places, clock, painted)
        return _within(keyed or seen, image, places, clock)

    def _key(self, picture: Picture, seen: _Seen, clock: "Clock") -> _Seen | None:
        """Correct an alpha by the ground; None if that is not to be known."""
        if not self.options.solves_ground:
            return None
        with clock("ground"):
            ground = _find_ground(picture, seen.alpha, self.options)
            if ground is None:
                return None
            return seen._replace(alpha=key(picture.image, ground, seen.alpha), ground=ground)

    def _see(
        self, image: Image, saliency: Array, clock: "Clock", painted: Sequence[Stroke], *,
        given: bool = False,
    ) -> _Seen:  # fmt: skip
        """Make alpha of an image, or of a view of one, and its saliency or a given trimap."""
        with clock("alpha"):
            fits = not given and self.method.rough is _fast
            judged = matting.coarsen(saliency) if fits else saliency
            if painted:
                judged = strokes.correct_saliency(judged, image, painted)
            trimap = saliency if given else None
            alpha, trimap = self._estimate_alpha(image, judged, trimap, painted)
            # a given trimap is unsure by intention; what options clear next is no contradiction
            judged = alpha if given else judged
            return _Seen(alpha, saliency, judged, trimap, measure_doubt(judged, alpha))

    def _select(
        self, image: Image, places: Places | None, clock: "Clock", painted: Sequence[Stroke]
    ) -> _Seen:
        """Look where a person points, and keep what is meant; by default, at each subject."""
        size, looks, mask = image.shape[:2], dict[View, _Seen](), None
        if places and self._prompted:
            if not places.keep and places.box is None:
                raise OptionError("points", "", f"{self.spec.name} needs a point to keep, or a box")
            with clock("prompt"):
                mask = prompt_mask(image, places, self._answer)
                places = Places(box=place_mask(mask, size, places.box))

        def look(view: View) -> Array:
            shifted = strokes.within(painted, view.box, size)
            part = np.ascontiguousarray(part_of(image, view.box))
            saliency = self.find_saliency(show(image, view), clock)
            if mask is not None:  # the answer decides
                meant = part_of(mask, geometry.rescale(view.box, size, mask.shape))
                saliency = merge_saliency(saliency, meant)
            looks[view] = self._see(part, saliency, clock, shifted)
            return looks[view].alpha

        found = select(look, size, places) if places else find_each(look, size)
        alpha, region, views = found
        seen = {view.box: looks[view] for view in views or looks}
        saliency, judged = (
            lay({box: getattr(one, name) for box, one in seen.items()}, size)
            for name in ("saliency", "judged")
        )
        trimap: Array | None = None
        for box, one in seen.items():
            if one.trimap is not None:
                trimap = np.zeros(size, np.float32) if trimap is None else trimap
                np.maximum(part_of(trimap, box), one.trimap, out=part_of(trimap, box))
        return _Seen(alpha, saliency, judged, trimap).limited(region)

    @property
    def _answer(self) -> Answer:
        """What answers prompts; only a network for them has it."""
        answer: Answer = self.network.answer  # type: ignore[attr-defined]
        return answer

    def _estimate_alpha(
        self, image: Image, saliency: Array, given: Array | None, painted: Sequence[Stroke]
    ) -> tuple[Array, Array | None]:
        """Make alpha (H, W) of a saliency or a given trimap; return the trimap it used, too."""
        rough, solve = self.method.rough(image, saliency), self.method.solve
        if solve and self.method.network:
            solve = functools.partial(solve, network=self.solver)
        if painted:
            rough = strokes.keep_strokes(rough, painted)
        if given is None and not solve and not self.options.save_trimap:
            return rough, None
        trimap = trimap_of(rough, self.options) if given is None else given
        if painted:
            trimap = strokes.correct_trimap(trimap, image, painted)
        if not solve:
            return (rough if given is None else np.where(trimap == 0.5, rough, trimap)), trimap
        if self.method.prior and given is None:
            return solve(image, trimap, prior=rough), trimap
        return solve(image, trimap), trimap


def _within(seen: _Seen, image: Image, places: Places | None, clock: "Clock") -> _Seen:
    """Keep of an alpha of the whole image what a person means, if they said."""
    if not places:
        return seen
    with clock("select"):
        chosen = select(lambda view: part_of(seen.alpha, view.box), image.shape[:2], places)
        return seen.limited(chosen.region)


def _unseen(alpha: Array) -> _Seen:
    """Return an alpha that was found without a network."""
    return _Seen(alpha, images.downscale_to(alpha, _SALIENCY_PX))


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
            f"{_name(given, 'trimap')}: is {size} pixels, but the picture {wanted}: make them equal"
        )
    return trimap


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


class Clock:
    """Notes how long each stage takes, all its turns together."""

    def __init__(self) -> None:
        self.milliseconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Add the time that a stage takes."""
        start = time.perf_counter()
        yield
        taken_ms = (time.perf_counter() - start) * 1000
        self.milliseconds[stage] = round(self.milliseconds.get(stage, 0.0) + taken_ms, 2)
