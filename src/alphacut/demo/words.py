"""What the page says, as HTML. All text that comes from outside is escaped here."""

import html
import time
from collections.abc import Sequence

from alphacut.demo.work import Made
from alphacut.errors import AlphacutError
from alphacut.models.entry import ModelSpec
from alphacut.output.encode import Raster, encode
from alphacut.pipeline.image import limit_megapixels
from alphacut.pipeline.load import load_frames

_THUMBNAIL_MP = 0.1
_MANNERS = {
    "u2netp": "Quick and small; people, animals, things.",
    "u2net": "Finer shapes; several times slower than u2net-lite.",
    "isnet": "Finest shapes; the slowest.",
    "deeplabv3": "Finds 20 kinds of things, such as person, cat or car; soft outlines, slow.",
}
_STAGES = {
    "load": "Reading the file", "preprocess": "Making it small", "predict": "Network",
    "mask": "Mask", "alpha": "Edges", "refine": "Cleaning up", "foreground": "Colours",
    "encode": "Writing the file",
}  # fmt: skip
_BAD = {
    "not_a_picture": "is not a picture, or of a kind that cannot be read here. "
    "JPEG, PNG, WebP, AVIF, TIFF, GIF and BMP can.",
    "no_size": "is damaged: its first bytes are not those of a picture.",
    "unreadable": "is damaged or cut short. Try another copy of it.",
}


def describe(spec: ModelSpec) -> str:
    """Say in a line how good and quick a model is, and on what terms it may be used."""
    commercial = {"yes": "commercial use allowed", "no": "not for commercial use"}.get(
        spec.commercial, "commercial use unclear"
    )
    return f"{_MANNERS.get(str(spec.arch), '')} Licence: {spec.license}; {commercial}."


def problem(error: AlphacutError, name: str) -> str:
    """Say to a person what went wrong with which picture."""
    text = str(error).removeprefix("bytes: ")
    reason = getattr(error, "reason", "")
    if text.startswith("background"):
        text = "The background picture cannot be read: choose another one."
    elif reason == "too_large":
        text = f"{name} has too many pixels: {text.partition(': raise')[0]}."
    elif reason in _BAD:
        text = f"{name} {_BAD[reason]}"
    return note("bad", html.escape(text))


def note(kind: str, text: str) -> str:
    """Make a message that screen readers read out; its kind is "bad" or "mind"."""
    return f'<p class="note {kind}" role="alert">{text}</p>'


def times(made: Made, seconds: float) -> str:
    """Tell how long each stage took, folded."""
    H, W = made.size
    rows = "".join(
        f"<tr><td>{_STAGES.get(stage, stage)}</td><td>{ms:.0f} ms</td></tr>"
        for stage, ms in made.milliseconds.items()
    )
    return (f"<details><summary>{W} x {H} pixels, done in {seconds:.2f} s</summary>"
            f"<table>{rows}</table></details>")  # fmt: skip


def thumbnail(made: Made) -> bytes:
    """Make a thumbnail of a result."""
    picture = limit_megapixels(next(iter(load_frames(made.data))), _THUMBNAIL_MP)
    raster = Raster(picture.image, picture.alpha)
    return b"".join(encode([raster], "webp", metadata=picture.metadata, quality=80))


def _grid(thumbnails: Sequence[tuple[str, str]], failures: Sequence[str]) -> str:
    items = "".join(
        f'<li><img src="{address}" alt="Result" />{html.escape(name)}</li>'
        for name, address in thumbnails
    )
    return "".join(failures) + (f'<ul class="grid">{items}</ul>' if items else "")


def progress(
    done: int, count: int, begun: float, thumbnails: Sequence[tuple[str, str]],
    failures: Sequence[str],
) -> str:  # fmt: skip
    """Tell how far it is and how long it will take."""
    left = ""
    if done:
        left_s = (time.perf_counter() - begun) / done * (count - done)
        time_left = f"{left_s:.0f} s" if left_s < 90 else f"{left_s / 60:.0f} min"
        left = f", about {time_left} left"
    bar = f'<progress max="{count}" value="{done}" aria-label="Progress"></progress>'
    return f'<div role="status">{done} of {count} done{left}</div>{bar}' + _grid(
        thumbnails, failures
    )


def finished(
    count: int, address: str, thumbnails: Sequence[tuple[str, str]], failures: Sequence[str], *,
    cancelled: bool,
) -> str:  # fmt: skip
    """Tell what came of it, and offer the results."""
    done = f"{len(thumbnails)} of {count} done."
    failed = f" {len(failures)} failed:" if failures else ""
    said = f"Cancelled: {done}" if cancelled else done + failed
    link = ""
    if address:
        link = (f'<p><a class="button" href="{address}" download="cutouts.zip">'
                "Download all as zip</a></p>")  # fmt: skip
    return f'<div role="status">{said}</div>{link}' + _grid(thumbnails, failures)


NOTHING_FOUND = note(
    "mind",
    "<b>No foreground was found.</b> Paint over what should stay, under Touch up, or try another "
    "model.",
)
