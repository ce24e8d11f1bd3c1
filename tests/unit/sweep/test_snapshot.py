"""The snapshot: its content, its cost, and the refusal of incomplete files."""

import dataclasses
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k6_sweep.errors import RefusedError
from k6_sweep.patterns import Pattern
from k6_sweep.sweep.orders import LimitReachedError
from k6_sweep.sweep.snapshot import Notebook, Snapshot, read_snapshot

PATTERNS = [Pattern("test:*"), Pattern("queue:*")]
NODES = frozenset({"one", "two"})


def of(keys: list[bytes], unproven: tuple[int, ...] = ()) -> Snapshot:
    notebook = Notebook(10**9)
    notebook.add(keys)
    return notebook.snapshot(PATTERNS, NODES, unproven)


@given(st.sets(st.binary(max_size=30)), st.sets(st.binary(max_size=30)))
def test_it_knows_exactly_its_keys(existing: set[bytes], later: set[bytes]) -> None:
    """A key is in the snapshot if and only if it was recorded."""
    snapshot = of(sorted(existing))
    assert all(key in snapshot for key in existing)
    assert not [key for key in later - existing if key in snapshot]
    assert snapshot.size == len(existing)


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    """A written snapshot comes back with everything in it."""
    snapshot = of([b"test:%d" % i for i in range(5000)] * 2, unproven=(3, 4, 5, 16383))
    snapshot.write(tmp_path / "file")
    found = read_snapshot(tmp_path / "file")
    assert [list(of_slot) for of_slot in found.hashes] == [list(of_slot) for of_slot in snapshot.hashes]
    assert dataclasses.replace(found, hashes=[]) == dataclasses.replace(snapshot, hashes=[])
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_a_key_takes_eight_bytes(tmp_path: Path) -> None:
    """A recorded key takes 8 bytes of memory and file, in addition to the snapshot's fixed size."""
    keys = [b"test:{%d}%d" % (i % 100, i) for i in range(200_000)]
    of([]).write(tmp_path / "empty")
    notebook = Notebook(10**9)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for start in range(0, len(keys), 1000):
        notebook.add(keys[start : start + 1000])
    taken = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    of(keys).write(tmp_path / "full")
    assert taken / len(keys) < 12  # arrays grow in steps
    grown = (tmp_path / "full").stat().st_size - (tmp_path / "empty").stat().st_size
    assert grown == 8 * len(keys)


def test_a_fat_slot_is_kept_in_order() -> None:
    """Hundreds of thousands of keys in one slot, some recorded twice, are each found once."""
    keys = [b"test:{tag}%d" % i for i in range(250_000)]
    snapshot = of([*keys, *keys[:1000]])
    assert snapshot.size == 250_000
    assert keys[0] in snapshot
    assert keys[-1] in snapshot
    assert b"test:{tag}250000" not in snapshot


def test_the_hash_is_the_same_everywhere() -> None:
    """A key's 64 bits are blake2b's, on every machine and in every process; never those of Python's hash()."""
    (only,) = (of_slot for of_slot in of([b"test:1"]).hashes if of_slot)
    assert list(only) == [int.from_bytes(bytes.fromhex("a0dbaec934b1bee5"), "little")]


@pytest.mark.parametrize("at", [0, 30, 1000, 70_000, -40, -1])
def test_a_changed_byte_is_noticed(at: int, tmp_path: Path) -> None:
    """A file with any byte changed is refused."""
    of([b"test:%d" % i for i in range(3000)]).write(tmp_path / "file")
    content = bytearray((tmp_path / "file").read_bytes())
    content[at] ^= 1
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(RefusedError, match=r"damaged|not a snapshot"):
        read_snapshot(tmp_path / "file")


@pytest.mark.parametrize("size", [0, 5, 25, 1000, 66_000, -1])
def test_a_cut_file_is_noticed(size: int, tmp_path: Path) -> None:
    """A file that is too short is refused."""
    of([b"test:%d" % i for i in range(3000)]).write(tmp_path / "file")
    (tmp_path / "file").write_bytes((tmp_path / "file").read_bytes()[:size])
    with pytest.raises(RefusedError, match=r"damaged|not a snapshot"):
        read_snapshot(tmp_path / "file")


def test_a_missing_file_names_the_command_that_writes_it(tmp_path: Path) -> None:
    """Without the file nothing is deleted, and the command that writes it is named."""
    with pytest.raises(RefusedError, match="k6-sweep snapshot --out"):
        read_snapshot(tmp_path / "none")


def test_it_vouches_for_its_own_patterns_and_redis_only() -> None:
    """A snapshot refuses other patterns and a Redis without known nodes; narrower patterns or one node are accepted."""
    snapshot, file = of([]), Path("file")
    snapshot.check_patterns(PATTERNS[1:], file)
    snapshot.check_patterns([Pattern(f"{pattern.text}x") for pattern in PATTERNS], file)  # narrower
    snapshot.check_redis(frozenset({"two", "three"}), file)
    with pytest.raises(RefusedError, match=r"covers 'test:\*', 'queue:\*', but not 'user:\*'"):
        snapshot.check_patterns([*PATTERNS, Pattern("user:*")], file)
    with pytest.raises(RefusedError, match="another Redis"):
        snapshot.check_redis(frozenset({"three"}), file)


def test_the_limit_is_of_different_keys() -> None:
    """Keys that are recorded twice count once; one key above the limit is refused."""
    notebook = Notebook(100)
    for _ in range(3):
        notebook.add([b"test:%d" % i for i in range(100)])
    with pytest.raises(LimitReachedError):
        notebook.add([b"test:100"])
