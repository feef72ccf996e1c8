"""What a request brings: its body, read within limits, as fields that do not depend on its kind."""

import asyncio
import base64
import binascii
import json
import re
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect, Request

from alphacut.server.refusal import Refusal

FIELDS = 100  # more than any client sends
TEXT_BYTES = 16_384  # longest value that is not a picture
IDLE_S = 10.0  # a client that sends nothing for so long is not sending
SLOWEST_BYTES_S = 25_000  # nor is one that sends less than this, after its time is up
_IN_THREAD_BYTES = 200_000  # longer bodies are parsed beside the event loop
_OVERHEAD_BYTES = 1_000_000


class Fields:
    """The fields of a request. An empty one is absent, as remove.bg's clients mean it.

    Args:
        values: By name: text, bytes of a multipart part, or what JSON has.
        files: Names of fields that are pictures, and may be long.

    Raises:
        Refusal: 400 if a value that is not a picture is too long.
    """

    def __init__(self, values: Mapping[str, Any], files: tuple[str, ...] = ()) -> None:
        self._values = {name: value for name, value in values.items() if value not in ("", b"")}
        for name, value in self._values.items():
            if name not in files and isinstance(value, str | bytes) and len(value) > TEXT_BYTES:
                raise Refusal(400, "field_too_long", f"The value of {_plain(name)} is too long")

    def __contains__(self, name: str) -> bool:
        return self._values.get(name) is not None

    def text(self, name: str) -> str | None:
        """Return a field as text, None if it is absent."""
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

    def decoded(self, name: str) -> bytes | None:
        """Return a field's base64 as bytes, with or without "data:..." before it.

        Raises:
            ValueError: if it is no base64.
        """
        value = self._values.get(name)
        if value is None:
            return None
        text = value if isinstance(value, bytes) else str(value).encode("ascii", "replace")
        if text.startswith(b"data:"):
            text = text.partition(b",")[2]
        # a plus in a form that was not escaped arrives as a space
        text = text.strip().replace(b" ", b"+").translate(None, b"\r\n\t")
        try:
            return base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
        except binascii.Error as error:
            raise ValueError(f"{name} is no base64") from error

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
    """How much of all that requests brought or named is held in memory."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes, self.held_bytes = most_bytes, 0

    def hold(self, request: Request, count: int) -> None:
        """Count bytes that a request has brought, until `release`.

        Raises:
            Refusal: 429 if there is no room for them.
        """
        if self.held_bytes + count > self.most_bytes:
            raise Refusal(429, "queue_full", "Too much is being uploaded at once", retry_after_s=2)
        self.held_bytes += count
        request.scope["alphacut.held"] = request.scope.get("alphacut.held", 0) + count

    def release(self, scope: Any) -> None:
        """Forget what a request held."""
        self.held_bytes -= scope.pop("alphacut.held", 0)


async def read(
    request: Request, *, files: tuple[str, ...], file_bytes: int, timeout_s: float, budget: Budget
) -> Fields:
    """Read a request's body: multipart, urlencoded or JSON.

    Args:
        request: The request; its body is read once.
        files: Names of fields that are pictures.
        file_bytes: Longest file.
        timeout_s: Time for a small body; a large one has longer if it keeps coming.
        budget: What all requests together may hold.

    Returns:
        The fields.

    Raises:
        Refusal: 400 if it cannot be read or has too many fields, 408 if it comes too slowly, 413 if
            it is too long, 415 if it is of another kind, 429 if there is no room for it.
        ClientDisconnect: if the client is gone.
    """
    kind, parameters = _content_type(request.headers.get("content-type", ""))
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Refusal(415, "unsupported_encoding", "Compressed request bodies are not accepted")
    parsers = {
        "multipart/form-data": _multipart,
        "application/x-www-form-urlencoded": _urlencoded,
        "application/json": _json,
    }
    if kind and kind not in parsers:
        raise Refusal(
            415, "unsupported_media_type", "Content type not supported",
            "Send multipart/form-data, application/x-www-form-urlencoded or application/json.",
        )  # fmt: skip
    body = await _receive(request, 2 * file_bytes + _OVERHEAD_BYTES, file_bytes, timeout_s, budget)
    if not body or not kind:
        return Fields({})
    if len(body) > _IN_THREAD_BYTES:
        return Fields(await asyncio.to_thread(parsers[kind], bytes(body), parameters), files)
    return Fields(parsers[kind](bytes(body), parameters), files)


async def _receive(
    request: Request, most_bytes: int, file_bytes: int, timeout_s: float, budget: Budget
) -> bytearray:
    """Take in the body, counting bytes and seconds."""
    too_large = Refusal(
        413, "file_too_large", "File too large", f"File exceeds limit of {file_bytes / 1e6:g}MB"
    )
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > most_bytes:
        raise too_large
    body, start = bytearray(), time.monotonic()
    while True:
        allowed_s = timeout_s + len(body) / SLOWEST_BYTES_S - (time.monotonic() - start)
        try:
            message = await asyncio.wait_for(request.receive(), max(0, min(IDLE_S, allowed_s)))
        except asyncio.TimeoutError as error:
            raise Refusal(408, "request_timeout", "The request body came too slowly") from error
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        piece = message.get("body", b"")
        budget.hold(request, len(piece))
        body += piece
        if len(body) > most_bytes:
            raise too_large
        if not message.get("more_body", False):
            return body


def _content_type(header: str) -> tuple[str, dict[bytes, bytes]]:
    """Part a Content-Type into its kind and parameters."""
    from python_multipart.multipart import parse_options_header

    kind, parameters = parse_options_header(header)
    return kind.decode("latin-1").strip().lower(), parameters


def _multipart(body: bytes, parameters: Mapping[bytes, bytes]) -> dict[str, Any]:
    """Read multipart/form-data. Every part is bytes, with a file name or without."""
    from python_multipart.exceptions import FormParserError
    from python_multipart.multipart import MultipartParser, parse_options_header

    values: dict[str, Any] = {}
    header: list[bytearray] = [bytearray(), bytearray()]
    disposition, part, ended, count = b"", bytearray(), False, 0

    def begin() -> None:
        nonlocal disposition, part, count
        disposition, part, count = b"", bytearray(), count + 1
        if count > FIELDS:
            raise _too_many()

    def header_end() -> None:
        nonlocal disposition
        if header[0].lower() == b"content-disposition":
            disposition = bytes(header[1])
        header[:] = bytearray(), bytearray()

    def data(piece: bytes, start: int, end: int) -> None:
        part.extend(memoryview(piece)[start:end])

    def end() -> None:
        name = parse_options_header(disposition)[1].get(b"name")
        if name is None:
            raise _malformed("A part has no name.")
        values[name.decode("utf-8", "replace")] = bytes(part)

    def finish() -> None:
        nonlocal ended
        ended = True

    try:
        parser = MultipartParser(
            parameters.get(b"boundary", b""),
            {
                "on_part_begin": begin,
                "on_header_field": lambda piece, start, stop: header[0].extend(piece[start:stop]),
                "on_header_value": lambda piece, start, stop: header[1].extend(piece[start:stop]),
                "on_header_end": header_end,
                "on_part_data": data,
                "on_part_end": end,
                "on_end": finish,
            },
        )
        parser.write(body)
    except (FormParserError, ValueError) as error:
        raise _malformed(str(error)) from error
    if not ended:
        raise _malformed("It ends too early.")
    return values


def _urlencoded(body: bytes, parameters: Mapping[bytes, bytes]) -> dict[str, Any]:
    """Read application/x-www-form-urlencoded."""
    if body.count(b"&") >= FIELDS:
        raise _too_many()
    return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))


def _json(body: bytes, parameters: Mapping[bytes, bytes]) -> dict[str, Any]:
    """Read a JSON object."""
    try:
        values = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise _malformed("It is no JSON.") from error
    if not isinstance(values, dict):
        raise _malformed("It is no JSON object.")
    if len(values) > FIELDS:
        raise _too_many()
    return values


def _too_many() -> Refusal:
    return Refusal(400, "too_many_fields", "Too many fields", f"At most {FIELDS} are accepted.")


def _malformed(detail: str) -> Refusal:
    return Refusal(400, "malformed_body", "The request body cannot be read", detail)


def _plain(name: str) -> str:
    """Return a client's name for a field as it can stand in an answer."""
    return re.sub(r"[^\w\[\]-]", "", name)[:40] or "field"
