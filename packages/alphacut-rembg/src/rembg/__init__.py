"""rembg's library, answered by alphacut.

    from rembg import new_session, remove

It stands in for rembg 2.0.86: a script that uses it runs unchanged.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rembg.bg import remove
    from rembg.session_factory import new_session

__version__ = "2.0.86"  # of the rembg whose habits these are
__all__ = ["new_session", "remove"]


def __getattr__(name: str) -> Any:
    """Load a function when it is first used: importing is quick."""
    if name == "remove":
        from rembg.bg import remove

        return remove
    if name == "new_session":
        from rembg.session_factory import new_session

        return new_session
    raise AttributeError(f"module 'rembg' has no attribute {name!r}")
