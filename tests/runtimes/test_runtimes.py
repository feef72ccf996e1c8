import dataclasses
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from alphacut import runtimes
from alphacut.errors import RuntimeFailure, UnknownName, WeightsError
from alphacut.evaluation.self_test import EXAMPLE
from alphacut.models import catalogue, weights
from alphacut.pipeline import transforms
from alphacut.pipeline.load import load_image
from alphacut.runtimes.openvino import computes_bf16
from pictures import SHARED

SPEC, LITE = catalogue.MODELS[0], weights.find_model("u2net-lite")
PUBLISHED = SHARED / "models" / "u2netp.onnx"


@pytest.fixture(scope="module")
def network() -> runtimes.Runtime:
    return runtimes.load(SPEC, precision="fp32")


def batch(pictures: int = 1) -> np.ndarray:
    return np.random.default_rng(5).normal(size=(pictures, 3, 320, 320)).astype(np.float32)


def test_output(network: runtimes.Runtime) -> None:
    output = network(batch())
    assert output.shape == (1, 1, 320, 320)
    assert output.dtype == np.float32
    assert 0 <= output.min() < output.max() <= 1
    assert network.device == "cpu"
    assert not network.prefers_batches


def test_the_output_is_the_callers(network: runtimes.Runtime) -> None:
    first = network(batch())
    kept = first.copy()
    network(np.zeros_like(batch()))
    np.testing.assert_array_equal(first, kept)
    first[:] = 7
    np.testing.assert_array_equal(network(batch()), kept)


def test_any_number_of_pictures(network: runtimes.Runtime) -> None:
    three = batch(3)
    together = network(three)
    np.testing.assert_array_equal(together[1:2], network(three[1:2]))


def test_threads(network: runtimes.Runtime) -> None:
    batches = [batch() * scale for scale in (0.5, 1, 1.5, 2)]
    alone = [network(each) for each in batches]
    with ThreadPoolExecutor(4) as pool:
        for expected, found in zip(alone, pool.map(network, batches), strict=True):
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_concurrent_calls_of_what_was_compiled_for_many_of_them(precision: str) -> None:
    # weights in 8 bits that are restored at run time were garbage here in every other process
    picture = transforms.preprocess(load_image(EXAMPLE), SPEC)
    expected = runtimes.load(SPEC, precision=precision)(picture)
    for _ in range(3):
        network = runtimes.load(SPEC, precision=precision, hint="throughput")
        with ThreadPoolExecutor(2) as pool:
            for found in pool.map(network, [picture] * 2):
                np.testing.assert_allclose(found, expected, atol=0.02)


@pytest.mark.skipif(not PUBLISHED.exists(), reason="the published file is not beside the checkout")
def test_embedded_weights_give_the_published_answer() -> None:
    network = runtimes.load(LITE, precision="fp32")
    published = runtimes.load(LITE, path=PUBLISHED)
    np.testing.assert_allclose(network(batch()), published(batch()), atol=1e-6)


def test_unknown_device() -> None:
    with pytest.raises(
        UnknownName, match=r"unknown device of OpenVINO 'tpu': choose one of auto, cpu"
    ):
        runtimes.load(SPEC, device="tpu")


def test_absent_device_is_an_error_not_a_fallback() -> None:
    if "npu" in runtimes.devices("openvino"):
        pytest.skip("this machine has an NPU")
    with pytest.raises(RuntimeFailure, match="finds no NPU here, only CPU"):
        runtimes.load(SPEC, device="npu")


def test_a_file_that_is_no_network(tmp_path: Path) -> None:
    path = tmp_path / "text.onnx"
    path.write_text("not a network")
    with pytest.raises(RuntimeFailure, match=r"cannot load .*text\.onnx"):
        runtimes.load(SPEC, path=path)


def test_a_batch_of_the_wrong_size(network: runtimes.Runtime) -> None:
    with pytest.raises(RuntimeFailure, match="OpenVINO failed on cpu"):
        network(np.zeros((1, 3, 100, 100), np.float32))


def test_int8_answers_nearly_as_float32(network: runtimes.Runtime) -> None:
    picture = transforms.preprocess(load_image(EXAMPLE), SPEC)
    quick = runtimes.load(SPEC, precision="int8")
    difference = np.abs(quick(picture) - network(picture))
    assert difference.mean() < 0.005
    assert ((quick(picture) > 0.5) == (network(picture) > 0.5)).mean() > 0.995


def test_precision_is_chosen_where_it_gains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "AMD64")
    assert runtimes.needed(SPEC, "openvino") == "int8"
    assert runtimes.needed(SPEC, "openvino", "fp32") == "onnx"
    assert runtimes.needed(SPEC, "openvino", device="gpu") == "onnx"
    assert runtimes.needed(SPEC, "onnx") == "onnx"
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    assert runtimes.needed(SPEC, "openvino") == "onnx"
    with pytest.raises(WeightsError, match="u2net has no int8 weights"):
        runtimes.needed(weights.find_model("u2net"), "openvino", "int8")


def test_bfloat16_answers_nearly_as_float32(network: runtimes.Runtime) -> None:
    if not computes_bf16():
        with pytest.raises(RuntimeFailure, match="no bfloat16 arithmetic here"):
            runtimes.load(SPEC, precision="bf16")
        pytest.skip("this processor has no bfloat16 arithmetic")
    picture = transforms.preprocess(load_image(EXAMPLE), SPEC)
    difference = np.abs(runtimes.load(SPEC, precision="bf16")(picture) - network(picture))
    assert 0 < difference.mean() < 0.02


