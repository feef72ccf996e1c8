"""Krita: *Remove Background* gives the active layer a transparency mask, made by alphacut.

Only Krita's own PyQt and the standard library are imported: alphacut runs as a process of its own,
by the command that `alphacut integrate krita` has written into command.json.
"""

import json
import tempfile
from pathlib import Path

from krita import Extension, InfoObject, Krita, Selection
from PyQt5.QtCore import QByteArray, QProcess, QProcessEnvironment
from PyQt5.QtGui import QImage
from PyQt5.QtWidgets import QMessageBox

LABEL = "Remove Background"
ACTION = "alphacut_remove_background"
COMMAND = Path(__file__).with_name("command.json")
# Krita's own Python, which programs of another must not be given
ENVIRONMENT = ("PYTHONHOME", "PYTHONPATH", "LD_LIBRARY_PATH")


class RemoveBackground(Extension):
    """The menu's entry. One layer at a time; Krita stays usable meanwhile."""

    def __init__(self, parent):
        super().__init__(parent)
        self.process = None

    def setup(self):
        """Do nothing: Krita asks for it."""

    def createActions(self, window):  # noqa: N802  Krita's name
        """Add the entry to the menu of a window."""
        action = window.createAction(ACTION, LABEL, "layer")
        action.triggered.connect(self.start)

    def start(self):
        """Let alphacut find the subject of the active layer."""
        if self.process:
            return tell("Another layer is being cut out: wait for its mask.")
        document = Krita.instance().activeDocument()
        layer = document and document.activeNode()
        if not layer or layer.type().endswith("mask") or layer.bounds().isEmpty():
            return tell("Choose a layer that is not empty.")
        # of the document's area: what lies outside is not seen
        area = layer.bounds().intersected(document.bounds())
        folder = tempfile.TemporaryDirectory(prefix="alphacut-")
        picture, mask = (str(Path(folder.name, name)) for name in ("layer.png", "mask.png"))
        save(document, layer, picture, area)
        process = self.process = QProcess()
        environment = QProcessEnvironment.systemEnvironment()
        for name in ENVIRONMENT:
            environment.remove(name)
        process.setProcessEnvironment(environment)

        def finish(*_):
            self.process = None
            with folder:
                # one that never ran has the exit code 0 as well
                if process.error() == QProcess.UnknownError and process.exitCode() == 0:
                    hide(document, layer, mask, area)
                else:
                    tell(reason(process))

        process.finished.connect(finish)
        process.errorOccurred.connect(
            lambda error: finish() if error == QProcess.FailedToStart else None
        )
        program, *words = json.loads(COMMAND.read_text(encoding="utf-8"))
        process.start(program, [*words, "remove", picture, "-o", mask, "--mask"])
        return None


def save(document, layer, path, area):
    """Write an area of a layer, as it is seen, into a PNG file of 8 or 16 bits in sRGB."""
    options = InfoObject()
    for name, value in {"alpha": True, "forceSRGB": True, "compression": 1}.items():
        options.setProperty(name, value)
    app = Krita.instance()
    quiet = app.batchmode()
    app.setBatchmode(True)  # no questions about the file
    try:
        layer.save(path, document.xRes(), document.yRes(), options, area)
    finally:
        app.setBatchmode(quiet)


def hide(document, layer, path, area):
    """Add a transparency mask to a layer: Krita makes it of a selection, and can undo that."""
    app = Krita.instance()
    views = [(window, view) for window in app.windows() for view in window.views()
             if view.document() == document]  # fmt: skip
    if not views:
        return  # closed meanwhile
    window, view = views[0]
    window.activate()
    window.showView(view)
    alpha = QImage(path).convertToFormat(QImage.Format_Grayscale8)
    lines = alpha.constBits().asstring(alpha.sizeInBytes())
    wide = alpha.bytesPerLine()  # rounded up to 4 bytes
    rows = (lines[top : top + alpha.width()] for top in range(0, len(lines), wide))
    chosen = Selection()
    chosen.setPixelData(QByteArray(b"".join(rows)), area.x(), area.y(), area.width(), area.height())
    before = document.selection()
    document.setActiveNode(layer)
    document.setSelection(chosen)
    document.waitForDone()
    app.action("add_new_transparency_mask").trigger()
    document.waitForDone()
    document.setSelection(before)
    document.refreshProjection()


def reason(process):
    """Say why alphacut made no mask."""
    if process.error() == QProcess.FailedToStart:
        return f"{process.program()} cannot be started: run `alphacut integrate krita` again."
    lines = bytes(process.readAllStandardError()).decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "alphacut ended early."


def tell(text):
    """Show a message, and wait until it is read."""
    window = Krita.instance().activeWindow()
    QMessageBox.warning(window.qwindow() if window else None, LABEL, text)


Krita.instance().addExtension(RemoveBackground(Krita.instance()))
