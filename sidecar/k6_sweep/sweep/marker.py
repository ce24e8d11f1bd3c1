"""Refuses a Redis without the marker: the key with which its owners allow a sweep."""

from contextlib import closing

from redis import exceptions

from k6_sweep.cluster.link import Connect, pack
from k6_sweep.cluster.replies import judge, text_of
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
        raise UnreachableError(f"no primary owns slot {key_slot(key)}, where the marker of --require-marker belongs")
    with closing(connect(shard.address)) as link:
        (reply,) = link.pipeline([pack((b"EXISTS", key))])
    if isinstance(reply, exceptions.NoPermissionError):
        raise DeniedError(
            f"{link.name} forbids to look for the marker: {text_of(reply)}; --require-marker needs EXISTS on it"
        )
    if trouble := judge(reply):
        raise UnreachableError(f"{link.name} could not be asked for the marker: {trouble.text}")
    if not reply:
        raise RefusedError(
            f"this Redis does not hold the key {marker!r} that --require-marker asks for: is it the right one?"
        )
