"""Sweeps the slots of one primary by asking for each slot's keys.

Source: https://redis.io/docs/latest/commands/cluster-getkeysinslot/ and …/cluster-countkeysinslot/.
"""

import itertools
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from sidecar.errors import UnreachableError
from sidecar.patterns import Split
from sidecar.sweep.job import Job, Tally
from sidecar.sweep.link import Link, pack
from sidecar.sweep.replies import Trouble, Verdict, denial, is_denied, judge

LIST_LIMIT: Final = 5000
"""Keys asked of a slot at once: GETKEYSINSLOT stalls the server for 0.5 to 2 ms at this number."""
_COUNTED_AT_ONCE: Final = 256
_GIVE_UP_AFTER: Final = 64
"""So many slots in a row that a server doesn't answer for, and it is not asked for more."""
_SLOT_COST: Final = 8
"""A slot's own commands cost a server about as much as so many keys."""


class ListingDeniedError(Exception):
    """The server does not let us list a slot's keys."""


class _Chosen(NamedTuple):
    """A slot, and what its list was sorted into."""

    slot: int
    split: Split
    whole: bool
    """Whether the list had all of the slot's keys."""
    stay: int
    """How many of them stay."""


class SlotSweep:
    """Sweeps slots of one primary over one link.

    A slot is finished only if a write to it was answered by its owner both before its keys were listed and with their
    delete, and if the list was whole: a listing alone is also given, stale or empty, by a node that owns nothing.
    """

    def __init__(self, link: Link, job: Job, tally: Tally, sizes: dict[int, int]) -> None:
        """Prepare; `sizes` holds the number of keys of slots where it is known from before, and learns of others."""
        self._link = link
        self._job = job
        self._tally = tally
        self._sizes = sizes
        self._limits: dict[int, int] = {}
        self._write = b"UNLINK" if job.delete else b"EXISTS"
        self._denied: str | None = None
        self.moving: dict[int, Trouble] = {}
        """The slots that turned out to be on their way to another node."""

    def run(self, slots: Sequence[int]) -> None:
        """Sweep the slots, as far as time and server allow; the tally says which are finished.

        Raises:
            UnreachableError: The connection broke.
            DeniedError: The server forbids a command other than the listing.
            ListingDeniedError: It forbids the listing.
            LimitReachedError: The allowance is used up.
        """
        groups = self._groups(slots)
        again: deque[list[int]] = deque()
        chosen: list[_Chosen] = []
        refused_in_a_row = 0
        while True:
            group = again.popleft() if again else next(groups, [])
            if not group and not chosen:
                return
            self._permit(chosen)
            if self._job.remaining() <= 0:
                return
            # One write deletes what the last one listed and lists the next group: one round trip a group.
            deletes = [self._delete_commands(each) for each in chosen]
            replies = iter(self._send(deletes, [self._list_commands(slot) for slot in group]))
            for each, commands in zip(chosen, deletes, strict=True):
                self._settle(each, [next(replies) for _ in commands])
            chosen = []
            for slot in group:
                found = self._choose(slot, probe=next(replies), listing=next(replies))
                refused_in_a_row = refused_in_a_row + 1 if found is None else 0
                if found is not None:
                    chosen.append(found)
                    if not found.whole:
                        again.append([slot])
            if self._denied:  # told only now: the other replies of the write had to be counted first
                raise denial(self._link.name, self._denied)
            if refused_in_a_row > _GIVE_UP_AFTER:
                return  # this node has lost its place, or the cluster is down

    def _groups(self, slots: Sequence[int]) -> Iterator[list[int]]:
        """Yield slots in groups of about half a batch of keys, so that a write, delete and list, holds one batch."""
        budget = max(1, min(self._job.batch_size // 2, self._job.most_at_once))
        group: list[int] = []
        filled = 0
        for start in range(0, len(slots), _COUNTED_AT_ONCE):
            part = slots[start : start + _COUNTED_AT_ONCE]
            self._count([slot for slot in part if slot not in self._sizes])
            for slot in part:
                cost = _SLOT_COST + min(self._sizes.get(slot, 0), LIST_LIMIT)
                if group and filled + cost > budget:
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

    def _list_commands(self, slot: int) -> tuple[bytes, bytes]:
        return self._probe_command(slot), pack((b"CLUSTER", b"GETKEYSINSLOT", slot, self._limit(slot)))

    def _limit(self, slot: int) -> int:
        """Return how many keys of the slot to ask for."""
        return self._limits.get(slot, min(LIST_LIMIT, self._job.most_at_once))

    def _delete_commands(self, chosen: _Chosen) -> list[bytes]:
        if not self._job.delete or not chosen.split.chosen:
            return [self._probe_command(chosen.slot)]
        *batches, last = self._batches(chosen)
        probe = self._job.probes.key(chosen.slot)
        return [*(pack((b"UNLINK", *batch)) for batch in batches), pack((b"UNLINK", *last, probe))]

    def _probe_command(self, slot: int) -> bytes:
        command = self._job.probe_commands.get(slot)
        if command is None:
            command = self._job.probe_commands[slot] = pack((self._write, self._job.probes.key(slot)))
        return command

    def _batches(self, chosen: _Chosen) -> list[Sequence[bytes]]:
        keys, size = chosen.split.chosen, self._job.batch_size
        return [keys[start : start + size] for start in range(0, len(keys), size)]

    def _permit(self, chosen: Sequence[_Chosen]) -> None:
        if self._job.delete and (keys := sum(len(each.split.chosen) for each in chosen)):
            self._job.allowance.take(keys)
            self._job.pace.wait(keys, self._job.remaining)

    def _send(self, deletes: Sequence[Sequence[bytes]], lists: Sequence[Sequence[bytes]]) -> list[Any]:
        try:
            return self._link.pipeline([*itertools.chain.from_iterable(deletes), *itertools.chain.from_iterable(lists)])
        except UnreachableError as error:
            if self._job.delete and deletes:
                self._tally.unsure.append(f"a delete was not answered: {error}")
            raise

    def _choose(self, slot: int, probe: Any, listing: Any) -> _Chosen | None:  # noqa: ANN401  # any reply
        """Sort the keys of one slot; None where it cannot be swept now."""
        if is_denied(listing):
            raise ListingDeniedError
        if self._is_troubled(slot, probe) or self._is_troubled(slot, listing):
            return None
        limit = self._limit(slot)
        listed = len(listing)
        split = self._job.matcher.split(listing)
        whole = listed < limit
        if not whole and not (split.chosen and self._job.delete):
            self._limits[slot] = limit * 2  # keys that stay fill the list: look further
        return _Chosen(slot, split, whole, stay=listed - len(split.chosen))

    def _settle(self, chosen: _Chosen, replies: Sequence[Any]) -> None:
        """Count what a slot's deletes were answered, and see whether the slot is finished."""
        slot, split, tally = chosen.slot, chosen.split, self._tally
        answered = [reply for reply in replies if not self._is_troubled(slot, reply)]
        clean = len(answered) == len(replies)
        if self._job.delete:
            tally.deleted += sum(answered)
        if clean and (self._job.delete or chosen.whole):
            tally.own(split.counts)
        elif self._job.delete:
            for batch, reply in zip(self._batches(chosen), replies, strict=False):
                tally.own(() if isinstance(reply, Exception) else self._job.matcher.split(list(batch)).counts)
        if clean and chosen.whole:
            self._sizes[slot] = chosen.stay
            tally.preserved += split.spared
            tally.finished.add(slot)
            tally.trouble.pop(slot, None)

    def _is_troubled(self, slot: int, reply: Any) -> bool:  # noqa: ANN401  # any reply
        if not isinstance(reply, Exception):
            return False
        trouble = judge(reply)
        if trouble is None:
            return False
        self._tally.trouble[slot] = trouble.text
        if trouble.verdict is Verdict.MOVING:
            self.moving[slot] = trouble
        if trouble.verdict is Verdict.DENIED:
            self._denied = trouble.text
        return True
