"""The pipeline: from a picture to its cut-out, every stage once and in order."""

import dataclasses
import functools
import time
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from alphacut import files, runtimes
from alphacut.cutout import Cutout, difference
from alphacut.errors import ImageError, NoForegroundWarning, UnknownName
from alphacut.models import catalogue, weights
from alphacut.models.download import Progress
from alphacut.models.entry import ModelSpec
from alphacut.options import OptionChanges, Options
from alphacut.output import geometry
from alphacut.output.background import load_background
from alphacut.parallel import in_order, side_by_side
from alphacut.pipeline import image as images
from alphacut.pipeline import matting, strokes, transforms
from alphacut.pipeline.foreground import estimate_foreground
from alphacut.pipeline.image import Image, Picture
from alphacut.pipeline.indexnet import estimate_alpha_indexnet
from alphacut.pipeline.load import Source, describe, load_frames, load_image
from alphacut.pipeline.refine import refine
from alphacut.pipeline.strokes import Stroke
from alphacut.pipeline.trimap import make_trimap, read_trimap
from alphacut.pipeline.views import predict_views
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


_fast = matting.estimate_alpha_fast
# By the name of the option `matting`
METHODS = MappingProxyType({
    "none": Method(matting.enlarge),
    "fast": Method(_fast),
    "closed-form": Method(_fast, matting.estimate_alpha_closed_form, prior=True,
                          require=matting.require_pymatting),
    "indexnet": Method(_fast, estimate_alpha_indexnet, network="indexnet"),
    "indexnet-adobe": Method(_fast, estimate_alpha_indexnet, network="indexnet-adobe"),
})  # fmt: skip


