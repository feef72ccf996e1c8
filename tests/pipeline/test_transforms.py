import dataclasses
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray

from alphacut import runtimes
from alphacut.models import weights
from alphacut.models.entry import IMAGENET_MEAN, IMAGENET_STD
from alphacut.pipeline import transforms
from alphacut.pipeline.load import load_image
from pictures import SHARED

LITE = weights.find_model("u2net-lite")
SPEC = dataclasses.replace(LITE, divisor="max", min_max=True)  # the authors' way
REFERENCE = SHARED / "data" / "u2net_reference"


def test_preprocess_by_hand() -> None:
    image = np.zeros((10, 20, 3), np.uint8)
    image[:] = (200, 100, 50)
    batch = transforms.preprocess(image, SPEC)
    assert batch.shape == (1, 3, 320, 320)
    assert batch.dtype == np.float32
    expected = [(1 - 0.485) / 0.229, (0.5 - 0.456) / 0.224, (0.25 - 0.406) / 0.225]
    np.testing.assert_allclose(batch[0, :, 160, 160], expected, rtol=1e-6)

    by_white = transforms.preprocess(image, dataclasses.replace(SPEC, divisor="white"))
    np.testing.assert_allclose(by_white[0, 0, 0, 0], (200 / 255 - 0.485) / 0.229, rtol=1e-6)


def test_depth_does_not_matter() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 80, 3), np.uint8)
    deep = image.astype(np.uint16) * 257
    for spec in (SPEC, dataclasses.replace(SPEC, divisor="white")):
        np.testing.assert_allclose(
            transforms.preprocess(deep, spec), transforms.preprocess(image, spec), atol=0.02
        )


def test_input_is_not_modified() -> None:
    image = np.full((4, 4, 3), 9, np.uint8)
    image.flags.writeable = False
    transforms.preprocess(image, SPEC)


def ramp() -> NDArray[np.float32]:
    """A batch that looks like a photograph: its pixels agree with their neighbours."""
    return np.broadcast_to(np.linspace(0, 1, 32, dtype=np.float32), (1, 3, 32, 32))


def test_min_max_fills_the_range() -> None:
    output = np.full((1, 1, 32, 32), 0.1, np.float32)
    output[..., 8:24, 8:24] = 0.95
    saliency = transforms.postprocess(output, ramp(), SPEC)
    assert saliency.min() == 0
    assert saliency.max() == 1
    raw = transforms.postprocess(output, ramp(), dataclasses.replace(SPEC, min_max=False))
    np.testing.assert_array_equal(raw, output[0, 0])


@pytest.mark.parametrize("value", [0.0, 0.2, 0.85])
def test_nothing_is_not_stretched_to_something(value: float) -> None:
    output = np.full((1, 1, 32, 32), value, np.float32)
    output[..., 3, 3] += 0.02
    assert not transforms.postprocess(output, ramp(), SPEC).any()


def test_noise_has_no_subject_however_sure_the_network_is() -> None:
    output = np.zeros((1, 1, 32, 32), np.float32)
    output[..., 8:24, 8:24] = 1
    noise = np.random.default_rng(0).normal(size=(1, 3, 32, 32)).astype(np.float32)
    assert not transforms.postprocess(output, noise, SPEC).any()
    assert transforms.postprocess(output, ramp(), SPEC).any()


def test_wholly_certain_output_stays_whole() -> None:
    assert transforms.postprocess(np.ones((1, 1, 32, 32), np.float32), ramp(), SPEC).all()


def read_grey(path: Path) -> NDArray[np.float32]:
    return load_image(path)[..., 0].astype(np.float32)


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_lanczos_is_pillows(depth: type) -> None:
    levels = np.random.default_rng(0).integers(0, 256, (40, 90, 3), np.uint8)
    image = levels.astype(depth) * depth(1 if depth is np.uint8 else 257)
    spec = dataclasses.replace(
        SPEC, input_size=(64, 64), downscale="lanczos", divisor="white", mean=(0.0,) * 3,
        std=(1.0,) * 3,
    )  # fmt: skip
    expected = PIL.Image.fromarray(levels).resize((64, 64), PIL.Image.Resampling.LANCZOS)
    found = transforms.preprocess(image, spec)[0].transpose(1, 2, 0) * 255
    np.testing.assert_allclose(found, np.asarray(expected), atol=1e-4)


