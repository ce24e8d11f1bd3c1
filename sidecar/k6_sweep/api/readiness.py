"""Checks whether Redis can be reached; frequent calls cost Redis little."""

import asyncio
import time
from typing import Final

from k6_sweep.cluster.link import Connect, Link
from k6_sweep.cluster.sentinel import seeds
from k6_sweep.cluster.topology import hello
from k6_sweep.errors import RedisError
from k6_sweep.settings.all import Settings

_FRESH: Final = 2.0
"""Seconds for which an answer is reused."""
_MOST_WAITING: Final = 100
"""Requests that wait for one answer; each holds its headers, also when its client has gone."""


class Readiness:
    """Keeps one connection, and checks it with a command that needs no permission and no cluster topology."""

    def __init__(self, settings: Settings, connect: Connect) -> None:
        self._url = settings.redis_url
        self._connect = connect
        self._link: Link | None = None
        self._problem: str | None = None
        self._asked = float("-inf")
        self._one_at_a_time = asyncio.Lock()
        self._waiting = 0

    async def problem(self) -> str | None:
        """Return why Redis cannot be used; None if it can."""
        if self._waiting >= _MOST_WAITING:
            return "Redis has not answered yet"
        self._waiting += 1
        try:
            async with self._one_at_a_time:
                if time.monotonic() > self._asked + _FRESH:
                    self._problem = await asyncio.to_thread(self._ask)
                    self._asked = time.monotonic()
                return self._problem
        finally:
            self._waiting -= 1

    def _ask(self) -> str | None:
        kept, self._link = self._link, None
        # The server may have closed the kept link, for example after its `timeout`: only a new one shows a problem.
        for link in (kept, None):
            try:
                fresh = link or self._connect(next(seeds(self._url, self._connect)))
                hello(fresh)
            except RedisError as error:
                problem = str(error)
            else:
                self._link = fresh
                return None
        return problem
