"""Downloading an image from an address that a client names, and from nowhere private."""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial

import httpx

PORTS = (80, 443, 8000, 8080, 8443)
REDIRECTS = 3
CONNECT_S, TOTAL_S = 5.0, 15.0
_LOOK_UPS = 8  # at a time; whoever owns a name can make its look-up slow

# IANA's IPv4 and IPv6 Special-Purpose Address Registries, as of 2025-10-09, with the networks that
# lie inside others left out:
# https://www.iana.org/assignments/iana-ipv4-special-registry
# https://www.iana.org/assignments/iana-ipv6-special-registry
# They stand here because Python's `is_global` differs from version to version, and because it lets
# through what is reachable, yet nobody's web server, such as a NAT's own 192.0.0.9.
SPECIAL = tuple(map(ipaddress.ip_network, (
    "0.0.0.0/8",  # this network
    "10.0.0.0/8",  # private
    "100.64.0.0/10",  # shared, behind a carrier's NAT
    "127.0.0.0/8",  # loopback
    "169.254.0.0/16",  # link-local, the metadata services of clouds included
    "172.16.0.0/12",  # private
    "192.0.0.0/24",  # IETF protocol assignments; the metadata service of one cloud
    "192.0.2.0/24",  # documentation
    "192.31.196.0/24",  # AS112
    "192.52.193.0/24",  # AMT
    "192.88.99.0/24",  # 6to4 relays, deprecated
    "192.168.0.0/16",  # private
    "192.175.48.0/24",  # AS112
    "198.18.0.0/15",  # benchmarking
    "198.51.100.0/24",  # documentation
    "203.0.113.0/24",  # documentation
    "240.0.0.0/4",  # reserved, and limited broadcast
    "::/128",  # unspecified
    "::1/128",  # loopback
    "::ffff:0:0/96",  # IPv4-mapped
    "64:ff9b::/96",  # IPv4 by NAT64
    "64:ff9b:1::/48",  # the same, local
    "100::/64",  # discard-only
    "100:0:0:1::/64",  # dummy prefix
    "2001::/23",  # IETF protocol assignments: Teredo, benchmarking, ORCHID and more
    "2001:db8::/32",  # documentation
    "2002::/16",  # 6to4
    "2620:4f:8000::/48",  # AS112
    "3fff::/20",  # documentation
    "5f00::/16",  # segment routing
    "fc00::/7",  # unique local
    "fe80::/10",  # link-local
)))  # fmt: skip
# All that IANA has assigned to hosts so far; multicast, site-local and the unassigned lie outside
# https://www.iana.org/assignments/ipv6-address-space
_UNICAST = {4: ipaddress.ip_network("0.0.0.0/0"), 6: ipaddress.ip_network("2000::/3")}
_MULTICAST = ipaddress.ip_network("224.0.0.0/4")
# In no registry, yet never anyone's but the host's own: the metadata service of a cloud
_METADATA = ipaddress.ip_network("168.63.129.16/32")
# Spellings of IPv4 addresses
_MAPPED = ipaddress.ip_network("::ffff:0:0/96")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class FetchDisabled(Exception):
    """Fetching is turned off."""


class BadAddress(Exception):
    """The address is malformed, or its scheme or port is not allowed."""


class FetchFailed(Exception):
    """The download failed.

    It does not say whether the address is private, absent or slow, so that nobody can scan a
    network with it.
    """


class TooLarge(FetchFailed):
    """The file exceeds the size limit."""


def is_public(address: str) -> bool:
    """Tell whether an address is a host's on the public internet, however it is spelt.

    IPv4-mapped and NAT64 addresses are judged by the IPv4 address that they carry.
    """
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if ip in _MAPPED or ip in _NAT64:
        ip = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    refused = (*SPECIAL, _MULTICAST, _METADATA)
    return ip in _UNICAST[ip.version] and not any(ip in network for network in refused)


class Fetcher:
    """Fetches images from the web for clients.

    Args:
        enabled: Whether it may fetch from any public address.
        hosts: HOST or HOST:PORT that may be fetched from even if they are not public.
        max_bytes: Longest file.
    """

    def __init__(self, *, enabled: bool, hosts: Collection[str], max_bytes: int) -> None:
        self.enabled = enabled or bool(hosts)
        self._anywhere, self._max_bytes = enabled, max_bytes
        self._hosts = frozenset(host.lower() for host in hosts)
        self._look_ups = ThreadPoolExecutor(_LOOK_UPS, "alphacut-look-up")

    async def __call__(self, address: str, hold: Callable[[int], None]) -> bytes:
        """Return what is at an address.

        Args:
            address: The address.
            hold: Told the length of each piece; what it raises ends the download.

        Raises:
            FetchDisabled: if fetching is turned off.
            BadAddress: if it is not http or https, names a user, or has another service's port.
            TooLarge: if it exceeds the size limit.
            FetchFailed: if it is not public, not there, too slow, or answers with an error.
        """
        if not self.enabled:
            raise FetchDisabled
        url = _parse(address, self._hosts)
        try:
            return await asyncio.wait_for(self._follow(url, hold), TOTAL_S)
        except (asyncio.TimeoutError, httpx.HTTPError, OSError, ValueError) as error:
            raise FetchFailed(address) from error

    async def _follow(self, url: httpx.URL, hold: Callable[[int], None]) -> bytes:
        """Follow redirects, checking each address like the first."""
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
                    trust_env=False,  # no proxies or credentials of ours
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
        """Read an answer to its end, counting its bytes whatever length it announces."""
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
                if len(body) > self._max_bytes:
                    raise TooLarge(f"longer than {self._max_bytes} bytes")
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
        """Return what verifies certificates; slow to make, so made once."""
        return httpx.create_ssl_context(trust_env=False)


def _parse(address: str, hosts: Collection[str]) -> httpx.URL:
    """Parse an address, and refuse what no image on the web has."""
    try:
        url = httpx.URL(address.strip())
    except (httpx.InvalidURL, ValueError, TypeError) as error:
        raise BadAddress(address) from error
    if url.scheme not in ("http", "https") or not url.host or url.userinfo:
        raise BadAddress(address)
    if url.port and url.port not in PORTS and f"{url.host.lower()}:{url.port}" not in hosts:
        raise BadAddress(address)
    return url
