"""`alphacut demo` as a command."""

import socket
import subprocess
import sys

import psutil
import pytest
from click.testing import CliRunner

from alphacut import Options
from alphacut.cli.main import cli
from alphacut.demo.gradio_import import gr
from alphacut.demo.share import shared
from alphacut.errors import OutputError, UnknownName


def test_without_gradio_it_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['gradio'] = None; sys.argv = ['alphacut', 'demo', '--port', '0']\n"
        "from alphacut.cli.main import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    missing = "alphacut: gradio is not installed: "
    assert done.stderr.strip() == missing + 'in a checkout of alphacut, pip install ".[demo]"'


@pytest.mark.parametrize("name", ["u2net", "indexnet"])
def test_a_model_that_is_not_here_is_told_at_once(name: str) -> None:
    result = CliRunner().invoke(cli, ["demo", "--no-browser", "--model", name])
    assert isinstance(result.exception, UnknownName)
    assert "u2net-lite" in str(result.exception)


def test_a_taken_port_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        result = CliRunner().invoke(cli, ["demo", "--no-browser", "--port", port])
    assert isinstance(result.exception, OutputError)
    assert "choose another --port" in str(result.exception)


def test_its_limits_are_those_of_the_service() -> None:
    serve = {option.name: option for option in cli.commands["serve"].params}
    for option in cli.commands["demo"].params:
        if option.name in serve and option.name != "model":
            assert option.default == serve[option.name].default
            assert option.help == serve[option.name].help
    assert {"max_body", "max_megapixels"} <= {option.name for option in cli.commands["demo"].params}
    (model,) = [one for one in cli.commands["demo"].params if one.name == "model"]
    assert model.default == Options().model


OPENED = """
import subprocess, sys
from alphacut.demo.gradio_import import gr
from gradio.tunneling import Tunnel

def setup_tunnel(host, port, token, *_):
    tunnel = Tunnel("far", 443, host, port, token, None)
    tunnel.proc = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    gr.tunneling.CURRENT_TUNNELS.append(tunnel)
    return "https://abc.example"

gr.networking.setup_tunnel = setup_tunnel
"""
SHARED = """
from alphacut.demo import app
app._Server.run = lambda self, sockets: print("serving", gr.tunneling.CURRENT_TUNNELS[0].proc.pid)
sys.argv = ["alphacut", "demo", "--no-browser", "--port", "0", "--share"]
from alphacut.cli.main import program
program()
"""


def test_a_shared_page_says_what_that_means() -> None:
    done = subprocess.run(
        [sys.executable, "-c", OPENED + SHARED], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "https://abc.example: until this command ends, anyone who knows this" in done.stderr
    assert "pictures pass through Gradio's servers" in done.stderr
    serving, pid = done.stdout.split()  # and nothing else, such as Gradio's farewell
    assert serving == "serving"
    assert not psutil.pid_exists(int(pid))


def test_a_page_that_cannot_be_shared_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> str:
        raise RuntimeError("Could not get share link")

    monkeypatch.setattr(gr.networking, "setup_tunnel", fail)
    message = (
        r"--share: Gradio's tunnel cannot be opened \(RuntimeError: Could not get share link\)"
    )
    with pytest.raises(OutputError, match=message), shared("127.0.0.1", 7000):
        pass


def test_a_shared_page_has_no_prefix() -> None:
    result = CliRunner().invoke(cli, ["demo", "--no-browser", "--share", "--root-path", "/cut"])
    assert isinstance(result.exception, OutputError)
    assert "give --share or --root-path, not both" in str(result.exception)


def test_a_page_is_shared_only_if_that_is_asked_for() -> None:
    assert cli.commands["demo"].make_context("demo", []).params["share"] is False
