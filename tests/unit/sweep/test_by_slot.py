"""The rule that finishes a slot, against a server with the answers that a test chooses."""

from collections.abc import Callable
from typing import Any

import pytest
from redis import exceptions

from k6_sweep.cluster.window import Window
from k6_sweep.errors import DeniedError
from k6_sweep.sweep.by_slot import ListingDeniedError, SlotSweep
from k6_sweep.sweep.orders import LimitReachedError, Orders, Tally
from tests.unit.cluster.fake_redis import FakeLink
from tests.unit.sweep.fakes import FakePrimary, orders_for, tally


def run(
    cluster: FakePrimary, orders: Orders | None = None, slots: range = range(4)
) -> tuple[Tally, SlotSweep, FakeLink]:
    link, counts = FakeLink(cluster), tally()
    sweep = SlotSweep(link, orders or orders_for(), counts, {}, Window(10, 1.0))
    sweep.run(slots)
    return counts, sweep, link


def four_slots() -> dict[int, list[bytes]]:
    return {slot: [b"test:%d:%d" % (slot, i) for i in range(25)] + [b"user:%d" % slot] for slot in range(4)}


def test_all_slots_are_finished_and_counted() -> None:
    """Matching keys go in batches, others stay, and every slot is finished."""
    keys = four_slots()
    counts, _, link = run(FakePrimary(keys))
    assert (counts.deleted, counts.matched, counts.finished, counts.trouble) == (100, [100], {0, 1, 2, 3}, {})
    assert keys == {slot: [b"user:%d" % slot] for slot in range(4)}
    assert max(len(command) for command in link.sent if command[0] == b"UNLINK") <= 1 + 10 + 1  # a batch and a probe


def test_a_dry_run_never_writes() -> None:
    """Counting uses EXISTS for its probes and sends no UNLINK."""
    keys = four_slots()
    counts, _, link = run(FakePrimary(keys), orders_for(delete=False))
    assert (counts.deleted, counts.matched, counts.finished) == (0, [100], {0, 1, 2, 3})
    assert not [command for command in link.sent if command[0] == b"UNLINK"]


class Once:
    """Answers with an error to the n-th request for the probe of one slot."""

    def __init__(self, slot: int, moment: int, error: Exception) -> None:
        self._key = orders_for().probes.key(slot)
        self._left = moment
        self._error = error

    def __call__(self, command: list[bytes]) -> Any:
        if command[0] in {b"UNLINK", b"EXISTS"} and self._key in command:
            self._left -= 1
            if self._left == 0:
                return self._error
        return None


ERRORS: dict[str, Callable[[], Exception]] = {
    "MOVED": lambda: exceptions.MovedError("2 10.0.0.2:6379"),
    "CLUSTERDOWN": lambda: exceptions.ClusterDownError("Hash slot not served", status_code="CLUSTERDOWN"),
    "READONLY": lambda: exceptions.ReadOnlyError("You can't write", status_code="READONLY"),
    "MISCONF": lambda: exceptions.ResponseError("MISCONF errors writing to disk"),
}


@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS.keys())
@pytest.mark.parametrize("moment", [1, 2], ids=["before the list", "with the delete"])
def test_a_slot_is_finished_only_if_its_owner_answered_twice(error: Callable[[], Exception], moment: int) -> None:
    """An error for either probe leaves the slot open, and the others finished."""
    counts, sweep, _ = run(FakePrimary(four_slots(), Once(2, moment, error())))
    assert counts.finished == {0, 1, 3}
    assert list(counts.trouble) == [2]
    assert not sweep.moving
    assert counts.matched == [counts.deleted]


@pytest.mark.parametrize("error", [exceptions.AskError("2 10.0.0.2:6379"), exceptions.TryAgainError("Multiple keys")])
def test_moving_slots_are_set_aside(error: Exception) -> None:
    """ASK and TRYAGAIN mark a slot as moving, and it is set aside."""
    counts, sweep, _ = run(FakePrimary(four_slots(), Once(2, 1, error)))
    assert counts.finished == {0, 1, 3}
    assert list(sweep.moving) == [2]


def test_a_denial_is_raised_after_all_else_was_counted() -> None:
    """If one slot's delete is denied, the other deletes of the same write are counted before the error is raised."""
    error = exceptions.NoPermissionError("no access to the key", status_code="NOPERM")
    keys = four_slots()
    link, counts = FakeLink(FakePrimary(keys, Once(0, 2, error))), tally()
    with pytest.raises(DeniedError, match=r"redis-0:6379 denies a command: NOPERM .*docs/redis\.md"):
        SlotSweep(link, orders_for(), counts, {}, Window(10, 1.0)).run(range(4))
    assert counts.deleted == 100 - sum(key.startswith(b"test") for held in keys.values() for key in held)


@pytest.mark.parametrize("command", [b"COUNTKEYSINSLOT", b"GETKEYSINSLOT"])
def test_a_forbidden_listing_is_a_matter_of_its_own(command: bytes) -> None:
    """A denied listing is raised as its own error, before anything is deleted."""
    error = exceptions.NoPermissionError("no", status_code="NOPERM")
    keys = four_slots()
    link = FakeLink(FakePrimary(keys, lambda sent: error if command in sent else None))
    with pytest.raises(ListingDeniedError):
        SlotSweep(link, orders_for(), tally(), {}, Window(10, 1.0)).run(range(4))
    assert keys == four_slots()


def test_a_node_that_owns_nothing_is_left() -> None:
    """If a node answers no slot of a group, it is not asked for the others."""
    moved = exceptions.MovedError("2 10.0.0.2:6379")
    cluster = FakePrimary({}, lambda command: moved if command[0] == b"UNLINK" else None)
    counts, _, link = run(cluster, slots=range(2000))
    assert counts.finished == set()
    assert len([command for command in link.sent if command[0] == b"UNLINK"]) < 100


def test_no_time_no_write() -> None:
    """After the deadline no delete is sent, and keys that were only listed are not counted."""
    keys = four_slots()
    counts, _, _ = run(FakePrimary(keys), orders_for(remaining=lambda: 0.0))
    assert (counts.deleted, counts.matched, counts.finished) == (0, [0], set())
    assert keys == four_slots()


def test_the_allowance_is_never_overdrawn() -> None:
    """A delete that would go beyond the allowance is not sent."""
    keys = four_slots()
    link, counts = FakeLink(FakePrimary(keys)), tally()
    with pytest.raises(LimitReachedError):
        SlotSweep(link, orders_for(limit=55), counts, {}, Window(10, 1.0)).run(range(4))
    assert counts.deleted == 50


def test_what_was_refused_does_not_use_up_the_allowance() -> None:
    """Keys whose delete a server answered with an error may be deleted later: they are still there."""
    keys = four_slots()
    orders = orders_for(limit=100)
    counts, _, _ = run(FakePrimary(keys, Once(2, 2, exceptions.MovedError("2 10.0.0.2:6379"))), orders)
    assert counts.finished == {0, 1, 3}
    again, _, _ = run(FakePrimary(keys), orders)
    assert counts.deleted + again.deleted == 100
    assert keys == {slot: [b"user:%d" % slot] for slot in range(4)}
