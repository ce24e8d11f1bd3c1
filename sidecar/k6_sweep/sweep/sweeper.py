"""Runs a sweep: checks the guards, then makes passes over the whole cluster until no matching key remains."""

import secrets
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

from k6_sweep.cluster.link import Connect
from k6_sweep.errors import RedisError, RefusedError, SweepError
from k6_sweep.log import Log, LogEvent
from k6_sweep.patterns import Pattern
from k6_sweep.settings.all import Settings
from k6_sweep.settings.snapshot import SnapshotSettings
from k6_sweep.sweep.find_cluster import MayBegin, find_cluster
from k6_sweep.sweep.guard import check_breadth
from k6_sweep.sweep.in_time import in_time, pause
from k6_sweep.sweep.matcher import Matcher
from k6_sweep.sweep.one_pass import Rounds
from k6_sweep.sweep.orders import Allowance, Orders, Pace, most_at_once
from k6_sweep.sweep.pass_result import PassResult
from k6_sweep.sweep.probes import Probes, reachable_slots
from k6_sweep.sweep.read_snapshot import usable_snapshot
from k6_sweep.sweep.result import FaultError, OnFound, OnProgress, Progress, SweepReport
from k6_sweep.sweep.slowness import Slowness
from k6_sweep.sweep.snapshot import Notebook, Snapshot
from k6_sweep.sweep.summary import Ending, cause_of_nothing, change_of_owners, progress_of, summarize
from k6_sweep.sweep.time_limit import TimeLimit
from k6_sweep.sweep.unused import Unused


def sweep(
    settings: Settings,
    connect: Connect,
    limit: TimeLimit,
    log: Log,
    on_progress: OnProgress,
    on_found: OnFound | None = None,
    pod: str | None = None,
    may_begin: MayBegin = lambda *_: None,
) -> SweepReport:
    """Delete the matching keys, until passes find none for `settle` seconds or no time remains.

    Args:
        settings: What to delete, how, and within which guards.
        connect: Opens a link to a server.
        limit: The time that the sweep has.
        log: Gets the steps.
        on_progress: Called a few times a second, on the calling thread.
        on_found: In a dry run, gets the keys that a sweep would delete.
        pod: The uid of k6-sweep's own pod, if it is known.
        may_begin: Called before the first key is looked for; raises RefusedError if it is too early.

    Raises:
        RefusedError: A guard refused the sweep; nothing was deleted.
        UnreachableError: Redis could not be reached; nothing was deleted.
        DeniedError: The server refused the login or a command; nothing was deleted.
        FaultError: A defect ended the sweep, perhaps after some deletes.
    """
    check_breadth(settings)
    existing = usable_snapshot(settings, pod)
    with closing(Rounds(settings, connect, log)) as rounds:
        work = _Sweep(settings, connect, limit, log, on_progress, rounds, existing)
        try:
            return work.run(on_found, may_begin)
        except Exception as error:
            work.stop()
            if isinstance(error, SweepError) and not work.progress().deleted:
                raise
            raise FaultError(error, work.progress()) from error


def take_snapshot(
    settings: SnapshotSettings,
    connect: Connect,
    limit: TimeLimit,
    log: Log,
    on_progress: OnProgress,
) -> tuple[Snapshot, SweepReport]:
    """Take a snapshot of the keys that match now; the arguments are those of `sweep`.

    Raises:
        RefusedError: A guard refused the snapshot, or more than `snapshot_limit` keys match.
        UnreachableError: Redis could not be reached.
        DeniedError: The server refused the login or a command.
    """
    check_breadth(settings)
    with closing(Rounds(settings, connect, log)) as rounds:
        return _Sweep(settings, connect, limit, log, on_progress, rounds).take_snapshot(settings.snapshot_limit)


