"""Tells each request in a line: who asked, for what, and what came of it."""

from collections.abc import Callable
from typing import Any, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from k6_sweep.log import Log

_QUIET: Final = frozenset({"/healthz", "/readyz", "/metrics"})
"""Asked every few seconds; told at level debug only."""
_MOST: Final = 200
"""Characters of a path that are told."""


class Audited:
    """An ASGI application whose requests are told. The routes put facts of their own into `request.state.audit`."""

    def __init__(self, app: ASGIApp, log: Log, note: Callable[[str, str, int], None]) -> None:
        """Prepare; `note` is called with method, route and status of each answer."""
        self._app = app
        self._log = log
        self._note = note

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        facts: dict[str, Any] = {}
        scope.setdefault("state", {})["audit"] = facts
        status = 500

        async def send_on(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self._app(scope, receive, send_on)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            method = scope["method"] if scope["method"] in {"GET", "POST", "DELETE"} else "other"
            self._note(method, route, status)
            say = self._log.debug if route in _QUIET else self._log.info
            client = scope.get("client")
            say(
                "request",
                address=client[0] if client else None,
                method=scope["method"][:_MOST],
                path=scope["path"][:_MOST],
                code=status,
                **facts,
            )
