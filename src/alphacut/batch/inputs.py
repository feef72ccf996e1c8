"""Which files count as inputs: images, but not the results of an earlier run."""

from pathlib import PurePath

from alphacut.errors import OptionError
from alphacut.options import RESULTS, Options
from alphacut.output.encode import output_format
from alphacut.pipeline.load import INPUT_SUFFIXES

# What ends the stem of a result beside its input. A photo may well be called
# beach-background.jpg, so all but the first two carry "-cutout" as well.
RESULT_MARKS = {"cutout": "-cutout", "mask": "-mask"} | {
    result: f"-cutout-{result}" for result in RESULTS if result not in ("cutout", "mask")
}
# What ends the name of a folder of results beside a folder of inputs
FOLDER_MARKS = {result: f"{mark}s" for result, mark in RESULT_MARKS.items()}


def is_input(path: PurePath) -> bool:
    """Tell by its name whether a file found in a folder is an input; nothing is opened."""
    return path.suffix.lower() in INPUT_SUFFIXES and not path.stem.endswith(
        tuple(RESULT_MARKS.values())
    )


def refuse_several(options: Options) -> None:
    """Refuse options that give several results for an image, where each has one.

    Raises:
        OptionError: if so.
    """
    kind = output_format(None, options.format, opaque=options.opaque)
    if options.subjects == "separate" and kind != "ora":
        raise OptionError("subjects", "separate", "gives several files for a picture, but here "
                          "each has one result: choose format ora, which has layers")  # fmt: skip