@pytest.mark.parametrize(
    ("loss", "capable", "precision", "chosen"),
    [
        (5e-5, True, "auto", "bf16"),
        (5e-5, False, "auto", "f32"),
        (2e-3, True, "auto", "f32"),
        (None, True, "auto", "f32"),
        (5e-5, True, "fp32", "f32"),
    ],
)
def test_bfloat16_is_chosen_where_its_loss_is_known_and_small(
    monkeypatch: pytest.MonkeyPatch, loss: float | None, capable: bool, precision: str, chosen: str
) -> None:
    if chosen == "bf16" and not computes_bf16():
        pytest.skip("this processor has no bfloat16 arithmetic")
    monkeypatch.setattr("alphacut.runtimes.openvino.computes_bf16", lambda: capable)
    spec = dataclasses.replace(SPEC, weights={"onnx": SPEC.weights["onnx"]}, bf16_loss=loss)
    network = runtimes.load(spec, precision=precision)
    hint = network._compiled().model.get_property("INFERENCE_PRECISION_HINT")  # type: ignore[attr-defined]
    assert hint.to_string() == chosen


def test_int8_goes_before_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alphacut.runtimes.openvino.computes_bf16", lambda: True)
    network = runtimes.load(dataclasses.replace(SPEC, bf16_loss=0.0))
    hint = network._compiled().model.get_property("INFERENCE_PRECISION_HINT")  # type: ignore[attr-defined]
    assert hint.to_string() == "f32"


def test_float16_is_not_for_processors() -> None:
    with pytest.raises(RuntimeFailure, match="fp16 on GPUs and NPUs only"):
        runtimes.load(SPEC, precision="fp16")


def test_compiled_networks_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALPHACUT_HOME", str(tmp_path))
    expected = runtimes.load(SPEC)(batch())
    (blob,) = (tmp_path / "compiled").iterdir()
    np.testing.assert_array_equal(runtimes.load(SPEC)(batch()), expected)
    blob.chmod(0o600)
    blob.write_bytes(b"damaged")
    np.testing.assert_array_equal(runtimes.load(SPEC)(batch()), expected)
    (tmp_path / "file").touch()
    monkeypatch.setenv("ALPHACUT_HOME", str(tmp_path / "file"))  # no folder can be made in it
    np.testing.assert_array_equal(runtimes.load(SPEC)(batch()), expected)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no stack for signals")
def test_signals_after_networks_that_went_in_the_order_they_came() -> None:
    """Each Core of OpenVINO took the stack of signals, and the second gave back the first one's."""
    program = """
import gc, signal
from alphacut import runtimes
from alphacut.models import catalogue
handled = []
signal.signal(signal.SIGUSR1, lambda number, frame: handled.append(number))
first = runtimes.load(catalogue.MODELS[0])
second = runtimes.load(catalogue.MODELS[0], precision="fp32")
del first; gc.collect()
del second; gc.collect()
signal.raise_signal(signal.SIGUSR1)
assert handled == [signal.SIGUSR1]
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_another_size_is_what_pytorch_computes_at_it(precision: str) -> None:
    coarse = np.random.default_rng(0).normal(size=(1, 3, 4, 6))
    other = np.kron(coarse, np.ones((16, 16))).astype(np.float32)  # (1, 3, 64, 96)
    ours = runtimes.load(SPEC, size=(64, 96), precision=precision)(other)
    theirs = runtimes.load(SPEC, size=(64, 96), runtime="torch")(other)
    if precision == "fp32":
        np.testing.assert_allclose(ours, theirs, atol=1e-4)
    assert np.abs(ours - theirs).mean() < 0.05


@pytest.mark.skipif(not PUBLISHED.exists(), reason="the published file is not beside the checkout")
def test_another_size_of_a_published_file() -> None:
    other = np.kron(np.random.default_rng(1).normal(size=(1, 3, 3, 4)), np.ones((32, 32)))
    other = other.astype(np.float32)
    published = runtimes.load(LITE, path=PUBLISHED, size=(96, 128))(other)
    embedded = runtimes.load(LITE, precision="fp32", size=(96, 128))(other)
    np.testing.assert_allclose(embedded, published, atol=1e-6)


def test_a_size_that_a_graph_cannot_take_is_refused_at_once() -> None:
    with pytest.raises(
        RuntimeFailure, match=r"takes 320x320 and cannot .* 100x64: choose multiples"
    ):
        runtimes.load(SPEC, size=(64, 100))
    with pytest.raises(RuntimeFailure, match="ONNX Runtime cannot change this graph's size, 320x"):
        runtimes.load(SPEC, size=(64, 96), runtime="onnx")


def test_8_bit_weights_are_for_the_size_that_they_were_calibrated_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "AMD64")
    assert runtimes.needed(SPEC, "openvino", size=(320, 320)) == "int8"
    assert runtimes.needed(SPEC, "openvino", size=(512, 512)) == "onnx"
    assert runtimes.needed(SPEC, "openvino", "int8", size=(512, 512)) == "int8"


def test_openvinos_own_choice_of_a_device(network: runtimes.Runtime) -> None:
    chosen = runtimes.load(SPEC, precision="fp32", device="openvino-auto")
    assert chosen.device in runtimes.devices("openvino")
    np.testing.assert_allclose(chosen(batch()), network(batch()), atol=1e-3)
    with pytest.raises(UnknownName, match="unknown device of ONNX Runtime 'openvino-auto'"):
        runtimes.load(SPEC, runtime="onnx", device="openvino-auto")
