import dataclasses
import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest

from alphacut.errors import OptionError, UnknownName
from alphacut.options import OptionChanges, Options


def test_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Options().file_quality = 5  # type: ignore[misc]


def test_changes_repeat_the_names_and_types_of_the_fields() -> None:
    fields, changes = get_type_hints(Options), get_type_hints(OptionChanges)
    assert list(changes.items()) == list(fields.items())


def test_choices_are_those_of_the_types() -> None:
    types = get_type_hints(Options)
    for option in dataclasses.fields(Options):
        assert (
            option.metadata["choices"]
            == get_args(types[option.name])[: len(option.metadata["choices"])]
        )


@pytest.mark.slow
def test_type_checkers_refuse_a_wrong_option(tmp_path: Path) -> None:
    snippet = tmp_path / "snippet.py"
    snippet.write_text(
        "import alphacut\n"
        'alphacut.remove("a.png", quality="best").save("b.png", result="mask")\n'
        'alphacut.remove("a.png", qualty="best")\n'
        'alphacut.Remover("u2net-lite", file_quality="9")\n'
        'alphacut.Options().replace(quality="bset")\n'
    )
    command = [sys.executable, "-m", "mypy", "--no-error-summary", str(snippet)]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    errors = [line for line in said.splitlines() if "error:" in line]
    assert [line.split(":")[1] for line in errors] == ["3", "4", "5"], said
    assert 'did you mean "quality"' in errors[0]


def test_type_checkers_alone_need_typing_extensions() -> None:
    code = (
        "import sys; sys.modules['typing_extensions'] = None; "
        "import alphacut.cli.main, alphacut.remover; alphacut.Options().replace(quality='best')"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_field_has_a_manual() -> None:
    for option in dataclasses.fields(Options):
        assert option.metadata["help"].endswith("."), option.name


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("format", "gif", "png"),
        ("file_quality", 0, "1 to 100"),
        ("file_quality", 101, "1 to 100"),
        ("max_megapixels", 0, "above 0"),
        ("harden", 1, "between 0 and 1"),
        ("feather_px", -1, "0 to 200"),
        ("feather_px", 201, "0 to 200"),
        ("smooth_px", float("nan"), "0 to 100"),
        ("smooth_px", float("inf"), "0 to 100"),
        ("smooth_px", "3", "give a number"),
        ("grow_px", 101, "-100 to 100"),
        ("grow_px", -101, "-100 to 100"),
        ("grow_px", 1.5, "a whole number"),
        ("specks_px", "3", "a whole number"),
        ("specks_px", True, "a whole number"),
        ("holes_px", -1, "0 or more"),
        ("crop", "yes", "True or False"),
        ("crop", 1, "True or False"),
        ("margin", 5, "give text"),
        ("model", None, "give text"),
        ("classes", b"dog", "give text"),
        ("background", 7, "give text"),
        ("preset", "foo", "product"),
        ("quality", ["best"], "best"),
        ("short_side", 7, "32 or more"),
        ("max_megapixels", float("nan"), "above 0"),
    ],
)
def test_wrong_values_name_the_right_ones(field: str, value: object, named: str) -> None:
    with pytest.raises((OptionError, UnknownName), match=named):
        Options(**{field: value})  # type: ignore[arg-type]


def test_replace() -> None:
    options = Options(keep_depth=True)
    assert options.replace(file_quality=50) == Options(keep_depth=True, file_quality=50)
    assert options == Options(keep_depth=True)
    with pytest.raises(UnknownName, match=r"unknown option 'colour'.*background"):
        options.replace(colour="red")


