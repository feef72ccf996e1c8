"""Write MODELS.md from the rows of the zoo.

    python scripts/list_models.py

`tests/test_zoo.py` fails where the file is not what this makes of the rows.
"""

from collections.abc import Iterator
from pathlib import Path

from alphacut.models.catalogue import MODELS, ModelSpec

PAGE = Path(__file__).parents[1] / "MODELS.md"
COMMERCIAL = {"yes": "yes", "no": "**no**", "unclear": "unclear"}


def page() -> str:
    """Return what MODELS.md must say."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "# Models"
    yield ""
    yield "Made from the rows of `src/alphacut/zoo.py` by `scripts/list_models.py`."
    yield ""
    yield "`alphacut models` lists them with what is on this machine, `alphacut models pull NAME`"
    yield "fetches weights, `alphacut models add PATH --arch ARCH --name NAME` takes your own. All"
    yield "but those with commercial use *yes* are fetched only after `--accept-license`."
    yield ""
    heads = ("name", "also called", "looks at", "answers", "licence of the weights",
             "commercial use", "MB")  # fmt: skip
    yield f"| {' | '.join(heads)} |"
    yield "|" + " --- |" * len(heads)
    for spec in MODELS:
        sizes = ", ".join(_megabytes(file.bytes) for file in spec.weights.values())
        yield (
            f"| {spec.name} | {', '.join(spec.aliases)} | {_size(spec)} | {spec.output} | "
            f"{spec.license} | {COMMERCIAL[spec.commercial]} | {sizes} |"
        )
    for spec in MODELS:
        yield ""
        yield f"## {spec.name}"
        yield ""
        yield f"{spec.note} Licence of the authors' code: {spec.code_license}."
        yield ""
        yield f"Source: {spec.source}"
        if spec.classes:
            yield ""
            yield f"Classes: {', '.join(spec.classes[1:])}."
        for form, file in spec.weights.items():
            yield ""
            yield f"- {form}: `{file.file}`, {_bytes(file.bytes)}"
            yield f"  - sha256 {file.sha256 or 'not published: add the file by hand'}"
            if file.embedded:
                yield "  - part of the package"
            for address in file.addresses:
                yield f"  - <{address}>"


def _size(spec: ModelSpec) -> str:
    if spec.input_size:
        return " x ".join(map(str, spec.input_size))
    side = f"short side {spec.short_side}" if spec.short_side else "the picture's size"
    return side if spec.multiple == 1 else f"{side}, multiple of {spec.multiple}"


def _megabytes(size: int | None) -> str:
    return "?" if size is None else f"{size / 1e6:.1f}"


def _bytes(size: int | None) -> str:
    return "length not published" if size is None else f"{size:,} bytes"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
