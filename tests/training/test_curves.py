"""What a run's log says, and that it is drawn."""

import math
from pathlib import Path

import pytest

from alphacut.errors import OutputError, TrainingError
from alphacut.training import curves

HEAD = ",".join(curves.COLUMNS)


def test_curves_of_a_log(tmp_path: Path) -> None:
    (tmp_path / curves.LOG).write_text(
        f"{HEAD}\n10,1,0.5,1e-4,3,,,,\n20,2,0.3,2e-4,3,9,8,0.2,0.9\n30,3,0.4,3e-4,3,9,8,0.1,0.9\n"
    )
    log = curves.read_log(tmp_path)
    assert log["loss"] == [0.5, 0.3, 0.4]
    assert math.isnan(log["RMSE"][0])
    loss, error, rate = curves.draw(log).axes
    raw, smooth = loss.get_lines()
    assert raw.get_xydata().tolist() == [[1, 0.5], [2, 0.3], [3, 0.4]]
    assert smooth.get_ydata().tolist() == pytest.approx(
        [0.5, 0.075 / 0.19, 0.1075 / 0.271]
    )  # by 0.9
    assert error.get_lines()[0].get_xydata().tolist() == [[2, 0.2], [3, 0.1]]
    assert rate.get_lines()[0].get_ydata().tolist() == [1e-4, 2e-4, 3e-4]
    assert rate.get_xlabel() == "epoch"


def test_a_log_of_steps_without_looks(tmp_path: Path) -> None:
    (tmp_path / curves.LOG).write_text(f"{HEAD}\n10,,0.5,1e-4,3,,,,\n")
    assert curves.save(tmp_path) == tmp_path / "curves.png"
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    figure = curves.draw(curves.read_log(tmp_path))
    assert figure.axes[2].get_xlabel() == "step"
    assert not figure.axes[1].get_lines()
    with pytest.raises(OutputError, match=r"x\.xyz: cannot be written"):
        curves.save(tmp_path, tmp_path / "x.xyz")


@pytest.mark.parametrize(("text", "message"), [
    (None, "is no log"), ("a,b\n1,2\n", "is no log"), (f"{HEAD}\nx,,1,1,1,,,,\n", "is no log"),
    (f"{HEAD}\n", "has no step yet"),
])  # fmt: skip
def test_what_is_no_log(tmp_path: Path, text: str | None, message: str) -> None:
    if text:
        (tmp_path / curves.LOG).write_text(text)
    with pytest.raises(TrainingError, match=message):
        curves.read_log(tmp_path)
