"""What the page says, as HTML. Text from outside is escaped here."""

import html
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

from alphacut.demo.engine import EncodedResult
from alphacut.errors import AlphacutError, ImageError
from alphacut.models.entry import ModelSpec
from alphacut.output.encode import Raster, encode
from alphacut.pipeline.image import Metadata, limit_megapixels
from alphacut.pipeline.load import load_frames

_THUMBNAIL_MP = 0.1
_DOUBTFUL = 0.3  # above it people are asked to look
_STAGES = {
    "load": "Reading the file", "preprocess": "Shrinking", "predict": "Network",
    "mask": "Mask", "alpha": "Edges", "ground": "Background", "refine": "Cleaning up",
    "foreground": "Colours", "shadow": "Shadow",
    "encode": "Writing the file",
}  # fmt: skip
_GROUNDS = {
    "plain": "Cut from its plain background", "screen": "Cut from its green or blue screen",
    "plate": "Cut from its empty scene", "pair": "Cut from two backgrounds",
}  # fmt: skip
_FAULTS = {
    "not_a_picture": "{name} is not a picture, or its format is not supported. "
    "Use JPEG, PNG, WebP, AVIF, TIFF, GIF or BMP.",
    "no_size": "{name} is damaged: its dimensions cannot be read.",
    "unreadable": "{name} is damaged or cut short. Try another copy of it.",
    "too_large": "{name} has too many pixels: above the limit of {limit:g} megapixels.",
    "background": "The background picture cannot be read: choose another one.",
}


def describe(spec: ModelSpec) -> str:
    """Say in a line what a model is good at, how large it is, and on what terms it may be used."""
    good_for = f"{spec.good_for[:1].upper()}{spec.good_for[1:]}." if spec.good_for else ""
    return f"{good_for} {_size(spec)}. Licence: {_terms(spec)}."


def list_absent(specs: Sequence[ModelSpec]) -> str:
    """List models that are not on this machine, folded away, and the commands that bring them.

    Whoever runs the page accepts the terms with the command, not a visitor.
    """
    if not specs:
        return ""
    items = "".join(
        f"<p>{html.escape(describe(spec))}<br><code>alphacut models pull {html.escape(spec.name)}"
        f"{'' if spec.commercial == 'yes' else ' --accept-license'}</code></p>"
        for spec in specs
    )
    return (f"<details><summary>{len(specs)} more models</summary><p>Download one with its "
            f"command, then start the page anew.</p>{items}</details>")  # fmt: skip


def _size(spec: ModelSpec) -> str:
    size = next((file.bytes for file in spec.weights.values() if file.bytes), None)
    return f"{size / 1e6:.0f} MB" if size else "Size unknown"


def _terms(spec: ModelSpec) -> str:
    commercial = {"yes": "commercial use allowed", "no": "not for commercial use"}
    return f"{spec.license}; {commercial.get(spec.commercial, 'commercial use unclear')}"


def problem(error: AlphacutError, name: str, max_megapixels: float) -> str:
    """Say what went wrong with which picture.

    Args:
        error: What was raised.
        name: The picture's.
        max_megapixels: The page's limit.

    Returns:
        A message.
    """
    text = str(error)
    if isinstance(error, ImageError) and error.reason in _FAULTS:
        text = _FAULTS[error.reason].format(name=name, limit=max_megapixels)
    return note("bad", html.escape(text))


def note(kind: str, text: str) -> str:
    """Make a message that screen readers read out; its kind is "bad" or "mind"."""
    return f'<p class="note {kind}" role="alert">{text}</p>'


def times(result: EncodedResult, seconds: float, size: tuple[int, int], *, exact: bool) -> str:
    """List sizes and how long each stage took, folded away.

    Args:
        result: What is shown.
        seconds: How long it took in all.
        size: (H, W) of the file that is downloaded.
        exact: Whether that is so to the pixel.

    Returns:
        HTML.
    """
    H, W = result.size
    about = "" if exact else "about "
    rows = "".join(
        f"<tr><td>{_STAGES.get(stage, stage)}</td><td>{ms:.0f} ms</td></tr>"
        for stage, ms in result.milliseconds.items()
    )
    ground = ""
    if result.ground:
        ground = f"<p>{_GROUNDS[result.ground]}, {100 * result.ground_sure:.0f} % sure</p>"
    return (f"<details><summary>{W} x {H} pixels, the file {about}{size[1]} x {size[0]}, "
            f"done in {seconds:.2f} s</summary>"
            f"<table>{rows}</table></details>{ground}")  # fmt: skip


