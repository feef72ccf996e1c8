"""The `rembg` command, with the options and habits of rembg 2.0.86."""

import io
import itertools
import json
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

import alphacut
import alphacut.errors
import alphacut.files
from alphacut.errors import AlphacutError, AlphacutWarning, ImageError, MetadataWarning, one_line
from rembg import __version__

if TYPE_CHECKING:
    from rembg.bg import Wish
    from rembg.session_factory import Session

_Command = TypeVar("_Command", bound=Callable[..., Any])
_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".webp", ".avif", ".tif", ".tiff")  # the others mean PNG
_STDIN, _STREAM = "standard input", "-"


@click.group(context_settings={"max_content_width": 100})
@click.version_option(
    __version__, "--version", "-V", prog_name="rembg",
    message=f"%(prog)s, version %(version)s (alphacut {alphacut.__version__})",
)  # fmt: skip
def cli() -> None:
    """Remove the background of pictures: rembg's commands, answered by alphacut."""


def main() -> None:
    """Run the command line; each error that is known is one line and an exit status."""
    # threads of NumPy's BLAS, which nothing here needs, wait at work: a twentieth of a start
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    warnings.simplefilter("ignore")
    warnings.simplefilter("always", AlphacutWarning)
    warnings.simplefilter("ignore", MetadataWarning)
    warnings.showwarning = lambda message, *_, **__: _say(str(message))
    status = 0
    try:
        cli(prog_name="rembg")
    except (AlphacutError, ValueError) as error:
        _say(one_line(error) if isinstance(error, AlphacutError) else str(error))
        status = 1
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # shutting OpenVINO down takes 0.1 s and gains nothing


def _say(text: str) -> None:
    click.echo(f"rembg: {text}", err=True)


def _read_extras(_: click.Context, option: click.Parameter, text: str | None) -> dict[str, Any]:
    """Read -x; rembg ignores what is malformed, and nobody learns of it."""
    if text is None:
        return {}
    try:
        extras = json.loads(text)
    except ValueError:
        extras = None
    if not isinstance(extras, dict):
        raise click.BadParameter("give a JSON object", param=option)
    return extras


