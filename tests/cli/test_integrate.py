"""The entry in file managers' menus: written, run as they run it, and taken out."""

import configparser
import json
import os
import plistlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from alphacut.cli import integrate
from alphacut.cli.main import cli
from alphacut.errors import OutputError
from clusters import until

EXAMPLE = Path(__file__).parents[2] / "src" / "alphacut" / "assets" / "example.jpg"
# in names: spaces, quotes, what shells and desktop files expand, a leading minus
ODD = ["a b.jpg", "it's.jpg", 'so "called".jpg', "$HOME `id`.jpg", "50 %F.jpg", "-o.jpg", "é;&.jpg"]
linux = pytest.mark.skipif(sys.platform != "linux", reason="a file manager of Linux desktops")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for variable, below in (("XDG_DATA_HOME", "data"), ("XDG_CONFIG_HOME", "config")):
        monkeypatch.setenv(variable, str(tmp_path / below))
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def odd(tmp_path: Path) -> list[Path]:
    folder = tmp_path / "odd pictures"
    folder.mkdir()
    return [Path(shutil.copy(EXAMPLE, folder / name)) for name in ODD]


@pytest.fixture
def notified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A notify-send that notes what it is told: there is nobody to be notified here."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "notify-send"
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >> {shlex.quote(str(tmp_path / "told"))}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return tmp_path / "told"


