"""Files written whole or not at all."""

import os
from pathlib import Path
from typing import Any

import pytest

from alphacut.errors import OutputError
from alphacut.files import write


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "cut.png"
    path.write_bytes(b"before")

    def fail() -> list[bytes]:
        raise OSError("out of order")

    def fail_late() -> Any:
        yield b"half"
        raise KeyboardInterrupt

    with pytest.raises(OutputError, match=r"cut.png: cannot be written: out of order"):
        write(path, fail)
    with pytest.raises(KeyboardInterrupt):
        write(path, fail_late)
    assert os.listdir(tmp_path) == ["cut.png"]
    assert path.read_bytes() == b"before"
    write(path, lambda: [b"af", memoryview(b"ter")])
    assert os.listdir(tmp_path) == ["cut.png"]
    assert path.read_bytes() == b"after"


def test_a_folder_is_made_only_if_asked(tmp_path: Path) -> None:
    path = tmp_path / "new" / "cut.png"
    with pytest.raises(OutputError, match="cannot be written"):
        write(path, lambda: [b"x"])
    assert os.listdir(tmp_path) == []
    write(path, lambda: [b"x"], make_folder=True)
    assert path.read_bytes() == b"x"
