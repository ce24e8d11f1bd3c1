"""One connection to one Redis server: sends pipelines, and turns redis-py's errors into k6-sweep's."""

import select
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, NoReturn, Protocol

import hiredis
from redis import exceptions
from redis.connection import AbstractConnection

from k6_sweep.cluster.replies import text_of
from k6_sweep.errors import DeniedError, UnreachableError
from k6_sweep.settings.values import Address

_MORE: Final = object()
_READ_SIZE: Final = 64 * 1024
# redis-py raises the last two when another thread closes the connection.
_BROKEN: Final = (exceptions.RedisError, OSError, AttributeError, ValueError)

pack: Callable[[tuple[bytes | str | int, ...]], bytes] = hiredis.pack_command  # type: ignore[assignment]  # its stub names a pair
"""Packs one command, given as its words, into the bytes that the server receives."""


class Connect(Protocol):
    """Opens links; `Connector` is the implementation."""

    def __call__(self, address: Address) -> "Link":
        """Open a link to one server."""
        ...


class PipelinedConnection(AbstractConnection):
    """Adds a cheap way to read many replies to redis-py's connections, because a sweep may find a million keys.

    redis-py connects, logs in, speaks TLS and names the errors; hiredis parses the replies after that directly.
    """

    # redis-py's pipelines take 10 µs for each key, and its GETKEYSINSLOT fails for keys that are not text.
    _reader: hiredis.Reader | None = None

    def send(self, commands: Sequence[bytes]) -> None:
        """Send packed commands in one write.

        Raises:
            redis.exceptions.RedisError: The connection broke or the server refuses it; no more replies can be read.
            OSError: The same.
        """
        try:
            self.send_packed_command([b"".join(commands)], check_health=False)
        except BaseException:
            self._lose()
            raise

    def receive(self, count: int) -> list[Any]:
        """Return the next replies, error replies as exceptions; the errors are those of `send`."""
        try:
            replies = self._read(count)
        except BaseException:
            self._lose()
            raise
        for reply in replies:
            if isinstance(reply, exceptions.ConnectionError):  # such as LOADING, or a missing login
                raise reply
        return replies

    def _error(self, text: str) -> Exception:
        """Return an error reply as redis-py's exception; a MOVED or ASK without its slot and address as a plain one."""
        try:
            error: Exception = self._parser.parse_error(text)
        except ValueError:
            return exceptions.ResponseError(text)
        return error

    def has_ended(self) -> bool:
        """Whether the server has closed the connection; only while no reply is awaited."""
        if (connected := self._get_socket()) is None:
            return True
        waiting = select.poll()
        waiting.register(connected, select.POLLIN)
        return bool(waiting.poll(0))

    def _lose(self) -> None:
        self.disconnect()  # late replies must not be mistaken for the replies to later commands
        self._reader = None

    def _read(self, count: int) -> list[Any]:
        if self._reader is None:
            self._reader = hiredis.Reader(
                protocolError=exceptions.InvalidResponse, replyError=self._error, notEnoughData=_MORE
            )
        get, feed = self._reader.gets, self._reader.feed
        if (socket := self._get_socket()) is None:
            raise exceptions.ConnectionError("another thread has closed the connection")
        receive = socket.recv
        replies: list[Any] = []
        while len(replies) < count:
            # False: no decoding, because a key may have any bytes.
            reply = get(False)
            if reply is not _MORE:
                replies.append(reply)
            elif data := receive(_READ_SIZE):
                feed(data)
            else:
                raise exceptions.ConnectionError("the server has closed the connection")
        return replies


class Sent:
    """Commands on their way to a server, which answers them in the order of all commands of its link."""

    def __init__(self, link: "Link", count: int) -> None:
        self._link = link
        self.count = count
        self.at = time.monotonic()
        """When they were sent."""
        self.received: list[Any] | None = None

    def replies(self) -> list[Any]:
        """Wait for the replies and return one for each command, an error reply as the exception itself."""
        return self._link.receive(self)


