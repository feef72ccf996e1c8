"""Who may ask, and how much: API keys and their allowance of megapixels a minute."""

import hashlib
import hmac
import logging
import math
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alphacut.errors import OutputError
from alphacut.server.refusal import Refusal

log = logging.getLogger("alphacut.server")

ANYONE = "anyone"


class Keys:
    """The keys that are allowed, known only by their hashes.

    Args:
        path: A file with a SHA-256 in hexadecimal and a name on each line, as `sha256sum` prints;
            lines that begin with # are skipped. None lets anyone in.

    Raises:
        OutputError: if the file cannot be read, or a line is not like that.
    """

    def __init__(self, path: Path | None) -> None:
        self._names: dict[bytes, str] = {}
        self.required = path is not None
        if path is None:
            return
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise OutputError(f"{path}: cannot be read: {error}") from error
        for number, line in enumerate(lines, 1):
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            found = re.fullmatch(r"([0-9a-fA-F]{64})\s+(\S.*)", line.strip())
            if not found:
                raise OutputError(
                    f"{path}, line {number}: write the key's SHA-256 in hexadecimal, then a name"
                )
            self._names[bytes.fromhex(found[1])] = found[2]

    def name_of(self, headers: Any) -> str:
        """Return the name of a request's key.

        Raises:
            Refusal: 403 if it has none, or an unknown one.
        """
        if not self.required:
            return ANYONE
        bearer = re.fullmatch(r"(?i:bearer) +(\S+)", headers.get("authorization", ""))
        key = headers.get("x-api-key") or (bearer[1] if bearer else "")
        if not key:
            raise Refusal(403, "auth_failed", "Missing API Key")
        asked = hashlib.sha256(key.encode("latin-1")).digest()  # the bytes that were sent
        name = None
        for known, its_name in self._names.items():  # all of them, so that time tells nothing
            if hmac.compare_digest(known, asked):
                name = its_name
        if name is None:
            raise Refusal(403, "auth_failed", "API Key invalid")
        return name


class Allowance:
    """Megapixels of input that each key may send in a minute.

    Args:
        megapixels: How many; 0 for no limit.
        store: Where they are counted: "memory://", or an address that `limits` knows.

    Raises:
        OutputError: if the store cannot be reached or used.
    """

    def __init__(self, megapixels: int, store: str) -> None:
        self._limit = None
        if not megapixels:
            return
        from limits import RateLimitItemPerMinute
        from limits.aio.strategies import FixedWindowRateLimiter
        from limits.errors import ConfigurationError
        from limits.storage import storage_from_string

        # of the clients of Redis that limits knows, the one that is known to all
        options: Any = {"implementation": "redispy"} if store.startswith("redis") else {}
        try:
            reachable = storage_from_string(store).check()
            counts: Any = storage_from_string(f"async+{store}", wrap_exceptions=True, **options)
        except ConfigurationError as error:
            raise OutputError(f"{store}: rates cannot be counted there: {error}") from error
        if not reachable:
            raise OutputError(f"{store}: rates cannot be counted there: nothing answers")
        self._limit = RateLimitItemPerMinute(megapixels)
        self._windows = FixedWindowRateLimiter(counts)

    async def check(self, name: str) -> None:
        """Refuse a key that has used up its minute.

        Raises:
            Refusal: 429, with the seconds until the next minute; 503 if the store fails.
        """
        if self._limit is None or name == ANYONE:
            return
        with _store_errors():
            window = await self._windows.get_window_stats(self._limit, name)
        if window.remaining < 1:
            wait_s = max(1, math.ceil(window.reset_time - time.time()))
            raise Refusal(429, "rate_limit_exceeded", "Rate limit exceeded", retry_after_s=wait_s)

    async def charge(self, name: str, megapixels: float) -> dict[str, str]:
        """Count a picture, at least as one megapixel, and return the headers that tell the rest.

        The size is known once the picture was opened, so the last one of a minute may go beyond.
        """
        if self._limit is None or name == ANYONE:
            return {}
        with _store_errors():
            await self._windows.hit(self._limit, name, cost=max(1, round(megapixels)))
            window = await self._windows.get_window_stats(self._limit, name)
        return {
            "X-RateLimit-Limit": str(self._limit.amount),
            "X-RateLimit-Remaining": str(max(0, window.remaining)),
            "X-RateLimit-Reset": str(math.ceil(window.reset_time)),
        }


@contextmanager
def _store_errors() -> Iterator[None]:
    """Refuse rather than serve without a limit, when the store of rates fails."""
    from limits.errors import StorageError

    try:
        yield
    except StorageError as error:
        log.error("rates cannot be counted: %s", error)
        title = "Rates cannot be counted at the moment"
        raise Refusal(503, "service_unavailable", title, retry_after_s=5) from error
