"""The cut-out: what a remover returns, and everything that can be made of it."""

import io
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, overload

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray

from alphacut import files, values
from alphacut.errors import AlphacutWarning, ImageError, OutputError
from alphacut.options import FileFormat, OptionChanges, Options
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
)
from alphacut.output.geometry import Box, Placement
from alphacut.output.plot import draw, render
from alphacut.output.scene import make_scene, recover_background
from alphacut.output.shadow import make_shadow
from alphacut.pipeline import image as images
from alphacut.pipeline.ground import Way
from alphacut.pipeline.image import Image, Metadata, Picture
from alphacut.pipeline.load import describe
from alphacut.pipeline.metadata import limit_metadata
from alphacut.pipeline.parts import find_parts, limit
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
        ground: How the ground behind the subject was known, and alpha solved from it: "plain",
            "screen", "plate" or "pair"; None if the network alone decided.
        ground_sure: How sure that is, in [0, 1]; 0 if it was not known.
        shadow: (H, W) float32 in [0, 1], the share of the ground's light that the subject's real
            shadow takes; None if it was not asked for, or the ground is not known.
        doubt: Share of the subject that is in doubt, 0 to 1: see `pipeline.doubt`. 1 if nothing was
            found, 0 if no network was asked. Each frame has its own.
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
    ground: Way | None = None
    ground_sure: float = 0.0
    shadow: NDArray[np.float32] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) in pixels."""
        H, W = self.alpha.shape
        return H, W

    @property
    def box(self) -> tuple[int, int, int, int] | None:
        """(left, top, right, bottom) of what is visible, as Pillow's `crop` takes; None if empty.

        In pixels of `alpha`; the last two are exclusive.
        """
        if (box := geometry.box_of(self.alpha, VISIBLE)) is None:
            return None
        top, left, bottom, right = box
        return left, top, right, bottom

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
        """What `save` writes, as a Pillow image of 8 bits a channel: RGBA unless options say else.

        Of an animation the first frame. It has the photo's colour profile.
        """
        raster = self._rasters(self.options, opaque=self.options.format in OPAQUE)[0]
        image = PIL.Image.fromarray(images.to_depth(raster.joined(), np.uint8))
        profile = self.metadata.icc_profile
        if profile and raster.channels > 1 and self.options.result != "preview":
            image.info["icc_profile"] = profile
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

    def subjects(self) -> tuple["Cutout", ...]:
        """Return each subject as a cut-out of its own, from left to right.

        A subject is what hangs together, so those that touch are one; parts below 1 % of the
        picture belong to their nearest. No pixel is in two of them. In an animation, the first
        frame that is not empty decides whose each place is.

        Returns:
            Cut-outs of this one's size; none if it is empty. Their doubt is this one's.
        """
        frames = (self, *self.frames)
        first = next((frame for frame in frames if not frame.empty), self)
        parts = find_parts(first.alpha)
        return tuple(
            self._limited(parts.labels == number) for number in range(1, len(parts.boxes) + 1)
        )

    def _limited(self, region: NDArray[np.bool_]) -> "Cutout":
        """Return what of it, and of its frames, lies in a region (H, W)."""
        trimap, shadow = (
            plane if plane is None else limit(plane, region) for plane in (self.trimap, self.shadow)
        )
        return replace(
            self, alpha=limit(self.alpha, region), saliency=limit(self.saliency, region),
            frames=tuple(frame._limited(region) for frame in self.frames),
            trimap=trimap, shadow=shadow,
        )  # fmt: skip

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
                ground=frame.ground, ground_sure=frame.ground_sure,
                shadow=frame._lay_shadow(placement),
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

    @overload
    def save(
        self,
        path: str | os.PathLike[str],
        options: Options | None = None,
        **changes: "Unpack[OptionChanges]",
    ) -> Path: ...

    @overload
    def save(
        self,
        path: IO[bytes],
        options: Options | None = None,
        **changes: "Unpack[OptionChanges]",
    ) -> None: ...

    def save(
        self,
        path: str | os.PathLike[str] | IO[bytes],
        options: Options | None = None,
        **changes: "Unpack[OptionChanges]",
    ) -> Path | None:
        """Write the result to a file, whole or not at all.

        Args:
            path: The file, in the format of its ending; or a file object open for writing bytes,
                in `format`. JPEG has no transparency: what shines through becomes white.
            options: What to write, and how.
            **changes: Fields of `Options` to change, such as `result="mask"`.

        Returns:
            The path; None for a file object.

        Raises:
            OutputError: if the ending is unknown or the file cannot be written.
            ImageError: if the background cannot be read.
        """
        options = (options or self.options).replace(**changes)
        named = Path(path) if isinstance(path, str | os.PathLike) else None
        kind = output_format(named, options.format, opaque=options.opaque)
        if self.frames and kind not in ANIMATED:
            warnings.warn(
                f"{describe(path)}: {kind} cannot be animated: only the first of "
                f"{len(self.frames) + 1} frames is written",
                AlphacutWarning,
                stacklevel=2,
            )
        pieces = self._encode(kind, options)
        if isinstance(path, str | os.PathLike):
            files.write(Path(path), pieces)
        else:
            _write(path, pieces)
        return named

    def to_bytes(
        self,
        format: FileFormat = "auto",
        /,
        options: Options | None = None,
        **changes: "Unpack[OptionChanges]",
    ) -> bytes:
        """Encode the result as `save` writes it, and return the file's content.

        Args:
            format: The file's format, such as "webp"; "auto" is that of the options, or else JPEG
                on an opaque background and PNG otherwise.
            options: What to encode, and how.
            **changes: Fields of `Options` to change, such as `background="white"`.

        Raises:
            OutputError: if the format cannot hold the result.
            ImageError: if the background cannot be read.
        """
        options = (options or self.options).replace(**changes)
        if format != "auto":
            options = options.replace(format=format)
        return b"".join(self.encode(options)[1])

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

    def encode_trimap(self, options: Options | None = None) -> bytes:
        """Encode the trimap as what `save_trimap` writes beside a result.

        Returns:
            A grey PNG of the image's size, black, white and 128; nothing if none was needed.
        """
        if self.trimap is None:
            return b""
        effort = (options or self.options).png
        return b"".join(encode([Raster(encode_trimap(self.trimap))], "png", effort=effort))

    # --- the way down from options to bytes: place, layers, raster, encode -----------------------

    def _encode(self, kind: str, options: Options) -> Iterator[bytes | memoryview]:
        """Encode what `options.result` names; work starts when the first piece is taken."""
        if kind in ARCHIVES and options.result not in ("cutout", "background"):
            raise OutputError(f"{kind} holds a whole cut-out, not the {options.result}: choose png")
        quality, effort = options.file_quality, options.png
        preview = options.result == "preview"
        metadata = None if preview else limit_metadata(self.metadata, options.metadata)
        if kind in ARCHIVES:
            subject = self._subject(options)
            placement = subject._place(options)
            yield encode_archive(
                subject._layers(options.background, options, placement), kind,
                alphas=subject._alphas(placement) if options.subjects == "separate" else (),
                metadata=metadata, linear_light=options.linear_light,
                quality=quality, effort=effort,
            )  # fmt: skip
            return
        yield from encode(
            self._rasters(options, opaque=kind in OPAQUE, animated=kind in ANIMATED), kind,
            metadata=metadata, quality=quality, effort=effort, loop=self.loop,
            durations_ms=[frame.duration_ms for frame in (self, *self.frames)],
        )  # fmt: skip

    def _subject(self, options: Options) -> "Cutout":
        """Return what the options take for the subject: itself, or all but it."""
        return self.inverted() if options.result == "background" else self

    def _rasters(
        self, options: Options, *, opaque: bool = False, animated: bool = False
    ) -> list[Raster]:
        """Make the samples of what `options.result` names: of all frames, or of the first."""
        if options.result == "preview":
            return [Raster(render(self.plot(options)))]
        subject = self._subject(options)
        placement = subject._place(options)
        frames = (subject, *subject.frames) if animated else (subject,)
        return [frame.raster(options, placement, opaque=opaque) for frame in frames]

    def _place(self, options: Options) -> Placement:
        """Decide where the subject goes; all frames of an animation go to the same place."""
        if options == options.arranged():  # no need to look for the subject
            return place_frames(self.size, None, None, options)
        box = geometry.union_of(
            geometry.box_of(frame.alpha, options.threshold) for frame in (self, *self.frames)
        )
        head_x = geometry.head_of(self.alpha, box) if box else None
        return place_frames(self.size, box, head_x, options)

    def _layers(
        self, background: Background | None, options: Options, placement: Placement
    ) -> Layers:
        """Lay the subject, its shadow and the background on the canvas."""
        foreground, alpha = geometry.lay(self.foreground, self.alpha, placement)
        if options.shadow == "keep":  # measured, not drawn
            shadow = self._lay_shadow(placement)
        else:
            shadow = make_shadow(
                alpha, options.shadow, opacity=options.shadow_opacity,
                offset=options.shadow_offset, blur=options.shadow_blur,
                threshold=options.threshold,
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

    def _alphas(self, placement: Placement) -> list[NDArray[np.float32]]:
        """Lay each subject's alpha on the canvas."""
        return [geometry.lay_plane(one.alpha, placement) for one in self.subjects()]

    def _lay_shadow(self, placement: Placement) -> NDArray[np.float32] | None:
        return None if self.shadow is None else geometry.lay_plane(self.shadow, placement)

    def raster(
        self,
        options: Options,
        placement: Placement,
        *,
        opaque: bool = False,
        background: Background | None = None,
    ) -> Raster:
        """Make the samples of this frame alone: alpha or colours alone, or the composite.

        Args:
            options: What to make.
            placement: Where the subject goes, from `place_frames`.
            opaque: Whether what shines through becomes white.
            background: Instead of the one that the options name.
        """
        if options.result == "mask":
            return Raster(quantise(geometry.lay_plane(self.alpha, placement)))
        if options.result == "parts":
            alpha = geometry.lay_plane(self.alpha, placement)
            labels = np.where(alpha > VISIBLE, find_parts(alpha).labels, 0)
            return Raster(np.minimum(labels, 255).astype(np.uint8))
        if options.result == "trimap":
            if placement.resizes:  # what lies between known and unknown would become unknown
                alpha = geometry.lay_plane(self.alpha, placement)
                return Raster(encode_trimap(trimap_of(alpha, options)))
            return Raster(encode_trimap(geometry.lay_plane(self._known, placement)))
        if options.result == "foreground":
            return Raster(geometry.lay(self.foreground, self.alpha, placement)[0])
        background = options.background if background is None else background
        layers = self._layers(background, options, placement)
        return layers.flatten(linear_light=options.linear_light, opaque=opaque)

    @property
    def _known(self) -> NDArray[np.float32]:
        """The trimap, made of alpha if matting needed none."""
        return trimap_of(self.alpha, self.options) if self.trimap is None else self.trimap

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Return the samples of `image` in the photo's depth: (H, W, 4) unless options say else."""
        array = self._rasters(self.options, opaque=self.options.format in OPAQUE)[0].joined()
        return array if dtype is None else array.astype(dtype)

    def __repr__(self) -> str:
        """Say in a line how large the cut-out is and what was found."""
        H, W = self.size
        facts = [f"{W} x {H}", f"box {self.box}" if self.box else "no subject"]
        if not self.empty:
            facts.append(f"doubt {self.doubt:.2f}")
        if self.frames:
            facts.append(f"{len(self.frames) + 1} frames")
        return f"<alphacut.Cutout {', '.join(facts)}>"

    def _repr_png_(self) -> bytes:
        """Show the cut-out in a notebook."""
        file = io.BytesIO()
        self.image.save(file, "PNG", compress_level=1)
        return file.getvalue()