@dataclass(frozen=True)
class Shown:
    """One of many results, as the grid shows it.

    Attributes:
        index: Of its picture among those that were given.
        name: Of its file.
        address: Of its thumbnail.
        empty: Whether no subject was found.
        doubt: See `Cutout.doubt`.
    """

    index: int
    name: str
    address: str
    empty: bool
    doubt: float

    @property
    def doubtful(self) -> bool:
        """Whether people should look at it."""
        return self.empty or self.doubt > _DOUBTFUL


def thumbnail(result: EncodedResult) -> bytes:
    """Make a thumbnail of a result."""
    picture = limit_megapixels(next(iter(load_frames(result.data))), _THUMBNAIL_MP)
    raster = Raster(picture.image, picture.alpha)
    profile = Metadata(picture.metadata.icc_profile)
    return b"".join(encode([raster], "webp", metadata=profile, quality=80))


def _grid(shown: Sequence[Shown], failures: Sequence[str]) -> str:
    items = "".join(
        f'<li><button type="button" data-open="{one.index}" title="Open in the editor">'
        f'<img src="{one.address}" alt="Result" /><span>{html.escape(one.name)}</span>'
        f'<span class="{"look" if one.doubtful else "doubt"}">'
        f"{'No subject' if one.empty else f'{one.doubt:.0%} in doubt'}</span></button></li>"
        for one in shown
    )
    return "".join(failures) + (f'<ul class="grid">{items}</ul>' if items else "")


def subjects(addresses: Sequence[str], names: Sequence[str]) -> str:
    """Show each subject of a picture, and offer it as a file."""
    items = "".join(
        f'<li><a href="{address}" download="{html.escape(name)}" title="Download">'
        f'<img src="{address}" alt="Subject {number}" /><span>{html.escape(name)}</span></a></li>'
        for number, (address, name) in enumerate(zip(addresses, names, strict=True), 1)
    )
    return f'<ul class="grid">{items}</ul>'


def progress(
    done: int, count: int, begun: float, shown: Sequence[Shown], failures: Sequence[str]
) -> str:
    """Show how many are done and how long the rest will take."""
    left = ""
    if done:
        left_s = (time.perf_counter() - begun) / done * (count - done)
        time_left = f"{left_s:.0f} s" if left_s < 90 else f"{left_s / 60:.0f} min"
        left = f", about {time_left} left"
    bar = f'<progress max="{count}" value="{done}" aria-label="Progress"></progress>'
    return f'<div role="status">{done} of {count} done{left}</div>{bar}' + _grid(shown, failures)


def film_progress(done: int, count: int | None) -> str:
    """Show how many frames of a film are done."""
    of = f" of {count}" if count else ""
    value = f'max="{count}" value="{done}"' if count else ""
    return (f'<div role="status">{done}{of} frames done</div>'
            f'<progress {value} aria-label="Progress"></progress>')  # fmt: skip


def film_player(address: str, name: str) -> str:
    """Show a film on a checkerboard, and offer it as a file."""
    address, name = html.escape(address), html.escape(name)
    return (f'<video class="film" controls loop autoplay muted src="{address}"></video>'
            f'<p><a href="{address}" download="{name}">Download {name}</a></p>')  # fmt: skip


def problem_of_film(error: AlphacutError, name: str) -> str:
    """Say what went wrong with a film; its path on this machine is nobody's business."""
    reason = str(error).rpartition(f"{os.sep}")[2].partition(": ")[2] or str(error)
    return note("bad", html.escape(f"{name}: {reason}"))


def finished(
    count: int, address: str, shown: Sequence[Shown], failures: Sequence[str], *, cancelled: bool
) -> str:
    """Sum up what was done, and offer the results."""
    done = f"{len(shown)} of {count} done."
    if empty := sum(one.empty for one in shown):
        done += f" {empty} without a subject."
    if unsure := sum(one.doubtful and not one.empty for one in shown):
        done += f" {unsure} in doubt."
    failed = f" {len(failures)} failed:" if failures else ""
    said = f"Cancelled: {done}" if cancelled else done + failed
    link = ""
    if address:
        link = (f'<p><a class="button" href="{address}" download="cutouts.zip">'
                "Download all as zip</a></p>")  # fmt: skip
    return f'<div role="status">{said}</div>{link}' + _grid(shown, failures)


NOTHING_FOUND = note(
    "mind",
    "<b>No foreground was found.</b> Paint over what should stay, under Touch up, or try another "
    "model.",
)
