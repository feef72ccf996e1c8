"""Recipes: read strictly, and those that are shipped are whole."""

from pathlib import Path

import pytest
from small import RECIPE

from alphacut.errors import TrainingError
from alphacut.models import catalogue
from alphacut.training.recipe import Recipe, read_recipe

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.toml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_shipped_recipes(path: Path) -> None:
    recipe = read_recipe(path)
    assert recipe.model in {spec.name for spec in catalogue.MODELS}
    assert recipe.loss.terms
    assert all(vars(recipe.about).values())


def test_which_there_are() -> None:
    assert [path.stem for path in RECIPES] == [
        "alphacut-lite-taught",
        "easyportrait-cyclical",
        "indexnet-composites",
        "u2net-lite-coarse",
        "u2net-lite-composites",
        "u2net-lite-rehearsed",
        "u2net-lite-taught",
    ]


def test_kinds(recipe: Recipe) -> None:
    assert recipe.size == (32,)
    assert recipe.loss.terms == {"l1": 1.0}
    assert recipe.loss.outputs == (1.0,) * 7


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("batch = 2", "batch = 2\nbach = 3", "unknown setting bach"),
        ("l1 = 1.0", "l3 = 1.0", "unknown setting loss.l3"),
        ("batch = 2", "", "batch"),
        ("batch = 2", 'batch = "two"', "batch = 'two'"),
        ("steps = 4", "steps = 4.5", "steps = 4.5"),
        ("size = [32]", "size = 32", "size = 32"),
        ('shape = "one-cycle"', 'shape = "round"', "one of one-cycle"),
        ("[rate]", "[rate", "is no recipe"),
        ("valid_every = 2", "valid_every = 0", "valid_every = 0: has to be a whole number"),
        ("valid_every = 2", "valid_every = 0.5", "valid_every = 0.5: has to be a whole number"),
        ("steps = 4", "epochs = 4\nkeep_every = -1", "keep_every = -1: has to be a number of epo"),
        ("valid_pictures = 2", "valid_pictures = 0", "valid_pictures = 0: has to be 1 or more"),
        ("steps = 4", "steps = 4\nepochs = 2", "either steps or epochs"),
        ("steps = 4", "", "either steps or epochs"),
        ('kind = "composites"', 'kind = "composites"\none_of = [{ odds = 1, mirror = {} }]',
         "one_of: varies photographs, so not composites"),
        ('kind = "composites"', 'kind = "pairs"\none_of = [{ odds = 1, mirror = { by = 2 } }]',
         "unknown setting source.one_of.mirror.by"),
        ('kind = "composites"', 'kind = "pairs"\none_of = [{ odds = 1 }]', "names no step"),
        ("l1 = 1.0", "", "loss: has no term"),
    ],
)  # fmt: skip
def test_mistakes_are_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in RECIPE
    path = tmp_path / "wrong.toml"
    path.write_text(RECIPE.replace(old, new, 1))
    with pytest.raises(TrainingError, match=message):
        read_recipe(path)
