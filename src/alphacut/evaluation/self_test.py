"""One image with a known result, to tell whether an installation works."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from alphacut.errors import RuntimeFailure
from alphacut.models import weights
from alphacut.remover import remove

EXAMPLE = weights.ASSETS / "example.jpg"
FACE = "45% 22.5%"  # what a network for prompts is asked for


def self_test() -> None:
    """Cut out the example and judge the result.

    Raises:
        RuntimeFailure: if the person in it is not found where she is.
    """
    judge(remove(EXAMPLE).alpha)


def judge(alpha: NDArray[np.floating[Any]]) -> None:
    """Check an alpha (H, W) in [0, 1] of the example: a face, and an empty corner.

    Raises:
        RuntimeFailure: if the person in it is not found where she is.
    """
    H, W = alpha.shape
    face = alpha[H // 5 : H // 4, 2 * W // 5 : W // 2]
    corner = alpha[: H // 8, -W // 8 :]
    if np.min(face) < 0.9 or np.max(corner) > 0.1:
        raise RuntimeFailure("the example image was not cut out correctly: reinstall alphacut")
