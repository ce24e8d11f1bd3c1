"""Judges a request by its headers: first the token, then the lengths; only then does any code read the body."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from fastapi import Response, Security
from fastapi.security import APIKeyHeader
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from k6_sweep.api.brake import Brake
from k6_sweep.api.problems import problem
from k6_sweep.api.tokens import Tokens

MOST_BYTES: Final = 64 * 1024
"""The size limit of a request's body; a longer one gets status 413."""
LONGEST_HEADERS: Final = 32 * 1024
"""The size limit of a request's line and headers together; longer ones get status 431."""
TOO_LONG: Final = f"the headers are longer than {LONGEST_HEADERS} bytes"
TOKEN_HEADER: Final = "X-Admin-Token"  # noqa: S105  # the header's name, not a token
TOKEN: Final = Security(APIKeyHeader(name=TOKEN_HEADER, auto_error=False, description="The admin token."))
"""Declares in the OpenAPI document that a route needs the token; `Gate` checks it."""
QUIET: Final = frozenset({"/healthz", "/readyz", "/metrics"})
"""Paths that are called every few seconds, and have short answers."""
_MOST_READERS: Final = 16
"""Answers of other paths at a time, for clients that need no token: the pages of /docs have megabytes."""
_CLOSE: Final = {"Connection": "close"}
"""Headers of an answer that is sent before the body was read: the next bytes on the connection are no request."""


def fingerprint(token: bytes) -> str:
    """Return 8 hex digits that distinguish tokens in a log and do not reveal them."""
    return sha256(b"k6-sweep token " + token).hexdigest()[:8]


class Gate:
    """ASGI middleware that accepts or refuses a request by its headers, before any code reads the body.

    It is no FastAPI dependency, because FastAPI reads the body before it calls dependencies.
    """

    def __init__(self, app: ASGIApp, guarded: Sequence[BaseRoute], tokens: Tokens) -> None:
        self._app = app
        self._guarded = guarded
        self._tokens = tokens
        self._brake = Brake()
        self._reading = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        # The routes match the path: a comparison here would miss paths that FastAPI accepts, such as /cleanup%0a.
        route = next((each for each in self._guarded if each.matches(scope)[0] is Match.FULL), None)
        if route:
            scope["route"] = route  # the audit logs it
        if refusal := self._refusal(scope, guarded=route is not None):
            await refusal(scope, receive, send)
        elif route or scope["path"] in QUIET:
            await self._app(scope, _limited(scope, receive) if route else receive, send)
        elif self._reading >= _MOST_READERS:
            busy = problem(scope, 503, "too many clients read the documentation; retry", headers={"Retry-After": "5"})
            await busy(scope, receive, send)
        else:
            self._reading += 1
            try:
                await self._app(scope, receive, send)
            finally:
                self._reading -= 1

    def _refusal(self, scope: Scope, guarded: bool) -> Response | None:
        headers = Headers(scope=scope)
        if guarded and not self._has_token(scope, headers):
            # The connection stays open where it can, and the server drops the body: if it closed the connection, the
            # client might lose the answer.
            drops = _announced(headers) <= MOST_BYTES and not _is_ambiguous(headers)
            closes = {} if drops else _CLOSE
            client = scope.get("client")
            if TOKEN_HEADER in headers and not self._brake.passes(client[0] if client else ""):
                text = "too many requests with a wrong token came from this address; check the token"
                return problem(scope, 429, text, headers={"Retry-After": "1", **closes})
            return problem(
                scope, 403, f"the {TOKEN_HEADER} header is missing, or its token is not valid", headers=closes
            )
        # h11 has the same limit, but only for headers that come in several parts.
        if sum(len(name) + len(value) + 4 for name, value in headers.raw) > LONGEST_HEADERS:
            return problem(scope, 431, TOO_LONG, headers=_CLOSE)
        # RFC 9112, section 6.3: such a message may smuggle a second request past a proxy.
        if guarded and _is_ambiguous(headers):
            return problem(scope, 400, "both Content-Length and Transfer-Encoding are set; send one", headers=_CLOSE)
        return None

    def _has_token(self, scope: Scope, headers: Headers) -> bool:
        given = [each.encode("latin-1") for each in headers.getlist(TOKEN_HEADER)]
        state = scope["state"]
        state["audit"]["token"] = ",".join(fingerprint(each) for each in given[:2])
        # Of two tokens, a proxy may have checked the other one.
        if len(given) != 1 or not (token := self._tokens.find(given[0])):
            return False
        state["audit"]["token_name"] = token.name
        state["trusted"] = True
        if "trust" in state:  # the connection's
            state["trust"]()
        return True


def _announced(headers: Headers) -> int:
    """Return the length of the body as the client announces it; 0 if it does not."""
    return int(headers.get("content-length", 0))


def _is_ambiguous(headers: Headers) -> bool:
    return "content-length" in headers and "transfer-encoding" in headers


def _limited(scope: Scope, receive: Receive) -> Receive:
    """Return a `receive` that raises HTTPException: 413 if the body is too long, 400 if it ends too early."""
    too_long = HTTPException(413, f"the body is longer than {MOST_BYTES} bytes", _CLOSE)
    announced = _announced(Headers(scope=scope))
    read, whole = 0, False

    async def receive_no_more() -> Message:
        nonlocal read, whole
        if announced > MOST_BYTES:
            raise too_long
        message = await receive()
        if whole:
            return message  # the client disconnects while it waits for the answer
        if message["type"] == "http.disconnect":
            raise HTTPException(400, "the connection ended before the end of the body", _CLOSE)
        read += len(message.get("body", b""))
        if read > MOST_BYTES:
            raise too_long
        whole = not message.get("more_body")
        return message

    return receive_no_more
