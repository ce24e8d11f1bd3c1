"""Follows the objects that a selector picks, in a thread: a list, a watch for a while, and the list again."""

import queue
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Self

from k6_sweep.kube.account import Account
from k6_sweep.kube.api import WATCH_SECONDS, ApiError, ApiServer, ForbiddenError, MistakenError
from k6_sweep.kube.roles import Resource

_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 4.0
_BELIEVED_REFUSALS: Final = 3
"""A permission may come a moment after the pod, and an API server that has just started may not know it yet."""
_LONGEST_OBEYED: Final = 10.0
"""A server may ask for this much patience."""


@dataclass(frozen=True)
class Listed:
    """All objects of a resource, as they were after a moment."""

    resource: Resource
    objects: tuple[Any, ...]
    asked: float
    """When they were asked for, by time.monotonic."""


@dataclass(frozen=True)
class Changed:
    """One object, as it is after a change."""

    resource: Resource
    object: Any
    deleted: bool


@dataclass(frozen=True)
class NoNews:
    """Why there is no news."""

    resource: Resource
    why: str
    lasting: bool
    """Whether it has never worked and will not by itself: a missing permission, or no such resource."""


@dataclass(frozen=True)
class Broken:
    """A thread has met what it was not made for."""

    error: Exception


News = Listed | Changed | NoNews


class Mailbox:
    """What threads have to tell; each piece of news wakes the thread that waits for it.

    As a context it is closed at the end, which ends the threads that tell.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self.closed = False
        self._news: queue.SimpleQueue[News | Broken] = queue.SimpleQueue()
        self._wake = wake

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.closed = True

    def put(self, news: News | Broken) -> None:
        """Leave news, from any thread."""
        self._news.put(news)
        self._wake()

    def take(self) -> Iterator[News]:
        """Yield what has come.

        Raises:
            Exception: What a thread was ended by; it must not end unnoticed.
        """
        while True:
            try:
                news = self._news.get_nowait()
            except queue.Empty:
                return
            if isinstance(news, Broken):
                raise news.error
            yield news


class Follower:
    """Tells of the objects that a selector picks, until the mailbox is closed.

    A watch can go silent: a dead connection looks like peace. So none lasts longer than WATCH_SECONDS, by the server's
    clock and by ours, and the truth is listed anew after each; a watch that ends early costs one list, whatever the
    reason (410 Gone is one of them). For that bookmarks are not needed: no watch is ever resumed.
    """

    def __init__(
        self, account: Account, namespace: str, resource: Resource, selector: Mapping[str, str], mailbox: Mailbox
    ) -> None:
        self._account = account
        self._namespace = namespace
        self.resource = resource
        self._selector = selector
        self._mailbox = mailbox
        self._refusals: int | None = 0
        """How often in a row it was refused; None once it has worked."""

    def start(self) -> None:
        """Begin, in a thread."""
        threading.Thread(target=self._run, name=f"follow-{self.resource.plural}", daemon=True).start()

    def look(self) -> None:
        """List once, at once, in a thread of its own; in vain if it cannot be done now."""
        threading.Thread(target=self._look, name=f"look-{self.resource.plural}", daemon=True).start()

    def _run(self) -> None:
        try:
            api, pause = ApiServer(self._account, self._namespace), _FIRST_PAUSE
            while not self._mailbox.closed:
                began = time.monotonic()
                pause = self._cycle(api, pause)
                # A server that ends every watch at once is asked no more often than one that fails.
                time.sleep(max(0.0, pause * random.uniform(1.0, 1.3) - (time.monotonic() - began)))  # noqa: S311  # spreads load
        except Exception as error:  # noqa: BLE001  # handed on: the thread that waits for news raises it
            self._mailbox.put(Broken(error))

    def _cycle(self, api: ApiServer, pause: float) -> float:
        """List and watch once; return the least time to the next, which grows while it fails."""
        try:
            self._follow(api, self._list(api))
        except ApiError as error:
            refused = isinstance(error, ForbiddenError | MistakenError)
            if self._refusals is not None:
                self._refusals = self._refusals + 1 if refused else 0
            lasting = self._refusals is not None and self._refusals >= _BELIEVED_REFUSALS
            self._mailbox.put(NoNews(self.resource, str(error), lasting))
            return max(min(error.retry_after, _LONGEST_OBEYED), min(2 * pause, _LONGEST_PAUSE))
        self._refusals = None
        return _FIRST_PAUSE

    def _list(self, api: ApiServer) -> str:
        asked = time.monotonic()
        objects, version = api.list(self.resource, self._selector)
        self._mailbox.put(Listed(self.resource, tuple(objects), asked))
        return version

    def _follow(self, api: ApiServer, version: str) -> None:
        until = time.monotonic() + WATCH_SECONDS
        for kind, thing in api.watch(self.resource, self._selector, version):
            self._refusals = None
            if kind in {"ADDED", "MODIFIED", "DELETED"}:
                self._mailbox.put(Changed(self.resource, thing, kind == "DELETED"))
            if time.monotonic() > until:
                return

    def _look(self) -> None:
        with suppress(ApiError):  # the regular list comes anyway
            self._list(ApiServer(self._account, self._namespace))
