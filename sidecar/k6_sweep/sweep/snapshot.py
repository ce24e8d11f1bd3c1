r"""The keys that existed before a test, as a file: 8 bytes per key, with a checksum that is checked before use.

    k6-sweep snapshot 2\n      the format
    {"patterns": …}\n          a header in JSON: the fields of `Snapshot` except the last two
    16,384 numbers of 4 bytes  how many keys each slot has
    numbers of 8 bytes         the keys' hashes, slot after slot, in order within a slot
    32 bytes                   blake2b of everything before
    by HOST at TIME\n          for each complete sweep with it

Numbers are in the machine's byte order, because the pod that wrote a snapshot also reads it. Two keys with the same
hash (one pair in 2**64) count as one: that can only spare a key, never delete one.
"""

import heapq
import itertools
import json
import os
import socket
import threading
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Final

from k6_sweep.cluster.slots import ALL_SLOTS, format_ranges, key_slot
from k6_sweep.errors import RefusedError
from k6_sweep.files.regular import UnusableFileError, open_regular
from k6_sweep.files.whole import write_whole
from k6_sweep.patterns import Pattern
from k6_sweep.sweep.orders import LimitReachedError

FIRST_LINE: Final = b"k6-sweep snapshot 2\n"
DIGEST_SIZE: Final = 32
_NONE: Final = array("Q")
_SORTED_AT_ONCE: Final = 100_000
_CLOCKS_DIFFER: Final = 60.0
"""Seconds by which the clocks of two machines may differ."""


def _hash(key: bytes) -> int:
    """Return a 64-bit hash of a key, which is the same on every machine and in every process."""
    return int.from_bytes(blake2b(key, digest_size=8).digest(), "little")


@dataclass(frozen=True)
class Snapshot:
    """The keys that existed, with the patterns, the Redis and the time."""

    patterns: tuple[str, ...]
    redis: frozenset[str]
    """The ids of its data: see `k6_sweep.cluster.identity`."""
    unproven: tuple[int, ...]
    """The slots whose keys may be incomplete."""
    host: str
    """The name of the machine that took it; in Kubernetes, the pod's name."""
    pod: str | None
    """The pod's uid; None if there is no pod, or if its uid is not known."""
    taken_at: datetime
    hashes: "Sequence[array[int] | memoryview[int]]" = field(repr=False)
    """The keys' hashes, in order, slot by slot."""
    used: str = ""
    """The first complete sweep with it, in words; empty if there was none."""

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
        return f"the snapshot of {self.size:,} keys that {self.host} took at {_in_words(self.taken_at)}"

    def is_of(self, pod: str | None) -> bool:
        """Whether this pod took it, by its uid. The pod's name is not enough: a StatefulSet uses a name again."""
        return self.pod is not None and self.pod == pod

    def check_use(self, file: Path, max_age: float, pod: str | None) -> None:
        """Refuse a snapshot that is of an earlier test: then keys that came later are not only this test's.

        The pod that took it may always use it: a test may run for days, and a sidecar may restart after its sweep.

        Raises:
            RefusedError: It is older than `max_age` seconds, of the future, or used by a complete sweep.
        """
        if self.is_of(pod):
            return
        age = (datetime.now(UTC) - self.taken_at).total_seconds()
        when = f"the snapshot {file} was taken at {_in_words(self.taken_at)}"
        if age > max_age:
            raise RefusedError(
                f"{when}, {age:,.0f} s ago, but --snapshot-max-age is {max_age:,.0f} s; take a new one before the "
                "test, or raise --snapshot-max-age"
            )
        if age < -_CLOCKS_DIFFER:
            raise RefusedError(f"{when}, which is {-age:,.0f} s in the future; correct the clock, or take a new one")
        if self.used:
            raise RefusedError(
                f"{when} and was used for a complete sweep ({self.used}), so it is of an earlier test; delete it, and "
                "take a new one before the test"
            )

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
            RefusedError: The snapshot knows none of its ids.
        """
        if not redis & self.redis:
            raise RefusedError(
                f"the snapshot {file} is of another Redis or of another database; use one --redis-url for both (a "
                "single server that was restarted is another one)"
            )

    def write(self, file: Path) -> None:
        """Write the file in one step: it is either complete or absent.

        Raises:
            OSError: The file cannot be written.
        """
        write_whole(file, self._content())

    def _content(self) -> Iterator[bytes | memoryview]:
        header = {
            "patterns": self.patterns,
            "redis": sorted(self.redis),
            "unproven": format_ranges(self.unproven),
            "host": self.host,
            "pod": self.pod,
            "taken_at": self.taken_at.isoformat(),
        }
        digest = blake2b(digest_size=DIGEST_SIZE)
        beginning = FIRST_LINE + json.dumps(header).encode() + b"\n"
        counts = array("I", map(len, self.hashes))
        for part in itertools.chain((beginning, counts), self.hashes):
            digest.update(part)
            yield memoryview(part)
        yield digest.digest()


def mark_used(file: Path) -> None:
    """Note at the end of a snapshot that a complete sweep has used it.

    Raises:
        OSError: The file cannot be written, or is not a snapshot.
    """
    descriptor = open_regular(file, os.O_RDWR | os.O_APPEND)
    try:
        if os.pread(descriptor, len(FIRST_LINE), 0) != FIRST_LINE:
            raise UnusableFileError("it is not a snapshot now", file)
        os.write(descriptor, f"by {socket.gethostname()} at {_in_words(datetime.now(UTC))}\n".encode())
    finally:
        os.close(descriptor)


def _in_words(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


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
