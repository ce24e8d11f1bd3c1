"""Sweeps the slots of one primary by asking for each slot's keys.

Source: https://redis.io/docs/latest/commands/cluster-getkeysinslot/ and …/cluster-countkeysinslot/.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from redis import exceptions

from sidecar.errors import UnreachableError
from sidecar.sweep.job import Job, Tally
from sidecar.sweep.link import Link, pack
from sidecar.sweep.replies import Trouble, Verdict, is_denied, judge

LIST_LIMIT: Final = 5000
"""Keys asked of a slot at once: GETKEYSINSLOT stalls the server for 0.5 to 2 ms at this number."""
_COUNTED_AT_ONCE: Final = 256
_SLOT_COST: Final = 8
"""A slot's own commands cost a server about as much as so many keys."""


class ListingDeniedError(Exception):
    """The server does not let us list a slot's keys."""


@dataclass(frozen=True)
class _Chosen:
    """A slot's keys that are to go, and what pattern owns each."""

    slot: int
    keys: Sequence[bytes]
    owners: Sequence[int]
    spared: int
    whole: bool
    """Whether the list had all of the slot's keys."""


class SlotSweep:
    """Sweeps slots of one primary over one link.

    A slot is finished only if a write to it was answered by its owner both before its keys were listed and with their
    delete, and if the list was whole: a listing alone is also given, stale or empty, by a node that owns nothing.
    """

    def __init__(self, link: Link, job: Job, tally: Tally) -> None:
        self._link = link
        self._job = job
        self._tally = tally
        self._limits: dict[int, int] = {}
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
        while True:
            group = again.popleft() if again else next(groups, [])
            if (not group and not chosen) or self._job.remaining() <= 0:
                return
            # One write deletes what the last one listed and lists the next group: one round trip a group.
            deletes = [self._delete_commands(each) for each in chosen]
            self._permit(chosen)
            if self._job.remaining() <= 0:
                return
            replies = iter(self._send([command for each in deletes for command in each], self._list_commands(group)))
            for each, commands in zip(chosen, deletes, strict=True):
                self._settle(each, [next(replies) for _ in commands])
            chosen = []
            for slot in group:
                if (found := self._choose(slot, next(replies), next(replies))) is not None:
                    chosen.append(found)
                    if not found.whole:
                        again.append([slot])
            if group and not chosen and len(group) > 1:
                return  # not one slot answered: this node has lost its place, or the cluster is down

    def _groups(self, slots: Sequence[int]) -> Iterator[list[int]]:
        """Yield slots in groups of about half a batch of keys, so that a write, delete and list, holds one batch."""
        budget = max(1, self._job.batch_size // 2)
        group: list[int] = []
        filled = 0
        for start in range(0, len(slots), _COUNTED_AT_ONCE):
            part = slots[start : start + _COUNTED_AT_ONCE]
            counts = self._link.pipeline([pack((b"CLUSTER", b"COUNTKEYSINSLOT", slot)) for slot in part])
            for slot, count in zip(part, counts, strict=True):
                if is_denied(count):
                    raise ListingDeniedError
                size = _SLOT_COST + (0 if isinstance(count, Exception) else min(count, LIST_LIMIT))
                if group and filled + size > budget:
                    yield group
                    group, filled = [], 0
                group.append(slot)
                filled += size
        if group:
            yield group

    def _probe_command(self, slot: int) -> bytes:
        return pack((b"UNLINK" if self._job.delete else b"EXISTS", self._job.probes.key(slot)))

    def _list_commands(self, group: Sequence[int]) -> list[bytes]:
        commands = []
        for slot in group:
            commands.append(self._probe_command(slot))
            commands.append(pack((b"CLUSTER", b"GETKEYSINSLOT", slot, self._limits.get(slot, LIST_LIMIT))))
        return commands

    def _delete_commands(self, chosen: _Chosen) -> list[bytes]:
        if not self._job.delete or not chosen.keys:
            return [self._probe_command(chosen.slot)]
        size = self._job.batch_size
        batches = [list(chosen.keys[start : start + size]) for start in range(0, len(chosen.keys), size)]
        batches[-1].append(self._job.probes.key(chosen.slot))
        return [pack((b"UNLINK", *batch)) for batch in batches]

    def _permit(self, chosen: Sequence[_Chosen]) -> None:
        if self._job.delete and (keys := sum(len(each.keys) for each in chosen)):
            self._job.allowance.take(keys)
            self._job.pace.wait(keys, at_most=self._job.remaining())

    def _send(self, deletes: list[bytes], lists: list[bytes]) -> list[Any]:
        try:
            return self._link.pipeline(deletes + lists)
        except UnreachableError as error:
            if self._job.delete and deletes:
                self._tally.unsure.append(f"a delete was not answered: {error}")
            raise

    def _choose(self, slot: int, probe: Any, listing: Any) -> _Chosen | None:  # noqa: ANN401  # any reply
        """Sort the keys of one slot; None where it cannot be swept now."""
        if is_denied(listing):
            raise ListingDeniedError
        if self._has_trouble(slot, probe) or self._has_trouble(slot, listing):
            return None
        limit = self._limits.get(slot, LIST_LIMIT)
        keys, owners, spared = self._job.matcher.split(listing)
        whole = len(listing) < limit
        if not whole and (not keys or not self._job.delete):
            self._limits[slot] = limit * 2  # keys that stay fill the list: look further
        if not whole and not self._job.delete:
            return _Chosen(slot, (), (), 0, whole=False)
        return _Chosen(slot, keys, owners, spared, whole)

    def _settle(self, chosen: _Chosen, replies: Sequence[Any]) -> None:
        """Count what a slot's deletes were answered, and see whether the slot is finished."""
        clean = True
        size = self._job.batch_size
        for index, reply in enumerate(replies):
            if self._has_trouble(chosen.slot, reply):
                clean = False
                continue
            self._tally.own(chosen.owners[index * size : (index + 1) * size] if self._job.delete else chosen.owners)
            if self._job.delete:
                self._tally.deleted += reply
        if clean and chosen.whole:
            self._tally.preserved += chosen.spared
            self._tally.finished.add(chosen.slot)
            self._tally.trouble.pop(chosen.slot, None)

    def _has_trouble(self, slot: int, reply: Any) -> bool:  # noqa: ANN401  # any reply
        if not isinstance(reply, exceptions.ResponseError):
            return False
        trouble = judge(reply, self._link.name)
        if trouble is None:
            return False
        self._tally.trouble[slot] = trouble.text
        if trouble.verdict is Verdict.MOVING:
            self.moving[slot] = trouble
        return True
