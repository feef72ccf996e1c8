"""Measure how long a visitor waits: for the page, for a result, and for a stroke.

    python benchmarks/demo.py [ROUNDS]

Needs the extra `demo`, Playwright and Chromium. Prints the median of the rounds.
"""

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import PIL.Image
from playwright.sync_api import sync_playwright

EXAMPLE = Path(__file__).parents[1] / "examples" / "astronaut.png"
SHOWN = "(before) => (document.querySelector('.viewer')?.dataset.shown ?? null) !== before"


def main() -> None:
    """Measure and print."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    figures: dict[str, list[float]] = defaultdict(list)
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        photo = Path(folder) / "photo.jpg"
        PIL.Image.open(EXAMPLE).convert("RGB").resize((1414, 1414)).save(photo, quality=92)
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for turn in range(rounds):
            start = time.perf_counter()
            command = [sys.executable, "-m", "alphacut", "demo", "--no-browser", "--port", "0"]
            server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
            assert server.stderr
            address = server.stderr.readline().split()[1]
            figures["server listens"].append(time.perf_counter() - start)
            page = browser.new_page()
            page.goto(address)
            page.wait_for_selector("#photo input[type=file]", state="attached")
            figures["page is ready"].append(time.perf_counter() - start)
            for attempt in ("first", "later"):
                if attempt == "later":
                    page.get_by_role("button", name="New picture").click()
                    moved = np.roll(np.asarray(PIL.Image.open(photo)), 5 * turn + 5, axis=1)
                    PIL.Image.fromarray(moved).save(photo, quality=92)  # not remembered
                before = page.evaluate("document.querySelector('.viewer')?.dataset.shown ?? null")
                begun = time.perf_counter()
                page.set_input_files("#photo input[type=file]", str(photo))
                page.wait_for_function(SHOWN, arg=before, timeout=120_000)
                figures[f"{attempt} result, 2 MP"].append(time.perf_counter() - begun)
                row = page.locator("#status tr", has_text="Network").text_content() or ""
                figures[f"{attempt} network"].append(float(row.split("k")[1].split()[0]) / 1000)
            for quality in ("Fast", "Best"):
                if quality == "Best":
                    before = page.evaluate("document.querySelector('.viewer').dataset.shown")
                    page.get_by_label(quality, exact=True).check()
                    page.wait_for_function(SHOWN, arg=before, timeout=120_000)
                else:
                    page.get_by_role("button", name="Touch up").click()
                    page.wait_for_timeout(2000)
                for stroke in range(2):
                    before = page.evaluate("document.querySelector('.viewer').dataset.shown")
                    page.locator(".viewer .paper").focus()
                    page.keyboard.press("ArrowRight")
                    begun = time.perf_counter()
                    page.keyboard.press("Space")
                    page.wait_for_function(SHOWN, arg=before, timeout=120_000)
                    if stroke:
                        seconds = time.perf_counter() - begun
                        figures[f"stroke, {quality.lower()} edges, 2 MP"].append(seconds)
            page.close()
            server.terminate()
            server.wait()
    for what, seconds in figures.items():
        print(f"{what:<28} {statistics.median(seconds):.2f} s  {[round(s, 2) for s in seconds]}")


if __name__ == "__main__":
    main()
