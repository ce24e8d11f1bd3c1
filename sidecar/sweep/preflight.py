"""Tries, before it matters, whether a sweep could do its work: primaries, login, permissions, guards."""

import secrets
from dataclasses import dataclass

from redis import exceptions

from sidecar.errors import DeniedError
from sidecar.patterns import Pattern
from sidecar.settings import Settings
from sidecar.sweep.guard import check_breadth
from sidecar.sweep.link import Connect, Link, pack
from sidecar.sweep.marker import check_marker
from sidecar.sweep.replies import is_denied, judge, text_of
from sidecar.sweep.slots import TAGS, key_slot
from sidecar.sweep.topology import Address, Shard, discover


@dataclass(frozen=True)
class Readiness:
    """What the preflight found."""

    primaries: tuple[str, ...]
    warnings: tuple[str, ...]
    """What will work, but worse than it could."""


def preflight(settings: Settings, connect: Connect) -> Readiness:
    """Try everything that a sweep needs, deleting nothing: UNLINK is tried on random keys that do not exist.

    Raises:
        RefusedError: A guard says no.
        UnreachableError: Redis or one of its primaries cannot be reached.
        DeniedError: Login or permission is refused.
    """
    check_breadth(settings)
    topology = discover(connect, [Address(settings.redis_url.host, settings.redis_url.port)])
    check_marker(settings.require_marker, topology, connect)
    warnings: dict[str, None] = {}
    covered = sum(len(shard.slots) for shard in topology.shards)
    if missing := len(topology.uncovered()):
        warnings[f"{missing} of the cluster's slots have no primary; {covered} have"] = None
    for shard in topology.shards:
        link = connect(shard.address.host, shard.address.port)
        try:
            _try_deletes(link, shard, settings)
            if topology.clustered and shard.slots:
                warnings.update(dict.fromkeys(_try_listing(link, shard)))
        finally:
            link.close()
    return Readiness(tuple(str(address) for address in topology.addresses), tuple(warnings))


def _try_deletes(link: Link, shard: Shard, settings: Settings) -> None:
    """Unlink an absent key of each pattern: permissions are checked before anything else, so this harms nobody."""
    nonce = secrets.token_hex(8).encode()
    for pattern in settings.pattern:
        key = _absent_key(pattern, shard, nonce)
        if key is None:
            continue
        (reply,) = link.pipeline([pack((b"EXISTS" if settings.dry_run else b"UNLINK", key))])
        if isinstance(reply, exceptions.NoPermissionError):
            raise DeniedError(
                f"{link.name} forbids {'EXISTS' if settings.dry_run else 'UNLINK'} of keys like {pattern.text!r}: "
                f"{text_of(reply)}; give the user the permissions of docs/redis.md"
            )
        judge(reply, link.name)


def _absent_key(pattern: Pattern, shard: Shard, nonce: bytes) -> bytes | None:
    """Return a key that the pattern matches, nobody has, and this primary owns; None where there is no such key."""
    if not shard.slots:
        return None
    key = pattern.sample(b"{" + TAGS[shard.slots[0]] + b"}" + nonce)
    return key if key is None or key_slot(key) in shard.slots else None


def _try_listing(link: Link, shard: Shard) -> list[str]:
    replies = link.pipeline(
        [
            pack((b"CLUSTER", b"COUNTKEYSINSLOT", shard.slots[0])),
            pack((b"CLUSTER", b"GETKEYSINSLOT", shard.slots[0], 1)),
        ]
    )
    if any(is_denied(reply) for reply in replies):
        scan = link.pipeline([pack((b"SCAN", b"0", b"COUNT", 1))])
        if is_denied(scan[0]):
            raise DeniedError(
                f"{link.name} forbids both CLUSTER GETKEYSINSLOT and SCAN; one of them is needed to find keys"
            )
        return [
            "listing a slot's keys (CLUSTER COUNTKEYSINSLOT, GETKEYSINSLOT) is not permitted; SCAN will be used, slower"
        ]
    return []
