"""Choose among weights for the embedded network on pictures that none of them is trained on.

    python benchmarks/candidates.py DATA CANDIDATE ... [--report]

DATA is a folder as docs/training.md describes it: pool, pool2, cutouts, backgrounds. A candidate is

    published                    the embedded weights in float32; `int8` for those in 8 bits
    FILE[,FILE ...][@SHARE]      checkpoints, or weights in any format: their mean, or that share of
                                 the way from the published weights to it
    CANDIDATE+CANDIDATE          the mean of two networks' outputs
    CANDIDATE?DOUBT:CANDIDATE    the first one's output, or the second one's if it is in more doubt
    CANDIDATE^CANDIDATE          the output in less doubt

The sets that choose are drawn alike each time: (b) held-out photographs of the pool and (f) scenes,
whose IS-Net mask is right; (c) pictures without a subject; (d) composites of held-out cut-outs on
those, and (e) on busy grounds. The network's output at 320 x 320 is compared with the truth at that
size: MAD x 1000, mean and median, and how many have IoU below 0.9; of (c), how many are called
empty.

--report measures the test sets by the pipeline's default options instead. Whoever looks at them
often chooses by them: decide first, and note in docs/log.md which candidates saw them.
"""

import argparse
import statistics
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from alphacut import Remover, runtimes
from alphacut.errors import NoForegroundWarning
from alphacut.evaluation import metrics, quality
from alphacut.models import weights
from alphacut.pipeline import transforms
from alphacut.pipeline.doubt import measure_doubt
from alphacut.pipeline.image import Image
from alphacut.pipeline.load import load_image
from alphacut.runtimes import Runtime
from alphacut.runtimes.graph import write_graph
from alphacut.runtimes.openvino import OpenVINORuntime
from alphacut.runtimes.pytorch import load_network
from alphacut.training import composites, datasets
from alphacut.training.recipe import Source
from report import table

Array = NDArray[np.float32]
Merge = Callable[[Array, Array], Array]

ROOT = Path(__file__).parents[1]
LISTS = ROOT / "recipes" / "pool"
SPEC = weights.find_model("u2net-lite")
SETS = "bfcde"
_COMPOSITES = 40  # in (d), and in (e)
_CANVAS_PX = 448
_RIGHT = 0.9  # IoU


class Sample(NamedTuple):
    """A picture as the network sees it.

    Attributes:
        name: Of its file, or its number.
        batch: (1, 3, 320, 320) float32.
        alpha: The truth, (320, 320) float32 in [0, 1].
    """

    name: str
    batch: Array
    alpha: Array


class Both:
    """Two networks as one.

    Args:
        first: A network.
        second: The other one.
        merge: Makes one output (1, 1, h, w) of theirs.
    """

    prefers_batches = False

    def __init__(self, first: Runtime, second: Runtime, merge: Merge) -> None:
        self._first, self._second, self._merge, self.device = first, second, merge, first.device

    def __call__(self, batch: Array) -> Array:
        """Return the output (1, 1, h, w) for a batch of one picture."""
        return self._merge(self._first(batch), self._second(batch))


class Kept:
    """A network that remembers its outputs, since several candidates may share it."""

    prefers_batches = False

    def __init__(self, network: Runtime) -> None:
        self._network, self.device = network, network.device
        self._outputs: dict[bytes, Array] = {}

    def __call__(self, batch: Array) -> Array:
        """Return a copy of the output (1, 1, h, w) for a batch of one picture."""
        key = batch[..., ::8, ::8].tobytes()
        if key not in self._outputs:
            self._outputs[key] = self._network(batch)
        return self._outputs[key].copy()


def main() -> None:
    """Print a table of the candidates."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="folder of the data")
    parser.add_argument("candidates", nargs="+", metavar="CANDIDATE")
    parser.add_argument("--sets", default=SETS, help=f"of {SETS}; all by default")
    parser.add_argument("--report", action="store_true", help="measure the test sets instead")
    parser.add_argument("--verbose", action="store_true", help="print each picture")
    asked = parser.parse_args()
    warnings.simplefilter("ignore", NoForegroundWarning)
    parts: dict[str, Runtime] = {}
    networks = {text: read_candidate(text, parts) for text in asked.candidates}
    if asked.report:
        found = [report(network, asked.data, asked.verbose) for network in networks.values()]
    else:
        drawn = {name: [*draw(name, asked.data)] for name in asked.sets}
        found = [choose(network, drawn, asked.verbose) for network in networks.values()]
    rows = [[text, *row.values()] for text, row in zip(networks, found, strict=True)]
    print(table(["candidate", *found[0]], rows))


# --- candidates ---


def read_candidate(text: str, parts: dict[str, Runtime]) -> Runtime:
    """Return a candidate's network; `parts` keeps those that it is made of, for others."""
    for mark in "^?+":
        if mark in text:
            first, second = text.split(mark, 1)
            merge: Merge = _surer if mark == "^" else _mean
            if mark == "?":
                doubt, second = second.split(":", 1)
                merge = _second_beyond(float(doubt))
            return Both(read_candidate(first, parts), read_candidate(second, parts), merge)
    if text not in parts:
        parts[text] = Kept(_load(text))
    return parts[text]


def _mean(first: Array, second: Array) -> Array:
    return np.asarray((first + second) / 2, np.float32)


def _surer(first: Array, second: Array) -> Array:
    return second if _doubt(second) < _doubt(first) else first


def _second_beyond(doubt: float) -> Merge:
    return lambda first, second: second if _doubt(first) > doubt else first


def _doubt(output: Array) -> float:
    saliency = transforms.read_output(output, SPEC)
    return measure_doubt(saliency, saliency)


