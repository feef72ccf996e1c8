"""`alphacut integrate`: "Remove background" in the menu of another program, for this user."""

import json
import os
import plistlib
import shlex
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from alphacut import files
from alphacut.errors import OutputError, RuntimeFailure

LABEL = "Remove background"
_ID = "alphacut-remove-background"
_KEY = rf"HKEY_CURRENT_USER\Software\Classes\SystemFileAssociations\image\shell\{_ID}"
_TYPES = "image/jpeg;image/png;image/webp;image/avif;image/tiff;image/bmp;image/gif;image/heif;"
_SHOWN = 3  # errors that fit a notification


@click.command()
@click.argument(
    "program", type=click.Choice(["dolphin", "nautilus", "thunar", "explorer", "finder", "krita"])
)
@click.option("--remove", "removing", is_flag=True, help="Take it out of the menu again.")
def integrate(program: str, removing: bool) -> None:
    """Put "Remove background" into the menu of another program.

    In a file manager it cuts out the selected pictures into files beside them, and a notification
    tells the end; in Krita it gives the layer a transparency mask. Only files of this user are
    written, or on Windows keys of this user.
    """
    own = {"explorer": "win32", "finder": "darwin"}
    if program in own and sys.platform != own[program]:
        raise OutputError(f"{program} is not the file manager of this system")
    places: dict[str, Callable[[Sequence[str], bool], object]] = {
        "dolphin": _dolphin, "nautilus": _nautilus, "thunar": _thunar, "explorer": _explorer,
        "finder": _finder, "krita": _krita,
    }  # fmt: skip
    command = _alphacut() if program == "krita" else [*_alphacut(), "clicked", "--"]
    where = places[program](command, removing)
    click.echo(f"{'removed from' if removing else 'written to'} {where}")


@click.command(hidden=True)
@click.argument("inputs", nargs=-1, required=True)
def clicked(inputs: tuple[str, ...]) -> None:
    """Cut out what was selected in a file manager, and show a notification at the end."""
    line = [sys.executable, "-m", "alphacut", "remove", "--json", "--", *inputs]
    done = subprocess.run(line, capture_output=True, text=True, errors="replace")
    rows = [json.loads(row) for row in done.stdout.splitlines()]
    failed = [row["reason"] for row in rows if row["status"] == "failed"]
    if not rows:  # it could not even begin
        failed = [done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "it ended early"]
    good = sum(row["status"] == "done" for row in rows)
    title = f"{good} cut out" + (f", {len(failed)} failed" if failed else "")
    text = "\n".join(failed[:_SHOWN]) or "\n".join(
        os.path.basename(row["output"]) for row in rows[:_SHOWN]
    )
    _notify(title, text, bad=bool(failed))
    sys.exit(done.returncode)


def _alphacut() -> list[str]:
    """Return the command that runs alphacut from another program."""
    python = sys.executable
    if sys.platform == "win32":  # without a black window
        python = shutil.which("pythonw", path=os.path.dirname(python)) or python
    return [python, "-m", "alphacut"]


def _dolphin(command: Sequence[str], removing: bool) -> Path:
    """Write a service menu of KDE's."""
    path = _data("kio", "servicemenus", "alphacut.desktop")
    line = " ".join(map(_quote_desktop, command)) + " %F"
    text = f"""[Desktop Entry]
Type=Application
Name={LABEL}
Exec={line}
NoDisplay=true
X-KDE-ServiceTypes=KonqPopupMenu/Plugin
MimeType={_TYPES}
Actions=removeBackground;
X-KDE-Priority=TopLevel

[Desktop Action removeBackground]
Name={LABEL}
Icon=edit-cut
Exec={line}
"""
    return _put(path, text.encode(), removing, executable=True)  # else KDE asks for trust


def _nautilus(command: Sequence[str], removing: bool) -> Path:
    """Write a script of GNOME's; it gets the names of the files as arguments."""
    text = f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n'
    path = _data("nautilus", "scripts", LABEL)
    return _put(path, text.encode(), removing, executable=True)


