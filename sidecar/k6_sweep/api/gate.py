"""Lets in who has the token, and no more of a body than is wanted."""

import hmac
from hashlib import sha256
from typing import Annotated, Final

from fastapi import HTTPException, Request, Security
from fastapi.security import APIKeyHeader
from starlette.requests import ClientDisconnect

from k6_sweep.api.wire import MOST_BYTES
from k6_sweep.log import Log
from k6_sweep.settings.all import Settings

TOKEN_HEADER: Final = "X-Admin-Token"  # noqa: S105  # its name
_SCHEME: Final = APIKeyHeader(name=TOKEN_HEADER, auto_error=False, description="The admin token.")
_CLOSE: Final = {"Connection": "close"}
"""Goes with an answer that comes before the body was read: what follows on the connection is no request."""


def fingerprint(token: bytes) -> str:
    """Return what tells tokens apart in a log, and doesn't lead back to them."""
    return sha256(b"k6-sweep token " + token).hexdigest()[:8]


def same_token(given: bytes, expected: bytes) -> bool:
    """Compare in a time that depends on neither: digests have one length."""
    return hmac.compare_digest(sha256(given).digest(), sha256(expected).digest())


class Gate:
    """Turns away who has no valid token, before anything else of the request is looked at."""

    def __init__(self, settings: Settings, log: Log) -> None:
        self._settings = settings
        self._log = log

    async def __call__(self, request: Request, _: Annotated[str | None, Security(_SCHEME)]) -> None:
        """Let the request pass, or refuse it.

        Raises:
            HTTPException: 403; 400 where it could be read in two ways.
        """
        if {"content-length", "transfer-encoding"} <= set(request.headers.keys()):
            raise HTTPException(400, "both Content-Length and Transfer-Encoding; send one", _CLOSE)
        given = [each.encode("latin-1") for each in request.headers.getlist(TOKEN_HEADER)]
        request.state.audit["token"] = ",".join(fingerprint(each) for each in given[:2])
        if len(given) != 1 or not self._is_valid(given[0]):
            # A body that is left unread resets the connection, perhaps before the client has the answer.
            try:
                headers = None if await _read(request) is not None else _CLOSE
            except ClientDisconnect:
                headers = _CLOSE
            raise HTTPException(403, f"a valid {TOKEN_HEADER} is needed", headers)

    def _is_valid(self, given: bytes) -> bool:
        try:
            expected = self._settings.current_admin_token()
        except OSError as error:
            self._log.error("the admin token cannot be read, so nobody is let in", problem=str(error))
            return False
        return same_token(given, expected) and bool(expected)


async def read_body(request: Request) -> bytes:
    """Return the body.

    Raises:
        HTTPException: 413 where it is too long, 400 where the client left.
    """
    try:
        body = await _read(request)
    except ClientDisconnect:
        raise HTTPException(400, "the body did not come to its end", _CLOSE) from None
    if body is None:
        raise HTTPException(413, f"the body may have {MOST_BYTES} bytes at the most", _CLOSE)
    return body


async def _read(request: Request) -> bytes | None:
    """Return the body; None where it is too long.

    Raises:
        ClientDisconnect: It did not come to its end.
    """
    if int(request.headers.get("content-length", 0)) > MOST_BYTES:
        return None
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BYTES:
            return None
    return bytes(body)
