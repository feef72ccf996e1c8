"""`alphacut demo` as a command."""

import socket
import subprocess
import sys

import pytest
from click.testing import CliRunner

from alphacut import Options
from alphacut.cli.main import cli
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