@dataclass
class _Sweep:
    _settings: Settings
    _connect: Connect
    _limit: TimeLimit
    _log: Log
    _on_progress: OnProgress
    _rounds: Rounds
    _existing: Snapshot | None = None

    def __post_init__(self) -> None:
        self._started = time.monotonic()
        self._reachable = reachable_slots(self._settings.pattern)
        unproven = frozenset(() if self._existing is None else self._existing.unproven)
        self._slots: Sequence[int] = [slot for slot in self._reachable if slot not in unproven]
        self._passes: list[PassResult] = []
        self._unused = Unused(self._settings.pattern, self._settings.keep)
        self._stopped = False
        self._slowness = Slowness(self._settings, self._log)

    def run(self, on_found: OnFound | None, may_begin: MayBegin) -> SweepReport:
        find_cluster(self._settings, self._connect, self._remaining, self._log, self._rounds, self._existing)
        in_time(lambda: may_begin(self._rounds.topology, self._remaining), self._remaining)
        if self._settings.dry_run:
            return self._count(self._orders_to(delete=False, on_found=on_found))[1]
        if not self._is_within_max_keys():
            return self._report(Ending(verified=False, may_delete=False))
        return self._report(self._sweep_until_quiet())

    def stop(self) -> None:
        """End the work of all threads before their next write; after that the counts are final."""
        self._stopped = True
        self._rounds.join()

    def _remaining(self) -> float:
        return 0.0 if self._stopped else self._limit.remaining()

    def take_snapshot(self, limit: int) -> tuple[Snapshot, SweepReport]:
        find_cluster(self._settings, self._connect, self._remaining, self._log, self._rounds)
        self._unused = Unused(())  # before a test it is normal that a pattern has no key
        notebook, redis = Notebook(limit), self._rounds.identity()
        result, report = self._count(self._orders_to(delete=False, all_keys=True, on_found=notebook.add))
        if result.over_limit:
            raise RefusedError(
                f"more than {limit} keys match (--snapshot-limit), so no snapshot was taken; count them with run "
                "--dry-run, then make --pattern narrower or raise the limit"
            )
        return notebook.snapshot(self._settings.pattern, redis, sorted(result.open)), report

    def _orders_to(self, delete: bool, all_keys: bool = False, on_found: OnFound | None = None) -> Orders:
        settings = self._settings
        marker = () if settings.require_marker is None else (Pattern.exactly(settings.require_marker),)
        keep = () if all_keys else (*settings.keep, *marker)
        return Orders(
            matcher=Matcher(settings.pattern, keep, self._existing, self._unused),
            probes=Probes(settings.pattern, secrets.token_hex(8).encode()),
            delete=delete,
            most_at_once=most_at_once(settings.max_rate),
            remaining=self._remaining,
            pace=Pace(settings.max_rate),
            allowance=Allowance(settings.max_keys),
            on_found=on_found,
        )

    def _count(self, orders: Orders) -> tuple[PassResult, SweepReport]:
        """Run one pass that deletes nothing; return its result and the report."""
        result = self._pass(orders)
        self._rounds.find_strays(orders, result, self._slots)
        return result, self._report(Ending(verified=True))

    def _pass(self, orders: Orders) -> PassResult:
        result = PassResult(open=set(self._slots), started=time.monotonic())
        self._passes.append(result)
        self._rounds.run(orders, result, self._tick)
        self._tick()
        return result

    def _tick(self) -> None:
        progress = self.progress()
        self._on_progress(progress)
        self._slowness.look(progress.seconds_left, self._remaining(), self._passes[-1].times)

    def progress(self) -> Progress:
        """Return the counts so far; the threads of the shards may be adding to them."""
        slots = None if self._rounds.by_scan else len(self._slots)
        return progress_of(self._settings, self._passes, slots, time.monotonic() - self._started)

    def _is_within_max_keys(self) -> bool:
        """Count the keys before the first delete, if there is a limit; return whether all could be counted.

        Raises:
            RefusedError: More keys match than the limit.
        """
        bound = self._settings.max_keys
        if bound is None:
            return True
        count = self._pass(self._orders_to(delete=False))
        if count.matched > bound:
            raise RefusedError(
                f"{count.matched} keys match, more than --max-keys {bound}; nothing was deleted. Count them with "
                "--dry-run, then make --pattern narrower or raise --max-keys"
            )
        if not count.open:
            self._passes.clear()
        return not count.open

    def _sweep_until_quiet(self) -> Ending:
        """Run passes until they find nothing for `settle` seconds."""
        orders = self._orders_to(delete=True)
        owners: dict[int, str] | None = self._rounds.topology.owners()
        quiet_since, settle = self._started, self._settings.settle or 0.0
        doubted = False
        while True:
            result = self._pass(orders)
            doubtful = bool(result.unsure)
            before, owners = owners, self._owners_now()
            if changed := owners is None or owners != before:
                result.doubts.append(change_of_owners(before, owners))
            if result.open or result.final:
                return Ending(verified=False)
            if self._settings.no_verify and not changed and not result.broken:
                self._rounds.find_strays(orders, result, self._slots)
                return Ending(verified=False)
            if result.matched or changed or result.broken or (doubtful and not doubted):
                quiet_since = time.monotonic()
            elif time.monotonic() - quiet_since >= settle:
                self._rounds.find_strays(orders, result, self._slots)
                return Ending(verified=not result.strays)
            doubted = doubted or doubtful
            pause(quiet_since + settle - time.monotonic(), self._remaining, self._tick)
            if self._remaining() <= 0:
                return Ending(verified=False)

    def _owners_now(self) -> dict[int, str] | None:
        """Return the owner of each slot after a pass; None if the topology cannot be read."""
        try:
            self._rounds.refresh(self._remaining)
        except RedisError as error:
            self._log.warning(LogEvent.TOPOLOGY_UNREADABLE, problem=str(error))
            return None
        return self._rounds.topology.owners()

    def _report(self, ending: Ending) -> SweepReport:
        if cause := cause_of_nothing(self._passes, ending):
            raise cause
        return summarize(
            self._settings,
            self._passes,
            ending,
            topology=self._rounds.topology,
            by_scan=self._rounds.by_scan,
            slots_asked=self._reachable,
            unproven=frozenset(self._reachable) - frozenset(self._slots),
            unused=self._unused,
            seconds=time.monotonic() - self._started,
            stopped_by=self._limit.reason() if self._remaining() <= 0 else None,
        )
