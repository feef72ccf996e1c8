"""Several pictures at a time: work on threads, in order, and the processors there are for it."""

import contextlib
import os
import queue
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

_lock = threading.Lock()
_running = 0  # how many works hold OpenCV to one thread
_threads_before = 0  # OpenCV's, when the first of them began


def in_order(
    work: Callable[[Item], Result], items: Iterable[Item], threads: int | None = None
) -> Generator[Result, None, None]:
    """Do work on items in threads, and yield the results in the items' order.

    Items are drawn as they are needed and few results wait, so memory does not grow with the
    number of items. When the caller stops, work that has begun is finished and the rest dropped.

    Args:
        work: What to do with an item.
        items: The items.
        threads: How many at once; as many as there are processors by default.

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


def shared_out(work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Do work on the parts of one picture, on as many threads as OpenCV may use.

    With one it is done in the caller's: a thread made for every call takes time, and each leaves a
    piece of heap behind, so that memory would grow over the frames of a film.

    Args:
        work: What to do with a part.
        items: The parts.

    Returns:
        What `work` returned, in order.
    """
    threads = cv2.getNumThreads()
    if threads <= 1:
        return [work(item) for item in items]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, items))


def ahead(items: Iterable[Item], depth: int = 2) -> Generator[Item, None, None]:
    """Draw items in a thread of their own, a few ahead of the caller.

    Stages of a stream that are joined so work at the same time, and none gets far ahead of the
    next: memory does not grow with the stream.

    Args:
        items: What is drawn; a generator is closed in its thread when the caller stops.
        depth: How many items may wait.

    Yields:
        The items in order; an exception of theirs is raised in its place.
    """
    waiting: queue.Queue[tuple[Item] | BaseException | None] = queue.Queue(depth)
    stopped = threading.Event()

    def put(entry: tuple[Item] | BaseException | None) -> None:
        while not stopped.is_set():
            with contextlib.suppress(queue.Full):
                waiting.put(entry, timeout=0.1)
                return

    def draw() -> None:
        drawn = iter(items)
        try:
            for item in drawn:
                put((item,))
                if stopped.is_set():
                    return
            put(None)
        except BaseException as error:
            put(error)
        finally:
            if isinstance(drawn, Generator):
                drawn.close()

    thread = threading.Thread(target=draw, name="alphacut-ahead", daemon=True)
    thread.start()
    try:
        while (entry := waiting.get()) is not None:
            if isinstance(entry, BaseException):
                raise entry
            yield entry[0]
    finally:
        stopped.set()
        thread.join()


@contextmanager
def side_by_side(threads: int | None = None) -> Iterator[None]:
    """Hold OpenCV to one thread while one of several pictures is worked on.

    Together they fill the processors already: with OpenCV's own threads a folder takes a third
    longer. As a decorator it holds during each call. Do not keep it over a `yield`, whose caller
    may never come back: the limit is one for the process.

    Args:
        threads: How many pictures are worked on at once; with one, nothing changes.
    """
    global _running, _threads_before
    if (threads or processors()) == 1:
        yield
        return
    with _lock:
        if _running == 0:
            _threads_before = cv2.getNumThreads()
            cv2.setNumThreads(1)
        _running += 1
    try:
        yield
    finally:
        with _lock:
            _running -= 1
            if _running == 0:
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


def _in_child() -> None:
    """Keep a forked child to one OpenCV thread: the others stay behind in the parent."""
    global _lock, _running
    _lock = threading.Lock()  # another thread of the parent may have held it
    _running += 1  # for good
    cv2.setNumThreads(0)  # not 1, which would wait for them to end


if hasattr(os, "register_at_fork"):  # Windows does not fork
    os.register_at_fork(after_in_child=_in_child)
