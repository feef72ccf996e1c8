"""Remove the background of pictures.

    import alphacut
    alphacut.remove("cat.jpg").save("cat.png")

The stages are modules of their own: image, transforms, matting, compose, encode.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alphacut.compose import Cutout
    from alphacut.encode import save_image
    from alphacut.errors import AlphacutError, NoForegroundWarning
    from alphacut.image import load_image
    from alphacut.options import Options
    from alphacut.remover import Remover, remove
    from alphacut.runtimes import Runtime
    from alphacut.zoo import MODELS, ModelSpec

__version__ = "0.1.0"

__all__ = [
    "MODELS",
    "AlphacutError",
    "Cutout",
    "ModelSpec",
    "NoForegroundWarning",
    "Options",
    "Remover",
    "Runtime",
    "load_image",
    "remove",
    "save_image",
]

_HOMES = {
    "compose": ("Cutout",),
    "errors": ("AlphacutError", "NoForegroundWarning"),
    "encode": ("save_image",),
    "image": ("load_image",),
    "options": ("Options",),
    "remover": ("Remover", "remove"),
    "runtimes": ("Runtime",),
    "zoo": ("MODELS", "ModelSpec"),
}


def __getattr__(name: str) -> Any:
    """Load a public name from its module when it is first used, so that importing is quick."""
    from importlib import import_module

    for module, names in _HOMES.items():
        if name in names:
            value = getattr(import_module(f"alphacut.{module}"), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module 'alphacut' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
