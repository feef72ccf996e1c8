"""Write the tables and plots of docs/performance.md from the figures that compare.py measured.

python benchmarks/report.py
"""

import json
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[1] / "docs"
FIGURES = DOCS / "performance" / "figures.json"
PAGE = DOCS / "performance.md"
BEGIN, END = "<!-- measured -->\n", "<!-- end of what was measured -->\n"
STAGES = {
    "load": ("load",),
    "network": ("preprocess", "predict", "mask"),
    "alpha": ("alpha", "refine"),
    "foreground": ("foreground",),
    "PNG": ("encode",),
}


def table(headers: list[str], rows: list[list[str]]) -> str:
    """Format a Markdown table with text in the first column and numbers in the others."""
    lines = [headers, ["---", *["--:"] * (len(headers) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def against_rembg(figures: dict[str, Any]) -> str:
    """Format the table of ratios."""
    rows = []

    def row(title: str, part: dict[str, Any], number: int, form: str, unit: str) -> None:
        ours, theirs = part["ours"][number], part["theirs"][number]
        ratio = f"{part['ratio'][number]:.1f} x"
        rows.append([title, f"{ours:{form}} {unit}", f"{theirs:{form}} {unit}", ratio])

    row("one picture on the command line, cold start", figures["cold"], 0, ".2f", "s")
    row("the same, peak memory", figures["cold"], 1, ".0f", "MB")
    for megapixels, part in figures["warm"].items():
        row(f"warm, JPEG to PNG bytes, {megapixels} MP", part, 0, ".2f", "s")
    for megapixels, part in figures["best"].items():
        row(f"best matting, {megapixels} MP", part, 0, ".2f", "s")
    for quality, part in figures.get("photographs", {}).items():
        row(f"four photographs, 1.2 to 2.1 MP, {quality}", part, 0, ".2f", "s")
    count = figures["folder"]["pictures"]
    row(f"a folder of {count} on the command line", figures["folder"], 0, ".2f", "s")
    row("the same, peak memory", figures["folder"], 1, ".0f", "MB")
    return table(["", "alphacut", "rembg 2.0.86", "ratio"], rows)


def write(figures: dict[str, Any]) -> None:
    """Replace the measured part of the page and the plots."""
    shares = []
    for megapixels, stage in figures["stages"].items():
        groups = [sum(stage.get(name, 0.0) for name in names) for names in STAGES.values()]
        shares.append([megapixels, *(f"{group:.0f}" for group in groups), f"{sum(groups):.0f}"])
    text = (
        f"Measured {figures['date']}: {figures['machine']}.\n\n"
        + against_rembg(figures)
        + "\n![](performance/time-by-megapixels.svg)\n\n"
        "Inference alone, one picture, without reading or writing, in milliseconds:\n\n"
        + table(["", "ms"], [[name, f"{ms:.0f}"] for name, ms in figures["network"].items()])
        + "\nStages with default options, in milliseconds by megapixels:\n\n"
        + table(["MP", *STAGES, "sum"], shares)
        + "\n![](performance/stages.svg)\n\n"
        "A folder: pictures per second by number of threads:\n\n"
        + table(["threads", "pictures/s"],
                [[name, f"{rate:.1f}"] for name, rate in figures["threads"].items()])
        + "\n![](performance/threads.svg)\n\n"
        "Memory of one process over 1,000 pictures, the maximum of the preceding fifty, in MB:\n\n"
        + table(["after", "MB"], [[name, f"{figures['memory'][name]:.0f}"]
                                  for name in ("50", "100", "250", "500", "1000")])
    )  # fmt: skip
    page = PAGE.read_text()
    head, rest = page.split(BEGIN)
    PAGE.write_text(f"{head}{BEGIN}{text}{END}{rest.split(END)[1]}")
    draw(figures)


def draw(figures: dict[str, Any]) -> None:
    """Plot time by megapixels, the share of each stage, and pictures per second by threads."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    mpl.rcParams.update({
        "svg.fonttype": "none", "svg.hashsalt": "alphacut", "figure.figsize": (6, 3.4),
        "axes.spines.top": False, "axes.spines.right": False, "font.family": "sans-serif",
        "figure.facecolor": "white",
    })  # fmt: skip

    def save(name: str) -> None:
        plt.tight_layout()
        plt.savefig(FIGURES.with_name(f"{name}.svg"), metadata={"Date": None})
        plt.close()

    warm = figures["warm"]
    megapixels = [float(name) for name in warm]
    for who, mark, name in (("theirs", "s--", "rembg 2.0.86"), ("ours", "o-", "alphacut")):
        plt.loglog(megapixels, [part[who][0] for part in warm.values()], mark, label=name)
    plt.axhline(
        figures["network"]["alphacut-lite, int8"] / 1000, color="grey", linewidth=1, linestyle=":",
        label="inference alone",
    )  # fmt: skip
    plt.xticks(megapixels, [f"{value:g}" for value in megapixels])
    plt.minorticks_off()
    plt.yticks([0.1, 0.2, 0.5, 1, 2, 5, 10], ["0.1", "0.2", "0.5", "1", "2", "5", "10"])
    plt.xlabel("megapixels")
    plt.ylabel("seconds, JPEG to PNG bytes")
    plt.legend(frameon=False)
    save("time-by-megapixels")

    names, bottom = list(figures["stages"]), [0.0] * len(figures["stages"])
    for title, parts in STAGES.items():
        shares = [
            100 * sum(stage.get(part, 0.0) for part in parts) / sum(stage.values())
            for stage in figures["stages"].values()
        ]
        plt.bar(names, shares, 0.7, bottom, label=title)
        bottom = [below + share for below, share in zip(bottom, shares, strict=True)]
    plt.xlabel("megapixels")
    plt.ylabel("share of the time, %")
    plt.legend(frameon=False, ncols=5, loc="lower center", bbox_to_anchor=(0.5, 1), fontsize=8)
    save("stages")

    rates = figures["threads"]
    plt.plot([int(name) for name in rates], list(rates.values()), "o-")
    plt.xticks([int(name) for name in rates])
    plt.ylim(0)
    plt.xlabel("threads")
    plt.ylabel("pictures/s")
    save("threads")


if __name__ == "__main__":
    write(json.loads(FIGURES.read_text()))
