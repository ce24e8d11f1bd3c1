"""Looks for keys on primaries that do not own their slots, before a sweep counts as complete.

A migration that was broken off leaves such keys, if a person removes its marks. No client can reach them, until that
primary gets the slot: then they are served again. k6-sweep names them, and deletes nothing from such a primary.

Source: cluster.c of Redis and Valkey: they list and count the keys of any slot. From Redis 8.6, COUNTKEYSINSLOT,
GETKEYSINSLOT and SCAN hide the keys of slots that the server neither owns nor imports; DBSIZE still counts them.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Executor
from typing import Final

from redis import exceptions

from k6_sweep.cluster.link import Link, pack
from k6_sweep.cluster.links import Links
from k6_sweep.cluster.replies import keys_in, text_of
from k6_sweep.cluster.scan import scan_node
from k6_sweep.cluster.slots import ALL_SLOTS, key_slot
from k6_sweep.cluster.topology import Topology
from k6_sweep.cluster.window import Window
from k6_sweep.errors import RedisError, UnreachableError
from k6_sweep.settings.values import Address
from k6_sweep.sweep.count_slots import count_slots
from k6_sweep.sweep.in_time import in_time, pause
from k6_sweep.sweep.matcher import Matcher

HIDES_STRAYS: Final = (8, 6)
"""The first version of Redis that hides keys of slots that it neither owns nor imports."""
_NAPS: Final = (0.05, 0.1, 0.1, 0.2, 0.2, 0.3, 0.4)
"""Seconds between two looks.

A migration may be in progress. And while clients both write and delete, DBSIZE is above the sum of the counts by chance
in one look of three.
"""
_DBSIZE: Final = pack((b"DBSIZE",))
_REPAIR: Final = "move the keys to the slot's owner (docs/redis.md, Keys that a migration left)"


class Search:
    """Looks on all primaries for matching keys in some slots; the owner's own keys do not count."""

    def __init__(
        self, links: Links, pool: Executor, matcher: Matcher, sizes: Mapping[int, int], asked: Sequence[int]
    ) -> None:
        """Prepare; `sizes` is how many keys the last pass left in each slot, and `asked` are the slots to look at."""
        self._links = links
        self._pool = pool
        self._matcher = matcher
        self._sizes = sizes
        self._asked = asked

    def run(
        self, look: Callable[[], dict[int, str]], refresh: Callable[[], None], remaining: Callable[[], float]
    ) -> dict[int, str]:
        """Return the slots that several looks in a row have found, or that cannot be looked at, each with the reason.

        Args:
            look: Looks once; see `look`.
            refresh: Called before another look: a primary may have failed, or a slot may have moved.
            remaining: Seconds left.
        """
        cause: RedisError | None = None
        found: dict[int, str] | None = None
        naps = iter(_NAPS)
        while True:
            try:
                latest = in_time(look, remaining)
            except RedisError as error:
                if not isinstance(error, UnreachableError) or remaining() <= 0:
                    # The last attempt was cut short, so it may not know the cause.
                    return dict.fromkeys(self._asked, f"Another primary may hold keys of these slots: {cause or error}")
                cause = error
                pause(_NAPS[-1], remaining)
            else:
                found = {slot: why for slot, why in latest.items() if found is None or slot in found}
                nap = next(naps, None)
                if not found or nap is None:
                    return found
                pause(nap, remaining)
            refresh()

    def look(self, topology: Topology, *, by_scan: bool) -> dict[int, str]:
        """Return the slots of which a primary holds, or may hold, matching keys without owning them, with the reasons.

        Args:
            topology: The primaries, and the slots that each owns.
            by_scan: Whether to read the keys with SCAN, because a server does not list a slot's keys.

        Raises:
            UnreachableError: A primary does not answer, or gives an error instead of its keys.
            DeniedError: A primary denies the login.
        """
        owned = {shard.address: frozenset(shard.slots) for shard in topology.shards}
        owned |= dict.fromkeys(topology.idle, frozenset())
        reasons: dict[int, str] = {}
        for found in self._pool.map(self._scan if by_scan else self._count, owned, owned.values()):
            reasons |= found
        return reasons

    def _scan(self, address: Address, owned: Collection[int]) -> dict[int, str]:
        foreign = {slot for slot in self._asked if slot not in owned}

        def read(link: Link) -> dict[int, str]:
            pages = scan_node(link, self._links.window(address))
            slots = {key_slot(key) for page in pages for key in self._matcher.split(page).chosen}
            return dict.fromkeys(foreign & slots, _holds(link))

        return self._on(address, read) if foreign else {}

    def _count(self, address: Address, owned: Collection[int]) -> dict[int, str]:
        foreign = [slot for slot in self._asked if slot not in owned]

        def read(link: Link) -> dict[int, str]:
            window = self._links.window(address)
            counts = _counts(link, foreign, window)
            filled = [slot for slot in foreign if counts[slot]]
            before = _size(link)
            if not filled and before in {None, sum(self._sizes.get(slot, 0) for slot in owned)}:
                return {}  # the usual case: the primary has what the last pass left, and nothing else
            found = dict.fromkeys((slot for slot in filled if self._may_match(link, slot, window)), _holds(link))
            if before is None:
                return found
            counts |= _counts(link, [slot for slot in ALL_SLOTS if slot not in counts], window)
            after = _size(link) or 0
            if before == after == sum(counts[slot] for slot in owned):
                return {}  # Valkey 9 lists the copies that an atomic migration makes, and omits them in DBSIZE
            # If only clients that write, or only clients that delete, are active, the lower one is not above the sum.
            hidden = min(before, after) - sum(counts.values())
            return (dict.fromkeys(foreign, _hides(link, hidden)) if hidden > 0 else {}) | found

        return self._on(address, read) if foreign else {}

    def _on(self, address: Address, read: Callable[[Link], dict[int, str]]) -> dict[int, str]:
        try:
            return read(self._links.get(address))
        except UnreachableError:
            self._links.drop(address)
            raise
        except exceptions.ResponseError as error:
            raise UnreachableError(f"{address} does not list its keys: {text_of(error)}") from error

    def _may_match(self, link: Link, slot: int, window: Window) -> bool:
        """Whether one of the slot's keys matches; true if they are too many for one list."""
        limit = window.at_once
        listed = keys_in(link.name, "CLUSTER GETKEYSINSLOT", link.ask(b"CLUSTER", b"GETKEYSINSLOT", slot, limit))
        return len(listed) == limit or bool(self._matcher.split(listed).chosen)


def _size(link: Link) -> int | None:
    """Return the number of all keys; None if the user may not ask."""
    (reply,) = link.pipeline([_DBSIZE])
    return reply if isinstance(reply, int) else None


def _counts(link: Link, slots: Sequence[int], window: Window) -> dict[int, int]:
    counts: dict[int, int] = {}
    for slot, count in count_slots(link, slots, window):
        if isinstance(count, Exception):
            raise count
        counts[slot] = count
    return counts


def _holds(link: Link) -> str:
    return f"{link.name} holds matching keys of these slots, but does not own them; {_REPAIR}"


def _hides(link: Link, hidden: int) -> str:
    return f"{link.name} hides keys of slots that it does not own ({hidden} by its DBSIZE); find the slot, {_REPAIR}"
