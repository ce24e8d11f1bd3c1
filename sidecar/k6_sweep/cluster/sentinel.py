"""Asks Sentinels for the address of the primary.

Source: https://redis.io/docs/latest/develop/reference/sentinel-clients/
"""

from collections.abc import Iterator

from redis import exceptions

from k6_sweep.cluster.link import Connect
from k6_sweep.cluster.replies import parsing, text_of
from k6_sweep.errors import DeniedError, RedisError, UnreachableError, joined
from k6_sweep.settings.redis_url import RedisUrl
from k6_sweep.settings.values import Address


def seeds(url: RedisUrl, connect: Connect) -> Iterator[Address]:
    """Yield the first addresses to ask: the URL's, or the primaries that the Sentinels name; some may be outdated.

    Raises:
        UnreachableError: No Sentinel can be reached, or none knows the primary.
        DeniedError: No Sentinel named a primary, and one refused in a way that a retry does not solve.
    """
    if not url.sentinels:
        yield url.address
        return
    failures: list[RedisError] = []
    # All of them, although one answer would do: a Sentinel that is cut off from the others names a former primary.
    for sentinel in url.sentinels:
        try:
            primary = _primary(sentinel, url.master, connect)
        except RedisError as error:
            failures.append(error)
        else:
            yield primary
    if len(failures) < len(url.sentinels):
        return
    raise joined(failures)


def _primary(sentinel: Address, master: str, connect: Connect) -> Address:
    link = connect(sentinel)
    try:
        found = link.ask(b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", master)
    except exceptions.ResponseError as error:
        raise DeniedError(f"{link.name} does not answer as a Sentinel: {text_of(error)}") from error
    finally:
        link.close()
    if found is None:
        raise UnreachableError(f"the Sentinel {link.name} has no primary named {master!r}; check --redis-url")
    with parsing(link.name, "SENTINEL GET-MASTER-ADDR-BY-NAME", found):
        return Address(found[0].decode(), int(found[1]))
