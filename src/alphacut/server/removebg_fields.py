"""remove.bg's parameters: what each may be, and what it means as `Options`."""

import re
from typing import Any

from alphacut import values
from alphacut.errors import OptionError
from alphacut.options import KeptMetadata, Options
from alphacut.server.body import Fields
from alphacut.server.removebg_errors import refuse, refuse_parameter

SOURCES = ("image_file", "image_file_b64", "image_url")
BACKGROUNDS = ("bg_color", "bg_image_url", "bg_image_file")
FILES = ("image_file", "image_file_b64", "bg_image_file", "pair_file", "plate_file")

# Largest result in megapixels
SIZES = {
    "preview": 0.25, "small": 0.25, "regular": 0.25, "medium": 1.5, "hd": 4.0, "full": 25.0,
    "4k": 25.0, "50mp": 50.0, "auto": 25.0,
}  # fmt: skip
FORMATS = {"auto": "auto", "png": "png", "jpg": "jpg", "webp": "webp", "zip": "zip"}
CHANNELS = {"rgba": "cutout", "alpha": "mask"}
# Subjects that clients name, and their X-Type at level 1 and from level 2 on
SUBJECTS = {
    "auto": ("other", "other"), "person": ("person", "person"), "product": ("product", "product"),
    "animal": ("animal", "animal"), "car": ("car", "car"), "other": ("other", "other"),
    "car_interior": ("car", "car_interior"), "car_part": ("car", "car_part"),
    "transportation": ("other", "transportation"), "graphic": ("other", "graphics"),
    "graphics": ("other", "graphics"),
}  # fmt: skip
TYPE_LEVELS = ("none", "1", "2", "latest")
# Its shadows, and the nearest that are drawn here
SHADOWS = {"none": "none", "car": "contact", "3d": "contact", "drop": "drop", "keep": "keep"}
_AUTO_SHADOW = {"car": "car", "person": "3d", "transportation": "3d"}  # others: drop
# The parameter that an option is made of, where their names differ
_PARAMETER_OF = {"margin": "crop_margin", "shadow": "shadow_type", "pair": "pair_file",
                 "plate": "plate_file"}  # fmt: skip

TEXT = {"type": "string"}
FILE = {"type": "string", "format": "binary"}
_FLAG = {"type": "boolean"}


def _one_of(known: Any, default: str) -> dict[str, Any]:
    return {"type": "string", "enum": list(known), "default": default}


# Parameter: its schema and meaning
PARAMETERS: dict[str, tuple[dict[str, Any], str]] = {
    "image_file": (FILE, "Source image, in multipart only."),
    "image_file_b64": (TEXT, "Source image in base64."),
    "image_url": (TEXT, "URL of the source image, if this service fetches."),
    "size": (
        _one_of((*(name for name in SIZES if name != "50mp"), "50MP"), "preview"),
        "Largest result, by its number of pixels.",
    ),
    "type": (_one_of(SUBJECTS, "auto"), "What the subject is."),
    "type_level": (_one_of(TYPE_LEVELS, "1"), "How specific X-Type is."),
    "format": (_one_of(FORMATS, "auto"), "zip holds color.jpg and alpha.png."),
    "roi": (TEXT, "Only what is inside 'x1 y1 x2 y2', in px or %, can be foreground."),
    "crop": (_FLAG, "Crop to the subject."),
    "crop_margin": (TEXT, "Margin around the crop: 1, 2 or 4 values in px or % of the subject."),
    "scale": (TEXT, "original, or 10% to 100%: the subject's share of the image."),
    "position": (TEXT, "original, center, or one or two percentages."),
    "channels": (_one_of(CHANNELS, "rgba"), "alpha returns the mask in greyscale."),
    "add_shadow": (_FLAG, "The same as shadow_type[car]=car."),
    "shadow_type": (TEXT, "none, auto, car, 3D or drop; keep, with a ground, is our own."),
    "shadow_opacity": (TEXT, "auto, or 0 to 100."),
    "shadow_method": (TEXT, "Ignored, as at remove.bg."),
    "semitransparency": (_FLAG, "Accepted; soft alpha is always kept."),
    "bg_color": (TEXT, "3, 4, 6 or 8 hex digits, or a colour's name."),
    "bg_image_url": (TEXT, "URL of the background image, if this service fetches."),
    "bg_image_file": (FILE, "Background image, in multipart only."),
    "ground": (TEXT, "Our own: auto, off or a colour: the plain ground behind the subject."),
    "spill": (TEXT, "Our own: 0 to 1, how much of a screen's light is taken off the subject."),
    "points": (TEXT, "Our own: which subject, by places on it: 'x y; x y drop', in px or %."),
    "box": (TEXT, "Our own: which subject, by a box around it: 'x1 y1 x2 y2', in px or %."),
    "pair_file": (FILE, "Our own: the same subject before another plain ground."),
    "plate_file": (FILE, "Our own: the same scene without its subject."),
}


