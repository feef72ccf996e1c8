from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from alphacut.cli import doctor
from alphacut.errors import RuntimeFailure


def test_findings() -> None:
    findings = dict(doctor.examine())
    assert "cpu" in findings["devices"]
    assert "verified" in findings["embedded"]
    assert findings["self-test"].startswith("passed")


def test_a_wrong_result_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    upside_down = np.asarray(PIL.Image.open(doctor.EXAMPLE))[::-1]
    PIL.Image.fromarray(upside_down).save(tmp_path / "example.png")
    monkeypatch.setattr(doctor, "EXAMPLE", tmp_path / "example.png")
    with pytest.raises(RuntimeFailure, match="not cut out"):
        doctor.self_test()
