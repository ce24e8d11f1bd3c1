"""Sweeps the slots of one primary: asks for each slot's keys, and deletes those that match.

Source: https://redis.io/docs/latest/commands/cluster-getkeysinslot/ and …/cluster-countkeysinslot/.
"""

import functools
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from k6_sweep.cluster.link import Link, pack
from k6_sweep.cluster.links import WriteSize
from k6_sweep.cluster.replies import is_denied, keys_in, number
from k6_sweep.sweep.batch import Batches, Delete, probe_command
from k6_sweep.sweep.matcher import Split
from k6_sweep.sweep.orders import Orders, Tally

LIST_LIMIT: Final = 5000
"""Keys in one listing of a slot: with this number, GETKEYSINSLOT blocks the server for 0.5 to 2 ms."""
_COUNTED_AT_ONCE: Final = 256
_GIVE_UP_AFTER: Final = 64
"""After more failed slots in a row than this, k6-sweep stops asking the server."""
_SLOT_COST: Final = 8
"""The commands for a slot cost the server about as much as this number of keys."""


@functools.cache
def count_command(slot: int) -> bytes:
    """Return the command that counts a slot's keys, packed once because a sweep sends it to several primaries."""
    return pack((b"CLUSTER", b"COUNTKEYSINSLOT", slot))


class ListingDeniedError(Exception):
    """The server forbids the listing of a slot's keys."""


@dataclass(slots=True)
class _Listed:
    """A slot, and the result of sorting its list of keys."""

    slot: int
    split: Split
    whole: bool
    """Whether the list held all of the slot's keys."""
    stay: int
    """How many of the listed keys stay."""
    clean: bool = True
    """Whether the slot's owner executed every delete so far."""


