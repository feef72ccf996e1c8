"""The web page: a picture in, a cut-out that can be corrected, and many pictures at once.

`alphacut demo` runs it by itself, `alphacut serve --demo` as part of the service. The page is given
an `Engine` to cut pictures out, and knows nothing of networks and processes.
"""

import warnings
from concurrent.futures import ThreadPoolExecutor

from alphacut.errors import MetadataWarning, NoForegroundWarning, OutputError, UnknownName
from alphacut.options import Options


def serve(
    *,
    host: str,
    port: int,
    options: Options,
    max_body_bytes: int,
    prefix: str,
    browser: bool,
    share: bool,
) -> None:
    """Show the page until a signal ends it, with an engine in this process.

    Args:
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        options: What the page starts with; its `max_megapixels` is the limit.
        max_body_bytes: Largest file that may be uploaded.
        prefix: What a proxy in front strips from paths, "" if there is none.
        browser: Whether to open it in a browser.
        share: Whether to give it a public address, by Gradio's tunnel.

    Raises:
        ModuleNotFoundError: if Gradio is not installed.
        UnknownName: if the model is not on this machine, or does not find subjects.
        AlphacutError: if it cannot be loaded.
        OutputError: if the address cannot be listened on, or there is no public one to be had.
    """
    if share and prefix:  # the tunnel strips nothing: all that the page asks for would be missing
        raise OutputError("a shared page has no prefix: give --share or --root-path, not both")
    from alphacut.demo.engine import LocalEngine
    from alphacut.models import weights

    warnings.simplefilter("ignore", NoForegroundWarning)  # the page says it
    warnings.simplefilter("ignore", MetadataWarning)
    engine = LocalEngine()
    name = weights.find_model(options.model).name
    if name not in [spec.name for spec in engine.models]:
        raise UnknownName("model on this machine", name, [spec.name for spec in engine.models])
    options = options.replace(model=name)
    with ThreadPoolExecutor(1) as pool:  # the network is loaded while Gradio is
        loading = pool.submit(engine.load, options)
        pool.submit(engine.warm_up, options)
        from alphacut.demo import app

        app.serve(
            engine, options, max_body_bytes, prefix, host, port, browser, share, loading.result
        )
