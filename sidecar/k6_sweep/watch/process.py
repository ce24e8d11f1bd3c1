"""Waits for the end of k6 by watching processes: it never guesses, and it does not wake up while k6 runs."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import psutil

from k6_sweep.budget import Budget, Facts, Step
from k6_sweep.lifecycle import Events
from k6_sweep.log import Log, LogEvent
from k6_sweep.watch.find import Found, find_k6, own_lineage
from k6_sweep.watch.outcome import K6Outcome
from k6_sweep.watch.pidfd import Gone, PidfdUnsupportedError, ProcessHandle

_SHORTEST_LOOK: Final = 0.1
"""Minimum seconds between two searches for a k6 that has not appeared."""
_PATIENCE_AFTER_A_MISS: Final = 2.0
"""Seconds for the shell of a missed k6 to start the next one."""
_LOOK_SHARE: Final = 20
"""Searches use at most one part in this number of a CPU's time; they do not become rarer on a busy machine."""
_LOOK_WITHOUT_PIDFD: Final = 1.0
"""Seconds between two looks at the known processes on a kernel without pidfd."""

_DETACHED: Final = (
    "k6 cloud --exit-on-running ends when the test in the cloud has started, so its end is not the test's end; "
    "remove --exit-on-running"
)

Hold = Callable[[psutil.Process], ProcessHandle]
"""Opens the handle of a process; raises Gone, or PidfdUnsupportedError if the kernel cannot do it."""


class ProcessWatch:
    """One wait for k6, from its start to its end."""

    def __init__(
        self,
        k6_process: str,
        budget: Callable[[], Budget],
        events: Events,
        log: Log,
        hold: Hold = ProcessHandle.open,
        k6_user: int | None = None,
    ) -> None:
        """Prepare; `budget` returns the time limits, as they are known at the time of the call."""
        self._k6_user = k6_user
        self._detached = False
        """Whether a k6 has only started a test elsewhere."""
        self._budget = budget
        self._k6_process = k6_process
        self._began = time.monotonic()
        self._seen: float | None = None
        """When k6 was first seen."""
        self._hold_on_to = hold
        self._events = events
        self._log = log
        self._own_pids = own_lineage()
        self._alive: dict[psutil.Process, ProcessHandle | None] = {}
        """The processes to wait for; the handle is None if the kernel has no pidfd."""
        self._leaders: set[psutil.Process] = set()
        self._codes: dict[psutil.Process, int | None] = {}
        """The exit codes of the processes that have ended."""
        self._missed = False
        """Whether a k6 ended before its handle was open: its container may start another k6."""

    def run(self) -> K6Outcome:
        """Wait until k6 appears, and then until k6 and its container end.

        Raises:
            RefusedError: k6 runs where the kernel would end k6-sweep together with it.
        """
        if not self._appeared():
            return K6Outcome(seen=False, ended=False, why=_DETACHED if self._detached else None)
        self._seen = time.monotonic()
        while True:
            step = self._wait_for_known()
            if self._alive:
                self._log.warning(LogEvent.WAIT_OVER)
                return K6Outcome(seen=True, ended=False, broken_off=step is Step.STOP)
            if not self._another_appears():
                if self._detached:
                    return K6Outcome(seen=False, ended=False, why=_DETACHED)
                code = self._exit_code()
                return K6Outcome(seen=True, ended=True, exit_code=code, ended_at=datetime.now(UTC))

    def _decide(self) -> tuple[Step, float]:
        """Return what to do, and the maximum seconds until the next decision."""
        now = time.monotonic()
        facts = Facts(self._began, self._seen, first_signal=self._events.first_signal, urgent=self._events.urgent)
        step, until = self._budget().decide(facts, now)
        return step, until - now

    def _appeared(self) -> bool:
        while True:
            # CPU time: by wall time, the pauses grew on a busy machine, and a k6 of 1.5 s was missed.
            began = time.process_time()
            if self._look():
                return True
            if self._detached:
                return False
            step, left = self._decide()
            if step is not Step.WAIT:
                return False
            self._events.wait([], min(left, max(_SHORTEST_LOOK, (time.process_time() - began) * _LOOK_SHARE)))

    def _another_appears(self) -> bool:
        """Search again, for some seconds if a k6 was missed and another may follow; return whether one was found."""
        # With a leader, its whole container has ended, so that no k6 can follow.
        until = time.monotonic() + (_PATIENCE_AFTER_A_MISS if self._missed and not self._leaders else 0)
        while not self._look():
            if time.monotonic() >= until:
                return False
            self._events.wait([], _SHORTEST_LOOK)
        return True

    def _look(self) -> bool:
        """Open a handle for every visible k6 that is not known yet; return whether there was one."""
        new = False
        for found in find_k6(self._k6_process, self._own_pids, self._k6_user):
            if found.detached:
                self._detached = True
                continue
            if found.k6 in self._alive or found.k6 in self._codes:
                continue
            new = True
            self._log.info(LogEvent.K6_RUNNING, pid=found.k6.pid, container=found.leader.pid if found.leader else None)
            self._hold(found)
        return new

    def _hold(self, found: Found) -> None:
        # A set: if the image's entrypoint is k6, k6 is its own leader.
        for process in {found.k6, found.leader or found.k6}:
            if process in self._alive or process in self._codes:
                continue
            if process == found.leader:
                self._leaders.add(process)
            try:
                self._alive[process] = self._hold_on_to(process)
            except Gone:
                self._codes[process] = None
                self._missed = True
            except PidfdUnsupportedError:
                self._alive[process] = None

    def _wait_for_known(self) -> Step:
        """Wait until all known processes have ended or the time to wait is over; return the next step."""
        while self._alive:
            step, left = self._decide()
            if step is not Step.WAIT:
                return step
            handles = {handle.fileno(): process for process, handle in self._alive.items() if handle is not None}
            if len(handles) < len(self._alive):
                left = min(left, _LOOK_WITHOUT_PIDFD)
            ended = [handles[ready] for ready in self._events.wait(handles, left)]
            ended += [process for process, handle in self._alive.items() if handle is None and not _lives(process)]
            for process in ended:
                self._end(process)
        return Step.SWEEP

    def _end(self, process: psutil.Process) -> None:
        handle = self._alive.pop(process)
        code = None
        if handle is not None:
            code = handle.exit_code()
            handle.close()
        self._codes[process] = code
        self._log.info(
            LogEvent.CONTAINER_ENDED if process in self._leaders else LogEvent.K6_ENDED, pid=process.pid, exit_code=code
        )
        if self._alive and self._leaders & self._alive.keys() and not self._alive.keys() - self._leaders:
            self._log.info(LogEvent.WAITING_FOR_CONTAINER)

    def _exit_code(self) -> int | None:
        """Return the exit code that the Job sees: the first bad one of the containers, or of k6 if there are none."""
        codes = [self._codes[process] for process in (self._leaders or self._codes)]
        bad = [code for code in codes if code]
        return bad[0] if bad else (None if None in codes or not codes else 0)


def _lives(process: psutil.Process) -> bool:
    try:
        # psutil's wait() never returns for a process that its parent does not reap, and no signal interrupts it.
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
