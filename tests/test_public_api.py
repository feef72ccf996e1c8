"""The public list: what users may rely on."""

from pathlib import Path

import pytest

import alphacut

PUBLIC = [
    "MODELS",
    "AlphacutError",
    "Cutout",
    "ModelSpec",
    "NoForegroundWarning",
    "Options",
    "Remover",
    "Runtime",
    "Stroke",
    "cut_frames",
    "load_image",
    "remove",
    "remove_video",
    "save_image",
]


def test_public_list() -> None:
    assert alphacut.__all__ == PUBLIC
    assert set(dir(alphacut)) == {*PUBLIC, "__version__"}


@pytest.mark.parametrize("name", PUBLIC)
def test_every_name_resolves_and_is_documented(name: str) -> None:
    value = getattr(alphacut, name)
    assert name == "MODELS" or value.__doc__
    if name not in ("MODELS",):
        assert value.__module__.startswith("alphacut.")


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        alphacut.nonsense  # noqa: B018


def test_version_is_the_changelogs() -> None:
    changelog = (Path(__file__).parents[1] / "CHANGELOG.md").read_text()
    assert f"## {alphacut.__version__}" in changelog
