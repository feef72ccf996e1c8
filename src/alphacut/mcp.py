"""Tools for assistants, by the Model Context Protocol: paths in and out, within named folders."""

import functools
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import anyio
import numpy as np
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations

from alphacut import __version__, runtimes, values
from alphacut.batch import folder
from alphacut.errors import AlphacutError, NoForegroundWarning, one_line
from alphacut.models import weights
from alphacut.options import Options, Preset, Quality, Result, Shadow
from alphacut.output import geometry
from alphacut.pipeline import image as images
from alphacut.pipeline.load import load_frames
from alphacut.remover import Remover

_DOUBTFUL = (0.05, 0.95)  # alpha between these is neither subject nor background
_LOADED = 2  # networks in memory
_INSTRUCTIONS = (
    "Removes the background of pictures on this machine. Give paths of files or folders, not their "
    "content; only the folders named when the server was started can be read and written: {}. Look "
    "at doubt in each answer: above 0.3 the cut-out deserves a look."
)


@dataclass(frozen=True)
class Done:
    """What became of a picture."""

    input: str
    output: str | None
    status: Literal["done", "failed"]
    reason: str | None = None
    width: int | None = None
    height: int | None = None
    box: tuple[int, int, int, int] | None = None  # left, top, right, bottom of the subject
    doubt: float | None = None  # 0 for a sure cut-out, 1 for one that found nothing
    milliseconds: float | None = None


@dataclass(frozen=True)
class Findings:
    """What a cut-out's alpha says."""

    width: int
    height: int
    coverage: float  # share of the picture that the subject covers
    box: tuple[int, int, int, int] | None  # left, top, right, bottom of what is visible
    doubtful: float  # share of the visible pixels that are neither subject nor background
    touches: tuple[str, ...]  # sides of the picture that the subject reaches


@dataclass(frozen=True)
class Model:
    """A network."""

    name: str
    good_for: str
    license: str
    commercial: str
    here: bool  # whether it can be used without a download


class Folders:
    """The folders that may be read and written.

    Args:
        allowed: At least one that exists.
    """

    def __init__(self, allowed: Sequence[Path]) -> None:
        self.allowed = [os.path.realpath(path) for path in allowed]

    def resolve(self, path: str) -> str:
        """Return where a path leads, links and .. followed.

        Raises:
            ToolError: if that is outside the folders, or is a pipe or device.
        """
        if "\0" in path:
            raise ToolError("a path cannot contain a zero byte")
        real = os.path.realpath(os.path.join(self.allowed[0], os.path.expanduser(path)))
        if not any(os.path.commonpath([real, root]) == root for root in self.allowed
                   if os.path.splitdrive(real)[0] == os.path.splitdrive(root)[0]):  # fmt: skip
            raise ToolError(f"{path}: outside the folders that are allowed: "
                            f"{', '.join(self.allowed)}")  # fmt: skip
        if os.path.exists(real) and not (os.path.isfile(real) or os.path.isdir(real)):
            raise ToolError(f"{path}: neither a file nor a folder")
        return real


