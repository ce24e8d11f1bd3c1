"""One connection to one Redis server: login, TLS, pipelines, and its errors in our words."""

import ssl
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NoReturn, Protocol

import hiredis
from redis import exceptions
from redis.connection import AbstractConnection, Connection, SSLConnection, UnixDomainSocketConnection

from k6_sweep.cluster.replies import text_of
from k6_sweep.errors import DeniedError, UnreachableError
from k6_sweep.settings.all import Settings
from k6_sweep.settings.values import Address

_MORE: Final = object()
_READ_SIZE: Final = 64 * 1024
_PATIENCE: Final = 5.0
"""A server that is silent for so many seconds is taken for lost; the sweep asks again within its deadline."""
_LEAST_PATIENCE: Final = 0.2
_TRY_TLS: Final = " (if it speaks TLS only, begin --redis-url with rediss://)"
_TRY_PLAIN: Final = " (if it doesn't speak TLS, begin --redis-url with redis://)"
_PASSING_TLS_ERRORS: Final = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)
"""What a server that is just starting or stopping looks like."""

pack: Callable[[tuple[bytes | str | int, ...]], bytes] = hiredis.pack_command  # type: ignore[assignment]  # its stub names a pair
"""Packs one command, word by word, into the bytes that go over the wire."""


class Connect(Protocol):
    """Opens links; the real one is `Connector`."""

    def __call__(self, address: Address) -> "Link":
        """Open a link to one server."""
        ...


class PipelinedConnection(AbstractConnection):
    """Adds to redis-py's connections the reading of many replies at little cost: a million keys are many.

    redis-py connects, logs in, speaks TLS and names the errors; the replies after that are parsed by hiredis directly.
    """

    _reader: hiredis.Reader | None = None

    def exchange(self, commands: Sequence[bytes]) -> list[Any]:
        """Send packed commands in one write; return a reply for each, the server's errors as exceptions.

        Raises:
            redis.exceptions.RedisError: The connection broke, or the server will not talk; nothing more can be read.
            OSError: The same.
        """
        try:
            self.send_packed_command([b"".join(commands)], check_health=False)
            replies = self._read(len(commands))
        except BaseException:
            self.disconnect()  # replies that are still on the way must not be taken for later ones
            self._reader = None
            raise
        for reply in replies:
            if isinstance(reply, exceptions.ConnectionError):  # such as LOADING, or a login that is wanted
                raise reply
        return replies

    def _read(self, count: int) -> list[Any]:
        if self._reader is None:
            self._reader = hiredis.Reader(
                protocolError=exceptions.InvalidResponse, replyError=self._parser.parse_error, notEnoughData=_MORE
            )
        get, feed = self._reader.gets, self._reader.feed
        if (socket := self._get_socket()) is None:
            raise exceptions.ConnectionError("another thread has closed the connection")
        receive = socket.recv
        replies: list[Any] = []
        while len(replies) < count:
            reply = get(False)
            if reply is not _MORE:
                replies.append(reply)
            elif data := receive(_READ_SIZE):
                feed(data)
            else:
                raise exceptions.ConnectionError("the server has closed the connection")
        return replies


class _Tcp(PipelinedConnection, Connection):
    pass


class _Tls(PipelinedConnection, SSLConnection):
    pass


class _UnixSocket(PipelinedConnection, UnixDomainSocketConnection):
    host = property(lambda self: self.path)  # redis-py names the place of a failure by it


class Link:
    """A logged-in connection to one server.

    Its methods raise `UnreachableError` when the connection breaks (the link is then of no use), and `DeniedError` when
    the server refuses for good.
    """

    def __init__(self, connection: PipelinedConnection, name: str, hint: str = "") -> None:
        self._connection = connection
        self.name = name
        self._hint = hint
        """What to try if the server hangs up before its first reply."""
        self._one_at_a_time = threading.Lock()
        self.closed = False
        """Whether it is of no more use."""

    def close(self) -> None:
        """End the connection, under whoever is using it."""
        self.closed = True
        self._connection.disconnect()

    def ask(self, *command: bytes | str | int) -> Any:  # a reply has any shape
        """Send one command and return its reply, bytes undecoded.

        Raises:
            redis.exceptions.ResponseError: The server's own error.
        """
        (reply,) = self.pipeline([pack(command)])
        if isinstance(reply, exceptions.ResponseError):
            raise reply
        return reply

    def pipeline(self, commands: Sequence[bytes]) -> list[Any]:
        """Send packed commands in one write; return a reply for each, an error reply as the exception itself.

        Several threads may use a link: each waits until the other's replies are in.
        """
        try:
            with self._one_at_a_time:
                if self.closed:  # redis-py would connect anew, to a server that knows nothing of what was said before
                    raise exceptions.ConnectionError("it was closed")
                replies = self._connection.exchange(commands)
        except (exceptions.AuthenticationError, exceptions.AuthorizationError) as error:
            raise DeniedError(
                f"{self.name} wants a login: {text_of(error)}; check the user and the password"
            ) from error
        except (exceptions.RedisError, OSError, AttributeError, ValueError) as error:
            self.closed = True
            # The last two are what redis-py meets when another thread closes the connection under it.
            raise UnreachableError(f"lost the connection to {self.name}: {text_of(error)}{self._hint}") from error
        self._hint = ""
        return replies


