"""Runs the sweeps that HTTP requests start: one at a time, on its own thread, even if its client has disconnected."""

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, Final

from k6_sweep.api.journal import Journal
from k6_sweep.api.lock import LOCKED_FOR, Lock, kept
from k6_sweep.api.turned_away import BusyError, InUseError, StoppingError
from k6_sweep.cluster.history import Record
from k6_sweep.cluster.lock import Holder
from k6_sweep.errors import RedisError
from k6_sweep.log import Log, LogEvent
from k6_sweep.patterns import Pattern
from k6_sweep.report import Counts, Report, log_end
from k6_sweep.settings.all import Settings
from k6_sweep.status import Status
from k6_sweep.sweep.result import OnProgress, Progress
from k6_sweep.sweep.time_limit import End, TimeLimit, end_by_timeout

REMEMBERED: Final = 100
"""Number of latest sweeps that can be read by id."""
_OVERRUN: Final = 0.5
"""Seconds that a sweep may take to notice that it must stop; then the server exits without it."""

Work = Callable[[Settings, Log, TimeLimit, OnProgress], Report]
"""Runs one sweep; the arguments are those of `commands.run.sweep_once` without the pod."""


class Sweep:
    """One sweep: its request, its progress and its result."""

    def __init__(self, settings: Settings, who: str) -> None:
        self.id = os.urandom(6).hex()
        self.who = who
        """The pod, or the host, of its replica."""
        self.since = time.time()
        self.patterns = tuple(pattern.text for pattern in settings.pattern)
        self.dry_run = settings.dry_run
        self.admitted: Future[None] = Future()
        """Done when the sweep may begin; holds BusyError or InUseError if it may not."""
        self.ended: Future[Report] = Future()
        self.cancelled_at: float | None = None
        self._now = Report(Status.SWEEPING, dry_run=settings.dry_run)

    def cancel(self) -> None:
        """Stop the sweep at its next batch."""
        if self.cancelled_at is None:
            self.cancelled_at = time.monotonic()

    def report(self) -> Report:
        """Return the final report, or one of the progress so far."""
        return self.ended.result() if self.ended.done() else self._now

    def take_in(self, progress: Progress) -> None:
        """Store the progress."""
        # A new object, because the event loop's thread reads it without a lock.
        self._now = replace(self._now, progress=progress)

    @property
    def holder(self) -> Holder:
        """The sweep as the holder of the lock."""
        return Holder(self.id, self.who, self.since)

    @property
    def record(self) -> Record:
        """The sweep with its current report."""
        return Record(self.id, self.who, self.since, self.dry_run, self.report().as_dict(), self.patterns)


