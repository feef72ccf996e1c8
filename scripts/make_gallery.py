"""Make the README's gallery in docs/gallery: the commands it shows, run on the example images.

python scripts/make_gallery.py
"""

import os
import shlex
from pathlib import Path

from alphacut.cli.main import cli

ROOT = Path(__file__).parents[1]
MAX_BYTES = 60_000  # keeps the repository small
COMMANDS = """
alphacut examples/astronaut.png --result preview --background blur --file-quality 75 -o docs/gallery/steps.webp
alphacut examples/astronaut.png --preset profile --size 300x300 --background disc:9 -o docs/gallery/profile.jpg
alphacut examples/coffee.png --preset product --size 300x300 --shadow drop -o docs/gallery/product.jpg
alphacut examples/astronaut.png --background examples/rocket.jpg --scale 95% --position bottom --size 300x300 -o docs/gallery/image.jpg
alphacut examples/coffee.png --background '#e8e4dc' --scale 80% --shadow contact --size 300x300 -o docs/gallery/contact.jpg
alphacut examples/astronaut.png --crop --margin 5% --size 300x300 -o docs/gallery/cutout.webp
alphacut examples/astronaut.png --invert --size 300x300 -o docs/gallery/hole.webp
""".strip().splitlines()  # noqa: E501


def main() -> None:
    """Run every command and check the size of each image."""
    os.chdir(ROOT)
    (ROOT / "docs" / "gallery").mkdir(exist_ok=True)
    for command in COMMANDS:
        arguments = shlex.split(command)[1:]
        path = Path(arguments[-1])
        cli([*arguments, "--overwrite"], standalone_mode=False)
        if path.stat().st_size > MAX_BYTES:
            raise SystemExit(f"{path}: {path.stat().st_size} bytes, more than {MAX_BYTES}")


if __name__ == "__main__":
    main()