def make_server(allowed: Sequence[Path], model: str = Options.model) -> MCPServer:
    """Make the server with its tools.

    Args:
        allowed: Folders that may be read and written, all else is refused.
        model: Network for calls that name none.
    """
    folders = Folders(allowed)
    server = MCPServer(
        "alphacut", version=__version__, log_level="WARNING",
        instructions=_INSTRUCTIONS.format(", ".join(folders.allowed)),
    )  # fmt: skip
    load = functools.lru_cache(_LOADED)(_load)

    @server.tool(annotations=ToolAnnotations(destructive_hint=False, open_world_hint=False))
    async def remove_background(  # noqa: D417  the context is not the caller's
        inputs: list[str],
        output: str,
        ctx: Context,
        background: str | None = None,
        crop: bool = False,
        size: str | None = None,
        shadow: Shadow = "none",
        preset: Preset = "none",
        result: Result = "cutout",
        quality: Quality = "fast",
        model: str = model,
        overwrite: bool = False,
    ) -> list[Done]:
        """Remove the background of pictures and write the results.

        Args:
            inputs: Paths of pictures or of folders of pictures.
            output: Path of the result, or of a folder for several; the ending sets the format.
            background: A colour such as white or #ffcc00, an image's path, blur:20, or nothing
                for transparency.
            crop: Crop to the subject.
            size: Canvas, such as 1600x1600, or an aspect ratio such as 1:1.
            shadow: none, drop or contact.
            preset: none, profile, passport or product.
            result: cutout, mask, trimap, foreground, background or preview.
            quality: fast, or best, which takes several times as long.
            model: A network from list_models that is here.
            overwrite: Replace results that exist.
        """
        try:
            target = folders.resolve(output)
            if background and (picture := values.parse_background(background).path):
                background = folders.resolve(str(picture))
            options = Options(
                background=background, crop=crop, size=size, shadow=shadow, preset=preset,
                result=result, quality=quality, model=model,
            )  # fmt: skip
            sources = [folders.resolve(path) for path in inputs]
            items = folder.list_items(sources, target, options)
            for item in items:  # a folder may hold links
                folders.resolve(item.source)
            loaded = await anyio.to_thread.run_sync(load, options.model)
            remover = Remover(loaded.spec, network=loaded.network, options=options)
        except AlphacutError as error:
            raise ToolError(one_line(error)) from error
        outcomes = folder.run(items, remover, existing="overwrite" if overwrite else "fail")
        done: list[Done] = []
        try:
            while outcome := await anyio.to_thread.run_sync(next, outcomes, None):
                done.append(_report(outcome))
                await ctx.report_progress(len(done), len(items), outcome.item.source)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(outcomes.close)
        return done

    @server.tool(annotations=ToolAnnotations(read_only_hint=True, open_world_hint=False))
    def evaluate_cutout(path: str) -> Findings:
        """Measure the alpha of a cut-out: how much it covers, where, and how much is in doubt.

        Args:
            path: Path of a picture with transparency, such as a result of remove_background.
        """
        try:
            picture = next(load_frames(folders.resolve(path)))
        except AlphacutError as error:
            raise ToolError(one_line(error)) from error
        if picture.alpha is None:
            raise ToolError(f"{path}: has no transparency to measure")
        return _measure(np.asarray(picture.alpha / images.white(picture.alpha), np.float32))

    @server.tool(annotations=ToolAnnotations(read_only_hint=True, open_world_hint=False))
    def list_models() -> list[Model]:
        """List the networks that find subjects, and which can be used without a download."""
        return [Model(spec.name, spec.good_for, spec.license, spec.commercial, _is_here(spec.name))
                for spec in weights.models() if spec.finds_subjects]  # fmt: skip

    return server


def _is_here(name: str) -> bool:
    """Tell whether a model's weights are on this machine."""
    spec = weights.find_model(name)
    if not spec.weights:  # model none
        return True
    form = runtimes.needed(spec, Options.runtime, Options.precision, Options.device)
    return form in spec.weights and weights.locate(spec.weights[form]) is not None


def _load(model: str) -> Remover:
    """Load a network; none is downloaded, since nobody is there to be asked.

    Raises:
        ToolError: if it is not on this machine.
    """
    if not _is_here(model):
        raise ToolError(f"{model}: not on this machine: let a person run alphacut models pull "
                        f"{model}")  # fmt: skip
    warnings.simplefilter("ignore", NoForegroundWarning)  # doubt says it
    return Remover(model, hint="throughput")


def _report(outcome: folder.Outcome) -> Done:
    """Say what became of a picture."""
    item, verdict, times = outcome.item, outcome.verdict, outcome.milliseconds
    if outcome.error:
        return Done(item.source, None, "failed", one_line(outcome.error))
    assert verdict
    height, width = verdict.input_size
    return Done(
        item.source, item.target, "done", width=width, height=height, box=verdict.box,
        doubt=round(verdict.doubt, 3),
        milliseconds=round(sum(times.values()), 1) if times else None,
    )  # fmt: skip


def _measure(alpha: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> Findings:
    """Measure an alpha (H, W) in [0, 1]."""
    H, W = alpha.shape
    low, high = _DOUBTFUL
    visible = int(np.count_nonzero(alpha > low))
    soft = int(np.count_nonzero((alpha > low) & (alpha < high)))
    box = geometry.box_of(alpha, low)
    if box is None:
        return Findings(W, H, round(float(alpha.mean()), 4), None, 0.0, ())
    top, left, bottom, right = box
    sides = {"top": top == 0, "left": left == 0, "bottom": bottom == H, "right": right == W}
    return Findings(
        W, H, round(float(alpha.mean()), 4), (left, top, right, bottom), round(soft / visible, 4),
        tuple(side for side, reached in sides.items() if reached),
    )  # fmt: skip
