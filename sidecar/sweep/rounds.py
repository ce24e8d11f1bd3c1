"""Runs one pass: every slot once, in rounds over the primaries, until each slot is proven or time is up."""

import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Final

from redis import exceptions

from sidecar.errors import DeniedError, UnreachableError
from sidecar.log import Log
from sidecar.sweep.by_scan import ScanSweep
from sidecar.sweep.by_slot import ListingDeniedError, SlotSweep
from sidecar.sweep.job import Job, LimitReachedError, Tally
from sidecar.sweep.link import Connect, Link
from sidecar.sweep.moving import sweep_moving_slot
from sidecar.sweep.replies import text_of
from sidecar.sweep.topology import Address, Shard, Topology, discover

MAX_PARALLEL_SHARDS: Final = 16
_FIRST_BACKOFF: Final = 0.05
_LONGEST_BACKOFF: Final = 2.0
_TICK: Final = 0.2
_REPLICA_ACK_MS: Final = 1000
_LATE: Final = 0.3
"""So long after the deadline a worker that is stuck in a read is cut off."""

Tick = Callable[[], None]


@dataclass
class PassResult:
    """What one pass did so far."""

    open: set[int]
    """Slots that are not proven yet."""
    tallies: dict[Address, list[Tally]] = field(default_factory=dict)
    unreachable: dict[Address, str] = field(default_factory=dict)
    """Primaries that broke away in the latest round, and how."""
    denied: DeniedError | None = None
    over_limit: bool = False

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
        """Keys spared, over all shards."""
        return sum(tally.preserved for tally in self._all)

    @property
    def matched(self) -> int:
        """Keys matched, over all shards and patterns."""
        return sum(sum(tally.matched) for tally in self._all)

    @property
    def finished(self) -> int:
        """Slots proven, those of running workers included."""
        return sum(len(tally.finished) for tally in self._all)

    @property
    def unsure(self) -> list[str]:
        """Why the counts may be less than what happened."""
        return [reason for tally in self._all for reason in tally.unsure]

    @property
    def final(self) -> bool:
        """Whether going on is of no use."""
        return self.denied is not None or self.over_limit

    def troubles(self) -> dict[int, str]:
        """For each open slot, what a server last said about it."""
        return {slot: text for tally in self._all for slot, text in tally.trouble.items() if slot in self.open}


class Rounds:
    """Knows the cluster as it is now, holds a link to each primary, and runs passes over it."""

    def __init__(self, connect: Connect, seed: Address, log: Log) -> None:
        self._connect = connect
        self._seed = seed
        self._log = log
        self._links: dict[Address, Link] = {}
        self._nodes: frozenset[str] = frozenset()
        """The ids of all nodes that the cluster has had."""
        self._sizes: dict[int, int] = {}
        """How many keys a slot had when it was last seen: enough to put slots into groups of like size."""
        self._pool = ThreadPoolExecutor(MAX_PARALLEL_SHARDS, thread_name_prefix="shard")
        self.topology = Topology(clustered=False, shards=())
        self.by_scan = False
        """Whether keys are found with SCAN: always outside a cluster, and where listing slots is denied."""

    def close(self) -> None:
        """End all links and threads."""
        self._cut_off()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def refresh(self) -> None:
        """Read the topology from whoever answers.

        Raises:
            UnreachableError: Nobody does.
            DeniedError: The server refuses for good.
        """
        addresses = dict.fromkeys((*self.topology.addresses, self._seed))
        self.topology = discover(self._connect, addresses, self._nodes)
        if self.topology.clustered:
            self._nodes |= self.topology.node_ids
        self.by_scan = self.by_scan or not self.topology.clustered

    def run(self, job: Job, result: PassResult, tick: Tick) -> None:
        """Sweep the result's open slots once; `tick` is called now and then, on this thread."""
        backoff = _FIRST_BACKOFF
        while True:
            before = len(result.open)
            walking_slots = not self.by_scan
            self._round(job, result, tick)
            if not result.open or result.final or job.remaining() <= 0:
                return
            if walking_slots and self.by_scan:
                self._log.warning("listing a slot's keys is not permitted: using SCAN")
                continue
            backoff = _FIRST_BACKOFF if len(result.open) < before else min(backoff * 2, _LONGEST_BACKOFF)
            self._log.debug("some slots are still open", slots=len(result.open), again_in_seconds=round(backoff, 2))
            time.sleep(max(0.0, min(backoff * random.uniform(0.5, 1.0), job.remaining())))  # noqa: S311  # jitter
            try:
                self.refresh()
            except UnreachableError as error:
                result.unreachable[self._seed] = str(error)
            except DeniedError as error:
                result.denied = error
                return

    def _round(self, job: Job, result: PassResult, tick: Tick) -> None:
        result.unreachable = {}
        workers: dict[Future[None], tuple[Shard, Tally]] = {}
        for shard in self.topology.shards:
            slots = [slot for slot in shard.slots if slot in result.open]
            if slots:
                tally = Tally([0] * job.matcher.size)
                result.tallies.setdefault(shard.address, []).append(tally)
                workers[self._pool.submit(self._work, shard, slots, job, tally)] = (shard, tally)
        waiting = set(workers)
        while waiting:
            _, waiting = wait(waiting, timeout=_TICK)
            tick()
            if waiting and job.remaining() < -_LATE:
                self._cut_off()
        for worker, (shard, tally) in workers.items():
            result.open -= tally.finished
            try:
                worker.result()
            except UnreachableError as error:
                result.unreachable[shard.address] = str(error)
                self._log.warning("a primary broke away", primary=str(shard.address), error=str(error))
            except DeniedError as error:
                result.denied = error
            except LimitReachedError:
                result.over_limit = True
            except ListingDeniedError:
                self.by_scan = True

    def _work(self, shard: Shard, slots: Sequence[int], job: Job, tally: Tally) -> None:
        """Sweep one primary's open slots, on a thread of its own."""
        link = self._links.get(shard.address)
        if link is None:
            link = self._links[shard.address] = self._connect(shard.address.host, shard.address.port)
        try:
            if self.by_scan:
                ScanSweep(link, job, tally, clustered=self.topology.clustered).run(slots)
            else:
                sweep = SlotSweep(link, job, tally, self._sizes)
                sweep.run(slots)
                for slot, trouble in sweep.moving.items():
                    if job.remaining() > 0:
                        sweep_moving_slot(link, trouble, slot, job, tally, self._connect)
            if job.delete and shard.replicas:
                _await_replica(link, job, tally)
        except UnreachableError:
            self._links.pop(shard.address, None)
            link.close()
            if job.delete and shard.replicas:  # WAIT counts only what its own connection wrote
                tally.unsure.append(f"the connection to {link.name} broke before a replica acknowledged the deletes")
            raise

    def _cut_off(self) -> None:
        for link in list(self._links.values()):
            link.close()
        self._links.clear()


def _await_replica(link: Link, job: Job, tally: Tally) -> None:
    """See that a replica has what was deleted: if the primary died now, it would not all come back.

    Source: https://redis.io/docs/latest/commands/wait/
    """
    patience = int(min(_REPLICA_ACK_MS, max(1, job.remaining() * 1000)))
    try:
        if link.ask(b"WAIT", 1, patience) < 1:
            tally.unsure.append(f"no replica of {link.name} has acknowledged the deletes")
    except exceptions.ResponseError as error:
        tally.unsure.append(f"{link.name} could not be asked whether a replica has the deletes: {text_of(error)}")