def _picture_options(command: _Command) -> _Command:
    """Give a command the options that `i`, `p` and `b` share."""
    options = [
        click.option("-m", "--model", help="Model, by rembg's or our name; default: u2netp."),
        click.option("-a", "--alpha-matting", is_flag=True, help="Solve the edges exactly."),
        click.option("-af", "--alpha-matting-foreground-threshold", default=240, show_default=True,
                     help="Mask above which a pixel is surely subject."),
        click.option("-ab", "--alpha-matting-background-threshold", default=10, show_default=True,
                     help="Mask below which it is surely background."),
        click.option("-ae", "--alpha-matting-erode-size", default=10, show_default=True,
                     help="By how many pixels both are eroded."),
        click.option("-om", "--only-mask", is_flag=True, help="Write the mask only."),
        click.option("-ppm", "--post-process-mask", is_flag=True, help="Smooth and harden edges."),
        click.option("-dc", "--decontaminate", is_flag=True, help="No effect: always done."),
        click.option("-vm", "--vitmatte", is_flag=True, help="Refine the edges with ViTMatte."),
        click.option("-bgc", "--bgcolor", type=(int, int, int, int), default=(0, 0, 0, 0),
                     help="Colour behind the subject: R G B A."),
        click.option("-x", "--extras", callback=_read_extras, help="Further arguments, as JSON."),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def _open(
    model: str | None, extras: dict[str, Any], *, several: bool = True, **arguments: Any
) -> "tuple[Session, Wish]":
    """Load the model and read what is asked for; one picture is decoded while it loads."""
    from alphacut.runtimes.pending import PendingRuntime
    from rembg.session_factory import DEFAULT, Session, plan

    chosen = {name: extras[name] for name in ("providers", "model_path", "accept_license")
              if name in extras}  # fmt: skip
    spec, options, load = plan(model or DEFAULT, **chosen)
    network = PendingRuntime(load)  # beside the imports below
    from rembg import bg

    wish = bg.wish_of({**arguments, **extras})
    if several:  # else each of them would fail for it
        network.wait()
    remover = alphacut.Remover(spec, network=network, options=options)
    return Session(model or DEFAULT, remover), wish


@cli.command("i", help="One file.")
@_picture_options
@click.argument(
    "source", metavar="[INPUT]", required=False,
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
)  # fmt: skip
@click.argument("target", metavar="[OUTPUT]", required=False)
def i_command(source: str | None, target: str | None, **arguments: Any) -> None:
    """Cut out one picture; an existing output is replaced once the new one is whole."""
    if source is None:
        if sys.stdin.isatty():
            raise click.UsageError("Missing argument '[INPUT]'.")
        source = _STREAM
    if target is None:
        beside = source != _STREAM and sys.stdout.isatty()
        target = str(Path(source).with_suffix(".out.png")) if beside else _STREAM
    session, wish = _open(several=False, **arguments)
    from rembg import bg

    picture: Any = source
    if source == _STREAM:
        picture = io.BytesIO(sys.stdin.buffer.read())
        picture.name = _STDIN
    cutout = bg.cut_out(session, picture, wish)
    if target == _STREAM:
        _write_stdout(bg.to_png(cutout, wish))
    elif Path(target).suffix.lower() in _IMAGE_SUFFIXES:
        cutout.save(target, background=wish.colour)
    else:
        alphacut.files.write(Path(target), [bg.to_png(cutout, wish)])


@cli.command("p", help="A folder.")
@_picture_options
@click.option("-w", "--watch", is_flag=True, help="Go on with pictures that come, until Ctrl-C.")
@click.option(
    "-d", "--delete_input", is_flag=True,
    help="Delete each picture whose result this run has written, and no other file.",
)  # fmt: skip
@click.option("--accept-usage-cost", is_flag=True, help="No effect: no model here costs anything.")
@click.argument(
    "folder", metavar="INPUT", type=click.Path(exists=True, file_okay=False, path_type=Path)
)
@click.argument("results", metavar="OUTPUT", type=click.Path(file_okay=False, path_type=Path))
def p_command(
    folder: Path,
    results: Path,
    watch: bool,
    delete_input: bool,
    accept_usage_cost: bool,
    **arguments: Any,
) -> None:
    """Cut out the pictures of a folder and of those below it, all into one folder."""
    from alphacut.cli.terminal import progress
    from alphacut.parallel import in_order, processors, side_by_side
    from rembg import bg

    session, wish = _open(**arguments)
    at_once = processors()

    def work(job: tuple[Path, Path]) -> tuple[Path, Path, Exception | None]:
        source, target = job
        try:
            with side_by_side(at_once):
                before = source.stat()
                cutout = bg.cut_out(session, source, wish)
                alphacut.files.write(target, [bg.to_png(cutout, wish)], make_folder=True)
                if delete_input:
                    _delete(source, before)
        except Exception as error:  # one of many
            return source, target, error
        return source, target, None

    jobs, failed = _plan(folder, results, watch)
    with progress(len(jobs), quiet=watch) as shown:
        for source, target, error in in_order(work, jobs, at_once):
            if shown:
                shown.advance(shown.task_ids[0])
            if error is None:
                if watch:
                    click.echo(f"processed: {source.absolute()} -> {target.absolute()}")
            elif not _is_no_picture(source, error):
                failed += 1
                _say(_named(source, error))
    if watch:
        _watch(folder, results, session, wish, delete_input)
    if failed:
        sys.exit(1)


def _plan(folder: Path, results: Path, watch: bool) -> tuple[list[tuple[Path, Path]], int]:
    """Return what is to do, and how many names are taken by another picture."""
    from alphacut.batch.folder import same_file

    inside = os.path.join(same_file(results), "")
    elsewhere = same_file(folder) != same_file(results)
    jobs: dict[str, tuple[Path, Path]] = {}
    clashes = 0
    for source in sorted(path for path in folder.rglob("*") if path.is_file()):
        if elsewhere and same_file(source).startswith(inside):
            continue
        if watch and source.parent == folder:
            continue  # the watch begins with what is there
        target = (results / source.name).with_suffix(".png")
        if target.exists():
            continue
        if other := jobs.get(target.name.casefold()):
            if _looks_like_a_picture(source):
                clashes += 1
                _say(f"{source}: not done: {target} is the result of {other[0]}")
            continue
        jobs[target.name.casefold()] = source, target
    return list(jobs.values()), clashes


def _looks_like_a_picture(path: Path) -> bool:
    from alphacut.batch.inputs import is_input

    return is_input(path)


def _is_no_picture(source: Path, error: Exception) -> bool:
    """Tell whether a file is passed over: neither its name nor its content is a picture's."""
    is_other = isinstance(error, ImageError) and error.reason in ("not_a_picture", "unreadable")
    return is_other and not _looks_like_a_picture(source)


def _named(source: Path, error: Exception) -> str:
    text = one_line(error)
    return text if text.startswith(str(source)) else f"{source}: {text}"


def _delete(source: Path, before: os.stat_result) -> None:
    """Delete an input that is still the one that was read."""
    now = source.stat()
    if (now.st_size, now.st_mtime_ns) == (before.st_size, before.st_mtime_ns):
        source.unlink()


def _watch(
    folder: Path, results: Path, session: "Session", wish: "Wish", delete_input: bool
) -> None:
    """Cut out what comes into a folder, not below it."""
    from alphacut.batch.watch import Watch, watch
    from rembg import bg

    changes = wish.changes
    changes["background"], changes["format"] = wish.colour, "png"

    class Habits:
        """A remover that does what is asked for in rembg's words."""

        options = session.remover.options.replace(**changes)

        def __call__(self, source: Any) -> alphacut.Cutout:
            return bg.cut_out(session, source, wish)

    habits: Any = Habits()
    for outcome in watch(Watch(folder=folder, results=results), habits):
        source, target = Path(outcome.item.source), Path(outcome.item.target)
        if outcome.error:
            _say(_named(source, outcome.error))
        elif not outcome.taken:
            click.echo(f"processed: {source.absolute()} -> {target.absolute()}")
            if delete_input and source.stat().st_mtime_ns <= target.stat().st_mtime_ns:
                source.unlink()


@cli.command("b", help="A stream of raw RGB24 frames.")
@_picture_options
@click.option("-o", "--output_specifier", help="Names of the results, such as out-%03d.png.")
@click.argument("image_width", type=click.IntRange(1))
@click.argument("image_height", type=click.IntRange(1))
def b_command(
    image_width: int, image_height: int, output_specifier: str | None, **arguments: Any
) -> None:
    """Cut out each frame of standard input, in order."""
    import numpy as np

    from alphacut.parallel import in_order, processors, side_by_side
    from rembg import bg

    session, wish = _open(**arguments)
    frame_bytes, rest = image_width * image_height * 3, b""

    def frames() -> Iterator[Any]:
        nonlocal rest
        while len(rest := sys.stdin.buffer.read(frame_bytes)) == frame_bytes:
            yield np.frombuffer(rest, np.uint8).reshape(image_height, image_width, 3)

    def work(frame: Any) -> bytes:
        with side_by_side(processors()):
            return bg.to_png(bg.cut_out(session, frame, wish), wish)

    count = itertools.count()
    for index, content in zip(count, in_order(work, frames()), strict=False):
        if output_specifier is None:
            _write_stdout(content)
        else:
            path = Path(output_specifier % index).expanduser()
            alphacut.files.write(path, [content], make_folder=True)
    if rest:
        _say(f"the last frame is incomplete: {len(rest)} of {frame_bytes} bytes")
        sys.exit(1)


@cli.command("s", help="An HTTP server.")
@click.option("-p", "--port", default=7000, show_default=True, help="Port.")
@click.option("-h", "--host", default="0.0.0.0", show_default=True, help="Address.")
@click.option("-l", "--log_level", default="info", show_default=True, help="Level of the log.")
@click.option("-t", "--threads", type=int, help="Pictures at a time.")
@click.option("--no-ui", is_flag=True, help="Without the web page.")
def s_command(port: int, host: str, log_level: str, threads: int | None, no_ui: bool) -> None:
    """Serve /api/remove, as `alphacut serve` does, open to all as rembg's server is."""
    try:
        from alphacut.server import run
        from alphacut.server.settings import Settings
    except ModuleNotFoundError as error:
        raise alphacut.errors.MissingExtra(str(error.name), "serve") from error
    from rembg.session_factory import DEFAULT

    level = logging.getLevelName(log_level.upper())
    if not isinstance(level, int):
        raise click.UsageError(f"-l {log_level}: no such level: use debug, info, warning or error")
    logging.disable(level - 1)
    settings = Settings(
        host=host, port=port, model=(DEFAULT,), workers=threads or 0, allow_url=True, cors=("*",),
        demo=not no_ui and find_spec("gradio") is not None,
    )  # fmt: skip
    run.serve(settings, run.load(settings))


@cli.command("d", help="Download models.")
@click.option("--accept-license", is_flag=True, help="Accept terms that restrict the use.")
@click.argument("models", nargs=-1)
def d_command(models: tuple[str, ...], accept_license: bool) -> None:
    """Download models; without names, those whose terms allow every use."""
    from alphacut import runtimes
    from alphacut.models import weights
    from rembg.session_factory import CUSTOM, NAMES, find_model, find_weights

    failed = False
    for name in models or [name for name in NAMES if name not in CUSTOM]:
        if name in CUSTOM:
            _say(f"{name}: has no weights of its own: give -x '{{\"model_path\": ...}}'")
            continue
        spec = find_model(name)
        if not models and not (accept_license or weights.accepted(spec)):
            _say(f"{name}: skipped: {weights.terms(spec)}")
            continue
        forms = [runtimes.needed(spec, "openvino", "auto", "auto")]
        if "decoder" in spec.weights:
            forms.append("decoder")
        try:
            path = find_weights(name, spec)
            for form in forms if path is None else ():
                path = weights.fetch(spec, form, accept_license=accept_license)
            click.echo(f"{name}: {path}")
        except AlphacutError as error:
            _say(_named(Path(name), error))
            failed = True
    if failed:
        sys.exit(1)


def _write_stdout(content: bytes) -> None:
    try:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    except OSError as error:
        raise alphacut.errors.OutputError(
            f"standard output: cannot be written: {error.strerror}"
        ) from error
