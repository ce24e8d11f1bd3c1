"""Follows the objects that match a selector, in a thread: it lists, watches for a limited time, and lists again."""

import queue
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Self

from k6_sweep.kube.api import WATCH_SECONDS, ApiError, ApiServer, ForbiddenError, MistakenError
from k6_sweep.kube.roles import Resource

_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 4.0
_BELIEVED_REFUSALS: Final = 3
"""A permission may be granted shortly after the pod starts, and a new API server may not know it yet."""
_LONGEST_OBEYED: Final = 10.0
"""The maximum number of seconds that k6-sweep waits because a server asks for it."""


@dataclass(frozen=True)
class Listed:
    """All objects of a resource, at some time after `asked`."""

    resource: Resource
    objects: tuple[Any, ...]
    asked: float
    """When the list was requested, by time.monotonic."""


@dataclass(frozen=True)
class Changed:
    """One object after a change."""

    resource: Resource
    object: Any
    deleted: bool


@dataclass(frozen=True)
class NoNews:
    """Why there is no news."""

    resource: Resource
    why: str
    lasting: bool
    """Whether it never worked and cannot recover by itself: a missing permission, or an unknown resource."""


@dataclass(frozen=True)
class Broken:
    """An unexpected error that ended a thread."""

    error: Exception


News = Listed | Changed | NoNews


class Mailbox:
    """Passes news from threads to the thread that waits for it; each piece of news wakes that thread.

    The end of the `with` block closes the mailbox, and then the sending threads end.
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
        """Add news, from any thread."""
        self._news.put(news)
        self._wake()

    def take(self) -> Iterator[News]:
        """Yield the news that has arrived.

        Raises:
            Exception: The error that ended a thread, so that its end does not go unnoticed.
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
    """Reports the objects that match a selector, until the mailbox is closed.

    A watch can go silent: a dead connection looks the same as no changes. So no watch runs longer than WATCH_SECONDS,
    by the server's clock and by k6-sweep's, and a new list follows each one. A watch that ends early costs one list,
    for any reason (such as 410 Gone). Bookmarks are not needed, because no watch is ever resumed.
    """

    def __init__(self, api: ApiServer, resource: Resource, selector: Mapping[str, str], mailbox: Mailbox) -> None:
        self._api = api
        self.resource = resource
        self._selector = selector
        self._mailbox = mailbox
        self._refusals: int | None = 0
        """How often in a row the server refused; None after the first success."""

    def start(self) -> None:
        """Start the thread that follows the objects."""
        # A daemon: a request may hang until its time limit, and k6-sweep's exit must not wait for that.
        threading.Thread(target=self._run, name=f"follow-{self.resource.plural}", daemon=True).start()

    def look(self) -> None:
        """List once, immediately, in a separate thread; if the list fails, nothing is reported."""
        # The follower's own thread is in the middle of a watch.
        threading.Thread(target=self._look, name=f"look-{self.resource.plural}", daemon=True).start()

    def _run(self) -> None:
        try:
            pause = _FIRST_PAUSE
            while not self._mailbox.closed:
                began = time.monotonic()
                pause = self._cycle(pause)
                # A server that ends every watch immediately gets no more requests than a server that fails.
                time.sleep(max(0.0, pause * random.uniform(1.0, 1.3) - (time.monotonic() - began)))  # noqa: S311  # spreads load
        except Exception as error:  # noqa: BLE001  # the thread that waits for news raises it
            self._mailbox.put(Broken(error))

    def _cycle(self, pause: float) -> float:
        """List and watch once; return the minimum seconds until the next cycle, which grow while it fails."""
        try:
            self._follow(self._list())
        except ApiError as error:
            refused = isinstance(error, ForbiddenError | MistakenError)
            # A permission that is lost during a test may come back: only refusals before the first success are final.
            if self._refusals is not None:
                self._refusals = self._refusals + 1 if refused else 0
            lasting = self._refusals is not None and self._refusals >= _BELIEVED_REFUSALS
            self._mailbox.put(NoNews(self.resource, str(error), lasting))
            return max(min(error.retry_after, _LONGEST_OBEYED), min(2 * pause, _LONGEST_PAUSE))
        self._refusals = None
        return _FIRST_PAUSE

    def _list(self) -> str:
        asked = time.monotonic()
        objects, version = self._api.list(self.resource, self._selector)
        self._mailbox.put(Listed(self.resource, tuple(objects), asked))
        return version

    def _follow(self, version: str) -> None:
        until = time.monotonic() + WATCH_SECONDS
        for kind, thing in self._api.watch(self.resource, self._selector, version):
            self._refusals = None
            if kind in {"ADDED", "MODIFIED", "DELETED"}:
                self._mailbox.put(Changed(self.resource, thing, kind == "DELETED"))
            # The read timeout ends no watch whose server ignores timeoutSeconds and keeps sending.
            if time.monotonic() > until:
                return

    def _look(self) -> None:
        with suppress(ApiError):  # the next regular list follows anyway
            self._list()
