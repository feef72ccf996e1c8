"""From a row to a verified file of weights."""

import hashlib
from pathlib import Path

from alphacut.errors import WeightsError
from alphacut.zoo import ModelSpec

ASSETS = Path(__file__).parent / "assets"


def fetch(spec: ModelSpec) -> Path:
    """Return where the weights of a model lie, verified.

    Args:
        spec: The model's row.

    Raises:
        WeightsError: if the file is missing or its SHA-256 is not the row's.
    """
    path = ASSETS / spec.weights.file
    try:
        found = sha256(path)
    except OSError as error:
        raise WeightsError(
            f"{path}: the weights of {spec.name} cannot be read ({error.strerror}): "
            "install alphacut again"
        ) from error
    if found != spec.weights.sha256:
        raise WeightsError(
            f"{path}: the weights of {spec.name} are damaged (SHA-256 {found}, expected "
            f"{spec.weights.sha256}): install alphacut again"
        )
    return path


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, read in pieces, as hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