class Sweeps:
    """Starts, stops and remembers the sweeps of this server. Any thread may call its methods."""

    def __init__(
        self,
        settings: Settings,
        work: Work,
        lock: Lock,
        log: Log,
        journal: Journal,
        on_end: Callable[[Report], None] = lambda _: None,
        check_free: Callable[[Settings], None] = lambda _: None,
    ) -> None:
        """Store the arguments.

        `on_end` is called with each report, on the sweep's thread. `check_free` raises InUseError if a test is running
        that a sweep with these settings would disturb.
        """
        self._check_free = check_free
        self._settings = settings
        self._work = work
        self._lock = lock
        self._log = log
        self._journal = journal
        self._on_end = on_end
        self._latest: OrderedDict[str, Sweep] = OrderedDict()
        self._running: Sweep | None = None
        self._thread: threading.Thread | None = None
        self._one_at_a_time = threading.Lock()
        self._stop_at = float("inf")
        self.stopping = False
        """Whether the server starts no more sweeps."""
        self.totals = Counts()
        """The keys that all sweeps together deleted and matched."""

    def begin(self, patterns: tuple[Pattern, ...], dry_run: bool, asked_by: Mapping[str, Any] = {}) -> Sweep:
        """Start a sweep of these patterns, which the caller has checked; each line of its log has `asked_by`'s fields.

        Raises:
            BusyError: A sweep is running on this server.
            StoppingError: The server is shutting down.
        """
        # `or`: no request can make a server with --dry-run delete.
        settings = replace(self._settings, pattern=patterns, dry_run=dry_run or self._settings.dry_run)
        with self._one_at_a_time:
            if self.stopping:
                raise StoppingError
            if self._running:
                raise BusyError(self._running.holder)
            sweep = Sweep(settings, self._journal.who)
            log = self._log.bind(run=sweep.id, **asked_by)
            # A thread: a sweep blocks (docs/decisions/0003-threads.md), and the event loop must answer meanwhile.
            thread = threading.Thread(target=self._run, args=(sweep, settings, log), name="sweep")
            thread.start()  # before the sweep counts as running: start() may fail
            self._thread, self._running, self._latest[sweep.id] = thread, sweep, sweep
            if len(self._latest) > REMEMBERED:
                self._latest.popitem(last=False)
        return sweep

    @property
    def pending(self) -> Sweep | None:
        """The sweep that has begun, and that another replica's sweep or a test may still turn away."""
        running = self._running
        return running if running and not running.admitted.done() else None

    def find(self, sweep_id: str) -> Sweep | None:
        """Return a sweep by its id; None if this server never had it or has forgotten it."""
        with self._one_at_a_time:
            return self._latest.get(sweep_id)

    def own(self) -> list[Record]:
        """Return the sweeps that this server remembers, except one that may not have begun."""
        with self._one_at_a_time:
            return [sweep.record for sweep in self._latest.values() if sweep.admitted.done()]

    def stop(self, at: float) -> None:
        """Start no more sweeps, and end the running one no later than `at`, a time of the monotonic clock."""
        self.stopping = True  # no lock: a signal handler calls this, perhaps while this thread holds it
        self._stop_at = min(self._stop_at, at)

    @property
    def may_end(self) -> bool:
        """Whether the server is stopping and no sweep is running, or the running one had enough time to end."""
        return self.stopping and (self._running is None or time.monotonic() > self._stop_at + _OVERRUN)

    def join(self) -> None:
        """Wait until the latest sweep's thread has ended."""
        if self._thread:
            self._thread.join()

    def _run(self, sweep: Sweep, settings: Settings, log: Log) -> None:
        try:
            if (running := self._lock.take(sweep.holder, LOCKED_FOR)) is not None:
                self._turn_away(sweep, BusyError(running))
                return
            with kept(self._lock, sweep.holder, lambda: self._note_progress(sweep)):
                try:
                    self._check_free(settings)
                except InUseError as error:
                    self._turn_away(sweep, error)
                    return
                self._journal.note(sweep.record, sweep.report())
                sweep.admitted.set_result(None)
                report = self._swept(sweep, settings, log)
        except RedisError as error:  # of the lock; perhaps Redis set it and only the answer was lost
            report = Report(error.status, dry_run=sweep.dry_run, errors=(str(error),))
        except Exception:  # the last place that can log it
            log.exception(LogEvent.INTERNAL_ERROR)
            report = replace(sweep.report(), status=Status.ERROR, errors=("internal error",))
        if sweep.admitted.done():
            # Before the release: a sweep without an end and without the lock counts as killed.
            self._journal.note(sweep.record, report)
        self._release(sweep, log)
        self._end(sweep, report, log)

    def _note_progress(self, sweep: Sweep) -> None:
        if sweep.admitted.done():
            self._journal.note(sweep.record, sweep.report())

    def _turn_away(self, sweep: Sweep, error: BusyError | InUseError) -> None:
        """Forget a sweep that may not begin."""
        if isinstance(error, InUseError):
            self._release(sweep, self._log)
        with self._one_at_a_time:
            self._running = None
            del self._latest[sweep.id]
        sweep.admitted.set_exception(error)

    def _swept(self, sweep: Sweep, settings: Settings, log: Log) -> Report:
        timeout = end_by_timeout(settings.timeout)

        def ends() -> Iterator[End]:
            yield timeout
            yield End(self._stop_at, "the server was shut down before the sweep finished")
            if sweep.cancelled_at is not None:
                yield End(sweep.cancelled_at, "a request cancelled the sweep before it finished")

        return self._work(settings, log, TimeLimit(ends), sweep.take_in)

    def _release(self, sweep: Sweep, log: Log) -> None:
        try:
            self._lock.release(sweep.holder)
        except RedisError as error:
            log.warning(LogEvent.LOCK_NOT_RELEASED, problem=str(error))

    def _end(self, sweep: Sweep, report: Report, log: Log) -> None:
        """Allow the next sweep before any caller sees the end of this one."""
        counts, totals = report.counts, self.totals
        try:
            log_end(log, report)
            self._on_end(report)
        finally:
            # In this order: a client that sees the end may start the next sweep at once, and must not get 409.
            self.totals = Counts(totals.deleted + counts.deleted, totals.matched + counts.matched)
            with self._one_at_a_time:
                self._running = None
            sweep.ended.set_result(report)
            if not sweep.admitted.done():
                sweep.admitted.set_result(None)
