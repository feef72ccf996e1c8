import dataclasses
import json

import pytest

from alphacut.errors import WeightsError
from alphacut.models.catalogue import MODELS, known_model
from alphacut.models.entry import ModelSpec, from_json, to_json

LITE = MODELS[0]


@pytest.mark.parametrize("spec", MODELS, ids=lambda spec: spec.name)
def test_entries_survive_json(spec: ModelSpec) -> None:
    assert from_json(to_json(spec, LITE), MODELS) == spec


def test_json_holds_only_what_differs() -> None:
    isnet = known_model("isnet")
    spec = dataclasses.replace(isnet, name="mine", mean=(0.1, 0.2, 0.3))
    text = to_json(spec, isnet)
    assert json.loads(text) == {"like": "isnet", "name": "mine", "mean": [0.1, 0.2, 0.3]}
    assert from_json(text, MODELS) == spec


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not JSON",
        "[]",
        "{}",
        '{"like": "nobody"}',
        '{"like": ["isnet"]}',
        '{"like": "isnet", "weights": 3}',
        '{"like": "isnet", "weights": {"onnx": {"colour": "red"}}}',
        '{"like": "isnet", "weigth": {}}',
    ],
)
def test_what_is_no_entry_is_refused(text: str) -> None:
    with pytest.raises(WeightsError, match="not a model entry: "):
        from_json(text, MODELS)


def test_channels() -> None:
    assert LITE.channels == 3
    assert known_model("indexnet").channels == 4
