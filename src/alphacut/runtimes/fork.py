"""What a forked child needs made anew: a library's threads stay behind in the parent.

A child that waits for such a thread, or ends what holds it, never returns.
"""

import ctypes
import os
import threading
import weakref
from collections.abc import Callable
from typing import Any, Generic, TypeVar

Value = TypeVar("Value")

_values: "weakref.WeakSet[PerProcess[Any]]" = weakref.WeakSet()
_forked = False


class PerProcess(Generic[Value]):
    """A value that a forked child makes anew when it first needs it.

    Args:
        make: Makes the value: at once, and again in each forked child.
    """

    def __init__(self, make: Callable[[], Value]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._value: Value | None = make()
        _values.add(self)

    def __call__(self) -> Value:
        """Return this process's value."""
        with self._lock:
            if self._value is None:
                self._value = self._make()
            return self._value

    def _leave(self) -> None:
        """Give up the parent's value, in its child."""
        never_free(self._value)
        self._value, self._lock = None, threading.Lock()


def never_free(value: object) -> None:
    """Keep a value until the process ends, and let it end without freeing it."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(value))


def one_thread() -> bool:
    """Tell whether networks must run on one thread: in a child that was forked after one ran.

    OpenVINO's and PyTorch's thread pools are one for the process, so a child cannot renew them.
    """
    return _forked


def _in_child() -> None:
    global _forked
    _forked = True
    for value in tuple(_values):
        value._leave()


if hasattr(os, "register_at_fork"):  # Windows does not fork
    os.register_at_fork(after_in_child=_in_child)
