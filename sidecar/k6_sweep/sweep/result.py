"""The report and the progress of a sweep."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from k6_sweep.errors import SweepError
from k6_sweep.status import Status


@dataclass(frozen=True)
class SweepReport:
    """The counts of a sweep, and how reliable they are."""

    status: Status
    """complete, dry-run or incomplete."""
    deleted: int
    """The sum of the servers' replies to UNLINK: keys that existed and were deleted."""
    matched: int
    """Keys found and sent with UNLINK, or that would be; `deleted` does not include those that had just expired."""
    remaining: int | None
    """Number of keys that the last pass still found; None if no pass looked again."""
    remaining_by_pattern: Mapping[str, int] | None
    preserved: int
    """Keys that match a pattern and were spared."""
    preserved_by_pattern: Mapping[str, int]
    exact: bool
    """Whether `deleted` is precise: no reply was lost, no primary changed, and a replica has the deletes."""
    patterns: Mapping[str, int]
    """Matched keys by pattern; a key counts for the first pattern that matches it."""
    slots_done: int | None
    """Slots that the last pass proved; None if the server has no slots, or denied the listing of slots."""
    slots_asked: int
    """Slots that keys of the patterns can be in."""
    shards: Mapping[str, int]
    """Deleted keys by primary."""
    passes: int
    retries: int
    """Number of extra rounds: slots had moved, or a primary or the topology was unreachable."""
    seconds: float
    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    """What is probably a mistake, although the sweep did what the settings say: patterns and keeps without any key."""

    def after(self, first: "SweepReport | None") -> "SweepReport":
        """Return the report of both parts of a sweep that another test interrupted; this one is the second part."""
        if first is None:
            return self
        return replace(
            self,
            deleted=first.deleted + self.deleted,
            matched=first.matched + self.matched,
            patterns=_sum(first.patterns, self.patterns),
            shards=_sum(first.shards, self.shards),
            exact=first.exact and self.exact,
            passes=first.passes + self.passes,
            retries=first.retries + self.retries,
            seconds=first.seconds + self.seconds,
            errors=self.errors if first.exact else (*first.errors, *self.errors),
            warnings=() if first.matched else self.warnings,
        )


def _sum(first: Mapping[str, int], second: Mapping[str, int]) -> dict[str, int]:
    return {name: first.get(name, 0) + second.get(name, 0) for name in {**first, **second}}


@dataclass(frozen=True)
class Progress:
    """The progress of a running pass."""

    pass_number: int
    """From 1."""
    slots_done: int
    slots_asked: int | None
    """None if keys are found with SCAN, which has no slots to count."""
    deleted: int
    """Over all passes."""
    matched: int
    """Over all passes."""
    patterns: Mapping[str, int]
    """Matched keys by pattern, over all passes."""
    shards: Mapping[str, tuple[int, int]]
    """For each primary of the running pass, how many of its slots are done, and how many it has to do."""
    seconds: float
    """Since the sweep began."""
    seconds_left: float | None = None
    """How long the rest of the running pass takes if it goes on like this; None if that is unknown."""


class FaultError(SweepError):
    """k6-sweep has a defect, which has ended the sweep; `progress` counts what it did until then."""

    def __init__(self, cause: Exception, progress: Progress) -> None:
        super().__init__(f"internal error: {type(cause).__name__}")
        self.progress = progress


OnProgress = Callable[[Progress], None]
"""Receives the progress of a sweep."""

OnFound = Callable[[Sequence[bytes]], None]
"""Receives keys that a pass found but must not delete, some possibly twice. Several threads call it."""