@pytest.mark.parametrize(
    ("field", "value", "advice"),
    [
        ("background", "puce-ish", "give a colour"),
        ("background", "#12345", "give a colour"),
        ("background", "rgb(1, 2, 999)", "give a colour"),
        ("background", "blur:-3", "give a length"),
        ("background", "blur:0", "above 0"),
        ("background", "darken:120", "0% to 100%"),
        ("margin", "51%", "at most 500px or 50%"),
        ("margin", "501", "at most 500px or 50%"),
        ("margin", "1 2 3", "1, 2 or 4"),
        ("margin", "-4px", "such as 20px"),
        ("threshold", 0, "between 0 and 1"),
        ("size", "0x100", "1 to 65535"),
        ("size", "100x70000", "1 to 65535"),
        ("size", "60000x60000", "above 200 megapixels"),
        ("size", "big", "800x600"),
        ("size", "0:1", "800x600"),
        ("scale", "5%", "10% to 100%"),
        ("scale", "huge", "10% to 100%"),
        ("scale", "120%", "10% to 100%"),
        ("position", "top bottom", "top left"),
        ("position", "10px", "top left"),
        ("roi", "0 0 1", "left, top, right and bottom"),
        ("shadow_opacity", 101, "0 to 100"),
        ("shadow_offset", "3", "right and down"),
        ("shadow_blur", "soft", "such as 20px"),
    ],
)
def test_malformed_values_say_what_is_meant(field: str, value: object, advice: str) -> None:
    with pytest.raises(OptionError, match=advice):
        Options(crop=True, **{field: value})  # type: ignore[arg-type]


def test_a_margin_needs_a_crop() -> None:
    with pytest.raises(OptionError, match="add crop"):
        Options(margin="10%")


def test_a_preset_fills_what_is_left_at_its_default() -> None:
    options = Options(preset="product")
    assert (options.size, options.scale, options.background) == ("1:1", "85%", "white")
    options = Options(preset="product", size="900x600", background="transparent")
    assert (options.size, options.scale) == ("900x600", "85%")
    assert not options.opaque
    assert options.replace(background="#00f").opaque


def test_what_you_give_yourself_stands_even_if_it_is_the_default() -> None:
    options = Options(preset="product", scale="original")
    assert (options.scale, options.size, options.background) == ("original", "1:1", "white")
    assert Options(scale="original").replace(preset="product").scale == "original"


def test_what_a_preset_filled_in_goes_with_it() -> None:
    options = Options(preset="product", background="red")
    assert options.replace(preset="none") == Options(background="red")
    assert options.replace(preset="passport") == Options(preset="passport", background="red")
    kept = pickle.loads(pickle.dumps(options)).replace(file_quality=5, crop=True)
    assert kept.replace(preset="none") == Options(background="red", file_quality=5, crop=True)


def test_what_is_left_once_a_cutout_is_arranged() -> None:
    asked = Options(preset="product", crop=True, margin="5%", position="top", file_quality=5)
    assert asked.arranged() == Options(background="white", file_quality=5)


def test_numbers_of_any_kind_become_plain_ones() -> None:
    options = Options(grow_px=np.int64(3), smooth_px=2, threshold=np.float32(0.5))
    assert [type(options.grow_px), type(options.smooth_px)] == [int, float]
    assert json.dumps(options.threshold) == "0.5"


def test_a_path_object_is_never_a_colour() -> None:
    background = Options(background=Path("red")).background
    assert str(background).endswith("red")
    assert background != "red"
    assert str(Options(trimap=Path("some/trimap.png")).trimap) == str(Path("some/trimap.png"))


def test_what_shines_through() -> None:
    assert Options(background="white").opaque
    assert Options(background="blur").opaque
    assert not Options().opaque
    assert not Options(background="#00ff0080").opaque
    assert not Options(background="white", result="mask").opaque


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ground": "plaid"}, "ground 'plaid': give auto, off or a colour"),
        ({"ground": "#ff000080"}, "give auto, off or a colour"),
        ({"shadow": "keep"}, "shadow 'keep': needs a known ground"),
        ({"model": "none"}, "model 'none': needs a known ground"),
        ({"pair": "a.png", "plate": "b.png"}, "give it or plate, not both"),
        ({"pair": "a.png", "trimap": "b.png"}, "give it or trimap, not both"),
        ({"spill": 2}, "give 0 to 1"),
    ],
)
def test_grounds_that_do_not_go_together(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        Options(**changes)


def test_grounds_that_do() -> None:
    assert Options(ground="white", shadow="keep", model="none").solves_ground
    assert not Options(pair="a.png", model="none").solves_ground
