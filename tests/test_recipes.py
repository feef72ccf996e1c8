"""The commands of docs/recipes.md, each section's one after the other in one folder.

What cannot be had here, the published weights, is replaced by random numbers in the same networks.
The commands of the section on training are in tests/training/test_portrait_recipe.py.
"""

import dataclasses
import re
import shlex
import warnings
from pathlib import Path
from typing import Any

import click.testing
import cv2
import numpy as np
import PIL.Image
import pytest
import torch

import alphacut
from alphacut import files, runtimes
from alphacut.cli import main as cli
from alphacut.errors import NoForegroundWarning
from alphacut.models import catalogue, nets, weights
from alphacut.models.entry import Weights
from alphacut.runtimes.graph import write_graph
from alphacut.runtimes.pytorch import load_network

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", TEXT, re.S | re.M))
# These serve until they are stopped: tests/test_readme.py and tests/demo/test_command.py run them
RUN = ("deeplabv3-resnet101", "rmbg-1.4")  # the other models are only pulled
SERVING = {"alphacut demo --model rmbg-1.4", "alphacut demo --model rmbg-1.4 --share"}


def commands(section: str) -> list[str]:
    return re.findall(r"`(alphacut [^`]+)`", SECTIONS[section])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """All that the commands name, in small; published weights come from a mirror of stand-ins."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ALPHACUT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ALPHACUT_MIRROR", str(tmp_path / "mirror"))
    with PIL.Image.open(ROOT / "examples" / "astronaut.png") as example:
        photo = example.convert("RGB").resize((128, 96))
    for name in ("photo.jpg", "beach.jpg", "photos/a.jpg", "photos/b.jpg"):
        Path(name).parent.mkdir(exist_ok=True)
        photo.save(name)
    levels = np.zeros((96, 128), np.uint8)
    levels[20:, 30:90], levels[40:, 50:70] = 128, 255
    for name in ("a.png", "b_trimap.png"):
        Path("trimaps").mkdir(exist_ok=True)
        PIL.Image.fromarray(levels).save(f"trimaps/{name}")
    return tmp_path


def publish(monkeypatch: pytest.MonkeyPatch, name: str, **facts: Any) -> None:
    """Put a listed model's files on the mirror, as `facts` or the entry says, and enter their sums.

    Args:
        monkeypatch: Restores the catalogue.
        name: The model.
        **facts: Fields of the entry to change, such as `input_size` for a quicker network.
    """
    listed = weights.find_model(name)
    spec = dataclasses.replace(listed, **facts)
    made: dict[str, Weights] = {}
    for form, file in spec.weights.items():
        path = Path("mirror") / file.file
        path.parent.mkdir(exist_ok=True)
        torch.manual_seed(0)
        if form == "torch" and name in RUN:
            network = nets.build(str(spec.arch)).eval()
            if spec.classes:
                see_a_person(network)
            torch.save(network.state_dict(), path)
        elif name in RUN:
            network = nets.build(str(spec.arch)).eval()
            write_graph(network, path, to="onnx", channels=3, sizes=(spec.input_size or (64, 64),))
        else:
            path.write_bytes(name.encode())
        made[form] = dataclasses.replace(file, bytes=path.stat().st_size, sha256=files.sha256(path))
    spec = dataclasses.replace(spec, weights=made)
    models = tuple(spec if each is listed else each for each in catalogue.MODELS)
    monkeypatch.setattr(catalogue, "MODELS", models)


def see_a_person(network: torch.nn.Module) -> None:
    """Make a random DeepLabV3 call half of the photograph a person, and the rest background."""
    last = network.get_submodule("classifier.4")
    with torch.no_grad():
        for index in set(range(21)) - {0, 15}:
            last.bias[index] = -1e6
        logits = network(batch_of("photo.jpg"))[0]
        last.bias[15] -= (logits[15] - logits[0]).median()


def batch_of(name: str) -> torch.Tensor:
    """Prepare a photograph as the notebook with DeepLabV3 does."""
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    image = (alphacut.load_image(name) / 255 - mean) / std
    return torch.from_numpy(image.transpose(2, 0, 1)[None]).float()


def run_all(section: str) -> None:
    runner = click.testing.CliRunner()
    for command in commands(section):
        if command in SERVING:
            continue
        with warnings.catch_warnings():  # random networks find nothing here and there
            warnings.simplefilter("ignore", NoForegroundWarning)
            result = runner.invoke(cli.cli, shlex.split(command)[1:])
        assert result.exit_code == 0, (command, result.output, result.exception)
        if " -o " in command:
            assert Path(shlex.split(command)[-1]).exists(), command


def opened(name: str) -> np.ndarray:
    return np.asarray(PIL.Image.open(name))


def test_the_tests_know_every_section() -> None:
    assert list(SECTIONS) == [
        "DeepLabV3: a profile picture", "U-2-Net in OpenVINO", "A trimap and IndexNet",
        "RMBG-1.4, with a page", "Portrait training",
    ]  # fmt: skip
    assert set(commands("RMBG-1.4, with a page")) > SERVING


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_deeplabv3(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(monkeypatch, "deeplabv3-resnet101")
    run_all("DeepLabV3: a profile picture")
    # by hand, as the notebook does it
    image = alphacut.load_image("photo.jpg")
    spec = weights.find_model("deeplabv3")
    network = load_network(str(spec.arch), Path("mirror") / spec.weights["torch"].file)
    with torch.inference_mode():
        mask = (network(batch_of("photo.jpg"))[0].argmax(0) > 0).numpy()
    assert 0.1 < mask.mean() < 0.9
    np.testing.assert_array_equal(opened("mask.png"), mask * np.uint8(255))
    expected = np.dstack([image, mask * np.uint8(255)]) * mask[..., None]
    np.testing.assert_array_equal(opened("foreground.png"), expected)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_u2net(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("u2net", "u2net-human"):
        publish(monkeypatch, name)
    PIL.Image.open(ROOT / "examples" / "astronaut.png").save("photo.jpg")
    run_all("U-2-Net in OpenVINO")
    # by hand, as the notebook does it
    image = alphacut.load_image("photo.jpg")
    mean, scale = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])
    batch = (cv2.resize(image, (512, 512)) - mean) / scale
    network = runtimes.load(weights.find_model("u2net-lite"), size=(512, 512), precision="fp32")
    answer = network(np.ascontiguousarray(batch.transpose(2, 0, 1)[None], np.float32))[0, 0]
    mask = np.rint(cv2.resize(answer, image.shape[1::-1]))
    white = np.where(mask[..., None] == 1, image, 255)
    assert (opened("white.png")[..., :3] != white).any(axis=-1).mean() < 1e-3


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_trimap_and_indexnet(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(monkeypatch, "deeplabv3-resnet101")
    torch.manual_seed(0)
    state = nets.build("indexnet").state_dict()
    checkpoint = {"state_dict": {f"module.{key}": value for key, value in state.items()}}
    torch.save(checkpoint, "indexnet_matting.pth.tar")
    own = weights.fetch(weights.find_model("indexnet"))
    Path("my-indexnet.onnx").write_bytes(own.read_bytes())
    run_all("A trimap and IndexNet")
    # by hand, as OpenCV does it
    mask, kernel = opened("mask.png"), np.ones((10, 10), np.uint8)
    trimap = np.full(mask.shape, 128)
    trimap[cv2.dilate(mask, kernel) == 0] = 0
    trimap[cv2.erode(mask, kernel) == 255] = 255
    np.testing.assert_array_equal(opened("photo-trimap.png"), trimap)
    alpha = opened("alpha-own.png")
    np.testing.assert_array_equal(alpha[trimap != 128], trimap[trimap != 128])
    assert {path.name for path in Path("cut").iterdir()} == {"a.png", "b.png"}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_rmbg(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(monkeypatch, "rmbg-1.4", input_size=(96, 96))
    run_all("RMBG-1.4, with a page")
    ours, theirs = opened("no-background.png"), opened("openvino.png")
    assert np.abs(ours.astype(int) - theirs).max() <= 2
