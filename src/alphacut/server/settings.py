"""How the service runs. Flags and environment variables are built from `Settings`."""

import dataclasses
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from alphacut.errors import OptionError, OutputError, UnknownName
from alphacut.options import (
    DEFAULT_MODEL,
    DEVICES,
    RUNTIMES,
    DeviceName,
    KeptMetadata,
    RuntimeName,
)

_ROOT_PATH = re.compile(r"(/[\w.~-]+)*/?", re.ASCII)
_KEY_MEGAPIXELS = 500
_UNITS = {"": 1, "KB": 1000, "MB": 1000**2, "GB": 1000**3}


def _setting(
    default: Any,
    meaning: str,
    unit: str = "",
    choices: tuple[str, ...] = (),
    kind: type | None = None,
) -> Any:
    """Declare one field with its help; `kind` if its default does not show it."""
    facts = {"help": meaning, "unit": unit, "choices": choices, "kind": kind}
    return field(default=default, metadata=facts)


def parse_bytes(name: str, text: str) -> int:
    """Read an amount of memory such as 22MB; units are powers of 1000.

    Raises:
        OptionError: if it is malformed.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(KB|MB|GB|)", text.strip().upper())
    if not found:
        raise OptionError(name, text, "give an amount such as 22MB or 2GB")
    return int(float(found[1]) * _UNITS[found[2]])


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How the service runs: the one place for its defaults.

    The text beside each field is its help in `alphacut serve --help`. Each field is also an
    environment variable: ALPHACUT_ and its name in capitals.
    """

    host: str = _setting("127.0.0.1", "Address to listen on.", "ADDRESS")
    port: int = _setting(7000, "Port to listen on; 0 takes a free one.", "PORT")
    model: tuple[str, ...] = _setting(
        (DEFAULT_MODEL,), "Network to load; repeat for more. The first is the default.", "NAME"
    )
    runtime: RuntimeName = _setting("openvino", "Library that runs the networks.", choices=RUNTIMES)
    device: DeviceName = _setting("auto", "Device the networks run on.", choices=DEVICES)
    workers: int = _setting(
        0, "Processes that decode, matte and encode; 0 for one per processor.", "N"
    )
    worker_memory: str = _setting("4GB", "Memory limit per worker, where supported.", "BYTES")
    max_megapixels: float = _setting(50.0, "Refuse larger images, before decoding.", "MP")
    metadata: KeptMetadata = _setting(
        "keep",
        "What results copy from a photo's metadata: keep, private (no place, serial numbers or "
        "owner), or none (only colour profile and density).",
        choices=get_args(KeptMetadata),
    )
    max_body: str = _setting("22MB", "Refuse larger uploads, before reading.", "BYTES")
    queue: int = _setting(64, "Requests that may wait; further ones are told to try later.", "N")
    timeout: float = _setting(30.0, "Time limit of a request, waiting included.", "SECONDS")
    api_keys: Path | None = _setting(
        None, "File of accepted keys: a SHA-256 and a name per line. Without it, no key is needed.",
        "FILE", kind=Path,
    )  # fmt: skip
    rate_limit: int | None = _setting(
        None,
        "Megapixels of input per minute and key, or client address if there are no keys; 0 for no "
        "limit. 500 by default with keys, else none.",
        "MP",
        kind=int,
    )
    rate_store: str = _setting(
        "memory://",
        "Where rates are counted; redis://HOST:PORT shares them.",
        "ADDRESS",
    )
    allow_url: bool = _setting(False, "Fetch images from public URLs that clients name.")
    allow_url_host: tuple[str, ...] = _setting(
        (), "Fetch from this HOST:PORT even if it is private, such as your own store.", "HOST"
    )
    cors: tuple[str, ...] = _setting(
        (), "Allow requests from web pages of this origin; * for any.", "ORIGIN"
    )
    root_path: str = _setting(
        "", "Prefix that a proxy in front strips from paths, such as /cut.", "PATH"
    )
    demo: bool = _setting(False, "Show the web page at /, to anyone who can reach the address.")
    log: str = _setting("text", "Format of the log.", choices=("text", "json"))

    def __post_init__(self) -> None:
        """Validate every field.

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
            if (getattr(self, name) or 0) < 0:
                raise OptionError(name, getattr(self, name), "give 0 or more")
        for name in ("timeout", "max_megapixels"):
            if not getattr(self, name) > 0:
                raise OptionError(name, getattr(self, name), "give a number above 0")
        if self.demo and self.api_keys:
            raise OutputError("the web page cannot send a key: give --demo or --api-keys, not both")
        if not _ROOT_PATH.fullmatch(self.root_path):
            raise OptionError("root_path", self.root_path, "give a path such as /cut")
        if not self.model:
            raise OptionError("model", "", "name at least one")
        parse_bytes("worker_memory", self.worker_memory)
        parse_bytes("max_body", self.max_body)

    @property
    def prefix(self) -> str:
        """What clients write before each path; no slash at its end."""
        return self.root_path.rstrip("/")

    @property
    def max_body_bytes(self) -> int:
        """Largest file of a request, in bytes."""
        return parse_bytes("max_body", self.max_body)

    @property
    def megapixels_per_minute(self) -> int:
        """What a key's owner, or an address, may send; 0 for no limit."""
        if self.rate_limit is None:
            return _KEY_MEGAPIXELS if self.api_keys else 0
        return self.rate_limit

    @property
    def worker_memory_bytes(self) -> int:
        """Memory limit of a worker, in bytes."""
        return parse_bytes("worker_memory", self.worker_memory)

    @property
    def worker_count(self) -> int:
        """Number of workers: by default one for each processor that the process may use."""
        from alphacut.parallel import processors

        return self.workers or processors()
