"""Names k6-sweep's own keys, and sends commands on them to the node that owns them.

Each has MARK in its name. So every sweep recognises the own keys of every other one, whatever their patterns are. The
mark is a hash tag: in a cluster nearly all of these keys are in one slot.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from redis import exceptions

from k6_sweep.cluster.link import Connect, Link, pack
from k6_sweep.cluster.topology import Topology
from k6_sweep.errors import UnreachableError
from k6_sweep.patterns import Pattern
from k6_sweep.settings.values import Address

MARK: Final = b"{k6-sweep}"
_ASKING: Final = pack((b"ASKING",))
_HOPS: Final = 5
"""How often a node may redirect k6-sweep to another node."""


def own_key(pattern: Pattern, name: bytes) -> bytes | None:
    """Return the own key of this name that the pattern matches, so that a user of the pattern's keys may use it.

    None if the pattern has no star.
    """
    return pattern.sample(MARK + name)


def without_own(keys: list[bytes]) -> list[bytes]:
    """Return the keys that are not k6-sweep's own."""
    # One search for all keys: a million keys take 0.02 s.
    if MARK not in b"\0".join(keys):
        return keys
    return [key for key in keys if MARK not in key]


class Answers(NamedTuple):
    """The replies to commands on keys of one slot, an error reply as the exception itself."""

    node: str
    replies: Sequence[Any]


@contextlib.contextmanager
def reused(connect: Connect) -> Iterator[Connect]:
    """Yield a function that opens one link to each server; the links are closed at the end."""
    links: dict[Address, Link] = {}

    def reuse(address: Address) -> Link:
        if address not in links:
            links[address] = connect(address)
        return links[address]

    try:
        yield reuse
    finally:
        for link in links.values():
            link.close()


def ask_owner(connect: Connect, topology: Topology, slot: int, commands: Sequence[bytes]) -> Answers:
    """Send packed commands on keys of one slot to the node that owns the slot; follow MOVED and ASK.

    The caller closes the links.

    Raises:
        UnreachableError: No primary owns the slot, or the node does not answer.
        DeniedError: The login failed.
    """
    shard = topology.shard_of(slot)
    if shard is None:
        raise UnreachableError(f"no primary owns slot {slot}, which holds keys of k6-sweep")
    replies: list[Any] = [None] * len(commands)
    waiting = list(range(len(commands)))
    address, asking = shard.address, False
    for _ in range(_HOPS):
        link = connect(address)
        # ASKING holds for the next command of its connection only.
        sent = [part for at in waiting for part in ([_ASKING] * asking + [commands[at]])]
        for at, reply in zip(waiting, link.pipeline(sent)[asking :: 1 + asking], strict=True):
            replies[at] = reply
        waiting = [at for at in waiting if isinstance(replies[at], exceptions.AskError)]
        if not waiting:
            break
        onward = replies[waiting[0]]
        address = Address(onward.host or address.host, onward.port)
        asking = not isinstance(onward, exceptions.MovedError)  # MovedError derives from AskError
    return Answers(link.name, replies)
