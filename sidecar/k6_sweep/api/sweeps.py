"""Runs sweeps that somebody asks for: one at a time, on a thread of their own, whoever still waits for them."""

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, Final, Protocol

from k6_sweep.errors import RedisError
from k6_sweep.log import Log
from k6_sweep.patterns import Pattern
from k6_sweep.report import Counts, Report, log_end
from k6_sweep.settings.all import Settings
from k6_sweep.status import Status
from k6_sweep.sweep.result import OnProgress, Progress

REMEMBERED: Final = 100
"""So many sweeps can be read, the latest ones."""
_OVERRUN: Final = 0.5
"""Seconds that a sweep may take to notice that it has to stop; after that nobody waits for it."""
_LOCK_RESERVE: Final = 10.0
"""A sweep may end so many seconds after its time is up; by then the lock must not have ended."""

Work = Callable[[Settings, Log, Callable[[], float], OnProgress], Report]
"""Sweeps; the arguments are those of `commands.run.sweep_once` but for the namespace."""


class Lock(Protocol):
    """Keeps other replicas from sweeping meanwhile."""

    def take(self, owner: str, seconds: float) -> str | None:
        """Take it for so long at the longest; return None, or who has it."""

    def release(self, owner: str) -> None:
        """Give it back."""


class BusyError(Exception):
    """A sweep is running."""

    def __init__(self, running: str) -> None:
        super().__init__(f"sweep {running} is running; one at a time")
        self.running = running


class StoppingError(Exception):
    """The server is about to end, and begins no more sweeps."""


class Sweep:
    """One sweep: what was asked for, how far it is, how it ended."""

    def __init__(self, settings: Settings) -> None:
        self.id = os.urandom(6).hex()
        self.patterns = tuple(pattern.text for pattern in settings.pattern)
        self.dry_run = settings.dry_run
        self.admitted: Future[None] = Future()
        """Done when it may begin; BusyError where another replica is sweeping."""
        self.ended: Future[Report] = Future()
        self.cancelled_at: float | None = None
        self._now = Report(Status.SWEEPING, dry_run=settings.dry_run)

    def cancel(self) -> None:
        """Stop at the next batch."""
        if self.cancelled_at is None:
            self.cancelled_at = time.monotonic()

    def report(self) -> Report:
        """Return how it ended, or how far it is."""
        return self.ended.result() if self.ended.done() else self._now

    def take_in(self, progress: Progress) -> None:
        """Note how far it is."""
        self._now = replace(self._now, progress=progress)


class Sweeps:
    """The sweeps of this server. Its methods may be called from any thread."""

    def __init__(
        self, settings: Settings, work: Work, lock: Lock, log: Log, on_end: Callable[[Report], None] = lambda _: None
    ) -> None:
        """Prepare; `on_end` is called with each report, on the sweep's thread."""
        self._settings = settings
        self._work = work
        self._lock = lock
        self._log = log
        self._on_end = on_end
        self._latest: OrderedDict[str, Sweep] = OrderedDict()
        self._running: Sweep | None = None
        self._thread: threading.Thread | None = None
        self._one_at_a_time = threading.Lock()
        self._stop_at = float("inf")
        self.stopping = False
        """Whether no more sweeps are begun."""
        self.totals = Counts()
        """What all sweeps deleted and matched."""

    def begin(self, patterns: tuple[Pattern, ...], dry_run: bool, asked_by: Mapping[str, Any] = {}) -> Sweep:
        """Start a sweep of these patterns, which are known to be permitted; its log says who asked for it.

        Raises:
            BusyError: One is running here.
            StoppingError: The server is about to end.
        """
        settings = replace(self._settings, pattern=patterns, dry_run=dry_run or self._settings.dry_run)
        with self._one_at_a_time:
            if self.stopping:
                raise StoppingError
            if self._running:
                raise BusyError(self._running.id)
            sweep = Sweep(settings)
            log = self._log.bind(run=sweep.id, **asked_by)
            thread = threading.Thread(target=self._run, args=(sweep, settings, log), name="sweep")
            thread.start()  # before it counts as running: if no thread is to be had, none is
            self._thread, self._running, self._latest[sweep.id] = thread, sweep, sweep
            if len(self._latest) > REMEMBERED:
                self._latest.popitem(last=False)
        return sweep

    def find(self, sweep_id: str) -> Sweep | None:
        """Return a sweep by its id; None where it is not known here, or forgotten."""
        with self._one_at_a_time:
            return self._latest.get(sweep_id)

    def stop(self, at: float) -> None:
        """Begin no more sweeps, and end the running one at this moment of the monotonic clock at the latest."""
        self.stopping = True  # without the lock: a signal's handler calls it, in the midst of whatever goes on
        self._stop_at = min(self._stop_at, at)

    @property
    def may_end(self) -> bool:
        """Whether the server has nothing to wait for any more, or has waited long enough."""
        return self.stopping and (self._running is None or time.monotonic() > self._stop_at + _OVERRUN)

    def join(self) -> None:
        """Wait for the running sweep."""
        if self._thread:
            self._thread.join()

    def _run(self, sweep: Sweep, settings: Settings, log: Log) -> None:
        try:
            if (running := self._lock.take(sweep.id, settings.timeout + _LOCK_RESERVE)) is not None:
                with self._one_at_a_time:
                    self._running = None
                    del self._latest[sweep.id]
                sweep.admitted.set_exception(BusyError(running))
                return
            sweep.admitted.set_result(None)
            report = self._swept(sweep, settings, log)
        except RedisError as error:  # the lock's; it may have been taken all the same, and only the answer was lost
            report = Report(error.status, dry_run=sweep.dry_run, errors=(str(error),))
        except Exception:  # the last place that can still tell of it
            log.exception("internal error")
            report = replace(sweep.report(), status=Status.ERROR, errors=("internal error",))
        self._release(sweep, log)
        self._end(sweep, report, log)

    def _swept(self, sweep: Sweep, settings: Settings, log: Log) -> Report:
        deadline = time.monotonic() + settings.timeout

        def remaining() -> float:
            return min(deadline, self._stop_at, sweep.cancelled_at or deadline) - time.monotonic()

        report = self._work(settings, log, remaining, sweep.take_in)
        if report.status is not Status.INCOMPLETE:
            return report
        if sweep.cancelled_at:
            return replace(report, errors=("cancelled by a request before the sweep was done",))
        if time.monotonic() >= self._stop_at:
            return replace(report, errors=("the server was told to end before the sweep was done",))
        return report

    def _release(self, sweep: Sweep, log: Log) -> None:
        try:
            self._lock.release(sweep.id)
        except RedisError as error:
            log.warning("the lock of the sweep was left to end by itself", error=str(error))

    def _end(self, sweep: Sweep, report: Report, log: Log) -> None:
        """Make way for the next sweep before anybody learns of this one's end."""
        counts, totals = report.counts, self.totals
        try:
            log_end(log, report)
            self._on_end(report)
        finally:
            self.totals = Counts(totals.deleted + counts.deleted, totals.matched + counts.matched)
            with self._one_at_a_time:
                self._running = None
            sweep.ended.set_result(report)
            if not sweep.admitted.done():
                sweep.admitted.set_result(None)
