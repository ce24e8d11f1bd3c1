"""Refuses a sweep that would delete what is not test data, before the first delete."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from redis import exceptions

from sidecar.errors import DeniedError, RefusedError, UnreachableError
from sidecar.patterns import MIN_LITERAL_START
from sidecar.settings import Settings
from sidecar.sweep.link import Connect, pack
from sidecar.sweep.replies import judge, text_of
from sidecar.sweep.slots import key_slot
from sidecar.sweep.topology import Topology


def check_breadth(settings: Settings) -> None:
    """Refuse patterns that begin with too little.

    Raises:
        RefusedError: There is one, and broad patterns are not allowed.
    """
    if broad := settings.broad_patterns:
        names = ", ".join(repr(pattern.text) for pattern in broad)
        raise RefusedError(
            f"pattern {names} begins with fewer than {MIN_LITERAL_START} literal characters and could match anybody's keys; "
            "make it longer, or accept it with --allow-broad-patterns"
        )


def check_namespace(allowed: Sequence[str], namespace: str | None) -> None:
    """Refuse a namespace that none of the globs matches; without globs every one is fine.

    Raises:
        RefusedError: It is not allowed, or not known.
    """
    if not allowed or (namespace is not None and any(fnmatchcase(namespace, glob) for glob in allowed)):
        return
    found = "no Kubernetes namespace is known here" if namespace is None else f"this is namespace {namespace!r}"
    raise RefusedError(f"{found}, and --allowed-namespace permits only {', '.join(allowed)}")


def check_marker(marker: str | None, topology: Topology, connect: Connect) -> None:
    """Refuse a Redis that doesn't hold the marker.

    Raises:
        RefusedError: The key is not there.
        UnreachableError: Its primary could not be asked.
        DeniedError: The user may not ask for it.
    """
    if marker is None:
        return
    key = marker.encode("utf-8", "surrogateescape")
    shard = topology.shard_of(key_slot(key))
    if shard is None:
        raise UnreachableError(f"no primary owns slot {key_slot(key)}, where the marker of --require-marker belongs")
    link = connect(shard.address.host, shard.address.port)
    try:
        (reply,) = link.pipeline([pack((b"EXISTS", key))])
    finally:
        link.close()
    if isinstance(reply, exceptions.NoPermissionError):
        raise DeniedError(f"{link.name} forbids to look for the marker: {text_of(reply)}; --require-marker needs EXISTS on it")
    if trouble := judge(reply, link.name):
        raise UnreachableError(f"{link.name} could not be asked for the marker: {trouble.text}")
    if not reply:
        raise RefusedError(f"this Redis does not hold the key {marker!r} that --require-marker asks for: is it the right one?")
