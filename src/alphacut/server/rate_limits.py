"""How much each client may send: megapixels of input per minute."""

import logging
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from alphacut.errors import OutputError
from alphacut.server.keys import ANYONE
from alphacut.server.refusal import Refusal

log = logging.getLogger("alphacut.server")


class RateLimits:
    """Megapixels of input that each key's owner, or address, may send per minute.

    Args:
        megapixels: How many; 0 for no limit.
        store: Where they are counted: "memory://", or an address that `limits` supports.

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

        # of the Redis clients that limits supports, the most common one
        options: Any = {"implementation": "redispy"} if store.startswith("redis") else {}
        try:
            reachable = storage_from_string(store).check()
            counts: Any = storage_from_string(f"async+{store}", wrap_exceptions=True, **options)
        except ConfigurationError as error:
            raise OutputError(f"{store}: cannot be used as a rate store: {error}") from error
        if not reachable:
            raise OutputError(f"{store}: the rate store does not answer: check --rate-store")
        self._limit = RateLimitItemPerMinute(megapixels)
        self._windows = FixedWindowRateLimiter(counts)

    async def check(self, name: str) -> None:
        """Refuse a client that has used up its minute.

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
        """Count an image, as at least one megapixel, and return the headers that report the rest.

        The size is known only once the image has been opened, so the last one of a minute may
        exceed the limit.
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
    """Refuse, rather than serve without a limit, while the rate store fails."""
    from limits.errors import StorageError

    try:
        yield
    except StorageError as error:
        log.error("the rate store failed: %s", error)
        title = "The rate limit cannot be checked at the moment"
        raise Refusal(503, "service_unavailable", title, retry_after_s=5) from error
