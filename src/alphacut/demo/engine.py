"""What the page works with: an image, options and strokes in, an encoded result out."""

import importlib.util
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from alphacut import runtimes
from alphacut.errors import WeightsError
from alphacut.models import weights
from alphacut.models.entry import ModelSpec
from alphacut.options import DEVICES, RUNTIMES, Options
from alphacut.parallel import processors
from alphacut.pipeline.strokes import Stroke
from alphacut.remover import Remover
from alphacut.runtimes import Runtime
from alphacut.runtimes.cache import cached

_PACKAGES = {"openvino": "openvino", "onnx": "onnxruntime", "torch": "torch"}


@dataclass(frozen=True)
class EncodedResult:
    """What became of an image.

    Attributes:
        kind: Kind of file, such as "png".
        data: The file.
        empty: Whether no subject was found.
        doubt: See `Cutout.doubt`.
        size: (H, W) of the input.
        milliseconds: What each stage took.
        ground: How the ground was known; see `Cutout.ground`.
        ground_sure: How sure that is.
    """

    kind: str
    data: bytes
    empty: bool
    doubt: float
    size: tuple[int, int]
    milliseconds: Mapping[str, float]
    ground: str | None = None
    ground_sure: float = 0.0


class Engine(Protocol):
    """Whatever cuts images out for the page, and what there is to choose from.

    Attributes:
        models: Entries of the models that are ready or can be loaded without a download.
        absent: Entries of those that whoever runs the page may download first.
        runtimes: What can run them; a single one where that is settled.
        threads: How many images it works on at a time.
    """

    models: Sequence[ModelSpec]
    absent: Sequence[ModelSpec]
    runtimes: Sequence[str]
    threads: int

    def devices(self, runtime: str) -> Sequence[str]:
        """Return where a runtime can run."""
        ...

    def __call__(
        self, image: bytes, options: Options, strokes: tuple[Stroke, ...] = ()
    ) -> EncodedResult:
        """Cut out one image; several threads may call at once.

        Raises:
            AlphacutError: if it cannot be done; the message is for people.
        """
        ...


class LocalEngine:
    """An engine in this process, with every model that is on this machine."""

    def __init__(self) -> None:
        finders = [spec for spec in weights.models()
                   if spec.finds_subjects or spec.output == "masks"]  # fmt: skip
        self.models: Sequence[ModelSpec] = [spec for spec in finders if _is_local(spec)]
        self.absent: Sequence[ModelSpec] = [
            spec for spec in finders
            if not _is_local(spec) and any(file.urls for file in spec.weights.values())
        ]  # fmt: skip
        self.runtimes: Sequence[str] = [
            name for name in RUNTIMES if importlib.util.find_spec(_PACKAGES[name])
        ]
        self.threads = processors()
        self._networks: dict[tuple[str, str, str, str], Runtime] = {}
        self._loading = threading.Lock()

    def devices(self, runtime: str) -> Sequence[str]:
        """Return where a runtime can run."""
        return [DEVICES[0], *runtimes.devices(runtime)]

    def load(self, options: Options) -> Runtime:
        """Load the network that options name, once and without a download.

        Raises:
            AlphacutError: if it cannot be loaded.
        """
        key = (options.model, options.runtime, options.device, options.precision)
        with self._loading:
            if key not in self._networks:
                spec = weights.find_model(options.model)
                form = runtimes.needed(spec, options.runtime, options.precision, options.device)
                if weights.locate(spec.weights[form]) is None:
                    raise WeightsError(
                        f"{spec.name}: its {form} weights are not on this machine: run alphacut "
                        f"models pull {spec.name}, or choose another runtime"
                    )
                network = runtimes.load(
                    spec,
                    runtime=options.runtime,
                    device=options.device,
                    precision=options.precision,
                )
                self._networks[key] = cached(network)
            return self._networks[key]

    def warm_up(self, options: Options) -> None:
        """Cut out an image for nobody, so that the first visitor does not wait longer."""
        # a box around all of it, for a network that has to be asked something
        asked = options.replace(format="png", box="0 0 100% 100%")
        self((weights.ASSETS / "example.jpg").read_bytes(), asked)

    def cut_film(
        self,
        source: Path,
        dest: Path,
        options: Options,
        progress: Callable[[int, int | None], None],
    ) -> None:
        """Cut out a film; needs the extra `video`.

        Args:
            source: The film.
            dest: The result, .webm, or .mp4 on an opaque background.
            options: How it is cut out.
            progress: See `remove_video`.

        Raises:
            AlphacutError: if it cannot be done.
        """
        from alphacut.video.remove import remove_video

        remover = Remover(options=options, network=self.load(options))
        remove_video(source, dest, remover=remover, progress=progress, fast=True)

    def __call__(
        self, image: bytes, options: Options, strokes: tuple[Stroke, ...] = ()
    ) -> EncodedResult:
        """Cut out one image."""
        remover = Remover(options=options, network=self.load(options))
        cutout = remover(image, painted=strokes)
        start = time.perf_counter()
        kind, pieces = cutout.encode(options)
        data = b"".join(pieces)
        encode_ms = (time.perf_counter() - start) * 1000
        times = {**cutout.milliseconds, "encode": encode_ms}
        return EncodedResult(
            kind, data, cutout.empty, cutout.doubt, cutout.input_size or cutout.size, times,
            cutout.ground, cutout.ground_sure,
        )  # fmt: skip


def _is_local(spec: ModelSpec) -> bool:
    """Tell whether a model's weights are on this machine."""
    here = [weights.locate(file) is not None for file in spec.weights.values()]
    return all(here) if spec.output == "masks" else any(here)  # prompts need both parts
