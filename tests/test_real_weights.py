"""Trained weights on pictures: what runs in one runtime is what runs in another."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from alphacut import Remover, metrics, runtimes, weights, zoo
from alphacut.image import load_image

SHARED = Path(__file__).parents[2] / "shared"
ISNET = SHARED / "models" / "isnet-general-use-fp16.onnx"
COMPOSITES = SHARED / "data" / "composites"
STEPS = 2 / 255


def test_u2net_lite_is_the_same_in_both() -> None:
    for picture in sorted((Path(__file__).parents[1] / "examples").glob("*.png")):
        removers = [
            Remover(runtime=runtimes.load(zoo.MODELS[0], runtime=name, precision="fp32"))
            for name in ("openvino", "onnx")
        ]
        masks = [remover(picture).mask for remover in removers]
        assert np.abs(masks[0] - masks[1]).max() <= STEPS


@pytest.mark.skipif(not ISNET.exists(), reason="IS-Net's weights are not beside the checkout")
def test_isnet_added_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Masks agree, and on two of forty composites (the rest takes minutes) errors are small.

    Over all forty the means are MAD 14.8e-3 and Grad 7.89, without matting 17.5e-3 and 7.94.
    """
    monkeypatch.setenv("ALPHACUT_HOME", str(tmp_path))
    like = zoo.find_model("isnet")
    spec = weights.add(ISNET, dataclasses.replace(like, name="mine", weights={}), "onnx")
    removers = [
        Remover("mine", runtime=runtimes.load(spec, runtime=name)) for name in ("openvino", "onnx")
    ]
    for name in ("019", "040"):
        image = load_image(COMPOSITES / "image" / f"{name}.jpg")
        truth = load_image(COMPOSITES / "alpha" / f"{name}.png")[..., 0] / np.float32(255)
        ours, theirs = (remover(image) for remover in removers)
        assert np.abs(ours.mask - theirs.mask).max() <= STEPS
        assert 1000 * metrics.mad(ours.alpha, truth) <= 18.2
        assert metrics.grad(ours.alpha, truth) <= 8.1