class SlotSweep:
    """Sweeps slots of one primary over one link.

    A slot is finished only if its owner answered a write both before the listing and with the delete, and if the list
    was complete. A listing alone proves nothing: a node that owns nothing also answers it, with old keys or none.
    """

    def __init__(self, link: Link, orders: Orders, tally: Tally, sizes: dict[int, int], write_size: WriteSize) -> None:
        """Prepare; `sizes` caches the number of keys of each slot and is updated in place."""
        self._link = link
        self._orders = orders
        self._tally = tally
        self._sizes = sizes
        self._write_size = write_size
        self._batches = Batches(link, orders, tally, write_size)
        self._deletes: deque[tuple[_Listed, Delete]] = deque()
        """The deletes that are not sent yet; a slot's last delete includes its probe."""
        self._again: deque[int] = deque()
        """Slots to list again: their list was not complete, and its keys were deleted."""
        self.fat: list[int] = []
        """The slots that hold more keys than one list, most of which stay."""

    @property
    def moving(self) -> Sequence[int]:
        """The slots whose replies show that they are moving to another node."""
        return sorted(self._batches.moving)

    def run(self, slots: Sequence[int]) -> None:
        """Sweep the slots, as far as the time and the server allow; the tally records the finished slots.

        Raises:
            UnreachableError: The connection broke.
            DeniedError: The server forbids a command other than the listing.
            ListingDeniedError: The server forbids the listing.
            LimitReachedError: The allowance is used up.
        """
        groups = self._groups(slots)
        refused_in_a_row = 0
        while True:
            deletes = self._next_deletes()
            # One write deletes the keys of the last listing and lists the next group: one round trip per group.
            group: list[int] = []
            if not self._deletes:
                group = [self._again.popleft()] if self._again else next(groups, [])
            if not group and not deletes:
                return
            written = self._batches.write([delete for _, delete in deletes], self._listing(group))
            if written is None:
                return
            for (listed, delete), clean in zip(deletes, written.clean, strict=True):
                self._settle(listed, delete, clean)
            replies = iter(written.replies)
            for slot in group:
                found = self._sort(slot, probe=next(replies), listing=next(replies))
                refused_in_a_row = refused_in_a_row + 1 if found is None else 0
                if found is not None and self._is_worked_off(found):
                    self._deletes += self._deletes_of(found)
            self._batches.raise_denial()
            if refused_in_a_row > _GIVE_UP_AFTER:
                return  # this node no longer owns the slots, or the cluster is down

    def _groups(self, slots: Sequence[int]) -> Iterator[list[int]]:
        """Yield slots in groups that fill half a write, because a write both deletes one group and lists the next."""
        group: list[int] = []
        filled = 0
        for start in range(0, len(slots), _COUNTED_AT_ONCE):
            part = slots[start : start + _COUNTED_AT_ONCE]
            self._count([slot for slot in part if slot not in self._sizes])
            for slot in part:
                cost = _SLOT_COST + min(self._sizes.get(slot, 0), LIST_LIMIT)
                if group and filled + cost > self._write_size.keys // 2:
                    yield group
                    group, filled = [], 0
                group.append(slot)
                filled += cost
        if group:
            yield group

    def _count(self, slots: Sequence[int]) -> None:
        counts = self._link.pipeline([count_command(slot) for slot in slots]) if slots else []
        for slot, count in zip(slots, counts, strict=True):
            if is_denied(count):
                raise ListingDeniedError
            if not isinstance(count, Exception):
                self._sizes[slot] = number(self._link.name, "CLUSTER COUNTKEYSINSLOT", count)

    def _next_deletes(self) -> list[tuple[_Listed, Delete]]:
        """Take the waiting deletes that fit into one write, but at least one."""
        taken: list[tuple[_Listed, Delete]] = []
        room = self._batches.room
        while self._deletes and (not taken or len(self._deletes[0][1].keys) <= room):
            taken.append(self._deletes.popleft())
            room -= len(taken[-1][1].keys)
        return taken

    def _deletes_of(self, listed: _Listed) -> list[tuple[_Listed, Delete]]:
        keys = listed.split.chosen if self._orders.delete else ()
        size = self._batches.room
        if len(keys) <= size:
            return [(listed, Delete(listed.slot, keys, True, listed.split.counts))]
        starts = range(0, len(keys), size)
        return [
            (listed, Delete(listed.slot, keys[start : start + size], probe=start == starts[-1])) for start in starts
        ]

    def _listing(self, group: Sequence[int]) -> list[bytes]:
        """Return the commands that prove who owns each slot and list its keys."""
        commands: list[bytes] = []
        for slot in group:
            commands += (probe_command(self._orders, slot), pack((b"CLUSTER", b"GETKEYSINSLOT", slot, LIST_LIMIT)))
        return commands

    def _sort(self, slot: int, probe: Any, listing: Any) -> _Listed | None:  # any reply
        """Sort the keys of one slot; return None if the slot cannot be swept now."""
        if is_denied(listing):
            raise ListingDeniedError
        if not self._batches.is_done(slot, probe) or not self._batches.is_clean(slot, listing):
            return None
        listing = keys_in(self._link.name, "CLUSTER GETKEYSINSLOT", listing)
        listed = len(listing)
        split = self._orders.matcher.split(listing)
        return _Listed(slot, split, whole=listed < LIST_LIMIT, stay=listed - len(split.chosen))

    def _is_worked_off(self, listed: _Listed) -> bool:
        """Whether deleting list after list reaches the end: not if keys that stay fill the list."""
        if listed.whole or (self._orders.delete and len(listed.split.chosen) > listed.stay):
            return True
        self.fat.append(listed.slot)
        return False

    def _settle(self, listed: _Listed, delete: Delete, clean: bool) -> None:
        """Record the result of a delete; after a slot's last delete, decide whether the slot is finished."""
        slot, split = listed.slot, listed.split
        listed.clean = listed.clean and clean
        if not delete.probe or not listed.clean:
            return
        if not listed.whole:
            self._again.append(slot)
            return
        if not self._orders.delete:
            self._tally.count(split.counts)
            if self._orders.on_found:
                self._orders.on_found(split.chosen)
        self._sizes[slot] = listed.stay + (0 if self._orders.delete else len(split.chosen))
        self._tally.spare(split.spared)
        self._tally.finish(slot)
