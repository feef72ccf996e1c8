import asyncio
import ipaddress
import socket
import threading
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from starlette.requests import Request

from alphacut.server import fetch
from alphacut.server.body import Budget
from alphacut.server.fetch import (
    BadAddress,
    FetchDisabled,
    Fetcher,
    FetchFailed,
    TooLarge,
    is_public,
)
from alphacut.server.refusal import Refusal


def get(
    address: str,
    *hosts: str,
    max_bytes: int = 100_000,
    hold: Callable[[int], None] = lambda _: None,
) -> bytes:
    """Fetch from anywhere public, or from these hosts only."""
    return asyncio.run(Fetcher(enabled=not hosts, hosts=hosts, max_bytes=max_bytes)(address, hold))


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "1.1.1.1", "192.0.1.1", "223.255.255.1", "2606:4700::1111", "2001:200::1",
     "2a00::1", "::ffff:8.8.8.8", "64:ff9b::808:808"],
)  # fmt: skip
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


# Every row of IANA's registries, those inside other rows included
REGISTRIES = [
    "0.0.0.0/8", "0.0.0.0/32", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16",
    "172.16.0.0/12", "192.0.0.0/24", "192.0.0.0/29", "192.0.0.8/32", "192.0.0.9/32",
    "192.0.0.10/32", "192.0.0.170/32", "192.0.0.171/32", "192.0.2.0/24", "192.31.196.0/24",
    "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15",
    "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4", "255.255.255.255/32",
    "::1/128", "::/128", "64:ff9b:1::/48", "100::/64", "100:0:0:1::/64", "2001::/23", "2001::/32",
    "2001:1::1/128", "2001:1::2/128", "2001:1::3/128", "2001:2::/48", "2001:3::/32",
    "2001:4:112::/48", "2001:10::/28", "2001:20::/28", "2001:30::/28", "2001:db8::/32",
    "2002::/16", "2620:4f:8000::/48", "3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10",
]  # fmt: skip


@pytest.mark.parametrize("network", REGISTRIES)
def test_special_purpose_networks_are_not_public(network: str) -> None:
    """From end to end, and as IPv4 inside IPv6; Python 3.11 calls 192.0.0.192 global."""
    block = ipaddress.ip_network(network)
    middle = block[block.num_addresses // 2]
    for ip in (block[0], middle, block[-1]):
        assert not is_public(str(ip))
        if ip.version == 4:
            assert not is_public(f"::ffff:{ip}")
            assert not is_public(f"64:ff9b::{ip}")


def test_the_table_is_the_registries() -> None:
    embedded = {"::ffff:0:0/96", "64:ff9b::/96"}  # judged by the IPv4 address that they carry
    rows = [*map(ipaddress.ip_network, REGISTRIES)]
    outer = {str(row) for row in rows if not any(
        row != other and row.version == other.version and row.subnet_of(other) for other in rows
    )}  # fmt: skip
    assert {str(network) for network in fetch.SPECIAL} == outer | embedded


@pytest.mark.parametrize(
    "url",
    ["ftp://example.com/a", "file:///etc/passwd", "//example.com", "example.com", "http://",
     "http://user@example.com/", "http://user:pass@example.com/", "http://example.com:22/",
     "http://example.com:99999/", "javascript:alert(1)", "http://exa mple.com:x/", ""],
)  # fmt: skip
def test_addresses_that_are_none_of_pictures(url: str) -> None:
    with pytest.raises(BadAddress):
        get(url)


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
        get("http://pictures.example/a")


def test_a_name_that_changes_its_mind(monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS rebinding: the address that was checked is the one that is connected to."""
    asked = resolve_to(monkeypatch, ["93.184.216.34"], ["127.0.0.1"])
    sent: list[httpx.Request] = []

    async def send(self: Any, request: httpx.Request, **_: Any) -> httpx.Response:
        sent.append(request)
        return httpx.Response(200, stream=httpx.ByteStream(b"picture"), request=request)

    monkeypatch.setattr(httpx.AsyncClient, "send", send)
    assert get("https://pictures.example/a") == b"picture"
    assert asked == ["pictures.example"]
    assert sent[0].url.host == "93.184.216.34"
    assert sent[0].headers["Host"] == "pictures.example"
    assert sent[0].extensions["sni_hostname"] == "pictures.example"


def test_it_is_off_unless_asked_for() -> None:
    """The switch is named by the service; see test_run."""
    fetcher = Fetcher(enabled=False, hosts=(), max_bytes=1)
    with pytest.raises(FetchDisabled):
        asyncio.run(fetcher("http://example.com", lambda _: None))


def test_hosts_that_are_named(pictures: str) -> None:
    assert get(f"http://{pictures}/photo.jpg", pictures)[:2] == b"\xff\xd8"
    with pytest.raises(FetchFailed):  # only that one
        get("http://localhost:8080/photo.jpg", pictures)
    with pytest.raises(FetchFailed):
        get(f"http://{pictures}/missing", pictures)
    with pytest.raises(TooLarge):
        get(f"http://{pictures}/photo.jpg", pictures, max_bytes=9)


def test_what_is_fetched_counts_as_what_is_uploaded_does(pictures: str) -> None:
    budget = Budget(200_000)
    request = Request({"type": "http"})
    with pytest.raises(Refusal, match="queue_full"):
        get(
            f"http://{pictures}/endless", pictures, max_bytes=10**9,
            hold=lambda count: budget.hold(request, count),
        )  # fmt: skip
    assert 0 < budget.held_bytes <= 200_000
    budget.release(request.scope)
    assert budget.held_bytes == 0


def test_slow_look_ups_keep_nobody_else_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = threading.Event()

    def look_up(*_: Any, **__: Any) -> list[Any]:
        assert answer.wait(60)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", look_up)

    async def ask() -> int:
        fetcher = Fetcher(enabled=True, hosts=(), max_bytes=9)
        slow = [asyncio.ensure_future(fetcher(f"http://{number}.example/", lambda _: None))
                for number in range(100)]  # fmt: skip
        await asyncio.sleep(0.1)
        try:
            return await asyncio.wait_for(asyncio.to_thread(lambda: 3), 30)
        finally:
            answer.set()
            await asyncio.gather(*slow, return_exceptions=True)

    assert asyncio.run(ask()) == 3


def test_the_time_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setattr(fetch, "TOTAL_S", 0.3)
        with pytest.raises(FetchFailed):
            get(f"http://{address}/", address)


def test_proxies_of_the_environment_are_not_used(
    monkeypatch: pytest.MonkeyPatch, pictures: str
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    assert get(f"http://{pictures}/photo.jpg", pictures)
