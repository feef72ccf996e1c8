"""Everything a user may choose, once: flags, query fields and forms are built from `Options`."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from alphacut.errors import UnknownName

FORMATS = ("auto", "png", "webp", "avif", "tiff", "jpg")
QUALITIES = ("fast", "best")
MATTING = ("auto", "none", "fast", "closed-form", "indexnet")
DEFAULT_MODEL = "u2net-lite"
RUNTIMES = ("openvino", "onnx", "torch")
DEVICES = ("auto", "cpu", "gpu", "cuda", "mps", "npu")


def _option(
    default: Any,
    meaning: str,
    choices: tuple[str, ...] = (),
    unit: str = "",
    kind: type | None = None,
) -> Any:
    """Declare one field with what a manual says about it; `kind` if its default does not show."""
    facts = {"help": meaning, "choices": choices, "unit": unit, "kind": kind}
    return field(default=default, metadata=facts)


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a background is removed and how the result is written. The only place of defaults.

    The text beside each field is its manual: `alphacut remove --help` prints it.
    """

    model: str = _option(DEFAULT_MODEL, "Network that finds the subject.", unit="NAME")
    runtime: str = _option("openvino", "What runs it.", RUNTIMES)
    device: str = _option("auto", "Where it runs.", DEVICES)
    half: bool = _option(False, "Calculate in half precision: torch on CUDA only.")
    classes: str = _option(
        "", "What counts as subject, such as person,dog, for models with classes.", unit="NAMES"
    )
    class_mask: str = _option(
        "hard", "Masks of models with classes: the likeliest class, or its probability.",
        ("hard", "soft"),
    )  # fmt: skip
    short_side: int | None = _option(
        None, "Shorter side at which a model of any size looks; 0 for the picture's own.",
        unit="PX", kind=int,
    )  # fmt: skip
    quality: str = _option(
        "fast", "best looks twice and solves the edges exactly; it takes longer.", QUALITIES
    )
    matting: str = _option(
        "auto", "How edges are found: auto is fast, or closed-form for best.", MATTING
    )
    trimap: str | None = _option(
        None,
        "Grey picture of what is background (black), unknown and foreground (white), taken instead "
        "of the network's answer.",
        unit="FILE",
    )
    save_trimap: bool = _option(False, "Write NAME-trimap.png beside each result as well.")
    decontaminate: bool = _option(
        True, "Give soft edges the subject's own colour, free of the old background's."
    )
    specks_px: int = _option(0, "Clear detached parts of fewer pixels.", unit="PIXELS")
    holes_px: int = _option(0, "Fill enclosed holes of fewer pixels.", unit="PIXELS")
    largest: bool = _option(False, "Keep the largest subject only.")
    grow_px: int = _option(0, "Move edges outwards, or inwards if negative.", unit="PIXELS")
    smooth_px: float = _option(0.0, "Even out ragged edges up to this size.", unit="PIXELS")
    harden: float | None = _option(
        None, "Make edges hard, anti-aliased, where alpha is this.", unit="0..1", kind=float
    )
    feather_px: float = _option(0.0, "Soften edges over this width.", unit="PIXELS")
    background: str | None = _option(
        None, "Put the subject on this colour, a name or #rrggbb.", unit="COLOUR"
    )
    format: str = _option("auto", "Kind of file to write.", FORMATS)
    file_quality: int = _option(
        90, "1..100 for JPEG, WebP and AVIF; 100 writes WebP without loss.", unit="1..100"
    )
    mask: bool = _option(False, "Write the alpha alone, as 8-bit grey.")
    keep_depth: bool = _option(False, "Keep 16 bits a channel when the input has them.")
    max_megapixels: float = _option(200.0, "Refuse larger pictures.", unit="MP")
    allow_truncated: bool = _option(False, "Read what is there of a damaged file.")

    def __post_init__(self) -> None:
        """Refuse values outside a field's choices, early and with the alternatives named."""
        for option in dataclasses.fields(self):
            choices = option.metadata["choices"]
            value = getattr(self, option.name)
            if choices and value not in choices:
                raise UnknownName(option.name, value, choices)
        if not 1 <= self.file_quality <= 100:
            raise UnknownName("file_quality", self.file_quality, ["1 to 100"])
        if self.harden is not None and not 0 < self.harden < 1:
            raise UnknownName("harden", self.harden, ["a number between 0 and 1"])
        for name in ("specks_px", "holes_px", "smooth_px", "feather_px"):
            if getattr(self, name) < 0:
                raise UnknownName(name, getattr(self, name), ["0 or more"])
        if self.short_side is not None and self.short_side != 0 and self.short_side < 32:
            raise UnknownName("short_side", self.short_side, ["0", "32 or more"])
        if not self.max_megapixels > 0:
            raise UnknownName("max_megapixels", self.max_megapixels, ["a number above 0"])

    def replace(self, **changes: Any) -> "Options":
        """Return a copy with some fields changed.

        Raises:
            UnknownName: if a field does not exist, or a value is not among its choices.
        """
        known = [option.name for option in dataclasses.fields(self)]
        for name in changes:
            if name not in known:
                raise UnknownName("option", name, known)
        return dataclasses.replace(self, **changes)
