"""Everything a user may choose, once: flags, query fields and forms are built from `Options`."""

import dataclasses
import os
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict, get_args

from alphacut import values
from alphacut.errors import OptionError, UnknownName

if TYPE_CHECKING:
    from typing_extensions import Unpack  # Python has it from 3.11 on

Quality = Literal["fast", "best"]
Matting = Literal["auto", "none", "fast", "closed-form", "indexnet", "indexnet-adobe"]
FileFormat = Literal["auto", "png", "webp", "avif", "tiff", "jpg", "zip", "ora"]
Effort = Literal["fast", "balanced", "small"]
Result = Literal["cutout", "mask", "trimap", "foreground", "background", "preview"]
Fit = Literal["cover", "contain", "stretch", "tile", "center-crop"]
Shadow = Literal["none", "drop", "contact"]
Preset = Literal["none", "profile", "passport", "product"]
RuntimeName = Literal["openvino", "onnx", "torch"]
Precision = Literal["auto", "fp32", "int8"]
DeviceName = Literal["auto", "cpu", "gpu", "cuda", "mps", "npu"]
ClassMask = Literal["hard", "soft"]
BackgroundText: TypeAlias = str | bytes | os.PathLike[str]

RESULTS: tuple[Result, ...] = get_args(Result)
RUNTIMES: tuple[RuntimeName, ...] = get_args(RuntimeName)
DEVICES: tuple[DeviceName, ...] = get_args(DeviceName)
# What a preset gives to options that were left at their defaults; geometry.py frames portraits
PRESETS = MappingProxyType({
    "none": {},
    "profile": {"size": "1:1"},
    "passport": {"size": "7:9", "background": "white"},
    "product": {"size": "1:1", "scale": "85%", "background": "white"},
})  # fmt: skip
DEFAULT_MODEL = "u2net-lite"


def _option(
    default: Any,
    meaning: str,
    choices: tuple[str, ...] = (),
    unit: str = "",
    kind: type | None = None,
) -> Any:
    """Declare one field with what a manual says about it; `kind` if its default does not show."""
    kind = kind or (str if default is None else type(default))
    facts = {"help": meaning, "choices": choices, "unit": unit, "kind": kind}
    return field(default=default, metadata=facts)


