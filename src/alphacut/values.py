"""What users write in options, parsed into small typed values: lengths, sizes, colours, words.

Nothing here needs an image, so a wrong value is refused before any work.
"""

import math
import re
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from alphacut.errors import OptionError

RGBA: TypeAlias = tuple[int, int, int, int]

MARGIN_PX, MARGIN_PERCENT = 500, 50
LONGEST_SIDE_PX = 65535
MOST_POINTS = 100
BLUR, DARKEN = "2%", "50%"
_OWN = re.compile(r"(blur|disc|darken|desaturate)(?::(.*))?", re.I)
_HEX = re.compile(r"#?([0-9a-f]{3,4}|[0-9a-f]{6}|[0-9a-f]{8})", re.I)
_RGB = re.compile(r"rgba?\(([^()]*)\)", re.I)
_NUMBER = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(px|%)?", re.I)
_SIDES = re.compile(r"(\d+)\s*[x\N{MULTIPLICATION SIGN}]\s*(\d+)", re.I)
_SHARE = re.compile(r"(\d+\.?\d*)\s*%?")
# Shares across and down; None leaves a direction to the other word, or in the middle
_POSITIONS: dict[str, tuple[float | None, float | None]] = {
    "center": (None, None), "centre": (None, None), "left": (0, None), "right": (1, None),
    "top": (None, 0), "bottom": (None, 1),
}  # fmt: skip


@dataclass(frozen=True)
class Length:
    """A length in pixels, or in percent of a whole known later."""

    number: float
    percent: bool = False

    def of(self, whole_px: float) -> float:
        """Return the length in pixels; `whole_px` is 100 percent."""
        return self.number * whole_px / 100 if self.percent else self.number


@dataclass(frozen=True)
class Point:
    """A place in the image, and whether the subject there is meant.

    Attributes:
        x: Across, from the left.
        y: Down, from the top.
        keep: Whether what is there is subject; otherwise it is not.
    """

    x: Length
    y: Length
    keep: bool


@dataclass(frozen=True)
class Canvas:
    """The result's size.

    Attributes:
        size: (H, W) in pixels, or None where only the shape is given.
        aspect: Width over height.
    """

    size: tuple[int, int] | None
    aspect: float


@dataclass(frozen=True)
class Backdrop:
    """What lies behind the subject.

    Attributes:
        kind: A colour, an image file, an effect on the photo's own background, or a pattern.
        colour: Red, green, blue and alpha in 0..255.
        strength: A blur's standard deviation, a disc's radius, or how much is darkened.
        path: The image file.
    """

    kind: Literal[
        "colour", "file", "blur", "disc", "desaturate", "darken", "checkerboard", "transparent"
    ]
    colour: RGBA = (0, 0, 0, 0)
    strength: Length = Length(0)
    path: str = ""

    @property
    def own(self) -> bool:
        """Whether it is made of the photo's own background."""
        return self.kind in ("blur", "disc", "desaturate", "darken")

    @property
    def opaque(self) -> bool:
        """Whether nothing shines through, as far as the text tells."""
        return self.kind != "transparent" and (self.kind != "colour" or self.colour[3] == 255)


def parse_background(text: str) -> Backdrop:
    """Parse a background: a word, a colour, or else an image's path.

    Words are transparent, checkerboard, desaturate, darken[:PERCENT], blur[:LENGTH] and
    disc[:LENGTH]; lengths are in px or % of the shorter side. A path contains a dot or a slash, so
    a file named like a colour is written ./red.

    Raises:
        OptionError: if it is none of them.
    """
    word = text.strip().lower()
    if word in ("transparent", "checkerboard"):
        return Backdrop("transparent" if word == "transparent" else "checkerboard")
    if own := _OWN.fullmatch(text.strip()):
        name, amount = own[1].lower(), own[2]
        if name == "desaturate" and amount is None:
            return Backdrop("desaturate")
        if name == "darken":
            return Backdrop("darken", strength=Length(_share("background", amount or DARKEN), True))
        if name in ("blur", "disc"):
            strength = parse_length("background", amount or BLUR)
            if not 0 < strength.number <= (50 if strength.percent else 1000):
                raise OptionError("background", text, "give a blur above 0, up to 1000px or 50%")
            return Backdrop("blur" if name == "blur" else "disc", strength=strength)
    if colour := find_colour(text):
        return Backdrop("colour", colour)
    if not re.search(r"[./\\]", text) or _RGB.fullmatch(word) or word.startswith("#"):
        raise OptionError(
            "background",
            text,
            "give a colour (name, #rrggbb, rgb(r, g, b)), an image's path, or blur:PX, disc:PX, "
            "desaturate, darken:%, checkerboard, transparent",
        )
    return Backdrop("file", path=text)


