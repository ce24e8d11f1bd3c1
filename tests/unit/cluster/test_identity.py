"""The ids that recognize the data of a Redis."""

from typing import Any

import pytest
from redis.exceptions import NoPermissionError

from k6_sweep.cluster.identity import identity
from k6_sweep.cluster.link import Connect
from k6_sweep.errors import DeniedError
from k6_sweep.settings.redis_url import RedisUrl
from k6_sweep.settings.values import Address

PLACE = Address("redis", 6379)


def server(run_id: str, replid: str, replid2: str = "0" * 40, denied: bool = False) -> Connect:
    """A server with these facts; it checks that its link is closed."""
    facts = {
        b"SERVER": f"# Server\r\nrun_id:{run_id}\r\n",
        b"REPLICATION": f"master_replid:{replid}\r\nmaster_replid2:{replid2}\r\n",
    }

    class Fake:
        name = "redis:6379"

        def ask(self, command: bytes, section: bytes) -> bytes:
            assert command == b"INFO"
            if denied:
                raise NoPermissionError("this user has no permissions to run the 'info' command")
            return facts[section].encode()

        def close(self) -> None:
            pass

    def connect(address: Address) -> Any:
        assert address == PLACE
        return Fake()

    return connect


def of(url: str, connect: Connect, *nodes: str) -> frozenset[str]:
    return identity(frozenset(nodes), connect, PLACE, RedisUrl.parse(url))


def test_each_database_has_its_own() -> None:
    """Two databases share no id, of a single server and of a cluster."""
    one = server("run", "data")
    assert of("redis://redis/3", one) & of("redis://redis/3", one)
    assert not of("redis://redis/3", one) & of("redis://redis", one)
    assert of("redis://redis", one, "node", "other") & of("redis://redis", one, "node")
    assert not of("redis://redis/1", one, "node") & of("redis://redis", one, "node")


def test_the_address_is_no_id() -> None:
    """Another server at the same address is another Redis, and the same server at another address is the same."""
    assert not of("redis://redis", server("run", "data")) & of("redis://redis", server("run2", "data2"))
    assert of("redis://redis", server("run", "data")) & of("redis://localhost:7000", server("run", "data"))


def test_a_promoted_replica_counts_only_behind_its_sentinels() -> None:
    """A promoted replica is the same Redis for its own Sentinels; a server restored from a backup is another one."""
    before, after = server("run", "data"), server("run2", "data2", replid2="data")
    sentinel, other = "redis+sentinel://a/main", "redis+sentinel://b/main"
    assert of(sentinel, before) & of(sentinel, after)
    assert not of(sentinel, before) & of(other, after)
    assert not of("redis://redis", before) & of("redis://redis", after)
    assert not of("redis://redis", after) & of("redis://redis", before)


def test_no_replication_has_no_id() -> None:
    """The zeros of a missing second id are no id: they are the same on every server."""
    sentinel = "redis+sentinel://a/main"
    assert not of(sentinel, server("run", "data")) & of(sentinel, server("run2", "data2"))


def test_a_server_that_denies_info_is_named() -> None:
    """Without the permission for INFO there is no identity, and the message names server and permission."""
    with pytest.raises(DeniedError, match=r"redis:6379 denies INFO: .*give the user \+info"):
        of("redis://redis", server("run", "data", denied=True))