class Remover:
    """A loaded model that cuts out many pictures, from any number of threads.

    It is pickled as its options, and loads its network anew where it is unpickled.

    Args:
        model: Name of a model, or an entry of your own; instead of `options.model`.
        network: A loaded network, instead of the one that the options name.
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
        if isinstance(options.background, str) and files.is_stream(Path(options.background)):
            pipe = options.background
            try:  # it can be read only once
                options = options.replace(background=Path(pipe).read_bytes())
            except OSError as error:
                message = f"{pipe}: cannot be read: {error.strerror}"
                raise ImageError(message, "background") from error
        self.options = options
        if model is None or isinstance(model, str):
            model = weights.find_model(options.model)
        self.spec = model
        if not model.finds_subjects:
            finders = (spec.name for spec in weights.models() if spec.finds_subjects)
            raise UnknownName("model that finds subjects", model.name, finders)
        # what cannot work is refused before anything is loaded
        if options.classes:
            catalogue.choose_classes(model, options.classes)
        method = options.matting
        if method == "auto":
            method = "closed-form" if options.quality == "best" else "fast"
        self._method = METHODS[method]
        if self._method.require:
            self._method.require()
        if options.background is not None:
            load_background(
                options.background,
                max_megapixels=options.max_megapixels,
                allow_truncated=options.allow_truncated,
            )
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
        self.network = network or load(model)
        self._given = model, network, hint, threads, accept_license
        self._solve = self._method.solve
        if self._solve and self._method.network:
            solver = load(weights.find_model(self._method.network))
            self._solve = functools.partial(self._solve, network=solver)

    def __reduce__(self) -> tuple[Any, ...]:
        return _load, (self.options, *self._given)

    def __call__(self, source: Source, *, painted: Sequence[Stroke] = ()) -> Cutout:
        """Remove the background of a picture.

        Args:
            source: Path, bytes, file object, Pillow image, or array (H, W), (H, W, 3) or
                (H, W, 4) of uint8 or uint16. It is not modified.
            painted: Strokes by which a person corrects the network, in every frame.

        Returns:
            The cut-out; of an animation the first frame, with the others in `frames`. Where no
            subject is found its alpha is zero, and a `NoForegroundWarning` is given.

        Raises:
            ImageError: if the picture cannot be read.
            RuntimeFailure: if the network cannot be run.
        """
        clock, options = _Clock(), self.options
        pictures = load_frames(
            source,
            keep_depth=options.keep_depth,
            max_megapixels=options.max_megapixels,
            allow_truncated=options.allow_truncated,
        )
        with clock("load"):
            first = next(pictures)
        cutout = self._cut(first, clock, painted)
        del first  # a large picture's pixels, of which the cut-out has its own
        frames = tuple(self._cut(picture, _Clock(), painted) for picture in pictures)
        if all(frame.empty for frame in (cutout, *frames)):
            warnings.warn(
                f"{describe(source)}: no foreground found", NoForegroundWarning, stacklevel=2
            )
        return dataclasses.replace(cutout, frames=frames) if frames else cutout

    def map(
        self, sources: Iterable[Source], *, threads: int | None = None
    ) -> Generator[Cutout, None, None]:
        """Remove the background of many pictures, several at a time.

        Args:
            sources: Pictures, drawn as they are needed; see `__call__`.
            threads: How many at once; as many as there are processors by default.

        Yields:
            Cut-outs in the order of the sources. A picture that cannot be read raises in its place
            and ends the iteration; `batch.folder` goes on instead.
        """
        return in_order(side_by_side(threads)(self.__call__), sources, threads)

    def _cut(self, picture: Picture, clock: "_Clock", painted: Sequence[Stroke]) -> Cutout:
        """Take one frame through the stages."""
        full_size = picture.image.shape[:2]
        picture = images.limit_megapixels(picture, self.options.output_megapixels)
        image, options = picture.image, self.options
        given = self._read_trimap(image) if options.trimap else None
        saliency = self._find_subject(image, clock) if given is None else given
        with clock("alpha"):
            alpha, trimap = self._estimate_alpha(image, saliency, given, painted)
        with clock("refine"):
            alpha = refine(
                alpha,
                largest=options.largest,
                specks_px=options.specks_px,
                holes_px=options.holes_px,
                grow_px=options.grow_px,
                smooth_px=options.smooth_px,
                harden=options.harden,
                feather_px=options.feather_px,
            )
            if options.roi:
                inside = geometry.region(options.roi, full_size)
                inside = geometry.rescale(inside, full_size, alpha.shape)
                alpha = geometry.keep_inside(alpha, inside)
        with clock("foreground"):
            if options.decontaminate:
                foreground = estimate_foreground(image, alpha)
            else:
                foreground = image.copy()
        if picture.alpha is not None:  # what the file hides stays hidden
            shown = np.asarray(picture.alpha / images.white(picture.alpha), np.float32)
            alpha = alpha * shown
        return Cutout(
            foreground,
            alpha,
            saliency,
            picture.metadata,
            picture.duration_ms,
            picture.loop,
            input_size=full_size,
            trimap=trimap,
            milliseconds=clock.milliseconds,
            replaced=difference(picture.image, foreground),
            options=self.options,
        )

    def _find_subject(self, image: Image, clock: "_Clock") -> Array:
        """Run the network: saliency (h, w) at its own size."""
        options, soft = self.options, self.options.class_mask == "soft"

        def predict(batch: Array) -> Array:
            output = self.network(batch)
            return transforms.read_output(output, self.spec, options.classes, soft=soft)

        with clock("preprocess"):
            batch = transforms.preprocess(image, self.spec, options.short_side)
        with clock("predict"):
            if options.quality == "best":
                confidence = predict_views(image, batch, self.spec, predict)
            else:
                confidence = predict(batch)
        with clock("mask"):
            return transforms.keep_found(confidence, batch, self.spec)

    def _estimate_alpha(
        self, image: Image, saliency: Array, given: Array | None, painted: Sequence[Stroke]
    ) -> tuple[Array, Array | None]:
        """Make alpha (H, W) of a saliency or a given trimap; return the trimap it used, too."""
        if painted:
            saliency = strokes.correct_saliency(saliency, image.shape[:2], painted)
        rough = self._method.rough(image, saliency)
        if painted:
            rough = strokes.keep_strokes(rough, painted)
        if given is None and not self._solve and not self.options.save_trimap:
            return rough, None
        trimap = make_trimap(rough) if given is None else given
        if painted:
            trimap = strokes.correct_trimap(trimap, painted)
        if not self._solve:
            return (rough if given is None else np.where(trimap == 0.5, rough, trimap)), trimap
        if self._method.prior and given is None:
            return self._solve(image, trimap, prior=rough), trimap
        return self._solve(image, trimap), trimap

    def _read_trimap(self, image: Image) -> Array:
        """Read the trimap that the options name, downscaled as the image was."""
        path, options = str(self.options.trimap), self.options
        levels = Picture(
            load_image(
                path,
                max_megapixels=options.max_megapixels,
                allow_truncated=options.allow_truncated,
            )
        )
        trimap = read_trimap(images.limit_megapixels(levels, options.output_megapixels).image)
        if trimap.shape != image.shape[:2]:
            size, wanted = (" x ".join(map(str, plane.shape[1::-1])) for plane in (trimap, image))
            raise ImageError(f"{path}: is {size} pixels, but the picture {wanted}: make them equal")
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


class _Clock:
    """Notes how long each stage takes."""

    def __init__(self) -> None:
        self.milliseconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.milliseconds[stage] = round((time.perf_counter() - start) * 1000, 2)


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
