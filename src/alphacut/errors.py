"""The errors a caller can meet. Every message says what is wrong, where, and what to do.

AlphacutError               base class, never raised itself
├── ImageError              a picture cannot be read or written
├── OutputError             a result cannot be put where it should go: name taken, wrong format
├── UnknownName             a model, runtime, device, method or option does not exist
├── OptionError             an option's value is malformed, out of range, or at odds with another
├── WeightsError            weights are missing, damaged or not accepted
├── StoreError              a store of many pictures cannot be used, or another run uses it
├── MissingExtra            an optional dependency is not installed
├── RuntimeFailure          the library that runs the network failed, or lacks the device
└── TrainingError           a recipe, its data or its figures make training impossible

AlphacutWarning             something worth knowing that does not stop the work
├── MetadataWarning         metadata of a picture are broken and were dropped
└── NoForegroundWarning     the picture has no subject, so alpha is zero
"""

from collections.abc import Iterable
from typing import Any

# How extras are installed until alphacut is published; then: pip install "alphacut[{extra}]"
INSTALL = 'in a checkout of alphacut, pip install ".[{extra}]"'


class AlphacutError(Exception):
    """Base class of every error that alphacut raises on purpose."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Cross processes by message and attributes, whatever `__init__` takes."""
        return _restore, (type(self), self.args), self.__dict__


class ImageError(AlphacutError):
    """A picture cannot be read or written, is too large, or has the wrong shape or dtype.

    Attributes:
        reason: For programs: "unreadable", "not_a_picture", "no_size", "too_large", "background"
            (not the picture, but the one behind it) or "gone" (no longer where it was).
    """

    def __init__(self, message: str, reason: str = "unreadable") -> None:
        super().__init__(message)
        self.reason = reason


class OutputError(AlphacutError):
    """A result cannot be put where it should go."""


class UnknownName(AlphacutError):
    """A model, runtime, device, method or option does not exist."""

    def __init__(self, kind: str, name: object, known: Iterable[str]) -> None:
        super().__init__(f"unknown {kind} {name!r}: choose one of {', '.join(known)}")


class OptionError(AlphacutError):
    """An option's value is malformed, out of range, or at odds with another.

    Attributes:
        option: The field of `Options`.
        advice: What is allowed.
        reason: For programs: "invalid", or of a region "out_of_bounds" or "empty".
    """

    def __init__(self, option: str, value: object, advice: str, reason: str = "invalid") -> None:
        super().__init__(f"{option} {value!r}: {advice}")
        self.option, self.advice, self.reason = option, advice, reason


class WeightsError(AlphacutError):
    """Weights are missing or damaged, or their terms were not accepted."""


class StoreError(AlphacutError):
    """A store of many pictures cannot be read or written, or another run works there."""


class MissingExtra(AlphacutError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed: {INSTALL.format(extra=extra)}")


class RuntimeFailure(AlphacutError):
    """The library that runs the network failed, or lacks the device."""


class TrainingError(AlphacutError):
    """A recipe, its data or its figures make training impossible."""


class AlphacutWarning(UserWarning):
    """Something worth knowing that does not stop the work."""


class MetadataWarning(AlphacutWarning):
    """Metadata of a picture are broken: they were dropped, the picture is read without them."""


class NoForegroundWarning(AlphacutWarning):
    """No subject was found: the cut-out is fully transparent."""


def _restore(kind: type[AlphacutError], args: tuple[Any, ...]) -> AlphacutError:
    return kind.__new__(kind, *args)


def one_line(error: BaseException) -> str:
    """Return an error as one line, with its class unless alphacut raised it."""
    text = " ".join(str(error).split())
    if isinstance(error, AlphacutError):
        return text
    name = type(error).__name__
    return f"{name}: {text}" if text else name