class Link:
    """A logged-in connection to one server.

    Its methods raise `UnreachableError` when the connection breaks (the link cannot be used after that), and
    `DeniedError` when the server refuses and a retry does not help. Several threads may use a link.
    """

    def __init__(self, connection: PipelinedConnection, name: str, hint: str = "") -> None:
        self._connection = connection
        self.name = name
        self._hint = hint
        """What the user can try if the server closes the connection before its first reply."""
        self._has_answered = False
        self._one_at_a_time = threading.Lock()
        self._awaited: deque[Sent] = deque()
        """What the server has not answered yet, the oldest first."""
        self.closed = False
        """Whether the link can no longer be used."""
        self.shortest_trip = float("inf")
        """Seconds of the shortest round trip so far: about the time that the network takes."""
        self.trips, self.in_trips = 0, 0.0
        """The number of round trips, and the sum of their seconds."""
        self.waited = 0.0
        """Seconds that callers have waited for replies."""

    def close(self) -> None:
        """End the connection, even while another thread uses it."""
        self.closed = True
        # Without the lock: its holder may hang in a read, which ends only by this.
        self._connection.disconnect()

    def is_usable(self) -> bool:
        """Whether the connection is still there: a server may close it after some idle seconds (its `timeout`)."""
        if not self._one_at_a_time.acquire(blocking=False):
            return True  # another thread uses it
        try:
            return not self.closed and (bool(self._awaited) or not self._connection.has_ended())
        finally:
            self._one_at_a_time.release()

    def ask(self, *command: bytes | str | int) -> Any:  # a reply has any shape
        """Send one command and return its reply, with bytes not decoded.

        Raises:
            redis.exceptions.ResponseError: The server replies with an error.
        """
        (reply,) = self.pipeline([pack(command)])
        if isinstance(reply, exceptions.ResponseError):
            raise reply
        return reply

    def pipeline(self, commands: Sequence[bytes]) -> list[Any]:
        """Send packed commands in one write; return one reply for each, an error reply as the exception itself."""
        return self.send(commands).replies()

    def send(self, commands: Sequence[bytes]) -> Sent:
        """Send packed commands in one write, and do not wait for the replies."""
        try:
            with self._one_at_a_time:
                self._check_open()
                sent = Sent(self, len(commands))
                self._connection.send(commands)
                self._awaited.append(sent)
        except _BROKEN as error:
            self._explain(error)
        return sent

    def receive(self, sent: Sent) -> list[Any]:
        """Wait for the replies to these commands, and with them for the replies to all earlier ones."""
        if sent.received is None:
            began = time.monotonic()
            try:
                with self._one_at_a_time:
                    self._receive_until(sent)
            except _BROKEN as error:
                self._explain(error)
            self.waited += time.monotonic() - began
            self._hint, self._has_answered = "", True
        return sent.received or []

    def _receive_until(self, sent: Sent) -> None:
        while sent.received is None:
            self._check_open()
            oldest = self._awaited.popleft()
            oldest.received = self._connection.receive(oldest.count)
            seconds = time.monotonic() - oldest.at
            self.shortest_trip = min(self.shortest_trip, seconds)
            self.trips += 1
            self.in_trips += seconds

    def _check_open(self) -> None:
        if self.closed:  # redis-py would reconnect, and the server would not know the earlier commands
            raise exceptions.ConnectionError("it is closed")

    def _explain(self, error: Exception) -> NoReturn:
        """Raise the error that explains why the connection broke."""
        self.closed = True
        if isinstance(error, (exceptions.AuthenticationError, exceptions.AuthorizationError)):
            if self._has_answered:  # the password is being rotated: another login shows whether that helps
                raise UnreachableError(f"{self.name} needs another login: {text_of(error)}") from error
            raise DeniedError(
                f"{self.name} needs a login: {text_of(error)}; check the user and the password"
            ) from error
        if isinstance(error, exceptions.InvalidResponse):
            raise DeniedError(
                f"not supported: {self.name} does not speak Redis's protocol: {error}{self._hint}"
            ) from error
        raise UnreachableError(f"lost the connection to {self.name}: {text_of(error)}{self._hint}") from error
