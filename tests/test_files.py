"""Files are written whole or not at all."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from alphacut.errors import OutputError
from alphacut.files import write


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "cut.png"
    path.write_bytes(b"before")

    def fail(error: BaseException) -> Iterator[bytes]:
        yield b"half"
        raise error

    with pytest.raises(OutputError, match=r"cut.png: cannot be written: out of order"):
        write(path, fail(OSError("out of order")))
    with pytest.raises(KeyboardInterrupt):
        write(path, fail(KeyboardInterrupt()))
    assert os.listdir(tmp_path) == ["cut.png"]
    assert path.read_bytes() == b"before"
    write(path, [b"af", memoryview(b"ter")])
    assert os.listdir(tmp_path) == ["cut.png"]
    assert path.read_bytes() == b"after"


def test_a_folder_is_created_only_on_request(tmp_path: Path) -> None:
    path = tmp_path / "new" / "cut.png"
    with pytest.raises(OutputError, match="cannot be written"):
        write(path, [b"x"])
    assert os.listdir(tmp_path) == []
    write(path, [b"x"], make_folder=True)
    assert path.read_bytes() == b"x"


def test_no_work_for_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    started = []

    def pieces() -> Iterator[bytes]:
        started.append(True)
        yield b"x"

    with pytest.raises(OutputError, match="cannot be written"):
        write(tmp_path / "none" / "cut.png", pieces())
    assert not started
