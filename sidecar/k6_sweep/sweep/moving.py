"""Sweeps a slot that is moving from one node to another, while each node holds a part of its keys.

The source answers ASK for every key that it no longer holds. The target accepts a command for the slot only after
ASKING, and then never refuses a command on a single key.

Source: https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/ (ASK redirection).
"""

from collections.abc import Iterator, Sequence

from redis import exceptions

from k6_sweep.cluster.link import Link
from k6_sweep.cluster.replies import ReplyKind, judge, keys_in
from k6_sweep.cluster.scan import SlotCursorError, scan_node, scan_slot
from k6_sweep.cluster.slots import key_slot
from k6_sweep.cluster.window import Window
from k6_sweep.settings.values import Address
from k6_sweep.sweep.batch import Batches, Delete, probe_command
from k6_sweep.sweep.matcher import Counts
from k6_sweep.sweep.orders import Orders, Tally


def where_to(source: Link, slot: int, orders: Orders) -> Address | None:
    """Ask the source where a slot moves to; None if the move has ended or was cancelled: then ask the slot's owner.

    Raises:
        UnreachableError: The source cannot be reached.
    """
    (reply,) = source.pipeline([probe_command(orders, slot)])
    error = judge(reply)
    return error.target if error else None


class MovingSlot:
    """One moving slot, with a link to both of its nodes.

    Keys move only from the source to the target, so the source is listed first. The slot is finished if it still moves
    to the same target at the end: then every key was on one of the two nodes when that node was listed.
    """

    def __init__(
        self, source: Link, target: Link, named: Address, slot: int, orders: Orders, tally: Tally, window: Window
    ) -> None:
        self._named = named
        """The target's address from the source's reply: the host is empty if it is the source's own host."""
        self._slot = slot
        self._orders = orders
        self._tally = tally
        self._window = window
        self._source = source, Batches(source, orders, tally, window, onward=target)
        self._target = target, Batches(target, orders, tally, window, asking=True)

    def sweep(self) -> None:
        """Sweep the slot on both nodes; the tally records whether it is finished.

        Raises:
            UnreachableError: One of the two nodes cannot be reached.
            DeniedError: One of the two nodes refuses, and a retry does not help.
            LimitReachedError: The allowance is used up.
        """
        found: set[bytes] = set()
        spared: list[Counts] = []
        for node, batches in (self._source, self._target):
            try:
                for page in self._pages(node):
                    split = self._orders.matcher.split(page)
                    spared.append(split.spared)
                    if not self._orders.delete:
                        found.update(split.chosen)
                    elif not self._delete(batches, split.chosen):
                        return
                    if self._orders.remaining() <= 0:
                        return
            except exceptions.ResponseError as error:
                batches.is_clean(self._slot, error)
                batches.raise_denial()
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
        """Yield the slot's keys on one node: in one page, or in the pages of a scan if there are too many."""
        limit = self._window.at_once
        reply = node.ask(b"CLUSTER", b"GETKEYSINSLOT", self._slot, limit)
        listing = keys_in(node.name, "CLUSTER GETKEYSINSLOT", reply)
        if len(listing) < limit:
            yield listing
            return
        try:
            yield from scan_slot(node, self._slot, self._window)
        except SlotCursorError:
            for page in scan_node(node, self._window):
                yield [key for key in page if key_slot(key) == self._slot]

    def _delete(self, batches: Batches, keys: Sequence[bytes]) -> bool:
        """Delete keys one by one, on the node that holds each now; return whether every reply was clean."""
        room = max(1, batches.room // 2)
        for start in range(0, len(keys), room):
            written = batches.write([Delete(self._slot, [key]) for key in keys[start : start + room]])
            if written is None or not all(written.clean):
                return False
        return True

    def _still_moving(self) -> bool:
        """Whether the slot still moves to the same target, and both nodes confirm it."""
        nodes = (self._target, self._source)
        on_target, on_source = (node.pipeline([probe_command(self._orders, self._slot)])[0] for node, _ in nodes)
        there = judge(on_source)
        if isinstance(on_target, exceptions.MovedError) and there and there.kind is ReplyKind.MOVING:
            return there.target == self._named
        for (_, batches), reply in zip(nodes, (on_target, on_source), strict=True):
            batches.is_clean(self._slot, reply)
            batches.raise_denial()
        return False
