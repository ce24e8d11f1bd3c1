r"""The keys that existed before a test, as a file: 8 bytes per key, with a checksum that is checked before use.

    k6-sweep snapshot 1\n      the format
    {"patterns": …}\n          a header in JSON: the fields of `Snapshot` except the hashes
    16,384 numbers of 4 bytes  how many keys each slot has
    numbers of 8 bytes         the keys' hashes, slot after slot, in order within a slot
    32 bytes                   blake2b of everything before

Numbers are in the machine's byte order, because the pod that wrote a snapshot also reads it. Two keys with the same
hash (one pair in 2**64) count as one: that can only spare a key, never delete one.
"""

import heapq
import itertools
import json
import os
import socket
import tempfile
import threading
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Final

from k6_sweep.cluster.slots import ALL_SLOTS, SLOT_COUNT, format_ranges, key_slot, parse_ranges
from k6_sweep.errors import RefusedError
from k6_sweep.patterns import Pattern
from k6_sweep.sweep.orders import LimitReachedError

_FIRST_LINE: Final = b"k6-sweep snapshot 1\n"
_DIGEST_SIZE: Final = 32
_NONE: Final = array("Q")
_SORTED_AT_ONCE: Final = 100_000
_READABLE: Final = 0o644


def _hash(key: bytes) -> int:
    """Return a 64-bit hash of a key, which is the same on every machine and in every process."""
    return int.from_bytes(blake2b(key, digest_size=8).digest(), "little")


@dataclass(frozen=True)
class Snapshot:
    """The keys that existed, with the patterns, the Redis and the time."""

    patterns: tuple[str, ...]
    redis: frozenset[str]
    """The ids of the cluster's nodes, or the address of a single server."""
    unproven: tuple[int, ...]
    """The slots whose keys may be incomplete."""
    host: str
    """The name of the machine that took it; in Kubernetes, the pod's name."""
    pod: str | None
    """The pod's uid; None if there is no pod, or if its uid is not known."""
    taken_at: datetime
    hashes: "Sequence[array[int] | memoryview[int]]" = field(repr=False)
    """The keys' hashes, in order, slot by slot."""

    @property
    def size(self) -> int:
        """The number of keys."""
        return sum(map(len, self.hashes))

    def __contains__(self, key: object) -> bool:
        """Whether a key (bytes) existed."""
        if not isinstance(key, bytes):
            return False
        value, of_slot = _hash(key), self.hashes[key_slot(key)]
        at = bisect_left(of_slot, value)
        return at < len(of_slot) and of_slot[at] == value

    def __str__(self) -> str:
        return f"the snapshot of {self.size:,} keys that {self.host} took at {self.taken_at:%Y-%m-%dT%H:%M:%SZ}"

    def check_patterns(self, patterns: Iterable[Pattern], file: Path) -> None:
        """Refuse to sweep patterns that the snapshot does not cover.

        Raises:
            RefusedError: The snapshot does not cover one of the patterns.
        """
        noted_down = [Pattern(text) for text in self.patterns]
        if strange := [pattern.text for pattern in patterns if not any(map(pattern.is_within, noted_down))]:
            names, noted = ", ".join(map(repr, strange)), ", ".join(map(repr, self.patterns))
            raise RefusedError(
                f"the snapshot {file} covers {noted}, but not {names}; take it with the --pattern of the sweep"
            )

    def check_redis(self, redis: frozenset[str], file: Path) -> None:
        """Refuse a Redis other than the one of the snapshot.

        Raises:
            RefusedError: The snapshot knows none of its nodes.
        """
        if not redis & self.redis:
            raise RefusedError(f"the snapshot {file} is of another Redis; use one --redis-url for both")

    def write(self, file: Path) -> None:
        """Write the file in one step: it is either complete or absent.

        Raises:
            OSError: The file cannot be written.
        """
        header = {
            "patterns": self.patterns,
            "redis": sorted(self.redis),
            "unproven": format_ranges(self.unproven),
            "host": self.host,
            "pod": self.pod,
            "taken_at": self.taken_at.isoformat(),
        }
        digest = blake2b(digest_size=_DIGEST_SIZE)
        with tempfile.NamedTemporaryFile(dir=file.parent, prefix=f".{file.name}.", delete=False) as draft:
            try:
                counts = array("I", map(len, self.hashes))
                beginning = _FIRST_LINE + json.dumps(header).encode() + b"\n"
                for part in itertools.chain((beginning, counts), self.hashes):
                    digest.update(part)
                    draft.write(part)
                draft.write(digest.digest())
                draft.flush()
                os.fchmod(draft.fileno(), _READABLE)
                os.fsync(draft.fileno())
                Path(draft.name).rename(file)
            except BaseException:
                Path(draft.name).unlink(missing_ok=True)
                raise


