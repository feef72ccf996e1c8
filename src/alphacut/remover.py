"""The pipeline: from a picture to its cut-out, every stage once and in order."""

import dataclasses
import functools
import time
import warnings
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from alphacut import runtimes
from alphacut.cutout import Cutout
from alphacut.errors import ImageError, NoForegroundWarning, UnknownName
from alphacut.models import catalogue, weights
from alphacut.models.download import Progress
from alphacut.options import OptionChanges, Options
from alphacut.output import background, geometry
from alphacut.output.composite import difference
from alphacut.parallel import in_order, side_by_side
from alphacut.pipeline import image as images
from alphacut.pipeline import matting, refine, strokes, transforms
from alphacut.pipeline.foreground import estimate_foreground
from alphacut.pipeline.image import Image, Picture
from alphacut.pipeline.load import Source, describe, load_frames, load_image
from alphacut.pipeline.strokes import Stroke
from alphacut.pipeline.trimap import make_trimap, read_trimap
from alphacut.runtimes import Runtime

if TYPE_CHECKING:
    from typing_extensions import Unpack

Array = NDArray[np.float32]
INDEXNETS = ("indexnet", "indexnet-adobe")  # rows of the same network: our weights, its authors'
SOLVERS = ("closed-form", *INDEXNETS)  # methods that work from a trimap


