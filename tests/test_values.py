import pytest

from alphacut.errors import OptionError
from alphacut.values import (
    Canvas,
    Length,
    find_colour,
    parse_background,
    parse_canvas,
    parse_length,
    parse_margin,
    parse_offset,
    parse_position,
    parse_region,
    parse_scale,
)


@pytest.mark.parametrize(
    ("text", "rgba"),
    [
        ("white", (255, 255, 255, 255)),
        ("RebeccaPurple", (102, 51, 153, 255)),
        ("#fc0", (255, 204, 0, 255)),
        ("fff", (255, 255, 255, 255)),
        ("#fc08", (255, 204, 0, 136)),
        ("#102030", (16, 32, 48, 255)),
        ("81d4fa77", (129, 212, 250, 119)),
        ("rgb(1, 2, 3)", (1, 2, 3, 255)),
        ("rgba(1 2 3 / 50%)", (1, 2, 3, 128)),
        ("rgb(100%, 0%, 50%)", (255, 0, 128, 255)),
        ("rgba(1,2,3,0.2)", (1, 2, 3, 51)),
    ],
)
def test_colours(text: str, rgba: tuple[int, int, int, int]) -> None:
    assert find_colour(text) == rgba


@pytest.mark.parametrize(
    "text", ["", "puce-ish", "#12", "#12345", "rgb(1, 2)", "rgb(1, 2, 256)", "rgb(1px, 2, 3)",
             "rgb(a, b, c)", "rgba(1, 2, 3, 2)", "#ggg"]
)  # fmt: skip
def test_no_colours(text: str) -> None:
    assert find_colour(text) is None
    with pytest.raises(OptionError, match="give a colour"):
        parse_background(text)


def test_backgrounds() -> None:
    assert parse_background("red").colour == (255, 0, 0, 255)
    assert parse_background("./red").path == "./red"
    assert parse_background("beach.jpg").kind == "file"
    assert parse_background(r"C:\beach").kind == "file"
    assert parse_background("blur").strength == Length(2, True)
    assert parse_background("blur:20").strength == Length(20)
    assert parse_background("disc:7.5px").strength == Length(7.5)
    assert parse_background("gray").colour == parse_background("grey").colour == (128,) * 3 + (255,)
    assert parse_background("desaturate").kind == "desaturate"
    assert parse_background("darken:30%").strength == Length(30, True)
    assert parse_background("transparent").opaque is False
    assert parse_background("checkerboard").opaque is True
    assert parse_background("#0000").opaque is False
    assert parse_background("desaturate").own
    assert not parse_background("grey").own
    assert not parse_background("grey.png").own


def test_margins() -> None:
    a, b, c, d = Length(1), Length(2, True), Length(3), Length(4)
    assert parse_margin("1") == (a, a, a, a)
    assert parse_margin("1px 2%") == (a, b, a, b)
    assert parse_margin("1,2%,3,4px") == (a, b, c, d)
    assert Length(50, True).of(30) == 15
    assert Length(50).of(30) == 50


def test_sizes_and_places() -> None:
    assert parse_canvas("800x600") == Canvas((600, 800), 800 / 600)
    assert parse_canvas("4:5") == Canvas(None, 0.8)
    assert parse_scale("original") is None
    assert parse_scale("85%") == 0.85
    assert parse_position("original") is None
    assert parse_position("center") == (0.5, 0.5)
    assert parse_position("top") == (0.5, 0)
    assert parse_position("bottom right") == parse_position("right bottom") == (1, 1)
    assert parse_position("center left") == (0, 0.5)
    assert parse_position("25%") == (0.25, 0.25)
    assert parse_position("10% 90%") == (0.1, 0.9)
    assert parse_offset("-2% 4px") == (Length(-2, True), Length(4))
    assert parse_region("roi", "0 0 100% 50%")[2:] == (Length(100, True), Length(50, True))


@pytest.mark.parametrize("text", ["", "left right", "left left", "10% left", "1% 2% 3%", "-1%"])
def test_no_positions(text: str) -> None:
    with pytest.raises(OptionError, match="'top left'"):
        parse_position(text)


@pytest.mark.parametrize("text", ["", "px", "-1", "1em", "1e3", "9" * 400])
def test_no_lengths(text: str) -> None:
    with pytest.raises(OptionError, match="such as 20px or 5%"):
        parse_length("shadow_blur", text)
