"""A public address for the page, by Gradio's tunnel."""

import contextlib
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

from alphacut.demo.gradio_import import gr
from alphacut.errors import OutputError


@contextlib.contextmanager
def shared(host: str, port: int) -> Iterator[str]:
    """Give a page a public address for as long as the block lasts.

    Gradio's servers pass on every request, and see it. Its program for that, frpc, is downloaded
    once, and verified.

    Args:
        host: Address the page listens on.
        port: Its port.

    Yields:
        The public address.

    Raises:
        OutputError: if there is no tunnel to be had.
    """
    tunnels = gr.tunneling.CURRENT_TUNNELS
    before = len(tunnels)
    with tempfile.TemporaryDirectory() as folder:
        # Gradio would leave it in the folder that the command runs in
        gr.networking.CERTIFICATE_PATH = str(Path(folder) / "certificate.pem")
        try:
            try:
                address = gr.networking.setup_tunnel(
                    host, port, secrets.token_urlsafe(32), None, None
                )
            except Exception as error:  # of many libraries
                raise OutputError(
                    f"--share: Gradio's tunnel cannot be opened ({type(error).__name__}: {error}): "
                    "try again, or leave it out"
                ) from error
            yield address
        finally:
            for tunnel in tunnels[before:]:
                if tunnel.proc is not None:
                    tunnel.proc.kill()
                    tunnel.proc.wait()
                    tunnel.proc = None  # or Gradio says at exit that it ends it
