"""The steps of a cut-out, drawn side by side with Matplotlib (extra `plot`)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from alphacut.errors import MissingExtra
from alphacut.pipeline import image as images
from alphacut.pipeline.image import Image, downscale_to
from alphacut.pipeline.profile import convert_profile

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PANEL_PX = 640
_PANEL_INCHES = 3.2
_WIDE = 1.2  # images wider than this are stacked


def draw(panels: Sequence[tuple[str, Image]], icc_profile: bytes | None = None) -> "Figure":
    """Draw images with their names above: in a row, or in a column if they are wide.

    Args:
        panels: Name and image, (H, W) or (H, W, 3) uint8 or uint16.
        icc_profile: The images' RGB profile, None for sRGB; the figure is sRGB.

    Returns:
        A Matplotlib figure without a window: save it, or show it in a notebook.

    Raises:
        MissingExtra: if Matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("matplotlib", "plot") from error

    H, W = panels[0][1].shape[:2]
    wide = W > _WIDE * H
    rows, columns = (len(panels), 1) if wide else (1, len(panels))
    factor = _PANEL_INCHES / min(H, W) if max(H, W) < 2.5 * min(H, W) else 8 / max(H, W)
    width, height = max(1.2, W * factor), max(0.8, H * factor)
    figure = Figure(figsize=(columns * width, rows * (height + 0.35)), layout="constrained")
    for index, (name, image) in enumerate(panels):
        axes = figure.add_subplot(rows, columns, index + 1)
        small = images.to_depth(downscale_to(image, _PANEL_PX), np.uint8)
        if small.ndim == 3:
            small = convert_profile(small, icc_profile, None)
        axes.imshow(small, cmap="gray", vmin=0, vmax=255, interpolation="none")
        axes.set_title(name, fontsize=11)
        axes.set_axis_off()
    return figure


def render(figure: "Figure") -> Image:
    """Return a figure's pixels, (H, W, 3) uint8."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas: Any = FigureCanvasAgg(figure)  # its methods have no types
    canvas.draw()
    return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])
