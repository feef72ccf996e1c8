"""What a picture costs with each model on this machine, kept in the user's folder."""

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

from alphacut import files
from alphacut.models import weights


@dataclass(frozen=True)
class Cost:
    """What one picture takes by default, with a network that is loaded.

    Attributes:
        seconds: From the file's bytes to the cut-out.
        peak_bytes: Most memory that a process of its own held, loading included; None where the
            system does not tell.
        megapixels: Size of the picture.
        date: When it was measured, as YYYY-MM-DD.
    """

    seconds: float
    peak_bytes: int | None
    megapixels: float
    date: str


def keep(name: str, cost: Cost) -> None:
    """Keep a model's cost, in place of an earlier one.

    Raises:
        OutputError: if the user's folder cannot be written.
    """
    record = json.dumps(dataclasses.asdict(cost)) + "\n"
    files.write(weights.home() / "costs" / f"{name}.json", [record.encode()], make_folder=True)


def kept(name: str) -> dict[str, Any] | None:
    """Return a model's cost as it was kept; None if there is none that can be read."""
    try:
        cost = Cost(**json.loads((weights.home() / "costs" / f"{name}.json").read_bytes()))
        return dataclasses.asdict(cost)
    except (OSError, ValueError, TypeError):
        return None
