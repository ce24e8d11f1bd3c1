"""Who owns which slot, as the servers say."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from redis import exceptions

from sidecar.errors import DeniedError, UnreachableError
from sidecar.sweep.link import Connect, Link
from sidecar.sweep.replies import text_of
from sidecar.sweep.slots import ALL_SLOTS


@dataclass(frozen=True)
class Address:
    """Where a server listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Shard:
    """A primary with its slots."""

    address: Address
    node_id: str
    replicas: int
    slots: Sequence[int] = field(repr=False)


@dataclass(frozen=True)
class Topology:
    """All primaries; outside cluster mode one, which has all slots."""

    clustered: bool
    shards: tuple[Shard, ...]

    @property
    def addresses(self) -> tuple[Address, ...]:
        """The primaries' addresses."""
        return tuple(shard.address for shard in self.shards)

    def owners(self) -> dict[int, str]:
        """Return the node id that owns each covered slot."""
        return {slot: shard.node_id for shard in self.shards for slot in shard.slots}

    def uncovered(self) -> list[int]:
        """Return the slots that no primary owns."""
        owned = self.owners()
        return [slot for slot in ALL_SLOTS if slot not in owned]

    def shard_of(self, slot: int) -> Shard | None:
        """Return the primary that owns a slot; None where nobody does."""
        return next((shard for shard in self.shards if slot in shard.slots), None)


def _hello(link: Link) -> dict[str, str]:
    """Return what the server says of itself. HELLO needs no permission.

    Source: https://redis.io/docs/latest/commands/hello/
    """
    try:
        reply = link.ask(b"HELLO")
    except exceptions.ResponseError as error:
        raise DeniedError(f"{link.name} does not answer HELLO: {text_of(error)}; Redis 6 or newer is needed") from error
    pairs = zip(reply[::2], reply[1::2], strict=True)
    return {key.decode(): value.decode() for key, value in pairs if isinstance(value, bytes)}


def read_topology(link: Link, address: Address) -> Topology:
    """Ask one server for the whole topology.

    Args:
        link: The link to ask over.
        address: Where the link leads: a server names itself by an empty host, and a lone one not at all.

    Raises:
        UnreachableError: The connection broke, or the server doesn't know its cluster now.
        DeniedError: It forbids CLUSTER SLOTS, is a replica outside a cluster, or is a Sentinel.
    """
    facts = _hello(link)
    if facts.get("mode") == "sentinel":
        raise DeniedError(f"{link.name} is a Sentinel, not a Redis; give the primary's address")
    if facts.get("mode") != "cluster":
        if facts.get("role") != "master":
            raise DeniedError(f"{link.name} is a read-only replica; give its primary's address")
        return Topology(clustered=False, shards=(Shard(address, "", 0, ALL_SLOTS),))
    try:
        entries = link.ask(b"CLUSTER", b"SLOTS")
    except exceptions.NoPermissionError as error:
        raise DeniedError(
            f"{link.name} forbids it: {text_of(error)}; give the user the permissions of docs/redis.md"
        ) from error
    except exceptions.ResponseError as error:
        raise UnreachableError(f"{link.name} does not tell its cluster: {text_of(error)}") from error
    return Topology(clustered=True, shards=tuple(_shards(entries, address)))


def _shards(entries: Iterable[Any], address: Address) -> list[Shard]:
    """Put the ranges of CLUSTER SLOTS together by primary.

    Source: https://redis.io/docs/latest/commands/cluster-slots/ (a null or empty host means the answering server's).
    """
    slots: dict[str, list[int]] = {}
    primaries: dict[str, tuple[Address, int]] = {}
    for first, last, primary, *replicas in entries:
        host, port, node_id = primary[0], primary[1], primary[2].decode()
        named = host.decode() if host and host != b"?" else address.host
        primaries[node_id] = (Address(named, port), len(replicas))
        slots.setdefault(node_id, []).extend(range(first, last + 1))
    return [Shard(where, node_id, replicas, tuple(slots[node_id])) for node_id, (where, replicas) in primaries.items()]


def discover(connect: Connect, addresses: Iterable[Address]) -> Topology:
    """Ask the addresses in turn, until one tells the topology.

    Raises:
        UnreachableError: None of them did; the first failure is told.
        DeniedError: One of them refused for good.
    """
    failure: UnreachableError | None = None
    for address in addresses:
        link: Link | None = None
        try:
            link = connect(address.host, address.port)
            return read_topology(link, address)
        except UnreachableError as error:
            failure = failure or error
        finally:
            if link is not None:
                link.close()
    raise failure or UnreachableError("no address of Redis to ask")
