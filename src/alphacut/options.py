"""Everything a user may choose, once: flags, query fields and forms are built from `Options`."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from alphacut.errors import UnknownName

FORMATS = ("auto", "png", "webp", "avif", "tiff", "jpg")
DEFAULT_MODEL = "u2net-lite"


def _option(default: Any, meaning: str, choices: tuple[str, ...] = (), unit: str = "") -> Any:
    """Declare one field with what a manual says about it."""
    facts = {"help": meaning, "choices": choices, "unit": unit}
    return field(default=default, metadata=facts)


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a background is removed and how the result is written. The only place of defaults.

    The text beside each field is its manual: `alphacut remove --help` prints it.
    """

    model: str = _option(DEFAULT_MODEL, "Network that finds the subject.", unit="NAME")
    device: str = _option("auto", "Where it runs: auto, cpu, gpu, npu.", unit="NAME")
    decontaminate: bool = _option(
        True, "Give soft edges the subject's own colour, free of the old background's."
    )
    background: str | None = _option(
        None, "Put the subject on this colour, a name or #rrggbb.", unit="COLOUR"
    )
    format: str = _option("auto", "Kind of file to write.", FORMATS)
    quality: int = _option(
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
        if not 1 <= self.quality <= 100:
            raise UnknownName("quality", self.quality, ["1 to 100"])
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
