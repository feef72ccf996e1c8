"""`alphacut camera`: a camera on another background, as it happens."""

import contextlib
import time
import webbrowser
from typing import Any

import click

from alphacut.cli.options import PictureCommand, accept_license, from_options
from alphacut.cli.terminal import download_progress, note
from alphacut.errors import MissingExtra
from alphacut.options import Options

_EVERY_S = 5.0  # between two lines about the delay


@click.command(cls=PictureCommand)
@click.option("--source", default="0", show_default=True, metavar="N|CLIP",
              help="Number of the camera, or a film instead of one.")  # fmt: skip
@click.option("--preview", is_flag=True,
              help="Show it on a page of this machine instead of a virtual camera.")  # fmt: skip
@click.option("--port", type=click.IntRange(0, 65535), default=7001, show_default=True,
              help="Port of that page.")  # fmt: skip
@click.option("--browser/--no-browser", default=True, help="Open the page in a browser.")
@click.option("--steady", "steadiness", type=click.FloatRange(0, 1), default=1.0,
              show_default=True, metavar="0..1",
              help="How much earlier pictures have a say in an edge.")  # fmt: skip
@click.option("-q", "--quiet", is_flag=True, help="Print errors only.")
@accept_license
@from_options
def camera(
    source: str,
    preview: bool,
    port: int,
    browser: bool,
    steadiness: float,
    quiet: bool,
    accept_license: bool,
    **options: Any,
) -> None:
    """Replace a camera's background, for video calls.

    The result is a virtual camera, which other programs can choose. Without --background, the own
    one is blurred. Ctrl-C ends it.

    \b
    alphacut camera --background office.jpg
    alphacut camera --source clip.mp4 --preview
    """  # noqa: D301  click's mark for lines that stay as they are
    try:
        from alphacut.video import live
    except ModuleNotFoundError as error:
        raise MissingExtra(str(error.name), "camera") from error
    from alphacut import runtimes
    from alphacut.models import weights
    from alphacut.remover import Remover

    options["background"] = options["background"] or "blur"
    chosen = Options(**options)
    pictures = live.open_source(source)
    spec = weights.find_model(chosen.model)
    needed = runtimes.needed(spec, chosen.runtime, chosen.precision, chosen.device,
                             chosen.network_size)  # fmt: skip
    with download_progress(spec, accept_license, needed, quiet=quiet) as downloading:
        remover = Remover(options=chosen, accept_license=accept_license, progress=downloading)
    with contextlib.ExitStack() as opened:
        send: live.Send | None = None
        if preview:
            page = opened.enter_context(live.Preview(port))
            send = page.send
            note(f"{page.address} (Ctrl-C ends it)")
            if browser:
                webbrowser.open(page.address)
        shown = 0
        passed_over = 0
        begun = told = time.perf_counter()
        for picture in live.show_live(pictures, remover, steadiness=steadiness):
            if send is None:
                name, send = opened.enter_context(live.virtual_camera(picture.image.shape[:2]))
                note(f"virtual camera {name} (Ctrl-C ends it)")
            send(picture.image)
            shown += 1
            passed_over += picture.passed_over
            now = time.perf_counter()
            if not quiet and now - told >= _EVERY_S:
                told = now
                note(f"{shown / (now - begun):.1f} pictures/s, delay {picture.latency_s * 1000:.0f}"
                     f" ms, {passed_over} passed over")  # fmt: skip
    if not quiet:
        note(f"{shown} pictures shown, {passed_over} passed over")
