"""`remove`: rembg's arguments as alphacut's options, and results of the kind that came in."""

import functools
import os
import warnings
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from alphacut import Cutout
from alphacut.errors import AlphacutWarning
from alphacut.options import OptionChanges
from alphacut.output.encode import Raster, encode
from alphacut.pipeline.trimap import encode_trimap, make_trimap
from rembg.session_factory import Session, new_session

# rembg opens the mask, blurs it with a sigma of 2 and thresholds it
_SMOOTH_PX = 4.0
_VITMATTE = "small-distinctions-646"
# Arguments of rembg that its models here do not take
_WITHOUT_EFFECT = ("sam_model", "sam_quant", "cc", "cloth_category", "api_key", "model", "timeout",
                   "poll_timeout")  # fmt: skip
# and those that `new_session` takes
_OF_SESSIONS = ("providers", "model_path", "accept_license")


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What is asked for, in rembg's words; see `remove`."""

    alpha_matting: bool = False
    alpha_matting_foreground_threshold: int = 240
    alpha_matting_background_threshold: int = 10
    alpha_matting_erode_size: int = 10
    only_mask: bool = False
    post_process_mask: bool = False
    decontaminate: bool = False
    vitmatte: bool = False
    vitmatte_model: str | None = None
    bgcolor: tuple[int, ...] | None = None
    putalpha: bool = False
    sam_prompt: Any = None

    @property
    def changes(self) -> OptionChanges:
        """The same as changes of alphacut's options."""
        changes: OptionChanges = {"decontaminate": not self.putalpha}
        if self.only_mask:
            changes["result"] = "mask"
        if self.post_process_mask:
            changes |= {"smooth_px": _SMOOTH_PX, "harden": 0.5}
        if self.vitmatte and not self.only_mask:
            changes["matting"] = "vitmatte"
        elif self.alpha_matting and not self.only_mask:
            changes["matting"] = "closed-form"
        return changes

    @property
    def colour(self) -> str | None:
        """The background as #rrggbbaa; None if there is none to see."""
        if self.bgcolor is None or self.only_mask or (*self.bgcolor, 255)[3] == 0:
            return None
        return "#" + bytes((*self.bgcolor, 255)[:4]).hex()


def cut_out(session: Session, source: Any, wish: Wish) -> Cutout:
    """Cut out a picture; with alpha matting, between the thresholds that rembg has."""
    changes, meant = wish.changes, session.read_prompt(wish.sam_prompt)
    if changes.get("matting") != "closed-form":
        changes |= meant
    if changes.get("matting") == "vitmatte":
        return session.vitmatte(source, **changes)
    if "matting" not in changes:
        return session.remover(source, **changes)
    source = source.read() if hasattr(source, "read") else source
    seen = session.remover(source, **meant)
    size = max(1, wish.alpha_matting_erode_size)
    sure = min(max(wish.alpha_matting_foreground_threshold, 1), 255) / 255
    trimap = make_trimap(
        seen.mask, foreground=sure, kernel_px=(size, size), erosions=1, dilations=1,
        background=min(max(wish.alpha_matting_background_threshold, 0) / 255, sure - 1 / 255),
    )  # fmt: skip
    if not (trimap == 0).any() or not (trimap == 1).any():
        if not seen.empty:
            warnings.warn("no pixel is beyond both thresholds of alpha matting: the edges are "
                          "found without them", AlphacutWarning, stacklevel=3)  # fmt: skip
        return session.remover(source, **changes | meant | {"matting": "none"})
    changes["trimap"] = b"".join(encode([Raster(encode_trimap(trimap))], "png", effort="fast"))
    return session.remover(source, **changes)


def to_array(cutout: Cutout, wish: Wish) -> NDArray[np.uint8]:
    """Return (H, W, 4), or (H, W) for a mask, of uint8."""
    if wish.colour is None:
        return np.asarray(cutout, np.uint8)
    image = cutout.on(wish.colour)
    if image.shape[2] == 3:  # rembg's have alpha, whatever the colour
        image = np.dstack([image, np.full(image.shape[:2], 255, image.dtype)])
    return np.asarray(image, np.uint8)


