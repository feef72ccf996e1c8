import dataclasses
from pathlib import Path

import numpy as np

from alphacut.training.data import Pictures
from alphacut.training.preview import draw_sheet
from alphacut.training.recipe import Recipe, Source


def test_pictures_stand_above_their_alpha(recipe: Recipe, data: Path) -> None:
    pictures = Pictures(recipe, recipe.source, data)
    sheet = draw_sheet(recipe, pictures, 10)
    assert sheet.shape == (2 * 2 * 200, 8 * 200, 3)
    assert sheet.dtype == np.uint8
    alpha = pictures[1]["alpha"][0]
    inside = alpha > 0.99
    assert inside.any()
    drawn = sheet[200:400, 200:400][3::6, 3::6][:32, :32]  # roughly, each pixel's middle
    assert drawn.max() == 255
    assert abs(sheet[200:400, 200:400].mean() / 255 - alpha.mean()) < 0.02
    colours = pictures.sample(1).image.reshape(-1, 3).mean(axis=0)
    assert np.abs(sheet[:200, 200:400].reshape(-1, 3).mean(axis=0) - colours).max() < 12


def test_what_is_unknown_has_colours_of_its_own(recipe: Recipe, data: Path) -> None:
    unlabelled = Pictures(recipe, (Source(kind="unlabelled"),), data)
    assert draw_sheet(recipe, unlabelled, 1)[300, 100].tolist() == [60, 60, 90]
    matting = dataclasses.replace(recipe, model="indexnet")
    sheet = draw_sheet(matting, Pictures(matting, matting.source, data), 1)
    assert sheet.shape == (600, 200, 3)
    trimap = sheet[400:]
    certain = (trimap == 0).all(axis=2) | (trimap == 255).all(axis=2)
    assert (sheet[200:400][certain] == (200, 0, 0)).all(axis=1).mean() > 0.8