def run(*words: str) -> str:
    result = CliRunner().invoke(cli, ["integrate", *words], catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def check(odd: list[Path], notified: Path) -> None:
    assert [path for path in odd if not path.with_name(f"{path.stem}-cutout.png").exists()] == []
    assert f"{len(odd)} cut out" in notified.read_text()


@linux
def test_dolphin(home: Path, odd: list[Path], notified: Path) -> None:
    path = home / "data" / "kio" / "servicemenus" / "alphacut.desktop"
    assert str(path) in run("dolphin")
    assert os.access(path, os.X_OK)
    if shutil.which("desktop-file-validate"):
        done = subprocess.run(["desktop-file-validate", path], capture_output=True, text=True)
        assert "error" not in done.stdout, done.stdout
    menu = configparser.ConfigParser(interpolation=None, delimiters="=")
    menu.optionxform = str  # type: ignore[assignment, method-assign]
    menu.read(path)
    line = menu["Desktop Action removeBackground"]["Exec"].replace("\\\\", "\\")
    words = [word.replace("%%", "%") for word in shlex.split(line)]
    assert words.pop() == "%F"
    subprocess.run([*words, *map(str, odd)], check=True)
    check(odd, notified)
    run("dolphin", "--remove")
    assert not path.exists()


@linux
def test_nautilus(home: Path, odd: list[Path], notified: Path) -> None:
    path = home / "data" / "nautilus" / "scripts" / "Remove background"
    run("nautilus")
    names = [each.name for each in odd]  # which is what Nautilus gives, in their folder
    subprocess.run([path, *names], cwd=odd[0].parent, check=True)
    check(odd, notified)
    run("nautilus", "--remove")
    assert not path.exists()


@linux
def test_thunar(home: Path, odd: list[Path], notified: Path) -> None:
    path = home / "config" / "Thunar" / "uca.xml"
    path.parent.mkdir(parents=True)
    path.write_text("<actions><!-- mine --><action><name>Mine</name></action></actions>")
    for _ in range(2):  # a second time changes nothing
        run("thunar")
    actions = ElementTree.parse(path).getroot().findall("action")
    assert [action.findtext("name") for action in actions] == ["Mine", "Remove background"]
    command = actions[1].findtext("command") or ""
    files = " ".join(shlex.quote(str(each)) for each in odd)  # as Thunar quotes them
    subprocess.run(["sh", "-c", command.replace("%F", files)], check=True)
    check(odd, notified)
    run("thunar", "--remove")
    assert "Mine" in path.read_text()
    assert "mine" in path.read_text()
    assert "alphacut" not in path.read_text()
    path.write_text("<actions>")
    with pytest.raises(OutputError, match="nothing is changed"):
        run("thunar")


@linux
def test_errors_are_shown(home: Path, odd: list[Path], notified: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no picture")
    command = [*integrate._alphacut(), "clicked", "--", str(bad), str(odd[0])]
    assert subprocess.run(command).returncode == 1
    told = notified.read_text()
    assert "critical" in told
    assert "1 cut out, 1 failed" in told
    assert "bad.jpg: " in told


def test_words_are_quoted_for_desktop_files() -> None:
    assert integrate._quote_desktop("/usr/bin/python3") == "/usr/bin/python3"
    assert integrate._quote_desktop("/my programs/python") == '"/my programs/python"'
    assert integrate._quote_desktop("100%") == '"100%%"'
    assert integrate._quote_desktop('a"b') == '"a\\\\"b"'


def test_explorer_by_what_it_imports() -> None:
    text = integrate.registry_text([r"C:\My Programs\pythonw.exe", "-m", "alphacut"], False)
    key = r"HKEY_CURRENT_USER\Software\Classes\SystemFileAssociations\image\shell"
    assert re.findall(r"^\[(.*)\]\r$", text, re.M) == [
        rf"{key}\alphacut-remove-background", rf"{key}\alphacut-remove-background\command",
    ]  # fmt: skip
    (line,) = re.findall(r'command\]\r\n@="(.*)"\r\n', text)
    plain = line.replace(r"\"", '"').replace(r"\\", "\\")
    assert plain == r'"C:\My Programs\pythonw.exe" -m alphacut "%1"'
    removed = integrate.registry_text([], True)
    assert rf"[-{key}\alphacut-remove-background]" in removed


def test_finder_by_its_files(home: Path) -> None:
    folder = integrate._finder(["/my programs/python", "-m", "alphacut", "clicked", "--"], False)
    information = plistlib.loads((folder / "Contents" / "Info.plist").read_bytes())
    assert information["NSServices"][0]["NSSendFileTypes"] == ["public.image"]
    document = plistlib.loads((folder / "Contents" / "document.wflow").read_bytes())
    script = document["actions"][0]["action"]["ActionParameters"]["COMMAND_STRING"]
    assert script == """'/my programs/python' -m alphacut clicked -- "$@\""""
    integrate._finder([], True)
    assert not folder.exists()


@linux
def test_krita_by_its_files(home: Path) -> None:
    folder = home / "data" / "krita" / "pykrita"
    run("krita")
    assert (folder / "alphacut_krita" / "__init__.py").read_text().count("integrate krita")
    entry = configparser.ConfigParser()
    entry.read(folder / "alphacut_krita.desktop")
    assert entry["Desktop Entry"]["X-KDE-Library"] == "alphacut_krita"
    command = json.loads((folder / "alphacut_krita" / "command.json").read_text())
    assert subprocess.run([*command, "--version"], stdout=subprocess.DEVNULL).returncode == 0
    run("krita", "--remove")
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("manager", ["explorer", "finder"])
def test_those_of_other_systems_are_refused(manager: str) -> None:
    if sys.platform == "linux":
        with pytest.raises(OutputError, match=f"{manager} is not the file manager"):
            run(manager)


@pytest.fixture
def screen(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A screen that nobody sees."""
    read, write = os.pipe()
    server = subprocess.Popen(["Xvfb", "-displayfd", str(write), "-screen", "0", "1000x700x24"],
                              pass_fds=[write], stderr=subprocess.DEVNULL)  # fmt: skip
    number = os.read(read, 16).decode().strip()
    try:
        yield {**os.environ, "DISPLAY": f":{number}", "NO_AT_BRIDGE": "1"}
    finally:
        server.terminate()
        server.wait()
        os.close(read)
        os.close(write)


@pytest.mark.slow
@linux
@pytest.mark.skipif(
    not all(map(shutil.which, ("thunar", "Xvfb", "xdotool", "dbus-run-session"))),
    reason="Thunar, Xvfb, xdotool or dbus-run-session is not installed",
)
def test_thunar_itself(home: Path, odd: list[Path], notified: Path, screen: dict[str, str]) -> None:
    run("thunar")
    keys = home / "config" / "Thunar" / "accels.scm"
    keys.write_text(
        '(gtk_accel_path "<Actions>/ThunarActions/uca-action-alphacut-remove-background" '
        '"<Primary>F9")\n'
    )
    folder = odd[0].parent
    program = subprocess.Popen(["dbus-run-session", "--", "thunar", str(folder)], env=screen,
                               start_new_session=True)  # fmt: skip
    try:

        def window() -> str:
            line = ["xdotool", "search", "--onlyvisible", "--class", "thunar"]
            return subprocess.run(line, env=screen, capture_output=True, text=True).stdout.strip()

        until(window, 60)
        time.sleep(3)  # its files are listed a moment after its window
        focus = ["xdotool", "windowfocus", "--sync", window().split()[-1]]
        subprocess.run(focus, env=screen, check=True, timeout=20)  # no window manager does it
        for key in ("ctrl+a", "ctrl+F9"):
            subprocess.run(["xdotool", "key", key], env=screen, check=True)
            time.sleep(0.5)
        until(notified.exists, 120)
    finally:
        os.killpg(program.pid, signal.SIGTERM)  # its bus as well
        program.wait(20)
    check(odd, notified)
