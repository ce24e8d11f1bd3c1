"""Sweeps after k6's end when it is this watcher's turn; otherwise hands over to another test, or waits for it."""

import time
from contextlib import suppress
from dataclasses import replace
from typing import Final

from k6_sweep.budget import Budget
from k6_sweep.cluster.topology import Topology
from k6_sweep.commands.context import Context
from k6_sweep.commands.lookout import Lookout, entry_of
from k6_sweep.commands.registration import Registration
from k6_sweep.commands.run import sweep_in_time
from k6_sweep.coordination import Decision, Entry, Step, decide
from k6_sweep.errors import DeniedError, RedisError, RefusedError
from k6_sweep.lifecycle import Events
from k6_sweep.log import LogEvent
from k6_sweep.report import Report
from k6_sweep.status import Status
from k6_sweep.sweep.result import SweepReport
from k6_sweep.watch.outcome import K6Outcome

_LOOK_EVERY: Final = 2.0
"""Seconds between two looks at the register while k6-sweep waits for another test."""


class Turn(Lookout):
    """The lookout of a watcher whose k6 has ended: the last one out sweeps."""

    def __init__(self, context: Context, events: Events, budget: Budget, registration: Registration) -> None:
        settings = context.settings
        mine = entry_of(settings, context.pod, context.run, registration.since)
        super().__init__(settings, mine, context.log)
        self._ended = replace(mine, since=time.time(), owed=True)
        self._ended_at = time.monotonic()
        self._events = events
        self._budget = budget
        self._registration = registration
        self._said = not registration.entered  # the registration has logged why
        self.decision = Decision(Step.SWEEP)

    def wait(self) -> Decision:
        """Wait until the next step is another one than to wait; return it."""
        self._log.info(LogEvent.WAITING_FOR_OTHER_TEST, test=str(self.decision.other))
        while self.decision.step is Step.WAIT:
            self._events.wait([], min(_LOOK_EVERY, self._wait_until() - time.monotonic()))
            with suppress(RefusedError, RedisError):
                self.may_begin()
            if time.monotonic() >= self._wait_until() and self.decision.step is Step.WAIT:
                self.decision = Decision(Step.GIVE_UP, self.decision.other)  # the register cannot be read now
        return self.decision

    def _wait_until(self) -> float:
        if self._events.urgent:
            return self._ended_at
        return self._budget.wait_for_others_until(self._ended_at, self._events.first_signal)

    def _look(self, topology: Topology | None) -> list[Entry]:
        try:
            found = self._register.owe(self._ended, topology)
        except DeniedError as error:  # perhaps Redis is full: it can still be read
            found = self._register.read(topology)
            self._say(error)
            self._change(lambda: self._register.remove([self.mine]))
        self._registration.left = True
        return found

    def _judge(self) -> None:
        self.decision = decide(self.mine, self.seen, time.monotonic(), self._wait_until())
        if self.decision.step is not Step.SWEEP:
            raise RefusedError(f"the test of {self.decision.other} is running")

    def _must_look(self) -> bool:
        return self._registration.entered or super()._must_look()


def sweep_in_turn(
    context: Context, events: Events, budget: Budget, k6: K6Outcome, registration: Registration
) -> Report:
    """Sweep and return the report; if another test is in the way, that of the hand-over or of the vain wait."""
    turn = Turn(context, events, budget, registration)
    swept: SweepReport | None = None
    while True:
        turn.decision = Decision(Step.SWEEP)
        report = sweep_in_time(context, events, budget, k6, neighbours=turn)
        swept = report.sweep.after(swept) if report.sweep else swept
        if turn.overtaken and not events.urgent:
            continue
        decision = turn.decision
        if decision.step is Step.WAIT:
            reason = f"k6 has ended; waiting for the test of {decision.other}, which uses some of the same keys"
            context.tell(Report(Status.WAITING, k6=k6, errors=(reason,)))
            decision = turn.wait()
            if decision.step is Step.SWEEP:
                continue
        step, other = decision
        if step is Step.SWEEP:
            return turn.settle(replace(report, sweep=swept))
        if step is Step.HAND_OVER:
            return _handed_over(str(other), swept, k6)
        return Report(Status.INCOMPLETE, k6=k6, errors=(_in_the_way(str(other)),))


def _handed_over(heir: str, swept: SweepReport | None, k6: K6Outcome) -> Report:
    """Return the report of a hand-over, with the counts of a sweep that the heir's test interrupted."""
    alive = () if k6.ended else ("k6 was still running when the wait ended (--max-wait or SIGTERM)",)
    sweep = swept and replace(swept, errors=())
    return Report(Status.HANDED_OVER, sweep=sweep, k6=k6, handed_over_to=heir, warnings=alive)


def _in_the_way(other: str) -> str:
    return (
        f"the test of {other} still runs and uses some of the same keys, but its watcher will not delete all keys of "
        "this test; the time to wait for it is over (--max-wait, or the grace period); run k6-sweep when it has ended"
    )
