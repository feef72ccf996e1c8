"""What the page says, as HTML. Text from outside is escaped here."""

import html
import time
from collections.abc import Sequence

from alphacut.demo.engine import EncodedResult
from alphacut.errors import AlphacutError, ImageError
from alphacut.models.entry import ModelSpec
from alphacut.output.encode import Raster, encode
from alphacut.pipeline.image import Metadata, limit_megapixels
from alphacut.pipeline.load import load_frames

_THUMBNAIL_MP = 0.1
_STAGES = {
    "load": "Reading the file", "preprocess": "Shrinking", "predict": "Network",
    "mask": "Mask", "alpha": "Edges", "refine": "Cleaning up", "foreground": "Colours",
    "encode": "Writing the file",
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
    """Say in one line what a model is good at, and on what terms it may be used."""
    commercial = {"yes": "commercial use allowed", "no": "not for commercial use"}.get(
        spec.commercial, "commercial use unclear"
    )
    good_for = f"{spec.good_for[:1].upper()}{spec.good_for[1:]}." if spec.good_for else ""
    return f"{good_for} Licence: {spec.license}; {commercial}."


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


def times(result: EncodedResult, seconds: float) -> str:
    """List how long each stage took, folded away."""
    H, W = result.size
    rows = "".join(
        f"<tr><td>{_STAGES.get(stage, stage)}</td><td>{ms:.0f} ms</td></tr>"
        for stage, ms in result.milliseconds.items()
    )
    return (f"<details><summary>{W} x {H} pixels, done in {seconds:.2f} s</summary>"
            f"<table>{rows}</table></details>")  # fmt: skip


def thumbnail(result: EncodedResult) -> bytes:
    """Make a thumbnail of a result."""
    picture = limit_megapixels(next(iter(load_frames(result.data))), _THUMBNAIL_MP)
    raster = Raster(picture.image, picture.alpha)
    profile = Metadata(picture.metadata.icc_profile)
    return b"".join(encode([raster], "webp", metadata=profile, quality=80))


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
    """Show how many are done and how long the rest will take."""
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
    """Sum up what was done, and offer the results."""
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
