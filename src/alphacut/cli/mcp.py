"""`alphacut mcp`: tools for assistants."""

from pathlib import Path

import click

from alphacut.errors import MissingExtra
from alphacut.options import Options


@click.command()
@click.option(
    "--allow", "allowed", metavar="FOLDER", multiple=True, required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder that may be read and written, with all below it; repeat for more.",
)  # fmt: skip
@click.option("--model", default=Options.model, show_default=True, metavar="NAME",
              help="Network for calls that name none.")  # fmt: skip
@click.option(
    "--http", "port", type=click.IntRange(1, 65535), metavar="PORT",
    help="Serve streamable HTTP on 127.0.0.1:PORT/mcp, instead of standard input and output.",
)  # fmt: skip
def mcp(allowed: tuple[Path, ...], model: str, port: int | None) -> None:
    """Let an assistant remove backgrounds.

    By the Model Context Protocol, it gets the tools remove_background, evaluate_cutout and
    list_models. Pictures stay files: their paths are exchanged, and nothing outside the allowed
    folders is read or written.
    """
    try:
        from alphacut.mcp import make_server
    except ModuleNotFoundError as error:
        raise MissingExtra(str(error.name), "mcp") from error
    server = make_server(allowed, model)
    if port is None:
        server.run("stdio")
    else:
        server.run("streamable-http", host="127.0.0.1", port=port)
