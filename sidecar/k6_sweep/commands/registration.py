"""Keeps the test in the register of tests while k6 runs: a child process renews its entry every few minutes."""

import time
from dataclasses import replace
from typing import Any, Final

from k6_sweep.commands.background import Child
from k6_sweep.commands.context import Context
from k6_sweep.coordination import RENEWAL, owed, running
from k6_sweep.errors import DeniedError, RedisError, RefusedError, UnreachableError
from k6_sweep.lifecycle import Events
from k6_sweep.log import LogEvent
from k6_sweep.report import Report
from k6_sweep.status import Status

_RETRY: Final = 30.0
"""Seconds until the next attempt, if Redis or the child process does not answer."""
LAST_ANSWER: Final = 2.0
"""Seconds that a renewal may take when k6 has ended: killed halfway, it could enter a test that has ended."""
_FULL: Final = "OOM "
"""In the reply of a server without memory for the entry; the application may free some."""
_NOTHING_OWED: Final = (Status.COMPLETE, Status.UNSEEN, Status.SKIPPED, Status.DRY_RUN)
"""The ends of a watcher that leave no key which it had to delete."""


class Registration:
    """The entry of a waiting watcher."""

    def __init__(self, context: Context, events: Events, retry: float = _RETRY) -> None:
        """Prepare; the caller makes the first attempt, and another follows after `retry` seconds without an answer."""
        self._context = context
        self._events = events
        self._child: Child | None = None
        self._said = False
        self.since = time.time()
        self.entered = False
        """Whether the test has been in the register."""
        self.left = False
        """Whether the entry has been removed, or has become an owed sweep."""
        self.on = context.settings.coordinate != "off"
        self._retry = retry
        if self.on:
            events.call_at(time.monotonic() + retry, self._renew)

    def enter(self) -> dict[str, Any]:
        """Enter the test, or renew its entry; it runs in a child process.

        Returns:
            `problem`, or None; whether it may be gone `later`; and the `others` that are running.
        """
        from k6_sweep.commands.lookout import entry_of, register_of  # loads redis

        context = self._context
        mine = entry_of(context.settings, context.pod, context.run, self.since)
        try:
            found = register_of(context.settings).enter(mine)
        except (UnreachableError, DeniedError) as error:
            return {"problem": str(error), "later": isinstance(error, UnreachableError) or _FULL in str(error)}
        others = [str(each) for each in running(found, mine.patterns) if each.run != mine.run]
        return {"problem": None, "others": others}

    def note(self, answer: Any) -> None:
        """Take in what `enter` returned; None if its process ended without an answer.

        Raises:
            RefusedError: The register cannot be used, and --coordinate requires it.
        """
        self._child = None
        if answer is None:
            answer = {"problem": "the process that uses the register ended without an answer", "later": True}
        if answer["problem"] is None:
            if not self.entered:
                self._context.log.info(LogEvent.TEST_REGISTERED, others=answer["others"])
            self.entered, self._said = True, False
            self._events.call_at(time.monotonic() + RENEWAL, self._renew)
            return
        if not self._said:
            self._context.log.warning(LogEvent.REGISTER_UNUSABLE, problem=answer["problem"])
        self._said = True
        # A test that is in the register has met a server that allows it: full memory or a new password is no end.
        if answer["later"] or self.entered:
            self._events.call_at(time.monotonic() + self._retry, self._renew)
            return
        self._events.cancel(self._renew)
        if self._context.settings.coordinate == "require":
            raise RefusedError(f"{answer['problem']}; --coordinate require allows no sweep without the register")

    def end(self) -> None:
        """Renew the entry no more."""
        self._events.cancel(self._renew)
        if self._child:
            self._child.wait(LAST_ANSWER)
            self._events.cancel(self._renew)
        if self._child:
            self._child.end()

    def leave(self, report: Report) -> Report:
        """Take the test out of the register at the end of a watcher that did not sweep; its sweep may be owed.

        Returns:
            The report, with the sweeps that other tests have left to this one.
        """
        self.end()
        if not self.entered or self.left:
            return report
        from k6_sweep.commands.lookout import entry_of, register_of, with_owed  # loads redis

        context = self._context
        mine = entry_of(context.settings, context.pod, context.run, self.since)
        register = register_of(context.settings)
        self.left = True
        try:
            if report.status in _NOTHING_OWED:
                register.remove([mine])
                found = register.read()
            else:
                found = register.owe(replace(mine, since=time.time(), owed=True))
        except RedisError as error:
            context.log.warning(LogEvent.REGISTER_UNCHANGED, problem=str(error))
            return report
        return with_owed(report, [each for each in owed(found, mine.patterns) if each.run != mine.run])

    def _renew(self) -> None:
        if self._child:
            self._child.end()  # it hangs
        self._events.call_at(time.monotonic() + self._retry, self._renew)
        self._child = Child(self._events, self.enter, self.note)
