"""An image that belongs to a picture, found in a folder by the picture's name."""

import os
from collections.abc import Sequence
from pathlib import Path, PurePath

from alphacut.errors import ImageError
from alphacut.pipeline.load import INPUT_SUFFIXES

# After a picture's name, in its trimap's
TRIMAP_MARKS = ("-trimap", "_trimap", "-cutout-trimap", "")


def find_namesake(folder: Path, picture: str, what: str, marks: Sequence[str] = ("",)) -> Path:
    """Find the image in a folder that has a picture's name, or its name with a mark.

    Folders within it are those of the picture's path, as far as they exist: the trimap of
    photos/a/1.jpg may be a/1-trimap.png, and if there is a folder a, it is looked for there.

    Args:
        folder: The folder.
        picture: Path or address of the picture.
        what: What messages call the image: "trimap", "pair".
        marks: What may follow the picture's name, the preferred one first.

    Returns:
        The path, with any extension of an image.

    Raises:
        ImageError: if there is none, or two have equal claims.
    """
    path, own = PurePath(picture), Path(picture).resolve()
    above = [part for part in path.parent.parts if part not in (path.anchor, os.pardir)]
    places = [folder.joinpath(*above[i:]) for i in range(len(above) + 1)]
    for place in filter(Path.is_dir, places):
        images = [each for each in sorted(place.iterdir())
                  if each.suffix.lower() in INPUT_SUFFIXES and each.resolve() != own]  # fmt: skip
        for mark in marks:
            found = [each for each in images if each.stem == path.stem + mark]
            if len(found) > 1:
                names = " and ".join(each.name for each in found)
                raise ImageError(f"{place}: {names} are {what}s of one picture: keep one of them")
            if found:
                return found[0]
        if place.resolve() != own.parent:  # the pictures' own folder may lie within
            break
    raise ImageError(f"{picture}: has no {what} in {place}: name it {path.stem}{marks[0]}.png")
