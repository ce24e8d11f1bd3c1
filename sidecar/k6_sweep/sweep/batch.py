"""Deletes keys: the only module that sends UNLINK.

Every delete of a sweep passes through `Batches.send`, no matter how its keys were found: by slot, by SCAN, or in a
moving slot. So one place applies the key limit, the rate, the deadline and the counts; a test checks this.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from redis import exceptions

from k6_sweep.cluster.link import Link, Sent, pack
from k6_sweep.cluster.replies import ReplyKind, denial, judge, not_supported
from k6_sweep.cluster.window import Window
from k6_sweep.errors import UnreachableError
from k6_sweep.sweep.matcher import Counts
from k6_sweep.sweep.orders import Orders, Tally

_ASKING: Final = pack((b"ASKING",))


class Delete(NamedTuple):
    """One UNLINK: keys of one slot."""

    slot: int
    keys: Sequence[bytes]
    probe: bool = False
    """Whether the UNLINK includes the slot's probe, so that a clean reply proves who owns the slot."""
    counts: Counts | None = None
    """The number of keys that each pattern owns, if it is known already."""


class Written(NamedTuple):
    """The result of one write."""

    clean: Sequence[bool]
    """For each delete, whether the slot's owner executed it."""
    replies: Sequence[Any]
    """The replies to the other commands, an error reply as the exception itself."""


class Write(NamedTuple):
    """Deletes that a server has been sent, in one write with other commands."""

    deletes: Sequence[Delete]
    sent: Sent
    work: int
    """In the unit of one key."""


