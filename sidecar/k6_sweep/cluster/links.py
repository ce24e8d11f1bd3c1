"""Keeps one link to each server, so that never more than one write is under way on any of them."""

import threading
from typing import Final

from k6_sweep.cluster.link import Connect, Link
from k6_sweep.settings.values import Address

_FIRST_WRITE: Final = 250
_LEAST_WRITE: Final = 16


class WriteSize:
    """How many keys one write to one server may hold, steered by how long the last writes took.

    What another client feels of us is the work of one write, which it may have to wait for. The shortest round trip so
    far stands for the way there and back, which nobody waits for.
    """

    def __init__(self, most: int, budget: float) -> None:
        """Begin carefully; `most` bounds the keys, `budget` is how many seconds a write may take on the server."""
        self._most = most
        self._budget = budget
        self._shortest = float("inf")
        self.keys = min(most, _FIRST_WRITE)

    def learn(self, seconds: float) -> None:
        """Take a round trip into account: halve after one that was too long, else grow by an eighth."""
        self._shortest = min(self._shortest, seconds)
        if seconds - self._shortest > self._budget:
            self.keys = max(min(self._most, _LEAST_WRITE), self.keys // 2)
        else:
            self.keys = min(self._most, self.keys + self.keys // 8 + 1)


class Links:
    """The links that a sweep has open, and for each server how much one write may hold."""

    def __init__(self, connect: Connect, largest_write: int, latency_budget: float) -> None:
        self._connect = connect
        self._largest_write = largest_write
        self._latency_budget = latency_budget
        self._open: dict[Address, Link] = {}
        self._write_sizes: dict[Address, WriteSize] = {}
        self._lock = threading.Lock()

    def get(self, address: Address) -> Link:
        """Return the link to a server, opened if need be.

        Raises:
            UnreachableError: Nobody answers there.
            DeniedError: Login or TLS failed.
        """
        with self._lock:
            if link := self._open.get(address):
                return link
        fresh = self._connect(address)  # not under the lock: others need not wait for it
        with self._lock:
            link = self._open.setdefault(address, fresh)
        if link is not fresh:
            fresh.close()
        return link

    def write_size(self, address: Address) -> WriteSize:
        """Return what is known about the size of writes to a server."""
        with self._lock:
            return self._write_sizes.setdefault(address, WriteSize(self._largest_write, self._latency_budget))

    def drop(self, address: Address) -> None:
        """Close a link that is broken."""
        with self._lock:
            link = self._open.pop(address, None)
        if link:
            link.close()

    def close(self) -> None:
        """Close all of them, under whoever is using them."""
        for address in list(self._open):
            self.drop(address)
