"""All that a user can choose, once: flags, query fields and forms are made from `Options`."""

import dataclasses
import functools
import numbers
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict, get_args

from alphacut import files, values
from alphacut.errors import ImageError, OptionError, UnknownName

if TYPE_CHECKING:
    from typing_extensions import Unpack  # Python has it from 3.11 on

Quality = Literal["fast", "best"]
FileFormat = Literal["auto", "png", "webp", "avif", "tiff", "jpg", "zip", "ora"]
Effort = Literal["fast", "balanced", "small"]
KeptMetadata = Literal["keep", "private", "none"]
Result = Literal["cutout", "mask", "trimap", "parts", "foreground", "background", "preview"]
Subjects = Literal["together", "separate"]
Fit = Literal["cover", "contain", "stretch", "tile", "center-crop"]
Shadow = Literal["none", "drop", "contact", "keep"]
Preset = Literal["none", "profile", "passport", "product"]
RuntimeName = Literal["openvino", "onnx", "torch"]
Precision = Literal["auto", "fp32", "bf16", "fp16", "int8"]
DeviceName = Literal["auto", "cpu", "gpu", "cuda", "mps", "npu", "openvino-auto"]
ClassMask = Literal["hard", "soft"]
PathText: TypeAlias = str | os.PathLike[str]

RESULTS: tuple[Result, ...] = get_args(Result)
RUNTIMES: tuple[RuntimeName, ...] = get_args(RuntimeName)
DEVICES: tuple[DeviceName, ...] = get_args(DeviceName)
# What a preset sets where the user sets nothing; geometry.py frames portraits
PRESETS = MappingProxyType({
    "none": {},
    "profile": {"size": "1:1"},
    "passport": {"size": "7:9", "background": "white"},
    "product": {"size": "1:1", "scale": "85%", "background": "white"},
})  # fmt: skip
# The fields that presets set, and what they are where neither user nor preset sets them
_UNSET = MappingProxyType({"size": None, "scale": "original", "background": None})
# Fields that name an image, or hold its content
_IMAGES = ("background", "trimap", "pair", "plate")
_ARRANGING = ("crop", "margin", "size", "scale", "position", "preset")
DEFAULT_MODEL = "alphacut-lite"
# For each kind of value: what is accepted, and what to write
_KINDS: dict[type, tuple[type | tuple[type, ...], str]] = {
    bool: (bool, "give True or False"),
    int: (numbers.Integral, "give a whole number"),
    float: (numbers.Real, "give a number"),
    str: (str, "give text"),
}


def _option(
    default: Any,
    meaning: str,
    choices: tuple[str, ...] = (),
    *,
    unit: str = "",
    kind: type | None = None,
    low: float | None = None,
    high: float | None = None,
    inclusive: bool = True,
    parse: Callable[[str], object] | None = None,
    joined: str = "",
) -> Any:
    """Declare a field with its manual and all that its value is checked for.

    Args:
        default: Its default, which it may always be.
        meaning: Its manual.
        choices: All the values there are.
        unit: What its value is called in a manual.
        kind: Type of its value, where the default does not show it.
        low: Its least value.
        high: Its greatest value.
        inclusive: Whether it may be `low` and `high` themselves.
        parse: Reads a text that has a grammar of its own, and refuses others.
        joined: What stands between values of a flag that may be given several times, if it may.
    """
    kind = kind or (str if default is None else type(default))
    facts = {"help": meaning, "choices": choices, "unit": unit, "kind": kind, "low": low,
             "high": high, "inclusive": inclusive, "parse": parse, "joined": joined}  # fmt: skip
    return field(default=default, metadata=facts)


def _check(option: "dataclasses.Field[Any]", value: Any) -> Any:
    """Return a field's value in its own type.

    Raises:
        UnknownName: if it is not among the field's choices.
        OptionError: if it is of another kind, malformed, or beyond the field's limits.
    """
    facts = option.metadata
    if type(value) is type(option.default) and value == option.default:
        return value
    if facts["choices"]:
        if value not in facts["choices"]:
            raise UnknownName(option.name, value, facts["choices"])
        return value
    kind, low, high = facts["kind"], facts["low"], facts["high"]
    accepted, advice = _KINDS[kind]
    if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
        raise OptionError(option.name, value, advice)
    if facts["parse"] and isinstance(value, str):
        facts["parse"](value)
    if kind not in (int, float):
        return value
    number = kind(value)
    inside = (low is None or number >= low) and (high is None or number <= high)
    if not inside or (not facts["inclusive"] and number in (low, high)):  # nan is never inside
        if facts["inclusive"]:
            advice = f"give {low:g} or more" if high is None else f"give {low:g} to {high:g}"
        elif high is None:
            advice = f"give a number above {low:g}"
        else:
            advice = f"give a number between {low:g} and {high:g}"
        raise OptionError(option.name, value, advice)
    return number


