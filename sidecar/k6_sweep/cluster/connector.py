"""Opens links to Redis servers with the address, login and TLS of the settings."""

import contextlib
import ssl
from collections.abc import Callable, Mapping
from concurrent.futures import wait
from socket import SOCK_STREAM, gaierror, getaddrinfo, socket
from typing import Any, Final

from redis import exceptions
from redis.connection import Connection, SSLConnection, UnixDomainSocketConnection

from k6_sweep.cluster.link import Link, PipelinedConnection
from k6_sweep.cluster.on_thread import on_thread
from k6_sweep.cluster.refusal import TRY_TLS, refuse
from k6_sweep.cluster.replies import text_of
from k6_sweep.errors import UnreachableError
from k6_sweep.files.regular import read_regular
from k6_sweep.settings.all import Settings
from k6_sweep.settings.values import Address

_PATIENCE: Final = 5.0
"""A server that is silent for this number of seconds counts as lost; the sweep retries within its deadline."""
_LEAST_PATIENCE: Final = 0.2
"""Seconds, even after the deadline: Python takes a socket timeout of 0 as "do not block", and refuses negative ones."""
_NAMES: Final = ("DNS", "IP Address")
"""The kinds of names in a certificate that name servers."""


class _Tcp(PipelinedConnection, Connection):
    pass


class _Tls(PipelinedConnection, SSLConnection):
    def __init__(self, server_name: str | None, **options: Any) -> None:
        super().__init__(**options)
        self._server_name = server_name

    def _wrap_socket_with_ssl(self, sock: socket) -> ssl.SSLSocket:
        # redis-py asks for a certificate of the address.
        address, self.host = self.host, self._server_name or self.host
        try:
            wrapped: ssl.SSLSocket = super()._wrap_socket_with_ssl(sock)
        finally:
            self.host = address
        return wrapped

    def names(self) -> list[str]:
        """Return the names in the server's certificate, without a login; its authority is checked.

        Raises:
            OSError: The server cannot be reached, or the certificate is not trusted.
        """
        with self._connect() as sock:
            return [name for kind, name in sock.getpeercert().get("subjectAltName", ()) if kind in _NAMES]


class _UnixSocket(PipelinedConnection, UnixDomainSocketConnection):
    host = property(lambda self: self.path)  # redis-py puts the host into its error messages


def open_plain(address: Address, timeout: float) -> Link:
    """Open a link without login or TLS, for a server that k6-sweep started itself."""
    connection = _Tcp(host=address.host, port=address.port, protocol=2, driver_info=None, socket_timeout=timeout)
    return Link(connection, str(address))


class Connector:
    """Opens links with the login and TLS of the settings, and waits no longer than the remaining time."""

    def __init__(self, settings: Settings, remaining: Callable[[], float] = lambda: _PATIENCE) -> None:
        self._settings = settings
        self._remaining = remaining
        self._has_logged_in = False

    def __call__(self, address: Address) -> Link:
        """Open a link to one server and log in; an empty host means the Unix socket.

        Raises:
            UnreachableError: The server does not answer, or the password is being rotated.
            DeniedError: Login or TLS failed.
        """
        settings, url = self._settings, self._settings.redis_url
        name = str(address if address.host else url)
        login = {"username": settings.username, "password": self._password()}
        sentinel = address in url.sentinels
        try:
            try:
                # A Sentinel has no databases and refuses SELECT.
                connection = self._connected(address, login | ({} if sentinel else {"db": url.database}))
            except exceptions.AuthenticationError:
                if not sentinel:
                    raise
                connection = self._connected(address, {})  # many Sentinels have no users configured
        except (exceptions.RedisError, OSError, ValueError) as error:  # a ValueError of a MOVED without its address
            if self._may_log_in_later(error):
                raise UnreachableError(
                    f"cannot log in to {name} any more: {text_of(error)}; k6-sweep reads the password again"
                ) from error
            refuse(error, name, settings, lambda: self._names_of(address))
        self._has_logged_in = True
        return Link(connection, name, hint="" if url.tls else TRY_TLS)

    def _connected(self, address: Address, options: Mapping[str, Any]) -> PipelinedConnection:
        url = self._settings.redis_url
        all_options: dict[str, Any] = {
            **options,
            **self._timeouts(),
            "protocol": 2,  # with protocol 3, redis-py sends a HELLO first
            "driver_info": None,  # no CLIENT SETINFO: managed Redis may forbid it
        }
        connection: PipelinedConnection
        if not address.host and url.socket_path is not None:
            connection = _UnixSocket(path=url.socket_path, **all_options)
        elif url.tls:
            connection = self._tls(address, all_options)
        else:
            connection = _Tcp(host=address.host, port=address.port, **all_options)
        if address.host:
            self._look_up(address)
        connection.connect()
        return connection

    def _look_up(self, address: Address) -> None:
        """Wait until the host's name is resolved: redis-py looks it up, too, but that has no timeout.

        Raises:
            socket.gaierror: The name does not exist, or the name server does not answer.
        """
        looking_up = on_thread(lambda: getaddrinfo(address.host, address.port, type=SOCK_STREAM))
        if not wait([looking_up], self._timeouts()["socket_timeout"]).done:
            raise gaierror(f"the name server does not answer the question for {address.host}")
        looking_up.result()

    def _may_log_in_later(self, error: Exception) -> bool:
        """Whether a login that is refused now may succeed later: the password is being rotated."""
        rotates = self._settings.redis_password_file is not None or self._settings.redis_iam is not None
        return isinstance(error, exceptions.AuthenticationError) and rotates and self._has_logged_in

    def _timeouts(self) -> dict[str, float]:
        timeout = min(_PATIENCE, max(_LEAST_PATIENCE, self._remaining()))
        return {"socket_connect_timeout": timeout, "socket_timeout": timeout}

    def _tls(self, address: Address, options: Mapping[str, Any], *, any_name: bool = False) -> _Tls:
        settings = self._settings
        connection = _Tls(
            settings.redis_tls_server_name, host=address.host, port=address.port, **options, **_tls(settings)
        )
        connection.check_hostname = connection.check_hostname and not any_name
        return connection

    def _names_of(self, address: Address) -> list[str]:
        """Return the names in the certificate of a server; none if they cannot be read."""
        with contextlib.suppress(exceptions.RedisError, OSError):
            return self._tls(address, self._timeouts(), any_name=True).names()
        return []

    def _password(self) -> str | None:
        """Return the current password; an empty one if only a user is set, because that user needs none."""
        settings = self._settings
        if settings.redis_iam is not None:
            from k6_sweep.cluster.iam import token  # loads botocore

            return token(settings.redis_iam, settings.username or "")
        # At each login: the password may be rotated while a test runs.
        if settings.redis_password_file is not None:
            try:
                # Only the line end, which editors add: a password may end with a space.
                return read_regular(settings.redis_password_file).decode().rstrip("\r\n")
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
        # From Python 3.13, the default context refuses authorities without key identifiers or key usage, such as those
        # of Redis's own script. The user has chosen this authority; chain, dates and names are checked in any case.
        # Source: https://docs.python.org/3/library/ssl.html#ssl.create_default_context
        "ssl_exclude_verify_flags": [ssl.VERIFY_X509_STRICT] if settings.redis_ca_file else None,
    }
