"""Keeps one link to each server, and the window of its writes."""

import threading

from k6_sweep.cluster.link import Connect, Link
from k6_sweep.cluster.window import Window
from k6_sweep.settings.values import Address


class Links:
    """The open links of a sweep, and the window of each server."""

    def __init__(self, connect: Connect, largest_write: int, latency_budget: float) -> None:
        self._connect = connect
        self._largest_write = largest_write
        self._latency_budget = latency_budget
        self._open: dict[Address, Link] = {}
        self._windows: dict[Address, Window] = {}
        self._lock = threading.Lock()

    def get(self, address: Address) -> Link:
        """Return the link to a server; open it if there is none.

        Raises:
            UnreachableError: The server does not answer.
            DeniedError: Login or TLS failed.
        """
        with self._lock:
            if link := self._open.get(address):
                if link.is_usable():
                    return link
                del self._open[address]
                link.close()
        fresh = self._connect(address)  # not under the lock: other threads do not wait for it
        with self._lock:
            link = self._open.setdefault(address, fresh)
        if link is not fresh:
            fresh.close()
        return link

    def window(self, address: Address) -> Window:
        """Return the window of a server."""
        with self._lock:
            return self._windows.setdefault(address, Window(self._largest_write, self._latency_budget))

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
