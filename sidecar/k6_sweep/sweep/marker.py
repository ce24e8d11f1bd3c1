"""Refuses a Redis without the marker: the key with which its owners allow a sweep."""

from contextlib import closing

from redis import exceptions

from k6_sweep.cluster.link import Connect, pack
from k6_sweep.cluster.replies import judge, number, text_of
from k6_sweep.cluster.slots import key_slot
from k6_sweep.cluster.topology import Topology
from k6_sweep.errors import DeniedError, RefusedError, UnreachableError


def check_marker(marker: str | None, topology: Topology, connect: Connect) -> None:
    """Refuse a Redis that does not hold the marker.

    Raises:
        RefusedError: The key does not exist.
        UnreachableError: The key's primary does not answer the question.
        DeniedError: The user may not read the key.
    """
    if marker is None:
        return
    key = marker.encode("utf-8", "surrogateescape")
    shard = topology.shard_of(key_slot(key))
    if shard is None:
        raise UnreachableError(f"no primary owns slot {key_slot(key)}, which holds the key of --require-marker")
    with closing(connect(shard.address)) as link:
        (reply,) = link.pipeline([pack((b"EXISTS", key))])
    if isinstance(reply, exceptions.NoPermissionError):
        raise DeniedError(
            f"{link.name} does not allow EXISTS on the key of --require-marker: {text_of(reply)}; give the user +exists"
        )
    if trouble := judge(reply):
        raise UnreachableError(f"{link.name} did not answer whether the key of --require-marker exists: {trouble.text}")
    if not number(link.name, "EXISTS", reply):
        raise RefusedError(
            f"this Redis does not hold the key {marker!r} of --require-marker; check --redis-url, or create the key"
        )
