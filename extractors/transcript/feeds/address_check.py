"""Refuse addresses of this machine and its network to what a public feed says.

A feed can redirect, and name transcripts, wherever it likes: without a check its author could have
this machine read its own services and those beside it (server-side request forgery). Every hop is
looked at by the addresses that its name resolves to, and by the one that was connected to.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.request import getproxies, proxy_bypass

import httpx

from memoirist.data.schema.errors import PrivateAddress

Address = IPv4Address | IPv6Address
# The last 32 bits of these are an IPv4 address (RFC 6052, RFC 8215).
_NAT64 = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))
# Python counts these as global: site-local, IPv4-compatible (both RFC 4291) and IPv4-translated
# addresses (RFC 2765), and the services of two clouds, Azure and Oracle.
_PRIVATE = [
    ip_network(each)
    for each in ("fec0::/10", "::/96", "::ffff:0:0:0/96", "168.63.129.16", "192.0.0.192")
]


@dataclass(slots=True)
class AddressCheck:
    """The check of one feed: what its user named is read, wherever it is.

    A feed with a private address, or a name without a dot such as localhost, is one of this
    network, and so may be all that it names. A feed with another name leads to its own addresses
    alone, at its own host and port, and only while that name has no public address: such a name
    can be made to resolve to anything.
    """

    url: str
    own: set[Address] = field(default_factory=set)
    of_this_network: bool = False

    def __post_init__(self) -> None:
        """Look up the feed's own addresses."""
        host = _origin(self.url)[0]
        self.own = resolved(host)
        literal = _literal(host)
        named = "." not in host.rstrip(".") if literal is None else not is_public(literal)
        self.of_this_network = named and any(not is_public(address) for address in self.own)
        if any(map(is_public, self.own)):
            self.own = set()

    def check_request(self, request: httpx.Request) -> None:
        """Raise PrivateAddress for a request to a name that resolves to a private address."""
        self._check(request.url, resolved(request.url.host))

    def check_response(self, response: httpx.Response) -> None:
        """Raise PrivateAddress where the connection went to a private address after all.

        A name may resolve to one address when it is checked, and to another one afterwards.
        """
        stream = response.extensions.get("network_stream")
        peer = stream.get_extra_info("server_addr") if stream is not None else None
        if peer and not _is_proxied(response.request.url):
            self._check(response.request.url, {ip_address(peer[0])})

    def _check(self, url: httpx.URL, addresses: set[Address]) -> None:
        is_own = (url.host, url.port) == _origin(self.url)
        if is_own and any(map(is_public, addresses)):
            self.own = set()  # a name that changes its addresses is trusted no more
        for address in addresses - self.own if is_own else addresses:
            if not (self.of_this_network or is_public(address)):
                raise PrivateAddress(
                    f"{str(url)!r} leads to {address}, an address of this machine or its network,"
                    f" but the feed {self.url!r} is public",
                    "if you trust it, download it and name the file as a source",
                )


def resolved(host: str) -> set[Address]:
    """Return the addresses of a host name; none where it has none, which the connection tells."""
    host = host.rstrip(".").lower()
    if host.endswith(".localhost"):
        host = "localhost"
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return set()
    return {ip_address(str(entry[4][0])) for entry in found}


def is_public(address: Address) -> bool:
    """Tell whether an address is one of the internet, also where it carries another one in it."""
    if any(address in network for network in _PRIVATE):
        return False
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if any(address in network for network in _NAT64):
            inner = IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None and not is_public(inner):
            return False
        if address.ipv4_mapped:
            return True
    return address.is_global and not address.is_multicast


def _origin(url: str) -> tuple[str, int | None]:
    """Return host and port, None for the scheme's own: http may lead to https."""
    try:
        return httpx.URL(url).host, httpx.URL(url).port
    except httpx.InvalidURL:
        return "", None  # the request says so


def _literal(host: str) -> Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _is_proxied(url: httpx.URL) -> bool:
    """Tell whether the connection is one to a proxy, whose address says nothing."""
    proxies = getproxies()
    return bool({url.scheme, "all"} & proxies.keys()) and not proxy_bypass(url.host)
