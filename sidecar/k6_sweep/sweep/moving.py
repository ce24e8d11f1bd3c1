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
from k6_sweep.cluster.replies import ReplyKind, denial, judge
from k6_sweep.cluster.scan import SlotCursorError, scan_node, scan_slot
from k6_sweep.cluster.slots import key_slot
from k6_sweep.errors import DeniedError
from k6_sweep.settings.values import Address
from k6_sweep.sweep.by_slot import LIST_LIMIT
from k6_sweep.sweep.matcher import Counts
from k6_sweep.sweep.orders import Orders, Tally
from k6_sweep.sweep.write import send

_ASKING: Final = pack((b"ASKING",))


def where_to(source: Link, slot: int, orders: Orders) -> Address | None:
    """Ask the source where a slot is going; None if it has arrived, or came back: then its owner is to be asked.

    Raises:
        UnreachableError: The source cannot be reached.
    """
    (reply,) = source.pipeline([pack((b"UNLINK" if orders.delete else b"EXISTS", orders.probes.key(slot)))])
    trouble = judge(reply)
    return trouble.target if trouble else None


class MovingSlot:
    """One moving slot, with a link to both of its nodes.

    Keys only ever go from the source to the target, so the source is listed first. The slot is finished if at the end
    it still moves to the same target: then every key was on one of the two when that one was listed.
    """

    def __init__(
        self, source: Link, target: Link, named: Address, slot: int, orders: Orders, tally: Tally, write_size: WriteSize
    ) -> None:
        self._source = source
        self._target = target
        self._named = named
        """The target as the source names it: with an empty host where that is the source's own."""
        self._slot = slot
        self._orders = orders
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
                    split = self._orders.matcher.split(page)
                    spared.append(split.spared)
                    if not self._orders.delete:
                        found.update(split.chosen)
                    elif not self._delete(node, split.chosen):
                        return
                    if self._orders.remaining() <= 0:
                        return
            except exceptions.ResponseError as error:
                self._is_clean(node, error)
                self._raise_denial()
                return
        if self._still_moving():
            self._tally.count(self._orders.matcher.split(list(found)).counts)
            if self._orders.on_found:
                self._orders.on_found(list(found))
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
        size = min(self._orders.most_at_once, max(1, self._write_size.keys // 2))
        for start in range(0, len(keys), size):
            batch = keys[start : start + size]
            self._orders.allowance.take(len(batch))
            self._orders.pace.wait(len(batch), self._orders.remaining)
            if self._orders.remaining() <= 0:
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
            self._tally.count(self._orders.matcher.split(gone_keys).counts)
            self._orders.allowance.give_back(len(batch) - len(gone_keys))
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
        if trouble and trouble.verdict is ReplyKind.DENIED:
            self._denied = denial(node.name, trouble.text)
        return trouble is None

    def _raise_denial(self) -> None:
        """Raise what was refused for good, after the other replies were counted."""
        if self._denied:
            raise self._denied

    def _still_moving(self) -> bool:
        """Whether the slot still moves to the same target, and both nodes know it."""
        on_target, on_source = (
            link.pipeline(
                [pack((b"UNLINK" if self._orders.delete else b"EXISTS", self._orders.probes.key(self._slot)))]
            )[0]
            for link in (self._target, self._source)
        )
        there = judge(on_source)
        if isinstance(on_target, exceptions.MovedError) and there and there.verdict is ReplyKind.MOVING:
            return there.target == self._named
        for node, reply in ((self._source, on_source), (self._target, on_target)):
            self._is_clean(node, reply)
        self._raise_denial()
        return False
