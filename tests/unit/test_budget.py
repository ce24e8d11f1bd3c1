"""The budget decides between waiting, sweeping and giving up by past events and their times."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k6_sweep.budget import EXIT_RESERVE, Budget, Facts, Step

TIMES = st.floats(0.1, 1000)
MAYBE = st.none() | TIMES
BUDGETS = st.builds(
    Budget,
    timeout=TIMES,
    grace_period=TIMES,
    start_timeout=MAYBE,
    max_wait=MAYBE,
    late_news=st.floats(0, 60),
    k6_dies_with_us=st.booleans(),
)
GRACE_125 = Budget(timeout=60, grace_period=125, start_timeout=300, max_wait=None)
"""Of the grace period, k6 has 63 seconds, the sweep 60 and the exit 2."""


@dataclass(frozen=True)
class Story:
    """The times of the events; None means never."""

    seen: float | None = None
    end: float | None = None
    signal: float | None = None
    second_signal: float | None = None
    overdue: float | None = None

    def facts(self, now: float) -> Facts:
        """Return the events up to `now`: an end counts once k6 was seen, and a second signal after the first."""

        def past(moment: float | None) -> bool:
            return moment is not None and moment <= now

        return Facts(
            began=0.0,
            seen=self.seen if past(self.seen) else None,
            ended=past(self.seen) and past(self.end),
            first_signal=self.signal if past(self.signal) else None,
            urgent=past(self.signal) and past(self.second_signal),
            overdue=self.overdue if past(self.seen) else None,
        )

    def play(self, budget: Budget) -> tuple[Step, float]:
        """Return the last step and its time; WAIT means that it waits forever."""
        moments = [self.seen, self.end, self.signal, self.second_signal]
        now = 0.0
        while True:
            step, until = budget.decide(self.facts(now), now)
            if step is not Step.WAIT:
                return step, now
            assert until > now
            now = min([until, *(moment for moment in moments if moment is not None and moment > now)])
            if now == float("inf"):
                return Step.WAIT, now


STORIES = st.builds(Story, seen=MAYBE, end=MAYBE, signal=MAYBE, second_signal=MAYBE, overdue=MAYBE)


@pytest.mark.parametrize(
    ("story", "end"),
    [
        (Story(), (Step.UNSEEN, 300)),
        (Story(signal=7), (Step.UNSEEN, 7)),
        (Story(signal=7, seen=8), (Step.UNSEEN, 7)),
        (Story(seen=299, end=5000), (Step.SWEEP, 5000)),
        (Story(seen=10), (Step.WAIT, float("inf"))),
        (Story(seen=10, end=20), (Step.SWEEP, 20)),
        (Story(seen=10, end=20, signal=15), (Step.SWEEP, 20)),
        (Story(seen=10, signal=15), (Step.SWEEP, 78)),
        (Story(seen=10, end=90, signal=15), (Step.SWEEP, 78)),
        (Story(seen=10, signal=15, second_signal=16), (Step.STOP, 16)),
        (Story(seen=10, end=15, signal=12, second_signal=13), (Step.STOP, 13)),
        (Story(seen=10, overdue=40), (Step.SWEEP, 40)),
    ],
)
def test_every_order_of_events(story: Story, end: tuple[Step, float]) -> None:
    """Each order of k6's appearance, its end and the signals leads to exactly one step."""
    assert story.play(GRACE_125) == end


def test_where_k6_lives_on_without_us() -> None:
    """If a k6 elsewhere survives k6-sweep's own end, the wait stops without a sweep."""
    watcher = Budget(timeout=60, grace_period=125, k6_dies_with_us=False)
    assert Story(seen=10, signal=15).play(watcher) == (Step.STOP, 78)
    assert Story(seen=10, signal=15, end=70).play(watcher) == (Step.SWEEP, 70)
    assert Story(seen=10, signal=15, overdue=20).play(watcher) == (Step.SWEEP, 20)


def test_a_known_sigkill_counts_more_than_the_grace_period() -> None:
    """After a native sidecar's late signal, the time left ends at SIGKILL, if that is known, and is at least 2 s."""
    known = Budget(timeout=60, grace_period=130, killed_at=100)
    assert known.sweep_until(1000, 90) == 98
    assert known.sweep_until(1000, 99) == 100.5
    assert known.sweep_until(1000, 200) == 201.5
    assert Budget(timeout=60, grace_period=10, killed_at=100).sweep_until(1000, 20) == 28


def test_news_may_come_late() -> None:
    """If news can be late, a signal alone does not prove at once that there was no k6."""
    late = Budget(timeout=60, grace_period=100, late_news=10)
    assert Story(signal=7).play(late) == (Step.UNSEEN, 17)
    assert Story(signal=7, seen=8, end=9).play(late) == (Step.SWEEP, 9)
    assert Story(signal=7).play(Budget(timeout=60, grace_period=10, late_news=10)) == (Step.UNSEEN, 12)


@given(BUDGETS, STORIES)
def test_it_never_sweeps_too_early(budget: Budget, story: Story) -> None:
    """The sweep comes after k6's end; before it only if the reserve, --max-wait or an overdue k6 forces it."""
    step, now = story.play(budget)
    facts = story.facts(now)
    if step is not Step.SWEEP or facts.ended:
        return
    assert facts.seen is not None
    assert budget.k6_dies_with_us or facts.overdue is not None or budget.max_wait is not None
    left = min(budget.timeout, budget.grace_period / 2)
    forced = [
        facts.first_signal is not None and now >= facts.first_signal + budget.grace_period - left - EXIT_RESERVE - 1e-6,
        budget.max_wait is not None and now >= facts.seen + budget.max_wait,
        facts.overdue is not None and now >= facts.overdue,
    ]
    assert any(forced)


@given(BUDGETS, STORIES)
def test_it_never_sweeps_for_a_k6_that_it_never_saw(budget: Budget, story: Story) -> None:
    """A run that never saw k6 never sweeps, and one that saw k6 is never `unseen`."""
    step, now = story.play(budget)
    seen = story.facts(now).seen is not None
    assert step is not Step.SWEEP or seen
    assert step is not Step.UNSEEN or not seen


@given(BUDGETS, STORIES)
def test_it_always_ends(budget: Budget, story: Story) -> None:
    """The wait is endless only without any signal, end of k6 or limit."""
    step, _ = story.play(budget)
    if step is Step.WAIT:
        assert story.signal is None
        assert story.seen is None or (story.end is None and story.overdue is None and budget.max_wait is None)
        assert story.seen is not None or budget.start_timeout is None


@given(BUDGETS, STORIES)
def test_a_signal_leaves_time_to_sweep(budget: Budget, story: Story) -> None:
    """A forced end of the wait leaves --timeout before SIGKILL, or half of a grace period too short for both."""
    step, now = story.play(budget)
    facts = story.facts(now)
    if step is Step.SWEEP and facts.first_signal is not None and not facts.ended:
        assert facts.first_signal + budget.grace_period - now >= min(budget.timeout, budget.grace_period / 2) - 1e-6


@given(BUDGETS, TIMES, TIMES)
def test_a_sweep_ends_before_the_grace_period(budget: Budget, first: float, deadline: float) -> None:
    """A signal never extends the sweep's deadline, and the sweep leaves a reserve of the grace period."""
    assert budget.sweep_until(deadline, None) == deadline
    assert budget.sweep_until(deadline, first) <= deadline
    assert first < budget.sweep_until(1e9, first) < first + budget.grace_period