def find_colour(text: str) -> RGBA | None:
    """Parse a colour: a CSS name, 3, 4, 6 or 8 hex digits, rgb(r, g, b) or rgba(r, g, b, a).

    The # may be left out; alpha in rgba() is 0 to 1 or a percentage. Return None for other text.
    """
    from PIL import ImageColor

    word = text.strip().lower()
    if word in ImageColor.colormap:
        red, green, blue = ImageColor.getrgb(word)[:3]
        return red, green, blue, 255
    if digits := _HEX.fullmatch(word):
        whole = digits[1] if len(digits[1]) > 4 else "".join(digit * 2 for digit in digits[1])
        red, green, blue, alpha = bytes.fromhex(whole.ljust(8, "f"))
        return red, green, blue, alpha
    if found := _RGB.fullmatch(word):
        parts = [_NUMBER.fullmatch(part) for part in re.split(r"[\s,/]+", found[1].strip())]
        whites = (255.0, 255.0, 255.0, 1.0)
        if len(parts) not in (3, 4) or any(part is None or part[2] == "px" for part in parts):
            return None
        shares = [float(part[1]) / (100 if part[2] else white)
                  for part, white in zip(parts, whites, strict=False) if part]  # fmt: skip
        if all(0 <= share <= 1 for share in shares):
            red, green, blue, alpha = (round(255 * share) for share in [*shares, 1.0][:4])
            return red, green, blue, alpha
    return None


def parse_ground(text: str) -> tuple[int, int, int] | None:
    """Parse what a ground is said to be: None for auto and off, or a colour's RGB.

    Raises:
        OptionError: if it is none of them, or a translucent colour.
    """
    if text.strip().lower() in ("auto", "off"):
        return None
    colour = find_colour(text)
    if colour is None or colour[3] != 255:
        raise OptionError("ground", text, "give auto, off or a colour, such as white or #00b140")
    return colour[:3]


def parse_length(option: str, text: str, *, least: float = 0.0) -> Length:
    """Parse a length such as 20px, 20 or 5%.

    Raises:
        OptionError: if it is not one, or below `least`.
    """
    found = _NUMBER.fullmatch(text.strip())
    if not found or not least <= float(found[1]) < math.inf:
        raise OptionError(option, text, "give a length such as 20px or 5%")
    return Length(float(found[1]), found[2] == "%")


def parse_time(option: str, text: str) -> float:
    """Parse a time in a film, seconds or [h:]m:s such as 1:02.5, and return it in seconds.

    Raises:
        OptionError: if it is neither.
    """
    if not re.fullmatch(r"(?:(?:\d+:)?\d+:)?\d+(?:\.\d*)?", text.strip()):
        raise OptionError(option, text, "give seconds, or [h:]m:s such as 1:02.5")
    seconds = 0.0
    for part in text.strip().split(":"):
        seconds = 60 * seconds + float(part)
    return seconds


def parse_margin(text: str) -> tuple[Length, Length, Length, Length]:
    """Parse margins in CSS order: all; vertical, horizontal; or top, right, bottom, left.

    Raises:
        OptionError: if there are not 1, 2 or 4 lengths, or one is above 500 px or 50 %.
    """
    lengths = [parse_length("margin", part) for part in _parts(text)]
    if len(lengths) not in (1, 2, 4):
        raise OptionError("margin", text, "give 1, 2 or 4 lengths, such as '10%' or '20px 5%'")
    for length in lengths:
        if length.number > (MARGIN_PERCENT if length.percent else MARGIN_PX):
            raise OptionError(
                "margin", text, f"give at most {MARGIN_PX}px or {MARGIN_PERCENT}% a side"
            )
    top, right, bottom, left = (lengths * 4)[:4]
    return top, right, bottom, left


def parse_canvas(text: str) -> Canvas:
    """Parse a size such as 800x600, width first, or an aspect ratio such as 4:5.

    Raises:
        OptionError: if it is neither, zero, or too large for any file format.
    """
    if found := _SIDES.fullmatch(text.strip()):
        W, H = int(found[1]), int(found[2])
        if not H * W or max(H, W) > LONGEST_SIDE_PX:
            raise OptionError("size", text, f"give 1 to {LONGEST_SIDE_PX} pixels a side")
        return Canvas((H, W), W / H)
    if found := re.fullmatch(r"(\d+\.?\d*)\s*:\s*(\d+\.?\d*)", text.strip()):
        across, down = float(found[1]), float(found[2])
        if across and down and 0.01 <= across / down <= 100:
            return Canvas(None, across / down)
    raise OptionError("size", text, "give pixels such as 800x600, or an aspect ratio such as 1:1")


def parse_sides(option: str, text: str, least: int = 1, most: int = 8192) -> tuple[int, int]:
    """Parse a size in pixels, width first, such as 640x480, and return it as (H, W).

    Raises:
        OptionError: if it is not one, or a side is not between `least` and `most`.
    """
    found = _SIDES.fullmatch(text.strip())
    if not found or not all(least <= int(side) <= most for side in found.groups()):
        raise OptionError(option, text, f"give width x height, {least} to {most} pixels each")
    return int(found[2]), int(found[1])


