"""Sweeps a slot that is on its way from one node to another: half of its keys here, half there.

The node that the slot leaves answers ASK for every key that it no longer holds; the other takes a command for the slot
only after ASKING, and a command on a single key is never turned away there.

Source: https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/ (ASK redirection).
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from redis import exceptions

from k6_sweep.cluster.link import Link, pack
from k6_sweep.cluster.links import WriteSize
from k6_sweep.cluster.replies import Verdict, denial, judge
from k6_sweep.cluster.scan import SlotCursorError, scan_node, scan_slot
from k6_sweep.cluster.slots import key_slot
from k6_sweep.errors import DeniedError
from k6_sweep.sweep.by_slot import LIST_LIMIT
from k6_sweep.sweep.matcher import Counts
from k6_sweep.sweep.orders import Job, Tally
from k6_sweep.sweep.write import send

_ASKING: Final = pack((b"ASKING",))


Way = tuple[str, int]
"""Where a slot is going: a host, empty where it is the answering node's, and a port."""


def way_of(source: Link, slot: int, job: Job) -> Way | None:
    """Ask the source where a slot is going; None if it has arrived, or came back: then its owner is to be asked.

    Raises:
        UnreachableError: The source cannot be reached.
    """
    (reply,) = source.pipeline([pack((b"UNLINK" if job.delete else b"EXISTS", job.probes.key(slot)))])
    trouble = judge(reply)
    return trouble.target if trouble else None


class MovingSlot:
    """One moving slot, with a link to both of its nodes.

    Keys only ever go from the source to the target, so the source is listed first. The slot is finished if at the end
    it is still on the same way: then every key was on one of the two when that one was listed.
    """

    def __init__(
        self, source: Link, target: Link, way: Way, slot: int, job: Job, tally: Tally, write_size: WriteSize
    ) -> None:
        self._source = source
        self._target = target
        self._way = way
        self._slot = slot
        self._job = job
        self._tally = tally
        self._write_size = write_size
        self._denied: DeniedError | None = None

    def sweep(self) -> None:
        """Sweep the slot on both nodes; the tally says whether it is finished.

        Raises:
            UnreachableError: One of the two cannot be reached.
            DeniedError: One of the two refuses for good.
            LimitReachedError: The allowance is used up.
        """
        found: set[bytes] = set()
        spared: list[Counts] = []
        for node in (self._source, self._target):
            try:
                for page in self._pages(node):
                    split = self._job.matcher.split(page)
                    spared.append(split.spared)
                    if not self._job.delete:
                        found.update(split.chosen)
                    elif not self._delete(node, split.chosen):
                        return
                    if self._job.remaining() <= 0:
                        return
            except exceptions.ResponseError as error:
                self._is_clean(node, error)
                self._raise_denial()
                return
        if self._still_moving():
            self._tally.own(self._job.matcher.split(list(found)).counts)
            if self._job.on_found:
                self._job.on_found(list(found))
            for counts in spared:
                self._tally.spare(counts)
            self._tally.finish(self._slot)
            self._tally.moving.add(self._slot)

    def _pages(self, node: Link) -> Iterator[list[bytes]]:
        """Yield the slot's keys on one node: in one page, or where they are too many, in pages of a walk."""
        listing = node.ask(b"CLUSTER", b"GETKEYSINSLOT", self._slot, LIST_LIMIT)
        if len(listing) < LIST_LIMIT:
            yield listing
            return
        try:
            yield from scan_slot(node, self._slot, self._write_size)
        except SlotCursorError:
            for page in scan_node(node, self._write_size):
                yield [key for key in page if key_slot(key) == self._slot]

    def _delete(self, node: Link, keys: Sequence[bytes]) -> bool:
        """Delete keys one by one, wherever each is by now; return whether every one was answered cleanly."""
        size = min(self._job.most_at_once, max(1, self._write_size.keys // 2))
        for start in range(0, len(keys), size):
            batch = keys[start : start + size]
            self._job.allowance.take(len(batch))
            self._job.pace.wait(len(batch), self._job.remaining)
            if self._job.remaining() <= 0:
                return False
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
            self._job.allowance.give_back(len(batch) - len(gone_keys))
            self._raise_denial()
            if not all(clean):
                return False
        return True

    def _unlink(self, node: Link, keys: Sequence[bytes]) -> list[Any]:
        commands = [pack((b"UNLINK", key)) for key in keys]
        if not keys:
            return []
        if node is self._source:
            return send(node, commands, self._write_size, self._tally)
        answers = send(
            node, [part for command in commands for part in (_ASKING, command)], self._write_size, self._tally
        )
        return [
            asking if isinstance(asking, Exception) else reply
            for asking, reply in zip(answers[::2], answers[1::2], strict=True)
        ]

    def _is_clean(self, node: Link, reply: Any) -> bool:  # noqa: ANN401  # any reply
        trouble = judge(reply)
        if trouble:
            self._tally.trouble[self._slot] = trouble.text
        if trouble and trouble.verdict is Verdict.DENIED:
            self._denied = denial(node.name, trouble.text)
        return trouble is None

    def _raise_denial(self) -> None:
        """Raise what was refused for good, after the other replies were counted."""
        if self._denied:
            raise self._denied

    def _still_moving(self) -> bool:
        """Whether the slot is on the same way as before, and both nodes know it."""
        on_target, on_source = (
            link.pipeline([pack((b"UNLINK" if self._job.delete else b"EXISTS", self._job.probes.key(self._slot)))])[0]
            for link in (self._target, self._source)
        )
        there = judge(on_source)
        if isinstance(on_target, exceptions.MovedError) and there and there.verdict is Verdict.MOVING:
            return there.target == self._way
        for node, reply in ((self._source, on_source), (self._target, on_target)):
            self._is_clean(node, reply)
        self._raise_denial()
        return False
