"""A sheet of what the network will see, to look at before hours are spent."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from alphacut.training.data import Pictures
from alphacut.training.recipe import Recipe, find_entry
from alphacut.training.steps import Array

_TILE_PX = 200
_ACROSS = 8
_IGNORED = (200, 0, 0)  # where the loss does not look; mixed in where it looks less
_UNKNOWN = (60, 60, 90)  # alpha that the network itself will give


def draw_sheet(
    recipe: Recipe, pictures: Pictures, count: int, answers: Sequence[Array] = ()
) -> NDArray[np.uint8]:
    """Draw the first pictures of a run, each above its alpha and, if it has one, its trimap.

    Args:
        recipe: The recipe, which says how pictures were normalised.
        pictures: Where they come from.
        count: How many.
        answers: What a network says of each, (h, w) in [0, 1], drawn below the others.

    Returns:
        (H, W, 3) uint8. The redder, the less the loss looks at it; blue-grey is a picture whose
        truth is not known.
    """
    spec = find_entry(recipe)
    columns = []
    for index in range(count):
        arrays = pictures[index]
        image = arrays["image"][:3].transpose(1, 2, 0) * spec.std + spec.mean
        alpha = np.repeat(arrays["alpha"][0][..., np.newaxis], 3, axis=2) * 255
        loss_weight = arrays["loss_weight"][0][..., np.newaxis]
        alpha = loss_weight * alpha + (1 - loss_weight) * np.array(_IGNORED)
        if not arrays["known"]:
            alpha[:] = _UNKNOWN
        rows = [image * 255, alpha]
        if len(arrays["image"]) > 3:
            rows.append(np.repeat(arrays["image"][3][..., np.newaxis], 3, axis=2) * 255)
        if len(answers):
            rows.append(np.repeat(answers[index][..., np.newaxis], 3, axis=2) * 255)
        columns.append(np.vstack([_tile(row) for row in rows]))
    columns += [np.zeros_like(columns[0])] * (-count % min(_ACROSS, count))
    across = min(_ACROSS, count)
    lines = [np.hstack(columns[n : n + across]) for n in range(0, len(columns), across)]
    return np.vstack(lines)


def _tile(picture: NDArray[np.floating]) -> NDArray[np.uint8]:
    pixels = np.clip(np.rint(picture), 0, 255).astype(np.uint8)
    size = (_TILE_PX, _TILE_PX)
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