def parse_scale(text: str | None) -> float | None:
    """Parse the subject's share of the canvas, 10% to 100%; return None for original.

    Raises:
        OptionError: if it is neither.
    """
    if text is None or text.strip().lower() == "original":
        return None
    found = _SHARE.fullmatch(text.strip())
    if not found or not 10 <= float(found[1]) <= 100:
        raise OptionError("scale", text, "give original, or 10% to 100%")
    return float(found[1]) / 100


def parse_position(text: str) -> tuple[float, float] | None:
    """Parse a position: original, words such as 'top left', or 0% to 100% across and down.

    Returns:
        Shares (x, y) in [0, 1] of the free space, left and above; None for original.

    Raises:
        OptionError: if it is none of them.
    """
    parts = _parts(text.lower())
    if parts == ["original"]:
        return None
    wrong = OptionError("position", text, "give original, center, 'top left', or '50% 100%'")
    if parts and all(part in _POSITIONS for part in parts):
        across = [x for part in parts if (x := _POSITIONS[part][0]) is not None]
        down = [y for part in parts if (y := _POSITIONS[part][1]) is not None]
        if len(across) > 1 or len(down) > 1:
            raise wrong
        return (across or [0.5])[0], (down or [0.5])[0]
    try:
        shares = [_share("position", part) / 100 for part in parts]
    except OptionError:
        raise wrong from None
    if len(shares) not in (1, 2):
        raise wrong
    return shares[0], shares[-1]


def parse_region(option: str, text: str) -> tuple[Length, Length, Length, Length]:
    """Parse a region of the image: left, top, right and bottom, in px or %.

    Raises:
        OptionError: if there are not four lengths.
    """
    lengths = [parse_length(option, part) for part in _parts(text)]
    if len(lengths) != 4:
        raise OptionError(option, text, "give left, top, right and bottom, such as '0 0 50% 100%'")
    left, top, right, bottom = lengths
    return left, top, right, bottom


def parse_points(text: str) -> tuple[Point, ...]:
    """Parse points of the image, separated by semicolons: across, down, and perhaps a word.

    The word is keep, which may be left out, or drop.

    Raises:
        OptionError: if one is malformed, or there are more than `MOST_POINTS`.
    """
    texts = [part for part in text.split(";") if part.strip()]
    if len(texts) > MOST_POINTS:
        raise OptionError("points", f"{text[:20]}...", f"give {MOST_POINTS} points at most")
    points = []
    for each in texts:
        *places, word = [*_parts(each.lower()), "keep"][:3]
        if len(places) != 2 or word not in ("keep", "drop") or len(_parts(each)) > 3:
            raise OptionError("points", each.strip(), "give across, down, and keep or drop: "
                              "'40% 60%', or '40% 60% drop'")  # fmt: skip
        x, y = (parse_length("points", place) for place in places)
        points.append(Point(x, y, word == "keep"))
    return tuple(points)


def read_prompt(prompts: Any) -> tuple[str, str | None]:
    """Read rembg's `sam_prompt` as the options `points` and `box`.

    Args:
        prompts: Decoded from JSON; whatever is false asks for nothing.

    Raises:
        OptionError: if it is malformed.
    """
    points: list[str] = []
    boxes: list[str] = []
    try:
        for each in prompts or ():
            numbers = [float(number) for number in each["data"]]
            if not all(0 <= number < math.inf for number in numbers):
                raise ValueError
            text = " ".join(f"{number:.3f}" for number in numbers)
            if each["type"] == "point" and len(numbers) == 2 and each.get("label", 1) in (0, 1):
                points.append(f"{text} {'keep' if each.get('label', 1) else 'drop'}")
            elif each["type"] == "rectangle" and len(numbers) == 4 and not boxes:
                boxes.append(text)
            else:
                raise ValueError
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise OptionError(
            "sam_prompt", str(prompts)[:40],
            'give a list of {"type": "point", "data": [x, y], "label": 1 or 0} and at most one '
            '{"type": "rectangle", "data": [left, top, right, bottom]}, in pixels',
        ) from error  # fmt: skip
    return "; ".join(points), boxes[0] if boxes else None


def parse_offset(text: str) -> tuple[Length, Length]:
    """Parse an offset right and down; negative is left and up.

    Raises:
        OptionError: if there are not two lengths.
    """
    lengths = [parse_length("shadow_offset", part, least=-1e6) for part in _parts(text)]
    if len(lengths) != 2:
        raise OptionError("shadow_offset", text, "give two lengths, right and down: '2% 4%'")
    return lengths[0], lengths[1]


def _parts(text: str) -> list[str]:
    return [part for part in re.split(r"[\s,]+", text) if part]


def _share(option: str, text: str) -> float:
    """Parse a percentage from 0 to 100."""
    found = _SHARE.fullmatch(text.strip())
    if not found or float(found[1]) > 100:
        raise OptionError(option, text, "give a percentage from 0% to 100%")
    return float(found[1])
