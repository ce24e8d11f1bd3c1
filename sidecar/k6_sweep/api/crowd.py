"""Bounds the connections of one port and the bytes that they hold: above the limit, an old one makes room.

A connection that has shown the token keeps its place. Of the others, the oldest one of the address with the most of
them has to go. So a client that sends its request at once gets its answer, however many idle connections there are and
wherever they come from. A fixed limit for each address would be wrong in both directions: all clients behind a proxy,
an ingress or a NAT have one address, and a flood may come from many.
"""

import functools
import ipaddress
from typing import Protocol


class Member(Protocol):
    """An open connection."""

    address: str
    """The group of addresses that it comes from."""

    def end(self) -> None:
        """Close the connection at once."""


class Crowd:
    """The open connections of one port."""

    def __init__(self, most: int, most_bytes: int) -> None:
        """Store the limits: of connections, and of the bytes that those without the token hold."""
        self._most = most
        self._most_bytes = most_bytes
        self._trusted: set[Member] = set()
        self._others: dict[str, dict[Member, None]] = {}
        """Connections that have not shown the token, by address, the oldest first."""
        self._held: dict[Member, int] = {}
        """Bytes of requests and answers in memory; only of connections in `_others`."""
        self._bytes = 0
        self._size = 0

    def admit(self, member: Member) -> None:
        """Add a connection; at the limit, end another one, or this one if all others have shown the token."""
        self._others.setdefault(member.address, {})[member] = None
        self._size += 1
        if self._size > self._most:
            self.shrink()

    def shrink(self) -> None:
        """End the oldest connection of the address that has the most; none if all have shown the token."""
        if self._others:
            largest = max(self._others, key=lambda address: len(self._others[address]))
            oldest = next(iter(self._others[largest]))
            self.leave(oldest)
            oldest.end()

    def hold(self, member: Member, size: int) -> None:
        """Note how many bytes a connection holds; above the limit, end the one that holds the most."""
        if member not in self._others.get(member.address, {}):
            return
        self._bytes += size - self._held.pop(member, 0)
        if size:
            self._held[member] = size
        if self._bytes > self._most_bytes:
            largest = max(self._held, key=lambda each: self._held[each])
            self.leave(largest)
            largest.end()

    def trust(self, member: Member) -> None:
        """Keep the place of a connection that has shown the token."""
        if self._remove(member):
            self._trusted.add(member)

    def leave(self, member: Member) -> None:
        """Remove a connection, if it is still here."""
        if self._remove(member) or member in self._trusted:
            self._trusted.discard(member)
            self._size -= 1

    def _remove(self, member: Member) -> bool:
        group = self._others.get(member.address, {})
        if member not in group:
            return False
        del group[member]
        self._bytes -= self._held.pop(member, 0)
        if not group:
            del self._others[member.address]
        return True


@functools.lru_cache(1024)
def group_of(address: str) -> str:
    """Return what stands for a client: an IPv4 address, or the /64 of an IPv6 address, because a host has all of it.

    Source: https://www.rfc-editor.org/rfc/rfc7934 (section 6)
    """
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])  # after % comes the interface of a link-local address
    except ValueError:  # a socket without an address
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    if parsed.ipv4_mapped:  # how a socket on :: shows IPv4
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, 64), strict=False))