def to_png(cutout: Cutout, wish: Wish) -> bytes:
    """Return a PNG file, with the picture's colour profile."""
    if wish.colour is None:
        return cutout.to_bytes("png")
    array = to_array(cutout, wish)
    rasters = [Raster(array[..., :3].copy(), array[..., 3].copy())]
    return b"".join(encode(rasters, "png", metadata=cutout.metadata))


def wish_of(arguments: dict[str, Any]) -> Wish:
    """Read rembg's arguments; those that do nothing here are told."""
    known = {name: arguments[name] for name in arguments if name in Wish.__dataclass_fields__}
    for name in sorted({*arguments} - {*known, *_OF_SESSIONS}):
        if arguments[name] is None:
            continue
        why = "no model here takes it" if name in _WITHOUT_EFFECT else "unknown to rembg as well"
        warnings.warn(f"rembg: {name} is ignored: {why}", AlphacutWarning, stacklevel=3)
    if known.get("vitmatte_model") not in (None, _VITMATTE):
        raise ValueError(f"vitmatte_model {known['vitmatte_model']!r}: only {_VITMATTE} is there")
    if (colour := known.get("bgcolor")) is not None:
        known["bgcolor"] = tuple(int(level) for level in colour)
    return Wish(**known)


@functools.lru_cache(maxsize=1)
def default_session() -> Session:
    """Return the model for calls that name none, loaded once."""
    return new_session()


def remove(
    data: bytes | PIL.Image.Image | NDArray[Any] | str | os.PathLike[str] | IO[bytes],
    alpha_matting: bool = False,
    alpha_matting_foreground_threshold: int = 240,
    alpha_matting_background_threshold: int = 10,
    alpha_matting_erode_size: int = 10,
    session: Session | None = None,
    only_mask: bool = False,
    post_process_mask: bool = False,
    decontaminate: bool = False,
    vitmatte: bool = False,
    vitmatte_model: str | None = None,
    bgcolor: tuple[int, ...] | None = None,
    force_return_bytes: bool = False,
    *args: Any,
    **kwargs: Any,
) -> bytes | PIL.Image.Image | NDArray[np.uint8]:
    """Remove the background of a picture.

    Args:
        data: A file's content, a Pillow image or an array; also a path or a file object.
        alpha_matting: Solve the edges exactly, by closed-form matting.
        alpha_matting_foreground_threshold: Mask above which a pixel is surely subject, of 255.
        alpha_matting_background_threshold: Mask up to which it is surely background.
        alpha_matting_erode_size: By how many pixels both are eroded.
        session: From `new_session`; without one, a model that is loaded once.
        only_mask: Return the mask, grey.
        post_process_mask: Smooth the edge and make it hard.
        decontaminate: No effect: soft edges always get the subject's own colour.
        vitmatte: Refine the edges with ViTMatte.
        vitmatte_model: Its weights; only the default is a model here.
        bgcolor: Colour behind the subject, (R, G, B) or (R, G, B, A).
        force_return_bytes: Return a PNG file, whatever came in.
        *args: Ignored, as by rembg.
        **kwargs: `putalpha=True` keeps the picture's own colours; `sam_prompt` says which subject,
            to every model; others are told and ignored.

    Returns:
        A PNG file for bytes, paths and file objects; a Pillow image or an array (H, W, 4) for one,
        of mode L and (H, W) with `only_mask`.

    Raises:
        AlphacutError: if the picture cannot be read, or a model is missing.
    """
    wish = wish_of({
        "alpha_matting": alpha_matting,
        "alpha_matting_foreground_threshold": alpha_matting_foreground_threshold,
        "alpha_matting_background_threshold": alpha_matting_background_threshold,
        "alpha_matting_erode_size": alpha_matting_erode_size,
        "only_mask": only_mask, "post_process_mask": post_process_mask,
        "decontaminate": decontaminate, "vitmatte": vitmatte, "vitmatte_model": vitmatte_model,
        "bgcolor": bgcolor, **kwargs,
    })  # fmt: skip
    cutout = cut_out(session or default_session(), data, wish)
    if force_return_bytes or not isinstance(data, PIL.Image.Image | np.ndarray):
        return to_png(cutout, wish)
    array = to_array(cutout, wish)
    return array if isinstance(data, np.ndarray) else PIL.Image.fromarray(array)
