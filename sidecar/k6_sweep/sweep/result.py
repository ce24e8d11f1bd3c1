"""What a sweep found and did."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from k6_sweep.status import Status


@dataclass(frozen=True)
class SweepReport:
    """The counts, and what they are worth."""

    status: Status
    """complete, dry-run or incomplete."""
    deleted: int
    """What the servers answered to UNLINK: keys that were there and are gone."""
    matched: int
    """Keys that were found and handed to UNLINK, or would have been; `deleted` lacks those that had just expired."""
    remaining: int | None
    """What the last pass still found; None where no pass looked again."""
    remaining_by_pattern: Mapping[str, int] | None
    preserved: int
    """Keys that match a pattern and were spared."""
    preserved_by_pattern: Mapping[str, int]
    exact: bool
    """Whether `deleted` is the whole truth: no answer was lost, no primary changed, a replica has what was done."""
    patterns: Mapping[str, int]
    """Matched keys by pattern; a key counts for the first pattern that matches it."""
    slots_done: int | None
    """Slots that the last pass proved; None where the server has none or they could not be walked."""
    slots_asked: int
    """Slots that keys of the patterns can be in."""
    shards: Mapping[str, int]
    """Deleted keys by primary."""
    passes: int
    retries: int
    """How often slots had to be asked again: they had moved, or a primary or the topology was out of reach."""
    seconds: float
    errors: tuple[str, ...] = ()


@dataclass(frozen=True)
class Progress:
    """How far a running pass is."""

    pass_number: int
    """From 1."""
    slots_done: int
    slots_asked: int | None
    """None where keys are found with SCAN, which has no slots to count."""
    deleted: int
    """Over all passes."""
    matched: int
    """Over all passes."""
    patterns: Mapping[str, int]
    """Matched keys by pattern, over all passes."""
    shards: Mapping[str, tuple[int, int]]
    """For each primary of the running pass, how many of its slots are done, and how many it has."""
    seconds: float
    """Since the sweep began."""


OnProgress = Callable[[Progress], None]
"""Takes in how far a sweep is."""
