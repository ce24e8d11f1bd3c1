"""Writes keys to a local cluster in batches, and lists its keys."""

import itertools
from collections.abc import Iterable, Iterator
from contextlib import ExitStack

from k6_sweep.cluster.link import Link, pack
from k6_sweep.cluster.slots import key_slot
from k6_sweep.cluster.topology import read_topology
from k6_sweep.demo.servers import LocalCluster, Node

_AT_ONCE = 5000


def write_keys(cluster: LocalCluster, keys: Iterable[bytes], value: bytes = b"x") -> None:
    """Set each key on the primary that owns its slot."""
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
    """Yield every key of one server; the result is complete if no key changes meanwhile."""
    link = node.link()
    cursor = b"0"
    try:
        while True:
            cursor, page = link.ask(b"SCAN", cursor, b"COUNT", 5000)
            yield from page
            if cursor == b"0":
                return
    finally:
        link.close()
