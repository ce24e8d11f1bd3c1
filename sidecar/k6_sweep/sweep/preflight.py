"""Checks in advance whether a sweep would succeed: primaries, login, permissions, guards."""

import secrets
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Final

from redis import exceptions

from k6_sweep.cluster.link import Connect, Link, pack
from k6_sweep.cluster.replies import denial, is_denied, judge, text_of
from k6_sweep.cluster.sentinel import seeds
from k6_sweep.cluster.slots import TAGS, key_slot
from k6_sweep.cluster.topology import Shard, discover, hello, version_of
from k6_sweep.errors import DeniedError, RedisError, SweepError, UnreachableError, joined
from k6_sweep.patterns import Pattern
from k6_sweep.settings.all import Settings
from k6_sweep.sweep.batch import try_commands
from k6_sweep.sweep.guard import check_breadth
from k6_sweep.sweep.look import Look
from k6_sweep.sweep.marker import check_marker
from k6_sweep.sweep.matcher import Matcher
from k6_sweep.sweep.probes import Probes, reachable_slots
from k6_sweep.sweep.strays import HIDES_STRAYS
from k6_sweep.sweep.unused import Unused

_DOWN: Final = ("CLUSTERDOWN", "MASTERDOWN")
"""The error codes of a cluster, or of a server, that serves no keys at all."""


@dataclass(frozen=True)
class Readiness:
    """What the preflight found."""

    primaries: tuple[str, ...]
    warnings: tuple[str, ...]
    """What works, but not as well as it could."""


def preflight(settings: Settings, connect: Connect, *, look: bool = False) -> Readiness:
    """Try everything that a sweep needs and delete nothing: it tries UNLINK on random keys that do not exist.

    With `look`, it also looks for patterns and keeps that mean no key, among a limited number of keys.

    Raises:
        RefusedError: A guard refuses the sweep.
        UnreachableError: One of the primaries cannot be reached, or the cluster is down.
        DeniedError: A server refuses the login or a command.
    """
    check_breadth(settings)
    topology = discover(connect, seeds(settings.redis_url, connect))
    check_marker(settings.require_marker, topology, connect)
    warnings: dict[str, None] = {}
    unused = Unused(settings.pattern, settings.keep)
    looked = Look(Matcher(settings.pattern, settings.keep, unused=unused))
    failures: list[RedisError] = []
    if missing := len(topology.uncovered()):
        covered = sum(len(shard.slots) for shard in topology.shards)
        failures.append(UnreachableError(f"{missing} of the cluster's slots have no primary; {covered} have one"))
    # All of them, also those without slots: a sweep asks them, too.
    for shard in (*topology.shards, *(Shard(address, "", 0, ()) for address in topology.idle)):
        try:
            with closing(connect(shard.address)) as link:
                warnings.update(dict.fromkeys(_try_writes(link, shard, settings)))
                if topology.clustered and shard.slots:
                    warnings.update(dict.fromkeys(_try_listing(link, shard)))
                if look:
                    looked.through(link, shard.slots, clustered=topology.clustered)
        except RedisError as error:
            failures.append(error)
    if failures:
        raise joined(failures)
    if look and looked.whole:
        warnings.update(dict.fromkeys(unused.sentences(before_test=True)))
    return Readiness(tuple(str(address) for address in topology.addresses), tuple(warnings))


def problems(settings: Settings, connect: Connect) -> list[str]:
    """Return one sentence for each problem that would currently prevent or slow down a sweep."""
    try:
        return list(preflight(settings, connect).warnings)
    except SweepError as error:
        return [str(error)]


def _try_writes(link: Link, shard: Shard, settings: Settings) -> Iterator[str]:
    """Unlink an absent key of each pattern: the server checks the permissions first, and finds nothing to delete.

    Yields the temporary errors, which would delay a sweep if they continue.

    Raises:
        UnreachableError: The cluster is down.
        DeniedError: The server denies a command.
    """
    nonce = secrets.token_hex(8).encode()
    reachable = frozenset(reachable_slots(settings.pattern))
    probed = next((slot for slot in shard.slots if slot in reachable), None)
    tries = {} if probed is None else {Probes(settings.pattern, nonce).key(probed): "the sweep's probes"}
    for pattern in settings.pattern:
        if key := _absent_key(pattern, shard, nonce):
            tries[key] = f"keys like {pattern.text!r}"
    counts = settings.dry_run or settings.max_keys is not None
    for key, name, reply in try_commands(link, tries, delete=not settings.dry_run, count=counts):
        if isinstance(reply, exceptions.NoPermissionError):
            raise denial(link.name, f"{text_of(reply)} ({name} of {tries[key]})")
        trouble = judge(reply)
        if trouble and trouble.text.startswith(_DOWN):
            raise UnreachableError(f"{link.name} does not accept {name} now: {trouble.text}")
        if trouble:
            yield f"{link.name} does not accept {name} now: {trouble.text}"


def _absent_key(pattern: Pattern, shard: Shard, nonce: bytes) -> bytes | None:
    """Return a key that matches the pattern, does not exist and belongs to this primary; None if none is possible."""
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
                f"{link.name} denies CLUSTER GETKEYSINSLOT and SCAN; give the user one of them, to find keys"
            )
        return ["CLUSTER COUNTKEYSINSLOT and GETKEYSINSLOT are denied; k6-sweep uses SCAN, which is slower"]
    server, version = version_of(hello(link))
    if server == "redis" and version >= HIDES_STRAYS and is_denied(link.pipeline([pack((b"DBSIZE",))])[0]):
        return [f"{link.name} denies DBSIZE, which alone shows keys that a broken-off migration left; allow +dbsize"]
    return []
