"""Finds the slots of which another primary has received keys while their owner knows of no migration.

A migration can lose the mark of its source: by a restart, a failover, or a person. Until that is repaired, no
client can reach the keys that have already arrived at the target, which may be a new node that owns no slot yet.

Source: https://redis.io/docs/latest/commands/cluster-setslot/
"""

from collections.abc import Iterable
from typing import Final

from k6_sweep.cluster.link import Link
from k6_sweep.cluster.links import Links
from k6_sweep.cluster.topology import Shard, Topology, importing
from k6_sweep.errors import RedisError
from k6_sweep.settings.values import Address
from k6_sweep.sweep.orders import Tally
from k6_sweep.sweep.pass_result import PassResult

_FORGOTTEN: Final = (
    "IMPORTING on a node, but its owner has no MIGRATING mark: move the keys to the slot's owner "
    "(docs/redis.md, Keys that a migration left)"
)


class Imports:
    """The slots that each primary imports from other nodes, if the user may ask for them."""

    def __init__(self, links: Links) -> None:
        self._links = links
        self._slots: dict[Address, frozenset[int]] = {}

    def read(self, address: Address, link: Link) -> None:
        """Read the slots that a primary imports, before its own slots are swept.

        Raises:
            UnreachableError: The connection broke.
        """
        self._slots[address] = importing(link)

    def reopen(self, topology: Topology, done: Iterable[tuple[Shard, Tally]], result: PassResult) -> None:
        """Reopen finished slots that another primary imports while their owner knows of no migration."""
        read = list(self._slots.items())  # a worker that was abandoned at the deadline may still add to it
        self._slots = {address: slots for address, slots in read if slots and address in topology.addresses}
        unknown = ""
        for address in (*self._slots, *topology.idle):
            try:
                self.read(address, self._links.get(address))
            except RedisError as error:
                self._links.drop(address)  # a primary's own slots also stay open
                if address in topology.idle:
                    unknown = f"the primary {address}, which owns no slot, may import this one, but: {error}"
        for shard, tally in done:
            elsewhere = (slots for address, slots in self._slots.items() if address != shard.address)
            imported = frozenset[int]().union(*elsewhere)
            for slot in (tally.finished if unknown else tally.finished & imported) - tally.moving:
                tally.trouble[slot] = _FORGOTTEN if slot in imported else unknown
                result.open.add(slot)
