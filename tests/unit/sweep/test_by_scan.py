"""The sweep of one server with SCAN, against fakeredis and against a server that fails."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import fakeredis
import pytest
from redis import exceptions

from k6_sweep.cluster.link import Sent
from k6_sweep.cluster.slots import ALL_SLOTS
from k6_sweep.cluster.window import Window
from k6_sweep.errors import DeniedError, UnreachableError
from k6_sweep.patterns import Pattern
from k6_sweep.sweep.by_scan import ScanSweep
from k6_sweep.sweep.orders import Orders, Pace, Tally
from k6_sweep.sweep.probes import reachable_slots
from tests.unit.cluster.fake_redis import Answer, FakeLink
from tests.unit.sweep.fakes import orders_for, tally


class FakeServer:
    """A fakeredis that answers like a server on the network; `troubles` may answer in its place."""

    def __init__(self, keys: int, troubles: Answer = lambda _: None) -> None:
        self.redis = fakeredis.FakeRedis()
        for number in range(keys):
            self.redis.set(f"test:{number}", "x")
            self.redis.set(f"user:{number}", "x")
        self._troubles = troubles

    def __call__(self, command: list[bytes]) -> Any:
        if (trouble := self._troubles(command)) is not None:
            return trouble
        words = [word.decode() for word in command]
        reply = self.redis.execute_command(*words)  # type: ignore[no-untyped-call]  # redis-py has no types here
        return [b"%d" % int(reply[0]), reply[1]] if words[0] == "SCAN" else reply


def run(server: FakeServer, orders: Orders | None = None, slots: Sequence[int] = ALL_SLOTS) -> Tally:
    orders = orders or orders_for()
    counts = tally(orders.matcher.size)
    ScanSweep(FakeLink(server), orders, counts, clustered=False, window=Window(10, 1.0)).run(slots)
    return counts


def test_matching_keys_go() -> None:
    """SCAN deletes and counts all matching keys, leaves the others, and finishes the server."""
    server = FakeServer(60)
    counts = run(server)
    assert (counts.deleted, counts.matched, len(counts.finished)) == (60, [60], 16384)
    assert len(server.redis.keys("user:*")) == server.redis.dbsize() == 60


def test_with_a_rate_a_delete_is_counted_before_the_next_one_waits() -> None:
    """If k6-sweep is stopped while it waits for --max-rate, all deletes that the server has done are counted."""
    server, counts, waits = FakeServer(60), tally(), []

    def sleep(_: float) -> None:
        waits.append(counts.deleted)
        now[0] += 1

    now = [0.0]
    orders = replace(orders_for(), pace=Pace(10, lambda: now[0], sleep))
    ScanSweep(FakeLink(server), orders, counts, clustered=False, window=Window(10, 1.0)).run(ALL_SLOTS)
    assert waits == sorted(waits)
    assert 0 < waits[0] < waits[-1] < counts.deleted == 60


def test_all_deletes_without_an_answer_make_the_count_doubtful() -> None:
    """If the connection breaks while several deletes are under way, each of them is recorded as unanswered."""

    class Breaking(FakeLink):
        unlinks = 0

        def send(self, commands: Sequence[bytes]) -> Sent:
            if b"UNLINK" not in commands[0] or b"nonce" in commands[0]:
                return super().send(commands)
            self.unlinks += 1
            if self.unlinks > 1:
                self.closed = True
                raise UnreachableError("lost")
            return Sent(self, len(commands))

        def receive(self, sent: Sent) -> list[Any]:
            if sent.received is None:
                raise UnreachableError("lost")
            return sent.received

    counts, window = tally(), Window(10, 1.0)
    window.note_keys([b"test:1"])
    window.in_flight = 1000
    with pytest.raises(UnreachableError):
        ScanSweep(Breaking(FakeServer(60)), orders_for(), counts, clustered=False, window=window).run(ALL_SLOTS)
    assert counts.unsure == ["a delete got no answer: lost"] * 2


def test_a_dry_run_counts() -> None:
    """A dry run deletes nothing."""
    server = FakeServer(60)
    counts = run(server, orders_for(delete=False))
    assert (counts.deleted, counts.matched, len(counts.finished)) == (0, [60], 16384)
    assert server.redis.dbsize() == 120


@pytest.mark.parametrize("globs", [("test:*",), ("test:1", "test:{a}*")], ids=["anywhere", "pinned"])
@pytest.mark.parametrize("word", [b"UNLINK", b"SCAN"])
def test_a_server_that_answers_with_an_error_is_not_finished(word: bytes, globs: tuple[str, ...]) -> None:
    """After one temporary error the walk proves nothing and starts again."""
    left = [2]

    def once(command: list[bytes]) -> Exception | None:
        left[0] -= command[0] == word
        return (
            exceptions.ResponseError("MISCONF errors writing to disk") if left[0] == 0 and command[0] == word else None
        )

    slots = reachable_slots([Pattern(glob) for glob in globs])
    assert run(FakeServer(60, once), orders_for(*globs), slots).finished == set()


def test_a_denial_is_final() -> None:
    """A command that is forbidden ends the sweep."""
    denied = exceptions.NoPermissionError("no", status_code="NOPERM")
    with pytest.raises(DeniedError):
        run(FakeServer(60, lambda command: denied if command[0] == b"SCAN" else None))


def test_time_up() -> None:
    """Without time the walk does not start."""
    assert run(FakeServer(60), orders_for(remaining=lambda: 0.0)).finished == set()
