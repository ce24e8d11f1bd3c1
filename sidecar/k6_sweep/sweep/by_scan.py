"""Sweeps with SCAN: a single server, a primary whose slots must not be listed, and slots too full to be listed.

Source: https://redis.io/docs/latest/commands/scan/ (a full iteration returns every key that was there all the time).
"""

from collections.abc import Container, Iterator, Sequence
from typing import Any, Final

from redis import exceptions

from k6_sweep.cluster.link import Link, pack
from k6_sweep.cluster.links import WriteSize
from k6_sweep.cluster.replies import ReplyKind, denial, judge
from k6_sweep.cluster.scan import SlotCursorError, scan_node, scan_slot
from k6_sweep.cluster.slots import ALL_SLOTS, key_slot
from k6_sweep.sweep.matcher import Counts
from k6_sweep.sweep.orders import Orders, Tally
from k6_sweep.sweep.write import send

_PROBED_AT_ONCE: Final = 256


class ScanSweep:
    """Sweeps all keys of one server, or of some of its slots, over one link, from the first cursor to the last."""

    def __init__(self, link: Link, orders: Orders, tally: Tally, clustered: bool, write_size: WriteSize) -> None:
        self._link = link
        self._orders = orders
        self._tally = tally
        self._clustered = clustered
        self._write_size = write_size
        self._denied: str | None = None

    def run(self, slots: Sequence[int]) -> None:
        """Sweep the server; the tally says which of its slots are finished: those that it owned before and after.

        Raises:
            UnreachableError: The connection broke; the sweep of this server begins anew.
            DeniedError: The server forbids a command.
            LimitReachedError: The allowance is used up.
        """
        self._sweep(slots, scan_node(self._link, self._write_size), frozenset(slots))

    def run_fat(self, slots: Sequence[int]) -> None:
        """Sweep slots that hold more keys than can be listed: one by one, or all in one walk over the server.

        Raises:
            UnreachableError: The connection broke.
            DeniedError: The server forbids a command.
            LimitReachedError: The allowance is used up.
        """
        if not self._orders.delete:
            self._tally.unsure.append("keys of very full slots were counted with SCAN, which may name one twice")
        rest = []
        for slot in slots:
            try:
                self._sweep([slot], scan_slot(self._link, slot, self._write_size), {slot})
            except SlotCursorError:
                rest.append(slot)
        if rest and self._orders.remaining() > 0:
            self._sweep(rest, scan_node(self._link, self._write_size), frozenset(rest))

    def _sweep(self, slots: Sequence[int], pages: Iterator[list[bytes]], only: Container[int]) -> None:
        owned = self._answered(slots)
        if not owned or not self._walk(pages, only):
            return
        still_owned = self._answered(owned)
        if not self._clustered and self._tally.trouble:
            return  # there is no telling which slots a key belongs to
        for slot in still_owned:
            if slot not in self._tally.trouble:
                self._tally.finish(slot)

    def _answered(self, slots: Sequence[int]) -> Sequence[int]:
        """Return the slots whose probe this server answers cleanly; outside a cluster one answer is for all."""
        command = b"UNLINK" if self._orders.delete else b"EXISTS"
        answered = []
        for start in range(0, len(slots) if self._clustered else 1, _PROBED_AT_ONCE):
            part = slots[start : start + _PROBED_AT_ONCE] if self._clustered else slots[:1]
            replies = self._link.pipeline([pack((command, self._orders.probes.key(slot))) for slot in part])
            answered += [slot for slot, reply in zip(part, replies, strict=True) if self._is_clean(slot, reply)]
            self._raise_denial()
        return answered if self._clustered or not answered else slots

    def _walk(self, pages: Iterator[list[bytes]], only: Container[int]) -> bool:
        """Walk over the pages, sweeping keys of `only` these slots; return whether it came to the end."""
        spared: list[Counts] = []
        while self._orders.remaining() > 0:
            try:
                page = next(pages, None)
            except exceptions.ResponseError as error:
                self._is_clean(ALL_SLOTS[0], error)
                self._raise_denial()
                return False
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
            elif not self._delete(split.chosen):
                return False
        return False

    def _delete(self, keys: Sequence[bytes]) -> bool:
        """Delete the keys of one page; return whether there was time for it."""
        size = min(self._orders.most_at_once, self._write_size.keys)
        for start in range(0, len(keys), size):
            part = keys[start : start + size]
            self._orders.allowance.take(len(part))
            self._orders.pace.wait(len(part), self._orders.remaining)
            if self._orders.remaining() <= 0:
                return False
            self._unlink(part)
        return True

    def _unlink(self, keys: Sequence[bytes]) -> None:
        by_slot: dict[int, list[bytes]] = {}
        for key in keys:
            by_slot.setdefault(key_slot(key) if self._clustered else ALL_SLOTS[0], []).append(key)
        commands = [pack((b"UNLINK", *batch)) for batch in by_slot.values()]
        replies = send(self._link, commands, self._write_size, self._tally)
        for (slot, batch), reply in zip(by_slot.items(), replies, strict=True):
            if self._is_clean(slot, reply):
                self._tally.deleted += reply
                self._tally.count(self._orders.matcher.split(batch).counts)
            else:
                self._orders.allowance.give_back(len(batch))
        self._raise_denial()

    def _is_clean(self, slot: int, reply: Any) -> bool:  # noqa: ANN401  # any reply
        trouble = judge(reply)
        if trouble:
            self._tally.trouble[slot] = trouble.text
        if trouble and trouble.verdict is ReplyKind.DENIED:
            self._denied = trouble.text
        return trouble is None

    def _raise_denial(self) -> None:
        """Raise what the server refused for good, after the other replies were counted."""
        if self._denied:
            raise denial(self._link.name, self._denied)
