"""remove.bg's parameters as `Options`, without a service."""

from typing import Any

import pytest

from alphacut import Options
from alphacut.server.body import Fields
from alphacut.server.refusal import Refusal
from alphacut.server.removebg_fields import take_source, translate


def options_of(**fields: Any) -> Options:
    return translate(Fields(fields), model="u2net-lite", max_megapixels=50.0)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {"output_megapixels": 0.25, "format": "auto", "result": "cutout", "crop": False}),
        ({"size": "50MP"}, {"output_megapixels": 50.0}),
        ({"channels": "alpha"}, {"result": "mask"}),
        ({"channels": "alpha", "format": "zip"}, {"result": "cutout", "format": "zip"}),
        ({"crop": "true", "crop_margin": "5%"}, {"crop": True, "margin": "5%"}),
        ({"crop": "on"}, {"crop": True}),
        ({"crop": "false", "crop_margin": "5%"}, {"crop": False, "margin": "0"}),
        ({"bg_color": "f00"}, {"background": "#ff0000ff"}),
        ({"roi": "0 0 100% 100%"}, {"roi": None}),
        ({"roi": "0 0 50% 100%"}, {"roi": "0 0 50% 100%"}),
        ({"shadow_type": "3D"}, {"shadow": "contact", "shadow_opacity": 50.0}),
        ({"shadow_type": "car"}, {"shadow": "contact", "shadow_opacity": 90.0}),
        ({"ground": "auto", "spill": "0.5", "shadow_type": "keep"},
         {"ground": "auto", "spill": 0.5, "shadow": "keep"}),
        ({"pair_file": b"another"}, {"pair": b"another", "plate": None}),
        ({"shadow_type": "auto", "type": "animal"}, {"shadow": "drop"}),
        ({"shadow_type": {"car": "drop"}, "type": "car", "shadow_opacity": "20"},
         {"shadow": "drop", "shadow_opacity": 20.0}),
    ],
)  # fmt: skip
def test_what_parameters_mean(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    options = options_of(**fields)
    assert {name: getattr(options, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("fields", "code", "title"),
    [
        ({"crop_margin": "wide"}, "invalid_crop_margin", "Invalid crop_margin parameter given"),
        ({"scale": "5%"}, "invalid_scale", "Invalid scale parameter given"),
        ({"size": "huge"}, "invalid_size", "Invalid value for parameter 'size'"),
        ({"ground": "plaid"}, "invalid_ground", "Invalid value for parameter 'ground'"),
        ({"spill": "2"}, "invalid_spill", "Invalid value for parameter 'spill'"),
        (
            {"shadow_type": "keep"},
            "invalid_shadow_type",
            "Invalid value for parameter 'shadow_type'",
        ),
        ({"crop": "maybe"}, "invalid_crop", "Invalid value for parameter 'crop'"),
    ],
)
def test_what_they_may_not_be(fields: dict[str, Any], code: str, title: str) -> None:
    with pytest.raises(Refusal) as refused:
        options_of(**fields)
    assert (refused.value.status, refused.value.code, refused.value.title) == (400, code, title)
    assert refused.value.detail


def test_the_source_is_taken_out_of_the_fields() -> None:
    fields = Fields({"image_file_b64": "AAAA"}, ("image_file_b64",))
    assert take_source(fields, 10) == bytes(3)
    assert "image_file_b64" not in fields
    assert take_source(Fields({"image_url": "http://a.example/"}), 10) is None
    with pytest.raises(Refusal, match="file_too_large"):
        take_source(Fields({"image_file": bytes(11)}), 10)