def _load(text: str) -> Runtime:
    if text == "int8":
        return runtimes.load(SPEC, precision="int8")
    if text == "published":
        return runtimes.load(SPEC, precision="fp32")
    files, _, share = text.partition("@")
    paths = [Path(file) for file in files.split(",")]
    if len(paths) == 1 and paths[0].suffix == ".onnx" and not share:
        return OpenVINORuntime(paths[0])
    network = mean_network(paths, float(share or 1))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "candidate.onnx"
        write_graph(network, path, to="onnx", channels=3, sizes=[(320, 320)])
        return OpenVINORuntime(path)


def mean_network(paths: Sequence[Path], share: float = 1.0) -> torch.nn.Module:
    """Return the network with the mean of several weights, or part of the way to it.

    Args:
        paths: Files of weights.
        share: How far to go from the published weights: 1 for the mean itself.
    """
    networks = [load_network(str(SPEC.arch), path) for path in paths]
    start = load_network(str(SPEC.arch), weights.fetch(SPEC, "onnx")).state_dict()
    network, states = networks[0], [each.state_dict() for each in networks]
    mean = {name: torch.stack([state[name] for state in states]).mean(0) for name in start}
    network.load_state_dict({name: start[name].lerp(mean[name], share) for name in start})
    return network


# --- the sets that choose ---


def draw(name: str, data: Path) -> Iterator[Sample]:
    """Make the pictures of a set, one of `SETS`."""
    pool = data / "pool"
    if name in "bf":
        scenes = name == "f"
        for file in _listed("valid-photographs.txt"):
            if file.startswith("s-") == scenes:
                alpha = _read_mask(pool / "teacher" / file)
                yield _sample(file, load_image(pool / "image" / file), alpha)
    elif name == "c":
        for file in _listed("valid-empty.txt"):
            path = next(each for folder in (pool / "image", data / "pool2" / "background")
                        if (each := folder / file).exists())  # fmt: skip
            image = load_image(path)
            yield _sample(file, image, np.zeros(image.shape[:2], np.float32))
    else:
        grounds = LISTS / ("valid-busy.txt" if name == "e" else "valid-empty.txt")
        source = Source(
            kind="composites", part="valid", grounds=(str(grounds),), coverage=(0.3, 1.0),
            backgrounds=("backgrounds", "pool2/background", "pool/image"), subjects=(0.85, 0.15),
        )  # fmt: skip
        files = datasets.find(source, data.absolute())
        for number in range(_COMPOSITES):
            rng = np.random.default_rng((ord(name), number))
            made = composites.compose(source, files, _CANVAS_PX, rng)
            yield _sample(f"{name}{number:02}", made.image, made.alpha)


def _listed(name: str) -> list[str]:
    return (LISTS / name).read_text(encoding="utf-8").split()


def _read_mask(path: Path) -> Array:
    return np.asarray(load_image(path, keep_depth=False)[..., 0] / 255, np.float32)


def _sample(name: str, image: Image, alpha: Array) -> Sample:
    batch = transforms.preprocess(image, SPEC)
    h, w = batch.shape[2:]
    small = cv2.resize(alpha, (w, h), interpolation=cv2.INTER_AREA)
    return Sample(name, batch, np.asarray(small, np.float32))


def choose(
    network: Runtime, drawn: dict[str, list[Sample]], verbose: bool = False
) -> dict[str, str]:
    """Measure a candidate on the sets that choose; return the table's cells by column."""
    cells = {}
    for name, samples in drawn.items():
        mads, right = [], 0
        for sample in samples:
            found = transforms.postprocess(network(sample.batch), sample.batch, SPEC)
            mads.append(1000 * metrics.mad(found, sample.alpha))
            iou = metrics.iou(found, sample.alpha)
            right += not found.any() if name == "c" else iou >= _RIGHT
            if verbose:
                print(f"{name} {sample.name}: MAD {mads[-1]:.1f}, IoU {iou:.3f}", flush=True)
        cells[f"({name}) MAD, median"] = f"{np.mean(mads):.1f}, {np.median(mads):.1f}"
        wrong = "called empty" if name == "c" else f"IoU < {_RIGHT}"
        cells[f"({name}) {wrong}"] = str(right if name == "c" else len(samples) - right)
    return cells


# --- the test sets ---


def report(network: Runtime, data: Path, verbose: bool = False) -> dict[str, str]:
    """Measure a candidate on the test sets by default options; return cells by column."""
    remover, cells = Remover(SPEC, network=network), {}
    for name in ("composites", "natural"):
        scores = [*quality.evaluate(quality.find_samples(data / name), {"": remover})]
        mean = quality.summarise(scores)[""]
        columns = [column for column in ("MAD", "Grad", "RECOMP") if column in mean]
        cells[f"{name} {' / '.join(columns)}"] = " / ".join(f"{mean[c]:.2f}" for c in columns)
        if verbose:
            for score in scores:
                print(f"{name} {score.sample}: MAD {score.values['MAD']:.1f}", flush=True)
    reference = data / "u2net_reference"
    for name, images, masks in (
        ("objects", "images", "u2net"),
        ("people", "human_images", "u2net_human_seg"),
    ):
        ious = []
        for path in sorted((reference / images).iterdir()):
            mask = _read_mask(reference / masks / f"{path.stem}.png")
            ious.append(metrics.iou(remover(path).alpha, mask))
            if verbose:
                print(f"{name} {path.name}: IoU {ious[-1]:.3f}", flush=True)
        cells[f"{name}, IoU"] = f"{statistics.fmean(ious):.3f}"
    alpha = remover(ROOT / "examples" / "astronaut.png").alpha
    cells["astronaut's left border, of 255"] = f"{255 * alpha[180:330, :25].mean():.1f}"
    return cells


if __name__ == "__main__":
    main()
