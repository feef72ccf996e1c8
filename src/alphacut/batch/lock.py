"""The lock of a destination: who is at work there, and a counter that shows it is alive.

It lies in DEST/_alphacut/lock.json. It saves work; consistency does not depend on it: two runs at
once make the same pixels under the same names, and rows that `manifest.load` joins. So a store that
cannot create a file exclusively is good enough.
"""

import contextlib
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

from alphacut.batch import FOLDER
from alphacut.batch.store import Store, retrying
from alphacut.errors import StoreError

LOCK = f"{FOLDER}/lock.json"
BEAT_S = 10.0
_held: set[str] = set()  # runs of this process


class Claim:
    """The lock of a destination; see `claimed`.

    Attributes:
        lost: Whether another run has taken over, because this one seemed dead.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._owner: dict[str, Any] = {
            "run": secrets.token_hex(6), "host": socket.gethostname(), "pid": os.getpid(),
            "since": datetime.now(timezone.utc).isoformat(timespec="seconds"), "beat": 0,
        }  # fmt: skip
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="alphacut-lock", daemon=True)
        self.lost = False

    @property
    def _content(self) -> bytes:
        return json.dumps(self._owner).encode()

    def take(self) -> None:
        """Take the lock, from a dead owner if need be.

        Raises:
            StoreError: if a live run holds it, or the store fails.
        """
        while not retrying()(self._store.create, LOCK, self._content):
            owner = self._read()
            if owner and owner.get("run") == self._owner["run"]:
                break  # the store created the file, but its answer was lost
            if owner and self._is_alive(owner):
                raise StoreError(
                    f"{self._store.address()}: in use by another run since {owner.get('since')} "
                    f"(process {owner.get('pid')} on {owner.get('host')}): wait for it, or stop it"
                )
            retrying()(self._store.delete, LOCK)
        _held.add(self._owner["run"])
        self._thread.start()

    def release(self) -> None:
        """Release the lock."""
        _held.discard(self._owner["run"])
        self._ended.set()
        self._thread.join()
        owner = self._read()
        if owner and owner.get("run") == self._owner["run"]:
            self._store.delete(LOCK)

    def _read(self) -> dict[str, Any] | None:
        """Return the owner that the lock names; {} if it is unreadable, None if there is none."""
        content = retrying()(self._store.get, LOCK)
        try:
            owner = json.loads(content) if content else None
        except ValueError:
            return {}
        return owner if isinstance(owner, dict) else None

    def _is_alive(self, owner: dict[str, Any]) -> bool:
        """Tell whether an owner's process runs on this host, or else whether its counter moves."""
        if owner.get("run") in _held:
            return True
        if owner.get("host") == self._owner["host"] and os.name == "posix":
            pid = owner.get("pid")
            # a container that restarts gives this process the number of the dead one
            if pid == os.getpid() or not _is_process(pid):
                return False
        for _ in range(30):
            time.sleep(BEAT_S / 10)
            if self._read() != owner:
                return True
        return False

    def _beat(self) -> None:
        """Advance the counter, so that other runs see that this one is alive."""
        while not self._ended.wait(BEAT_S):
            with contextlib.suppress(Exception):  # a beat that fails is followed by another
                owner = self._read()
                if owner is not None and owner.get("run") != self._owner["run"]:
                    self.lost = True
                    return
                self._owner["beat"] += 1
                self._store.put(LOCK, self._content)


def _is_process(pid: Any) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, TypeError, ValueError):
        return False
    except PermissionError:
        return True
    return True


@contextlib.contextmanager
def claimed(store: Store) -> Iterator[Claim]:
    """Hold the lock of a destination.

    Raises:
        StoreError: if a live run holds it, or the store fails.
    """
    claim = Claim(store)
    claim.take()
    try:
        yield claim
    finally:
        with contextlib.suppress(Exception):  # what ended the run must not be hidden
            claim.release()
