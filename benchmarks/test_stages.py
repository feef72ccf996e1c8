"""Time each stage on its own: `pytest benchmarks --benchmark-only --benchmark-autosave`.

`pytest-benchmark compare` then compares two commits. No time is asserted here.
"""

import io
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from alphacut import Options, Remover
from alphacut.pipeline import foreground, matting, transforms
from alphacut.pipeline.load import load_image

SIZES = {"1MP": (1224, 816), "6MP": (3000, 2000)}  # (W, H)


@pytest.fixture(scope="module")
def remover() -> Remover:
    return Remover()


@pytest.fixture(params=SIZES, scope="module")
def jpeg(request: pytest.FixtureRequest) -> bytes:
    file = io.BytesIO()
    path = Path(__file__).parents[1] / "examples" / "coffee.png"
    with PIL.Image.open(path) as picture:
        picture.convert("RGB").resize(SIZES[request.param]).save(file, "JPEG", quality=90)
    return file.getvalue()


def test_load(benchmark: Any, jpeg: bytes) -> None:
    assert benchmark(load_image, jpeg).ndim == 3


def test_preprocess(benchmark: Any, jpeg: bytes, remover: Remover) -> None:
    photo = load_image(jpeg)
    assert benchmark(transforms.preprocess, photo, remover.spec).shape == (1, 3, 320, 320)


@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_predict(benchmark: Any, precision: str) -> None:
    runtime = Remover(precision=precision).network
    batch = np.random.default_rng(1).random((1, 3, 320, 320), np.float32)
    assert benchmark(runtime, batch).shape == (1, 1, 320, 320)


def test_estimate_alpha_fast(benchmark: Any, jpeg: bytes, remover: Remover) -> None:
    cutout = remover(jpeg)
    alpha = benchmark(matting.estimate_alpha_fast, cutout.photo, cutout.saliency)
    assert alpha.shape == cutout.size


def test_estimate_foreground(benchmark: Any, jpeg: bytes, remover: Remover) -> None:
    cutout = remover(jpeg)
    result = benchmark(foreground.estimate_foreground, cutout.photo, cutout.alpha)
    assert result.shape == (*cutout.size, 3)


@pytest.mark.parametrize("kind", ["png", "webp", "jpg"])
def test_encode(benchmark: Any, jpeg: bytes, remover: Remover, kind: str) -> None:
    cutout, options = remover(jpeg), Options(format=kind)
    assert benchmark(cutout.encode, options)[0] == kind


def test_whole(benchmark: Any, jpeg: bytes, remover: Remover) -> None:
    assert benchmark(lambda: remover(jpeg).encode())[0] == "png"
