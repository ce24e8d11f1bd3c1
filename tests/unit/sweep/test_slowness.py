"""What a slow sweep waits for, and the setting that helps."""

import io
import json

import pytest

from k6_sweep.log import open_log
from k6_sweep.sweep.slowness import Slowness, Times, cause_of_slowness
from tests.support import settings_for
from tests.unit.cluster.fake_redis import FakeLink


def times(elapsed: float, waited: float, trip: float, way: float, paced: float = 0.0) -> Times:
    """Return how a worker has spent its time, with round trips of these mean and shortest seconds."""
    link = FakeLink(lambda _: 0)
    spent = Times(link)
    link.waited, link.trips, link.in_trips, link.shortest_trip = waited, 10, 10 * trip, way
    spent.paced = paced
    spent.end()
    spent._ended = spent._began + elapsed
    return spent


SETTINGS = settings_for("redis://a:6379", "--max-rate", "500")
CASES = {
    "--max-rate 500; raise it": times(elapsed=10, waited=1, trip=0.001, way=0.001, paced=8),
    "the network: a round trip takes 300 ms": times(elapsed=10, waited=9, trip=0.310, way=0.300),
    "waiting for Redis: a round trip takes 20 ms, of which the network needs 1 ms": times(10, 9, trip=0.020, way=0.001),
    "k6-sweep's own work; give its container more CPU": times(elapsed=10, waited=3, trip=0.002, way=0.001),
}


@pytest.mark.parametrize(("text", "spent"), CASES.items(), ids=CASES.keys())
def test_what_took_most_of_the_time_is_named_with_what_helps(text: str, spent: Times) -> None:
    """The sentence names what took most of the time, with figures, and the setting that changes it."""
    cause = cause_of_slowness([spent], SETTINGS)
    assert cause is not None
    assert text in cause
    assert "--timeout" in cause


def test_without_an_answer_there_is_no_cause() -> None:
    """A worker that has had no reply yet says nothing about the speed."""
    assert cause_of_slowness([Times(FakeLink(lambda _: 0))], SETTINGS) is None
    assert cause_of_slowness([], SETTINGS) is None


def test_a_pass_that_is_not_finished_in_time_is_said_early_and_once() -> None:
    """The warning comes once the rest of the pass takes longer than the time that is left, and its rate is known."""
    written = io.StringIO()
    slowness = Slowness(SETTINGS, open_log("json", "info", stream=written))
    spent = times(elapsed=10, waited=9, trip=0.310, way=0.300)
    slowness.look(20.0, 30.0, [spent])
    slowness.look(None, 30.0, [spent])
    slowness.look(80.0, 30.0, [times(elapsed=1, waited=1, trip=0.3, way=0.3)])
    assert not written.getvalue()
    for _ in range(2):
        slowness.look(80.0, 30.0, [spent])
    (line,) = map(json.loads, written.getvalue().splitlines())
    assert (line["level"], line["event"]) == ("warning", "sweep is slow")
    assert line["problem"].startswith("this pass needs about 80 s more, but the sweep ends in 30 s; most of the time")
