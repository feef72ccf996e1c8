"""A request's body, read within limits, as fields that do not depend on its content type."""

import asyncio
import base64
import binascii
import json
import re
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect, Request

from alphacut.server.refusal import Refusal

FIELDS = 100  # more than any client sends
TEXT_BYTES = 16_384  # longest value that is not a file
IDLE_S = 10.0  # a client that sends nothing for this long has stopped sending
SLOWEST_BYTES_S = 25_000  # once its time is up, a client that is slower than this is cut off
TEXT_COPIES = 4  # of a body in JSON or urlencoded while it is parsed: raw, text, fields, unescaped
_IN_THREAD_BYTES = 200_000  # longer bodies are parsed off the event loop
_OVERHEAD_BYTES = 1_000_000


class Fields:
    """The fields of a request. An empty field counts as absent: remove.bg's clients send them so.

    Args:
        values: By name: text, the bytes of a multipart part, or a JSON value.
        files: Names of fields that hold files, which may be long.

    Raises:
        Refusal: 400 if any other value is too long.
    """

    def __init__(self, values: Mapping[str, Any], files: tuple[str, ...] = ()) -> None:
        self._values = {name: value for name, value in values.items() if value not in ("", b"")}
        for name, value in self._values.items():
            if name not in files and isinstance(value, str | bytes) and len(value) > TEXT_BYTES:
                raise Refusal(400, "field_too_long", f"The value of {_plain(name)} is too long")

    def __contains__(self, name: str) -> bool:
        return self._values.get(name) is not None

    def text(self, name: str) -> str | None:
        """Return a field as text, None if it is absent.

        Raises:
            Refusal: 400 if it is a JSON array or object.
        """
        value = self._values.get(name)
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
        if isinstance(value, dict | list):
            raise Refusal(400, f"invalid_{_plain(name)}", f"Invalid value for '{_plain(name)}'")
        return None if value is None else str(value).strip() or None

    def bytes_of(self, name: str) -> bytes | None:
        """Return an uploaded file, None if it is absent."""
        value = self._values.get(name)
        if value is None or isinstance(value, bytes):
            return value
        return str(value).encode("latin-1", "replace")

    def take_base64(self, name: str) -> bytes | None:
        """Take a file out of the fields, from base64 with or without "data:..." before it.

        The text is not kept, so that a file is held once.

        Raises:
            ValueError: if it is not base64.
        """
        value = self._values.pop(name, None)
        if value is None:
            return None
        text = value if isinstance(value, bytes) else str(value).encode("ascii", "replace")
        if text.startswith(b"data:"):
            text = text.partition(b",")[2]
        # an unescaped plus in a form arrives as a space
        text = text.strip().replace(b" ", b"+").translate(None, b"\r\n\t")
        try:
            return base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
        except binascii.Error as error:
            raise ValueError(f"{name} is not base64") from error

    def keyed(self, name: str) -> dict[str, str]:
        """Return the fields name[key], or the keys of a JSON object of that name."""
        value = self._values.get(name)
        found = {str(key): str(of) for key, of in value.items()} if isinstance(value, dict) else {}
        for other in self._values:
            if (part := re.fullmatch(re.escape(name) + r"\[(\w+)\]", other)) and (
                text := self.text(other)
            ):
                found[part[1]] = text
        return found


