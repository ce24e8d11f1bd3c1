"""The only module that deletes."""

import ast
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from redis import exceptions

import k6_sweep
from k6_sweep.cluster.link import Sent, pack
from k6_sweep.cluster.window import Window
from k6_sweep.errors import DeniedError, UnreachableError
from k6_sweep.sweep.batch import Batches, Delete, try_commands
from k6_sweep.sweep.orders import LimitReachedError, Orders, Tally
from tests.unit.cluster.fake_redis import Answer, FakeLink
from tests.unit.sweep.fakes import FakePrimary, orders_for, tally

DELETING = {"UNLINK", "DEL", "GETDEL", "FLUSHDB", "FLUSHALL", "EXPIRE", "PEXPIRE", "RENAME", "RESTORE", "EVAL", "FCALL"}
"""Commands that can take a key away."""


def batches(answer: Answer, orders: Orders | None = None, counts: Tally | None = None) -> Batches:
    return Batches(FakeLink(answer), orders or orders_for(), counts or tally(), Window(10, 1.0))


def deleting_words(source: str) -> Iterator[str]:
    """Yield the words of Python source that name a command which takes keys away."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes):
            text = node.value.decode("latin-1") if isinstance(node.value, bytes) else node.value
            if text.upper() in DELETING:
                yield text


def test_no_other_module_can_delete() -> None:
    """Only sweep/batch.py names a command that takes keys away; the demo empties servers that it has just started."""
    root = Path(next(iter(k6_sweep.__path__)))
    found = {path.relative_to(root).as_posix() for path in root.rglob("*.py") if list(deleting_words(path.read_text()))}
    assert found == {"sweep/batch.py", "demo/servers.py"}
    assert set(deleting_words('link.ask(b"unlink", key), "flushall", "a word"')) == {"unlink", "flushall"}


def test_deletes_are_counted_for_their_patterns() -> None:
    """Deletes are counted by the servers' replies, and patterns by the keys that were sent."""
    counts = tally()
    cluster = FakePrimary({1: [b"test:1"], 2: [b"test:2", b"test:3"]})
    written = batches(cluster, counts=counts).write([Delete(1, [b"test:1", b"test:gone"]), Delete(2, [b"test:2"])])
    assert written is not None
    assert list(written.clean) == [True, True]
    assert (counts.deleted, counts.matched) == (2, [3])
    assert cluster.keys == {1: [], 2: [b"test:3"]}


def test_other_commands_go_with_the_deletes() -> None:
    """Deletes and listings share a write; the replies to the listings are returned unchanged."""
    link = FakeLink(FakePrimary({3: [b"test:1"]}))
    writer = Batches(link, orders_for(), tally(), Window(10, 1.0))
    others = [pack((b"CLUSTER", b"COUNTKEYSINSLOT", 3))]
    write = writer.send([Delete(3, [b"test:1"], probe=True)], others)
    assert write is not None
    written = writer.land(write)
    assert list(written.replies) == [0]
    assert [command[0] for command in link.sent] == [b"UNLINK", b"CLUSTER"]
    assert link.sent[0][1:] == [b"test:1", orders_for().probes.key(3)]


def test_a_refused_delete_gives_its_share_back() -> None:
    """A refused delete returns its keys to the allowance, so that they can be deleted later, and marks the slot."""
    moved = exceptions.MovedError("1 10.0.0.2:6379")
    orders, counts = orders_for(limit=3), tally()
    troubled = batches(
        FakePrimary({1: [b"test:1"]}, lambda command: moved if b"test:1" in command else None), orders, counts
    )
    written = troubled.write([Delete(1, [b"test:1"]), Delete(2, [b"test:2", b"test:3"])])
    assert written is not None
    assert list(written.clean) == [False, True]
    assert "10.0.0.2" in counts.trouble[1]
    orders.allowance.take(1)
    with pytest.raises(LimitReachedError):
        orders.allowance.take(1)