class OptionChanges(TypedDict, total=False):
    """Some fields of `Options`, by name: what editors complete and type checkers know."""

    model: str
    runtime: RuntimeName
    device: DeviceName
    precision: Precision
    half: bool
    classes: str
    class_mask: ClassMask
    short_side: int | None
    quality: Quality
    matting: Matting
    trimap: str | None
    save_trimap: bool
    decontaminate: bool
    specks_px: int
    holes_px: int
    largest: bool
    grow_px: int
    smooth_px: float
    harden: float | None
    feather_px: float
    roi: str | None
    background: BackgroundText | None
    fit: Fit
    linear_light: bool
    crop: bool
    margin: str
    threshold: float
    size: str | None
    scale: str
    position: str
    preset: Preset
    shadow: Shadow
    shadow_opacity: float
    shadow_offset: str | None
    shadow_blur: str | None
    result: Result
    format: FileFormat
    file_quality: int
    png: Effort
    keep_depth: bool
    max_megapixels: float
    output_megapixels: float
    allow_truncated: bool


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a background is removed and how the result is written. The only place of defaults.

    The text beside each field is its manual: `alphacut remove --help` prints it.
    """

    model: str = _option(DEFAULT_MODEL, "Network that finds the subject.", unit="NAME")
    runtime: RuntimeName = _option("openvino", "What runs it.", get_args(RuntimeName))
    device: DeviceName = _option("auto", "Where it runs.", get_args(DeviceName))
    precision: Precision = _option(
        "auto", "int8 is quicker, fp32 exact; auto is int8 where it is as good and gains.",
        get_args(Precision),
    )  # fmt: skip
    half: bool = _option(False, "Calculate in half precision: torch on CUDA only.")
    classes: str = _option(
        "", "What counts as subject, such as person,dog, for models with classes.", unit="NAMES"
    )
    class_mask: ClassMask = _option(
        "hard", "Masks of models with classes: the likeliest class, or its probability.",
        get_args(ClassMask),
    )  # fmt: skip
    short_side: int | None = _option(
        None, "Shorter side at which a model of any size looks; 0 for the picture's own.",
        unit="PX", kind=int,
    )  # fmt: skip
    quality: Quality = _option(
        "fast", "best looks twice and solves the edges exactly; it takes longer.", get_args(Quality)
    )
    matting: Matting = _option(
        "auto", "How edges are found: auto is fast, or closed-form for best.", get_args(Matting)
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
    roi: str | None = _option(
        None, "Only what is inside 'LEFT TOP RIGHT BOTTOM', px or %, can be subject.", unit="REGION"
    )
    background: BackgroundText | None = _option(
        None,
        "Put the subject on a colour (name, #rrggbb, #rrggbbaa, rgb()), an image's path, "
        "checkerboard, transparent, or on its own background: blur:PX, disc:PX (as a lens does), "
        "grey, darken:%.",
        unit="BACKGROUND",
    )
    fit: Fit = _option(
        "cover", "How a background image fills the canvas, from its centre.", get_args(Fit)
    )
    linear_light: bool = _option(
        False, "Mix colours as light mixes, not as sRGB numbers, which is what most programs do."
    )
    crop: bool = _option(False, "Cut the picture to the subject's box.")
    margin: str = _option(
        "0", "Room around a crop: 1, 2 or 4 of px or % of the subject, as in CSS.", unit="MARGIN"
    )
    threshold: float = _option(
        0.02, "Alpha below this is noise to --crop, --scale and --position.", unit="0..1"
    )
    size: str | None = _option(
        None, "Canvas: 800x600 pixels, width first, or a shape such as 1:1.", unit="WxH|W:H"
    )
    scale: str = _option(
        "original", "Subject's share of the canvas, 10% to 100%; centres it.", unit="%"
    )
    position: str = _option(
        "original",
        "Where it stands: center, 'top left', or '50% 100%' across and down.",
        unit="X Y",
    )
    preset: Preset = _option(
        "none",
        "Values for what is left at its default: profile is 1:1 with head-room, passport 7:9 on "
        "white, product 1:1 on white with the subject at 85%.",
        get_args(Preset),
    )
    shadow: Shadow = _option(
        "none", "Draw a shadow, behind the subject or where it stands.", get_args(Shadow)
    )
    shadow_opacity: float = _option(50.0, "Its darkness.", unit="0..100")
    shadow_offset: str | None = _option(
        None,
        "How far right and down, px or % of the subject: for drop 2% 3%, for contact 0 0.",
        unit="X Y",
    )
    shadow_blur: str | None = _option(
        None, "Its softness, px or % of the subject: 2% if not given.", unit="LENGTH"
    )
    result: Result = _option(
        "cutout",
        "What to write: the cut-out (composed, if there is a background), the mask or trimap as "
        "8-bit grey, the foreground's colours without alpha, the background with a hole, or all "
        "steps side by side.",
        get_args(Result),
    )
    format: FileFormat = _option(
        "auto",
        "Kind of file to write; zip has color.jpg and alpha.png, ora layers (OpenRaster).",
        get_args(FileFormat),
    )
    file_quality: int = _option(
        90, "1..100 for JPEG, WebP and AVIF; 100 writes WebP without loss.", unit="1..100"
    )
    png: Effort = _option(
        "fast",
        "How hard PNG and lossless WebP are squeezed: fast takes a tenth of small's time.",
        get_args(Effort),
    )
    keep_depth: bool = _option(False, "Keep 16 bits a channel when the input has them.")
    max_megapixels: float = _option(200.0, "Refuse larger pictures.", unit="MP")
    output_megapixels: float = _option(
        0.0, "Shrink larger pictures to this first; 0 leaves them as they are.", unit="MP"
    )
    allow_truncated: bool = _option(False, "Read what is there of a damaged file.")

    def __post_init__(self) -> None:
        """Apply the preset, then refuse what cannot be, early and saying what can.

        Raises:
            UnknownName: if a value is not among its field's choices.
            OptionError: if a value is malformed or beyond its limits, or two do not go together.
        """
        for option in dataclasses.fields(self):
            choices = option.metadata["choices"]
            value = getattr(self, option.name)
            if choices and value not in choices:
                raise UnknownName(option.name, value, choices)
            if option.name in PRESETS[self.preset] and value == option.default:
                object.__setattr__(self, option.name, PRESETS[self.preset][option.name])
        if isinstance(self.background, os.PathLike):  # a path, even if it reads like a colour
            path = os.fspath(self.background)
            path = path if os.path.dirname(path) else os.path.join(os.curdir, path)
            object.__setattr__(self, "background", path)
        if not 1 <= self.file_quality <= 100:
            raise OptionError("file_quality", self.file_quality, "give 1 to 100")
        if self.harden is not None and not 0 < self.harden < 1:
            raise OptionError("harden", self.harden, "give a number between 0 and 1")
        for name in ("specks_px", "holes_px", "smooth_px", "feather_px"):
            if getattr(self, name) < 0:
                raise OptionError(name, getattr(self, name), "give 0 or more")
        if self.short_side is not None and self.short_side != 0 and self.short_side < 32:
            raise OptionError("short_side", self.short_side, "give 0, or 32 or more")
        if not self.max_megapixels > 0:
            raise OptionError("max_megapixels", self.max_megapixels, "give a number above 0")
        if not self.output_megapixels >= 0:
            raise OptionError("output_megapixels", self.output_megapixels, "give 0 or more")
        self._check_composition()

    def _check_composition(self) -> None:
        """Read every value that has a grammar of its own."""
        if isinstance(self.background, str):
            values.parse_background(self.background)
        if self.roi is not None:
            values.parse_region(self.roi)
        if any(length.number for length in values.parse_margin(self.margin)) and not self.crop:
            raise OptionError("margin", self.margin, "is the room around a crop: add crop")
        if not 0 < self.threshold < 1:
            raise OptionError("threshold", self.threshold, "give a number between 0 and 1")
        canvas = values.parse_canvas(self.size) if self.size is not None else None
        if canvas and canvas.size and canvas.size[0] * canvas.size[1] > self.max_megapixels * 1e6:
            raise OptionError("size", self.size, f"above {self.max_megapixels:g} megapixels")
        values.parse_scale(self.scale)
        values.parse_position(self.position)
        if not 0 <= self.shadow_opacity <= 100:
            raise OptionError("shadow_opacity", self.shadow_opacity, "give 0 to 100")
        if self.shadow_offset is not None:
            values.parse_offset(self.shadow_offset)
        if self.shadow_blur is not None:
            values.parse_length("shadow_blur", self.shadow_blur)

    @property
    def opaque(self) -> bool:
        """Whether the result is a photograph through which nothing shines, so that JPEG suits."""
        if self.background is None or self.result not in ("cutout", "background"):
            return False
        text = self.background
        return not isinstance(text, str) or values.parse_background(text).opaque

    def replace(self, **changes: "Unpack[OptionChanges]") -> "Options":
        """Return a copy with some fields changed.

        Raises:
            UnknownName: if a field does not exist, or a value is not among its choices.
            OptionError: if a value is malformed or beyond its limits.
        """
        known = [option.name for option in dataclasses.fields(self)]
        for name in changes:
            if name not in known:
                raise UnknownName("option", name, known)
        return dataclasses.replace(self, **changes)
