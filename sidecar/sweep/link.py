"""One connection to one Redis server: login, TLS, pipelines, and its errors in our words."""

import ssl
from collections.abc import Callable, Sequence
from typing import Any, Final, NoReturn, Protocol

import hiredis
from redis import exceptions
from redis.connection import Connection, SSLConnection, UnixDomainSocketConnection

from sidecar.errors import DeniedError, SettingsError, UnreachableError
from sidecar.redis_url import RedisUrl
from sidecar.settings import Settings
from sidecar.sweep.replies import text_of

CONNECT_TIMEOUT: Final = 5.0
_TRY_TLS: Final = " (if it speaks TLS only, begin --redis-url with rediss://)"
REPLY_TIMEOUT: Final = 5.0
"""A server that is silent for so many seconds is taken for lost; the sweep asks again within its deadline."""

pack: Callable[[tuple[bytes | str | int, ...]], bytes] = hiredis.pack_command  # type: ignore[assignment]  # its stub names a pair
"""Packs one command, word by word, into the bytes that go over the wire."""


class Connect(Protocol):
    """Opens links; the real one is `Connector`."""

    def __call__(self, host: str, port: int) -> "Link":
        """Open a link to one server."""
        ...


class Link:
    """A logged-in connection to one server.

    Its methods raise `UnreachableError` when the connection breaks (the link is then of no use), and `DeniedError` when
    the server refuses for good.
    """

    def __init__(self, connection: Connection, name: str, hint: str = "") -> None:
        self._connection = connection
        self.name = name
        self._hint = hint
        """What to try if the server hangs up before its first reply."""

    def close(self) -> None:
        """End the connection."""
        self._connection.disconnect()

    def ask(self, *command: bytes | str | int) -> Any:  # noqa: ANN401  # a reply has any shape
        """Send one command and return its reply, bytes undecoded.

        Raises:
            redis.exceptions.ResponseError: The server's own error.
        """
        (reply,) = self.pipeline([pack(command)])
        if isinstance(reply, exceptions.ResponseError):
            raise reply
        return reply

    def pipeline(self, commands: Sequence[bytes]) -> list[Any]:
        """Send packed commands in one write; return a reply for each, an error reply as the exception itself."""
        connection = self._connection
        replies: list[Any] = []
        try:
            connection.send_packed_command([b"".join(commands)], check_health=False)
            read = connection.read_response
            for _ in commands:
                try:
                    replies.append(read(disable_decoding=True))
                except exceptions.ResponseError as error:
                    replies.append(error)
        except (exceptions.AuthenticationError, exceptions.AuthorizationError) as error:
            raise DeniedError(
                f"{self.name} wants a login: {text_of(error)}; check the user and the password"
            ) from error
        except (exceptions.ConnectionError, exceptions.TimeoutError, OSError) as error:
            raise UnreachableError(f"lost the connection to {self.name}: {text_of(error)}{self._hint}") from error
        self._hint = ""
        return replies


class Connector:
    """Opens links as the settings say."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @property
    def seed(self) -> RedisUrl:
        """The address that the user gave."""
        return self._settings.redis_url

    def open_seed(self) -> Link:
        """Open a link to the address that the user gave."""
        return self(self.seed.host, self.seed.port)

    def __call__(self, host: str, port: int) -> Link:
        """Open a link to one server and log in.

        Raises:
            UnreachableError: Nobody answers there.
            DeniedError: Login or TLS failed.
            SettingsError: The password file or a certificate cannot be read.
        """
        settings = self._settings
        name = str(RedisUrl(host=host, port=port, socket_path=self.seed.socket_path))
        options: dict[str, Any] = {
            "db": self.seed.database,
            "username": settings.username,
            "password": _password(settings),
            "socket_connect_timeout": CONNECT_TIMEOUT,
            "socket_timeout": REPLY_TIMEOUT,
            "protocol": 2,  # the newer one begins with a HELLO that the least privileged user may not send
            "driver_info": None,  # no CLIENT SETINFO: managed Redis may forbid it
        }
        if options["username"] and not options["password"]:
            options["password"] = ""
        connection: Connection
        if self.seed.socket_path is not None:
            connection = UnixDomainSocketConnection(path=self.seed.socket_path, **options)  # type: ignore[abstract,assignment]  # the same interface
        elif self.seed.tls:
            connection = SSLConnection(host=host, port=port, **options, **_tls(settings))
        else:
            connection = Connection(host=host, port=port, **options)
        try:
            connection.connect()
        except (exceptions.RedisError, OSError) as error:
            _refuse(error, name, settings)
        return Link(connection, name, hint="" if self.seed.tls else _TRY_TLS)


def _password(settings: Settings) -> str | None:
    secret = settings.redis_password or settings.redis_url.password
    if settings.redis_password_file is None:
        return secret.reveal() if secret else None
    try:
        return settings.redis_password_file.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError([f"--redis-password-file cannot be read: {error}"]) from error


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
    if isinstance(cause, ssl.SSLError) or "handshake" in str(cause):  # a plain server may just never answer one
        raise DeniedError(
            f"no TLS with {name}: {cause}; if it doesn't speak TLS, begin --redis-url with redis://"
        ) from error
    hint = "" if settings.redis_url.tls else _TRY_TLS
    raise UnreachableError(f"cannot reach {name}: {text_of(error)}{hint}") from error
