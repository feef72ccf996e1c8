"""How the service runs, once: flags and environment variables are built from `Settings`."""

import dataclasses
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alphacut.errors import OptionError, OutputError, UnknownName
from alphacut.options import DEFAULT_MODEL, DEVICES, RUNTIMES, DeviceName, RuntimeName

_UNITS = {"": 1, "KB": 1000, "MB": 1000**2, "GB": 1000**3}


def _setting(
    default: Any,
    meaning: str,
    unit: str = "",
    choices: tuple[str, ...] = (),
    kind: type | None = None,
) -> Any:
    """Declare one field with what a manual says about it; `kind` if its default does not show."""
    facts = {"help": meaning, "unit": unit, "choices": choices, "kind": kind}
    return field(default=default, metadata=facts)


def parse_bytes(name: str, text: str) -> int:
    """Read a setting's amount of memory, such as 22MB; units are powers of 1000.

    Raises:
        OptionError: if it is none.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(KB|MB|GB|)", text.strip().upper())
    if not found:
        raise OptionError(name, text, "give an amount such as 22MB or 2GB")
    return int(float(found[1]) * _UNITS[found[2]])


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How the service runs. The only place of its defaults.

    The text beside each field is its manual: `alphacut serve --help` prints it. Each is also an
    environment variable, ALPHACUT_ and the field's name in capitals.
    """

    host: str = _setting("127.0.0.1", "Address to listen on.", "ADDRESS")
    port: int = _setting(7000, "Port to listen on; 0 takes a free one.", "PORT")
    model: tuple[str, ...] = _setting(
        (DEFAULT_MODEL,), "Network to load; repeat it for more, the first is the default.", "NAME"
    )
    runtime: RuntimeName = _setting("openvino", "What runs the networks.", choices=RUNTIMES)
    device: DeviceName = _setting("auto", "Where they run.", choices=DEVICES)
    workers: int = _setting(
        0, "Processes that decode, matte and encode; 0 takes one for each processor.", "N"
    )
    worker_memory: str = _setting("4GB", "Memory a worker may take, where it can be set.", "BYTES")
    max_megapixels: float = _setting(50.0, "Refuse larger pictures, before decoding.", "MP")
    max_body: str = _setting("22MB", "Refuse larger files, before reading.", "BYTES")
    queue: int = _setting(64, "Requests that may wait; more are told to come back.", "N")
    timeout: float = _setting(30.0, "Time a request may wait and be worked on.", "SECONDS")
    api_keys: Path | None = _setting(
        None, "File of allowed keys: a SHA-256 and a name a line. Without it anyone may ask.",
        "FILE", kind=Path,
    )  # fmt: skip
    rate_limit: int = _setting(
        500, "Megapixels of input a key may send a minute; 0 for no limit.", "MP"
    )
    rate_store: str = _setting(
        "memory://", "Where the rates are counted, to share them: redis://HOST:PORT.", "ADDRESS"
    )
    allow_url: bool = _setting(False, "Fetch pictures from public addresses that clients name.")
    allow_url_host: tuple[str, ...] = _setting(
        (), "Fetch from this HOST:PORT even if it is not public, such as your own store.", "HOST"
    )
    cors: tuple[str, ...] = _setting(
        (), "Let pages of this origin ask from a browser; * for any.", "ORIGIN"
    )
    demo: bool = _setting(False, "Show the web page at /, for anyone who reaches the address.")
    log: str = _setting("text", "How requests are logged.", choices=("text", "json"))

    def __post_init__(self) -> None:
        """Refuse what cannot be, early and saying what can.

        Raises:
            UnknownName: if a value is not among its field's choices.
            OptionError: if a value is malformed or beyond its limits.
            OutputError: if two do not go together.
        """
        for setting in dataclasses.fields(self):
            choices = setting.metadata["choices"]
            if choices and getattr(self, setting.name) not in choices:
                raise UnknownName(setting.name, getattr(self, setting.name), choices)
        for name in ("workers", "queue", "rate_limit", "port"):
            if getattr(self, name) < 0:
                raise OptionError(name, getattr(self, name), "give 0 or more")
        for name in ("timeout", "max_megapixels"):
            if not getattr(self, name) > 0:
                raise OptionError(name, getattr(self, name), "give a number above 0")
        if self.demo and self.api_keys:
            raise OutputError("the page asks for no key: choose --demo or --api-keys, not both")
        if not self.model:
            raise OptionError("model", "", "name at least one")
        parse_bytes("worker_memory", self.worker_memory)
        parse_bytes("max_body", self.max_body)

    @property
    def max_body_bytes(self) -> int:
        """Largest file of a request, in bytes."""
        return parse_bytes("max_body", self.max_body)

    @property
    def worker_memory_bytes(self) -> int:
        """What a worker may map, in bytes."""
        return parse_bytes("worker_memory", self.worker_memory)

    @property
    def worker_count(self) -> int:
        """How many workers run: by default one for each processor that the process may use."""
        from alphacut.parallel import processors

        return self.workers or processors()
