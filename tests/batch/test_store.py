"""Files in stores: written whole or not at all, and errors that say what failed where."""

import fsspec
import pytest

from alphacut.batch import lock
from alphacut.batch.store import Store, read, retrying
from alphacut.errors import OutputError, StoreError


def test_a_destination_that_nothing_can_be_written_to() -> None:
    for dest in ("zip://x::y.zip", "https://example.org/"):
        with pytest.raises(OutputError, match="cannot be written to"):
            Store(dest)


class Broken(fsspec.AbstractFileSystem):
    """A store that fails with whatever it is told to."""

    protocol = "broken"
    error: BaseException = Exception()

    def fail(self, *_: object, **__: object) -> None:
        Broken.calls += 1
        raise Broken.error

    calls = 0
    cat_file = pipe_file = info = rm_file = ls = makedirs = exists = fail


@pytest.fixture
def broken() -> Store:
    fsspec.register_implementation("broken", Broken, clobber=True)
    Broken.calls = 0
    return Store("broken://there")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError("no\ncredentials"), "RuntimeError: no credentials"),
        (PermissionError(13, "Permission denied"), "Permission denied"),
        (ValueError("malformed address"), "malformed address"),
    ],
)
def test_whatever_a_store_raises_says_where(broken: Store, error: Exception, reason: str) -> None:
    Broken.error = error
    name = "broken://there/a.png"
    for what, call in {
        "written": lambda: broken.put("a.png", b""),
        "read": lambda: broken.get("a.png"),
        "deleted": lambda: broken.delete("a.png"),
    }.items():
        with pytest.raises(StoreError, match=f"^{name}: cannot be {what}: {reason}$") as raised:
            call()
        assert raised.value.__cause__ is error
    with pytest.raises(StoreError, match=f"^{name}: cannot be written: {reason}$"):
        broken.create("a.png", b"")
    with pytest.raises(StoreError, match=f"^{name}: cannot be read: {reason}$"):
        broken.size("a.png")
    with pytest.raises(StoreError, match=f"^broken://there/parts: cannot be listed: {reason}$"):
        broken.names("parts")
    with pytest.raises(StoreError, match=f"^{name}: cannot be read: {reason}$"):
        read(name)


@pytest.mark.parametrize(
    ("error", "calls"),
    [
        (TimeoutError("no answer"), 3),
        (FileNotFoundError(2, "No such file"), 1),
        (KeyboardInterrupt(), 1),  # Ctrl-C is no answer of a store
        (SystemExit(143), 1),
    ],
)
def test_only_what_may_pass_is_tried_again(
    broken: Store, monkeypatch: pytest.MonkeyPatch, error: BaseException, calls: int
) -> None:
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda _: None)
    Broken.error = error
    with pytest.raises(StoreError if isinstance(error, Exception) else type(error)):
        retrying(2)(read, "broken://there/a.png")
    assert Broken.calls == calls


def test_a_bucket_has_one_owner(s3: str) -> None:
    store = Store(f"{s3}/owned")
    assert store.create("lock", b"one")
    assert not store.create("lock", b"two")
    assert store.get("lock") == b"one"
    with lock.claimed(store), pytest.raises(StoreError, match="another run"):
        lock.Claim(store).take()