class Remover:
    """A model loaded once, to cut out many pictures, from any number of threads.

    Args:
        model: Name of a model, or a row of your own; instead of `options.model`.
        network: A loaded network, instead of the one that the options name.
        options: All that can be chosen.
        hint: What to load the network for: the "latency" of one picture, or the "throughput" of
            several at once, as in `map`.
        threads: How many processors the network may use; all by default.
        accept_license: Whether the terms of weights that do not allow every use are accepted, if
            they must be fetched first.
        progress: Told of every piece of such a download.
        **changes: Fields of `Options` to change, such as `keep_depth=True`.

    Raises:
        UnknownName: if a model, runtime, device, class or option does not exist, or the model does
            not find subjects.
        ImageError: if the background that the options name cannot be read.
        WeightsError: if the weights are missing or damaged, or their terms are not accepted.
        MissingExtra: if the runtime is not installed.
        RuntimeFailure: if the device is not there.
    """

    def __init__(
        self,
        model: str | catalogue.ModelSpec | None = None,
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
            changes["model"] = model.name if isinstance(model, catalogue.ModelSpec) else model
        self.options = (options or Options()).replace(**changes)
        if not isinstance(model, catalogue.ModelSpec):
            model = weights.find_model(self.options.model)
        self.spec = model
        if model.output == "alpha":
            finders = (spec.name for spec in weights.models() if spec.output != "alpha")
            raise UnknownName("model that finds subjects", model.name, finders)
        if self.options.classes:
            catalogue.choose_classes(model, self.options.classes)  # before any work
        self._matting = self.options.matting
        if self._matting == "auto":
            self._matting = "closed-form" if self.options.quality == "best" else "fast"
        if self._matting == "closed-form":
            matting.require_pymatting()
        if self.options.background is not None:  # found missing before any work, not after
            background.load_background(self.options.background, self.options)
        load = functools.partial(
            runtimes.load,
            runtime=self.options.runtime,
            device=self.options.device,
            precision=self.options.precision,
            half=self.options.half,
            hint=hint,
            threads=threads,
            accept_license=accept_license,
            progress=progress,
        )
        self.network = network or load(self.spec)
        if self._matting in INDEXNETS:
            self._indexnet = load(weights.find_model(self._matting))

    def __call__(self, source: Source, *, painted: Sequence[Stroke] = ()) -> Cutout:
        """Remove the background of a picture.

        Args:
            source: Path, bytes, file object, Pillow image, or array (H, W), (H, W, 3) or
                (H, W, 4) of uint8 or uint16. It is not modified.
            painted: What a person painted on the picture to correct the network, in every frame.

        Returns:
            The cut-out; of an animation the first frame, with the others in `frames`. Where no
            subject is found its alpha is zero, and a `NoForegroundWarning` is given.

        Raises:
            ImageError: if the picture cannot be read.
            RuntimeFailure: if the network cannot be run.
        """
        clock = _Clock()
        pictures = load_frames(source, self.options)
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
            and ends the iteration; `batch.process` goes on instead.
        """
        with side_by_side(threads):
            yield from in_order(self, sources, threads)

    def _cut(self, picture: Picture, clock: "_Clock", painted: Sequence[Stroke]) -> Cutout:
        """Take one picture through the stages."""
        full_size = picture.image.shape[:2]
        picture = images.shrink(picture, self.options.output_megapixels)
        image, options = picture.image, self.options
        given = self._read_trimap(image) if options.trimap else None
        saliency = self._find_subject(image, clock) if given is None else given
        with clock("alpha"):
            alpha, trimap = self._estimate_alpha(image, saliency, given, painted)
        with clock("refine"):
            alpha = refine.refine(alpha, options)
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
            milliseconds=MappingProxyType(clock.milliseconds),
            replaced=difference(picture.image, foreground),
            options=self.options,
        )

    def _find_subject(self, image: Image, clock: "_Clock") -> Array:
        """Ask the network: saliency (h, w) at its own size."""
        options = self.options
        with clock("preprocess"):
            batch = transforms.preprocess(image, self.spec, options.short_side)
        with clock("predict"):
            output = self.network(batch)
            if options.quality == "best":  # errors differ in the mirror, the subject does not
                mirrored = np.ascontiguousarray(batch[..., ::-1])
                output = np.asarray((output + self.network(mirrored)[..., ::-1]) / 2, np.float32)
        with clock("mask"):
            return transforms.postprocess(
                output, batch, self.spec, options.classes, soft=options.class_mask == "soft"
            )

    def _estimate_alpha(
        self, image: Image, saliency: Array, given: Array | None, painted: Sequence[Stroke]
    ) -> tuple[Array, Array | None]:
        """Make alpha (H, W) of a saliency, or of a trimap that was given, and tell the trimap."""
        size = image.shape[:2]
        if painted:
            saliency = strokes.correct_saliency(saliency, size, painted)
        if self._matting == "none":
            rough = matting.enlarge(saliency, size)
        else:
            rough = matting.estimate_alpha_fast(image, saliency)
        if painted:
            rough = strokes.keep_strokes(rough, painted)
        if given is None and self._matting not in SOLVERS and not self.options.save_trimap:
            return rough, None
        trimap = make_trimap(rough) if given is None else given
        if painted:
            trimap = strokes.correct_trimap(trimap, painted)
        if self._matting == "closed-form":
            prior = rough if given is None else None
            return matting.estimate_alpha_closed_form(image, trimap, prior), trimap
        if self._matting in INDEXNETS:
            return matting.estimate_alpha_indexnet(image, trimap, self._indexnet), trimap
        return (rough if given is None else np.where(trimap == 0.5, rough, trimap)), trimap

    def _read_trimap(self, image: Image) -> Array:
        """Read the trimap that the options name, shrunk as the picture was."""
        path, options = str(self.options.trimap), self.options
        levels = Picture(load_image(path, options))
        trimap = read_trimap(images.shrink(levels, options.output_megapixels).image)
        if trimap.shape != image.shape[:2]:
            size, wanted = (" x ".join(map(str, plane.shape[1::-1])) for plane in (trimap, image))
            raise ImageError(
                f"{path}: has {size} pixels, but the picture {wanted}: make them alike"
            )
        return trimap


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
        **options: Fields of `Options`, such as `keep_depth=True`.

    Returns:
        The cut-out.

    Raises:
        AlphacutError: if the picture cannot be read or an option does not exist.
    """
    return Remover(**options)(source)