def open_plain(address: Address, timeout: float) -> Link:
    """Open a link without login or TLS, as to a server of one's own."""
    connection = _Tcp(host=address.host, port=address.port, protocol=2, driver_info=None, socket_timeout=timeout)
    return Link(connection, str(address))


class Connector:
    """Opens links as the settings say, waiting no longer than there is time."""

    def __init__(self, settings: Settings, remaining: Callable[[], float] = lambda: _PATIENCE) -> None:
        self._settings = settings
        self._remaining = remaining

    def __call__(self, address: Address) -> Link:
        """Open a link to one server and log in; an empty host stands for the Unix socket.

        Raises:
            UnreachableError: Nobody answers there, or the password file cannot be read now.
            DeniedError: Login or TLS failed.
        """
        settings, url = self._settings, self._settings.redis_url
        name = str(address if address.host else url)
        login = {"username": settings.username, "password": self._password()}
        sentinel = address in url.sentinels
        try:
            try:
                connection = self._connected(address, login | ({} if sentinel else {"db": url.database}))
            except exceptions.AuthenticationError:
                if not sentinel:
                    raise
                connection = self._connected(address, {})  # Sentinels often know no users
        except (exceptions.RedisError, OSError) as error:
            _refuse(error, name, settings)
        return Link(connection, name, hint="" if url.tls else _TRY_TLS)

    def _connected(self, address: Address, options: Mapping[str, Any]) -> PipelinedConnection:
        url = self._settings.redis_url
        timeout = min(_PATIENCE, max(_LEAST_PATIENCE, self._remaining()))
        all_options: dict[str, Any] = {
            **options,
            "socket_connect_timeout": timeout,
            "socket_timeout": timeout,
            "protocol": 2,  # the newer one begins with a HELLO of its own
            "driver_info": None,  # no CLIENT SETINFO: managed Redis may forbid it
        }
        connection: PipelinedConnection
        if not address.host and url.socket_path is not None:
            connection = _UnixSocket(path=url.socket_path, **all_options)
        elif url.tls:
            connection = _Tls(host=address.host, port=address.port, **all_options, **_tls(self._settings))
        else:
            connection = _Tcp(host=address.host, port=address.port, **all_options)
        connection.connect()
        return connection

    def _password(self) -> str | None:
        """Return the password as it is now; an empty one where there is only a user, for whom none is needed."""
        settings = self._settings
        if settings.redis_iam is not None:
            from k6_sweep.cluster.iam import token  # noqa: PLC0415  # loads botocore

            return token(settings.redis_iam, settings.username or "")
        if settings.redis_password_file is not None:
            try:
                return settings.redis_password_file.read_text(encoding="utf-8").rstrip("\r\n")
            except (OSError, UnicodeDecodeError) as error:
                raise UnreachableError(f"cannot log in: --redis-password-file cannot be read: {error}") from error
        secret = settings.redis_password or settings.redis_url.password
        return secret.reveal() if secret else "" if settings.username else None


def _tls(settings: Settings) -> dict[str, Any]:
    def path(file: object) -> str | None:
        return None if file is None else str(file)

    return {
        "ssl_ca_certs": path(settings.redis_ca_file),
        "ssl_certfile": path(settings.redis_cert_file),
        "ssl_keyfile": path(settings.redis_key_file),
        "ssl_cert_reqs": "none" if settings.redis_tls_insecure else "required",
        "ssl_check_hostname": not settings.redis_tls_insecure,
    }


def _refuse(error: Exception, name: str, settings: Settings) -> NoReturn:
    """Raise what a failed connect means."""
    if isinstance(error, exceptions.AuthenticationError):
        user = settings.username or "default"
        raise DeniedError(
            f'cannot log in to {name} as "{user}": {text_of(error)}; '
            "check SWEEP_REDIS_PASSWORD_FILE or SWEEP_REDIS_PASSWORD"
        ) from error
    if isinstance(error, exceptions.BusyLoadingError):
        raise UnreachableError(f"{name} is loading its data: {text_of(error)}") from error
    if isinstance(error, exceptions.ResponseError):
        raise DeniedError(f"{name} refused the connection: {text_of(error)}") from error
    cause = error.__cause__ or error.__context__
    if isinstance(cause, ssl.SSLCertVerificationError):
        raise DeniedError(
            f"the certificate of {name} is not trusted: {cause.verify_message}; give its authority with --redis-ca-file"
        ) from error
    if isinstance(cause, ssl.SSLError) and not isinstance(cause, _PASSING_TLS_ERRORS):
        raise DeniedError(f"no TLS with {name}: {cause}{_TRY_PLAIN}") from error
    hint = "" if isinstance(cause, ConnectionRefusedError) else _TRY_PLAIN if settings.redis_url.tls else _TRY_TLS
    raise UnreachableError(f"cannot reach {name}: {text_of(error)}{hint}") from error
