import hashlib
from pathlib import Path

import pytest
from starlette.datastructures import Headers

from alphacut.errors import OutputError
from alphacut.server.keys import ANYONE, Keys
from alphacut.server.refusal import Refusal


def keys_of(tmp_path: Path, text: str) -> Keys:
    path = tmp_path / "keys"
    path.write_text(text)
    return Keys(path)


def sha(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def test_names(tmp_path: Path) -> None:
    keys = keys_of(tmp_path, f"# who\n{sha('a')}  alice\n\n{sha('b').upper()} bob at work\n")
    assert keys.name_of({"x-api-key": "a"}) == "alice"
    assert keys.name_of({"x-api-key": "b"}) == "bob at work"
    assert keys.name_of({"authorization": "bearer b"}) == "bob at work"
    for headers in ({}, {"x-api-key": sha("a")}, {"x-api-key": "c"}, {"authorization": "Basic a"}):
        with pytest.raises(Refusal) as refused:
            keys.name_of(headers)
        assert (refused.value.status, refused.value.code) == (403, "auth_failed")


def test_a_key_may_have_any_letters(tmp_path: Path) -> None:
    keys = keys_of(tmp_path, f"{sha('schlüssel')} chris\n")
    headers = Headers(raw=[(b"x-api-key", "schlüssel".encode())])
    assert keys.name_of(headers) == "chris"


def test_without_a_file_anyone_may_ask() -> None:
    assert Keys(None).name_of({}) == ANYONE


@pytest.mark.parametrize("line", ["alice verysecret", sha("a"), "abc  alice"])
def test_wrong_files(tmp_path: Path, line: str) -> None:
    with pytest.raises(OutputError, match="line 1") as error:
        keys_of(tmp_path, line)
    assert "verysecret" not in str(error.value).replace(str(tmp_path), "")
    with pytest.raises(OutputError, match="cannot be read"):
        Keys(tmp_path / "missing")
