"""Sweeps a slot that is on its way from one node to another: half of its keys here, half there.

The node that the slot leaves answers ASK for every key that it no longer holds; the other takes a command for the slot
only after ASKING, and a command on a single key is never turned away there.

Source: https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/ (ASK redirection).
"""

from collections.abc import Sequence
from typing import Any, Final

from redis import exceptions

from sidecar.errors import DeniedError, UnreachableError
from sidecar.sweep.by_slot import LIST_LIMIT
from sidecar.sweep.job import Job, Tally
from sidecar.sweep.link import Connect, Link, pack
from sidecar.sweep.replies import Trouble, Verdict, denial, judge

_ASKING: Final = pack((b"ASKING",))


def sweep_moving_slot(source: Link, trouble: Trouble, slot: int, job: Job, tally: Tally, connect: Connect) -> None:
    """Sweep one moving slot on both nodes; the tally says whether it is finished.

    Keys only ever go from the source to the target, so the source is listed first. The slot is finished if at the end
    it is still on the same way: then every key was on one of the two when that one was listed.

    Raises:
        UnreachableError: One of the two cannot be reached.
        DeniedError: One of the two refuses for good.
        LimitReachedError: The allowance is used up.
    """
    where = trouble.target or _target_of(source, slot, job)
    if where is None:
        return  # it has arrived, or came back: the next round asks its owner
    target = connect(where[0] or source.name.rpartition(":")[0].strip("[]"), where[1])
    try:
        _MovingSlot(source, target, where, slot, job, tally).sweep()
    finally:
        target.close()


def _target_of(source: Link, slot: int, job: Job) -> tuple[str, int] | None:
    (reply,) = source.pipeline([pack((b"EXISTS" if not job.delete else b"UNLINK", job.probes.key(slot)))])
    found = judge(reply)
    return found.target if found else None


class _MovingSlot:
    def __init__(self, source: Link, target: Link, where: tuple[str, int], slot: int, job: Job, tally: Tally) -> None:
        self._source = source
        self._target = target
        self._where = where
        self._denied: DeniedError | None = None
        self._slot = slot
        self._job = job
        self._tally = tally

    def sweep(self) -> None:
        found: set[bytes] = set()
        spared = 0
        for node in (self._source, self._target):
            limit = LIST_LIMIT
            while True:
                (listing,) = node.pipeline([pack((b"CLUSTER", b"GETKEYSINSLOT", self._slot, limit))])
                if not self._is_clean(node, listing):
                    return
                listed = len(listing)
                split = self._job.matcher.split(listing)
                if self._job.delete and not self._delete(node, split.chosen):
                    return
                if not self._job.delete:
                    found.update(split.chosen)
                if listed < limit:
                    spared += split.spared
                    break
                if not (split.chosen and self._job.delete):
                    limit *= 2
                if self._job.remaining() <= 0:
                    return
        if self._still_moving():
            self._tally.own(self._job.matcher.split(list(found)).counts)
            self._tally.preserved += spared
            self._tally.finished.add(self._slot)
            self._tally.trouble.pop(self._slot, None)

    def _delete(self, node: Link, keys: Sequence[bytes]) -> bool:
        """Delete keys one by one, wherever each is by now; return whether every one was answered cleanly."""
        size = max(1, self._job.batch_size // 2)
        for start in range(0, len(keys), size):
            if self._job.remaining() <= 0:
                return False
            batch = keys[start : start + size]
            self._job.allowance.take(len(batch))
            self._job.pace.wait(len(batch), self._job.remaining)
            replies = self._unlink(node, batch)
            if node is self._source:
                gone = [index for index, reply in enumerate(replies) if isinstance(reply, exceptions.AskError)]
                later = self._unlink(self._target, [batch[index] for index in gone])
                for index, reply in zip(gone, later, strict=True):
                    replies[index] = reply
            clean = [self._is_clean(node, reply) for reply in replies]
            self._tally.deleted += sum(reply for reply, fine in zip(replies, clean, strict=True) if fine)
            gone_keys = [key for key, fine in zip(batch, clean, strict=True) if fine]
            self._tally.own(self._job.matcher.split(gone_keys).counts)
            if self._denied:
                raise self._denied
            if not all(clean):
                return False
        return True

    def _is_clean(self, node: Link, reply: Any) -> bool:  # noqa: ANN401  # any reply
        trouble = judge(reply)
        if trouble:
            self._tally.trouble[self._slot] = trouble.text
        if trouble and trouble.verdict is Verdict.DENIED:
            self._denied = denial(node.name, trouble.text)
        return trouble is None

    def _unlink(self, node: Link, keys: Sequence[bytes]) -> list[Any]:
        commands = [pack((b"UNLINK", key)) for key in keys]
        if not keys:
            return []
        try:
            if node is self._source:
                return node.pipeline(commands)
            return node.pipeline([part for command in commands for part in (_ASKING, command)])[1::2]
        except UnreachableError as error:
            self._tally.unsure.append(f"a delete was not answered: {error}")
            raise

    def _still_moving(self) -> bool:
        probe = pack((b"UNLINK" if self._job.delete else b"EXISTS", self._job.probes.key(self._slot)))
        (on_source,) = self._source.pipeline([probe])
        (on_target,) = self._target.pipeline([probe])
        leaving = isinstance(on_source, exceptions.AskError) and not isinstance(on_source, exceptions.MovedError)
        if leaving and isinstance(on_target, exceptions.MovedError):
            there = judge(on_source)
            return there is not None and there.target == self._where
        for node, reply in ((self._source, on_source), (self._target, on_target)):
            self._is_clean(node, reply)
        return False