def read_snapshot(file: Path) -> Snapshot:
    """Read a snapshot from its file.

    Raises:
        RefusedError: The file cannot be read, or differs from what was written.
    """
    try:
        content = memoryview(file.read_bytes())
    except OSError as error:
        raise RefusedError(
            f"the snapshot cannot be read ({error}); take one before the test with: k6-sweep snapshot --out {file}"
        ) from error
    body, digest = content[:-_DIGEST_SIZE], content[-_DIGEST_SIZE:]
    if bytes(body[: len(_FIRST_LINE)]) != _FIRST_LINE:
        raise RefusedError(f"{file} is not a snapshot of this version of k6-sweep; take it with this version")
    if blake2b(body, digest_size=_DIGEST_SIZE).digest() != digest:
        raise RefusedError(f"the snapshot {file} is damaged: its checksum is wrong; nothing was deleted")
    start = bytes(body).index(b"\n", len(_FIRST_LINE)) + 1
    header = json.loads(bytes(body[len(_FIRST_LINE) : start]))
    middle = start + 4 * SLOT_COUNT
    counts = body[start:middle].cast("I")
    if 8 * sum(counts) != len(body) - middle:
        raise RefusedError(f"the snapshot {file} is damaged: it is too short; nothing was deleted")
    hashes = body[middle:].cast("Q")
    ends = list(itertools.accumulate(counts, initial=0))
    return Snapshot(
        patterns=tuple(header["patterns"]),
        redis=frozenset(header["redis"]),
        unproven=tuple(parse_ranges(header["unproven"])),
        host=header["host"],
        pod=header["pod"],
        taken_at=datetime.fromisoformat(header["taken_at"]),
        hashes=[hashes[start:end] for start, end in itertools.pairwise(ends)],
    )


class Notebook:
    """Collects keys while they are found, from any thread, in 8 bytes each."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._noted: dict[int, array[int]] = {}
        self._count = 0
        self._lock = threading.Lock()

    def add(self, keys: Iterable[bytes]) -> None:
        """Add some keys; a key that comes twice counts once.

        Raises:
            LimitReachedError: There are more keys than the limit.
        """
        by_slot: dict[int, list[int]] = {}
        for key in keys:
            by_slot.setdefault(key_slot(key), []).append(_hash(key))
        with self._lock:
            for slot, values in by_slot.items():
                self._noted[slot] = self._noted.get(slot, _NONE) + array("Q", sorted(values))
                self._count += len(values)
            if self._count <= self._limit:
                return
            for slot, noted in self._noted.items():
                self._noted[slot] = _in_order(noted)
            self._count = sum(map(len, self._noted.values()))
            if self._count > self._limit:
                raise LimitReachedError

    def snapshot(
        self, patterns: Iterable[Pattern], redis: frozenset[str], unproven: Iterable[int], pod: str | None = None
    ) -> Snapshot:
        """Return the collected keys as a snapshot from this machine and this moment."""
        return Snapshot(
            patterns=tuple(pattern.text for pattern in patterns),
            redis=redis,
            unproven=tuple(unproven),
            host=socket.gethostname(),
            pod=pod,
            taken_at=datetime.now(UTC),
            hashes=[_in_order(self._noted.pop(slot, _NONE)) for slot in ALL_SLOTS],
        )


def _in_order(values: "array[int]") -> "array[int]":
    """Return the values sorted and without duplicates, in little memory: a list of ints is five times as large."""
    if all(first < second for first, second in itertools.pairwise(values)):
        return values  # true for all but the fullest slots: no second copy
    pieces = [
        array("Q", sorted(values[start : start + _SORTED_AT_ONCE])) for start in range(0, len(values), _SORTED_AT_ONCE)
    ]
    return array("Q", (value for value, _ in itertools.groupby(heapq.merge(*pieces))))
