import json
import pickle
import re
import shutil
import sys
from pathlib import Path

import click.testing
import numpy as np
import onnx
import openvino
import PIL.Image
import pytest
import torch

from alphacut import Remover, runtimes
from alphacut.cli import main as cli
from alphacut.errors import (
    MissingExtra,
    OptionError,
    OutputError,
    RuntimeFailure,
    UnknownName,
    WeightsError,
)
from alphacut.evaluation import speed as benchmark
from alphacut.models import catalogue, weights
from films import discs, make_film

LITE = weights.ASSETS / "u2net-lite.onnx"
LITE_INT8 = LITE.with_name("u2net-lite-int8.onnx")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("MIRROR", "OFFLINE", "ACCEPT_LICENSE"):
        monkeypatch.delenv(f"ALPHACUT_{name}", raising=False)
    monkeypatch.setenv("ALPHACUT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def run(*words: object) -> click.testing.Result:
    """Run a command; errors that were foreseen are raised."""
    result = click.testing.CliRunner().invoke(
        cli.cli, [str(word) for word in words], standalone_mode=True
    )
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_list() -> None:
    lines = run("models").stdout.splitlines()
    assert len(lines) == 1 + len(catalogue.MODELS)
    assert lines[1].startswith("alphacut-lite ")
    assert "embedded" in lines[1]
    entries = {entry["name"]: entry for entry in json.loads(run("models", "--json").stdout)}
    assert entries["u2net"]["state"] == "to pull"
    assert entries["rmbg-1.4"]["state"] == "to pull, if you accept its terms"
    assert entries["indexnet-adobe"]["state"] == "to add by hand"
    assert entries["indexnet"]["state"] == "installed"
    assert entries["birefnet-portrait"]["scores"] == "P3M-500-P S .983, MAE .006"
    assert entries["u2net-lite"]["cost"] is None
    assert entries["u2net-lite"]["paths"] == {"onnx": str(LITE), "int8": str(LITE_INT8)}


def test_own_weights_from_adding_to_removing(home: Path, tmp_path: Path) -> None:
    added = run("models", "add", LITE, "--arch", "u2netp", "--name", "mine").stdout
    path = home / "weights" / "mine.onnx"
    assert added == f"mine: {path}\n"
    assert run("models", "where", "mine").stdout == f"{path}\n"
    assert f"mine: {path}: verified" in run("models", "verify").stdout
    example = weights.ASSETS / "example.jpg"
    target = tmp_path / "out.png"
    record = json.loads(run(example, "--model", "mine", "--json", "-o", target).stdout)
    assert record["status"] == "done"
    assert not record["empty"]
    path.write_bytes(b"damaged")
    with pytest.raises(WeightsError, match="damaged weights are never used"):
        run("models", "verify")
    assert run("models", "verify", "u2net-lite").exit_code == 0
    assert f"removed {path}" in run("models", "remove", "mine").stdout
    with pytest.raises(UnknownName):
        run("models", "where", "mine")


def test_add_looks_at_the_file(tmp_path: Path) -> None:
    text = tmp_path / "text.onnx"
    text.write_text("not a network")
    with pytest.raises(WeightsError, match="OpenVINO cannot read it as a network"):
        run("models", "add", text, "--arch", "isnet", "--name", "mine")
    with pytest.raises(WeightsError, match=r"not one batch \(1, 4, h, w\)"):
        run("models", "add", LITE, "--arch", "indexnet", "--name", "mine")
    assert run("models", "add", LITE, "--name", "mine").exit_code == 2
    assert run("models", "add", LITE, "--name", "mine", "--arch", "u3net").exit_code == 2
    with pytest.raises(WeightsError, match="choose another --name"):
        run("models", "add", LITE, "--arch", "isnet", "--name", "u2net")


def tiny(path: Path, *sides: "int | str", n: int = 1, channels: int = 3, maps: int = 1) -> Path:
    """Write a graph of one convolution, which finds what is bright: batches (n, channels, h, w)."""
    kernel = np.full((maps, channels, 1, 1), 20, np.float32)
    value = onnx.helper.make_tensor_value_info
    nodes = [onnx.helper.make_node("Conv", ["picture", "kernel"], ["c"]),
             onnx.helper.make_node("Sigmoid", ["c"], ["mask"])]  # fmt: skip
    graph = onnx.helper.make_graph(
        nodes, "tiny", [value("picture", onnx.TensorProto.FLOAT, [n, channels, *sides])],
        [value("mask", onnx.TensorProto.FLOAT, [n, maps, *sides])],
        [onnx.numpy_helper.from_array(kernel, "kernel")],
    )  # fmt: skip
    opset = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


def test_own_weights_have_the_size_that_they_say(tmp_path: Path) -> None:
    run("models", "add", tiny(tmp_path / "a.onnx", 48, 64), "--arch", "U2Net", "--name", "My_Net")
    spec = weights.find_model("my-net")
    assert (spec.name, spec.input_size) == ("My_Net", (48, 64))
    for runtime in ("openvino", "onnx"):
        target = tmp_path / f"{runtime}.png"
        words = ("--model", "MY_net", "--runtime", runtime, "-o", target)
        assert run(weights.ASSETS / "example.jpg", *words).exit_code == 0
        assert target.exists()
    run("models", "add", tiny(tmp_path / "b.onnx", "h", "w"), "--arch", "isnet", "--name", "any")
    assert weights.find_model("any").input_size == (1024, 1024)
    logits = tiny(tmp_path / "c.onnx", 64, 64, maps=21)
    run("models", "add", logits, "--arch", "deeplabv3-resnet101", "--name", "voc64")
    spec = weights.find_model("voc64")
    assert (spec.input_size, spec.short_side) == ((64, 64), None)


@pytest.mark.parametrize(
    ("sides", "facts", "arch", "message"),
    [
        ((64, "w"), {}, "u2net", "fixes one side"),
        ((64, 64), {"n": 4}, "u2net", r"takes \[4,3,64,64\], not one batch \(1, 3, h, w\)"),
        ((64, 64), {"maps": 2}, "u2net", r"returns \[1,2,64,64\], not \(1, 1, h, w\)"),
        ((64, 64), {"channels": 4}, "indexnet", "takes 64x64 only, but matting needs"),
        ((64, 64), {}, "alphacut_lite", "is of another size than alphacut-lite"),
    ],
)
def test_what_could_only_fail_later_is_refused_at_once(
    home: Path, tmp_path: Path, sides: tuple[int, ...], facts: dict[str, int], arch: str,
    message: str,
) -> None:  # fmt: skip
    path = tiny(tmp_path / "net.onnx", *sides, **facts)
    name = "alphacut-lite" if "alphacut-lite" in message else "mine"
    with pytest.raises(WeightsError, match=message):
        run("models", "add", path, "--arch", arch, "--name", name)
    assert not (home / "weights").exists()


def test_openvino_files_are_added(home: Path, tmp_path: Path) -> None:
    model = openvino.Core().read_model(tiny(tmp_path / "net.onnx", 64, 64))
    openvino.save_model(model, tmp_path / "net.xml")
    (tmp_path / "alone.xml").write_bytes((tmp_path / "net.xml").read_bytes())
    with pytest.raises(WeightsError, match=r"alone\.bin: is missing: it belongs to alone\.xml"):
        run("models", "add", tmp_path / "alone.xml", "--arch", "u2net", "--name", "mine")
    run("models", "add", tmp_path / "net.xml", "--arch", "u2net", "--name", "mine")
    stored = home / "weights" / "mine.xml", home / "weights" / "mine.bin"
    assert all(path.exists() for path in stored)
    assert weights.find_model("mine").input_size == (64, 64)
    example = weights.ASSETS / "example.jpg"
    assert run(example, "--model", "mine", "-o", tmp_path / "out.png").exit_code == 0
    for runtime, words in (("onnx", "no onnx weights"), ("torch", "no torch weights")):
        with pytest.raises(WeightsError, match=f"mine has {words}, only openvino"):
            runtimes.load(weights.find_model("mine"), runtime=runtime)
    stored[1].write_bytes(b"damaged")
    with pytest.raises(WeightsError, match="damaged weights are never used"):
        run("models", "verify", "mine")
    run("models", "remove", "mine")
    assert not any(path.exists() for path in stored)


def test_a_matting_network_of_ones_own(tmp_path: Path) -> None:
    path = weights.fetch(weights.find_model("indexnet"))
    run("models", "add", path, "--arch", "indexnet", "--name", "my-indexnet")
    photo, masks = tmp_path / "photo.png", {}
    PIL.Image.open(weights.ASSETS / "example.jpg").resize((96, 96)).save(photo)
    for name in ("indexnet", "My_IndexNet", "fast"):
        target = tmp_path / f"{name}.png"
        run(photo, "--matting", name, "--mask", "-o", target)
        masks[name] = target.read_bytes()
    assert masks["indexnet"] == masks["My_IndexNet"] != masks["fast"]
    with pytest.raises(
        UnknownName, match=r"unknown matting 'u2net': choose one of auto, none.*my-"
    ):
        Remover(matting="u2net")  # the command would leave its network loading, into another home


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("import pathlib; pathlib.Path(__import__('os').environ['EVIL']).touch()",)


def test_a_malicious_pickle_is_refused_and_not_executed(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVIL", str(tmp_path / "was-here"))
    plain, zipped = tmp_path / "plain.pth", tmp_path / "zipped.pth"
    plain.write_bytes(pickle.dumps({"outconv.weight": Evil()}))
    torch.save({"outconv.weight": Evil()}, zipped)
    for path in (plain, zipped):
        with pytest.raises(WeightsError, match=r"\.pth: damaged, or holds more than tensors"):
            run("models", "add", path, "--arch", "u2netp", "--name", "evil")
    assert not (tmp_path / "was-here").exists()
    assert not list(home.rglob("evil*"))


def test_pull_says_what_failed_and_does_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALPHACUT_MIRROR", str(tmp_path))
    result = run("models", "pull", "u2net", "u2net-lite", "rmbg-1.4", "indexnet-adobe", "nobody")
    assert result.exit_code == 1
    int8 = runtimes.needed(catalogue.MODELS[0], "openvino") == "int8"
    assert result.stdout == f"u2net-lite: {LITE_INT8 if int8 else LITE}\n"
    errors = result.stderr.splitlines()
    assert "cannot download the weights of u2net: " in errors[0]
    assert "non-commercial" in errors[1]
    assert "--accept-license" in errors[1]
    assert "models add PATH --name indexnet-adobe" in errors[2]
    assert "unknown model 'nobody'" in errors[3]


def test_accepted_terms_are_printed_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALPHACUT_MIRROR", str(tmp_path))
    result = run("models", "pull", "--accept-license", "--format", "onnx", "rmbg-1.4")
    terms, error = result.stderr.splitlines()
    assert terms.startswith("alphacut: rmbg-1.4: licence of the weights: bria-rmbg-1.4")
    assert "No such file" in error


@pytest.mark.parametrize("command", ["remove", "video"])
def test_accepted_terms_reach_the_matting_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("ALPHACUT_OFFLINE", "1")
    photo, film = tmp_path / "photo.png", tmp_path / "film.mkv"
    PIL.Image.new("RGB", (64, 48)).save(photo)
    make_film(film, discs(2, 48, 64, 1.0))
    words = command, photo if command == "remove" else film, "--matting", "vitmatte-small"
    with pytest.raises(WeightsError, match="To accept these terms, give --accept-license"):
        run(*words)
    with pytest.raises(WeightsError, match="ALPHACUT_OFFLINE is set: not downloading"):
        run(*words, "--accept-license")


def test_where_and_remove_of_what_is_not_here(home: Path) -> None:
    assert run("models", "where").stdout == f"{home}\n"
    with pytest.raises(WeightsError, match="not installed: u2net"):
        run("models", "where", "u2net")
    assert run("models", "remove", "u2net").stdout == "u2net: not installed\n"
    with pytest.raises(WeightsError, match="part of the package"):
        run("models", "remove", "u2net-lite")
    assert "u2net.onnx is not installed" in run("models", "verify", "u2net").stdout
    (home / "weights").mkdir(parents=True)
    (home / "weights" / "indexnet_matting.pth.tar").touch()
    assert "no checksum is known" in run("models", "verify").stdout


@pytest.mark.slow
def test_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "RUNTIMES", ("openvino",))
    result = run("models", "benchmark", "u2net-lite", "--seconds", "0.01", "--json")
    timings = json.loads(result.stdout)["timings"]
    assert {(t["runtime"], t["device"], t["hint"]) for t in timings} >= {
        ("openvino", "cpu", "latency"), ("openvino", "cpu", "throughput")
    }  # fmt: skip
    for timing in timings:
        if timing["device"] == "cpu":  # a driver may be there without its device
            assert timing["error"] is None
            assert timing["call_ms"] > 0 < timing["per_second"]


@pytest.mark.slow
def test_what_a_picture_costs_is_kept_and_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "RUNTIMES", ("openvino",))
    words = ("u2net-lite", "--device", "cpu", "--seconds", "0.01")
    last = run("models", "benchmark", *words).stdout.splitlines()[-1]
    (entry,) = [e for e in json.loads(run("models", "--json").stdout) if e["name"] == "u2net-lite"]
    cost = entry["cost"]
    assert last.startswith(f"a picture of 1 MP: {cost['seconds']:.2f} s")
    assert 0 < cost["seconds"] < 60
    if sys.platform == "linux":
        assert 50e6 < cost["peak_bytes"] < 4e9
        lines = run("models").stdout.splitlines()
        (line,) = [line for line in lines if line.startswith("u2net-lite ")]
        assert f" {cost['peak_bytes'] / 1e6:.0f} " in line


