"""`alphacut video`: cut out a film."""

import sys
import time
import warnings
from pathlib import Path
from typing import Any

import click

from alphacut import values
from alphacut.cli.loading import loading
from alphacut.cli.options import PictureCommand, accept_license, from_options
from alphacut.cli.terminal import complain, progress_bar
from alphacut.errors import AlphacutWarning, OutputError
from alphacut.options import Options

_STEADINESS = 1.0


class _Time(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions only
    """Seconds, or [h:]m:s."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Parse a time on the command line."""
        if isinstance(value, float):
            return value
        return values.parse_time(param.name or "" if param else "", value)


@click.command(cls=PictureCommand)
@click.argument("clip")
@click.option(
    "-o", "--output", metavar="PATH",
    help="File: .webm, .mov, .mkv, .mp4 (needs --background), .gif, .webp or .png; or a folder.",
)  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace an existing result.")
@click.option("--skip-existing", is_flag=True, help="Go on with a folder that has pictures.")
@click.option("--mask", is_flag=True, help="Short for --result mask.")
@click.option(
    "--steady", "steadiness", type=click.FloatRange(0, 1), default=_STEADINESS, show_default=True,
    metavar="0..1",
    help="How much neighbouring frames agree on an edge; 0 cuts out each as if it were alone.",
)  # fmt: skip
@click.option("--start", type=_Time(), default=0.0, metavar="TIME",
              help="Where to begin: seconds, or [h:]m:s.")  # fmt: skip
@click.option("--end", type=_Time(), metavar="TIME", help="Where to end.")
@click.option("--fps", type=float, metavar="N", help="Frames a second of a folder of pictures.")
@click.option(
    "--codec", default="auto", metavar="NAME",
    help="vp9; prores, qtrle or png in .mov; ffv1 in .mkv; h264 or hevc on a background.",
)  # fmt: skip
@click.option("--fast", is_flag=True, help="Encode quickly: the file gets larger.")
@click.option(
    "-j", "--jobs", "threads", type=click.IntRange(1), metavar="N",
    help="Frames at a time; default: one per processor.",
)  # fmt: skip
@click.option("-q", "--quiet", is_flag=True, help="Print errors only.")
@click.option("-v", "--verbose", is_flag=True, help="Show tracebacks.")
@accept_license
@from_options
def video(
    clip: str,
    output: str | None,
    overwrite: bool,
    skip_existing: bool,
    mask: bool,
    steadiness: float,
    start: float,
    end: float | None,
    fps: float | None,
    codec: Any,
    fast: bool,
    threads: int | None,
    quiet: bool,
    verbose: bool,
    accept_license: bool,
    **options: Any,
) -> None:
    """Cut out the subject of a film, with its sound.

    CLIP is a film, or a folder of numbered pictures (--fps). Without --output, clip.mp4 becomes
    clip-cutout.webm beside it, with transparency. On an opaque --background, which may be a film
    as well, it becomes clip-cutout.mp4.

    \b
    alphacut video clip.mp4
    alphacut video clip.mp4 -o clip.mov
    alphacut video clip.mp4 --background green -o clip.mp4
    """  # noqa: D301  click's mark for lines that stay as they are
    if mask:
        options["result"] = "mask"
    if quiet:
        warnings.simplefilter("ignore", AlphacutWarning)
    from alphacut.video import require_av

    require_av()
    still = Options(**{**options, "background": None})  # which may be a film
    # the network loads while FFmpeg is imported and the film is opened
    with loading(still, accept_license, quiet=quiet) as network:
        from alphacut.video import remove as films
        from alphacut.video.read import open_film

        known, backdrop = films.split_background({**options})  # type: ignore[typeddict-item]
        chosen = Options(**known)
        film = open_film(clip, fps=fps, max_megapixels=chosen.max_megapixels)
        opaque = films.is_opaque(chosen) or backdrop is not None
        path = Path(output) if output else films.default_target(film.path, chosen, opaque=opaque)
        _check_free(path, overwrite=overwrite, skip_existing=skip_existing)
        remover = network.make_remover(chosen)
    begun = time.perf_counter()
    shown = None
    if not quiet and sys.stderr.isatty():
        shown = progress_bar(film.frames or 0)
        shown.start()

    def progress(done: int, total: int | None) -> None:
        if shown:
            shown.update(shown.task_ids[0], completed=done, total=total)

    try:
        written = films.remove_video(
            clip, path, steadiness=steadiness, start_s=start, end_s=end, fps=fps, codec=codec,
            fast=fast, skip_existing=skip_existing, remover=remover, threads=threads,
            progress=progress, background=backdrop or chosen.background,
        )  # fmt: skip
    finally:
        if shown:
            shown.stop()
    if not quiet:
        rate = written.frames / max(time.perf_counter() - begun, 1e-9)
        click.echo(f"{clip} -> {path} ({written.frames} frames, {rate:.1f}/s)", err=True)
    if written.broken:
        complain(
            f"{written.broken} of {written.frames} frames are damaged: their neighbours stand in "
            "for them", clip, verbose=verbose,
        )  # fmt: skip
        sys.exit(1)


def _check_free(path: Path, *, overwrite: bool, skip_existing: bool) -> None:
    """Refuse to write where something is, unless told to.

    Raises:
        OutputError: if so.
    """
    if overwrite and skip_existing:
        raise click.UsageError("--overwrite and --skip-existing are mutually exclusive")
    folder = path.parent if "%" in path.name else path
    if folder.is_dir():
        if any(folder.iterdir()) and not (overwrite or skip_existing):
            raise OutputError(
                f"{folder}: is not empty: use --skip-existing to go on where a run stopped, or "
                "--overwrite"
            )
    elif path.exists() and not overwrite:
        raise OutputError(f"{path}: already exists: use --overwrite")
