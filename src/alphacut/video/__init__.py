"""Moving pictures: a film in, its subject out, with the sound it had."""

import importlib.util

from alphacut.errors import MissingExtra


def require_av() -> None:
    """Make sure that PyAV is there.

    Raises:
        MissingExtra: if not.
    """
    if importlib.util.find_spec("av") is None:
        raise MissingExtra("PyAV, which reads and writes films,", "video")
