import dataclasses

import pytest

from alphacut.errors import UnknownName
from alphacut.options import Options


def test_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Options().file_quality = 5  # type: ignore[misc]


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
        ("max_megapixels", float("nan"), "above 0"),
    ],
)
def test_wrong_values_name_the_right_ones(field: str, value: object, named: str) -> None:
    with pytest.raises(UnknownName, match=named):
        Options(**{field: value})  # type: ignore[arg-type]


def test_replace() -> None:
    options = Options(mask=True)
    assert options.replace(file_quality=50) == Options(mask=True, file_quality=50)
    assert options == Options(mask=True)
    with pytest.raises(UnknownName, match=r"unknown option 'colour'.*background"):
        options.replace(colour="red")
