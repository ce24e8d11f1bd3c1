"""One connection of the endpoint: limited in time, and in what it may send after its answer."""

import asyncio
import contextlib
import json
import socket
import struct
from http import HTTPStatus
from typing import Any, Final

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from k6_sweep.api.crowd import Crowd
from k6_sweep.api.gate import LONGEST_HEADERS, MOST_BYTES, TOO_LONG
from k6_sweep.api.problems import PROBLEM_JSON, details

REQUEST_SECONDS: Final = 10.0
"""Time limit in seconds for receiving a whole request with its body, from its connection or its first byte.

Without the token, for sending the answer as well. uvicorn has no such limit: clients that send or read a byte a second
would hold their connections for ever.
"""
_LARGE_ANSWER: Final = 4096
"""Bytes of an answer that may wait for the client and do not count."""
_RESET: Final = struct.pack("ii", 1, 0)
"""Linger for 0 seconds.

Source: https://man7.org/linux/man-pages/man7/socket.7.html (SO_LINGER)
"""


class Connection(H11Protocol):
    """A connection of uvicorn that ends if its client is too slow, or if the crowd needs its place."""

    _overdue: asyncio.TimerHandle | None = None
    _received = 0
    """Bytes that came since the latest answer."""
    _unread = 0
    """Bytes of the request that came after its answer."""
    _lost = False

    def __init__(self, config: uvicorn.Config, state: ServerState, crowd: Crowd, address: str) -> None:
        """Store the arguments; `address` is the client's, as the crowd groups it."""
        app_state: dict[str, Any] = {"trust": self._trust}
        super().__init__(config, state, app_state)
        self.address = address
        self.opening: asyncio.Task[Any] | None = None
        """The TLS handshake, or what stands for it without TLS."""
        self._crowd = crowd
        self._trusted = False

    def end(self) -> None:
        """Close the connection at once."""
        if self.transport is not None:
            # A reset: otherwise the system remembers each ended connection for a minute.
            if (connected := self.transport.get_extra_info("socket")) is not None:  # None: TLS has just ended
                with contextlib.suppress(OSError):
                    connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            # Not close(), which first sends what is left, and so waits for the client.
            self.transport.abort()
        elif self.opening:
            self.opening.cancel()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn's own signature
        """Start the timer for the first request."""
        transport.set_write_buffer_limits(high=_LARGE_ANSWER)
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Take in a part of a request."""
        # The answer was sent early, for example a 403. uvicorn drops the rest of the request: the client, which reads
        # only after it has sent all, then gets the answer. Not for ever.
        if self.conn.our_state is h11.DONE:
            self._unread += len(data)
            if self._unread > MOST_BYTES:
                self.end()
                return
        self._received += len(data)
        super().data_received(data)
        if self._is_between_requests() and self.timeout_keep_alive_task is None:
            # That was the rest of a request whose answer was sent early. uvicorn has stopped its timer.
            self._received = 0
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )
        self._watch()
        self._count()

    def on_response_complete(self) -> None:
        """Let the next request begin."""
        self._unread = 0
        self.cycle.body = bytearray()  # what came together with the headers
        # The headers: the connection may be idle from now on, and then its bytes do not count.
        self.headers = self.scope = self.cycle.scope = None  # type: ignore[assignment]  # uvicorn does the same at the start
        if not self._trusted and self.conn.their_state is h11.DONE and self.conn.trailing_data[0]:
            # Hundreds of requests in one packet would have their turn before the next client's first one.
            self.transport.close()
        super().on_response_complete()
        self._received = len(self.conn.trailing_data[0])  # the next request
        self._watch()
        self._count()

    def pause_writing(self) -> None:
        """Wait until the client has read."""
        super().pause_writing()
        self._count()

    def resume_writing(self) -> None:
        """Go on: the client has read."""
        super().resume_writing()
        self._count()

    def timeout_keep_alive_handler(self) -> None:
        """Close the idle connection, with a time limit for the client to read the rest."""
        super().timeout_keep_alive_handler()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Free the connection's place."""
        self._crowd.leave(self)
        self._lost = True
        self._unwatch()
        if self.timeout_keep_alive_task is not None:  # uvicorn lets it run on after a reset: it would hold this object
            self.timeout_keep_alive_task.cancel()
        super().connection_lost(exc)
        # No circles of objects: thousands of connections would wait for the garbage collector.
        self.app_state.clear()
        self.opening = self.cycle = self.scope = self.headers = None  # type: ignore[assignment]  # as at uvicorn's start

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  # uvicorn's signature
        """Answer what is not HTTP, if no answer was begun: uvicorn would try it in any case, and log a traceback."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            self.transport.close()
        elif len(self.conn.trailing_data[0]) > LONGEST_HEADERS:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, TOO_LONG)
        else:
            self._refuse(HTTPStatus.BAD_REQUEST, "this is not valid HTTP/1")

    def _refuse(self, status: HTTPStatus, detail: str) -> None:
        """Answer, as the application would, what cannot reach it, and close the connection."""
        body = json.dumps(details(status, detail, "/") | {"error": detail}).encode()
        headers = [("Content-Type", PROBLEM_JSON), ("Content-Length", str(len(body))), ("Connection", "close")]
        answer = h11.Response(status_code=status, reason=status.phrase.encode(), headers=headers)
        for event in (answer, h11.Data(body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _count(self) -> None:
        if not self.transport.is_closing():
            self._crowd.hold(self, self._received + self.transport.get_write_buffer_size())

    def _trust(self) -> None:
        """Keep the connection's place, because a request on it has the token."""
        self._trusted = True
        self._crowd.trust(self)
        self._watch()

    def _is_between_requests(self) -> bool:
        idle = self.conn.our_state is self.conn.their_state is h11.IDLE and not self.conn.trailing_data[0]
        return idle and self.cycle is not None and not self.transport.is_closing()

    def _watch(self) -> None:
        """Run the timer while the client has to do something; for the first request, from the connection on."""
        if self._lost:
            return
        state = self.conn.their_state
        begun = self.cycle is None or bool(self.conn.trailing_data[0])
        sends = state is h11.SEND_BODY or (state is h11.IDLE and begun)
        reads = self.cycle is not None and not self.cycle.response_complete and not self._trusted
        if not (sends or reads or self.transport.is_closing()):
            self._unwatch()
        elif self._overdue is None:
            self._overdue = self.loop.call_later(REQUEST_SECONDS, self.end)

    def _unwatch(self) -> None:
        if self._overdue:
            self._overdue.cancel()
        self._overdue = None
