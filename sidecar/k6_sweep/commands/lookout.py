"""Looks for running tests before a sweep and during it, and removes from the register what the sweep has settled."""

import itertools
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from hashlib import blake2b
from typing import Final

from k6_sweep.cluster.connector import Connector
from k6_sweep.cluster.register import UNREADABLE, Register
from k6_sweep.cluster.topology import Topology
from k6_sweep.coordination import Entry, owed, running, settled
from k6_sweep.errors import DeniedError, RedisError, RefusedError, UnreachableError
from k6_sweep.kube.own_pod import OwnPod
from k6_sweep.log import Log, LogEvent
from k6_sweep.report import Report
from k6_sweep.settings.all import Settings
from k6_sweep.status import Status
from k6_sweep.sweep.time_limit import End

_PATIENCE: Final = 2.0
"""Seconds that Redis may take for each step."""
_TRIES: Final = 10
"""How often k6-sweep tries to read the register before a sweep that may begin without it."""
_RETRY: Final = 0.5
"""Seconds between two of them."""
_EVERY: Final = 2.0
"""Seconds between two looks during a sweep: a test that begins then loses at most the keys of these seconds."""


def register_of(settings: Settings) -> Register:
    """Return the register in the Redis of these settings."""
    connect = Connector(settings, lambda: _PATIENCE)
    return Register(settings.redis_url, settings.pattern, connect, whole=settings.coordinate == "require")


def who(pod: OwnPod) -> str:
    """Return the name of this run for people: its pod, or its host."""
    return "/".join(filter(None, (pod.namespace, pod.name))) or socket.gethostname()


def entry_of(settings: Settings, pod: OwnPod, run: str, since: float) -> Entry:
    """Return the entry of this run; a watcher that is restarted in the same pod has the same id."""
    watched = (pod.uid, settings.k6_containers, settings.k6_process, settings.target, *settings.pattern)
    return Entry(
        run=blake2b(repr(watched).encode(), digest_size=8).hexdigest() if pod.uid else run,
        who=who(pod),
        since=since,
        patterns=settings.pattern,
        keep=settings.keep,
        sweeps=not settings.dry_run and settings.preserve_existing is None and settings.when == "always",
    )


def owed_sentence(entry: Entry) -> str:
    """Return what to do about an owed sweep."""
    if entry.who == UNREADABLE:
        return f"{UNREADABLE} does not expire; if no newer k6-sweep uses this Redis, remove it with ZREM"
    patterns = ", ".join(pattern.text for pattern in entry.patterns)
    return (
        f"the sweep of {entry} is owed, and its keys may remain; when no test runs, run `k6-sweep run` with its "
        f"patterns: {patterns}"
    )


def with_owed(report: Report, left: Sequence[Entry]) -> Report:
    """Return the report with these owed sweeps."""
    return replace(report, warnings=(*report.warnings, *map(owed_sentence, left)), owed=len(left))


def lookout_of(settings: Settings, pod: OwnPod, run: str, log: Log) -> "Lookout | None":
    """Return the lookout of a sweep that a person or a program asks for; None if nothing is deleted, or it is off."""
    if settings.dry_run or settings.coordinate == "off":
        return None
    return Lookout(settings, replace(entry_of(settings, pod, run, time.time()), run=run), log)


class Lookout:
    """Keeps a sweep from deleting keys of tests that are running."""

    def __init__(
        self,
        settings: Settings,
        mine: Entry,
        log: Log,
        register: Register | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Prepare; `mine` describes this run as an entry of the register."""
        self._sleep = sleep
        self._settings = settings
        self._log = log
        self._register = register or register_of(settings)
        self._said = False
        self._next_look = 0.0
        self.mine = mine
        self.seen: Sequence[Entry] = ()
        """The entries of the register before the sweep."""
        self.overtaken: Entry | None = None
        """The test that began during the sweep."""

    def peek(self) -> list[Entry]:
        """Return the running tests that a sweep would disturb, if the register can be read now."""
        if self._settings.even_during_tests:
            return []
        with suppress(RedisError):
            return self._others(self._register.read())
        return []

    def may_begin(self, topology: Topology | None = None, remaining: Callable[[], float] = lambda: 0.0) -> None:
        """Return if the sweep may begin; while the register does not answer, try again as long as time remains.

        Raises:
            RefusedError: A test is running that the sweep would disturb; or the register cannot be used, and it must.
            UnreachableError: The register does not answer, and it must.
        """
        self.overtaken = None
        self.seen = self._entries(topology, remaining)
        self._judge()
        self._next_look = time.monotonic() + _EVERY

    def tick(self) -> None:
        """Look every few seconds of the sweep for a test that has begun."""
        if time.monotonic() < self._next_look or self._settings.even_during_tests:
            return
        with suppress(RedisError):  # the sweep itself reports such problems
            self.overtaken = next(iter(self._others(self._register.read())), None)
        self._next_look = time.monotonic() + _EVERY

    def ends(self) -> Iterator[End]:
        """Yield the moment when a test overtook the sweep, if one did."""
        if self.overtaken:
            at = self._next_look - _EVERY
            yield End(at, f"stopped, because the test of {self.overtaken} began during the sweep; keys may remain")

    def settle(self, report: Report) -> Report:
        """Remove from the register what a complete sweep has settled; return the report, with what is owed."""
        paid: list[Entry] = []
        if report.status is Status.COMPLETE:
            sweeper = replace(self.mine, sweeps=self._settings.preserve_existing is None)
            paid = list(settled(sweeper, self.seen))
            if paid:
                self._change(lambda: self._register.remove(paid))
        left = [each for each in owed(self.seen, self.mine.patterns) if each not in paid and each.run != self.mine.run]
        return with_owed(report, left)

    def _look(self, topology: Topology | None) -> list[Entry]:
        return self._register.read(topology)

    def _judge(self) -> None:
        others = self._others(self.seen)
        if others and not self._settings.even_during_tests:
            raise RefusedError(
                f"the test of {others[0]} is running, and a sweep would delete its keys; nothing was deleted; wait "
                "until it has ended, or set --even-during-tests"
            )

    def _others(self, entries: Sequence[Entry]) -> list[Entry]:
        return [each for each in running(entries, self.mine.patterns) if each.run != self.mine.run]

    def _must_look(self) -> bool:
        """Return whether there must be no sweep without a look."""
        return self._settings.coordinate == "require"

    def _entries(self, topology: Topology | None, remaining: Callable[[], float]) -> Sequence[Entry]:
        for attempt in itertools.count(1):
            try:
                return self._look(topology)
            except UnreachableError as error:
                must = self._must_look()
                if remaining() > 0 and (must or attempt < _TRIES):
                    topology = None  # a failover may have changed it
                    self._sleep(_RETRY)
                    continue
                if must:
                    raise
                self._say(error)
            except DeniedError as error:
                if self._settings.coordinate == "require":
                    raise RefusedError(f"{error}; --coordinate require allows no sweep without the register") from error
                self._say(error)
            break
        return ()

    def _say(self, error: RedisError) -> None:
        """Log once that the register cannot be used."""
        if not self._said:
            self._log.warning(LogEvent.REGISTER_UNUSABLE, problem=str(error))
        self._said = True

    def _change(self, change: Callable[[], object]) -> None:
        try:
            change()
        except RedisError as error:
            self._log.warning(LogEvent.REGISTER_UNCHANGED, problem=str(error))
