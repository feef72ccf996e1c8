"""The page's engine in this process."""

import io
import warnings
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from alphacut import NoForegroundWarning, Options
from alphacut.demo.engine import LocalEngine
from alphacut.errors import ImageError, WeightsError
from alphacut.models import weights
from alphacut.pipeline.strokes import Stroke

ASTRONAUT = Path(__file__).parents[2] / "examples" / "astronaut.png"


def test_only_what_is_here_is_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALPHACUT_HOME", str(tmp_path))
    offered = [spec.name for spec in LocalEngine().models]
    assert offered == ["alphacut-lite", "u2net-lite"]
    absent = {spec.name for spec in LocalEngine().absent}
    assert {"birefnet-lite", "rmbg-1.4"} <= absent
    assert not absent & {"u2net-lite", "vitmatte-small", "inspyrenet"}  # nothing to download
    assert "openvino" in LocalEngine().runtimes
    assert LocalEngine().devices("openvino")[:2] == ["auto", "cpu"]


def test_nothing_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALPHACUT_HOME", str(tmp_path))

    def fetch(*_: object, **__: object) -> None:
        raise AssertionError("fetched")

    monkeypatch.setattr(weights, "fetch", fetch)
    with pytest.raises(WeightsError, match="u2net: its onnx weights are not on this machine"):
        LocalEngine().load(Options(model="u2net"))


def test_strokes_do_not_run_the_network_again(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, options = LocalEngine(), Options(format="png", precision="fp32")
    network = engine.load(options)
    assert engine.load(options.replace(background="red")) is network
    calls = []
    inner = network._runtime  # type: ignore[attr-defined]
    monkeypatch.setattr(network, "_runtime", lambda batch: calls.append(1) or inner(batch))
    image = ASTRONAUT.read_bytes()
    plain = engine(image, options)
    painted = engine(image, options, (Stroke("remove", 0.05, ((0.43, 0.22),)),))
    assert len(calls) == 1
    before, after = (
        np.asarray(PIL.Image.open(io.BytesIO(made.data)))[112, 220, 3] for made in (plain, painted)
    )
    assert (before, after) == (255, 0)
    assert plain.size == (512, 512)
    assert {"predict", "alpha", "foreground", "encode"} <= set(plain.milliseconds)


def test_nothing_found_and_nothing_read() -> None:
    engine, options = LocalEngine(), Options(format="png", precision="fp32")
    grey = io.BytesIO()
    PIL.Image.new("RGB", (64, 64), "grey").save(grey, "PNG")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NoForegroundWarning)
        assert engine(grey.getvalue(), options).empty
    with pytest.raises(ImageError) as error:
        engine(b"no picture at all", options)
    assert error.value.reason == "not_a_picture"
