"""ComfyUI nodes: tensors in and out, alphacut's pipeline between.

IMAGE is (B, H, W, 3) and MASK (B, H, W), float32 in [0, 1]. A MASK is 1 where the subject is; what
LoadImage gives as MASK is the inverse of a file's alpha, 1 where it is transparent.
"""

import functools
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from alphacut import Cutout, Options, Remover
from alphacut.models import catalogue
from alphacut.options import Preset, Shadow
from alphacut.output.encode import Raster, encode
from alphacut.pipeline.foreground import estimate_foreground
from alphacut.pipeline.trimap import encode_trimap, make_trimap

_CATEGORY = "alphacut"
_MODELS = [spec.name for spec in catalogue.MODELS if spec.finds_subjects]


class RemoveBackground:
    """Find the subject: its colours without the old background, and its mask."""

    CATEGORY = _CATEGORY
    FUNCTION = "run"
    RETURN_TYPES = ("IMAGE", "MASK")
    RETURN_NAMES = ("foreground", "mask")
    DESCRIPTION = "The subject's colours without the old background, and its mask."

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802  ComfyUI's name
        """Return what the node takes."""
        return {
            "required": {
                "image": ("IMAGE",),
                "model": (_MODELS, {"default": Options.model}),
                "quality": (["fast", "best"], {"tooltip": "best needs PyMatting"}),
            }
        }

    def run(
        self, image: torch.Tensor, model: str, quality: str
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Cut out each image of a batch."""
        remover = _load(model)
        cutouts = [remover(each, quality=quality) for each in _images(image)]
        return _stack([cutout.foreground for cutout in cutouts]), _masks(cutouts)


class RefineEdges:
    """Make a mask of any other node soft, and give the subject colours without a fringe."""

    CATEGORY = _CATEGORY
    FUNCTION = "run"
    RETURN_TYPES = ("IMAGE", "MASK")
    RETURN_NAMES = ("foreground", "mask")
    DESCRIPTION = "A mask of any node made soft, and colours without a fringe."

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Return what the node takes."""
        return {
            "required": {
                "image": ("IMAGE",),
                "mask": ("MASK",),
                "method": (
                    ["fast", "closed-form", "colours only"],
                    {"tooltip": "closed-form solves hair exactly, and needs PyMatting"},
                ),
                "band_px": (
                    "INT",
                    {"default": 10, "min": 1, "max": 200, "tooltip": "width of the edge to solve"},
                ),
            },
            "optional": {"inverted": ("BOOLEAN", {"default": False})},
        }

    def run(
        self,
        image: torch.Tensor,
        mask: torch.Tensor,
        method: str,
        band_px: int,
        inverted: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Refine each mask of a batch; one mask serves all images."""
        colours, alphas = [], []
        pairs = zip(_images(image), _planes(mask, len(image), image.shape[1:3]), strict=True)
        for each, plane in pairs:
            plane = 1 - plane if inverted else plane
            alpha = plane if method == "colours only" else _solve(each, plane, method, band_px)
            colours.append(estimate_foreground(each, alpha))
            alphas.append(torch.from_numpy(alpha))
        return _stack(colours), torch.stack(alphas)


class Compose:
    """Put a subject on a colour or an image, cropped, placed and with a shadow."""

    CATEGORY = _CATEGORY
    FUNCTION = "run"
    RETURN_TYPES = ("IMAGE", "MASK")
    RETURN_NAMES = ("image", "mask")
    DESCRIPTION = "The subject on a colour or an image, with a shadow."

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Return what the node takes."""
        return {
            "required": {
                "foreground": ("IMAGE",),
                "mask": ("MASK",),
                "background": ("STRING", {"default": "white", "tooltip": "a colour"}),
                "shadow": (["none", "drop", "contact"],),
                "crop": ("BOOLEAN", {"default": False}),
                "margin": ("STRING", {"default": "5%"}),
                "preset": (["none", "profile", "passport", "product"],),
                "size": ("STRING", {"default": "", "tooltip": "1600x1600, 1:1, or nothing"}),
            },
            "optional": {"background_image": ("IMAGE",)},
        }

    def run(
        self,
        foreground: torch.Tensor,
        mask: torch.Tensor,
        background: str,
        shadow: Shadow,
        crop: bool,
        margin: str,
        preset: Preset,
        size: str,
        background_image: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Compose each subject of a batch; one background serves all."""
        options = Options(
            shadow=shadow, crop=crop, margin=margin if crop else "0", preset=preset,
            size=size or None,
        )  # fmt: skip
        grounds = [] if background_image is None else _images(background_image)
        colours, alphas = [], []
        planes = _planes(mask, len(foreground), foreground.shape[1:3])
        for index, (each, alpha) in enumerate(zip(_images(foreground), planes, strict=True)):
            cutout = Cutout(each, alpha, alpha)
            ground: Any = grounds[index % len(grounds)] if grounds else background
            colours.append(np.asarray(cutout.on(ground, options))[..., :3])
            alphas.append(torch.from_numpy(cutout.arrange(options).alpha.copy()))
        if len({each.shape for each in colours}) > 1:
            raise ValueError("the images of this batch come out in different sizes: give a size, "
                             "or compose them one by one")  # fmt: skip
        return _stack(colours), torch.stack(alphas)


@functools.lru_cache(maxsize=1)
def _load(model: str) -> Remover:
    """Load a network once; another one takes its place."""
    return Remover(model)


@functools.lru_cache(maxsize=1)
def _solver() -> Remover:
    """Return a remover that is given its trimaps: it never asks its network."""
    return Remover()


def _solve(
    image: NDArray[np.uint8], mask: NDArray[np.float32], method: str, band_px: int
) -> NDArray[np.float32]:
    """Solve alpha (H, W) in a band around a mask's edge."""
    trimap = make_trimap(mask, erosions=band_px, dilations=band_px)
    if not (trimap == 1).any() or not (trimap == 0).any():
        return mask
    levels = b"".join(encode([Raster(encode_trimap(trimap))], "png", effort="fast"))
    matting = "fast" if method == "fast" else "closed-form"
    return _solver()(image, trimap=levels, matting=matting).alpha


def _images(image: torch.Tensor) -> list[NDArray[np.uint8]]:
    """Return the images of a batch as uint8 (H, W, 3)."""
    array = image[..., :3].detach().cpu().numpy()
    return list(np.rint(np.clip(array, 0, 1) * 255).astype(np.uint8))


def _planes(mask: torch.Tensor, count: int, size: tuple[int, int]) -> list[NDArray[np.float32]]:
    """Return the masks of a batch as float32 (H, W); a single one serves `count` images."""
    array = np.clip(mask.detach().cpu().numpy().astype(np.float32), 0, 1)
    array = array[np.newaxis] if array.ndim == 2 else array
    if array.shape[1:] != tuple(size):
        raise ValueError(f"the mask is {array.shape[2]} x {array.shape[1]} pixels, the image "
                         f"{size[1]} x {size[0]}: make them equal")  # fmt: skip
    if len(array) not in (1, count):
        raise ValueError(f"{len(array)} masks for {count} images: give one, or one for each")
    return [array[index % len(array)].copy() for index in range(count)]


def _masks(cutouts: list[Cutout]) -> torch.Tensor:
    return torch.stack([torch.from_numpy(cutout.alpha.copy()) for cutout in cutouts])


def _stack(images: list[Any]) -> torch.Tensor:
    """Return images (H, W, 3) of uint8 as a batch."""
    return torch.stack([torch.from_numpy(each.astype(np.float32) / 255) for each in images])


NODE_CLASS_MAPPINGS: dict[str, type] = {
    "AlphacutRemoveBackground": RemoveBackground,
    "AlphacutRefineEdges": RefineEdges,
    "AlphacutCompose": Compose,
}
NODE_DISPLAY_NAME_MAPPINGS: dict[str, str] = {
    "AlphacutRemoveBackground": "Remove Background (alphacut)",
    "AlphacutRefineEdges": "Refine Edges (alphacut)",
    "AlphacutCompose": "Compose (alphacut)",
}