class Budget:
    """How much of what requests have uploaded or named is held in memory.

    Args:
        max_bytes: The limit, over all requests.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes, self.held_bytes = max_bytes, 0

    def hold(self, request: Request, count: int) -> None:
        """Count bytes that a request has brought, until `release`.

        Raises:
            Refusal: 429 if there is no room for them.
        """
        self._take(count)
        request.scope["alphacut.held"] = request.scope.get("alphacut.held", 0) + count

    def release(self, scope: Any) -> None:
        """Forget what a request held."""
        self.held_bytes -= scope.pop("alphacut.held", 0)

    @contextmanager
    def held(self, count: int) -> Iterator[None]:
        """Count bytes that are needed for a moment.

        Raises:
            Refusal: 429 if there is no room for them.
        """
        self._take(count)
        try:
            yield
        finally:
            self.held_bytes -= count

    def _take(self, count: int) -> None:
        if self.held_bytes + count > self.max_bytes:
            raise Refusal(429, "queue_full", "Too much is being uploaded at once", retry_after_s=2)
        self.held_bytes += count


async def read(
    request: Request, *, files: tuple[str, ...], file_bytes: int, timeout_s: float, budget: Budget
) -> Fields:
    """Read a request's body: multipart, urlencoded or JSON.

    A file in multipart is held once, because the body is parsed as it arrives. Other bodies are
    text, of which parsing needs `TEXT_COPIES`; the budget counts these.

    Args:
        request: The request; its body is read once.
        files: Names of fields that hold files.
        file_bytes: Longest file.
        timeout_s: Time for a small body; a large one has longer while it keeps coming.
        budget: What all requests together may hold.

    Returns:
        The fields.

    Raises:
        Refusal: 400 if it is malformed or has too many fields, 408 if it comes too slowly, 413 if
            it is too long, 415 if its type is not supported, 429 if there is no room for it.
        ClientDisconnect: if the client is gone.
    """
    kind, parameters = _content_type(request.headers.get("content-type", ""))
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Refusal(415, "unsupported_encoding", "Compressed request bodies are not accepted")
    parsers = {"application/x-www-form-urlencoded": _urlencoded, "application/json": _json}
    if kind and kind != "multipart/form-data" and kind not in parsers:
        raise Refusal(
            415, "unsupported_media_type", "Content type not supported",
            "Send multipart/form-data, application/x-www-form-urlencoded or application/json.",
        )  # fmt: skip
    pieces = _receive(request, 2 * file_bytes + _OVERHEAD_BYTES, file_bytes, timeout_s, budget)
    if kind == "multipart/form-data":
        return Fields(await _multipart(pieces, parameters.get(b"boundary", b"")), files)
    body = bytearray()
    async for piece in pieces:
        body += piece
    if not body or not kind:
        return Fields({})
    with budget.held((TEXT_COPIES - 1) * len(body)):
        parse = parsers[kind]
        long = len(body) > _IN_THREAD_BYTES
        return Fields(await asyncio.to_thread(parse, body) if long else parse(body), files)


async def _receive(
    request: Request, max_bytes: int, file_bytes: int, timeout_s: float, budget: Budget
) -> AsyncIterator[bytes]:
    """Yield the body in pieces, counting bytes and seconds."""
    too_large = Refusal(
        413, "file_too_large", "File too large", f"File exceeds limit of {file_bytes / 1e6:g}MB"
    )
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > max_bytes:
        raise too_large
    count, start = 0, time.monotonic()
    while True:
        allowed_s = timeout_s + count / SLOWEST_BYTES_S - (time.monotonic() - start)
        try:
            message = await asyncio.wait_for(request.receive(), max(0, min(IDLE_S, allowed_s)))
        except asyncio.TimeoutError as error:
            raise Refusal(408, "request_timeout", "The request body came too slowly") from error
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        piece = message.get("body", b"")
        budget.hold(request, len(piece))
        count += len(piece)
        if count > max_bytes:
            raise too_large
        yield piece
        if not message.get("more_body", False):
            return


def _content_type(header: str) -> tuple[str, dict[bytes, bytes]]:
    """Split a Content-Type into the type and its parameters."""
    from python_multipart.multipart import parse_options_header

    kind, parameters = parse_options_header(header)
    return kind.decode("latin-1").strip().lower(), parameters


_PREAMBLE_BYTES = 1 << 14


async def _multipart(pieces: AsyncIterator[bytes], boundary: bytes) -> dict[str, Any]:
    """Read multipart/form-data as it arrives."""
    from python_multipart.exceptions import FormParserError
    from python_multipart.multipart import MultipartParser

    parts, parser, fault = _Parts(), None, None
    before, delimiter = b"", b"--" + boundary
    async for piece in pieces:
        if fault or not piece:  # what follows a fault is read, so that the client hears of it
            continue
        try:
            if parser is None:  # RFC 2046 allows a preamble, which the parser does not know
                before += piece
                _, found, rest = before.partition(delimiter)
                if not found:
                    if len(before) > _PREAMBLE_BYTES:
                        raise _malformed("Its boundary does not appear.")
                    continue
                parser, piece = MultipartParser(boundary, parts.callbacks), found + rest
            parser.write(piece)
        except Refusal as refusal:
            fault = refusal
        except (FormParserError, ValueError) as error:
            fault = _malformed(str(error))
    if fault:
        raise fault
    if before and not parts.ended:
        raise _malformed("It ends too early.")
    return parts.values


class _Parts:
    """The parts of a multipart body: each is bytes, with or without a file name."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.ended = False
        self._count = 0
        self._header, self._value = bytearray(), bytearray()
        self._disposition, self._data = b"", bytearray()

    @property
    def callbacks(self) -> Any:
        """What a parser calls. It alone holds them: a cycle would outlive its request."""

        def extend_data(piece: bytes, start: int, end: int) -> None:
            self._data.extend(memoryview(piece)[start:end])

        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda piece, start, end: self._header.extend(piece[start:end]),
            "on_header_value": lambda piece, start, end: self._value.extend(piece[start:end]),
            "on_header_end": self._end_header,
            "on_part_data": extend_data,
            "on_part_end": self._end,
            "on_end": self._end_all,
        }

    def _begin(self) -> None:
        self._count += 1
        if self._count > FIELDS:
            raise _too_many()
        self._disposition = b""

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._header, self._value = bytearray(), bytearray()

    def _end(self) -> None:
        from python_multipart.multipart import parse_options_header

        name = parse_options_header(self._disposition)[1].get(b"name")
        if name is None:
            raise _malformed("A part has no name.")
        self.values[name.decode("utf-8", "replace")] = bytes(self._data)
        self._data = bytearray()

    def _end_all(self) -> None:
        self.ended = True


def _urlencoded(body: bytearray) -> dict[str, Any]:
    """Parse application/x-www-form-urlencoded."""
    if body.count(b"&") >= FIELDS:
        raise _too_many()
    return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))


def _json(body: bytearray) -> dict[str, Any]:
    """Parse a JSON object."""
    try:
        values = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise _malformed("It is not JSON.") from error
    if not isinstance(values, dict):
        raise _malformed("It is not a JSON object.")
    if len(values) > FIELDS:
        raise _too_many()
    return values


def _too_many() -> Refusal:
    return Refusal(400, "too_many_fields", "Too many fields", f"At most {FIELDS} are accepted.")


def _malformed(detail: str) -> Refusal:
    return Refusal(400, "malformed_body", "The request body cannot be parsed", detail)


def _plain(name: str) -> str:
    """Return a client's name for a field in a form that can be quoted in an answer."""
    return re.sub(r"[^\w\[\]-]", "", name)[:40] or "field"
