"""A plug-in that `test_krita.py` gives to Krita: it does what a person would, and notes what came.

Its folder, named by DRIVEN, holds photo.png; the notes go to notes.json, as soon as all is done.
"""

import json
import os
import traceback
from pathlib import Path

from krita import Extension, Krita, Selection
from PyQt5.QtCore import QTimer

app = Krita.instance()
folder = Path(os.environ["DRIVEN"])
SMALL = 40, 30, 250, 200  # left, top, width, height of a layer that is smaller than the picture


class Driver(Extension):
    def setup(self):
        self.notes = {"told": [], "area": SMALL}
        self.steps = self.play()
        self.turn()

    def createActions(self, window):  # noqa: N802
        pass

    def turn(self):
        QTimer.singleShot(100, self.step)

    def step(self):
        """Take a step each time that Krita is idle; whatever goes wrong ends it with a note."""
        try:
            next(self.steps)
        except StopIteration:
            self.end()
        except BaseException:
            self.notes["error"] = traceback.format_exc()
            self.end()
        else:
            self.turn()

    def end(self):
        part = folder / "notes.part"
        part.write_text(json.dumps(self.notes))
        part.replace(folder / "notes.json")
        os._exit(0)

    def play(self):
        while not app.activeWindow():
            yield
        window = app.activeWindow()
        import alphacut_krita

        alphacut_krita.tell = self.notes["told"].append
        app.setBatchmode(True)
        document = app.openDocument(str(folder / "photo.png"))
        window.addView(document)
        while not app.activeDocument():
            yield
        menus = {menu.objectName(): menu.menu() for menu in window.qwindow().menuBar().actions()}
        self.notes["entries"] = [action.objectName() for action in menus["Layer"].actions()]
        own = Selection()
        own.select(1, 2, 30, 40, 255)
        document.setSelection(own)

        layer = document.topLevelNodes()[0]
        document.setActiveNode(layer)
        self.trigger()
        self.trigger()  # while it runs
        while not layer.childNodes():
            yield
        self.note("whole", document, layer, (0, 0, document.width(), document.height()))
        kept = document.selection()
        self.notes["selection"] = [kept.x(), kept.y(), kept.width(), kept.height()]
        document.saveAs(str(folder / "saved.kra"))
        app.action("edit_undo").trigger()
        document.waitForDone()
        self.notes["undone"] = not layer.childNodes()

        small = document.createNode("small", "paintlayer")
        document.rootNode().addChildNode(small, None)
        small.setPixelData(layer.pixelData(*SMALL), *SMALL)
        document.waitForDone()
        yield  # only now the window knows the layer
        document.setActiveNode(small)
        self.trigger()
        while not small.childNodes():
            yield
        self.note("small", document, small, SMALL)
        document.setActiveNode(small.childNodes()[0])
        self.trigger()  # a mask is no layer

        document.setColorSpace("RGBA", "U16", document.colorProfile())
        document.waitForDone()  # Krita fell once where a step met one that still ran
        group = document.createGroupLayer("group")
        document.rootNode().addChildNode(group, None)
        document.waitForDone()
        group.addChildNode(layer.duplicate(), None)
        document.waitForDone()
        document.refreshProjection()
        document.waitForDone()
        yield
        document.setActiveNode(group)
        self.trigger()
        while len(group.childNodes()) < 2:
            yield
        self.note("group", document, group, (0, 0, document.width(), document.height()))

        for command in (["/nowhere/alphacut"], ["sh", "-c", "echo it is broken >&2; exit 1"]):
            alphacut_krita.COMMAND.write_text(json.dumps(command))
            told = len(self.notes["told"])
            document.setActiveNode(layer)
            self.trigger()
            while len(self.notes["told"]) == told:
                yield

    def trigger(self):
        app.action("alphacut_remove_background").trigger()

    def note(self, name, document, layer, area):
        document.waitForDone()
        (folder / name).write_bytes(bytes(layer.projectionPixelData(*area)))  # B, G, R, A
        self.notes[name] = [node.type() for node in layer.childNodes()]


app.addExtension(Driver(app))