@pytest.mark.slow
@pytest.mark.skipif(
    not REFERENCE.exists(), reason="the authors' pictures are not beside the checkout"
)
@pytest.mark.parametrize(("downscale", "bound"), [("area", 2.0), ("linear", 1.0)])
def test_parity_with_the_authors(downscale: str, bound: float) -> None:
    """Mean absolute difference to the masks that U-2-Net's authors published, of 255.

    They shrink without antialiasing ("linear"), which reproduces their masks best; area
    averaging is steadier on large photographs and stays within 2.
    """
    spec = dataclasses.replace(SPEC, downscale=downscale, divisor="max", min_max=True)
    network = runtimes.load(spec, precision="fp32")
    masks = sorted((REFERENCE / "u2netp").glob("*.png"))
    assert len(masks) == 9
    for path in masks:
        (photo,) = (REFERENCE / "images").glob(f"{path.stem}.*")
        batch = transforms.preprocess(load_image(photo), spec)
        saliency = transforms.postprocess(network(batch), batch, spec)
        theirs = read_grey(path)
        H, W = theirs.shape
        ours = cv2.resize(saliency, (W, H), interpolation=cv2.INTER_LINEAR) * 255
        assert np.abs(ours - theirs).mean() <= bound, path.name


@pytest.mark.parametrize(
    ("model", "short_side", "size", "expected"),
    [
        ("u2net", None, (400, 600), (320, 320)),
        ("isnet", 77, (400, 600), (1024, 1024)),
        ("deeplabv3", None, (400, 600), (520, 780)),
        ("deeplabv3", None, (3000, 1001), (1558, 520)),
        ("deeplabv3", 200, (400, 601), (200, 300)),
        ("deeplabv3", 0, (401, 603), (401, 603)),
        ("indexnet", None, (64, 96), (64, 96)),
        ("indexnet", None, (65, 97), (96, 128)),
        ("indexnet", None, (1, 1), (32, 32)),
    ],
)
def test_batch_size(
    model: str, short_side: int | None, size: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert transforms.batch_size(size, weights.find_model(model), short_side) == expected


def test_preprocess_at_the_pictures_own_size() -> None:
    image = np.random.default_rng(0).integers(0, 256, (33, 47, 3), np.uint8)
    batch = transforms.preprocess(image, weights.find_model("deeplabv3"), short_side=0)
    assert batch.shape == (1, 3, 33, 47)
    expected = (image[5, 7] / 255 - np.array(IMAGENET_MEAN)) / IMAGENET_STD
    np.testing.assert_allclose(batch[0, :, 5, 7], expected, rtol=1e-5)


def test_isnet_is_fed_as_its_authors_do() -> None:
    image = np.full((10, 20, 3), (0, 51, 255), np.uint8)
    batch = transforms.preprocess(image, weights.find_model("isnet"))
    assert batch.shape == (1, 3, 1024, 1024)
    np.testing.assert_allclose(batch[0, :, 9, 9], [-0.5, -0.3, 0.5], atol=1e-6)


def test_classes_by_hand() -> None:
    """Four pixels: background, person (15), dog (12), and a person that is hardly likelier."""
    deeplab = weights.find_model("deeplabv3")
    logits = np.zeros((1, 21, 1, 4), np.float32)
    logits[0, 0, 0, 0] = logits[0, 15, 0, 1] = logits[0, 12, 0, 2] = 1000  # no overflow
    logits[0, (0, 15), 0, 3] = np.log([19, 21])

    def saliency(classes: str = "", *, soft: bool = False) -> list[float]:
        found = transforms.postprocess(logits, ramp(), deeplab, classes, soft=soft)
        assert found.dtype == np.float32
        return [float(value) for value in found[0]]

    assert saliency() == [0, 1, 1, 1]
    assert saliency("person") == [0, 1, 0, 1]
    assert saliency("dog,person") == [0, 1, 1, 1]
    assert saliency("cat") == [0, 0, 0, 0]
    np.testing.assert_allclose(saliency(soft=True), [0, 1, 1, 40 / 59], atol=1e-6)
    np.testing.assert_allclose(saliency("person", soft=True), [0, 1, 0, 21 / 59], atol=1e-6)


def test_alpha_is_clipped_and_no_more() -> None:
    output = np.array([-0.5, 0.25, 1.5], np.float32).reshape(1, 1, 1, 3)
    found = transforms.postprocess(output, ramp(), weights.find_model("indexnet"))
    assert found.tolist() == [[0, 0.25, 1]]


def test_a_panorama_is_shrunk_and_enlarged_without_aliasing() -> None:
    """Stripes of one pixel along the side that shrinks become grey."""
    stripes = np.zeros((50, 3200, 3), np.uint8)
    stripes[:, ::2] = 200
    batch = transforms.preprocess(stripes, dataclasses.replace(SPEC, divisor="white"))
    assert batch.shape == (1, 3, 320, 320)
    np.testing.assert_allclose(batch[0, 0], (100 / 255 - 0.485) / 0.229, atol=1e-5)
