"""`from rembg import remove, new_session`, answered by alphacut."""

import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from rembg.bg import default_session
from rembg.session_factory import NAMES, Session, find_model, find_weights, plan

import rembg
from alphacut.errors import AlphacutWarning, OptionError, WeightsError
from alphacut.models import weights
from alphacut.runtimes.prompted import PromptedRuntime

EXAMPLES = Path(__file__).parents[2] / "examples"
PHOTO = EXAMPLES / "chelsea.png"
LITE = weights.ASSETS / "u2net-lite.onnx"


@pytest.fixture(scope="module")
def session() -> Session:
    return rembg.new_session("u2netp", providers=["CPUExecutionProvider"])


def test_results_are_of_the_kind_that_came_in(session: Session) -> None:
    content = PHOTO.read_bytes()
    png = rembg.remove(content, session=session)
    assert isinstance(png, bytes)
    cut = PIL.Image.open(io.BytesIO(png))
    assert (cut.format, cut.mode, cut.size) == ("PNG", "RGBA", (451, 300))
    pillow = rembg.remove(PIL.Image.open(PHOTO), session=session)
    assert isinstance(pillow, PIL.Image.Image)
    array = rembg.remove(np.asarray(PIL.Image.open(PHOTO)), session=session)
    assert isinstance(array, np.ndarray)
    assert array.shape == (300, 451, 4)
    for other in (pillow, array):
        np.testing.assert_array_equal(np.asarray(other), np.asarray(cut))
    assert rembg.remove(PHOTO, session=session) == png  # rembg takes neither paths nor files
    assert rembg.remove(io.BytesIO(content), session=session) == png
    forced = rembg.remove(PIL.Image.open(PHOTO), session=session, force_return_bytes=True)
    assert forced == png


def test_masks_and_backgrounds(session: Session) -> None:
    photo = PIL.Image.open(PHOTO)
    mask: Any = rembg.remove(photo, session=session, only_mask=True, bgcolor=(255, 0, 0, 255))
    assert (mask.mode, mask.size) == ("L", photo.size)
    hard: Any = rembg.remove(photo, session=session, only_mask=True, post_process_mask=True)
    assert np.isin(np.asarray(hard), (0, 255)).mean() > np.isin(np.asarray(mask), (0, 255)).mean()
    for colour, alpha in (((255, 204, 0, 255), 255), ((255, 204, 0), 255), ((0, 0, 9, 128), 128)):
        on: Any = rembg.remove(photo, session=session, bgcolor=colour)
        assert on.mode == "RGBA"
        outside = np.asarray(on)[np.asarray(mask) == 0]
        assert outside[:, 3].min() == outside[:, 3].max() == alpha
        assert np.abs(outside[:, :3].astype(int) - colour[:3]).max() <= 1
    kept: Any = rembg.remove(photo, session=session, putalpha=True)
    inside = np.asarray(mask) > 0
    np.testing.assert_array_equal(np.asarray(kept)[inside, :3], np.asarray(photo)[inside])
    assert session.predict(photo)[0].tobytes() == mask.tobytes()


def test_alpha_matting_has_thresholds(session: Session) -> None:
    photo = PIL.Image.open(PHOTO)
    narrow: Any = rembg.remove(photo, True, 240, 10, 3, session)
    wide: Any = rembg.remove(photo, True, 240, 10, 40, session)
    assert narrow.mode == "RGBA"
    assert np.asarray(narrow).tobytes() != np.asarray(wide).tobytes()
    with pytest.warns(AlphacutWarning, match="no pixel is beyond both thresholds"):
        rembg.remove(photo, True, 270, 20, 11, session)


def test_what_has_no_effect_is_told(session: Session) -> None:
    photo = PIL.Image.open(PHOTO)
    with pytest.warns(AlphacutWarning, match="sam_quant is ignored: no model here takes it"):
        rembg.remove(photo, session=session, sam_quant=True)
    with pytest.warns(AlphacutWarning, match="colour is ignored: unknown to rembg as well"):
        rembg.remove(photo, session=session, colour="red")
    with pytest.raises(ValueError, match="only small-distinctions-646 is there"):
        rembg.remove(photo, session=session, vitmatte_model="base-composition-1k")


BALLS = np.full((300, 400, 3), (176, 180, 174), np.uint8)
BALLS[np.minimum(*(np.hypot(np.mgrid[:300, :400][0] - 150, np.mgrid[:300, :400][1] - at)
                   for at in (100, 300))) < 60] = (190, 40, 50)  # fmt: skip


