"""Logs the requests: the caller, the route and the result. Those with the token all, of the others one a second."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from k6_sweep.api.gate import QUIET
from k6_sweep.api.throttle import Throttle
from k6_sweep.log import Log, LogEvent

_MOST: Final = 200
"""Characters of a method or a path that are logged: a client chooses both, and must not fill the log."""


class Audited:
    """ASGI middleware that logs each request. The routes add their own facts to `request.state.audit`."""

    def __init__(self, app: ASGIApp, log: Log, note: Callable[[str, str, int], None]) -> None:
        """Store the arguments; `note` is called with the method, route and status of each answer."""
        self._app = app
        self._log = log
        self._note = note
        self._throttle = Throttle()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, then log it."""
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
            # Prometheus keeps a time series for each value: the route and known methods only, not what a client sends.
            route = getattr(scope.get("route"), "path", "other")
            method = scope["method"] if scope["method"] in {"GET", "POST", "DELETE"} else "other"
            self._note(method, route, status)
            # Clients with the token are accountable for each request; others could fill the log; metrics count all.
            left_out = 0 if scope["state"].get("trusted") else self._throttle.passes((route, status))
            if left_out is not None:
                self._write(scope, status, facts | ({"left_out": left_out} if left_out else {}), route in QUIET)

    def _write(self, scope: Scope, status: int, facts: Mapping[str, Any], quiet: bool) -> None:
        client = scope.get("client")
        say = self._log.debug if quiet else self._log.info
        say(
            LogEvent.REQUEST,
            address=client[0] if client else None,
            method=scope["method"][:_MOST],
            path=scope["path"][:_MOST],
            code=status,
            **facts,
        )
