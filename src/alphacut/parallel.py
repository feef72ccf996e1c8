"""Several pictures at a time: work in order on threads, and what the machine has for it."""

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import cv2

Item = TypeVar("Item")


Result = TypeVar("Result")


_crowded = threading.Lock()


_crowds = 0  # how many callers work on several pictures at once


_threads_before = 0  # OpenCV's, when the first of them came


def in_order(
    work: Callable[[Item], Result], items: Iterable[Item], threads: int | None = None
) -> Generator[Result, None, None]:
    """Do work on items in threads and yield the results in the items' order.

    Items are drawn as they are needed and few results wait, so that memory does not grow with the
    number of items. When the caller stops, what has begun is finished and the rest is dropped.

    Args:
        work: What to do with an item.
        items: The items.
        threads: How many at once; as many as the process may use processors by default.

    Yields:
        What `work` returned; an exception of it is raised in its place.
    """
    threads = threads or processors()
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


@contextmanager
def side_by_side(threads: int | None = None) -> Iterator[None]:
    """Keep OpenCV to one thread while several pictures are worked on at once.

    They fill the processors already: with threads of its own a folder takes a third longer.

    Args:
        threads: How many pictures; with one, nothing changes.
    """
    global _crowds, _threads_before
    if (threads or processors()) == 1:
        yield
        return
    with _crowded:
        if _crowds == 0:
            _threads_before = cv2.getNumThreads()
            cv2.setNumThreads(1)
        _crowds += 1
    try:
        yield
    finally:
        with _crowded:
            _crowds -= 1
            if _crowds == 0:
                cv2.setNumThreads(_threads_before)


def processors() -> int:
    """Return how many processors this process may use, a container's limit included."""
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return max(1, min(count, int(quota) // int(period)))
    except (OSError, ValueError):  # no such limit here
        return count
