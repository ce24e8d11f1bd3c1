"""Writes keys into a local cluster, fast, and counts what is there."""

import itertools
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing

from k6_sweep.cluster.link import Link, pack
from k6_sweep.cluster.slots import key_slot
from k6_sweep.cluster.topology import read_topology
from k6_sweep.demo.servers import LocalCluster, Node

_AT_ONCE = 5000


def write_keys(cluster: LocalCluster, keys: Iterable[bytes], value: bytes = b"x") -> None:
    """Set each key, on the primary that owns it."""
    with ExitStack() as links:
        owner_of: dict[int, Link] = {}
        by_port = {node.port: node for node in cluster.nodes}
        seed = cluster.nodes[0].link()
        links.callback(seed.close)
        shards = read_topology(seed, cluster.nodes[0].address).shards
        for shard in (shard for shard in shards if shard.address.port in by_port):
            link = by_port[shard.address.port].link()
            links.callback(link.close)
            owner_of.update(dict.fromkeys(shard.slots, link))
        source = iter(keys)
        while part := list(itertools.islice(source, _AT_ONCE)):
            batches: dict[Link, list[bytes]] = {}
            for key in part:
                batches.setdefault(owner_of[key_slot(key)], []).append(pack((b"SET", key, value)))
            for link, commands in batches.items():
                for reply in link.pipeline(commands):
                    if isinstance(reply, Exception):
                        raise reply


def all_keys(node: Node) -> Iterator[bytes]:
    """Yield every key of one server; while nothing changes, none is missing."""
    cursor = b"0"
    with closing(node.link()) as link:
        while True:
            cursor, page = link.ask(b"SCAN", cursor, b"COUNT", 5000)
            yield from page
            if cursor == b"0":
                return
