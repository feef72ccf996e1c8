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

# How extras and packages of weights are installed until they are published; then:
# pip install "alphacut[{extra}]"
INSTALL = 'in a checkout of alphacut, pip install ".[{extra}]"'
INSTALL_PACKAGE = "in a checkout of alphacut, pip install ./packages/{package}"


class AlphacutError(Exception):
    """Base class of every error that alphacut raises on purpose.

    `args` are what `__init__` took: so errors cross processes by pickle, and by what task queues
    do, which make them anew.
    """


class ImageError(AlphacutError):
    """A picture cannot be read or written, is too large, or has the wrong shape or dtype.

    Attributes:
        reason: For programs: "unreadable", "not_a_picture", "no_size", "too_large", "background"
            (not the picture, but the one behind it), "gone" (no longer where it was) or "refused"
            (empty or too doubtful for `--fail-empty` or `--fail-doubt`).
    """

    def __init__(self, message: str, reason: str = "unreadable") -> None:
        super().__init__(message, reason)
        self.reason = reason

    def __str__(self) -> str:
        return str(self.args[0])


class OutputError(AlphacutError):
    """A result cannot be put where it should go."""


class UnknownName(AlphacutError):
    """A model, runtime, device, method or option does not exist."""

    def __init__(self, kind: str, name: object, known: Iterable[str]) -> None:
        super().__init__(kind, name, [*known])

    def __str__(self) -> str:
        kind, name, known = self.args
        return f"unknown {kind} {name!r}: choose one of {', '.join(known)}"


class OptionError(AlphacutError):
    """An option's value is malformed, out of range, or at odds with another.

    Attributes:
        option: The field of `Options`.
        advice: What is allowed.
        reason: For programs: "invalid", or of a region "out_of_bounds" or "empty".
    """

    def __init__(self, option: str, value: object, advice: str, reason: str = "invalid") -> None:
        super().__init__(option, value, advice, reason)
        self.option, self.advice, self.reason = option, advice, reason

    def __str__(self) -> str:
        option, value, advice, _ = self.args
        return f"{option} {value!r}: {advice}"


class WeightsError(AlphacutError):
    """Weights are missing or damaged, or their terms were not accepted."""


class StoreError(AlphacutError):
    """A store of many pictures cannot be read or written, or another run works there."""


class MissingExtra(AlphacutError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(package, extra)

    def __str__(self) -> str:
        package, extra = self.args
        return f"{package} is not installed: {INSTALL.format(extra=extra)}"


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


def one_line(error: BaseException) -> str:
    """Return an error as one line, with its class unless alphacut raised it."""
    text = " ".join(str(error).split())
    if isinstance(error, AlphacutError):
        return text
    name = type(error).__name__
    return f"{name}: {text}" if text else name
