"""Measure settings on images whose alpha is known."""

import base64
import csv
import html
import io
import json
import statistics
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from alphacut.cutout import Cutout
from alphacut.errors import ImageError
from alphacut.evaluation import metrics
from alphacut.files import write
from alphacut.pipeline.image import Image, Picture, downscale_to
from alphacut.pipeline.load import INPUT_SUFFIXES, load_frames, load_image
from alphacut.pipeline.profile import convert_profile
from alphacut.remover import Remover

# name: (what a lower or higher value means, decimals); the order is the table's
COLUMNS = {
    "MAD": ("mean absolute difference of alpha x 1000, lower is better", 2),
    "MSE": ("mean squared error of alpha x 1000, lower is better", 2),
    "SAD": ("sum of absolute differences of alpha / 1000, lower is better", 2),
    "Grad": ("gradient error / 1000, sigma 1.4, lower is better", 2),
    "Conn": ("connectivity error / 1000, lower is better", 2),
    "RECOMP": ("levels of 255 at the edges on white, black and green, lower is better", 2),
    "IoU": ("intersection over union at 0.5, higher is better", 4),
    "F": ("F-measure, beta² = 0.3, at 0.5, higher is better", 4),
    "S": ("structure measure, higher is better", 4),
    "E": ("enhanced-alignment measure at 0.5, higher is better", 4),
}
_THUMBNAIL_PX = 280
GREEN = (0, 255, 0)


@dataclass(frozen=True)
class Sample:
    """An image and its truth: files of one stem in image/, alpha/ and optionally foreground/."""

    name: str
    image: Path
    alpha: Path
    foreground: Path | None


@dataclass(frozen=True)
class Score:
    """The figures of one setting on one image.

    Attributes:
        setting: Name of the setting.
        sample: Name of the sample.
        values: A figure for each of `COLUMNS`; RECOMP only if the true foreground is known.
        seconds: From decoded image to cut-out.
        thumbnails: Small JPEG files by caption, for the page.
    """

    setting: str
    sample: str
    values: Mapping[str, float]
    seconds: float
    thumbnails: Mapping[str, bytes] = field(default_factory=dict, repr=False)


def find_samples(folder: Path) -> list[Sample]:
    """List the samples of a folder that holds image/, alpha/ and optionally foreground/.

    Raises:
        ImageError: if there are none, an image has no alpha, or two have the same name.
    """
    images, alphas, foregrounds = (
        _by_name(folder / part) for part in ("image", "alpha", "foreground")
    )
    if not images:
        raise ImageError(
            f"{folder}: no pictures in image/: put them there, and their alphas into alpha/"
        )
    for name, image in images.items():
        if name not in alphas:
            raise ImageError(
                f"{folder / 'alpha'}: no alpha for {image.name}: name both files alike"
            )
    return [
        Sample(name, image, alphas[name], foregrounds.get(name)) for name, image in images.items()
    ]


def _by_name(folder: Path) -> dict[str, Path]:
    """Return the images of a folder by stem."""
    found: dict[str, Path] = {}
    for path in sorted(folder.glob("*")):
        if path.suffix.lower() not in INPUT_SUFFIXES:
            continue
        if (first := found.setdefault(path.stem, path)) != path:
            raise ImageError(f"{path}: same name as {first.name}: keep one of them")
    return found


def evaluate(
    samples: Sequence[Sample], settings: Mapping[str, Remover], *, thumbnails: bool = False
) -> Iterator[Score]:
    """Measure settings on samples, every setting on one sample before the next.

    Args:
        samples: Images with their truth.
        settings: Removers by the name of their setting.
        thumbnails: Whether to keep thumbnails for `write_page`.

    Yields:
        One score per sample and setting.

    Raises:
        ImageError: if an image cannot be read, or the sizes of image and truth differ.
    """
    for sample in samples:
        picture = next(load_frames(sample.image, keep_depth=False))
        image, levels = picture.image, load_image(sample.alpha, keep_depth=False)
        true_alpha = np.asarray(levels[..., 0] / 255, np.float32)
        true_foreground = None
        if sample.foreground:
            true_foreground = load_image(sample.foreground, keep_depth=False)
        if true_alpha.shape != image.shape[:2]:
            raise ImageError(
                f"{sample.alpha}: size {true_alpha.shape}, but its picture has {image.shape[:2]}"
            )
        for name, remover in settings.items():
            start = time.perf_counter()
            cutout = remover(image)
            seconds = time.perf_counter() - start
            values = measure(cutout, true_alpha, true_foreground)
            kept = _thumbnails(picture, cutout, true_alpha) if thumbnails else {}
            yield Score(name, sample.name, values, seconds, kept)


