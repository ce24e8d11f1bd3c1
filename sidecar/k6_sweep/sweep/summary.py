"""Sums up the passes of a sweep in a report, with the reasons why it may be incomplete."""

import itertools
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from k6_sweep.cluster.slots import format_ranges
from k6_sweep.cluster.topology import Topology
from k6_sweep.errors import RedisError, UnreachableError
from k6_sweep.settings.all import Settings
from k6_sweep.status import Status
from k6_sweep.sweep.pass_result import PassResult
from k6_sweep.sweep.result import Progress, SweepReport
from k6_sweep.sweep.slowness import cause_of_slowness
from k6_sweep.sweep.unused import Unused

_MOST_REASONS: Final = 5
"""The maximum number of different server errors in the report; the log has the others."""


@dataclass(frozen=True)
class Ending:
    """How the last pass ended."""

    verified: bool
    """Whether no new key was found for the time of `settle`."""
    may_delete: bool = True
    """False if the count before the first delete, which a guard needs, could not be completed."""


def summarize(
    settings: Settings,
    passes: Sequence[PassResult],
    ending: Ending,
    *,
    topology: Topology,
    by_scan: bool,
    slots_asked: Collection[int],
    unproven: Collection[int],
    unused: Unused,
    seconds: float,
    stopped_by: str | None,
) -> SweepReport:
    """Return the report of a sweep that ran.

    Args:
        settings: The settings of the sweep.
        passes: All passes, at least one.
        ending: How the last pass ended.
        topology: The cluster's topology at the end.
        by_scan: Whether keys were found with SCAN.
        slots_asked: The slots that keys of the patterns can be in.
        unproven: Those of them for which the snapshot is incomplete; they were not swept.
        unused: The patterns that matched no key in the lists, and the keeps that spared none.
        seconds: The duration of the sweep.
        stopped_by: Why no time remains, as a sentence; None if time remains.
    """
    last = passes[-1]
    settled = ending.verified or (settings.no_verify and ending.may_delete)
    whole = not last.open and not last.final and not unproven and settled
    shards: Counter[str] = Counter()
    for address, tally in itertools.chain.from_iterable(each.by_primary() for each in passes):
        shards[str(address)] += tally.deleted
    left = _left(settings, passes, ending.verified, whole)
    done = Status.DRY_RUN if settings.dry_run else Status.COMPLETE
    return SweepReport(
        status=done if whole else Status.INCOMPLETE,
        deleted=sum(each.deleted for each in passes),
        matched=sum(each.matched for each in passes),
        remaining=None if left is None else sum(left.values()),
        remaining_by_pattern=None if left is None else _by_pattern(settings, left),
        preserved=last.preserved,
        preserved_by_pattern=_by_pattern(settings, last.preserved_by_pattern),
        exact=not last.final and not any(each.unsure for each in passes),  # `_reasons` has each of these reasons
        patterns=_matched_by_text(settings, passes),
        slots_done=None if by_scan else len(slots_asked) - len(unproven) - len(last.open),
        slots_asked=len(slots_asked),
        shards=dict(shards),
        passes=len(passes),
        retries=sum(each.rounds - 1 for each in passes),
        seconds=seconds,
        errors=tuple(_reasons(settings, passes, ending, topology, unproven, stopped_by=None if whole else stopped_by)),
        warnings=tuple(unused.sentences()) if whole else (),
    )


def progress_of(settings: Settings, passes: Sequence[PassResult], slots_asked: int | None, seconds: float) -> Progress:
    """Return the counts of the passes so far; the arguments are those of `summarize`."""
    return Progress(
        pass_number=len(passes),
        slots_done=passes[-1].finished if passes else 0,
        slots_asked=slots_asked,
        deleted=sum(each.deleted for each in passes),
        matched=sum(each.matched for each in passes),
        patterns=_matched_by_text(settings, passes),
        shards=passes[-1].slots_by_primary() if passes else {},
        seconds=seconds,
        seconds_left=_seconds_left(passes[-1], slots_asked) if passes and slots_asked else None,
    )


def _seconds_left(running: PassResult, slots_asked: int) -> float | None:
    """Return how long the rest of a pass takes if its slots go on being finished at the same rate."""
    done = running.finished
    spent = time.monotonic() - running.started
    return spent * max(0, slots_asked - done) / done if done else None


