"""`alphacut serve` and `alphacut demo`: the service and the web page."""

import dataclasses
import functools
from collections.abc import Callable, Collection
from typing import Any, TypeVar

import click

from alphacut.errors import MissingExtra
from alphacut.options import Options
from alphacut.server.settings import Settings

_Command = TypeVar("_Command", bound=Callable[..., Any])


def from_settings(command: _Command, names: Collection[str] | None = None) -> _Command:
    """Give a command a flag and an environment variable for some fields of `Settings`, or all."""
    for setting in reversed(dataclasses.fields(Settings)):
        if names is not None and setting.name not in names:
            continue
        facts = setting.metadata
        command = click.option(
            "--" + setting.name.replace("_", "-"),
            type=click.Choice(facts["choices"]) if facts["choices"] else facts["kind"],
            is_flag=isinstance(setting.default, bool),
            multiple=isinstance(setting.default, tuple),
            default=setting.default,
            show_default=setting.default not in (None, False, ()),
            metavar=facts["unit"] or None,
            envvar=f"ALPHACUT_{setting.name.upper()}",
            help=facts["help"],
        )(command)
    return command


@click.command()
@from_settings
def serve(**settings: Any) -> None:
    """Serve remove.bg's and rembg's HTTP APIs.

    Each option can also be set by an environment variable: --max-body is ALPHACUT_MAX_BODY. Options
    that can be repeated take several values there, separated by spaces.
    """
    chosen = Settings(**settings)
    try:
        from alphacut.server import run
    except ModuleNotFoundError as error:
        raise MissingExtra(str(error.name), "serve") from error
    run.serve(chosen, run.load(chosen))


@click.command()
@functools.partial(
    from_settings,
    names=("host", "port", "max_megapixels", "metadata", "max_body", "root_path"),
)
@click.option("--model", default=Options.model, show_default=True, metavar="NAME",
              help="Network the page starts with.")  # fmt: skip
@click.option("--browser/--no-browser", default=True, help="Open the page in a browser.")
@click.option(
    "--share", is_flag=True,
    help="Also give the page a public address: anyone who knows it can use the page, and pictures "
    "pass through Gradio's servers.",
)  # fmt: skip
def demo(model: str, browser: bool, share: bool, **settings: Any) -> None:
    """Show a web page that removes backgrounds.

    Drop in a picture, touch it up, download it. The page is served by this machine and contacts no
    other, unless it is shared.
    """
    chosen = Settings(**settings)
    from alphacut.demo import serve as show

    options = Options(model=model, max_megapixels=chosen.max_megapixels, metadata=chosen.metadata)
    try:
        show(
            host=chosen.host,
            port=chosen.port,
            options=options,
            max_body_bytes=chosen.max_body_bytes,
            prefix=chosen.prefix,
            browser=browser,
            share=share,
        )
    except ModuleNotFoundError as error:
        raise MissingExtra(str(error.name), "demo") from error
