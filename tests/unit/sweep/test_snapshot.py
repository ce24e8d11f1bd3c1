"""The snapshot: its content, its cost, and the refusal of incomplete files."""

import dataclasses
import json
import os
import tempfile
import tracemalloc
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k6_sweep.errors import RefusedError
from k6_sweep.patterns import Pattern
from k6_sweep.sweep.orders import LimitReachedError
from k6_sweep.sweep.read_snapshot import read_snapshot
from k6_sweep.sweep.snapshot import Notebook, Snapshot, mark_used

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


def test_a_foreign_file_is_not_read_whole(tmp_path: Path) -> None:
    """Of a file that is no snapshot only the beginning is read, however large it is."""
    with (tmp_path / "file").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(RefusedError, match="not a snapshot"):
        read_snapshot(tmp_path / "file")


def with_header(header: object, file: Path) -> None:
    """Write an empty snapshot with any header and the right checksum."""
    body = b"k6-sweep snapshot 2\n" + json.dumps(header).encode() + b"\n" + bytes(4 * 16384)
    file.write_bytes(body + blake2b(body, digest_size=32).digest())


GOOD = {
    "patterns": ["a:*"],
    "redis": ["x/0"],
    "unproven": "",
    "host": "h",
    "pod": None,
    "taken_at": "2026-01-01T00:00:00+00:00",
}
ANY_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["0-5,5", "1-99999999999", "-", "\ud800"]),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(ANY_JSON | st.fixed_dictionaries({name: st.just(value) | ANY_JSON for name, value in GOOD.items()}))
def test_a_strange_header_is_refused(header: object) -> None:
    """A file with a right checksum and any header is read as a snapshot whose fields are sound, or is refused."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "file")
        with_header(header, file)
        try:
            found = read_snapshot(file)
        except RefusedError as error:
            refused = str(error)
        else:
            refused = ""
        if refused:
            assert "has a header that this version of k6-sweep does not know" in refused
            return
        found.write(file)
        assert read_snapshot(file) == found
        assert str(found)
        with pytest.raises(RefusedError, match="covers"):
            found.check_patterns([Pattern("not of any of them")], file)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("taken_at", "2026-01-01T00:00:00"),
        ("taken_at", "2026-01-01T00:00:00+01:00"),
        ("taken_at", "yesterday"),
        ("taken_at", 5),
        ("unproven", "5-3"),
        ("unproven", "16384"),
        ("unproven", "0-99999999999"),
        ("unproven", "5,5"),
        ("unproven", [5]),
        ("patterns", "a:*"),
        ("patterns", []),
        ("patterns", [5]),
        ("patterns", ["\ud800"]),
        ("redis", []),
        ("redis", {"x": 1}),
        ("host", None),
        ("pod", 5),
    ],
)
def test_each_field_is_checked(field: str, value: object, tmp_path: Path) -> None:
    """A header with one wrong type or range is refused, and the good one is accepted."""
    with_header(GOOD, tmp_path / "file")
    assert read_snapshot(tmp_path / "file").size == 0
    with_header(GOOD | {field: value}, tmp_path / "file")
    with pytest.raises(RefusedError, match="has a header"):
        read_snapshot(tmp_path / "file")


def test_other_fields_and_deep_nesting_are_refused(tmp_path: Path) -> None:
    """A header with a field too many or too few, or nested too deeply for the parser, is refused."""
    for header in ({}, GOOD | {"more": 1}, [GOOD]):
        with_header(header, tmp_path / "file")
        with pytest.raises(RefusedError, match="other fields"):
            read_snapshot(tmp_path / "file")
    body = b"k6-sweep snapshot 2\n" + b"[" * 100_000 + b"\n" + bytes(4 * 16384)
    (tmp_path / "file").write_bytes(body + blake2b(body, digest_size=32).digest())
    with pytest.raises(RefusedError, match="has a header"):
        read_snapshot(tmp_path / "file")


def aged(seconds: float, pod: str | None = None, used: str = "") -> Snapshot:
    taken_at = datetime.now(UTC) - timedelta(seconds=seconds)
    return dataclasses.replace(of([]), taken_at=taken_at, pod=pod, used=used)


def test_an_old_snapshot_is_refused() -> None:
    """A snapshot is refused beyond the age limit, and the message has its age, the limit and the setting."""
    aged(3500).check_use(Path("file"), 3600, None)
    with pytest.raises(RefusedError, match=r"the snapshot file was taken at .*, 3,\d\d\d s ago") as refused:
        aged(3610).check_use(Path("file"), 3600, None)
    assert "--snapshot-max-age is 3,600 s" in str(refused.value)


def test_a_snapshot_of_the_future_is_refused() -> None:
    """A snapshot may be up to a minute in the future, because clocks differ a little."""
    aged(-30).check_use(Path("file"), 3600, None)
    with pytest.raises(RefusedError, match=r"s in the future; correct the clock"):
        aged(-900).check_use(Path("file"), 3600, None)


def test_a_used_snapshot_is_refused() -> None:
    """A snapshot that a complete sweep has used is refused, and the message says when and where."""
    with pytest.raises(RefusedError, match=r"used for a complete sweep \(by me at 5\)"):
        aged(0, used="by me at 5").check_use(Path("file"), 3600, None)


@pytest.mark.parametrize(("pod", "same"), [("uid", True), ("other", False), (None, False)])
def test_the_pod_that_took_it_may_always_use_it(pod: str | None, same: bool) -> None:
    """Age and use do not count for the same pod; a pod with another uid, or without a known one, is another."""
    for found in (aged(10**6, "uid"), aged(-1000, "uid"), aged(0, "uid", used="by me at 5")):
        if same:
            found.check_use(Path("file"), 3600, pod)
        else:
            with pytest.raises(RefusedError):
                found.check_use(Path("file"), 3600, pod)
    with pytest.raises(RefusedError):
        aged(10**6, pod=None).check_use(Path("file"), 3600, None)


def test_a_mark_changes_nothing_else(tmp_path: Path) -> None:
    """A marked snapshot has the same content; the first mark stays the first, and any rest counts as a mark."""
    file, snapshot = tmp_path / "file", of([b"test:1", b"test:2"])
    snapshot.write(file)
    before = file.read_bytes()
    assert read_snapshot(file).used == ""
    mark_used(file)
    first = read_snapshot(file).used
    assert first.startswith("by ")
    mark_used(file)
    assert read_snapshot(file).used == first
    assert file.read_bytes().startswith(before)
    assert b"test:1" in read_snapshot(file)
    for rest in (b"\xff", b"\n", b"b"):
        file.write_bytes(before + rest)
        assert read_snapshot(file).used


def test_only_a_snapshot_is_marked(tmp_path: Path) -> None:
    """A file that took the snapshot's place is not written to."""
    (tmp_path / "file").write_text("my notes, long enough to be anything")
    with pytest.raises(OSError, match="not a snapshot now"):
        mark_used(tmp_path / "file")
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OSError, match="FIFO"):
        mark_used(tmp_path / "fifo")
    assert (tmp_path / "file").read_text() == "my notes, long enough to be anything"


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
    with pytest.raises(RefusedError, match="another Redis or of another database"):
        snapshot.check_redis(frozenset({"three"}), file)


def test_the_limit_is_of_different_keys() -> None:
    """Keys that are recorded twice count once; one key above the limit is refused."""
    notebook = Notebook(100)
    for _ in range(3):
        notebook.add([b"test:%d" % i for i in range(100)])
    with pytest.raises(LimitReachedError):
        notebook.add([b"test:100"])
