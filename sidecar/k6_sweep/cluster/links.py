"""Keeps one link to each server, so that no server gets more than one write at a time."""

import threading
from typing import Final

from k6_sweep.cluster.link import Connect, Link
from k6_sweep.settings.values import Address

_FIRST_WRITE: Final = 250
"""Keys in the first write, before any round trip shows how fast the server is."""
_LEAST_WRITE: Final = 16
"""Keys in a write to even the slowest server, so that its sweep goes on."""


class WriteSize:
    """How many keys one write to one server may hold, adjusted by the duration of the last writes.

    Another client may have to wait while the server does the work of one write. The shortest round trip so far is the
    estimate of the network time, during which no other client waits.
    """

    def __init__(self, most: int, budget: float) -> None:
        """Start small; `most` limits the keys, `budget` is the seconds that a write may take on the server."""
        self._most = most
        self._budget = budget
        self._shortest = float("inf")
        self.keys = min(most, _FIRST_WRITE)

    def learn(self, seconds: float) -> None:
        """Adjust the size after a round trip: halve it if the trip was too long, else grow it by an eighth."""
        self._shortest = min(self._shortest, seconds)
        if seconds - self._shortest > self._budget:
            self.keys = max(min(self._most, _LEAST_WRITE), self.keys // 2)
        else:
            self.keys = min(self._most, self.keys + self.keys // 8 + 1)


class Links:
    """The open links of a sweep, and the size of a write for each server."""

    def __init__(self, connect: Connect, largest_write: int, latency_budget: float) -> None:
        self._connect = connect
        self._largest_write = largest_write
        self._latency_budget = latency_budget
        self._open: dict[Address, Link] = {}
        self._write_sizes: dict[Address, WriteSize] = {}
        self._lock = threading.Lock()

    def get(self, address: Address) -> Link:
        """Return the link to a server; open it if there is none.

        Raises:
            UnreachableError: The server does not answer.
            DeniedError: Login or TLS failed.
        """
        with self._lock:
            if link := self._open.get(address):
                return link
        fresh = self._connect(address)  # not under the lock: other threads do not wait for it
        with self._lock:
            link = self._open.setdefault(address, fresh)
        if link is not fresh:
            fresh.close()
        return link

    def write_size(self, address: Address) -> WriteSize:
        """Return the size of writes to a server."""
        with self._lock:
            return self._write_sizes.setdefault(address, WriteSize(self._largest_write, self._latency_budget))

    def drop(self, address: Address) -> None:
        """Close and forget a broken link."""
        with self._lock:
            link = self._open.pop(address, None)
        if link:
            link.close()

    def close(self) -> None:
        """Close all links, even while other threads use them."""
        for address in list(self._open):
            self.drop(address)
