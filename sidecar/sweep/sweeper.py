"""Sweeps: passes over the whole cluster until nothing that matches remains, and the truth about it in a report."""

import itertools
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

from sidecar.errors import RedisError, RefusedError, UnreachableError
from sidecar.log import Log
from sidecar.patterns import Matcher, Pattern
from sidecar.settings import Settings
from sidecar.sweep.guard import check_breadth
from sidecar.sweep.job import Allowance, Job, Pace
from sidecar.sweep.link import Connect
from sidecar.sweep.marker import check_marker
from sidecar.sweep.result import Progress, SweepReport, SweepStatus
from sidecar.sweep.rounds import PassResult, Rounds
from sidecar.sweep.slots import Probes, format_ranges, reachable_slots
from sidecar.sweep.topology import Address

_RETRY: Final = 0.5
_NAP: Final = 0.1
_UNBOUNDED: Final = 2**31
_WRITES_A_SECOND: Final = 4
"""A bounded rate is spread over at least so many writes."""
_MOST_REASONS: Final = 5
"""So many different errors of servers are told; the rest is in the log."""

OnProgress = Callable[[Progress], None]


def sweep(
    settings: Settings, connect: Connect, remaining: Callable[[], float], log: Log, on_progress: OnProgress
) -> SweepReport:
    """Delete the keys that match, until a pass finds none for `settle` seconds or no time remains.

    Args:
        settings: What to delete, how and within which guards.
        connect: Opens a link to a server.
        remaining: Tells the seconds left; it may drop at any time, and at 0 the sweep stops before its next write.
        log: Where steps are told.
        on_progress: Called a few times a second, on the calling thread.

    Raises:
        RefusedError: A guard said no; nothing was deleted.
        UnreachableError: Redis could not be reached; nothing was deleted.
        DeniedError: Login or permission was refused; nothing was deleted.
    """
    check_breadth(settings)
    url = settings.redis_url
    rounds = Rounds(connect, Address(url.host, url.port), log)
    try:
        return _Sweep(settings, connect, remaining, log, on_progress, rounds).run()
    finally:
        rounds.close()


