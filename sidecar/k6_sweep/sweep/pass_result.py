"""The result of one pass over the cluster: what it found and did."""

from collections import Counter
from dataclasses import dataclass, field

from k6_sweep.errors import DeniedError
from k6_sweep.settings.values import Address
from k6_sweep.sweep.orders import Tally
from k6_sweep.sweep.slowness import Times


@dataclass
class PassResult:
    """What one pass has found and done so far."""

    open: set[int]
    """The slots that are not proven yet."""
    started: float
    """When the pass began, on the monotonic clock."""
    tallies: dict[Address, list[Tally]] = field(default_factory=dict)
    unreachable: dict[str, str] = field(default_factory=dict)
    """The servers that the latest round could not reach, each with the reason."""
    denied: DeniedError | None = None
    over_limit: bool = False
    cut_off: bool = False
    """Whether k6-sweep itself closed the connections, because no time remained."""
    strays: dict[int, str] = field(default_factory=dict)
    """The slots of which a primary that does not own them holds, or may hold, matching keys, with the reasons."""
    doubts: list[str] = field(default_factory=list)
    """Why the counts may be lower than the true numbers, apart from the reasons of single primaries."""
    rounds: int = 0
    """The number of rounds over the open slots."""

    def by_primary(self) -> list[tuple[Address, Tally]]:
        """Return pairs of a primary and a tally, one for each round."""
        return [(address, tally) for address, several in list(self.tallies.items()) for tally in several]

    @property
    def _all(self) -> list[Tally]:
        return [tally for _, tally in self.by_primary()]

    @property
    def deleted(self) -> int:
        """Keys deleted, over all shards."""
        return sum(tally.deleted for tally in self._all)

    @property
    def preserved(self) -> int:
        """Keys spared, over all shards and patterns."""
        return sum(self.preserved_by_pattern.values())

    @property
    def preserved_by_pattern(self) -> Counter[int]:
        """Keys spared, over all shards, by the pattern's index."""
        return sum((tally.preserved for tally in self._all), Counter())

    @property
    def matched_by_pattern(self) -> Counter[int]:
        """Keys matched, over all shards, by the pattern's index."""
        return sum((Counter(dict(enumerate(tally.matched))) for tally in self._all), Counter())

    @property
    def matched(self) -> int:
        """Keys matched, over all shards and patterns."""
        return sum(self.matched_by_pattern.values())

    @property
    def finished(self) -> int:
        """Slots proven, including those of running workers."""
        return sum(len(tally.finished) for tally in self._all)

    def slots_by_primary(self) -> dict[str, tuple[int, int]]:
        """For each primary, how many slots are proven so far, and how many it had in the first round."""
        shards: dict[str, tuple[int, int]] = {}
        for address, tallies in list(self.tallies.items()):
            done = sum(len(tally.finished) for tally in tallies)
            shards[str(address)] = (done, max(done, tallies[0].asked))
        return shards

    @property
    def moving(self) -> frozenset[int]:
        """The slots that were moving, and were swept on both nodes."""
        return frozenset().union(*(tally.moving for tally in self._all))

    @property
    def unsure(self) -> list[str]:
        """Why the counts may be lower than the true numbers."""
        return [*self.doubts, *(reason for tally in self._all for reason in tally.unsure)]

    @property
    def times(self) -> list[Times]:
        """How the workers spend their time."""
        return [tally.times for tally in self._all if tally.times]

    @property
    def broken(self) -> bool:
        """Whether a connection broke during the pass."""
        return any(tally.broken for tally in self._all)

    @property
    def final(self) -> bool:
        """Whether another round cannot help."""
        return self.denied is not None or self.over_limit

    def troubles(self) -> dict[int, str]:
        """For each open slot, the last error of a server, if there was one."""
        said = {slot: text for tally in self._all for slot, text in tally.trouble.items() if slot in self.open}
        return said | self.strays
