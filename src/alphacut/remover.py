"""The pipeline: from a picture to its cut-out, every stage once and in order."""

import dataclasses
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alphacut import image as images
from alphacut import matting, refine, runtimes, transforms, zoo
from alphacut.compose import Cutout
from alphacut.errors import ImageError, NoForegroundWarning
from alphacut.foreground import estimate_foreground
from alphacut.image import Picture, Source
from alphacut.options import Options
from alphacut.runtimes import Runtime
from alphacut.trimap import make_trimap, read_trimap

Array = NDArray[np.float32]


class Remover:
    """A model loaded once, to cut out many pictures, from any number of threads.

    Args:
        model: Name of a model, or a row of your own; instead of `options.model`.
        runtime: A loaded network of your own, instead of the one that the options name.
        options: All that can be chosen.
        **changes: Fields of `Options` to change, such as `keep_depth=True`.

    Raises:
        UnknownName: if a model, device or option does not exist.
        WeightsError: if the weights are missing or damaged.
        RuntimeFailure: if the device is not there.
    """

    def __init__(
        self,
        model: str | zoo.ModelSpec | None = None,
        *,
        runtime: Runtime | None = None,
        options: Options | None = None,
        **changes: Any,
    ) -> None:
        if model is not None:
            changes["model"] = model.name if isinstance(model, zoo.ModelSpec) else model
        self.options = (options or Options()).replace(**changes)
        if not isinstance(model, zoo.ModelSpec):
            model = zoo.find_model(self.options.model)
        self.spec = model
        self._matting = self.options.matting
        if self._matting == "auto":
            self._matting = {"fast": "fast", "best": "closed-form"}[self.options.quality]
        if self._matting == "closed-form":
            matting.require_pymatting()
        self.runtime = runtime or runtimes.load(self.spec, device=self.options.device)

    def __call__(self, source: Source) -> Cutout:
        """Remove the background of a picture.

        Args:
            source: Path, bytes, file object, Pillow image, or array (H, W), (H, W, 3) or
                (H, W, 4) of uint8 or uint16. It is not modified.

        Returns:
            The cut-out; of an animation the first frame, with the others in `frames`. Where no
            subject is found its alpha is zero, and a `NoForegroundWarning` is given.

        Raises:
            ImageError: if the picture cannot be read.
            RuntimeFailure: if the network cannot be run.
        """
        clock = _Clock()
        pictures = images.load_frames(source, self.options)
        with clock("load"):
            first = next(pictures)
        cutout = self._cut(first, clock)
        frames = tuple(self._cut(picture, _Clock()) for picture in pictures)
        if all(frame.empty for frame in (cutout, *frames)):
            warnings.warn(
                f"{images.describe(source)}: no foreground found", NoForegroundWarning, stacklevel=2
            )
        return dataclasses.replace(cutout, frames=frames) if frames else cutout

    def _cut(self, picture: Picture, clock: "_Clock") -> Cutout:
        """Take one picture through the stages."""
        image, options = picture.image, self.options
        if options.trimap:
            saliency = trimap = self._read_trimap(options.trimap, image)
        else:
            saliency, trimap = self._find_subject(image, clock), None
        with clock("alpha"):
            alpha = self._estimate_alpha(image, saliency, trimap)
        with clock("refine"):
            alpha = refine.refine(alpha, options)
        with clock("foreground"):
            if options.decontaminate:
                foreground = estimate_foreground(image, alpha)
            else:
                foreground = image.copy()
        if picture.alpha is not None:  # what the file hides stays hidden
            alpha = alpha * (picture.alpha * np.float32(1 / images.white(picture.alpha)))
        return Cutout(
            foreground,
            alpha,
            saliency,
            picture.metadata,
            picture.duration_ms,
            picture.loop,
            milliseconds=MappingProxyType(clock.milliseconds),
        )


    def _find_subject(self, image: images.Image, clock: "_Clock") -> Array:
        """Ask the network: saliency (h, w) at its own size."""
        with clock("preprocess"):
            batch = transforms.preprocess(image, self.spec)
        with clock("predict"):
            output = self.runtime(batch)
            if self.options.quality == "best":  # errors differ in the mirror, the subject does not
                output = (output + self.runtime(batch[..., ::-1])[..., ::-1]) / 2
        with clock("mask"):
            return transforms.postprocess(output, batch, self.spec)

    def _estimate_alpha(self, image: images.Image, saliency: Array, trimap: Array | None) -> Array:
        """Make alpha (H, W) of a saliency, or of a trimap that somebody gave."""
        if self._matting == "none":
            return matting.enlarge(saliency, image)
        alpha = matting.estimate_alpha_fast(image, saliency)
        if self._matting == "closed-form" and saliency.any():
            given = trimap if trimap is not None else make_trimap(alpha)
            return matting.estimate_alpha_closed_form(image, given)
        return alpha if trimap is None else np.where(trimap == 0.5, alpha, trimap)

    def _read_trimap(self, path: str, image: images.Image) -> Array:
        trimap = read_trimap(images.load_image(path))
        if trimap.shape != image.shape[:2]:
            raise ImageError(f"{path}: is {trimap.shape}, but the picture {image.shape[:2]}")
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


def remove(source: Source, **options: Any) -> Cutout:
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
