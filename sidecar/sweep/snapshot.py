r"""The keys that existed before a test, as a file: 8 bytes a key, checked whole before it is believed.

    k6-sweep snapshot 1\n      the format
    {"patterns": …}\n          a header in JSON: what it is a snapshot of
    16,384 numbers of 4 bytes  how many keys each slot has
    numbers of 8 bytes         the keys' hashes, slot after slot, in order within a slot
    32 bytes                   blake2b of all that

Numbers are little-endian. Two keys with the same hash (one pair in 2**64) are taken for one: that spares a key, and
never loses one.
"""

import heapq
import itertools
import json
import os
import socket
import sys
import tempfile
import threading
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

from sidecar.errors import RefusedError
from sidecar.patterns import Pattern
from sidecar.sweep.job import LimitReachedError
from sidecar.sweep.slots import ALL_SLOTS, SLOT_COUNT, format_ranges, key_slot, parse_ranges

_FIRST_LINE: Final = b"k6-sweep snapshot 1\n"
_DIGEST_SIZE: Final = 32
_SORTED_AT_ONCE: Final = 100_000
_READABLE: Final = 0o644


def _hash(key: bytes) -> int:
    """Return the same 64 bits for a key on every machine, in every process."""
    return int.from_bytes(blake2b(key, digest_size=8).digest(), "little")


