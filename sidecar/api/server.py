"""Listens: uvicorn, with a time limit for a request to come in, and with signals as we mean them."""

import asyncio
import logging
import socket
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from sidecar.errors import SettingsError
from sidecar.log import LOGGER_NAME
from sidecar.settings import Settings
from sidecar.values import Address

REQUEST_SECONDS: Final = 10.0
"""A request must be there, to the last byte of its body, so long after its connection or its first byte."""
_KEEP_ALIVE: Final = 5
"""Seconds that a connection may be idle between requests."""
_LONGEST_HEADERS: Final = 32 * 1024


class _Prompt(H11Protocol):
    """Closes a connection over which a request comes too slowly."""

    _overdue: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
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
        """Run the clock while a request is on its way in, the first one from the beginning."""
        state = self.conn.their_state
        begun = self.cycle is None or bool(self.conn.trailing_data[0])
        if state is not h11.SEND_BODY and not (state is h11.IDLE and begun):
            self._unwatch()
        elif self._overdue is None and not self.transport.is_closing():
            self._overdue = self.loop.call_later(REQUEST_SECONDS, self.transport.abort)

    def _unwatch(self) -> None:
        if self._overdue:
            self._overdue.cancel()
        self._overdue = None


class Server(uvicorn.Server):
    """A server that tells of signals, and doesn't raise them again when it is done."""

    def __init__(self, config: uvicorn.Config, on_signal: Callable[[int], None]) -> None:
        super().__init__(config)
        self._on_signal = on_signal

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002  # a signal handler's shape
        """Begin to end."""
        self.should_exit = True
        self._on_signal(sig)


def make_server(app: Any, settings: Settings, patience: float, on_signal: Callable[[int], None]) -> Server:  # noqa: ANN401  # any ASGI application
    """Return the server; after a signal it gives the answers that are under way `patience` seconds."""
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
        access_log=False,
        proxy_headers=False,  # anybody could name an address that the audit then shows
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=max(1, int(patience)),
        h11_max_incomplete_event_size=_LONGEST_HEADERS,
        ssl_certfile=settings.tls_cert_file,
        ssl_keyfile=None if settings.tls_key_file is None else str(settings.tls_key_file),
    )
    return Server(config, on_signal)


def bind(listen: Address) -> socket.socket:
    """Return a socket that listens.

    Raises:
        SettingsError: It can't be had.
    """
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    try:
        bound = socket.create_server((listen.host, listen.port), family=family, backlog=1024)
    except OSError as error:
        raise SettingsError([f"--listen {listen} cannot be had: {error.strerror}"]) from error
    # asyncio does this with its own sockets only; without it, the second part of an answer waits 40 ms for an ACK.
    bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return bound
