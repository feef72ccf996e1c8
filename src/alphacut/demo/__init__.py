"""The web page: a picture in, a cut-out that can be corrected, and many pictures at once.

`alphacut demo` runs it by itself, `alphacut serve --demo` beside the service. The page is given
what cuts pictures out, a `Work`, and knows nothing of networks and processes.
"""

import warnings
from concurrent.futures import ThreadPoolExecutor

from alphacut.errors import NoForegroundWarning
from alphacut.options import Options


def serve(
    *,
    host: str,
    port: int,
    options: Options,
    max_body_bytes: int,
    browser: bool,
) -> None:
    """Show the page until a signal ends it, and do its work in this process.

    Args:
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        options: What the page begins with; its `max_megapixels` is the limit.
        max_body_bytes: Largest file that may be uploaded.
        browser: Whether to open it in a browser.

    Raises:
        MissingExtra: if Gradio is not installed.
        AlphacutError: if the model cannot be loaded.
        OutputError: if the address cannot be listened on.
    """
    from alphacut.demo.work import Here

    warnings.simplefilter("ignore", NoForegroundWarning)  # the page says it
    work = Here()
    with ThreadPoolExecutor(1) as pool:  # the network is loaded while Gradio is
        loading = pool.submit(work.load, options)
        from alphacut.demo import door

        door.serve(work, options, max_body_bytes, host, port, browser, loading.result)
