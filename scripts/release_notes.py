"""Print the changelog's section of the version that is being released.

python scripts/release_notes.py > notes.md
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def notes(version: str, changelog: str) -> str:
    """Return the text below a version's heading.

    Raises:
        LookupError: if the version has no heading with a date: it is not ready to be released.
    """
    heading = rf"^## {re.escape(version)}, \d{{4}}-\d\d-\d\d\n(.*?)(?=^## |\Z)"
    found = re.search(heading, changelog, re.S | re.M)
    if not found:
        raise LookupError(f"CHANGELOG.md has no heading '## {version}, YYYY-MM-DD'")
    return found[1].strip() + "\n"


if __name__ == "__main__":
    source = (ROOT / "src" / "alphacut" / "__init__.py").read_text(encoding="utf-8")
    (current,) = re.findall(r'^__version__ = "(.*)"$', source, re.M)
    try:
        print(notes(current, (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")), end="")
    except LookupError as error:
        sys.exit(str(error))
