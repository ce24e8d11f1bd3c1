"""Runs uvicorn with a time limit for receiving a request, and a shutdown that waits for the running sweep."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Iterator
from typing import Any, Final

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from k6_sweep.errors import SettingsError
from k6_sweep.log import LOGGER_NAME
from k6_sweep.settings.all import Settings
from k6_sweep.settings.values import Address

REQUEST_SECONDS: Final = 10.0
"""Time limit in seconds for receiving a whole request with its body, from its connection or its first byte.

uvicorn has none: clients that send a byte a second would hold their connections for ever.
"""
_KEEP_ALIVE: Final = 5
"""Seconds that a connection may be idle between requests."""
_LAST_ANSWERS: Final = 1
"""Seconds that uvicorn waits at shutdown for the last answers to be sent."""
_LONGEST_HEADERS: Final = 32 * 1024


class _Prompt(H11Protocol):
    """Closes a connection that sends a request too slowly."""

    _overdue: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn's own signature
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unwatch()
        super().connection_lost(exc)

    def _watch(self) -> None:
        """Run the timer while a request is being received; for the first request, from the connection on."""
        state = self.conn.their_state
        begun = self.cycle is None or bool(self.conn.trailing_data[0])
        if state is not h11.SEND_BODY and not (state is h11.IDLE and begun):
            self._unwatch()
        elif self._overdue is None and not self.transport.is_closing():
            # Not close(), which first sends what is left, and so waits for the client.
            self._overdue = self.loop.call_later(REQUEST_SECONDS, self.transport.abort)

    def _unwatch(self) -> None:
        if self._overdue:
            self._overdue.cancel()
        self._overdue = None


class Server(uvicorn.Server):
    """A server that answers requests until `may_end` returns true. It handles no signals: `serve` does."""

    def __init__(self, config: uvicorn.Config, may_end: Callable[[], bool]) -> None:
        super().__init__(config)
        self._may_end = may_end

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Install no signal handlers."""
        yield

    async def on_tick(self, counter: int) -> bool:
        """Return whether the server must exit; uvicorn calls this ten times a second."""
        self.should_exit = self._may_end()
        return await super().on_tick(counter)


def make_server(app: Any, settings: Settings, may_end: Callable[[], bool]) -> Server:
    """Return the server; it writes uvicorn's warnings and errors to k6-sweep's log."""
    complaints = logging.getLogger("uvicorn.error")
    complaints.handlers = logging.getLogger(LOGGER_NAME).handlers
    complaints.propagate = False
    complaints.setLevel(logging.WARNING)
    config = uvicorn.Config(
        app,
        http=_Prompt,
        loop="asyncio",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,  # `Audited` logs each request
        proxy_headers=False,  # else any client could choose the address that the audit logs
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=_LAST_ANSWERS,
        h11_max_incomplete_event_size=_LONGEST_HEADERS,
        ssl_certfile=settings.tls_cert_file,
        ssl_keyfile=None if settings.tls_key_file is None else str(settings.tls_key_file),
    )
    return Server(config, may_end)


def bind(listen: Address) -> socket.socket:
    """Return a listening socket; `::` accepts IPv4 too, where the system can do that.

    Raises:
        SettingsError: The system refuses the address.
    """
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    both = listen.host == "::" and socket.has_dualstack_ipv6()
    try:
        bound = socket.create_server((listen.host, listen.port), family=family, backlog=1024, dualstack_ipv6=both)
    except OSError as error:
        raise SettingsError([f"cannot listen on {listen} (--listen): {error.strerror}"]) from error
    # asyncio sets this on its own sockets only; without it, the second part of an answer waits 40 ms for an ACK.
    bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return bound