def _write(file: IO[bytes], pieces: Iterable[bytes | memoryview]) -> None:
    """Write to a file object, once all is encoded."""
    name = describe(file)
    if not hasattr(file, "write"):
        raise OutputError(f"{name}: give a path or a file object")
    if hasattr(file, "encoding"):
        raise OutputError(f"{name}: opened as text: open it in mode 'wb'")
    encoded = list(pieces)
    try:
        file.writelines(encoded)
    except OSError as error:
        raise files.unwritable(Path(name), error) from error


def trimap_of(mask: NDArray[np.float32], options: Options) -> NDArray[np.float32]:
    """Make a trimap (H, W) of a mask (H, W), as options say."""
    return make_trimap(
        mask,
        kernel_px=values.parse_sides("trimap_kernel", options.trimap_kernel),
        erosions=options.trimap_erode,
        dilations=options.trimap_dilate,
    )


def place_frames(
    size: tuple[int, int], box: Box | None, head_x: float | None, options: Options
) -> Placement:
    """Decide where the subject of one picture, or of all frames of a film, goes.

    Args:
        size: (H, W) of the picture or the frames.
        box: The subject's; of several frames the union.
        head_x: Middle of its head, in pixels from the left, for portraits.
        options: What is asked for.
    """
    if options == options.arranged():
        whole = (0, 0, *size)
        return Placement(whole, whole, size, whole)
    return geometry.place(
        size, box, head_x=head_x, crop=options.crop, margin=options.margin,
        canvas=options.size, scale=options.scale, position=options.position,
        preset=options.preset, max_megapixels=options.max_megapixels,
    )  # fmt: skip


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