def cause_of_nothing(passes: Sequence[PassResult], ending: Ending) -> RedisError | None:
    """Return the error of Redis because of which the sweep changed nothing; None if there is no such error."""
    last = passes[-1]
    if not last.open and not last.final and ending.may_delete:
        return None
    if any(each.deleted or each.finished or each.unsure for each in passes):
        return None
    if last.denied:
        return last.denied
    return UnreachableError("; ".join(last.unreachable.values())) if last.unreachable else None


def change_of_owners(before: Mapping[int, str] | None, after: Mapping[int, str] | None) -> str:
    """Return why the counts are in doubt if the owners of slots differ; None: they could not be read."""
    if before is None or after is None:
        return "the owners of the slots could not be read after a pass, so some deletes may not be counted"
    changed = [slot for slot in before.keys() | after.keys() if before.get(slot) != after.get(slot)]
    return f"slots changed their owner, so some deletes may not be counted: {format_ranges(changed)}"


def _matched_by_text(settings: Settings, passes: Sequence[PassResult]) -> dict[str, int]:
    """Return how many keys each pattern owns, over all passes."""
    return _by_pattern(settings, sum((each.matched_by_pattern for each in passes), Counter()))


def _by_pattern(settings: Settings, counts: Counter[int]) -> dict[str, int]:
    by_text = dict.fromkeys((pattern.text for pattern in settings.pattern), 0)
    for owner, count in counts.items():
        by_text[settings.pattern[owner].text] += count
    return by_text


def _left(settings: Settings, passes: Sequence[PassResult], verified: bool, whole: bool) -> Counter[int] | None:
    """Return the number of remaining keys by the pattern's index; None if it is unknown."""
    if settings.dry_run:
        return passes[-1].matched_by_pattern if whole else None
    if verified:
        return Counter()
    if passes[-1].strays:
        return None
    return passes[-1].matched_by_pattern if len(passes) > 1 else None


def _reasons(
    settings: Settings,
    passes: Sequence[PassResult],
    ending: Ending,
    topology: Topology,
    unproven: Collection[int],
    stopped_by: str | None,
) -> Iterator[str]:
    """Yield the reasons and warnings for the report, the most important first."""
    last = passes[-1]
    # A server in trouble is the cause even if time was over in the end: more time would not have helped.
    in_trouble = stopped_by is not None and bool(
        last.troubles() or (last.unreachable and not last.cut_off) or topology.uncovered()
    )
    if not ending.may_delete:
        yield "not all keys could be counted, as --max-keys needs, so nothing was deleted"
    if last.denied:
        yield str(last.denied)
    if last.over_limit:
        yield (
            f"stopped at --max-keys {settings.max_keys}: new keys appeared after the count, or answers of Redis were "
            "lost"
        )
    if unproven:
        yield f"slots not swept, because the snapshot is incomplete for them: {format_ranges(unproven)}"
    stopped = () if stopped_by is None else (stopped_by, *_late_writers(passes))
    if stopped and not in_trouble and last.open and (cause := cause_of_slowness(last.times, settings)):
        stopped += (cause,)
    if not in_trouble:
        yield from stopped
    if last.open:
        yield from _open_slots(last, topology)
    yield from list(last.unreachable.values())[:_MOST_REASONS]
    if in_trouble:
        yield from stopped
    yield from list(dict.fromkeys(reason for each in passes for reason in each.unsure))[:_MOST_REASONS]


def _late_writers(passes: Sequence[PassResult]) -> Iterator[str]:
    """Yield the rate at which clients were still writing keys, from the last complete pass that found any."""
    for before, after in reversed(list(itertools.pairwise(passes))):
        if after.matched and not after.open:
            rate = after.matched / max(after.started - before.started, 0.001)
            yield (
                f"a client still writes matching keys, about {rate:.0f} a second: a pass found {after.matched} new "
                "keys; stop the client, or sweep again later"
            )
            return


def _open_slots(last: PassResult, topology: Topology) -> Iterator[str]:
    if not topology.clustered:
        reasons = list(dict.fromkeys(last.troubles().values()))
        yield "not all keys were examined" + (f" ({reasons[0]})" if reasons else "")
        return
    said = last.troubles()
    by_code: dict[str, list[int]] = {}
    for slot in last.open:
        by_code.setdefault(said.get(slot, "").partition(" ")[0], []).append(slot)
    for code, slots in sorted(by_code.items()):
        owned = code or any(topology.shard_of(slot) for slot in slots[:1])
        why = f" ({said[slots[0]]})" if code else "" if owned else " (no primary owns them)"
        yield f"slots not swept completely: {format_ranges(slots)}{why}"
