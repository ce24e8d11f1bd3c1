"""Explains why no link to a server could be opened: what happened, and which setting may help."""

import ssl
from collections.abc import Callable
from socket import gaierror
from typing import Final, NoReturn

from redis import exceptions

from k6_sweep.cluster.replies import ReplyKind, judge, text_of
from k6_sweep.errors import DeniedError, UnreachableError
from k6_sweep.settings.redis import RedisSettings

TRY_TLS: Final = " (if the server accepts only TLS, start --redis-url with rediss://)"
_TRY_PLAIN: Final = " (if the server has no TLS, start --redis-url with redis://)"
_PASSING_TLS_ERRORS: Final = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)
"""The errors of a server that is starting or stopping; other TLS errors are final, because a retry changes nothing."""

_WRONG_NAME: Final = (62, 64)
"""OpenSSL's codes of a certificate for another host name or IP address.

Source: https://docs.openssl.org/3.0/man3/X509_STORE_CTX_get_error/
"""
_MOST_NAMES: Final = 5


def _advice(error: ssl.SSLCertVerificationError, settings: RedisSettings, names_of: Callable[[], list[str]]) -> str:
    """Return what to do about a certificate that was refused."""
    if error.verify_code in _WRONG_NAME:
        names = names_of()
        listed = ", ".join(names[:_MOST_NAMES]) + (" and others" if len(names) > _MOST_NAMES else "")
        has = f"it names {listed}; " if names else ""
        if settings.redis_tls_server_name:
            return has + "correct it in --redis-tls-server-name"
        return has + "use an address that it names, or set --redis-tls-server-name to the name that it must have"
    if settings.redis_ca_file:
        return "check that --redis-ca-file has the authority that signed it, and that both are valid today"
    return "set --redis-ca-file to its CA"


def refuse(error: Exception, name: str, settings: RedisSettings, names_of: Callable[[], list[str]]) -> NoReturn:
    """Raise the error that explains a failed connect; `names_of` asks for the names in the server's certificate."""
    if isinstance(error, exceptions.AuthenticationError):
        raise DeniedError(
            f"cannot log in to {name} as {settings.shown_username}: {text_of(error)}; "
            "check SWEEP_REDIS_PASSWORD_FILE or SWEEP_REDIS_PASSWORD"
        ) from error
    if isinstance(error, exceptions.BusyLoadingError):
        raise UnreachableError(f"{name} is loading its data: {text_of(error)}") from error
    if isinstance(error, exceptions.ResponseError):
        # SELECT, after the login: a script may keep the server busy.
        if (reply := judge(error)) and reply.kind is ReplyKind.LATER:
            raise UnreachableError(f"{name} does not accept connections now: {reply.text}") from error
        raise DeniedError(f"{name} refused the connection: {text_of(error)}") from error
    cause = error.__cause__ or error.__context__
    if isinstance(cause, ssl.SSLCertVerificationError):
        fault = cause.verify_message.rstrip(".")
        raise DeniedError(
            f"the certificate of {name} is not trusted: {fault}; {_advice(cause, settings, names_of)}"
        ) from error
    if isinstance(cause, ssl.SSLError) and not isinstance(cause, _PASSING_TLS_ERRORS):
        raise DeniedError(f"the TLS handshake with {name} failed: {cause}{_TRY_PLAIN}") from error
    if isinstance(error, exceptions.InvalidResponse) or type(error) is ValueError:
        raise DeniedError(f"not supported: {name} does not answer a login as Redis does: {text_of(error)}") from error
    # Without a name or a connection, no server was reached, so TLS is not the cause.
    unreached = isinstance(error, gaierror) or isinstance(cause, ConnectionRefusedError)
    hint = "" if unreached else _TRY_PLAIN if settings.redis_url.tls else TRY_TLS
    raise UnreachableError(f"cannot reach {name}: {text_of(error)}{hint}") from error