def _thunar(command: Sequence[str], removing: bool) -> Path:
    """Add a custom action to Xfce's, or take it out; the user's others stay."""
    path = _home("XDG_CONFIG_HOME", ".config") / "Thunar" / "uca.xml"
    found = path if path.exists() else Path("/etc/xdg/Thunar/uca.xml")  # what Thunar begins with
    if removing and not path.exists():
        return path
    try:
        builder = ElementTree.TreeBuilder(insert_comments=True)
        parser = ElementTree.XMLParser(target=builder)
        root = (ElementTree.parse(found, parser).getroot() if found.exists()
                else ElementTree.Element("actions"))  # fmt: skip
    except (ElementTree.ParseError, OSError) as error:
        raise OutputError(f"{found}: cannot be read ({error}): nothing is changed") from error
    for action in root.findall("action"):
        if action.findtext("unique-id") == _ID:
            root.remove(action)
    if not removing:
        action = ElementTree.SubElement(root, "action")
        quoted = " ".join(shlex.quote(word.replace("%", "%%")) for word in command)
        facts = {"icon": "edit-cut", "name": LABEL, "unique-id": _ID, "command": f"{quoted} %F",
                 "description": "Cut out the subject, by alphacut", "patterns": "*"}  # fmt: skip
        for name, value in facts.items():
            ElementTree.SubElement(action, name).text = value
        ElementTree.SubElement(action, "image-files")
    files.write(path, [ElementTree.tostring(root, "utf-8", xml_declaration=True)], make_folder=True)
    return path


def registry_text(command: Sequence[str], removing: bool) -> str:
    """Return what Explorer's registry editor imports; a key with a minus is deleted."""
    if removing:
        return f"Windows Registry Editor Version 5.00\r\n\r\n[-{_KEY}]\r\n"
    line = f'{subprocess.list2cmdline(command)} "%1"'
    escaped = line.replace("\\", r"\\").replace('"', r"\"")
    return (
        "Windows Registry Editor Version 5.00\r\n\r\n"
        f'[{_KEY}]\r\n@="{LABEL}"\r\n"MultiSelectModel"="Player"\r\n\r\n'
        f'[{_KEY}\\command]\r\n@="{escaped}"\r\n'
    )


def _explorer(command: Sequence[str], removing: bool) -> str:
    """Write keys of this user, by Windows' own program."""
    folder = Path(os.environ.get("TEMP", "."))
    path = folder / f"{_ID}.reg"
    files.write(path, [registry_text(command, removing).encode("utf-16")])
    try:
        done = subprocess.run(["reg", "import", str(path)], capture_output=True, text=True)
    finally:
        path.unlink(missing_ok=True)
    if done.returncode:
        raise RuntimeFailure(f"the registry was not changed: {done.stderr.strip()}")
    return _KEY


def _finder(command: Sequence[str], removing: bool) -> Path:
    """Write a Quick Action of macOS: an Automator workflow that runs a shell script."""
    folder = Path.home() / "Library" / "Services" / f"{LABEL}.workflow"
    if removing:
        shutil.rmtree(folder, ignore_errors=True)
        return folder
    for name, facts in workflow(command).items():
        content = plistlib.dumps(facts)
        files.write(folder / "Contents" / name, [content], make_folder=True)
    return folder


