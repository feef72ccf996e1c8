from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from alphacut.errors import RuntimeFailure
from alphacut.evaluation import self_test


def test_a_wrong_result_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    upside_down = np.asarray(PIL.Image.open(self_test.EXAMPLE))[::-1]
    PIL.Image.fromarray(upside_down).save(tmp_path / "example.png")
    monkeypatch.setattr(self_test, "EXAMPLE", tmp_path / "example.png")
    with pytest.raises(RuntimeFailure, match="not cut out"):
        self_test.self_test()
