"""The errors a caller can meet. Every message says what happened, to which input, and what to do.

AlphacutError               base, never raised itself
├── ImageError              a picture cannot be read or written
├── OutputError             a result has no place to go: name taken, wrong format, clash
├── UnknownName             a model, runtime, device, method or option nobody knows
├── OptionError             an option's value is malformed, beyond a limit, or at odds with another
├── WeightsError            weights are missing, damaged or not accepted
├── StoreError              a store of many pictures cannot be used, or another run uses it
├── MissingExtra            an optional dependency is not installed
├── RuntimeFailure          the library that runs the network failed, or lacks the device
└── TrainingError           a recipe, its data or its numbers do not allow to go on

AlphacutWarning             something worth a line that does not stop the work
└── NoForegroundWarning     the picture has no subject, so alpha is zero
"""

from collections.abc import Iterable


class AlphacutError(Exception):
    """Base of every error that alphacut raises on purpose."""


class ImageError(AlphacutError):
    """A picture cannot be read or written, is too large, or has a shape or dtype unlike one.

    Attributes:
        reason: For programs: "unreadable", "not_a_picture", "no_size" or "too_large".
    """

    def __init__(self, message: str, reason: str = "unreadable") -> None:
        super().__init__(message)
        self.reason = reason


class OutputError(AlphacutError):
    """A result cannot be put where it was asked for."""


class UnknownName(AlphacutError):
    """A name of a model, runtime, device, method or option that does not exist."""

    def __init__(self, kind: str, name: object, known: Iterable[str]) -> None:
        super().__init__(f"unknown {kind} {name!r}: choose one of {', '.join(known)}")


class OptionError(AlphacutError):
    """An option's value is malformed, beyond a limit, or at odds with another.

    Attributes:
        option: The field of `Options`.
        advice: What can be.
    """

    def __init__(self, option: str, value: object, advice: str) -> None:
        super().__init__(f"{option} {value!r}: {advice}")
        self.option, self.advice = option, advice


class WeightsError(AlphacutError):
    """Weights are missing, damaged, or their terms were not accepted."""


class StoreError(AlphacutError):
    """A store of many pictures cannot be read or written, or another run works there."""


class MissingExtra(AlphacutError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f'{package} is not installed: pip install "alphacut[{extra}]"')


class RuntimeFailure(AlphacutError):
    """The library that runs the network reported an error, or the device is not there."""


class TrainingError(AlphacutError):
    """A training recipe, its data or its numbers do not allow to go on."""


class AlphacutWarning(UserWarning):
    """Something worth telling that does not stop the work."""


class NoForegroundWarning(AlphacutWarning):
    """No subject was found: the cut-out is wholly transparent."""