@pytest.mark.slow
def test_benchmark_of_batches_tells_the_share_of_the_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "RUNTIMES", ("torch",))
    monkeypatch.setattr(benchmark, "_BATCHES", {"cpu": (1, 2)})
    words = ("u2net-lite", "--device", "cpu", "--seconds", "0.01", "--json")
    one, two = json.loads(run("models", "benchmark", *words).stdout)["timings"]
    assert (one["batch"], two["batch"], two["precision"]) == (1, 2, "fp32")
    assert two["per_second"] == pytest.approx(2000 / two["call_ms"])
    assert 0 < one["peak_share"] < 1.5


def test_benchmark_of_a_device_that_is_not_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes, "devices", lambda runtime: ["cpu"])
    with pytest.raises(RuntimeFailure, match="no runtime finds cuda here"):
        run("models", "benchmark", "u2net-lite", "--device", "cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_benchmark_on_cuda() -> None:
    words = ("u2net-lite", "--device", "cuda", "--seconds", "0.1", "--json")
    timings = json.loads(run("models", "benchmark", *words).stdout)["timings"]
    assert {(t["batch"], t["precision"]) for t in timings if t["runtime"] == "torch"} == {
        (batch, precision) for batch in (1, 4, 16, 64) for precision in ("fp32", "bf16", "fp16")
    }


def test_benchmark_table(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(runtime: str) -> list[str]:
        raise MissingExtra("ONNX Runtime", "onnx")

    monkeypatch.setattr(runtimes, "devices", missing)
    lines = run("models", "benchmark", "u2net-lite").stdout.splitlines()
    assert lines[0] == "u2net-lite, batches of N x 3 x 320 x 320"
    assert lines[1].split() == [
        "runtime", "device", "for", "precision", "N", "load", "ms", "call", "ms",
        "pictures/s", "of", "peak",
    ]  # fmt: skip
    assert 'pip install ".[onnx]"' in lines[2]


def test_export_refuses_before_it_works(tmp_path: Path) -> None:
    target = tmp_path / "net.onnx"
    target.write_text("mine")
    with pytest.raises(OutputError, match="already exists"):
        run("export", "u2net-lite", "--to", "onnx", "-o", target)
    with pytest.raises(OutputError, match=r"extension \.xml"):
        run("export", "u2net-lite", "--to", "openvino", "-o", target)
    with pytest.raises(OptionError, match="--size '320': give width x height"):
        run("export", "u2net-lite", "--to", "onnx", "--size", "320")
    with pytest.raises(WeightsError, match="a graph only, which PyTorch cannot build"):
        run("export", "silueta", "--to", "onnx", "-o", tmp_path / "silueta.onnx")
    with pytest.raises(OutputError, match="already exists"):
        run("quantize", "u2net-lite", "--data", tmp_path, "-o", target)
    assert target.read_text() == "mine"


@pytest.mark.slow
def test_export_of_embedded_weights(tmp_path: Path) -> None:
    target = tmp_path / "net.onnx"
    result = run("export", "u2net-lite", "--to", "onnx", "--size", "96x64", "-o", target)
    assert re.search(
        r"differs from PyTorch by \S+ on average, 99.9 % of the values by less", result.stderr
    )
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]
    shape = openvino.Core().read_model(target).inputs[0].shape
    assert list(shape) == [1, 3, 64, 96]


def test_a_photo_named_like_a_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(weights.ASSETS / "example.jpg", tmp_path / "models")
    monkeypatch.chdir(tmp_path)
    assert run("./models", "-q").exit_code == 0
    assert (tmp_path / "models-cutout.png").exists()
