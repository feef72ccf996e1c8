"""A network that loads while a command reads what it is asked to cut out."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import click

from alphacut.cli.terminal import download_progress

if TYPE_CHECKING:
    from alphacut.options import Options
    from alphacut.remover import Remover
    from alphacut.runtimes import Hint


class Loading(NamedTuple):
    """A network that is loading.

    Attributes:
        make_remover: Makes the remover of all options, once nothing else can be wrong; those that
            name the network are the same. If there is a bar, it waits until that is done.
        wait: Waits until the network is loaded, and raises what went wrong.
    """

    make_remover: "Callable[[Options], Remover]"
    wait: Callable[[], None]


@contextmanager
def loading(
    options: "Options", accept_license: bool, *, quiet: bool, hint: "Hint" = "latency"
) -> Iterator[Loading]:
    """Begin to load the network that options ask for, with a bar if it has to be downloaded.

    Args:
        options: What names the network.
        accept_license: Whether the terms of weights are accepted.
        quiet: Whether to show no bar.
        hint: See `Remover`.

    Yields:
        The network, before it is there.
    """
    from alphacut import runtimes
    from alphacut.models import weights
    from alphacut.models.entry import NO_NETWORK
    from alphacut.runtimes.pending import PendingRuntime

    spec = weights.find_model(options.model)
    asked = spec if options.asks_network else NO_NETWORK
    needed = runtimes.needed(asked, options.runtime, options.precision, options.device,
                             options.network_size)  # fmt: skip
    with download_progress(asked, accept_license, needed, quiet=quiet) as downloading:
        network = PendingRuntime(
            functools.partial(
                runtimes.load, asked, runtime=options.runtime, device=options.device,
                precision=options.precision, size=options.network_size, hint=hint,
                accept_license=accept_license, progress=downloading,
            )
        )  # fmt: skip

        def make(chosen: "Options") -> "Remover":
            from alphacut.remover import Remover

            if downloading:
                network.wait()
            remover = Remover(spec, options=chosen, network=network, accept_license=accept_license,
                              progress=downloading)  # fmt: skip
            # kept until the program ends without freeing it
            click.get_current_context().find_root().obj = remover
            return remover

        yield Loading(make, network.wait)