def measure(
    cutout: Cutout, true_alpha: NDArray[np.float32], true_foreground: Image | None
) -> dict[str, float]:
    """Compare a cut-out with the truth, on the scales of `COLUMNS`."""
    alpha = cutout.alpha
    values = {
        "MAD": metrics.mad(alpha, true_alpha) * 1000,
        "MSE": metrics.mse(alpha, true_alpha) * 1000,
        "SAD": metrics.sad(alpha, true_alpha),
        "Grad": metrics.grad(alpha, true_alpha),
        "Conn": metrics.conn(alpha, true_alpha),
        "IoU": metrics.iou(alpha, true_alpha),
        "F": metrics.f_beta(alpha, true_alpha),
        "S": metrics.s_measure(alpha, true_alpha),
        "E": metrics.e_measure(alpha, true_alpha),
    }
    if true_foreground is not None:
        values["RECOMP"] = metrics.recomp(cutout.foreground, alpha, true_foreground, true_alpha)
    return values


def summarise(scores: Iterable[Score]) -> dict[str, dict[str, float]]:
    """Average each setting's figures and seconds over its samples."""
    collected: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for score in scores:
        for column, value in {**score.values, "seconds": score.seconds}.items():
            collected[score.setting][column].append(value)
    return {
        setting: {
            column: statistics.fmean(columns[column])
            for column in (*COLUMNS, "seconds")
            if column in columns
        }
        for setting, columns in collected.items()
    }


def write_csv(path: Path, scores: Sequence[Score]) -> None:
    """Write one line per sample and setting."""
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(["setting", "picture", *COLUMNS, "seconds"])
    for score in scores:
        figures = [score.values.get(column, "") for column in COLUMNS]
        writer.writerow([score.setting, score.sample, *figures, score.seconds])
    write(path, [file.getvalue().encode()])


def write_json(path: Path, scores: Sequence[Score]) -> None:
    """Write the means and the figures of every sample."""
    pictures = [
        {
            "setting": score.setting,
            "picture": score.sample,
            **score.values,
            "seconds": score.seconds,
        }
        for score in scores
    ]
    whole: dict[str, Any] = {"mean": summarise(scores), "pictures": pictures}
    write(path, [json.dumps(whole, indent=1).encode()])


def write_page(path: Path, scores: Sequence[Score]) -> None:
    """Write one HTML file with the means and all images side by side, worst MAD first."""
    rows = []
    for score in sorted(scores, key=lambda score: -score.values["MAD"]):
        figures = ", ".join(
            f"{column} {score.values[column]:.{COLUMNS[column][1]}f}"
            for column in COLUMNS
            if column in score.values
        )
        pictures = "".join(
            f'<figure><img alt="{caption}" src="data:image/jpeg;base64,'
            f'{base64.b64encode(jpeg).decode()}"><figcaption>{caption}</figcaption></figure>'
            for caption, jpeg in score.thumbnails.items()
        )
        title = html.escape(f"{score.sample}, {score.setting}")
        rows.append(f"<section><h2>{title}</h2><p>{figures}</p><div>{pictures}</div></section>")
    mean = summarise(scores)
    columns = [column for column in (*COLUMNS, "seconds") if column in next(iter(mean.values()))]
    head = "".join(
        f'<th title="{COLUMNS.get(column, ("seconds per picture",))[0]}">{column}</th>'
        for column in columns
    )
    body = "".join(
        f"<tr><th>{html.escape(setting)}</th>"
        + "".join(f"<td>{figures[column]:.3f}</td>" for column in columns)
        + "</tr>"
        for setting, figures in mean.items()
    )
    page = (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>alphacut evaluate</title>'
        "<style>body{font:15px sans-serif;margin:2em}td,th{padding:.2em .8em;text-align:right}"
        "section div{display:flex;flex-wrap:wrap;gap:8px}figure{margin:0}"
        "h2{font-size:1em;margin:1.5em 0 0}p{margin:.2em 0}</style>"
        f"<table><tr><th></th>{head}</tr>{body}</table>{''.join(rows)}</html>"
    )
    write(path, [page.encode()])


def _thumbnails(
    picture: Picture, cutout: Cutout, true_alpha: NDArray[np.float32]
) -> dict[str, bytes]:
    """Return the images to compare, as small JPEG files in sRGB by caption."""
    profile = picture.metadata.icc_profile
    error = np.abs(cutout.alpha - true_alpha)
    heat = cv2.applyColorMap((error * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    return {
        "input": _jpeg(picture.image, profile),
        "truth": _jpeg((true_alpha * 255).astype(np.uint8)),
        "prediction": _jpeg((cutout.alpha * 255).astype(np.uint8)),
        "on green": _jpeg(replace(cutout, metadata=picture.metadata).on(GREEN), profile),
        "error": _jpeg(heat),
    }


def _jpeg(image: NDArray[Any], icc_profile: bytes | None = None) -> bytes:
    """Downscale and encode a grey or RGB image, converted from its profile to sRGB."""
    small = downscale_to(np.ascontiguousarray(image), _THUMBNAIL_PX)
    if small.ndim == 3:
        small = np.ascontiguousarray(convert_profile(small, icc_profile, None)[..., ::-1])
    return cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()
