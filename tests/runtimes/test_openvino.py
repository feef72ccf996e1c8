"""What alphacut hides from OpenVINO has private names: a release that renames them fails here."""

import importlib.metadata
import subprocess
import sys

VERSION = importlib.metadata.version("openvino")
CHANGED = f"OpenVINO {VERSION} has changed what runtimes/openvino.py relies on: "

# Any attempt to reach the network ends the program
START = """
import socket, sys

def refuse(*_):
    raise SystemExit("the network was asked for")

socket.socket.connect = socket.getaddrinfo = refuse
"""


def run(program: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", START + program], capture_output=True, text=True)
    assert done.returncode == 0, CHANGED + done.stderr
    return done.stdout.split()


def test_the_converter_and_its_telemetry_are_not_imported() -> None:
    loaded = run("import alphacut.runtimes.openvino; print(*sys.modules)")
    hidden = {"openvino.tools.ovc", "openvino_telemetry"}
    assert not hidden & {*loaded}, CHANGED + "its converter is imported with it"
    plain = run("import os; os.environ['CI'] = 'true'; import openvino; print(*sys.modules)")
    assert hidden <= {*plain}, CHANGED + "these are no longer the names to hide"


def test_the_converter_works_and_is_silent() -> None:
    program = """
from alphacut.models import weights
from alphacut.models.catalogue import MODELS
from alphacut.runtimes.openvino import openvino
model = openvino.convert_model(weights.fetch(MODELS[0]))
assert model.inputs[0].get_any_name() == "batch"
assert openvino.tools.ovc.convert_model is not openvino.convert_model
from openvino.tools.ovc import telemetry_utils
print(telemetry_utils.tm.__name__, *sys.modules)
"""
    telemetry, *loaded = run(program)
    assert telemetry == "openvino.tools.ovc.telemetry_stub", CHANGED + f"it reports by {telemetry}"
    assert "openvino_telemetry" not in loaded
