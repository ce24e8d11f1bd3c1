"""Sweeps the slots of one primary by asking for each slot's keys.

Source: https://redis.io/docs/latest/commands/cluster-getkeysinslot/ and …/cluster-countkeysinslot/.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from k6_sweep.cluster.link import Link, pack
from k6_sweep.cluster.links import WriteSize
from k6_sweep.cluster.replies import ErrorReply, ReplyKind, denial, is_denied, judge
from k6_sweep.sweep.matcher import Split
from k6_sweep.sweep.orders import Orders, Tally
from k6_sweep.sweep.write import send

LIST_LIMIT: Final = 5000
"""Keys asked of a slot at once: GETKEYSINSLOT stalls the server for 0.5 to 2 ms at this number."""
_COUNTED_AT_ONCE: Final = 256
_GIVE_UP_AFTER: Final = 64
"""So many slots in a row that a server doesn't answer for, and it is not asked for more."""
_SLOT_COST: Final = 8
"""A slot's own commands cost a server about as much as so many keys."""


class ListingDeniedError(Exception):
    """The server does not let us list a slot's keys."""


@dataclass(slots=True)
class _Listed:
    """A slot, and what its list was sorted into."""

    slot: int
    split: Split
    whole: bool
    """Whether the list had all of the slot's keys."""
    stay: int
    """How many of them stay."""
    clean: bool = True
    """Whether every delete so far was answered by the slot's owner."""


class _Delete(NamedTuple):
    """One UNLINK of some of a slot's keys."""

    listed: _Listed
    keys: Sequence[bytes]
    last: bool
    """Whether it is the slot's last one, which has the probe too."""