class OptionChanges(TypedDict, total=False):
    """Names and types of the fields of `Options`, any of which may be given."""

    model: str
    runtime: RuntimeName
    device: DeviceName
    precision: Precision
    classes: str
    class_mask: ClassMask
    short_side: int | None
    input_size: str | None
    quality: Quality
    matting: str
    trimap: PathText | bytes | None
    trimap_kernel: str
    trimap_erode: int | None
    trimap_dilate: int | None
    save_trimap: bool
    decontaminate: bool
    specks_px: int
    holes_px: int
    largest: bool
    grow_px: int
    smooth_px: float
    harden: float | None
    binary: float | None
    feather_px: float
    roi: str | None
    points: str
    box: str | None
    ground: str
    spill: float
    plate: PathText | bytes | None
    pair: PathText | bytes | None
    background: PathText | bytes | None
    fit: Fit
    linear_light: bool
    crop: bool
    margin: str
    threshold: float
    size: str | None
    scale: str | None
    position: str
    preset: Preset
    shadow: Shadow
    shadow_opacity: float
    shadow_offset: str | None
    shadow_blur: str | None
    result: Result
    subjects: Subjects
    format: FileFormat
    file_quality: int
    png: Effort
    keep_depth: bool
    metadata: KeptMetadata
    max_megapixels: float
    output_megapixels: float
    allow_truncated: bool


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a background is removed and how the result is written. The only place of defaults.

    The text beside each field is its manual: `alphacut remove --help` prints it.
    """

    model: str = _option(DEFAULT_MODEL, "Network that finds the subject.", unit="NAME")
    runtime: RuntimeName = _option("openvino", "Library that runs it.", get_args(RuntimeName))
    device: DeviceName = _option(
        "auto",
        "Device it runs on; openvino-auto leaves the choice to OpenVINO, which may change it.",
        get_args(DeviceName),
    )
    precision: Precision = _option(
        "auto",
        "fp32 is exact; int8, and bf16 on recent processors, are faster, and auto takes them where "
        "they are as accurate; fp16 is for GPUs.",
        get_args(Precision),
    )  # fmt: skip
    classes: str = _option(
        "", "Classes that count as subject, such as person,dog; for models with classes.",
        unit="NAMES",
    )  # fmt: skip
    class_mask: ClassMask = _option(
        "hard", "Mask of a model with classes: the likeliest class, or its probability.",
        get_args(ClassMask),
    )  # fmt: skip
    short_side: int | None = _option(
        None,
        "Network input's shorter side, for models without a fixed size; 0 takes the picture's own.",
        unit="PX", kind=int, low=0,
    )  # fmt: skip
    input_size: str | None = _option(
        None, "Network input's size, width first, if not the model's own: it is stretched to this.",
        unit="WxH", parse=functools.partial(values.parse_sides, "input_size", least=32),
    )  # fmt: skip
    quality: Quality = _option(
        "fast", "best runs the network four times and solves the edges exactly; it takes longer.",
        get_args(Quality),
    )  # fmt: skip
    matting: str = _option(
        "auto",
        "How edges are found: none, fast, closed-form, or by a matting network such as indexnet; "
        "auto is fast, or closed-form for best.",
        unit="METHOD",
    )
    trimap: PathText | bytes | None = _option(
        None,
        "Grey image to use instead of the network's output: black is background, white foreground, "
        "all else unknown. Of a folder, the one with the picture's name, or that and -trimap.",
        unit="FILE|FOLDER",
    )
    trimap_kernel: str = _option(
        "3x3", "Kernel that erodes and dilates the mask into a trimap, width first.",
        unit="WxH", parse=functools.partial(values.parse_sides, "trimap_kernel", most=500),
    )  # fmt: skip
    trimap_erode: int | None = _option(
        None, "How often it erodes the foreground; by default as far as 1/200 of the long side.",
        unit="TIMES", kind=int, low=0, high=1000,
    )  # fmt: skip
    trimap_dilate: int | None = _option(
        None, "How often it dilates the rest; the same default.",
        unit="TIMES", kind=int, low=0, high=1000,
    )  # fmt: skip
    save_trimap: bool = _option(False, "Also write NAME-trimap.png beside each result.")
    decontaminate: bool = _option(True, "Remove the old background's colour from soft edges.")
    specks_px: int = _option(0, "Remove detached parts of fewer pixels.", unit="PIXELS", low=0)
    holes_px: int = _option(0, "Fill enclosed holes of fewer pixels.", unit="PIXELS", low=0)
    largest: bool = _option(False, "Keep only the largest subject.")
    grow_px: int = _option(
        0, "Move edges outwards, or inwards if negative.", unit="PIXELS", low=-100, high=100
    )
    smooth_px: float = _option(
        0.0, "Smooth ragged edges up to this size.", unit="PIXELS", low=0, high=100
    )
    harden: float | None = _option(
        None, "Make edges hard but anti-aliased, at this alpha.",
        unit="0..1", kind=float, low=0, high=1, inclusive=False,
    )  # fmt: skip
    binary: float | None = _option(
        None, "Make alpha 0 or 1, without anti-aliasing: 1 where it is above this.",
        unit="0..1", kind=float, low=0, high=1, inclusive=False,
    )  # fmt: skip
    feather_px: float = _option(
        0.0, "Soften edges over this width.", unit="PIXELS", low=0, high=200
    )
    roi: str | None = _option(
        None, "Region that can be subject: 'LEFT TOP RIGHT BOTTOM', px or %.",
        unit="REGION", parse=functools.partial(values.parse_region, "roi"),
    )  # fmt: skip
    points: str = _option(
        "",
        "Which subject, by a place on it: 'X Y', px or %; 'X Y drop' is on one that is not meant. "
        "May be given several times.",
        unit="'X Y'", parse=values.parse_points, joined="; ",
    )  # fmt: skip
    box: str | None = _option(
        None, "Which subject, by a box around it: 'LEFT TOP RIGHT BOTTOM', px or %. The network "
        "looks there.",
        unit="BOX", parse=functools.partial(values.parse_region, "box"),
    )  # fmt: skip
    ground: str = _option(
        "off",
        "Solve gaps and thin parts from a plain ground behind the subject: auto finds it, a colour "
        "says what it is; pictures without one stay as they are.",
        unit="auto|off|COLOUR", parse=values.parse_ground,
    )  # fmt: skip
    spill: float = _option(
        1.0, "How much of a green or blue screen's light to take off the subject.",
        unit="0..1", low=0, high=1,
    )  # fmt: skip
    plate: PathText | bytes | None = _option(
        None, "The same scene without its subject, from the same place; it is aligned.",
        unit="FILE",
    )  # fmt: skip
    pair: PathText | bytes | None = _option(
        None,
        "The same subject before another plain ground, as white and black: alpha is solved "
        "exactly, without a network. Of a folder, the image with the picture's name.",
        unit="FILE|FOLDER",
    )
    background: PathText | bytes | None = _option(
        None,
        "Put the subject on a colour (name, #rrggbb, #rrggbbaa, rgb()), an image (path), "
        "checkerboard or transparent, or on its own background: blur:PX, disc:PX (like a lens), "
        "desaturate, darken:%.",
        unit="BACKGROUND", parse=values.parse_background,
    )  # fmt: skip
    fit: Fit = _option("cover", "How a background image fills the canvas, centred.", get_args(Fit))
    linear_light: bool = _option(
        False, "Blend in linear light rather than in sRGB, as most programs do."
    )
    crop: bool = _option(False, "Crop to the subject's bounding box.")
    margin: str = _option(
        "0", "Space around the crop, as in CSS: 1, 2 or 4 values, px or % of the subject.",
        unit="MARGIN", parse=values.parse_margin,
    )  # fmt: skip
    threshold: float = _option(
        0.02, "Alpha below this counts as empty for crop, scale and position.",
        unit="0..1", low=0, high=1, inclusive=False,
    )  # fmt: skip
    size: str | None = _option(
        None, "Canvas: 800x600 in pixels, width first, or an aspect ratio such as 1:1.",
        unit="WxH|W:H", parse=values.parse_canvas,
    )  # fmt: skip
    scale: str | None = _option(
        None, "Subject's share of the canvas, 10% to 100%, or original; a share centres it.",
        unit="%", parse=values.parse_scale,
    )  # fmt: skip
    position: str = _option(
        "original", "Where the subject stands: center, 'top left', or '50% 100%' across and down.",
        unit="X Y", parse=values.parse_position,
    )  # fmt: skip
    preset: Preset = _option(
        "none",
        "Fill in what is not set: profile is 1:1 with headroom, passport 7:9 on white, product 1:1 "
        "on white with the subject at 85%. Each is as large as its picture allows: add a size "
        "such as 1600x1600 to make all alike.",
        get_args(Preset),
    )
    shadow: Shadow = _option(
        "none",
        "Draw a drop shadow behind the subject, or a contact shadow where it stands; or keep the "
        "real one, from a known ground.",
        get_args(Shadow),
    )  # fmt: skip
    shadow_opacity: float = _option(50.0, "The shadow's opacity.", unit="0..100", low=0, high=100)
    shadow_offset: str | None = _option(
        None,
        "The shadow's offset right and down, px or % of the subject; 2% 3% for drop and 0 0 for "
        "contact by default.",
        unit="X Y", parse=values.parse_offset,
    )  # fmt: skip
    shadow_blur: str | None = _option(
        None, "The shadow's softness, px or % of the subject; 2% by default.",
        unit="LENGTH", parse=functools.partial(values.parse_length, "shadow_blur"),
    )  # fmt: skip
    result: Result = _option(
        "cutout",
        "What to write: the cut-out (composited, if a background is set), the mask or trimap as "
        "8-bit grey, the parts that hang together as their numbers from left to right, the "
        "foreground's colours without alpha, the background with a hole, or a preview of all "
        "steps.",
        get_args(Result),
    )
    subjects: Subjects = _option(
        "together",
        "separate writes each subject on its own, from left to right: NAME-1.png, NAME-2.png, or "
        "layers in .ora. Those that touch are one; parts below 1% of the picture belong to their "
        "nearest.",
        get_args(Subjects),
    )
    format: FileFormat = _option(
        "auto", "File format; zip holds color.jpg and alpha.png, ora layers (OpenRaster).",
        get_args(FileFormat),
    )  # fmt: skip
    file_quality: int = _option(
        90, "Quality of JPEG, WebP and AVIF; 100 makes WebP lossless.",
        unit="1..100", low=1, high=100,
    )  # fmt: skip
    png: Effort = _option(
        "fast",
        "Compression effort of PNG and lossless WebP; fast takes a tenth of small's time.",
        get_args(Effort),
    )
    keep_depth: bool = _option(
        True, "Keep 16 bits a channel where input and file format have them (PNG, TIFF)."
    )
    metadata: KeptMetadata = _option(
        "keep",
        "What to copy from the photo's metadata: keep copies author, copyright, time, camera and "
        "place; private leaves out place, serial numbers and owner; none copies only colour "
        "profile and density. Thumbnails are never copied.",
        get_args(KeptMetadata),
    )
    max_megapixels: float = _option(
        200.0, "Refuse larger pictures.", unit="MP", low=0, inclusive=False
    )
    output_megapixels: float = _option(
        0.0, "Downscale larger pictures to this first; 0 keeps their size.", unit="MP", low=0
    )
    allow_truncated: bool = _option(False, "Read what is left of a damaged file.")
    # Which fields a preset may fill in: each instance has its own; unannotated, as it is no option
    _left_open = tuple[str, ...]()

    def __post_init__(self) -> None:
        """Check every value, then fill in what the preset says.

        Raises:
            UnknownName: if a value is not among its field's choices.
            OptionError: if a value is of another kind, malformed or beyond its limits, or two do
                not go together.
        """
        for option in dataclasses.fields(self):
            value = getattr(self, option.name)
            if isinstance(value, os.PathLike):  # a path, even if it reads like a colour
                path = os.fspath(value)
                value = path if os.path.dirname(path) else os.path.join(os.curdir, path)
            if option.name not in _IMAGES or not isinstance(value, bytes):  # an image's content
                value = _check(option, value)
            self._set(option.name, value)
        self._set("_left_open", tuple(name for name in _UNSET if getattr(self, name) is None))
        for name in self._left_open:
            self._set(name, PRESETS[self.preset].get(name, _UNSET[name]))
        if self.short_side is not None and 0 < self.short_side < 32:
            raise OptionError("short_side", self.short_side, "give 0, or 32 or more")
        if self.input_size is not None and self.short_side is not None:
            raise OptionError("input_size", self.input_size, "give it or short_side, not both")
        if self.binary is not None and self.harden is not None:
            raise OptionError("binary", self.binary, "give it or harden, not both")
        known = [name for name in ("pair", "plate", "trimap") if getattr(self, name) is not None]
        if len(known) > 1:
            raise OptionError(known[0], getattr(self, known[0]), f"give it or {known[1]}, not both")
        grounded = self.solves_ground
        if self.shadow == "keep" and (not grounded or self.trimap or self.pair):
            raise OptionError("shadow", "keep", "needs a known ground: add ground or plate")
        if self.model == "none" and not (grounded or self.pair or self.trimap):
            needs = "a known ground or trimap: add ground, plate, pair or trimap"
            raise OptionError("model", "none", f"needs {needs}")
        room = self.margin != Options.margin and values.parse_margin(self.margin)
        if room and any(length.number for length in room) and not self.crop:
            raise OptionError("margin", self.margin, "is the space around a crop: add crop")
        canvas = values.parse_canvas(self.size) if self.size is not None else None
        if canvas and canvas.size and canvas.size[0] * canvas.size[1] > self.max_megapixels * 1e6:
            raise OptionError("size", self.size, f"above {self.max_megapixels:g} megapixels")

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    @property
    def network_size(self) -> tuple[int, int] | None:
        """(H, W) of the network's batches; None for the model's own."""
        if self.input_size is None:
            return None
        return values.parse_sides("input_size", self.input_size)

    @property
    def asks_network(self) -> bool:
        """Whether a network finds the subject, which a pair or a trimap tells by itself."""
        return self.model != "none" and self.pair is None and self.trimap is None

    @property
    def solves_ground(self) -> bool:
        """Whether a ground is looked for behind the subject, plain or on a plate."""
        return self.plate is not None or self.ground.strip().lower() != "off"

    @property
    def opaque(self) -> bool:
        """Whether nothing shines through the result, so that JPEG suits it."""
        if self.background is None or self.result not in ("cutout", "background"):
            return False
        text = self.background
        return not isinstance(text, str) or values.parse_background(text).opaque

    def replace(self, **changes: "Unpack[OptionChanges]") -> "Options":
        """Return a copy with some fields changed; what a preset filled in follows the preset.

        Raises:
            UnknownName: if a field does not exist, or a value is not among its choices.
            OptionError: if a value is malformed or beyond its limits.
        """
        known = [option.name for option in dataclasses.fields(self)]
        for name in changes:
            if name not in known:
                raise UnknownName("option", name, known)
        left_open: dict[str, Any] = dict.fromkeys(self._left_open)
        return dataclasses.replace(self, **{**left_open, **changes})

    def without_streams(self) -> "Options":
        """Return a copy that holds what pipes and devices give, which is to be had only once.

        Raises:
            ImageError: if one cannot be read.
        """
        held: dict[str, Any] = {}
        for name in _IMAGES:
            path = getattr(self, name)
            if isinstance(path, str) and files.is_stream(Path(path)):
                try:
                    held[name] = Path(path).read_bytes()
                except OSError as error:
                    reason = "background" if name == "background" else "unreadable"
                    raise ImageError(f"{path}: cannot be read: {error.strerror}", reason) from error
        return self.replace(**held) if held else self

    def arranged(self) -> "Options":
        """Return what is left to do once a cut-out has been cropped, sized and placed."""
        done: dict[str, Any] = {option.name: option.default for option in dataclasses.fields(self)
                                if option.name in _ARRANGING}  # fmt: skip
        return dataclasses.replace(self, **done)
