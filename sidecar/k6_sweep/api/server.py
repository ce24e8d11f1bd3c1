"""Runs uvicorn on bounded ports, with a shutdown that waits for the running sweep."""

import contextlib
import logging
import resource
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import uvicorn

from k6_sweep.api.gate import LONGEST_HEADERS
from k6_sweep.api.listener import Listener
from k6_sweep.api.throttle import ThrottledRecords
from k6_sweep.log import LOGGER_NAME, Log
from k6_sweep.settings.all import Settings

_KEEP_ALIVE: Final = 5
"""Seconds that a connection may be idle between requests."""
_LAST_ANSWERS: Final = 1
"""Seconds that uvicorn waits at shutdown for the last answers to be sent."""
_CONNECTIONS: Final = 2048
"""Open connections of the public port. Each takes 25 KiB, in addition to the bytes that it holds."""
_TLS_CONNECTIONS: Final = 256
"""The same with TLS, which takes another 300 KiB."""
_PROBE_CONNECTIONS: Final = 32
"""Open connections of the probes' port."""
_DESCRIPTORS: Final = 4096
"""More than enough for all connections."""
_OTHER_DESCRIPTORS: Final = 256
"""For connections to Redis, and for files."""


class Server(uvicorn.Server):
    """A server that answers requests until `may_end` returns true. It handles no signals: `serve` does."""

    def __init__(self, listeners: Sequence[Listener], may_end: Callable[[], bool]) -> None:
        super().__init__(listeners[0].config)
        self._listeners = listeners
        self._may_end = may_end

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Install no signal handlers."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002  # uvicorn's signature
        """Begin to accept; uvicorn would do so without a limit."""
        for listener in self._listeners:
            listener.start(self.server_state)
        self.servers = [*self._listeners]  # type: ignore[list-item]  # uvicorn calls only close() and wait_closed()
        self.started = True

    async def on_tick(self, counter: int) -> bool:
        """Return whether the server must exit; uvicorn calls this ten times a second."""
        self.should_exit = self._may_end()
        return await super().on_tick(counter)


def clients(bound: socket.socket, app: Any, settings: Settings, log: Log) -> Listener:
    """Return the port for clients, with TLS if it is set."""
    config = _config(
        app,
        ssl_certfile=settings.tls_cert_file,
        ssl_keyfile=None if settings.tls_key_file is None else str(settings.tls_key_file),
    )
    most = _CONNECTIONS if settings.tls_cert_file is None else _TLS_CONNECTIONS
    return Listener(bound, config, min(most, _free_descriptors()), log)


def probes(bound: socket.socket, app: Any, log: Log) -> Listener:
    """Return the port for probes, without TLS: the kubelet does not check a certificate."""
    return Listener(bound, _config(app), _PROBE_CONNECTIONS, log)


def _config(app: Any, **tls: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="asyncio",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,  # `Audited` logs each request
        proxy_headers=False,  # else any client could choose the address that the audit logs
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=_LAST_ANSWERS,
        h11_max_incomplete_event_size=LONGEST_HEADERS,
        **tls,
    )


def log_libraries() -> None:
    """Write the warnings and errors of uvicorn and asyncio to k6-sweep's log, one a second of each kind."""
    for name in ("uvicorn.error", "asyncio"):
        complaints = logging.getLogger(name)
        complaints.handlers = logging.getLogger(LOGGER_NAME).handlers
        complaints.filters = [ThrottledRecords()]
        complaints.propagate = False
        complaints.setLevel(logging.WARNING)


def _free_descriptors() -> int:
    """Return how many descriptors connections may have, after raising the process's limit as far as it is useful."""
    soft, hard = (each if each != resource.RLIM_INFINITY else _DESCRIPTORS for each in _descriptor_limits())
    if soft < _DESCRIPTORS:
        soft = min(hard, _DESCRIPTORS)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, _descriptor_limits()[1]))
    return max(soft - _OTHER_DESCRIPTORS, soft // 2)


def _descriptor_limits() -> tuple[int, int]:
    return resource.getrlimit(resource.RLIMIT_NOFILE)
