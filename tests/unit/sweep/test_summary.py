"""The sentences of the report."""

import re

from hypothesis import given
from hypothesis.strategies import (
    booleans,
    builds,
    dictionaries,
    integers,
    just,
    lists,
    none,
    sampled_from,
    sets,
    text,
)

from k6_sweep.cluster.topology import Shard, Topology
from k6_sweep.errors import DeniedError
from k6_sweep.settings.values import Address
from k6_sweep.sweep.orders import Tally
from k6_sweep.sweep.pass_result import PassResult
from k6_sweep.sweep.result import SweepReport
from k6_sweep.sweep.summary import Ending, summarize
from k6_sweep.sweep.unused import Unused
from tests.support import settings_for

NODE = Address("redis-0", 6379)
TOPOLOGY = Topology(clustered=True, shards=(Shard(NODE, "one", 0, range(16384)),))


def one_pass(started: float, deleted: int, left_open: set[int] | None = None) -> PassResult:
    tally = Tally([deleted], deleted=deleted)
    return PassResult(open=left_open or set(), started=started, tallies={NODE: [tally]})


def summarized(passes: list[PassResult], ending: Ending, unproven: frozenset[int] = frozenset()) -> SweepReport:
    return summarize(
        settings_for("redis://redis-0"),
        passes,
        ending,
        topology=TOPOLOGY,
        by_scan=False,
        slots_asked=range(16384),
        unproven=unproven,
        unused=Unused(()),
        seconds=60.0,
        stopped_by="stopped by a test",
    )


def errors(passes: list[PassResult], ending: Ending, unproven: frozenset[int] = frozenset()) -> tuple[str, ...]:
    return summarized(passes, ending, unproven).errors


def test_the_rate_of_late_writers_is_that_of_the_last_whole_pass() -> None:
    """300 new keys in a pass that began 2 seconds after the previous one are 150 a second; a cut pass gives no rate."""
    passes = [one_pass(0.0, 9000), one_pass(10.0, 500), one_pass(12.0, 300), one_pass(14.0, 7, {5})]
    said = " ".join(errors(passes, Ending(verified=False)))
    assert re.search(r"about 150 a second: a pass found 300 new keys", said)


def test_no_late_writer_is_named_without_a_second_pass() -> None:
    """If the first pass was not completed, the report names no late writers."""
    said = " ".join(errors([one_pass(0.0, 9000, {1, 2})], Ending(verified=False)))
    assert "stopped by a test" in said
    assert "written" not in said
    assert "slots not swept completely: 1-2" in said


def test_slots_without_a_snapshot_make_a_sweep_incomplete() -> None:
    """Slots that the snapshot does not cover make the sweep incomplete, and the report names them."""
    passes = [one_pass(0.0, 10), one_pass(1.0, 0)]
    said = errors(passes, Ending(verified=True), frozenset({3, 4}))
    assert said[0] == "slots not swept, because the snapshot is incomplete for them: 3-4"


REASON = text(min_size=1, max_size=5)
TALLIES = builds(
    Tally,
    matched=just([1]),
    deleted=integers(0, 1),
    finished=sets(sampled_from(range(3))),
    unsure=lists(REASON, max_size=8),
)
PASSES = builds(
    PassResult,
    open=sets(sampled_from(range(3))),
    started=just(0.0),
    tallies=dictionaries(sampled_from([NODE, Address("redis-1", 6379)]), lists(TALLIES, min_size=1, max_size=2)),
    doubts=lists(REASON, max_size=8),
    denied=none() | just(DeniedError("denied")),
    over_limit=booleans(),
    rounds=just(1),
)


@given(lists(PASSES, min_size=1, max_size=4), builds(Ending, verified=booleans(), may_delete=booleans()))
def test_what_is_not_exact_has_a_reason(passes: list[PassResult], ending: Ending) -> None:
    """Whatever happened in the passes, a report without errors is exact, and only then are the counts beyond doubt."""
    report = summarized(passes, ending)
    assert report.exact or report.errors
    assert report.exact is not (any(each.unsure for each in passes) or passes[-1].final)
