"""Guarded download of a picture from an address that a client names."""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from typing import TypeAlias

import httpx

_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

PORTS = (80, 443, 8000, 8080, 8443)
REDIRECTS = 3
CONNECT_S, TOTAL_S = 5.0, 15.0
_LOOK_UPS = 8  # names that are looked up at a time; a name's owner can make that slow

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_COMPATIBLE = ipaddress.IPv6Network("::/96")
# Not private by any register, yet only ever the host's own: the metadata service of a cloud
_METADATA = (ipaddress.ip_address("168.63.129.16"),)


class FetchDisabled(Exception):
    """Fetching is switched off."""


class BadAddress(Exception):
    """The address is not one of a picture on the web: wrong scheme, port or form."""


class FetchFailed(Exception):
    """The picture did not come.

    It does not say whether its address is not public, not there or too slow, so that nobody can
    look round a network with it.
    """


class TooLarge(FetchFailed):
    """The picture is longer than a file may be."""


def is_public(address: str) -> bool:
    """Tell whether an address belongs to the public internet, whatever spelling it has.

    IPv4 addresses inside IPv6 are taken out first: mapped, compatible, NAT64, 6to4 and Teredo.
    """
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return all(map(_is_public, [ip, *_inside(ip)]))


def _inside(ip: _Address) -> list[_Address]:
    """Return the IPv4 addresses that an IPv6 address carries."""
    if ip.version == 4:
        return []
    found: list[_Address | None] = [ip.ipv4_mapped, ip.sixtofour, *(ip.teredo or ())]
    if ip in _NAT64 or ip in _COMPATIBLE:
        found.append(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF))
    return [one for one in found if one is not None]


def _is_public(ip: _Address) -> bool:
    if ip.version == 6 and (ip.ipv4_mapped or ip in _NAT64):
        return True  # what it carries decides
    return ip.is_global and not (
        ip.is_multicast
        or ip.is_reserved
        or ip.is_unspecified
        or ip.is_loopback
        or ip.is_link_local
        or (ip.version == 6 and ip.is_site_local)
        or ip in _METADATA
    )


class Fetcher:
    """Fetches pictures from the web for clients.

    Args:
        enabled: Whether it may.
        hosts: HOST or HOST:PORT that may be fetched from although they are not public.
        most_bytes: Longest picture.
    """

    def __init__(self, *, enabled: bool, hosts: Collection[str], most_bytes: int) -> None:
        self.enabled = enabled or bool(hosts)
        self._anywhere, self._most_bytes = enabled, most_bytes
        self._hosts = frozenset(host.lower() for host in hosts)
        self._look_ups = ThreadPoolExecutor(_LOOK_UPS, "alphacut-look-up")

    async def __call__(self, address: str, hold: Callable[[int], None]) -> bytes:
        """Return what is at an address.

        Args:
            address: The address.
            hold: Told of the bytes of each piece; what it raises ends the download.

        Raises:
            FetchDisabled: if fetching is switched off.
            BadAddress: if it is not http or https, names a user, or a port of something else.
            TooLarge: if it is longer than it may be.
            FetchFailed: if it is not public, not there, not in time, or answers with an error.
        """
        if not self.enabled:
            raise FetchDisabled
        url = _parse(address, self._hosts)
        try:
            return await asyncio.wait_for(self._follow(url, hold), TOTAL_S)
        except (asyncio.TimeoutError, httpx.HTTPError, OSError, ValueError) as error:
            raise FetchFailed(address) from error

    async def _follow(self, url: httpx.URL, hold: Callable[[int], None]) -> bytes:
        """Get an address and those that it redirects to, each checked like the first."""
        for _ in range(REDIRECTS + 1):
            moved = await self._get(url, hold)
            if isinstance(moved, bytes):
                return moved
            try:
                url = _parse(str(moved), self._hosts)
            except BadAddress as error:
                raise FetchFailed(str(moved)) from error
        raise FetchFailed("too many redirects")

    async def _get(self, url: httpx.URL, hold: Callable[[int], None]) -> bytes | httpx.URL:
        """Return what is at an address, or where it has moved."""
        error: Exception = FetchFailed("no address")
        for ip in await self._resolve(url):
            request = httpx.Request(
                "GET",
                # the checked address itself: a second look-up cannot lead elsewhere
                url.copy_with(host=ip),
                headers={
                    "Host": url.netloc.decode(),
                    "User-Agent": "alphacut",
                    "Accept": "image/*,*/*;q=0.5",
                    "Accept-Encoding": "identity",
                },
                extensions={"sni_hostname": url.host},
            )
            try:
                async with httpx.AsyncClient(
                    verify=self._tls,
                    trust_env=False,  # no proxies or passwords of ours
                    follow_redirects=False,
                    timeout=httpx.Timeout(TOTAL_S, connect=CONNECT_S),
                ) as client:
                    return await self._take(client, request, url, hold)
            except (httpx.ConnectError, httpx.ConnectTimeout) as failed:
                error = failed
        raise error

    async def _take(
        self,
        client: httpx.AsyncClient,
        request: httpx.Request,
        url: httpx.URL,
        hold: Callable[[int], None],
    ) -> bytes | httpx.URL:
        """Read an answer to its end, counting whatever it says about its length."""
        answer = await client.send(request, stream=True)
        try:
            if answer.is_redirect:
                return url.join(answer.headers["location"])
            if answer.status_code != 200:
                raise FetchFailed(f"status {answer.status_code}")
            if answer.headers.get("content-encoding", "identity").lower() != "identity":
                raise FetchFailed("compressed")
            body = bytearray()
            async for piece in answer.aiter_raw():
                hold(len(piece))
                body += piece
                if len(body) > self._most_bytes:
                    raise TooLarge(f"longer than {self._most_bytes} bytes")
            return bytes(body)
        finally:
            await answer.aclose()

    async def _resolve(self, url: httpx.URL) -> list[str]:
        """Look a name up once; every address of it must be public."""
        port = url.port or {"http": 80, "https": 443}[url.scheme]
        look_up = partial(socket.getaddrinfo, url.host, port, type=socket.SOCK_STREAM)
        found = await asyncio.get_running_loop().run_in_executor(self._look_ups, look_up)
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        named = not self._hosts.isdisjoint({url.host.lower(), f"{url.host.lower()}:{port}"})
        if not named and not (self._anywhere and all(map(is_public, addresses))):
            raise FetchFailed("not public")
        return addresses

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        """What certificates are checked with; slow to make, so made once."""
        return httpx.create_ssl_context(trust_env=False)


def _parse(address: str, hosts: Collection[str]) -> httpx.URL:
    """Read an address, and refuse those that are not a picture's on the web."""
    try:
        url = httpx.URL(address.strip())
    except (httpx.InvalidURL, ValueError, TypeError) as error:
        raise BadAddress(address) from error
    if url.scheme not in ("http", "https") or not url.host or url.userinfo:
        raise BadAddress(address)
    if url.port and url.port not in PORTS and f"{url.host.lower()}:{url.port}" not in hosts:
        raise BadAddress(address)
    return url