class Batches:
    """Deletes keys of one server."""

    def __init__(
        self,
        link: Link,
        orders: Orders,
        tally: Tally,
        window: Window,
        *,
        asking: bool = False,
        onward: Link | None = None,
    ) -> None:
        """Prepare.

        Args:
            link: The link to the server.
            orders: What may be deleted, and how fast.
            tally: Counts the deletes and records the errors.
            window: How many keys one write may hold.
            asking: The server is the target of a moving slot, and accepts commands for it only after ASKING.
            onward: The link to that target if this server is the source: for keys that have already moved.
        """
        self._link = link
        self._orders = orders
        self._tally = tally
        self._window = window
        self._asking = asking
        self._onward = onward
        self._denied: str | None = None
        self.moving: set[int] = set()
        """The slots whose replies show that they are moving to another node."""

    @property
    def room(self) -> int:
        """How many keys the next write may delete."""
        return min(self._orders.most_at_once, self._window.keys, self._window.at_once)

    def write(self, deletes: Sequence[Delete]) -> Written | None:
        """Send deletes in one write, wait for the replies, and count what was deleted; see `send` and `land`."""
        write = self.send(deletes)
        if write is None:
            return None
        written = self.land(write)
        self.raise_denial()
        return written

    def send(self, deletes: Sequence[Delete], others: Sequence[bytes] = (), work: int = 0) -> Write | None:
        """Send deletes, followed by other packed commands, in one write; `land` has to follow.

        If the orders forbid deleting, each delete only sends its slot's probe.

        Args:
            deletes: Which keys to delete.
            others: Packed commands.
            work: What the other commands cost the server, in the unit of one key.

        Returns:
            The write; None if no time remained, and then nothing was sent.

        Raises:
            LimitReachedError: The allowance is used up; nothing was sent.
            UnreachableError: The connection broke; the tally records that the server may have executed the deletes.
        """
        if keys := sum(len(delete.keys) for delete in deletes):
            self._orders.allowance.take(keys)
            paced = self._orders.pace.wait(keys, self._orders.remaining)
            if self._tally.times:
                self._tally.times.paced += paced
        if self._orders.remaining() <= 0:
            self._orders.allowance.give_back(keys)
            return None
        return Write(deletes, self._send(self._link, deletes, others, asking=self._asking), keys + len(deletes) + work)

    def land(self, write: Write) -> Written:
        """Wait for the replies to a write, and count what was deleted; call `raise_denial` after that.

        Raises:
            UnreachableError: The connection broke; the tally records that the server may have executed the deletes.
        """
        deletes = write.deletes
        replies = self._replies(write.sent, deletes, asking=self._asking)
        self._window.learn(write.work, write.sent.at, time.monotonic(), self._link.shortest_trip)
        if self._onward:
            gone = [at for at, reply in enumerate(replies) if isinstance(reply, exceptions.AskError)]
            moved = [deletes[at] for at in gone]
            later = self._replies(self._send(self._onward, moved, (), asking=True), moved, asking=True) if gone else []
            for at, reply in zip(gone, later, strict=True):
                replies[at] = reply
        clean = [self._count(delete, reply) for delete, reply in zip(deletes, replies, strict=False)]
        return Written(clean, replies[len(deletes) :])

    def may_wait(self, write: Write) -> bool:
        """Whether more may be sent before the replies to this write are read; a limited rate would delay its counts."""
        return not self._orders.pace.limited or time.monotonic() - write.sent.at < self._link.shortest_trip

    def is_clean(self, slot: int, reply: Any) -> bool:
        """Whether a slot's owner executed the command, as its reply shows; if not, record the error."""
        error = judge(reply) if isinstance(reply, Exception) else None  # a million replies are clean: save the call
        if error is None:
            return True
        self._tally.trouble[slot] = error.text
        if error.kind is ReplyKind.MOVING:
            self.moving.add(slot)
        elif error.kind is ReplyKind.DENIED:
            self._denied = error.text
        return False

    def is_done(self, slot: int, reply: Any) -> bool:
        """Whether a slot's owner executed an UNLINK or EXISTS, which a server answers with a number.

        Raises:
            DeniedError: It answered something else: it is no Redis, or a proxy.
        """
        if isinstance(reply, int):
            return True  # a million replies are: save the calls
        if self.is_clean(slot, reply):
            raise not_supported(self._link.name, "UNLINK" if self._orders.delete else "EXISTS", reply)
        return False

    def raise_denial(self) -> None:
        """Raise the server's refusal, if there is one; call it after all replies of the write were counted.

        Raises:
            DeniedError: The server refused a command, and a retry does not help.
        """
        if self._denied:
            raise denial(self._link.name, self._denied)

    def _send(self, link: Link, deletes: Sequence[Delete], others: Sequence[bytes], *, asking: bool) -> Sent:
        commands = [_command(self._orders, delete) for delete in deletes]
        if asking:
            commands = [part for command in commands for part in (_ASKING, command)]
        try:
            return link.send([*commands, *others])
        except UnreachableError as error:
            self.lose(deletes, error)
            raise

    def _replies(self, sent: Sent, deletes: Sequence[Delete], *, asking: bool) -> list[Any]:
        """Return one reply for each delete and each other command."""
        try:
            replies = sent.replies()
        except UnreachableError as error:
            self.lose(deletes, error)
            raise
        if not asking:
            return replies
        pairs = zip(replies[::2], replies[1::2], strict=True)
        return [asked if isinstance(asked, Exception) else reply for asked, reply in pairs]

    def lose(self, deletes: Sequence[Delete], error: UnreachableError) -> None:
        """Record that the server may have executed deletes to which it gave no answer."""
        if deletes and self._orders.delete:
            self._tally.unsure.append(f"a delete got no answer: {error}")

    def _count(self, delete: Delete, reply: Any) -> bool:
        """Count a delete, or return its keys to the allowance; return whether the server executed it."""
        if not self.is_done(delete.slot, reply):
            self._orders.allowance.give_back(len(delete.keys))
            return False
        if self._orders.delete:
            self._tally.deleted += reply
            counts = delete.counts
            self._tally.count(self._orders.matcher.split(list(delete.keys)).counts if counts is None else counts)
        return True


def probe_command(orders: Orders, slot: int) -> bytes:
    """Return the command on a key that does not exist whose clean reply proves who owns the slot.

    It is an UNLINK, which only the owner accepts; if nothing may be deleted it is an EXISTS, which proves less.
    """
    command = orders.probe_commands.get(slot)
    if command is None:
        name = b"UNLINK" if orders.delete else b"EXISTS"
        command = orders.probe_commands[slot] = pack((name, orders.probes.key(slot)))
    return command


def try_commands(link: Link, absent: Iterable[bytes], *, delete: bool, count: bool) -> Iterator[tuple[bytes, str, Any]]:
    """Yield, for each key and each command that deletes or counts, the key, the command's name and the server's reply.

    The keys do not exist, so the commands change nothing; but the server checks permissions first.
    """
    tried = [(key, name) for key in absent for name in ["UNLINK"] * delete + ["EXISTS"] * count]
    replies = link.pipeline([pack((name, key)) for key, name in tried]) if tried else []
    for (key, name), reply in zip(tried, replies, strict=True):
        yield key, name, reply


def _command(orders: Orders, delete: Delete) -> bytes:
    if not delete.keys or not orders.delete:
        return probe_command(orders, delete.slot)
    if not delete.probe:
        return pack((b"UNLINK", *delete.keys))
    return pack((b"UNLINK", *delete.keys, orders.probes.key(delete.slot)))
