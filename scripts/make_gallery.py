"""Make the README's gallery: the commands that it shows, run on the example pictures.

    python scripts/make_gallery.py

writes docs/gallery/. The pictures are small, so that the repository stays so.
"""

import os
import shlex
from pathlib import Path

from alphacut.cli.main import cli

ROOT = Path(__file__).parents[1]
LIMIT_BYTES = 60_000
COMMANDS = """
alphacut examples/astronaut.png --result preview --background blur --file-quality 75 -o docs/gallery/steps.webp
alphacut examples/astronaut.png --preset profile --size 300x300 --background disc:9 -o docs/gallery/profile.jpg
alphacut examples/coffee.png --preset product --size 300x300 --shadow drop -o docs/gallery/product.jpg
alphacut examples/astronaut.png --background examples/coffee.png --scale 95% --position bottom --size 300x300 -o docs/gallery/image.jpg
alphacut examples/coffee.png --background '#e8e4dc' --scale 80% --shadow contact --size 300x300 -o docs/gallery/contact.jpg
alphacut examples/astronaut.png --crop --margin 5% --size 300x300 -o docs/gallery/cutout.webp
alphacut examples/astronaut.png --invert --size 300x300 -o docs/gallery/hole.webp
""".strip().splitlines()  # noqa: E501


def main() -> None:
    """Run every command and see that its picture is small."""
    os.chdir(ROOT)
    (ROOT / "docs" / "gallery").mkdir(exist_ok=True)
    for command in COMMANDS:
        words = shlex.split(command)[1:]
        path = Path(words[-1])
        cli([*words, "--overwrite"], standalone_mode=False)
        if path.stat().st_size > LIMIT_BYTES:
            raise SystemExit(f"{path}: {path.stat().st_size} bytes, more than {LIMIT_BYTES}")


if __name__ == "__main__":
    main()
