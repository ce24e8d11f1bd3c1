"""Sweeps with SCAN: a single server, a primary that forbids the listing of slots, and slots too full for a listing.

Source: https://redis.io/docs/latest/commands/scan/ (a full iteration returns every key that was there all the time).
"""

from collections import deque
from collections.abc import Container, Iterator, Sequence
from typing import Final

from redis import exceptions

from k6_sweep.cluster.link import Link
from k6_sweep.cluster.scan import SlotCursorError, scan_node, scan_slot
from k6_sweep.cluster.slots import ALL_SLOTS, key_slot
from k6_sweep.cluster.window import Window
from k6_sweep.errors import UnreachableError
from k6_sweep.sweep.batch import Batches, Delete, Write, probe_command
from k6_sweep.sweep.matcher import Counts
from k6_sweep.sweep.orders import Orders, Tally

_PROBED_AT_ONCE: Final = 256


class ScanSweep:
    """Sweeps all keys of one server, or of some of its slots, over one link, from the first cursor to the last."""

    def __init__(self, link: Link, orders: Orders, tally: Tally, clustered: bool, window: Window) -> None:
        self._link = link
        self._orders = orders
        self._tally = tally
        self._clustered = clustered
        self._window = window
        self._batches = Batches(link, orders, tally, window)
        self._unanswered: deque[Write] = deque()
        """The deletes whose replies are not counted yet, the oldest first."""

    def run(self, slots: Sequence[int]) -> None:
        """Sweep the server; the tally records the finished slots: those that the server owned before and after.

        Raises:
            UnreachableError: The connection broke; the sweep of this server starts again from the beginning.
            DeniedError: The server forbids a command.
            LimitReachedError: The allowance is used up.
        """
        self._sweep(slots, scan_node(self._link, self._window), frozenset(slots))

    def run_fat(self, slots: Sequence[int]) -> None:
        """Sweep slots that hold more keys than a listing returns: one by one, or all in one scan of the server.

        Raises:
            UnreachableError: The connection broke.
            DeniedError: The server forbids a command.
            LimitReachedError: The allowance is used up.
        """
        rest = []
        for slot in slots:
            try:
                self._sweep([slot], scan_slot(self._link, slot, self._window), {slot})
            except SlotCursorError:
                rest.append(slot)
        if rest and self._orders.remaining() > 0:
            self._sweep(rest, scan_node(self._link, self._window), frozenset(rest))

    def _sweep(self, slots: Sequence[int], pages: Iterator[list[bytes]], only: Container[int]) -> None:
        if not self._orders.delete:
            self._tally.unsure.append("keys were counted with SCAN, which may return a key twice")
        owned = self._answered(slots)
        if not owned or not self._walk(pages, only):
            return
        still_owned = self._answered(owned)
        if not self._clustered and self._tally.trouble:
            return  # the error may concern any slot, so none is proven
        for slot in still_owned:
            if slot not in self._tally.trouble:
                self._tally.finish(slot)

    def _answered(self, slots: Sequence[int]) -> Sequence[int]:
        """Return the slots whose probe gets a clean reply from this server; without a cluster one probe covers all."""
        answered = []
        for start in range(0, len(slots) if self._clustered else 1, _PROBED_AT_ONCE):
            part = slots[start : start + _PROBED_AT_ONCE] if self._clustered else slots[:1]
            replies = self._link.pipeline([probe_command(self._orders, slot) for slot in part])
            answered += [slot for slot, reply in zip(part, replies, strict=True) if self._batches.is_done(slot, reply)]
            self._batches.raise_denial()
        return answered if self._clustered or not answered else slots

    def _walk(self, pages: Iterator[list[bytes]], only: Container[int]) -> bool:
        """Sweep the keys on the pages that are in the slots of `only`; return whether it reached the last page."""
        spared: list[Counts] = []
        try:
            while self._orders.remaining() > 0:
                page = next(pages, None)
                self._land()  # the replies to the last page's deletes have come before this page
                if page is None:
                    for counts in spared:
                        self._tally.spare(counts)
                    return True
                split = self._orders.matcher.split([key for key in page if key_slot(key) in only])
                spared.append(split.spared)
                if not self._orders.delete:
                    self._tally.count(split.counts)
                    if self._orders.on_found:
                        self._orders.on_found(split.chosen)
                else:
                    self._send_deletes(split.chosen)
        except exceptions.ResponseError as error:
            self._land()
            self._batches.is_clean(ALL_SLOTS[0], error)
            self._batches.raise_denial()
            return False
        except Exception:
            self._land()  # what has been sent counts, whatever ends the sweep
            raise
        self._land()
        return False

    def _send_deletes(self, keys: Sequence[bytes]) -> None:
        """Send deletes for the keys of one page, as far as the time and the allowance permit."""
        room = self._batches.room
        for start in range(0, len(keys), room):
            if write := self._batches.send(self._by_slot(keys[start : start + room])):
                self._unanswered.append(write)
            if self._orders.pace.limited:
                self._land()  # before k6-sweep waits for the next write

    def _land(self) -> None:
        """Count the deletes that have been sent."""
        while self._unanswered:
            try:
                self._batches.land(self._unanswered.popleft())
            except UnreachableError as error:
                for write in self._unanswered:
                    self._batches.lose(write.deletes, error)
                self._unanswered.clear()
                raise
        self._batches.raise_denial()

    def _by_slot(self, keys: Sequence[bytes]) -> list[Delete]:
        """Group the keys that may share a command; without a cluster all keys may."""
        if not self._clustered:
            return [Delete(ALL_SLOTS[0], keys)]
        by_slot: dict[int, list[bytes]] = {}
        for key in keys:
            by_slot.setdefault(key_slot(key), []).append(key)
        return [Delete(slot, batch) for slot, batch in by_slot.items()]
