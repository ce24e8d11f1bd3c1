"""Reads from the servers which primary owns which slot."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from redis import exceptions

from k6_sweep.cluster.link import Connect, Link, pack
from k6_sweep.cluster.replies import denial, parsing, text_of
from k6_sweep.cluster.slots import ALL_SLOTS, SLOT_COUNT
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
    """The primaries that own slots."""
    idle: tuple[Address, ...] = ()
    """The primaries that own no slot, such as new nodes, if the user may ask: they may hold keys of moving slots."""

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
    with parsing(link.name, "HELLO", reply):
        pairs = zip(reply[::2], reply[1::2], strict=True)
        facts = {key.decode(): value.decode() for key, value in pairs if isinstance(value, bytes)}
        return {"mode": facts["mode"], "role": facts.get("role", "")} | facts


def version_of(facts: Mapping[str, str]) -> tuple[str, tuple[int, ...]]:
    """Return the name (redis or valkey) and the version, from the reply to HELLO; `("", (0,))` if it has none."""
    parts = facts.get("version", "0").split(".")[:2]
    return facts.get("server", ""), tuple(int(part) if part.isdecimal() else 0 for part in parts)


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
    nodes = _nodes(link)
    with parsing(link.name, "CLUSTER NODES", nodes):
        failed = _failed_replicas(nodes)
    with parsing(link.name, "CLUSTER SLOTS", entries):
        shards = tuple(_shards(entries, address, failed))
    if not shards:
        raise UnreachableError(f"{link.name} knows no primary that owns slots")
    with parsing(link.name, "CLUSTER NODES", nodes):
        return Topology(clustered=True, shards=shards, idle=tuple(_idle(nodes, shards)))


def _replicas_of(link: Link) -> int:
    """Return how many replicas a single primary has; 0 if the user may not ask.

    Source: https://redis.io/docs/latest/commands/role/
    """
    (role,) = link.pipeline([pack((b"ROLE",))])
    with parsing(link.name, "ROLE", role):
        return 0 if isinstance(role, Exception) else len(role[2])


def _failed_replicas(nodes: Iterable[Sequence[str]]) -> Counter[str]:
    """Count, for each primary's id, the replicas that CLUSTER SLOTS omits because they have failed.

    A failed replica may return with its old keys and take over.
    """
    return Counter(node[_PRIMARY] for node in nodes if {"slave", "fail"} <= _flags(node))


def _idle(nodes: Sequence[Sequence[str]], shards: Sequence[Shard]) -> Iterator[Address]:
    """Yield the addresses of the primaries that own no slot and have not failed."""
    by_host_name = any(_host_name(node) == shard.address.host for node in nodes for shard in shards)
    owners = {shard.node_id for shard in shards}
    for node in nodes:
        flags = _flags(node)
        if node[_ID] not in owners and "master" in flags and not flags & {"fail", "noaddr", "handshake"}:
            host, _, port = node[_ADDRESS].partition("@")[0].rpartition(":")
            yield Address(_host_name(node) if by_host_name and _host_name(node) else host, int(port))


def _flags(node: Sequence[str]) -> set[str]:
    return set(node[_FLAGS].split(","))


def _host_name(node: Sequence[str]) -> str:
    """Return the host name that a node announces; empty if it announces none."""
    return node[_ADDRESS].partition(",")[2].partition(",")[0]


def importing(link: Link) -> frozenset[int]:
    """Return the slots that a node imports from other nodes; none if the user may not ask.

    The migration may be interrupted: then the slot's owner no longer knows of it, and no client can reach the keys that
    have already arrived on this node.
    """
    nodes = _nodes(link)
    with parsing(link.name, "CLUSTER NODES", nodes):
        own = next((node for node in nodes if "myself" in _flags(node)), [])
        # Only the node's own line has its migrations, as [slot-<-node].
        words = (word for word in own[_SLOTS:] if word.startswith("[") and "-<-" in word)
        return frozenset(int(word[1:].partition("-")[0]) for word in words)


_ID, _ADDRESS, _FLAGS, _PRIMARY, _SLOTS = 0, 1, 2, 3, 8
"""The words of a line of CLUSTER NODES. The address is IP:PORT@BUSPORT[,HOSTNAME]; from _SLOTS on, all are slots."""


def _nodes(link: Link) -> list[list[str]]:
    """Return the words of each line of CLUSTER NODES; an empty list if the command is denied.

    Source: https://redis.io/docs/latest/commands/cluster-nodes/
    """
    (reply,) = link.pipeline([pack((b"CLUSTER", b"NODES"))])
    with parsing(link.name, "CLUSTER NODES", reply):
        return [] if isinstance(reply, Exception) else [line.split() for line in reply.decode().splitlines()]


def _shards(entries: Iterable[Any], address: Address, failed: Counter[str]) -> list[Shard]:
    """Return the ranges of CLUSTER SLOTS, grouped by primary.

    Source: https://redis.io/docs/latest/commands/cluster-slots/ (a null or empty host means the answering server's).
    """
    slots: dict[str, list[int]] = {}
    last: dict[str, tuple[Address, int, tuple[str, ...]]] = {}
    for first, end, primary, *replicas in entries:
        port, node_id = primary[1], primary[2].decode()
        if not (isinstance(port, int) and 0 <= first <= end < SLOT_COUNT):
            raise ValueError(first, end, port)
        where = Address(_host(primary) or address.host, port)
        slots.setdefault(node_id, []).extend(range(first, end + 1))
        last[node_id] = where, len(replicas) + failed[node_id], tuple(replica[2].decode() for replica in replicas)
    return [
        Shard(where, node_id, replicas, tuple(slots[node_id]), ids) for node_id, (where, replicas, ids) in last.items()
    ]


def _host(entry: Sequence[Any]) -> str | None:
    """Return the host of a node of CLUSTER SLOTS; None if it is the answering server's.

    A node that must announce its host name, but has none, announces `?`; its IP address stands beside it, from Redis 7.
    """
    if entry[0] != b"?":
        return entry[0].decode() if entry[0] else None
    about = entry[3] if len(entry) > 3 else []  # noqa: PLR2004  # host, port, id, then pairs
    return dict(zip(about[::2], about[1::2], strict=False)).get(b"ip", b"").decode() or None


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
