"""Write MODELS.md, and the table of docs/models/README.md, from the entries of the catalogue.

    python scripts/list_models.py

`tests/models/test_catalogue.py` fails if the file is out of date.
"""

from collections.abc import Iterator
from pathlib import Path

from alphacut.errors import INSTALL_PACKAGE
from alphacut.models.catalogue import MODELS
from alphacut.models.entry import ModelSpec

PAGE = Path(__file__).parents[1] / "MODELS.md"
COMPARISON = PAGE.parent / "docs" / "models" / "README.md"
START, END = "<!-- table -->\n", "<!-- end -->\n"
GIVES = {
    "saliency": "mask",
    "matte": "alpha",
    "logits": "classes",
    "alpha": "alpha, of a trimap",
    "masks": "masks, of clicks",
}
COMMERCIAL = {"yes": "yes", "no": "**no**", "unclear": "unclear"}


def page() -> str:
    """Return the text of MODELS.md."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "# Models"
    yield ""
    yield "Generated from `src/alphacut/models/catalogue.py` by `scripts/list_models.py`."
    yield ""
    yield "`alphacut models` lists them and says which are on this machine."
    yield "`alphacut models pull NAME` downloads weights,"
    yield "`alphacut models add PATH --arch ARCH --name NAME` adds your own. Weights whose"
    yield "commercial use is not *yes* are downloaded only with `--accept-license`."
    yield ""
    heads = ("name", "also called", "input size", "output", "licence of the weights",
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
            yield f"  - SHA-256 {file.sha256 or 'not published: add the file by hand'}"
            if file.embedded:
                yield "  - bundled with the package"
            if file.package:
                package = file.package.replace("_", "-")
                yield f"  - {INSTALL_PACKAGE.format(package=package)}"
            for url in file.urls:
                yield f"  - <{url}>"


def table() -> str:
    """Return the table of docs/models/README.md."""
    heads = (
        "name",
        "good for",
        "published scores",
        "input",
        "gives",
        "licence of the weights",
        "MB",
    )
    lines = [f"| {' | '.join(heads)} |", "|" + " --- |" * (len(heads) - 1) + " --: |"]
    for spec in MODELS:
        terms = (
            spec.license
            + {"yes": "", "no": ", **no commercial use**", "unclear": ", unclear"}[spec.commercial]
        )
        first = next(iter(spec.weights.values()))
        cells = (
            spec.name, spec.good_for, spec.scores, _size(spec), GIVES[spec.output], terms,
            _megabytes(first.bytes),
        )  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _size(spec: ModelSpec) -> str:
    if spec.input_size:
        return " x ".join(map(str, spec.input_size))
    side = f"short side {spec.short_side}" if spec.short_side else "that of the picture"
    return side if spec.multiple == 1 else f"{side}, multiple of {spec.multiple}"


def _megabytes(size: int | None) -> str:
    return "?" if size is None else f"{size / 1e6:.1f}"


def _bytes(size: int | None) -> str:
    return "size not published" if size is None else f"{size:,} bytes"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    before, rest = COMPARISON.read_text(encoding="utf-8").split(START)
    after = rest.split(END)[1]
    COMPARISON.write_text(before + START + table() + END + after, encoding="utf-8")
