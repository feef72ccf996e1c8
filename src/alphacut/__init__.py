"""Remove the background of pictures.

    import alphacut
    alphacut.remove("cat.jpg").save("cat.png")

Its stages are plain functions on NumPy arrays, in `alphacut.pipeline` and `alphacut.output`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alphacut.cutout import Cutout
    from alphacut.errors import AlphacutError, NoForegroundWarning
    from alphacut.models.catalogue import MODELS
    from alphacut.models.entry import ModelSpec
    from alphacut.options import Options
    from alphacut.output.encode import save_image
    from alphacut.pipeline.load import load_image
    from alphacut.pipeline.strokes import Stroke
    from alphacut.remover import Remover, remove
    from alphacut.runtimes import Runtime
    from alphacut.video.cut import cut_frames
    from alphacut.video.remove import remove_video

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
    "Stroke",
    "cut_frames",
    "load_image",
    "remove",
    "remove_video",
    "save_image",
]

_HOMES = {
    "cutout": ("Cutout",),
    "errors": ("AlphacutError", "NoForegroundWarning"),
    "models.catalogue": ("MODELS",),
    "models.entry": ("ModelSpec",),
    "options": ("Options",),
    "output.encode": ("save_image",),
    "pipeline.load": ("load_image",),
    "pipeline.strokes": ("Stroke",),
    "remover": ("Remover", "remove"),
    "runtimes": ("Runtime",),
    "video.cut": ("cut_frames",),
    "video.remove": ("remove_video",),
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
