"""Trained weights on pictures: what runs in one runtime is what runs in another."""

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest

from alphacut import Remover, runtimes
from alphacut.evaluation import metrics
from alphacut.models import catalogue, weights
from alphacut.models.entry import ModelSpec
from alphacut.options import RUNTIMES
from alphacut.pipeline import matting
from alphacut.pipeline.indexnet import estimate_alpha_indexnet
from alphacut.pipeline.load import load_image
from alphacut.pipeline.trimap import read_trimap
from pictures import SHARED

EXAMPLES = Path(__file__).parents[1] / "examples"
ISNET = SHARED / "models" / "isnet-general-use-fp16.onnx"
COMPOSITES = SHARED / "data" / "composites"
PAIRS = SHARED / "data" / "trimap_pairs"
STEPS = 2 / 255


@pytest.mark.slow
def test_u2net_lite_is_the_same_in_both() -> None:
    removers = [
        Remover(network=runtimes.load(catalogue.MODELS[0], runtime=name, precision="fp32"))
        for name in ("openvino", "onnx")
    ]
    pictures = sorted(EXAMPLES.glob("*.png"))
    assert pictures
    for picture in pictures:
        masks = [remover(picture).mask for remover in removers]
        assert np.abs(masks[0] - masks[1]).max() <= STEPS


@pytest.mark.slow
@pytest.mark.skipif(not ISNET.exists() or not COMPOSITES.exists(), reason="not in ../shared")
def test_isnet_added_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Masks agree, and on two of forty composites (the rest takes minutes) errors are small.

    Over all forty the means are MAD 14.8e-3 and Grad 7.89, without matting 17.5e-3 and 7.94.
    """
    monkeypatch.setenv("ALPHACUT_HOME", str(tmp_path))
    like = weights.find_model("isnet")
    spec = weights.add(ISNET, dataclasses.replace(like, name="mine", weights={}), "onnx")
    removers = [
        Remover("mine", network=runtimes.load(spec, runtime=name, precision="fp32"))
        for name in ("openvino", "onnx")
    ]
    for name in ("019", "040"):
        image = load_image(COMPOSITES / "image" / f"{name}.jpg")
        truth = load_image(COMPOSITES / "alpha" / f"{name}.png")[..., 0] / np.float32(255)
        ours, theirs = (remover(image) for remover in removers)
        assert np.abs(ours.mask - theirs.mask).max() <= STEPS
        assert 1000 * metrics.mad(ours.alpha, truth) <= 18.2
        assert metrics.grad(ours.alpha, truth) <= 8.1


@pytest.fixture
def indexnet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelSpec:
    """The entry, whose weights lie in the checkout."""
    monkeypatch.setenv("ALPHACUT_HOME", str(tmp_path))
    return weights.find_model("indexnet")


@pytest.mark.slow
def test_indexnet_is_the_same_in_all(indexnet: ModelSpec) -> None:
    coarse = np.random.default_rng(0).random((4, 6, 4), np.float32)
    batch = cv2.resize(coarse, (96, 64)).transpose(2, 0, 1)[np.newaxis]
    batch[:, 3] = np.where(batch[:, 3] < 0.4, 0, np.where(batch[:, 3] > 0.6, 1, 128 / 255))
    ours, *theirs = (runtimes.load(indexnet, runtime=name)(batch) for name in RUNTIMES)
    for other in theirs:
        assert np.abs(ours - other).max() <= 1e-3 * np.abs(ours).max()


def test_indexnet_decides_what_the_trimap_leaves_open(indexnet: ModelSpec) -> None:
    photo = EXAMPLES / "chelsea.png"
    fast, solved = (Remover(matting=method)(photo) for method in ("fast", indexnet.name))
    assert solved.trimap is not None
    certain = solved.trimap != 0.5
    np.testing.assert_array_equal(solved.alpha[certain], solved.trimap[certain])
    assert 0 < np.abs(solved.alpha - fast.alpha)[~certain].mean() < 0.3


@pytest.mark.slow
@pytest.mark.skipif(not PAIRS.exists(), reason="the trimap pairs are not beside the checkout")
def test_indexnet_beats_closed_form_where_a_trimap_is_unknown(
    indexnet: ModelSpec,
) -> None:
    network = runtimes.load(indexnet)
    errors = []
    for path in sorted((PAIRS / "trimaps").iterdir()):
        image = load_image(next((PAIRS / "images").glob(f"{path.stem}.*")))
        truth = load_image(PAIRS / "alphas" / path.name)[..., 0] / np.float32(255)
        trimap = read_trimap(load_image(path))
        solved = (
            estimate_alpha_indexnet(image, trimap, network),
            matting.estimate_alpha_closed_form(image, trimap),
        )
        errors.append([metrics.mad(alpha, truth, trimap == 0.5) for alpha in solved])
    ours, closed_form = np.mean(errors, axis=0)
    assert ours < closed_form


@pytest.mark.slow
@pytest.mark.skipif(not ISNET.exists(), reason="IS-Net's weights are not beside the checkout")
def test_isnet_at_another_size_is_what_pytorch_computes() -> None:
    coarse = np.random.default_rng(0).random((8, 8, 3), np.float32)
    batch = cv2.resize(coarse, (256, 256)).transpose(2, 0, 1)[np.newaxis] - np.float32(0.5)
    spec = weights.find_model("isnet")
    ours, theirs = (
        runtimes.load(spec, runtime=name, precision="fp32", path=ISNET, size=(256, 256))(batch)
        for name in ("openvino", "torch")
    )
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
