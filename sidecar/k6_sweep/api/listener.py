"""Accepts the connections of one port, so that no number of them exhausts memory, descriptors or the log.

asyncio's own server accepts without a limit. Out of descriptors, it logs a traceback for each connection that waits.
"""

import asyncio
import contextlib
import socket
from typing import Any, Final

import uvicorn
from uvicorn.server import ServerState

from k6_sweep.api.connection import REQUEST_SECONDS, Connection
from k6_sweep.api.crowd import Crowd, group_of
from k6_sweep.api.throttle import Throttle
from k6_sweep.errors import SettingsError
from k6_sweep.log import Log, LogEvent
from k6_sweep.settings.values import Address

_AT_ONCE: Final = 32
"""Connections that are accepted before the others have their turn."""
_BACKLOG: Final = 4096
"""Connections that may wait to be accepted; the system's net.core.somaxconn limits it."""
_REST: Final = 0.1
"""Seconds without accepting after the system has refused to accept."""
_FAREWELL: Final = 2.0
"""Seconds that a client has to answer the end of TLS."""
_KERNEL_BUFFER: Final = 32 * 1024
"""Bytes that the kernel may hold in each direction of a connection; they take twice as much memory.

It counts for the container's limit. By default it grows to megabytes.
"""
_MOST_BYTES: Final = 32 * 1024 * 1024
"""Bytes of requests and answers that all connections without the token may hold together."""


class Listener:
    """One port. uvicorn closes it at shutdown."""

    def __init__(self, bound: socket.socket, config: uvicorn.Config, most: int, log: Log) -> None:
        """Store the arguments; `most` is the limit of open connections."""
        self.config = config
        self._bound = bound
        self._crowd = Crowd(most, _MOST_BYTES)
        self._log = log
        self._throttle = Throttle()

    def start(self, state: ServerState) -> None:
        """Begin to accept; the event loop runs."""
        if not self.config.loaded:
            self.config.load()
        self._state = state
        self._bound.setblocking(False)
        self._attend()

    def close(self) -> None:
        """Accept no more connections."""
        asyncio.get_running_loop().remove_reader(self._bound)
        self._bound.close()

    async def wait_closed(self) -> None:
        """Return at once: uvicorn closes the connections."""

    def _attend(self) -> None:
        if self._bound.fileno() >= 0:
            asyncio.get_running_loop().add_reader(self._bound, self._accept)

    def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(_AT_ONCE):
            try:
                accepted, peer = self._bound.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:  # no descriptor or memory is free
                if self._throttle.passes("accept") is not None:
                    problem = f"cannot accept a connection: {error.strerror}"
                    self._log.warning(LogEvent.SERVER_PROBLEM, problem=problem)
                self._crowd.shrink()
                loop.remove_reader(self._bound)
                loop.call_later(_REST, self._attend)
                return
            accepted.setblocking(False)
            connection = Connection(self.config, self._state, self._crowd, group_of(str(peer[0])))
            connection.opening = loop.create_task(self._open(connection, accepted))
            self._crowd.admit(connection)

    async def _open(self, connection: Connection, accepted: socket.socket) -> None:
        tls: dict[str, Any] = {}
        if self.config.ssl:
            tls = {"ssl_handshake_timeout": REQUEST_SECONDS, "ssl_shutdown_timeout": _FAREWELL}
        loop = asyncio.get_running_loop()
        try:
            with contextlib.suppress(OSError):  # the client broke off
                await loop.connect_accepted_socket(lambda: connection, accepted, ssl=self.config.ssl, **tls)
        finally:
            if connection.transport is None:
                self._crowd.leave(connection)
                accepted.close()


def bind(listen: Address, option: str) -> socket.socket:
    """Return a listening socket; `::` accepts IPv4 too, where the system can do that.

    Raises:
        SettingsError: The system refuses the address, which is the value of `option`.
    """
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    both = listen.host == "::" and socket.has_dualstack_ipv6()
    try:
        bound = socket.create_server((listen.host, listen.port), family=family, backlog=_BACKLOG, dualstack_ipv6=both)
    except OSError as error:
        raise SettingsError([f"cannot listen on {listen} ({option}): {error.strerror}"]) from error
    # asyncio sets this on its own sockets only; without it, the second part of an answer waits 40 ms for an ACK.
    bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # Connections inherit these, too.
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _KERNEL_BUFFER)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _KERNEL_BUFFER)
    return bound
