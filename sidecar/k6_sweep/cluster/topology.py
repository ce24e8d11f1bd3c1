"""Reads from the servers which primary owns which slot."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from redis import exceptions

from k6_sweep.cluster.link import Connect, Link, pack
from k6_sweep.cluster.replies import denial, text_of
from k6_sweep.cluster.slots import ALL_SLOTS
from k6_sweep.errors import DeniedError, UnreachableError
from k6_sweep.settings.values import Address


@dataclass(frozen=True)
class Shard:
    """A primary, its slots and its replicas."""

    address: Address
    node_id: str
    replicas: int
    slots: Sequence[int] = field(repr=False)
    replica_ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class Topology:
    """All primaries; without cluster mode there is one, which has all slots."""

    clustered: bool
    shards: tuple[Shard, ...]

    @property
    def addresses(self) -> tuple[Address, ...]:
        """The primaries' addresses."""
        return tuple(shard.address for shard in self.shards)

    @property
    def node_ids(self) -> frozenset[str]:
        """The ids of all primaries and replicas."""
        return frozenset(node for shard in self.shards for node in (shard.node_id, *shard.replica_ids))

    def owners(self) -> dict[int, str]:
        """Return the node id that owns each covered slot."""
        return {slot: shard.node_id for shard in self.shards for slot in shard.slots}

    def uncovered(self) -> list[int]:
        """Return the slots that no primary owns."""
        owned = self.owners()
        return [slot for slot in ALL_SLOTS if slot not in owned]

    def shard_of(self, slot: int) -> Shard | None:
        """Return the primary that owns a slot; None if no primary owns it."""
        return next((shard for shard in self.shards if slot in shard.slots), None)


def hello(link: Link) -> dict[str, str]:
    """Return the server's reply to HELLO, which describes the server. HELLO needs no permission.

    Source: https://redis.io/docs/latest/commands/hello/
    """
    try:
        reply = link.ask(b"HELLO")
    except exceptions.ResponseError as error:
        raise DeniedError(f"{link.name} denies HELLO: {text_of(error)}; Redis 6 or newer is required") from error
    pairs = zip(reply[::2], reply[1::2], strict=True)
    return {key.decode(): value.decode() for key, value in pairs if isinstance(value, bytes)}


def read_topology(link: Link, address: Address) -> Topology:
    """Ask one server for the whole topology.

    Args:
        link: The link to the server.
        address: The server's address: a server may give its own host as empty, and a single server gives no address.

    Raises:
        UnreachableError: The connection broke, the server cannot describe its cluster now, or it is a single replica.
        DeniedError: The server forbids CLUSTER SLOTS, or is a Sentinel.
    """
    facts = hello(link)
    if facts.get("mode") == "sentinel":
        raise DeniedError(f"{link.name} is a Sentinel; write --redis-url as redis+sentinel://HOST:PORT/MASTER")
    if facts.get("mode") != "cluster":
        # Not final: a failover may make this replica the primary.
        if facts.get("role") != "master":
            raise UnreachableError(f"{link.name} is a read-only replica; set --redis-url to its primary or Sentinels")
        return Topology(clustered=False, shards=(Shard(address, str(address), _replicas_of(link), ALL_SLOTS),))
    try:
        # Not CLUSTER SHARDS, which Redis 6.2 does not have.
        entries = link.ask(b"CLUSTER", b"SLOTS")
    except exceptions.NoPermissionError as error:
        raise denial(link.name, text_of(error)) from error
    except exceptions.ResponseError as error:
        raise UnreachableError(f"{link.name} cannot describe its cluster: {text_of(error)}") from error
    return Topology(clustered=True, shards=tuple(_shards(entries, address, _failed_replicas(link))))


def _replicas_of(link: Link) -> int:
    """Return how many replicas a single primary has; 0 if the user may not ask.

    Source: https://redis.io/docs/latest/commands/role/
    """
    (role,) = link.pipeline([pack((b"ROLE",))])
    return len(role[2]) if isinstance(role, list) else 0


def _failed_replicas(link: Link) -> Counter[str]:
    """Count, for each primary's id, the replicas that CLUSTER SLOTS omits because they have failed.

    A failed replica may return with its old keys and take over. If the user may not ask, the counts are empty.

    Source: https://redis.io/docs/latest/commands/cluster-nodes/
    """
    return Counter(node[3] for node in _nodes(link) if {"slave", "fail"} <= set(node[2].split(",")))


def importing(link: Link) -> frozenset[int]:
    """Return the slots that a node imports from other nodes; none if the user may not ask.

    The migration may be interrupted: then the slot's owner no longer knows of it, and no client can reach the keys that
    have already arrived on this node.
    """
    own = next((node for node in _nodes(link) if "myself" in node[2].split(",")), [])
    # After eight fixed fields come the slots; only the node's own line has its migrations, as [slot-<-node].
    return frozenset(int(word[1:].partition("-")[0]) for word in own[8:] if word.startswith("[") and "-<-" in word)


def _nodes(link: Link) -> list[list[str]]:
    """Return the words of each line of CLUSTER NODES; an empty list if the command is denied."""
    (reply,) = link.pipeline([pack((b"CLUSTER", b"NODES"))])
    return [] if isinstance(reply, Exception) else [line.split() for line in reply.decode().splitlines()]


def _shards(entries: Iterable[Any], address: Address, failed: Counter[str]) -> list[Shard]:
    """Return the ranges of CLUSTER SLOTS, grouped by primary.

    Source: https://redis.io/docs/latest/commands/cluster-slots/ (a null or empty host means the answering server's).
    """
    slots: dict[str, list[int]] = {}
    last: dict[str, tuple[Address, int, tuple[str, ...]]] = {}
    for first, end, primary, *replicas in entries:
        host, port, node_id = primary[0], primary[1], primary[2].decode()
        # A node that must announce its host name, but has none, announces `?`.
        where = Address(host.decode() if host and host != b"?" else address.host, port)
        slots.setdefault(node_id, []).extend(range(first, end + 1))
        last[node_id] = where, len(replicas) + failed[node_id], tuple(replica[2].decode() for replica in replicas)
    return [
        Shard(where, node_id, replicas, tuple(slots[node_id]), ids) for node_id, (where, replicas, ids) in last.items()
    ]


def discover(connect: Connect, addresses: Iterable[Address], known: frozenset[str] = frozenset()) -> Topology:
    """Ask the addresses in turn; return the first topology.

    Args:
        connect: Opens a link to a server.
        addresses: The servers to ask.
        known: The ids of all nodes that the cluster has had, if it is a cluster. Another server may reuse an address:
            an answer that names none of these nodes comes from another Redis, and is rejected.

    Raises:
        UnreachableError: No server gave its topology; this is the first failure.
        DeniedError: No server gave its topology, and one refused in a way that a retry does not solve.
    """
    failures: list[UnreachableError] = []
    denials: list[DeniedError] = []
    for address in addresses:
        link: Link | None = None
        try:
            link = connect(address)
            topology = read_topology(link, address)
        except UnreachableError as error:
            failures.append(error)
        except DeniedError as error:
            denials.append(error)
        else:
            if not known or known & topology.node_ids:
                return topology
            failures.append(UnreachableError(f"{address} answers, but belongs to another cluster"))
        finally:
            if link is not None:
                link.close()
    if denials or failures:
        raise (denials or failures)[0]
    raise UnreachableError("no known address of Redis is left to connect to")