def test_beyond_the_allowance_nothing_is_sent() -> None:
    """A write that would go beyond the bound is not sent at all."""
    cluster = FakePrimary({1: [b"test:1", b"test:2"]})
    with pytest.raises(LimitReachedError):
        batches(cluster, orders_for(limit=1)).write([Delete(1, [b"test:1", b"test:2"])])
    assert cluster.keys == {1: [b"test:1", b"test:2"]}


def test_after_the_deadline_nothing_is_sent() -> None:
    """Without time left a write is not sent."""
    cluster = FakePrimary({1: [b"test:1"]})
    assert batches(cluster, orders_for(remaining=lambda: 0.0)).write([Delete(1, [b"test:1"])]) is None
    assert cluster.keys == {1: [b"test:1"]}


def test_a_dry_run_cannot_delete() -> None:
    """If the orders forbid deleting, a delete sends only EXISTS for the probe."""
    cluster = FakePrimary({1: [b"test:1"]})
    counts = tally()
    written = batches(cluster, orders_for(delete=False), counts).write([Delete(1, [b"test:1"], probe=True)])
    assert written is not None
    assert list(written.clean) == [True]
    assert cluster.keys == {1: [b"test:1"]}
    assert (counts.deleted, counts.matched) == (0, [0])


def test_a_denial_comes_after_the_other_counts() -> None:
    """A missing permission ends the sweep, but first the other deletes of the same write are counted."""
    denied = exceptions.NoPermissionError("no", status_code="NOPERM")
    cluster = FakePrimary({1: [b"test:1"], 2: [b"test:2"]}, lambda command: denied if b"test:1" in command else None)
    counts = tally()
    with pytest.raises(DeniedError, match="NOPERM"):
        batches(cluster, counts=counts).write([Delete(1, [b"test:1"]), Delete(2, [b"test:2"])])
    assert counts.deleted == 1


def test_a_lost_answer_makes_the_count_doubtful() -> None:
    """If the connection breaks, the server may have done the deletes: the tally marks the count as doubtful."""

    class Broken(FakeLink):
        def send(self, commands: Sequence[bytes]) -> Sent:  # noqa: ARG002  # it answers nothing
            raise UnreachableError("lost")

    counts = tally()
    with pytest.raises(UnreachableError):
        Batches(Broken(lambda _: 0), orders_for(), counts, Window(10, 1.0)).write([Delete(1, [b"test:1"])])
    assert counts.unsure == ["a delete got no answer: lost"]


def test_keys_that_have_left_are_deleted_where_they_are() -> None:
    """In a slot that moves, a key that the source no longer has is deleted on the target, after ASKING."""
    ask = exceptions.AskError("1 10.0.0.2:6379")
    source = FakeLink(FakePrimary({1: [b"test:here"]}, lambda command: ask if b"test:gone" in command else None))
    there = FakePrimary({1: [b"test:gone"]}, lambda command: b"OK" if command == [b"ASKING"] else None)
    target = FakeLink(there)
    counts = tally()
    written = Batches(source, orders_for(), counts, Window(10, 1.0), onward=target).write(
        [Delete(1, [b"test:here"]), Delete(1, [b"test:gone"])]
    )
    assert written is not None
    assert list(written.clean) == [True, True]
    assert [command[0] for command in target.sent] == [b"ASKING", b"UNLINK"]
    assert (counts.deleted, there.keys) == (2, {1: []})


def test_permissions_are_tried_on_a_key_that_does_not_exist() -> None:
    """The preflight gets the server's reply to each command that a sweep needs, on a key that does not exist."""
    denied = exceptions.NoPermissionError("no")
    link = FakeLink(lambda command: 0 if command[0] == b"EXISTS" else denied)
    keys = [b"test:absent", b"other:absent"]
    assert list(try_commands(link, keys, delete=True, count=True)) == [
        (key, name, reply) for key in keys for name, reply in (("UNLINK", denied), ("EXISTS", 0))
    ]
    assert list(try_commands(link, keys[:1], delete=False, count=True)) == [(keys[0], "EXISTS", 0)]