def workflow(command: Sequence[str]) -> dict[str, dict[str, object]]:
    """Return the files of the Quick Action as property lists."""
    service = {
        "NSMenuItem": {"default": LABEL}, "NSMessage": "runWorkflowAsService",
        "NSRequiredContext": {"NSApplicationIdentifier": "com.apple.finder"},
        "NSSendFileTypes": ["public.image"],
    }  # fmt: skip
    action = {
        "AMAccepts": {"Container": "List", "Optional": True, "Types": ["com.apple.cocoa.string"]},
        "AMProvides": {"Container": "List", "Types": ["com.apple.cocoa.string"]},
        "ActionBundlePath": "/System/Library/Automator/Run Shell Script.action",
        "ActionName": "Run Shell Script",
        "ActionParameters": {
            "COMMAND_STRING": f'{shlex.join(command)} "$@"', "CheckedForUserDefaultShell": True,
            "inputMethod": 1, "shell": "/bin/sh", "source": "",
        },
        "BundleIdentifier": "com.apple.RunShellScript", "Class Name": "RunShellScriptAction",
        "isViewVisible": 1,
    }  # fmt: skip
    image = "com.apple.Automator.fileSystemObject.image"
    nothing = "com.apple.Automator.nothing"
    return {
        "Info.plist": {"NSServices": [service]},
        "document.wflow": {
            "AMApplicationVersion": "2.10", "AMDocumentVersion": "2",
            "actions": [{"action": action, "isViewVisible": 1}], "connectors": {},
            "workflowMetaData": {
                "serviceInputTypeIdentifier": image, "serviceOutputTypeIdentifier": nothing,
                "serviceProcessesInput": 0,
                "workflowTypeIdentifier": "com.apple.Automator.servicesMenu",
            },
        },
    }  # fmt: skip


def _krita(command: Sequence[str], removing: bool) -> Path:
    """Copy the plug-in into Krita's folder of resources, with the command that it runs."""
    name = "alphacut_krita"
    home = {"win32": _home("APPDATA", "AppData/Roaming") / "krita",
            "darwin": Path.home() / "Library/Application Support/krita"}  # fmt: skip
    folder = home.get(sys.platform, _data("krita")) / "pykrita"
    package = Path(__file__).parents[1]
    installed, checkout = package / "assets/krita", package.parents[1] / "integrations/krita"
    source = installed if installed.exists() else checkout
    contents = {Path(part): (source / part).read_bytes()
                for part in (f"{name}.desktop", f"{name}/__init__.py")}  # fmt: skip
    contents[Path(name, "command.json")] = json.dumps(command).encode()
    for part, content in contents.items():
        _put(folder / part, content, removing)
    if removing:
        shutil.rmtree(folder / name, ignore_errors=True)  # with the bytecode that Krita left
    return folder / name


def _home(variable: str, below: str) -> Path:
    return Path(os.environ.get(variable) or Path.home() / below)


def _data(*parts: str) -> Path:
    return _home("XDG_DATA_HOME", ".local/share").joinpath(*parts)


def _put(path: Path, content: bytes, removing: bool, *, executable: bool = False) -> Path:
    """Write a file, or delete it."""
    try:
        if removing:
            path.unlink(missing_ok=True)
            return path
        files.write(path, [content], make_folder=True)
        if executable:
            path.chmod(0o755)
    except OSError as error:
        raise files.unwritable(path, error) from error
    return path


def _quote_desktop(word: str) -> str:
    """Quote a word of an Exec line: for its shell-like words, then for the file's own strings."""
    escaped = word.replace("%", "%%")
    for special in '\\"`$':
        escaped = escaped.replace(special, f"\\{special}")
    if escaped == word and not set(word) & set(" \t\n'<>~|&;*?#()"):
        return word
    return f'"{escaped}"'.replace("\\", "\\\\")


def _notify(title: str, text: str, *, bad: bool) -> None:
    """Show a notification; where none can be shown, standard error has it."""
    if sys.platform == "darwin":
        script = ("on run argv", "display notification (item 2 of argv) with title "
                  '"alphacut" subtitle (item 1 of argv)', "end run")  # fmt: skip
        lines = [word for part in script for word in ("-e", part)]
        command = ["osascript", *lines, title, text]
    elif sys.platform == "win32":
        command = ["msg", "*", "/TIME:10", f"alphacut: {title}\n{text}"]
    else:
        urgency = "critical" if bad else "normal"
        command = ["notify-send", "-a", "alphacut", "-i", "edit-cut", "-u", urgency, "--", title,
                   text]  # fmt: skip
    try:
        if subprocess.run(command, capture_output=True).returncode == 0:
            return
    except OSError:  # there is no such program
        pass
    click.echo(f"alphacut: {title}\n{text}", err=True)
