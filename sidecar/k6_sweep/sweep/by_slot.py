"""Sweeps the slots of one primary: asks for each slot's keys, and deletes those that match.

Source: https://redis.io/docs/latest/commands/cluster-getkeysinslot/
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from k6_sweep.cluster.link import Link, pack
from k6_sweep.cluster.replies import is_denied, keys_in
from k6_sweep.cluster.window import Window
from k6_sweep.errors import UnreachableError
from k6_sweep.sweep.batch import Batches, Delete, Write, probe_command
from k6_sweep.sweep.count_slots import count_slots, key_lengths
from k6_sweep.sweep.matcher import Split
from k6_sweep.sweep.orders import Orders, Tally

_GIVE_UP_AFTER: Final = 64
"""After more failed slots in a row than this, k6-sweep stops asking the server."""
_SLOT_COST: Final = 8
"""The commands for a slot cost the server about as much as this number of keys."""


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


class _Group(NamedTuple):
    """Slots to list in one write."""

    slots: Sequence[tuple[int, int]] = ()
    """Each with the number of keys to ask for."""
    work: int = 0
    """In the unit of one key."""


@dataclass(slots=True)
class _Flight:
    """A write without an answer yet: deletes of some slots, and the listing of others."""

    write: Write
    listed: Sequence[_Listed]
    """The slot of each delete."""
    group: Sequence[tuple[int, int]]
    """The slots that it lists, with the number of keys that it asks for."""


class SlotSweep:
    """Sweeps slots of one primary over one link.

    A slot is finished only if its owner answered a write both before the listing and with the delete, and if the list
    was complete. A listing alone proves nothing: a node that owns nothing also answers it, with old keys or none.
    """

    def __init__(self, link: Link, orders: Orders, tally: Tally, sizes: dict[int, int], window: Window) -> None:
        """Prepare; `sizes` caches the number of keys of each slot and is updated in place."""
        self._link = link
        self._orders = orders
        self._tally = tally
        self._sizes = sizes
        self._window = window
        self._batches = Batches(link, orders, tally, window)
        self._groups: Iterator[_Group] = iter(())
        self._deletes: deque[tuple[_Listed, Delete]] = deque()
        """The deletes that are not sent yet; a slot's last delete includes its probe."""
        self._again: deque[int] = deque()
        """Slots to list again: their list was not complete, and its keys were deleted."""
        self._flights: deque[_Flight] = deque()
        """The writes without an answer, the oldest first."""
        self._refused_in_a_row = 0
        self._lengths: dict[int, int] = {}
        """The bytes of one key of each slot that holds many."""
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
        self._count([slot for slot in slots if slot not in self._sizes])
        self._lengths = key_lengths(self._link, self._sizes, slots, self._window)
        self._window.pause()
        self._groups = self._in_groups(slots)
        stopped: Exception | None = None
        while True:
            try:
                while stopped is None and self._has_room() and (flight := self._send_next()):
                    self._flights.append(flight)
                if not self._flights:
                    break
                self._land(self._flights.popleft())
            except UnreachableError as error:
                for flight in self._flights:
                    self._batches.lose(flight.write.deletes, error)
                raise stopped or error from None
            except Exception as error:  # noqa: BLE001  # raised below: what has been sent counts, whatever ends the sweep
                stopped = stopped or error
        if stopped:
            raise stopped

    def _has_room(self) -> bool:
        """Whether the server may get another write: it still owns the slots, and has not too much to do."""
        if self._refused_in_a_row > _GIVE_UP_AFTER:
            return False  # this node no longer owns the slots, or the cluster is down
        if self._flights and not self._batches.may_wait(self._flights[0].write):
            return False
        unanswered = sum(flight.write.work for flight in self._flights)
        return not self._flights or unanswered + self._window.keys <= self._window.in_flight

    def _send_next(self) -> _Flight | None:
        """Send the next write: the keys of earlier lists, and if these fit into it, the listing of the next group.

        Returns None if there is nothing to send now, or no time.
        """
        deletes = self._next_deletes()
        group = _Group()
        if not self._deletes:
            again = self._in_groups([self._again.popleft()] if self._again else [])
            group = next(again, None) or next(self._groups, _Group())
        if not group.slots and not deletes:
            return None
        write = self._batches.send([delete for _, delete in deletes], self._listing(group.slots), group.work)
        return _Flight(write, [listed for listed, _ in deletes], group.slots) if write else None

    def _land(self, flight: _Flight) -> None:
        written = self._batches.land(flight.write)
        for listed, delete, clean in zip(flight.listed, flight.write.deletes, written.clean, strict=True):
            self._settle(listed, delete, clean)
        replies, room = iter(written.replies), self._batches.room
        for slot, limit in flight.group:
            found = self._sort(slot, limit, probe=next(replies), listing=next(replies))
            self._refused_in_a_row = self._refused_in_a_row + 1 if found is None else 0
            if found is not None and self._is_worked_off(found):
                self._deletes += self._deletes_of(found, room)
        self._batches.raise_denial()

    def _in_groups(self, slots: Sequence[int]) -> Iterator[_Group]:
        """Yield slots in groups that fill half a write, because a write both deletes one group and lists the next."""
        group: list[tuple[int, int]] = []
        work = 0
        for slot in slots:
            limit, cost = self._window.at_once, _SLOT_COST
            if count := self._sizes.get(slot, 0):
                length = self._lengths.get(slot, 0)
                limit = self._window.list_limit(length) if length else limit
                cost += self._window.cost(min(count, limit), length)
            if group and work + cost > self._window.keys // 2:
                yield _Group(group, work)
                group, work = [], 0
            group.append((slot, limit))
            work += cost
        if group:
            yield _Group(group, work)

    def _count(self, slots: Sequence[int]) -> None:
        """Ask for the number of keys of slots."""
        for slot, count in count_slots(self._link, slots, self._window):
            if is_denied(count):
                raise ListingDeniedError
            if isinstance(count, int):
                self._sizes[slot] = count

    def _next_deletes(self) -> list[tuple[_Listed, Delete]]:
        """Take the waiting deletes that fit into one write, but at least one."""
        taken: list[tuple[_Listed, Delete]] = []
        room = self._batches.room
        while self._deletes and (not taken or len(self._deletes[0][1].keys) <= room):
            taken.append(self._deletes.popleft())
            room -= len(taken[-1][1].keys)
        return taken

    def _deletes_of(self, listed: _Listed, size: int) -> list[tuple[_Listed, Delete]]:
        keys = listed.split.chosen if self._orders.delete else ()
        if len(keys) <= size:
            return [(listed, Delete(listed.slot, keys, True, listed.split.counts))]
        starts = range(0, len(keys), size)
        return [
            (listed, Delete(listed.slot, keys[start : start + size], probe=start == starts[-1])) for start in starts
        ]

    def _listing(self, group: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return the commands that prove who owns each slot and list its keys."""
        commands: list[bytes] = []
        for slot, limit in group:
            commands += (probe_command(self._orders, slot), pack((b"CLUSTER", b"GETKEYSINSLOT", slot, limit)))
        return commands

    def _sort(self, slot: int, limit: int, probe: Any, listing: Any) -> _Listed | None:  # any reply
        """Sort the keys of one slot; return None if the slot cannot be swept now."""
        if is_denied(listing):
            raise ListingDeniedError
        if not self._batches.is_done(slot, probe) or not self._batches.is_clean(slot, listing):
            return None
        listing = keys_in(self._link.name, "CLUSTER GETKEYSINSLOT", listing)
        if listing:
            self._window.note_keys(listing)
        listed = len(listing)
        split = self._orders.matcher.split(listing)
        return _Listed(slot, split, whole=listed < limit, stay=listed - len(split.chosen))

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
