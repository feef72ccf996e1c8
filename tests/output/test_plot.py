import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from alphacut.cutout import Cutout, difference
from alphacut.errors import MissingExtra
from alphacut.options import Options


def cutout(H: int, W: int) -> Cutout:
    photo = np.full((H, W, 3), 90, np.uint8)
    alpha = np.zeros((H, W), np.float32)
    alpha[H // 4 : H // 2, W // 4 : W // 2] = 1
    return Cutout(photo, alpha, alpha, replaced=difference(photo, photo))


@pytest.mark.parametrize(("H", "W", "wide"), [(300, 100, True), (100, 300, False), (80, 80, True)])
def test_in_a_row_or_in_a_column(H: int, W: int, wide: bool) -> None:
    figure = cutout(H, W).plot(background="white")
    assert [axes.get_title() for axes in figure.axes] == [
        "original", "mask", "trimap", "cut-out", "composite",
    ]  # fmt: skip
    assert not any(axes.axison for axes in figure.axes)
    width, height = figure.get_size_inches()
    assert (width > height) == wide


def test_panels_that_are_not_there() -> None:
    alpha = np.ones((9, 9), np.float32)
    figure = Cutout(np.zeros((9, 9, 3), np.uint8), alpha, alpha).plot()
    assert [axes.get_title() for axes in figure.axes] == ["mask", "trimap", "cut-out"]


def test_preview_is_a_picture(tmp_path: Path) -> None:
    path = cutout(1500, 900).save(tmp_path / "a.png", result="preview")
    with PIL.Image.open(path) as preview:
        assert preview.mode == "RGB"
        assert preview.width > preview.height
        assert np.asarray(preview).std() > 10


def test_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtra, match=r'pip install "\.\[plot\]"'):
        cutout(20, 20).plot()


def test_a_given_trimap_is_called_one(tmp_path: Path) -> None:
    PIL.Image.new("L", (20, 10), 128).save(tmp_path / "trimap.png")
    options = Options(trimap=tmp_path / "trimap.png")
    figure = replace(cutout(10, 20), options=options).plot()
    assert [axes.get_title() for axes in figure.axes] == ["original", "trimap", "cut-out"]