class SlotSweep:
    """Sweeps slots of one primary over one link.

    A slot is finished only if a write to it was answered by its owner both before its keys were listed and with their
    delete, and if the list was whole: a listing alone is also given, stale or empty, by a node that owns nothing.
    """

    def __init__(self, link: Link, orders: Orders, tally: Tally, sizes: dict[int, int], write_size: WriteSize) -> None:
        """Prepare; `sizes` holds the number of keys of slots where it is known from before, and learns of others."""
        self._link = link
        self._orders = orders
        self._tally = tally
        self._sizes = sizes
        self._write_size = write_size
        self._write = b"UNLINK" if orders.delete else b"EXISTS"
        self._deletes: deque[_Delete] = deque()
        self._again: deque[int] = deque()
        """Slots whose list was not whole, and has been deleted."""
        self._denied: str | None = None
        self.moving: dict[int, ErrorReply] = {}
        """The slots that turned out to be on their way to another node."""
        self.fat: list[int] = []
        """The slots that hold more keys than a list, most of them to stay."""

    def run(self, slots: Sequence[int]) -> None:
        """Sweep the slots, as far as time and server allow; the tally says which are finished.

        Raises:
            UnreachableError: The connection broke.
            DeniedError: The server forbids a command other than the listing.
            ListingDeniedError: It forbids the listing.
            LimitReachedError: The allowance is used up.
        """
        groups = self._groups(slots)
        refused_in_a_row = 0
        while True:
            deletes = self._next_deletes()
            # One write deletes what the last one listed and lists the next group: one round trip a group.
            group: list[int] = []
            if not self._deletes:
                group = [self._again.popleft()] if self._again else next(groups, [])
            if not group and not deletes:
                return
            self._permit(deletes)
            if self._orders.remaining() <= 0:
                return
            replies = iter(self._send(deletes, group))
            for delete in deletes:
                self._settle(delete, next(replies))
            for slot in group:
                listed = self._sort(slot, probe=next(replies), listing=next(replies))
                refused_in_a_row = refused_in_a_row + 1 if listed is None else 0
                if listed is not None and self._is_worked_off(listed):
                    self._deletes += self._deletes_of(listed)
            if self._denied:  # told only now: the other replies of the write had to be counted first
                raise denial(self._link.name, self._denied)
            if refused_in_a_row > _GIVE_UP_AFTER:
                return  # this node has lost its place, or the cluster is down

    def _groups(self, slots: Sequence[int]) -> Iterator[list[int]]:
        """Yield slots in groups that fill half a write, so that a write, delete and list, is full."""
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
        counts = self._link.pipeline([pack((b"CLUSTER", b"COUNTKEYSINSLOT", slot)) for slot in slots]) if slots else []
        for slot, count in zip(slots, counts, strict=True):
            if is_denied(count):
                raise ListingDeniedError
            if not isinstance(count, Exception):
                self._sizes[slot] = count

    def _next_deletes(self) -> list[_Delete]:
        """Take as many of the waiting deletes as fit into one write, at least one."""
        taken: list[_Delete] = []
        room = min(self._write_size.keys, self._orders.most_at_once)
        while self._deletes and (not taken or len(self._deletes[0].keys) <= room):
            taken.append(self._deletes.popleft())
            room -= len(taken[-1].keys)
        return taken

    def _deletes_of(self, listed: _Listed) -> list[_Delete]:
        keys = listed.split.chosen if self._orders.delete else ()
        size = min(self._orders.most_at_once, self._write_size.keys)
        if len(keys) <= size:
            return [_Delete(listed, keys, last=True)]
        starts = range(0, len(keys), size)
        return [_Delete(listed, keys[start : start + size], last=start == starts[-1]) for start in starts]

    def _permit(self, deletes: Sequence[_Delete]) -> None:
        if keys := sum(len(delete.keys) for delete in deletes):
            self._orders.allowance.take(keys)
            self._orders.pace.wait(keys, self._orders.remaining)

    def _send(self, deletes: Sequence[_Delete], group: Sequence[int]) -> list[Any]:
        commands = [self._delete_command(delete) for delete in deletes]
        for slot in group:
            commands += (self._probe_command(slot), pack((b"CLUSTER", b"GETKEYSINSLOT", slot, LIST_LIMIT)))
        return send(self._link, commands, self._write_size, self._tally, deletes=self._orders.delete and bool(deletes))

    def _delete_command(self, delete: _Delete) -> bytes:
        slot = delete.listed.slot
        if not delete.keys:
            return self._probe_command(slot)
        return pack(
            (b"UNLINK", *delete.keys, self._orders.probes.key(slot)) if delete.last else (b"UNLINK", *delete.keys)
        )

    def _probe_command(self, slot: int) -> bytes:
        command = self._orders.probe_commands.get(slot)
        if command is None:
            command = self._orders.probe_commands[slot] = pack((self._write, self._orders.probes.key(slot)))
        return command

    def _sort(self, slot: int, probe: Any, listing: Any) -> _Listed | None:  # noqa: ANN401  # any reply
        """Sort the keys of one slot; None where it cannot be swept now."""
        if is_denied(listing):
            raise ListingDeniedError
        if self._is_troubled(slot, probe) or self._is_troubled(slot, listing):
            return None
        listed = len(listing)
        split = self._orders.matcher.split(listing)
        return _Listed(slot, split, whole=listed < LIST_LIMIT, stay=listed - len(split.chosen))

    def _is_worked_off(self, listed: _Listed) -> bool:
        """Whether deleting comes to an end: not where keys that stay fill the list."""
        if listed.whole or (self._orders.delete and len(listed.split.chosen) > listed.stay):
            return True
        self.fat.append(listed.slot)
        return False

    def _settle(self, delete: _Delete, reply: Any) -> None:  # noqa: ANN401  # any reply
        """Count what a delete was answered, and after a slot's last one see whether the slot is finished."""
        listed, tally = delete.listed, self._tally
        slot, split = listed.slot, listed.split
        if self._is_troubled(slot, reply):
            listed.clean = False
            self._orders.allowance.give_back(len(delete.keys))
        elif self._orders.delete:
            tally.deleted += reply
            whole = len(delete.keys) == len(split.chosen)
            tally.count(split.counts if whole else self._orders.matcher.split(list(delete.keys)).counts)
        if not delete.last or not listed.clean:
            return
        if not listed.whole:
            self._again.append(slot)
        else:
            if not self._orders.delete:
                tally.count(split.counts)
                if self._orders.on_found:
                    self._orders.on_found(split.chosen)
            self._sizes[slot] = listed.stay + (0 if self._orders.delete else len(split.chosen))
            tally.spare(split.spared)
            tally.finish(slot)

    def _is_troubled(self, slot: int, reply: Any) -> bool:  # noqa: ANN401  # any reply
        if not isinstance(reply, Exception):
            return False
        trouble = judge(reply)
        if trouble is None:
            return False
        self._tally.trouble[slot] = trouble.text
        if trouble.verdict is ReplyKind.MOVING:
            self.moving[slot] = trouble
        if trouble.verdict is ReplyKind.DENIED:
            self._denied = trouble.text
        return True
