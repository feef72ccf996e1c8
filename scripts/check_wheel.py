"""Check that the built files hold what they should: all modules, the weights, the licences.

python scripts/check_wheel.py dist
"""

import sys
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def faults(dist: Path) -> list[str]:
    """Return what is missing or too much in the wheel and the sdist of alphacut, in words."""
    (wheel,), (sdist,) = (
        sorted(dist.glob("alphacut-[0-9]*.whl")),
        sorted(dist.glob("alphacut-[0-9]*.tar.gz")),
    )
    source = ROOT / "src"
    wanted = {
        path.relative_to(source).as_posix()
        for path in (source / "alphacut").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    plugin = ROOT / "integrations" / "krita"  # for `alphacut integrate krita`
    wanted |= {
        f"alphacut/assets/krita/{path.relative_to(plugin).as_posix()}"
        for path in (plugin / "alphacut_krita.desktop", plugin / "alphacut_krita" / "__init__.py")
    }
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    code = {name for name in held if not name.split("/")[0].endswith(".dist-info")}
    said = [f"{wheel.name}: lacks {name}" for name in sorted(wanted - code)]
    said += [f"{wheel.name}: should not hold {name}" for name in sorted(code - wanted)]
    for name in ("LICENSE", "NOTICE"):
        if not any(each.endswith(f"/licenses/{name}") for each in held):
            said.append(f"{wheel.name}: lacks {name}")
    with tarfile.open(sdist) as archive_of_sources:
        names = {name.partition("/")[2] for name in archive_of_sources.getnames()}
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE", "tests/test_readme.py"):
        if name not in names:
            said.append(f"{sdist.name}: lacks {name}")
    return said


if __name__ == "__main__":
    found = faults(Path(sys.argv[1]))
    print("\n".join(found) or "the wheel and the sdist are complete")
    sys.exit(bool(found))
