import asyncio
import socket
from typing import Any

import httpx
import pytest

from alphacut.server import fetch
from alphacut.server.fetch import BadAddress, Fetcher, FetchFailed, TooLarge, is_public


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.8.8", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254",
        "100.64.0.1", "100.100.100.200", "0.0.0.0", "255.255.255.255", "224.0.0.1", "240.0.0.1",
        "192.0.2.1", "198.18.0.1", "168.63.129.16", "::1", "::", "fc00::1", "fd00:ec2::254",
        "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "2001:db8::1", "::ffff:127.0.0.1",
        "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe", "64:ff9b:1::7f00:1", "2002:7f00:1::", "2002:a9fe:a9fe::",
        "2001:0:7f00:1::1", "nonsense", "",
    ],
)  # fmt: skip
def test_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "url",
    ["ftp://example.com/a", "file:///etc/passwd", "//example.com", "example.com", "http://",
     "http://user@example.com/", "http://user:pass@example.com/", "http://example.com:22/",
     "http://example.com:99999/", "javascript:alert(1)", "http://exa mple.com:x/", ""],
)  # fmt: skip
def test_addresses_that_are_none_of_pictures(url: str) -> None:
    with pytest.raises(BadAddress):
        asyncio.run(Fetcher(enabled=True, hosts=(), most_bytes=10)(url))


def resolve_to(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Let names resolve to these addresses, one list a look-up; return the names asked for."""
    asked: list[str] = []

    def look_up(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        asked.append(host)
        addresses = answers[min(len(asked), len(answers)) - 1]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return asked


@pytest.mark.parametrize(
    "addresses", [["127.0.0.1"], ["8.8.8.8", "10.0.0.1"], ["::ffff:127.0.0.1"], ["169.254.169.254"]]
)
def test_every_address_of_a_name_must_be_public(
    monkeypatch: pytest.MonkeyPatch, addresses: list[str]
) -> None:
    resolve_to(monkeypatch, addresses)
    with pytest.raises(FetchFailed):
        asyncio.run(Fetcher(enabled=True, hosts=(), most_bytes=10)("http://pictures.example/a"))


def test_a_name_that_changes_its_mind(monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS rebinding: the address that was checked is the one that is connected to."""
    asked = resolve_to(monkeypatch, ["93.184.216.34"], ["127.0.0.1"])
    sent: list[httpx.Request] = []

    async def send(self: Any, request: httpx.Request, **_: Any) -> httpx.Response:
        sent.append(request)
        return httpx.Response(200, stream=httpx.ByteStream(b"picture"), request=request)

    monkeypatch.setattr(httpx.AsyncClient, "send", send)
    fetcher = Fetcher(enabled=True, hosts=(), most_bytes=10)
    assert asyncio.run(fetcher("https://pictures.example/a")) == b"picture"
    assert asked == ["pictures.example"]
    assert sent[0].url.host == "93.184.216.34"
    assert sent[0].headers["Host"] == "pictures.example"
    assert sent[0].extensions["sni_hostname"] == "pictures.example"


def test_hosts_that_are_named(pictures: str) -> None:
    named = Fetcher(enabled=False, hosts=[pictures], most_bytes=100_000)
    assert asyncio.run(named(f"http://{pictures}/photo.jpg"))[:2] == b"\xff\xd8"
    with pytest.raises(FetchFailed):  # only that one
        asyncio.run(named("http://localhost:8080/photo.jpg"))
    with pytest.raises(FetchFailed):
        asyncio.run(named(f"http://{pictures}/missing"))
    with pytest.raises(TooLarge):
        asyncio.run(
            Fetcher(enabled=False, hosts=[pictures], most_bytes=9)(f"http://{pictures}/photo.jpg")
        )


def test_the_time_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setattr(fetch, "TOTAL_S", 0.3)
        with pytest.raises(FetchFailed):
            asyncio.run(Fetcher(enabled=False, hosts=[address], most_bytes=9)(f"http://{address}/"))


def test_proxies_of_the_environment_are_not_used(
    monkeypatch: pytest.MonkeyPatch, pictures: str
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    named = Fetcher(enabled=False, hosts=[pictures], most_bytes=100_000)
    assert asyncio.run(named(f"http://{pictures}/photo.jpg"))
