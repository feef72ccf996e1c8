"""The cut-out: what a remover returns, and everything that can be made of it."""

import io
import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray

from alphacut import files, values
from alphacut.errors import AlphacutWarning, ImageError, OutputError
from alphacut.options import OptionChanges, Options
from alphacut.output import geometry
from alphacut.output.archive import ARCHIVES, encode_archive
from alphacut.output.background import Background, load_background, make_background
from alphacut.output.composite import Layers
from alphacut.output.encode import (
    ANIMATED,
    OPAQUE,
    Raster,
    encode,
    output_format,
    quantise,
    with_alpha,
)
from alphacut.output.geometry import Placement
from alphacut.output.plot import draw, render
from alphacut.output.scene import make_scene, recover_background
from alphacut.output.shadow import make_shadow
from alphacut.pipeline import image as images
from alphacut.pipeline.image import Image, Metadata, Picture
from alphacut.pipeline.metadata import limit_metadata
from alphacut.pipeline.trimap import encode_trimap, make_trimap

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from typing_extensions import Unpack

# Below half a step of 8 bits, alpha is written as zero
VISIBLE = 0.5 / 255
_ROWS = 256


@dataclass(frozen=True, eq=False)
class Cutout:
    """A subject without its background.

    Attributes:
        foreground: (H, W, 3) uint8 or uint16, the subject's colours, straight: not multiplied by
            alpha.
        alpha: (H, W) float32 in [0, 1].
        saliency: (h, w) float32 in [0, 1], what the network found, at its own size.
        metadata: What the input file said about its pixels.
        duration_ms: How long this frame is shown, in an animation.
        loop: How often the animation runs, 0 for ever.
        frames: The frames that follow this one in an animation.
        trimap: (H, W) float32 in {0, 0.5, 1}, what matting was told; None if it needed none.
        input_size: (H, W) of the photo as it was read; None if no Remover made the cut-out.
        milliseconds: What each stage took.
        replaced: Where the foreground differs from the photo, as flat indexes, and the photo's
            samples there; see `difference`. None if the photo is not known.
        options: What the remover was asked for; used where a method is given no others.
        doubt: Share of the subject that is in doubt, 0 to 1: see `pipeline.doubt`. 1 if nothing was
            found, 0 if no Remover made the cut-out. Each frame has its own.
    """

    foreground: Image
    alpha: NDArray[np.float32]
    saliency: NDArray[np.float32]
    metadata: Metadata = field(default_factory=Metadata)
    duration_ms: float = 0.0
    loop: int = 1
    frames: tuple["Cutout", ...] = ()
    trimap: NDArray[np.float32] | None = None
    input_size: tuple[int, int] | None = None
    milliseconds: Mapping[str, float] = field(default_factory=dict)
    replaced: tuple[NDArray[np.intp], Image] | None = None
    options: Options = field(default_factory=Options)
    doubt: float = 0.0

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) in pixels."""
        H, W = self.alpha.shape
        return H, W

    @property
    def box(self) -> tuple[int, int, int, int] | None:
        """(top, left, bottom, right) of what is visible, the last two exclusive; None if empty."""
        return geometry.box_of(self.alpha, VISIBLE)

    @property
    def empty(self) -> bool:
        """Whether no subject was found: alpha is zero everywhere."""
        return self.box is None

    @property
    def mask(self) -> NDArray[np.float32]:
        """(H, W) float32 in [0, 1], the saliency at image size, before matting."""
        H, W = self.size
        mask = cv2.resize(self.saliency, (W, H), interpolation=cv2.INTER_LINEAR)
        return np.asarray(mask, np.float32)

    @property
    def image(self) -> PIL.Image.Image:
        """The cut-out as a Pillow image, RGBA, 8 bits a channel, with the photo's profile."""
        foreground = images.to_depth(self.foreground, np.uint8)
        image = PIL.Image.fromarray(with_alpha(foreground, self.alpha))
        if self.metadata.icc_profile:
            image.info["icc_profile"] = self.metadata.icc_profile
        return image

    @property
    def photo(self) -> Image:
        """The whole photo as it was read, (H, W, 3), reassembled at each access.

        Raises:
            ImageError: if it is not known, because the cut-out was made or arranged by hand.
        """
        if self.replaced is None:
            raise ImageError(
                "this cut-out does not know its photo: use the one that a Remover returned, and "
                "arrange it and choose its background in one call"
            )
        where, samples = self.replaced
        photo: Image = self.foreground.copy()
        photo.reshape(-1)[where] = samples
        return photo

    def inverted(self) -> "Cutout":
        """Return the photo's background with a hole where the subject was.

        Raises:
            ImageError: if the photo is not known.
        """
        photo = self.photo
        background = recover_background(photo, self.foreground, self.alpha)
        return Cutout(
            background, 1 - self.alpha, 1 - self.saliency, self.metadata, self.duration_ms,
            self.loop, tuple(frame.inverted() for frame in self.frames),
            replaced=difference(photo, background), options=self.options, doubt=self.doubt,
        )  # fmt: skip

    def arrange(
        self, options: Options | None = None, **changes: "Unpack[OptionChanges]"
    ) -> "Cutout":
        """Crop, scale and place the subject on a canvas, transparent all around.

        Args:
            options: What to do, instead of what the remover was asked for: `crop`, `margin`,
                `size`, `scale`, `position`, `preset`.
            **changes: Fields of `Options` to change, such as `crop=True, margin="5%"`.

        Returns:
            The cut-out on its canvas. It no longer knows its photo. Its options are those of this
            one, less what has been done here.

        Raises:
            OptionError: if an option's value is malformed or beyond its limits.
        """
        placement = self._place((options or self.options).replace(**changes))
        first, *others = (
            Cutout(
                *geometry.lay(frame.foreground, frame.alpha, placement),
                geometry.lay_saliency(frame.saliency, frame.size, placement),
                frame.metadata, frame.duration_ms, frame.loop, doubt=frame.doubt,
            )
            for frame in (self, *self.frames)
        )  # fmt: skip
        return replace(
            first, frames=tuple(others), input_size=self.input_size,
            milliseconds=self.milliseconds, options=self.options.arranged(),
        )  # fmt: skip

    def on(
        self,
        background: Background,
        /,
        options: Options | None = None,
        **changes: "Unpack[OptionChanges]",
    ) -> Image:
        """Put the subject on a background.

        Args:
            background: A colour, word or path as in `Options.background`, 8-bit RGB or RGBA, the
                content of an image file, a Pillow image, or an array (h, w, 3 | 4) of any size.
            options: How: `fit`, `linear_light`, `shadow`, and what `arrange` takes.
            **changes: Fields of `Options` to change, such as `fit="tile"`.

        Returns:
            (H, W, 3) of the foreground's dtype; (H, W, 4) if the background is translucent. Its
            colours have the photo's profile, `metadata.icc_profile`: colours and arrays are sRGB,
            images have their own, and both are converted.

        Raises:
            OptionError: if the colour or word is unknown, or an option's value is wrong.
            ImageError: if the background is missing, broken, or not an image.
        """
        options = (options or self.options).replace(**changes)
        layers = self._layers(background, options, self._place(options))
        return layers.flatten(linear_light=options.linear_light).joined()

    def plot(self, options: Options | None = None, **changes: "Unpack[OptionChanges]") -> "Figure":
        """Draw original, mask, trimap, cut-out and, if there is a background, composite in a row.

        Where a trimap was given, there is no mask.

        Args:
            options: What to draw, as for `on`.
            **changes: Fields of `Options` to change, such as `background="white"`.

        Returns:
            A Matplotlib figure. A notebook shows it after `%matplotlib inline`.

        Raises:
            MissingExtra: if Matplotlib is not installed.
        """
        options = (options or self.options).replace(**changes)
        panels = [("original", self.photo)] if self.replaced else []
        if self.options.trimap is None:  # a given one is in place of the mask
            panels.append(("mask", quantise(self.mask)))
        panels.append(("trimap", encode_trimap(self._known)))
        panels.append(("cut-out", self.on("checkerboard", Options())))
        if options.background is not None or options.shadow != "none":
            background = options.background or "checkerboard"
            layers = self._layers(background, options, self._place(options))
            composite = layers.flatten(linear_light=options.linear_light, opaque=True)
            panels.append(("composite", composite.joined()))
        return draw(panels, self.metadata.icc_profile)

    def save(
        self,
        path: str | os.PathLike[str],
        options: Options | None = None,
        **changes: "Unpack[OptionChanges]",
    ) -> Path:
        """Write the result to a file, whole or not at all.

        Args:
            path: The file, in the format of its ending. JPEG has no transparency: what shines
                through becomes white.
            options: What to write, and how.
            **changes: Fields of `Options` to change, such as `result="mask"`.

        Returns:
            The path.

        Raises:
            OutputError: if the ending is unknown or the file cannot be written.
            ImageError: if the background cannot be read.
        """
        options = (options or self.options).replace(**changes)
        path = Path(path)
        kind = output_format(path, options.format, opaque=options.opaque)
        if self.frames and kind not in ANIMATED:
            warnings.warn(
                f"{path}: {kind} cannot be animated: only the first of {len(self.frames) + 1} "
                "frames is written",
                AlphacutWarning,
                stacklevel=2,
            )
        files.write(path, self._encode(kind, options))
        return path

    def encode(self, options: Options | None = None) -> tuple[str, list[bytes | memoryview]]:
        """Encode the result as `save` writes it.

        Args:
            options: What to write, and how.

        Returns:
            The kind of file, such as "png", and its bytes in pieces.

        Raises:
            OutputError: if the format cannot hold the result.
            ImageError: if the background cannot be read.
        """
        options = options or self.options
        kind = output_format(None, options.format, opaque=options.opaque)
        return kind, list(self._encode(kind, options))

    # --- the way down from options to bytes: place, layers, raster, encode -----------------------

    def _encode(self, kind: str, options: Options) -> Iterator[bytes | memoryview]:
        """Encode what `options.result` names; work starts when the first piece is taken."""
        if kind in ARCHIVES and options.result not in ("cutout", "background"):
            raise OutputError(f"{kind} holds a whole cut-out, not the {options.result}: choose png")
        quality, effort = options.file_quality, options.png
        if options.result == "preview":
            preview = Raster(render(self.plot(options)))
            yield from encode([preview], kind, quality=quality, effort=effort)
            return
        subject = self.inverted() if options.result == "background" else self
        metadata = limit_metadata(self.metadata, options.metadata)
        placement = subject._place(options)
        if kind in ARCHIVES:
            yield encode_archive(
                subject._layers(options.background, options, placement), kind,
                metadata=metadata, linear_light=options.linear_light,
                quality=quality, effort=effort,
            )  # fmt: skip
            return
        frames = (subject, *subject.frames) if kind in ANIMATED else (subject,)
        yield from encode(
            [frame._raster(kind, options, placement) for frame in frames], kind,
            metadata=metadata, quality=quality, effort=effort,
            durations_ms=[frame.duration_ms for frame in frames], loop=self.loop,
        )  # fmt: skip

    def _place(self, options: Options) -> Placement:
        """Decide where the subject goes; all frames of an animation go to the same place."""
        if options == options.arranged():
            whole = (0, 0, *self.size)  # no need to look for the subject
            return Placement(whole, whole, self.size, whole)
        boxes = [box for frame in (self, *self.frames)
                 if (box := geometry.box_of(frame.alpha, options.threshold))]  # fmt: skip
        box, head_x = None, None
        if boxes:
            tops, lefts, bottoms, rights = zip(*boxes, strict=True)
            box = min(tops), min(lefts), max(bottoms), max(rights)
            head_x = geometry.head_of(self.alpha, box)
        return geometry.place(
            self.size, box, head_x=head_x, crop=options.crop, margin=options.margin,
            canvas=options.size, scale=options.scale, position=options.position,
            preset=options.preset, max_megapixels=options.max_megapixels,
        )  # fmt: skip

    def _layers(
        self, background: Background | None, options: Options, placement: Placement
    ) -> Layers:
        """Lay the subject, its shadow and the background on the canvas."""
        foreground, alpha = geometry.lay(self.foreground, self.alpha, placement)
        shadow = make_shadow(
            alpha, options.shadow, opacity=options.shadow_opacity, offset=options.shadow_offset,
            blur=options.shadow_blur, threshold=options.threshold,
        )  # fmt: skip
        if background is None:
            return Layers(foreground, alpha, shadow)
        loaded = load_background(
            background, max_megapixels=options.max_megapixels,
            allow_truncated=options.allow_truncated,
        )  # fmt: skip
        if isinstance(loaded, values.Backdrop) and loaded.own:
            behind = recover_background(self.photo, self.foreground, self.alpha)
            scene = make_scene(behind, self.alpha, loaded, placement)
            loaded = Picture(scene, metadata=self.metadata)
        image, opacity = make_background(
            loaded, placement.canvas, dtype=foreground.dtype, fit=options.fit,
            icc_profile=self.metadata.icc_profile,
        )  # fmt: skip
        return Layers(foreground, alpha, shadow, image, opacity)

    def _raster(self, kind: str, options: Options, placement: Placement) -> Raster:
        """Make the samples of one frame: alpha or colours alone, or the composite."""
        if options.result == "mask":
            return Raster(quantise(geometry.lay_plane(self.alpha, placement)))
        if options.result == "trimap":
            if placement.resizes:  # what lies between known and unknown would become unknown
                alpha = geometry.lay_plane(self.alpha, placement)
                return Raster(encode_trimap(trimap_of(alpha, options)))
            return Raster(encode_trimap(geometry.lay_plane(self._known, placement)))
        if options.result == "foreground":
            return Raster(geometry.lay(self.foreground, self.alpha, placement)[0])
        layers = self._layers(options.background, options, placement)
        return layers.flatten(linear_light=options.linear_light, opaque=kind in OPAQUE)

    @property
    def _known(self) -> NDArray[np.float32]:
        """The trimap, made of alpha if matting needed none."""
        return trimap_of(self.alpha, self.options) if self.trimap is None else self.trimap

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Return (H, W, 4): colours and alpha in the foreground's dtype, zero where hidden."""
        array = with_alpha(self.foreground, self.alpha)
        return array if dtype is None else array.astype(dtype)

    def _repr_png_(self) -> bytes:
        """Show the cut-out in a notebook."""
        file = io.BytesIO()
        self.image.save(file, "PNG", compress_level=1)
        return file.getvalue()


def trimap_of(mask: NDArray[np.float32], options: Options) -> NDArray[np.float32]:
    """Make a trimap (H, W) of a mask (H, W), as options say."""
    return make_trimap(
        mask,
        kernel_px=values.parse_sides("trimap_kernel", options.trimap_kernel),
        erosions=options.trimap_erode,
        dilations=options.trimap_dilate,
    )


def difference(photo: Image, foreground: Image) -> tuple[NDArray[np.intp], Image]:
    """Note where a foreground differs from its photo: a few soft edges, not a second photo.

    Args:
        photo: (H, W, 3) uint8 or uint16.
        foreground: (H, W, 3) of the same dtype.

    Returns:
        Flat indexes of the samples that differ, and the photo's samples there.
    """
    H, W = photo.shape[:2]
    found = [
        np.flatnonzero(photo[top : top + _ROWS] != foreground[top : top + _ROWS]) + top * W * 3
        for top in range(0, H, _ROWS)
    ]
    where = np.concatenate(found)
    return where, photo.reshape(-1)[where]