@dataclass(frozen=True)
class Snapshot:
    """Which keys there were, of what, and when."""

    patterns: tuple[str, ...]
    redis: frozenset[str]
    """The ids of the cluster's nodes; of a single server, its address."""
    unproven: tuple[int, ...]
    """Slots of which it is not certain that all keys were seen."""
    host: str
    """The machine that took it; in Kubernetes, the pod."""
    taken_at: datetime
    counts: Sequence[int] = field(repr=False)
    """How many keys each slot has."""
    hashes: "array[int]" = field(repr=False)
    _starts: Sequence[int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_starts", tuple(itertools.accumulate(self.counts, initial=0)))

    @property
    def size(self) -> int:
        """How many keys it has."""
        return len(self.hashes)

    def __contains__(self, key: object) -> bool:
        """Whether a key (bytes) existed."""
        if not isinstance(key, bytes):
            return False
        slot, value = key_slot(key), _hash(key)
        end = self._starts[slot + 1]
        at = bisect_left(self.hashes, value, self._starts[slot], end)
        return at < end and self.hashes[at] == value

    def __str__(self) -> str:
        return f"the snapshot of {self.size:,} keys that {self.host} took at {self.taken_at:%Y-%m-%dT%H:%M:%SZ}"

    def check_patterns(self, patterns: Iterable[Pattern], file: Path) -> None:
        """Refuse to sweep patterns whose keys were not looked for.

        Raises:
            RefusedError: There is one.
        """
        if strange := [pattern.text for pattern in patterns if pattern.text not in self.patterns]:
            names, noted = ", ".join(map(repr, strange)), ", ".join(map(repr, self.patterns))
            raise RefusedError(
                f"the snapshot {file} is of {noted}, not of {names}; take one with the patterns that are swept"
            )

    def check_redis(self, redis: frozenset[str], file: Path) -> None:
        """Refuse another Redis than the one that was looked at.

        Raises:
            RefusedError: Not one of its nodes is known.
        """
        if not redis & self.redis:
            raise RefusedError(f"the snapshot {file} is of another Redis: not one of its nodes is in this one")

    def write(self, file: Path) -> None:
        """Write the file in one step: it is there whole, or not at all.

        Raises:
            OSError: It cannot be written.
        """
        header = {
            "patterns": self.patterns,
            "redis": sorted(self.redis),
            "unproven": format_ranges(self.unproven),
            "host": self.host,
            "taken_at": self.taken_at.isoformat(),
        }
        digest = blake2b(digest_size=_DIGEST_SIZE)
        with tempfile.NamedTemporaryFile(dir=file.parent, prefix=f".{file.name}.", delete=False) as draft:
            try:
                for part in (
                    _FIRST_LINE,
                    json.dumps(header).encode() + b"\n",
                    _as_bytes(array("I", self.counts)),
                    _as_bytes(self.hashes),
                ):
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
    """Read a snapshot back.

    Raises:
        RefusedError: It is missing, or not to the last byte what was written.
    """
    try:
        content = memoryview(file.read_bytes())
    except OSError as error:
        raise RefusedError(
            f"the snapshot cannot be read ({error}); take one before the test: k6-sweep snapshot --out {file}"
        ) from error
    body, digest = content[:-_DIGEST_SIZE], content[-_DIGEST_SIZE:]
    if bytes(body[: len(_FIRST_LINE)]) != _FIRST_LINE:
        raise RefusedError(f"{file} is not a snapshot of this version of k6-sweep")
    if blake2b(body, digest_size=_DIGEST_SIZE).digest() != digest:
        raise RefusedError(f"the snapshot {file} is damaged: its checksum is wrong; nothing can be told from it")
    start = bytes(body).index(b"\n", len(_FIRST_LINE)) + 1
    header = json.loads(bytes(body[len(_FIRST_LINE) : start]))
    middle = start + 4 * SLOT_COUNT
    counts, hashes = _as_array("I", body[start:middle]), _as_array("Q", body[middle:])
    if sum(counts) != len(hashes):
        raise RefusedError(f"the snapshot {file} is damaged: it lacks keys")
    return Snapshot(
        patterns=tuple(header["patterns"]),
        redis=frozenset(header["redis"]),
        unproven=tuple(parse_ranges(header["unproven"])),
        host=header["host"],
        taken_at=datetime.fromisoformat(header["taken_at"]),
        counts=counts,
        hashes=hashes,
    )


def _as_bytes(numbers: "array[int]") -> bytes:
    return _little_endian(array(numbers.typecode, numbers)).tobytes() if sys.byteorder == "big" else numbers.tobytes()


def _as_array(typecode: str, content: Any) -> "array[int]":  # noqa: ANN401  # any buffer
    numbers: array[int] = array(typecode)
    numbers.frombytes(content)
    return _little_endian(numbers)


def _little_endian(numbers: "array[int]") -> "array[int]":
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


class Notebook:
    """Notes down keys as they are found, by any thread, in 8 bytes each."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._noted: dict[int, array[int]] = {}
        self._count = 0
        self._lock = threading.Lock()

    def add(self, keys: Iterable[bytes]) -> None:
        """Note down some keys; one that comes twice is noted once.

        Raises:
            LimitReachedError: There are more than the limit.
        """
        hashes = [(key_slot(key), _hash(key)) for key in keys]
        with self._lock:
            for slot, value in hashes:
                self._noted.setdefault(slot, array("Q")).append(value)
            self._count += len(hashes)
            if self._count <= self._limit:
                return
            for slot, values in self._noted.items():
                self._noted[slot] = _in_order(values)
            self._count = sum(map(len, self._noted.values()))
            if self._count > self._limit:
                raise LimitReachedError

    def snapshot(self, patterns: Iterable[Pattern], redis: frozenset[str], unproven: Iterable[int]) -> Snapshot:
        """Return what was noted, as a snapshot that was taken here and now."""
        hashes: array[int] = array("Q")
        counts: array[int] = array("I")
        for slot in ALL_SLOTS:
            values = _in_order(self._noted.pop(slot, array("Q")))
            counts.append(len(values))
            hashes.extend(values)
        return Snapshot(
            patterns=tuple(pattern.text for pattern in patterns),
            redis=redis,
            unproven=tuple(unproven),
            host=this_host(),
            taken_at=datetime.now(UTC),
            counts=counts,
            hashes=hashes,
        )


def this_host() -> str:
    """Return the machine's name; in Kubernetes the pod's."""
    return socket.gethostname()


def _in_order(values: "array[int]") -> "array[int]":
    """Sort and take out what is twice, in little memory: Python's own numbers are five times as large."""
    pieces = [
        array("Q", sorted(values[start : start + _SORTED_AT_ONCE])) for start in range(0, len(values), _SORTED_AT_ONCE)
    ]
    return array("Q", (value for value, _ in itertools.groupby(heapq.merge(*pieces))))