def translate(
    fields: Fields, *, model: str, max_megapixels: float, metadata: KeptMetadata = Options.metadata
) -> Options:
    """Read all fields but the images as `Options`.

    Args:
        fields: The request's.
        model: The network to use.
        max_megapixels: Larger images are refused.
        metadata: What results copy from the photo's metadata.

    Raises:
        Refusal: 400 with the documented code if a value is invalid.
    """
    subject = _choice(fields, "type", SUBJECTS, "auto")
    _choice(fields, "type_level", TYPE_LEVELS, "1")
    for name in ("semitransparency", "add_shadow", "crop"):
        _flag(fields, name)
    given = [name for name in BACKGROUNDS if name in fields]
    if len(given) > 1:
        raise refuse("multiple_bg_sources")
    kind = FORMATS[_choice(fields, "format", FORMATS, "auto")]
    result = CHANNELS[_choice(fields, "channels", CHANNELS, "rgba")]
    if kind == "zip":
        result = "cutout"  # a zip has both
    shadow, opacity = _shadow(fields, subject)
    margin = fields.text("crop_margin") or "0"
    chosen: dict[str, Any] = {
        "model": model,
        "max_megapixels": max_megapixels,
        "metadata": metadata,
        "output_megapixels": SIZES[_choice(fields, "size", SIZES, "preview").lower()],
        "format": kind,
        "keep_depth": False,  # as remove.bg answers
        "result": result,
        "roi": _roi(fields.text("roi")),
        "background": _colour(fields.text("bg_color")),
        "crop": True,
        "margin": margin,
        "scale": fields.text("scale") or "original",
        "position": fields.text("position") or "original",
        "ground": fields.text("ground") or Options.ground,
        "spill": _number(fields, "spill", Options.spill),
        "points": fields.text("points") or "",
        "box": fields.text("box"),
        "pair": fields.bytes_of("pair_file"),
        "plate": fields.bytes_of("plate_file"),
        "shadow": shadow,
        "shadow_opacity": opacity,
    }
    try:
        options = Options(**chosen)
    except OptionError as error:
        raise refuse_parameter(
            _PARAMETER_OF.get(error.option, error.option), error.advice
        ) from error
    return options if _flag(fields, "crop") else options.replace(crop=False, margin="0")


def _number(fields: Fields, name: str, default: float) -> float:
    """Read a number, whose limits `Options` knows."""
    text = fields.text(name)
    try:
        return default if text is None else float(text)
    except ValueError as error:
        raise refuse_parameter(name, "Give a number") from error


def _choice(fields: Fields, name: str, known: Any, default: str) -> str:
    """Read a parameter that takes one of several words."""
    text = fields.text(name) or default
    if text not in known and text.lower() not in known:
        raise refuse_parameter(name, f"Choose one of {', '.join(known)}")
    return text if text in known else text.lower()


def _flag(fields: Fields, name: str) -> bool:
    """Read a parameter that is true or false."""
    text = (fields.text(name) or "false").lower()
    if text not in ("true", "false", "1", "0", "on", "off"):  # a checkbox says on
        raise refuse_parameter(name, "Choose true or false")
    return text in ("true", "1", "on")


def _colour(text: str | None) -> str | None:
    """Read a colour, and write it so that it cannot be taken for anything else, such as a path."""
    if text is None:
        return None
    found = values.find_colour(text)
    if found is None:
        raise refuse_parameter("bg_color", "Give 3, 4, 6 or 8 hex digits, or a colour's name")
    return "#" + bytes(found).hex()


def _roi(text: str | None) -> str | None:
    """Check a region as far as that is possible without its image."""
    if text is None:
        return None
    try:
        left, top, right, bottom = values.parse_region("roi", text)
    except OptionError as error:
        raise refuse_parameter("roi", error.advice) from error
    for near, far in ((left, right), (top, bottom)):
        if any(length.percent and length.number > 100 for length in (near, far)):
            raise refuse("roi_exceeds_bounds")
        if near.number >= far.number and (near.percent == far.percent or not far.number):
            raise refuse("roi_region_empty")
    whole = not (left.number or top.number) and right.percent and bottom.percent
    return None if whole and right.number == bottom.number == 100 else text


def _shadow(fields: Fields, subject: str) -> tuple[str, float]:
    """Choose a subject's shadow and its opacity."""
    subject = {"graphics": "graphic", "auto": "other"}.get(subject, subject)
    named = {kind.lower(): what.lower() for kind, what in fields.keyed("shadow_type").items()}
    plain = None if named else (fields.text("shadow_type") or "").lower() or None
    if plain is None and not named and _flag(fields, "add_shadow"):
        named = {"car": "car"}
    for what in (*named.values(), plain):
        if what not in (None, "auto", *SHADOWS):
            raise refuse_parameter("shadow_type", "Choose none, auto, car, 3D, drop or keep")
    wanted = plain or named.get(subject, "none")
    if wanted == "auto":
        wanted = _AUTO_SHADOW.get(subject, "drop")
    keyed = fields.keyed("shadow_opacity")
    opacity = keyed.get(subject) if keyed else fields.text("shadow_opacity")
    for text in (*keyed.values(), opacity or "auto"):
        if text != "auto" and not re.fullmatch(r"\d{1,2}(\.\d*)?|100(\.0*)?", text):
            raise refuse_parameter("shadow_opacity", "Give auto, or 0 to 100")
    if opacity in (None, "auto"):
        return SHADOWS[wanted], 90.0 if wanted == "car" else 50.0
    return SHADOWS[wanted], float(str(opacity))


def take_source(fields: Fields, max_bytes: int) -> bytes | None:
    """Take the image that a request brings out of its fields; None if it names an address.

    Raises:
        Refusal: 400 if there is not exactly one, or it is empty, too large or not base64.
    """
    given = [name for name in SOURCES if name in fields]
    if not given:
        raise refuse("missing_source")
    if len(given) > 1:
        raise refuse("multiple_sources")
    if given == ["image_url"]:
        return None
    try:
        image = (
            fields.take_base64(given[0])
            if given == ["image_file_b64"]
            else fields.bytes_of(given[0])
        )
    except ValueError as error:
        raise refuse("failed_to_read_image", "image_file_b64 is not base64.") from error
    if not image:
        raise refuse("failed_to_read_image", "It is empty.")
    if len(image) > max_bytes:
        raise refuse("file_too_large", f"{max_bytes / 1e6:g}")
    return image
