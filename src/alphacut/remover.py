"""The pipeline: from a picture to its cut-out, every stage once and in order."""

import dataclasses
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

import numpy as np

from alphacut import background, geometry, matting, runtimes, transforms, zoo
from alphacut import image as images
from alphacut.compose import Cutout, difference
from alphacut.errors import NoForegroundWarning
from alphacut.image import Picture, Source
from alphacut.options import Options
from alphacut.runtimes import Runtime


class Remover:
    """A model loaded once, to cut out many pictures, from any number of threads.

    Args:
        model: Name of a model, or a row of your own; instead of `options.model`.
        runtime: A loaded network of your own, instead of the one that the options name.
        options: All that can be chosen.
        **changes: Fields of `Options` to change, such as `keep_depth=True`.

    Raises:
        UnknownName: if a model, device or option does not exist.
        ImageError: if the background that the options name cannot be read.
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
        if self.options.background is not None:  # found missing before any work, not after
            background.load_background(self.options.background, self.options)
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
        full_H, full_W = picture.image.shape[:2]
        with clock("preprocess"):
            picture = images.shrink(picture, self.options.output_megapixels)
            batch = transforms.preprocess(picture.image, self.spec)
        with clock("predict"):
            output = self.runtime(batch)
        with clock("mask"):
            saliency = transforms.postprocess(output, batch, self.spec)
        with clock("alpha"):
            H, W = picture.image.shape[:2]
            alpha = matting.estimate_alpha((H, W), saliency)
            if picture.alpha is not None:  # what the file hides stays hidden
                alpha *= picture.alpha * np.float32(1 / images.white(picture.alpha))
            if self.options.roi:
                inside = geometry.region(self.options.roi, (full_H, full_W))
                inside = geometry.rescale(inside, (full_H, full_W), (H, W))
                alpha = geometry.keep_inside(alpha, inside)
        with clock("foreground"):
            foreground = picture.image.copy()
        return Cutout(
            foreground,
            alpha,
            saliency,
            picture.metadata,
            picture.duration_ms,
            picture.loop,
            input_size=(full_H, full_W),
            milliseconds=MappingProxyType(clock.milliseconds),
            replaced=difference(picture.image, foreground),
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