class _Sweep:
    def __init__(
        self,
        settings: Settings,
        connect: Connect,
        remaining: Callable[[], float],
        log: Log,
        on_progress: OnProgress,
        rounds: Rounds,
    ) -> None:
        self._settings = settings
        self._connect = connect
        self._remaining = remaining
        self._log = log
        self._on_progress = on_progress
        self._rounds = rounds
        self._started = time.monotonic()
        self._slots = reachable_slots(settings.pattern)
        self._passes: list[PassResult] = []
        self._may_delete = True

    def run(self) -> SweepReport:
        self._find_cluster()
        check_marker(self._settings.require_marker, self._rounds.topology, self._connect)
        if self._settings.dry_run:
            self._pass(self._job(delete=False))
            return self._report(exact=not self._rounds.by_scan, verified=True)
        if not self._is_within_max_keys():
            return self._report(exact=True, verified=False)
        exact, verified = self._sweep_until_quiet()
        return self._report(exact, verified)

    def _find_cluster(self) -> None:
        told = False
        while True:
            try:
                self._rounds.refresh()
            except UnreachableError as error:
                if self._remaining() <= _RETRY:
                    raise
                if not told:
                    self._log.warning("Redis is out of reach; trying again until the time is up", error=str(error))
                told = True
                time.sleep(_RETRY)
            else:
                return

    def _job(self, delete: bool) -> Job:
        settings = self._settings
        marker = () if settings.require_marker is None else (Pattern.exactly(settings.require_marker),)
        return Job(
            matcher=Matcher(settings.pattern, keep=(*settings.keep, *marker)),
            probes=Probes(settings.pattern, secrets.token_hex(8).encode()),
            delete=delete,
            batch_size=settings.batch_size,
            most_at_once=max(1, (settings.max_rate or _UNBOUNDED) // _WRITES_A_SECOND),
            remaining=self._remaining,
            pace=Pace(settings.max_rate),
            allowance=Allowance(settings.max_keys),
        )

    def _pass(self, job: Job) -> PassResult:
        result = PassResult(open=set(self._slots))
        self._passes.append(result)
        self._rounds.run(job, result, self._tick)
        self._tick()
        return result

    def _tick(self) -> None:
        self._on_progress(
            Progress(
                pass_number=len(self._passes),
                slots_done=self._passes[-1].finished,
                slots_asked=len(self._slots),
                deleted=sum(each.deleted for each in self._passes),
                matched=sum(each.matched for each in self._passes),
                seconds=time.monotonic() - self._started,
            )
        )

    def _is_within_max_keys(self) -> bool:
        """Count before the first delete, where a bound is set; return whether deleting may begin."""
        limit = self._settings.max_keys
        if limit is None:
            return True
        count = self._pass(self._job(delete=False))
        if count.matched > limit:
            raise RefusedError(
                f"{count.matched} keys match, more than the {limit} of --max-keys; nothing was deleted. "
                "See what they are with --dry-run, then make the patterns narrower or the bound larger"
            )
        self._may_delete = not count.open
        if self._may_delete:
            self._passes.clear()
        return self._may_delete

    def _sweep_until_quiet(self) -> tuple[bool, bool]:
        """Run passes until one finds nothing; return whether the counts are exact, and whether that end was reached."""
        job = self._job(delete=True)
        owners: dict[int, str] | None = self._rounds.topology.owners()
        quiet_since = self._started
        exact, doubted = True, False
        while True:
            result = self._pass(job)
            before, owners = owners, self._owners_now()
            changed, doubtful = owners is None or owners != before, bool(result.unsure)
            exact = exact and not changed and not doubtful and not result.final
            if result.open or result.final or self._settings.no_verify:
                return exact, False
            if result.matched or changed or (doubtful and not doubted):
                quiet_since = time.monotonic()
            elif time.monotonic() - quiet_since >= self._settings.settle:
                return exact, True
            doubted = doubted or doubtful
            while (left := quiet_since + self._settings.settle - time.monotonic()) > 0 and self._remaining() > 0:
                time.sleep(min(left, _NAP))
            if self._remaining() <= 0:
                return exact, False

    def _owners_now(self) -> dict[int, str] | None:
        """Return who owns which slot after a pass; None where nobody can be asked."""
        try:
            self._rounds.refresh()
        except RedisError as error:
            self._log.warning("the topology could not be read again", error=str(error))
            return None
        return self._rounds.topology.owners()

    def _report(self, exact: bool, verified: bool) -> SweepReport:
        last, settings = self._passes[-1], self._settings
        deleted = sum(each.deleted for each in self._passes)
        matched = sum(each.matched for each in self._passes)
        whole = not last.open and not last.final and (verified or settings.no_verify)
        if not whole and not deleted and not any(each.finished or each.unsure for each in self._passes):
            self._raise_cause(last)
        shards: Counter[str] = Counter()
        patterns = dict.fromkeys((pattern.text for pattern in settings.pattern), 0)
        for address, tally in itertools.chain.from_iterable(each.by_primary() for each in self._passes):
            shards[str(address)] += tally.deleted
            for pattern, count in zip(settings.pattern, tally.matched, strict=True):
                patterns[pattern.text] += count
        done = SweepStatus.DRY_RUN if settings.dry_run else SweepStatus.COMPLETE
        return SweepReport(
            status=done if whole else SweepStatus.INCOMPLETE,
            deleted=deleted,
            matched=matched,
            remaining=self._still_there(whole, verified),
            preserved=last.preserved,
            exact=exact,
            patterns=patterns,
            slots_done=None if self._rounds.by_scan else len(self._slots) - len(last.open),
            slots_asked=len(self._slots),
            shards=dict(shards),
            passes=len(self._passes),
            seconds=time.monotonic() - self._started,
            errors=tuple(self._reasons(last, whole)),
        )

    def _still_there(self, whole: bool, verified: bool) -> int | None:
        if self._settings.dry_run:
            return self._passes[-1].matched if whole else None
        if verified:
            return 0
        return self._passes[-1].matched if len(self._passes) > 1 else None

    @staticmethod
    def _raise_cause(last: PassResult) -> None:
        """Raise why nothing at all could be done, where Redis is the reason."""
        if last.denied:
            raise last.denied
        if last.unreachable:
            raise UnreachableError("; ".join(last.unreachable.values()))

    def _reasons(self, last: PassResult, whole: bool) -> Iterator[str]:
        """Yield what the report's reader has to know, the most important first."""
        if not self._may_delete:
            yield "not all keys could be counted for --max-keys, so nothing was deleted"
        if last.denied:
            yield str(last.denied)
        if last.over_limit:
            yield (
                f"more keys than the {self._settings.max_keys} of --max-keys have appeared since they were counted; "
                "stopped before deleting them"
            )
        if last.open:
            yield from self._open_slots(last)
        yield from list(last.unreachable.values())[:_MOST_REASONS]
        if not whole and self._remaining() <= 0:
            yield "time was up before the sweep was done (--timeout, or what a signal left of --grace-period)"
            if not last.open and last.matched and len(self._passes) > 1:
                yield f"keys were still being written: the last pass found {last.matched} new ones"
        yield from list(dict.fromkeys(reason for each in self._passes for reason in each.unsure))[:_MOST_REASONS]

    def _open_slots(self, last: PassResult) -> Iterator[str]:
        if not self._rounds.topology.clustered:
            yield "not all keys were seen"
            return
        said = last.troubles()
        by_code: dict[str, list[int]] = {}
        for slot in last.open:
            by_code.setdefault(said.get(slot, "").partition(" ")[0], []).append(slot)
        for code, slots in sorted(by_code.items()):
            owned = code or any(self._rounds.topology.shard_of(slot) for slot in slots[:1])
            why = f" ({said[slots[0]]})" if code else "" if owned else " (no primary owns them)"
            yield f"slots not proven to be swept: {format_ranges(slots)}{why}"
