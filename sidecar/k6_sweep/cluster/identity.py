"""Recognizes the data of a Redis: the same ids mean the same data, also after a failover."""

from redis import exceptions

from k6_sweep.cluster.link import Connect
from k6_sweep.cluster.replies import parsing, text_of
from k6_sweep.errors import DeniedError
from k6_sweep.settings.redis_url import RedisUrl
from k6_sweep.settings.values import Address


def identity(nodes: frozenset[str], connect: Connect, address: Address, url: RedisUrl) -> frozenset[str]:
    """Return the ids of a database: two Redis hold the same data if they have one id in common.

    Args:
        nodes: The ids of the cluster's nodes; none for a single server.
        connect: Opens a link to a server.
        address: The address of the single server. It is not an id: a forwarded port may lead to another server.
        url: The setting; each of its databases has data of its own, also in a cluster (Valkey 9).

    Raises:
        UnreachableError: The single server cannot be reached.
        DeniedError: The single server does not report its ids.
    """
    return frozenset(f"{each}/{url.database}" for each in nodes or _of_server(connect, address, url))


def _of_server(connect: Connect, address: Address, url: RedisUrl) -> frozenset[str]:
    """Return the ids of a single server: of its process, and of the data that it replicates.

    A promoted replica has its former primary's replication id as its second one. But so has a server that was restored
    from a backup of another one. So the second id counts only where Sentinels promote replicas, and for them alone.

    Source: https://redis.io/docs/latest/commands/info/
    """
    link = connect(address)
    try:
        replies = [link.ask(b"INFO", section) for section in (b"SERVER", b"REPLICATION")]
    except exceptions.ResponseError as error:
        raise DeniedError(
            f"{link.name} denies INFO: {text_of(error)}; without its run id, a snapshot of a single server cannot be "
            "recognized; give the user +info"
        ) from error
    finally:
        link.close()
    with parsing(link.name, "INFO", replies):
        lines = (line.partition(":") for reply in replies for line in reply.decode().splitlines())
        facts = {name: value for name, _, value in lines if value.strip("0")}
    ids = {facts[name] for name in ("run_id", "master_replid") if name in facts}
    if url.sentinels:
        ids |= {f"{facts[name]} of {url}" for name in ("master_replid", "master_replid2") if name in facts}
    return frozenset(ids)
