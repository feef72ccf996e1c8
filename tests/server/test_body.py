import asyncio
import base64
import gc
import json
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import ClientDisconnect, Request

from alphacut.server import body
from alphacut.server.body import Budget, Fields, read
from alphacut.server.refusal import Refusal


def request(pieces: list[bytes], kind: str, wait_s: float = 0.0) -> Request:
    def messages() -> Iterator[dict[str, Any]]:
        for piece in pieces:
            yield {"type": "http.request", "body": piece, "more_body": True}
        yield {"type": "http.request", "body": b"", "more_body": False}

    waiting = messages()

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(wait_s)
        return next(waiting)

    headers = [(b"content-type", kind.encode())]
    return Request({"type": "http", "method": "POST", "headers": headers}, receive)


def take(pieces: list[bytes], kind: str, **limits: Any) -> Fields:
    settings = {"files": ("image_file",), "file_bytes": 10**6, "timeout_s": 5.0,
                "budget": Budget(10**8)} | limits  # fmt: skip
    wait_s = settings.pop("wait_s", 0.0)
    return asyncio.run(read(request(pieces, kind, wait_s), **settings))


def code_of(**arguments: Any) -> tuple[int, str]:
    with pytest.raises(Refusal) as refused:
        take(**arguments)
    return refused.value.status, refused.value.code


def multipart(**fields: bytes) -> bytes:
    parts = (b'--b\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (name.encode(), of)
             for name, of in fields.items())  # fmt: skip
    return b"".join(parts) + b"--b--\r\n"


@given(st.binary(min_size=1, max_size=300), st.integers(1, 50),
       st.sampled_from([b"", b"\r\n", b"This is a message in MIME format.\r\n"]))  # fmt: skip
def test_a_part_comes_through_whatever_it_holds(content: bytes, step: int, preamble: bytes) -> None:
    whole = preamble + multipart(image_file=content, size=b"auto")
    if b"\r\n--b" in content:
        return
    pieces = [whole[start : start + step] for start in range(0, len(whole), step)]
    fields = take(pieces, "multipart/form-data; boundary=b")
    assert fields.bytes_of("image_file") == content
    assert fields.text("size") == "auto"


@given(st.binary(max_size=400), st.sampled_from(["multipart/form-data; boundary=b",
       "application/json", "application/x-www-form-urlencoded", "text/plain", ""]))  # fmt: skip
def test_any_body_is_read_or_refused(content: bytes, kind: str) -> None:
    status = 200
    try:
        take([content], kind)
    except Refusal as refusal:
        status = refusal.status
    assert status in (200, 400, 415)


def test_values() -> None:
    fields = Fields(
        {"a": "", "b": None, "c": True, "d": 2, "e": b" text ", "f": {"car": "drop"},
         "shadow[car]": "x", "shadow[3]": ""},
    )  # fmt: skip
    assert "a" not in fields
    assert "b" not in fields
    assert [fields.text(name) for name in "abcde"] == [None, None, "true", "2", "text"]
    assert fields.keyed("f") == {"car": "drop"}
    assert fields.keyed("shadow") == {"car": "x"}
    with pytest.raises(Refusal):
        fields.text("f")


@pytest.mark.parametrize("text", ["data:image/png;base64,{}", "{}", " {}\n"])
def test_base64(text: str) -> None:
    content = bytes(range(256))
    plain = base64.b64encode(content).decode()
    assert Fields({"x": text.format(plain)}, ("x",)).take_base64("x") == content
    assert Fields({"x": plain.replace("+", " ").rstrip("=")}, ("x",)).take_base64("x") == content
    with pytest.raises(ValueError, match="base64"):
        Fields({"x": "%%"}, ("x",)).take_base64("x")


def test_limits() -> None:
    form = "multipart/form-data; boundary=b"
    assert code_of(pieces=[bytes(10**6)] * 4, kind=form) == (413, "file_too_large")
    assert code_of(pieces=[b"x" * 500], kind=form, budget=Budget(400)) == (429, "queue_full")
    many = {f"f{number}": b"x" for number in range(body.FIELDS + 1)}
    assert code_of(pieces=[multipart(**many)], kind=form) == (400, "too_many_fields")
    long = multipart(size=b"x" * (body.TEXT_BYTES + 1))
    assert code_of(pieces=[long], kind=form) == (400, "field_too_long")


def test_a_file_in_multipart_is_held_once() -> None:
    size = 8_000_000
    pieces = [b'--b\r\nContent-Disposition: form-data; name="image_file"\r\n\r\n',
              *[bytes(65536)] * (size // 65536), b"\r\n--b--\r\n"]  # fmt: skip
    gc.disable()  # what is left in a cycle counts
    tracemalloc.start()
    try:
        fields = take(pieces, "multipart/form-data; boundary=b", file_bytes=2 * size)
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        gc.enable()
    assert len(fields.bytes_of("image_file") or b"") > 0.99 * size
    assert held < 1.1 * size
    assert peak < 2.3 * size  # the moment in which the part becomes bytes


def test_what_parsing_text_needs_is_counted() -> None:
    text = json.dumps({"image_file_b64": "A" * 4_000_000}).encode()
    budget = Budget(body.TEXT_COPIES * len(text))
    files = ("image_file_b64",)
    tracemalloc.start()
    fields = take([text], "application/json", files=files, file_bytes=10**7, budget=budget)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < budget.max_bytes
    assert len(fields.take_base64("image_file_b64") or b"") == 3_000_000
    assert "image_file_b64" not in fields  # nor is its text kept
    tight = Budget(2 * len(text))
    refused = code_of(pieces=[text], kind="application/json", files=files, file_bytes=10**7,
                      budget=tight)  # fmt: skip
    assert refused == (429, "queue_full")
    assert tight.held_bytes == len(text)  # until the request ends


def test_slow_bodies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "IDLE_S", 0.05)
    pieces = [b"{}"]
    assert code_of(pieces=pieces, kind="application/json", wait_s=0.2) == (408, "request_timeout")
    monkeypatch.setattr(body, "IDLE_S", 5.0)
    trickle = [b"x"] * 100
    assert code_of(pieces=trickle, kind="application/json", wait_s=0.01, timeout_s=0.1) == (
        408, "request_timeout",
    )  # fmt: skip


def test_the_budget_is_given_back() -> None:
    budget = Budget(1000)
    one = request([b"{}", b" " * 90], "application/json")
    asyncio.run(read(one, files=(), file_bytes=10**6, timeout_s=5, budget=budget))
    assert budget.held_bytes == 92
    budget.release(one.scope)
    budget.release(one.scope)
    assert budget.held_bytes == 0


def test_a_client_that_hangs_up() -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    scope = {"type": "http", "method": "POST", "headers": [(b"content-type", b"application/json")]}
    with pytest.raises(ClientDisconnect):
        asyncio.run(
            read(Request(scope, receive), files=(), file_bytes=9, timeout_s=5, budget=Budget(9))
        )
