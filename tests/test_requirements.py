"""requirements/dev.txt pins what continuous integration installs; one command renews it."""

import re
import sys
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LINES = (ROOT / "requirements" / "dev.txt").read_text(encoding="utf-8").splitlines()
PINS = [Requirement(line) for line in LINES if not line.startswith("#")]
RENEW = "renew it: " + LINES[1].removeprefix("#").strip()


def required(extra: str | None) -> list[Requirement]:
    """What the project or one of its extras asks for, extras of the project followed."""
    extras = PROJECT["optional-dependencies"]
    texts = PROJECT["dependencies"] if extra is None else extras[extra]
    found = []
    for requirement in map(Requirement, texts):
        if requirement.name == PROJECT["name"]:
            found += [each for name in requirement.extras for each in required(name)]
        else:
            found.append(requirement)
    return found


def applies(marker: Marker | None, python: str) -> bool:
    return marker is None or marker.evaluate({"python_version": python,
                                              "python_full_version": f"{python}.0"})  # fmt: skip


@pytest.mark.parametrize("python", ["3.10", "3.11", "3.12", "3.13"])
def test_every_requirement_has_one_pin_that_it_accepts(python: str) -> None:
    for requirement in required(None) + required("dev"):
        if not applies(requirement.marker, python):
            continue
        name = canonicalize_name(requirement.name)
        pins = [pin for pin in PINS if pin.name == name and applies(pin.marker, python)]
        assert len(pins) == 1, f"{name} has {len(pins)} pins in requirements/dev.txt: {RENEW}"
        version = re.fullmatch(r"==([^,*]+)", str(pins[0].specifier))
        assert version, pins[0]
        assert requirement.specifier.contains(version[1]), f"{pins[0]}: not {requirement}: {RENEW}"


def test_it_names_neither_hosts_nor_cuda() -> None:
    assert not [line for line in LINES if "://" in line or line.startswith("-")]
    assert not [pin.name for pin in PINS if re.match("nvidia|cuda|triton", pin.name)]
    (torch,) = (pin for pin in PINS if pin.name == "torch")
    assert str(torch.specifier) == "==2.13.0"  # any build of it: no local version


def test_ci_installs_with_it() -> None:
    text = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "export PIP_CONSTRAINT=requirements/dev.txt" in text
