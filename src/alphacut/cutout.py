"""The cut-out, and what can be made of it: I = alpha F + (1 - alpha) B."""

import io
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from alphacut import values
from alphacut.errors import AlphacutWarning, ImageError, OutputError
from alphacut.files import write
from alphacut.options import OptionChanges, Options
from alphacut.output import background as backgrounds
from alphacut.output import geometry
from alphacut.output.background import Background
from alphacut.output.composite import WHITE, Layers, difference, flatten_on_white
from alphacut.output.encode import ANIMATES, OPAQUE, encode, output_format, quantise, with_alpha
from alphacut.output.geometry import Placement
from alphacut.output.shadow import make_shadow
from alphacut.pipeline import image as images
from alphacut.pipeline.image import Image, Metadata, Picture
from alphacut.pipeline.trimap import encode_trimap, make_trimap

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from typing_extensions import Unpack

# Below half a step of 8 bits, alpha is written as zero
VISIBLE = 0.5 / 255
ARCHIVES = ("zip", "ora")


@dataclass(frozen=True, eq=False)
class Cutout:
    """A subject without its background.

    Attributes:
        foreground: (H, W, 3) uint8 or uint16, the subject's colours, straight: not multiplied by
            alpha.
        alpha: (H, W) float32 in [0, 1].
        saliency: (h, w) float32 in [0, 1], the network's answer at its own size.
        metadata: What the input file said about its pixels.
        duration_ms: How long this frame is shown, in an animation.
        loop: How often the animation runs, 0 for ever.
        frames: The frames that follow this one in an animation.
        trimap: (H, W) float32 in {0, 0.5, 1}, what matting was told; None if it needed none.
        input_size: (H, W) of the photo as it was read, if a Remover made the cut-out of it.
        milliseconds: What each stage took.
        replaced: Where the foreground differs from the photo, as flat indexes, and the photo's
            samples there; see `difference`. None if the photo is not known.
        options: What the remover was asked for; used where a method is given no others.
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
    milliseconds: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    replaced: tuple[NDArray[np.intp], Image] | None = None
    options: Options = field(default_factory=Options)

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
        """(H, W) float32 in [0, 1], the network's answer at image size, before matting."""
        import cv2

        H, W = self.size
        mask = cv2.resize(self.saliency, (W, H), interpolation=cv2.INTER_LINEAR)
        return np.asarray(mask, np.float32)

    @property
    def image(self) -> PIL.Image.Image:
        """The cut-out as a Pillow image, RGBA, 8 bits a channel."""
        foreground = images.to_depth(self.foreground, np.uint8)
        return PIL.Image.fromarray(with_alpha(foreground, self.alpha))

    @property
    def photo(self) -> Image:
        """The whole photo as it was read, (H, W, 3), put together anew.

        Raises:
            ImageError: if it is not known, because the cut-out was made or arranged by hand.
        """
        if self.replaced is None:
            raise ImageError(
                "this cut-out does not know its photo: take the one that a Remover gave, and "
                "arrange it and choose its background in one call"
            )
        where, samples = self.replaced
        photo: Image = self.foreground.copy()
        photo.reshape(-1)[where] = samples
        return photo

    def inverted(self) -> "Cutout":
        """Return the photo's background with a hole where the subject was."""
        photo = self.photo
        rest = backgrounds.without_subject(photo, self.foreground, self.alpha)
        return Cutout(
            rest, 1 - self.alpha, 1 - self.saliency, self.metadata, self.duration_ms, self.loop,
            tuple(frame.inverted() for frame in self.frames),
            replaced=difference(photo, rest), options=self.options,
        )  # fmt: skip

    def arrange(
        self, options: Options | None = None, **changes: "Unpack[OptionChanges]"
    ) -> "Cutout":
        """Crop, size and place the subject on a canvas, transparent all around.

        Args:
            options: What to do, instead of what the remover was asked for: `crop`, `margin`,
                `size`, `scale`, `position`, `preset`.
            **changes: Fields of `Options` to change, such as `crop=True, margin="5%"`.

        Returns:
            The cut-out of the new size. What the photo's background was is no longer known. Its
            options are those of this one, without what has been done here.

        Raises:
            OptionError: if an option's value is malformed or beyond its limits.
        """
        options = (options or self.options).replace(**changes)
        placement = self._placement(options)
        frames = []
        for frame in (self, *self.frames):
            foreground, alpha = geometry.lay(frame.foreground, frame.alpha, placement)
            _, mask = geometry.lay(frame.foreground, frame.mask, placement)
            frames.append(
                Cutout(foreground, alpha, mask, frame.metadata, frame.duration_ms, frame.loop)
            )
        return replace(
            frames[0], frames=tuple(frames[1:]), input_size=self.input_size,
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
            (H, W, 3) of the foreground's dtype; (H, W, 4) if the background is translucent.

        Raises:
            OptionError: if the colour or word is unknown, or an option's value is wrong.
            ImageError: if the background is missing, broken, or no picture.
        """
        options = (options or self.options).replace(**changes)
        layers = self._layers(options, background, self._placement(options))
        return layers.flatten(linear_light=options.linear_light)

    def plot(self, options: Options | None = None, **changes: "Unpack[OptionChanges]") -> "Figure":
        """Draw original, mask, trimap, cut-out and, if there is a background, composite in a row.

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
        panels.append(("mask", quantise(self.mask)))
        panels.append(("trimap", encode_trimap(self._known)))
        panels.append(("cut-out", self.on("checkerboard", Options())))
        if options.background is not None or options.shadow != "none":
            background = options.background or "checkerboard"
            opaque = self.on(background, options)
            panels.append(("composite", flatten_on_white(opaque)))
        from alphacut.output import plot

        return plot.draw(panels)

    @property
    def _known(self) -> NDArray[np.float32]:
        """The trimap, made of alpha if matting needed none."""
        return make_trimap(self.alpha) if self.trimap is None else self.trimap

    def encode(self, options: Options | None = None, path: Path | None = None) -> tuple[str, Any]:
        """Encode the result as a file.

        Args:
            options: What to write, and how.
            path: Where it will go, for formats that follow from its ending.

        Returns:
            The kind of file, such as "png", and its bytes in pieces.

        Raises:
            OutputError: if the path's ending and the options do not go together.
            ImageError: if the background cannot be read.
        """
        options = options or self.options
        kind = output_format(path, options)
        if options.result == "preview" and kind not in ARCHIVES:
            from alphacut.output import plot

            samples = plot.render(self.plot(options))
            return kind, encode([Picture(samples)], kind, options)
        subject = self.inverted() if options.result == "background" else self
        placement = subject._placement(options)
        if kind in ARCHIVES:
            return kind, [subject._archive(kind, options, placement)]
        frames = (subject, *subject.frames) if kind in ANIMATES else (subject,)
        pictures = [frame._picture(kind, options, placement) for frame in frames]
        return kind, encode(pictures, kind, options)

    def _placement(self, options: Options) -> Placement:
        """Decide where the subject goes; all frames of an animation go to the same place."""
        whole = (0, 0, *self.size)
        moved = (
            options.crop
            or options.size
            or options.scale != "original"
            or (options.position != "original")
        )
        if not moved:
            return Placement(whole, whole, self.size, whole)
        boxes = [box for frame in (self, *self.frames)
                 if (box := geometry.box_of(frame.alpha, options.threshold))]  # fmt: skip
        if not boxes:
            return geometry.place(self.size, None, 0, options)
        tops, lefts, bottoms, rights = zip(*boxes, strict=True)
        box = min(tops), min(lefts), max(bottoms), max(rights)
        return geometry.place(self.size, box, geometry.head_of(self.alpha, box), options)

    def _layers(
        self, options: Options, background: Background | None, placement: Placement
    ) -> Layers:
        """Lay out the subject, its shadow and the background on the canvas."""
        foreground, alpha = geometry.lay(self.foreground, self.alpha, placement)
        shadow = None
        if options.shadow != "none":
            shadow = make_shadow(
                alpha, options.shadow, opacity=options.shadow_opacity,
                offset=options.shadow_offset, blur=options.shadow_blur,
                threshold=options.threshold,
            )  # fmt: skip
        if background is None:
            return Layers(foreground, alpha, shadow=shadow)
        loaded = backgrounds.load_background(background, options)
        if isinstance(loaded, values.Backdrop) and loaded.kind == "transparent":
            return Layers(foreground, alpha, shadow=shadow)

        def own() -> Image:
            assert isinstance(loaded, values.Backdrop)
            rest = backgrounds.without_subject(self.photo, self.foreground, self.alpha)
            rest = backgrounds.under_effect(rest, self.alpha, loaded)
            return backgrounds.scene_of(rest, placement.scene, placement.canvas)

        image, opacity = backgrounds.make_background(
            loaded, placement.canvas, self.foreground.dtype, options.fit, own
        )
        return Layers(foreground, alpha, image, opacity, shadow)

    def _picture(self, kind: str, options: Options, placement: Placement) -> Picture:
        """Lay out what is written: alpha or colours alone, the composite, or both together."""
        metadata = self.metadata
        if options.result == "mask":
            _, alpha = geometry.lay(self.foreground, self.alpha, placement)
            samples = quantise(alpha)
        elif options.result == "trimap":
            samples = self._trimap(placement)
        elif options.result == "foreground":
            samples, _ = geometry.lay(self.foreground, self.alpha, placement)
        if options.result in ("mask", "trimap"):
            metadata = Metadata(exif=metadata.exif, xmp=metadata.xmp, dpi=metadata.dpi)
        elif options.result != "foreground":
            background: Background | None = options.background
            if background is None and kind in OPAQUE:
                background = WHITE
            layers = self._layers(options, background, placement)
            if layers.background is None and layers.shadow is None:
                steps = quantise(layers.alpha, images.white(layers.foreground))
                return Picture(layers.foreground, steps, metadata, self.duration_ms, self.loop)
            samples = layers.flatten(linear_light=options.linear_light)
            samples = flatten_on_white(samples) if kind in OPAQUE else samples
        return Picture(samples, None, metadata, self.duration_ms, self.loop)

    def _trimap(self, placement: Placement) -> Image:
        """Return grey levels of the trimap, the one that matting had where nothing is resized."""
        if placement.resizes:  # what lies between known and unknown would become unknown
            _, alpha = geometry.lay(self.foreground, self.alpha, placement)
            return encode_trimap(make_trimap(alpha))
        return encode_trimap(geometry.lay(self.foreground, self._known, placement)[1])

    def _archive(self, kind: str, options: Options, placement: Placement) -> memoryview:
        """Encode as a file that holds several pictures."""
        from alphacut.output import archive

        if options.result not in ("cutout", "background"):
            raise OutputError(f"{kind} holds a whole cut-out, not the {options.result}: choose png")
        layers = self._layers(options, options.background, placement)
        merged = layers.flatten(linear_light=options.linear_light)
        if kind == "ora":
            pictures = [(name, Picture(layer, None, self.metadata))
                        for name, layer in layers.named()]  # fmt: skip
            return archive.encode_ora(pictures, Picture(merged, None, self.metadata), options)
        colour, alpha = layers.foreground, layers.alpha
        if layers.background is not None or layers.shadow is not None:
            colour = merged[..., :3]
            alpha = np.ones_like(alpha)
            if merged.shape[2] == 4:
                alpha = np.asarray(merged[..., 3] / images.white(merged), np.float32)
        return archive.encode_zip(Picture(colour, None, self.metadata), alpha, options)

    def save(
        self,
        path: str | os.PathLike[str],
        options: Options | None = None,
        **changes: "Unpack[OptionChanges]",
    ) -> Path:
        """Write the result to a file, whole or not at all.

        Args:
            path: The file; its ending says the format. JPEG is flattened on white, or on the
                option `background`.
            options: What to write, and how.
            **changes: Fields of `Options` to change, such as `result="mask"`.

        Returns:
            The path.

        Raises:
            OutputError: if the ending is unknown or the file cannot be written.
        """
        options = (options or self.options).replace(**changes)
        path = Path(path)
        kind = output_format(path, options)
        if self.frames and kind not in ANIMATES:
            warnings.warn(
                f"{path}: {kind} cannot move: only the first of {len(self.frames) + 1} frames "
                "is written",
                AlphacutWarning,
                stacklevel=2,
            )
        write(path, lambda: self.encode(options, path)[1])
        return path

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Return (H, W, 4): colours and alpha in the foreground's dtype, zero where hidden."""
        array = with_alpha(self.foreground, self.alpha)
        return array if dtype is None else array.astype(dtype)

    def _repr_png_(self) -> bytes:
        """Show the cut-out in a notebook."""
        file = io.BytesIO()
        self.image.save(file, "PNG", compress_level=1)
        return file.getvalue()
