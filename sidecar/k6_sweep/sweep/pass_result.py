"""What one pass over the cluster found and did."""

from collections import Counter
from dataclasses import dataclass, field

from k6_sweep.errors import DeniedError
from k6_sweep.settings.values import Address
from k6_sweep.sweep.orders import Tally


@dataclass
class PassResult:
    """What one pass did so far."""

    open: set[int]
    """Slots that are not proven yet."""
    started: float
    """When it began, on the monotonic clock."""
    tallies: dict[Address, list[Tally]] = field(default_factory=dict)
    unreachable: dict[str, str] = field(default_factory=dict)
    """Whom the latest round could not reach, and why."""
    denied: DeniedError | None = None
    over_limit: bool = False
    rounds: int = 0
    """How often its open slots were asked for."""

    def by_primary(self) -> list[tuple[Address, Tally]]:
        """Return each primary's tallies, one for each round."""
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
        """Slots proven, those of running workers included."""
        return sum(len(tally.finished) for tally in self._all)

    def slots_by_primary(self) -> dict[str, tuple[int, int]]:
        """For each primary, how many slots are proven so far, and how many it was asked for."""
        shards: dict[str, tuple[int, int]] = {}
        for address, tallies in list(self.tallies.items()):
            done = sum(len(tally.finished) for tally in tallies)
            shards[str(address)] = (done, max(done, tallies[0].asked))
        return shards

    @property
    def unsure(self) -> list[str]:
        """Why the counts may be less than what happened."""
        return [reason for tally in self._all for reason in tally.unsure]

    @property
    def broken(self) -> bool:
        """Whether a connection broke on the way."""
        return any(tally.broken for tally in self._all)

    @property
    def final(self) -> bool:
        """Whether going on is of no use."""
        return self.denied is not None or self.over_limit

    def troubles(self) -> dict[int, str]:
        """For each open slot, what a server last said about it."""
        return {slot: text for tally in self._all for slot, text in tally.trouble.items() if slot in self.open}