@pytest.mark.parametrize(
    "prompt",
    [[{"type": "point", "data": [100, 150], "label": 1}],
     [{"type": "point", "data": [300, 150], "label": 0}],
     [{"type": "rectangle", "data": [25, 75, 175, 225]}]],
)  # fmt: skip
@pytest.mark.parametrize("more", [{}, {"only_mask": True}, {"alpha_matting": True}])
def test_a_prompt_chooses_the_subject(
    session: Session, prompt: list[dict[str, Any]], more: dict[str, bool]
) -> None:
    if more.get("alpha_matting"):
        pytest.importorskip("pymatting")
    found = rembg.remove(BALLS, session=session, sam_prompt=prompt, **more)
    assert isinstance(found, np.ndarray)
    alpha = found if found.ndim == 2 else found[..., 3]
    assert alpha[150, 100] > 250
    assert alpha[150, 300] < 5
    predicted = np.asarray(session.predict(PIL.Image.fromarray(BALLS), sam_prompt=prompt)[0])
    assert predicted[150, 100] > 250
    assert predicted[150, 300] < 5


def test_a_malformed_prompt_is_refused(session: Session) -> None:
    with pytest.raises(OptionError, match="give a list of"):
        rembg.remove(BALLS, session=session, sam_prompt=[{"type": "circle", "data": [1]}])


def test_sam_is_mobile_sam_and_is_asked_for_the_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[list[float]]] = []

    def answer(embedding: Any, points: Any, labels: Any) -> tuple[Any, Any]:
        asked.append(np.column_stack((points, labels)).tolist())
        return np.full((4, 256, 256), 10, np.float32), np.ones(4, np.float32)

    def finder(batch: Any) -> Any:
        return np.ones((1, 1, *batch.shape[2:]), np.float32)

    network = PromptedRuntime(finder, finder, answer, "cpu")
    monkeypatch.setattr("alphacut.runtimes.load", lambda *_, **__: network)
    sam = rembg.new_session("sam", providers=["CUDAExecutionProvider"])
    rembg.remove(BALLS, session=sam)
    rembg.remove(BALLS, session=sam, sam_prompt=[{"type": "rectangle", "data": [0, 0, 200, 300]}])
    assert asked[0] == [[512, 384, 1], [0, 0, -1]]
    assert asked[1] == [[0, 0, 2], [512, 768, 3]]


def test_models_have_rembgs_names() -> None:
    for name in NAMES:
        assert find_model(name).downscale == "lanczos"
    with pytest.raises(ValueError, match="No session class found for model 'nonsense'"):
        rembg.new_session("nonsense")
    with pytest.raises(ValueError, match="bria-rmbg is no model of alphacut: its weights are not"):
        rembg.new_session("bria-rmbg")
    with pytest.raises(ValueError, match="provider 'TensorrtExecutionProvider' is not supported"):
        rembg.new_session("u2netp", providers=["TensorrtExecutionProvider"])
    assert default_session() is default_session()


def test_the_bundled_network_runs_in_its_quick_form(tmp_path: Path) -> None:
    *_, load = plan("u2netp")
    assert load.keywords["precision"] == "auto"  # type: ignore[attr-defined]
    *_, load = plan("u2net_custom", model_path=str(shutil.copy(LITE, tmp_path / "mine.onnx")))
    assert load.keywords["precision"] == "fp32"  # type: ignore[attr-defined]


def test_weights_of_ones_own(tmp_path: Path, session: Session) -> None:
    shutil.copy(LITE, tmp_path / "mine.onnx")
    own = rembg.new_session("u2net_custom", model_path=str(tmp_path / "mine.onnx"))
    alpha: Any = rembg.remove(PIL.Image.open(PHOTO), session=own, only_mask=True)
    known: Any = rembg.remove(PIL.Image.open(PHOTO), session=session, only_mask=True)
    assert np.abs(np.asarray(alpha) / 255 - np.asarray(known) / 255).mean() < 0.05
    with pytest.raises(ValueError, match="model_path is required"):
        rembg.new_session("u2net_custom")
    with pytest.raises(WeightsError, match=r"gone\.onnx: no such weights"):
        rembg.new_session("u2net_custom", model_path=str(tmp_path / "gone.onnx"))


def test_weights_that_rembg_has_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import dataclasses

    from alphacut import files
    from alphacut.models.entry import Weights

    spec = find_model("u2net")
    spec = dataclasses.replace(
        spec, weights={"onnx": Weights(file="absent.onnx", sha256=files.sha256(LITE))}
    )
    for name in ("U2NET_HOME", "REMBG_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_weights("u2net", spec) is None
    places = {
        "": tmp_path / ".u2net", "REMBG_HOME": tmp_path / "r" / "models" / "u2net",
        "XDG_DATA_HOME": tmp_path / "x" / "rembg" / "models" / "u2net",
        "U2NET_HOME": tmp_path / "u",
    }  # fmt: skip
    for variable, folder in places.items():
        folder.mkdir(parents=True)
        shutil.copy(LITE, folder / "u2net.onnx")
        if variable:
            monkeypatch.setenv(variable, str(tmp_path / folder.relative_to(tmp_path).parts[0]))
        assert find_weights("u2net", spec) == folder / "u2net.onnx"
        (folder / "u2net.onnx").write_bytes(b"something else")
        assert find_weights("u2net", spec) is None
        if variable:
            monkeypatch.delenv(variable)
