"""How much work one server gets at a time, over ways of any length: a server, its link and a clock in memory."""

import random
import statistics
from collections import deque
from dataclasses import dataclass, field

import pytest

from k6_sweep.cluster.window import Window

BUDGET = 0.005
FAST = 1.3e-6
"""Seconds that a server works for one key, as measured on a machine that does nothing else."""


@dataclass
class Run:
    """What happened while a client sent work through a window."""

    window: Window
    seconds: float = 0.0
    keys: list[int] = field(default_factory=list)
    """The keys of a write, after each."""
    waiting: list[float] = field(default_factory=list)
    """For how long the server still had work of this client when it had received a write."""

    @property
    def usual_keys(self) -> float:
        return statistics.median(self.keys[len(self.keys) // 4 :])


def send(total: int, cost: float, way: float, jitter: float = 0.0) -> Run:
    """Send work for this number of keys to a server that needs `cost` seconds for each, and keeps the order."""
    chance = random.Random(6)
    run = Run(Window(most=1000, budget=BUDGET))
    window, unanswered = run.window, deque[tuple[int, float, float]]()
    now = arrived = idle = back = 0.0
    while total or unanswered:
        while total and (not unanswered or sum(each for each, _, _ in unanswered) + window.keys <= window.in_flight):
            work = min(total, window.keys)
            total -= work
            arrived = max(arrived, now + way / 2 + chance.uniform(0, jitter))
            idle = max(arrived, idle) + work * cost
            run.waiting.append(idle - arrived)
            back = max(back, idle + way / 2 + chance.uniform(0, jitter))
            unanswered.append((work, now, back))
        work, sent, answered = unanswered.popleft()
        now = max(now, answered)
        window.learn(work, sent, now, way)
        run.keys.append(window.keys)
    run.seconds = now
    return run


@pytest.mark.parametrize("way", [0.0001, 0.002, 0.050])
@pytest.mark.parametrize("cost", [13e-6, 50e-6])
def test_a_write_keeps_a_server_busy_for_no_longer_than_the_budget(way: float, cost: float) -> None:
    """The slower the server, the smaller the write, however long the way is."""
    assert send(100_000, cost, way).usual_keys * cost <= BUDGET * 1.3


@pytest.mark.parametrize("way", [0.0001, 0.002, 0.050, 0.300])
def test_a_fast_server_gets_large_writes(way: float) -> None:
    """The length of the way does not make writes smaller."""
    assert send(300_000, FAST, way).usual_keys == 1000


@pytest.mark.parametrize(("way", "jitter"), [(0.002, 0.005), (0.004, 0.004), (0.050, 0.010), (0.0002, 0.005)])
def test_jitter_is_not_taken_for_a_busy_server(way: float, jitter: float) -> None:
    """Over a way whose round trips vary by more than the budget, writes stay large, and the work is done in time."""
    run = send(300_000, FAST, way, jitter)
    assert run.usual_keys >= 200
    without = send(300_000, FAST, way + jitter)
    assert run.seconds < 2.5 * without.seconds


def test_much_jitter_does_not_starve_the_sweep() -> None:
    """Even if round trips take from 2 to 202 ms at random, it is faster than one full write after the other."""
    run = send(300_000, FAST, 0.002, 0.100)
    assert run.seconds < 300_000 / 1000 * 0.102


@pytest.mark.parametrize(("way", "seconds"), [(0.050, 4.0), (0.300, 20.0)])
def test_a_long_way_is_filled(way: float, seconds: float) -> None:
    """Many writes are under way at the same time: one at a time would take 300 round trips."""
    assert send(300_000, FAST, way).seconds < seconds < 300 * way


def test_a_short_way_has_one_write_at_a_time() -> None:
    """Where a reply comes at once, the server never has more than one write of ours."""
    run = send(300_000, FAST, 0.0001)
    assert max(run.waiting) <= 1000 * FAST * 1.01
    assert run.window.in_flight == run.window.keys


@pytest.mark.parametrize("way", [0.0001, 0.002])
def test_a_busy_server_does_not_get_a_queue(way: float) -> None:
    """If a server is slow and near, a few budgets of work wait there at most, and usually one."""
    run = send(100_000, 13e-6, way)
    assert statistics.median(run.waiting) <= 2 * BUDGET
    assert max(run.waiting) <= 4 * BUDGET


def test_a_write_never_becomes_nothing() -> None:
    """A write has some keys even on the slowest server, unless its upper bound is lower."""
    assert send(1000, 1.0, 0.001).window.keys == 16
    tiny = Window(most=3, budget=BUDGET)
    for second in range(30):
        tiny.learn(tiny.keys, second, second + 1.0, 0.001)
    assert tiny.keys == 3


def test_writes_grow_again() -> None:
    """A server that was busy for a while gets large writes again."""
    window, now = send(20_000, 50e-6, 0.001).window, 1000.0
    assert window.keys < 200
    window.pause()
    for _ in range(100):
        window.learn(window.keys, now, now + 0.001 + window.keys * FAST, 0.001)
        now += 0.001 + window.keys * FAST
    assert window.keys == 1000
