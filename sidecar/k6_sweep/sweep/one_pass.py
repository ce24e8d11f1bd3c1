"""Runs one pass: sweeps every slot once, in rounds over the primaries, until each is proven or time is up."""

import contextlib
import itertools
import random
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Final

from k6_sweep.cluster.identity import identity
from k6_sweep.cluster.link import Connect, Link
from k6_sweep.cluster.links import Links
from k6_sweep.cluster.sentinel import seeds
from k6_sweep.cluster.topology import Shard, Topology, discover, read_topology
from k6_sweep.errors import DeniedError, UnreachableError
from k6_sweep.log import Log, LogEvent
from k6_sweep.settings.all import Settings
from k6_sweep.settings.values import Address
from k6_sweep.sweep.acknowledge import await_replica
from k6_sweep.sweep.by_scan import ScanSweep
from k6_sweep.sweep.by_slot import ListingDeniedError, SlotSweep
from k6_sweep.sweep.imports import Imports
from k6_sweep.sweep.in_time import in_time, pause
from k6_sweep.sweep.moving import MovingSlot, where_to
from k6_sweep.sweep.orders import LimitReachedError, Orders, Tally
from k6_sweep.sweep.pass_result import PassResult
from k6_sweep.sweep.slowness import Times
from k6_sweep.sweep.strays import Search

_FIRST_BACKOFF: Final = 0.05
_LONGEST_BACKOFF: Final = 2.0
_TICK: Final = 0.2
_LATE: Final = 0.5
"""Seconds after the deadline when k6-sweep closes the links of workers that are stuck in a read."""
_TOO_LATE: Final = 0.9
"""Seconds after the deadline when k6-sweep abandons workers that still run, for example in the lookup of a name."""

Tick = Callable[[], None]


class Rounds:
    """Knows the current topology, holds a link to each primary, and runs passes over the cluster."""

    def __init__(self, settings: Settings, connect: Connect, log: Log) -> None:
        self._url = settings.redis_url
        self._connect = connect
        self._log = log
        self._links = Links(self._connect_to_member, settings.batch_size, settings.latency_budget)
        self._nodes: frozenset[str] = frozenset()
        """The ids of all nodes that the cluster has had."""
        self._suspects: set[Address] = set()
        """Primaries whose connection broke in the last round: others are asked before them."""
        self._imports = Imports(self._links)
        self._sizes: dict[int, int] = {}
        """How many keys a slot had when it was last swept: exact enough to form groups of similar size."""
        self._workers: dict[Future[None], tuple[Shard, Tally]] = {}
        """The work of the latest round."""
        self._pool = ThreadPoolExecutor(settings.max_shards, thread_name_prefix="shard")
        self.topology = Topology(clustered=False, shards=())
        self.by_scan = False
        """Whether keys are found with SCAN: always without a cluster, and if a server denies the listing of slots."""

    def join(self) -> None:
        """Wait until all workers have ended; cut the links of those that do not notice that no time remains."""
        if wait(self._workers, timeout=_LATE).not_done:
            self._links.close()
            wait(self._workers, timeout=_TOO_LATE - _LATE)

    def close(self) -> None:
        """Close all links and stop the threads."""
        self._links.close()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._workers = {}  # their tallies have a number for each slot, and Python may collect this object much later

    def refresh(self, remaining: Callable[[], float]) -> None:
        """Read the topology from the first server that answers, while time remains.

        Raises:
            UnreachableError: No server answers.
            DeniedError: A server refuses, and a retry does not help.
        """
        self.topology = in_time(self._discover, remaining)
        if self.topology.clustered:
            self._nodes |= self.topology.node_ids
        self.by_scan = self.by_scan or not self.topology.clustered

    def _discover(self) -> Topology:
        known = self.topology.addresses if self.topology.clustered else ()
        trusted = sorted(known, key=self._suspects.__contains__)
        return discover(self._connect, itertools.chain(trusted, seeds(self._url, self._connect)), self._nodes)

    def _connect_to_member(self, address: Address) -> Link:
        """Open a link to a node of the cluster; refuse another server that has taken over the node's address.

        Raises:
            UnreachableError: The node does not answer, or a server outside the cluster answers.
            DeniedError: Login, TLS or CLUSTER SLOTS was refused.
        """
        link = self._connect(address)
        try:
            member = not self.topology.clustered or self._nodes & read_topology(link, address).node_ids
        except BaseException:
            link.close()
            raise
        if not member:
            link.close()
            raise UnreachableError(f"{link.name} answers, but belongs to another cluster")
        return link

    def identity(self) -> frozenset[str]:
        """Return the ids of this Redis and its database.

        Raises:
            UnreachableError: A single server cannot be reached.
            DeniedError: A single server does not report its ids.
        """
        return identity(self._nodes, self._connect, self.topology.shards[0].address, self._url)

    def run(self, orders: Orders, result: PassResult, tick: Tick) -> None:
        """Sweep the result's open slots once; call `tick` several times a second, on this thread."""
        backoff = _FIRST_BACKOFF
        while True:
            before = len(result.open)
            walking_slots = not self.by_scan
            self._round(orders, result, tick)
            if not result.open or result.final or orders.remaining() <= 0:
                return
            if walking_slots and self.by_scan:
                self._log.warning(LogEvent.LISTING_DENIED)
                continue
            backoff = _FIRST_BACKOFF if len(result.open) < before else min(backoff * 2, _LONGEST_BACKOFF)
            self._log.debug(LogEvent.SLOTS_LEFT, slots=len(result.open), again_in_seconds=round(backoff, 2))
            pause(backoff * random.uniform(0.5, 1.0), orders.remaining, tick)  # noqa: S311  # jitter
            try:
                self.refresh(orders.remaining)
            except UnreachableError as error:
                result.unreachable["the topology"] = str(error)
            except DeniedError as error:
                result.denied = error
                return

    def find_strays(self, orders: Orders, result: PassResult, slots: Sequence[int]) -> None:
        """Reopen those of the slots of which another primary holds matching keys, or may hold them."""
        if not self.topology.clustered:
            return

        def refresh() -> None:
            with contextlib.suppress(UnreachableError):
                self.refresh(orders.remaining)

        asked = sorted(set(slots) - result.moving)
        search = Search(self._links, self._pool, orders.matcher, self._sizes, asked)
        result.strays = search.run(lambda: search.look(self.topology, by_scan=self.by_scan), refresh, orders.remaining)
        result.open |= result.strays.keys()

    def _round(self, orders: Orders, result: PassResult, tick: Tick) -> None:
        result.unreachable = {}
        result.rounds += 1
        self._suspects.clear()
        workers = self._workers = {}
        for shard in self.topology.shards:
            slots = [slot for slot in shard.slots if slot in result.open]
            if slots:
                tally = Tally([0] * orders.matcher.size, asked=len(slots))
                result.tallies.setdefault(shard.address, []).append(tally)
                workers[self._pool.submit(self._work, shard, slots, orders, tally)] = (shard, tally)
        waiting = set(workers)
        while waiting and orders.remaining() > -_TOO_LATE:
            _, waiting = wait(waiting, timeout=_TICK)
            tick()
            if waiting and orders.remaining() < -_LATE:
                result.cut_off = True
                self._links.close()
        for worker, (shard, tally) in workers.items():
            result.open -= tally.finished
            if not worker.done() and orders.delete:
                tally.unsure.append(f"a delete got no answer: {shard.address}")
            self._collect(worker, shard, result)
        try:
            in_time(lambda: self._imports.reopen(self.topology, workers.values(), result), orders.remaining)
        except UnreachableError as error:
            result.unreachable["the topology"] = str(error)
            result.open |= {slot for _, tally in workers.values() for slot in tally.finished}

    def _collect(self, worker: Future[None], shard: Shard, result: PassResult) -> None:
        """Record in the result how the work on one primary ended."""
        if not worker.done():  # it checks the deadline before its next write
            result.unreachable[str(shard.address)] = f"{shard.address} did not answer in time"
            return
        try:
            worker.result()
        except UnreachableError as error:
            result.unreachable[str(shard.address)] = str(error)
            self._suspects.add(shard.address)
            self._log.warning(LogEvent.CONNECTION_LOST, primary=str(shard.address), problem=str(error))
        except DeniedError as error:
            result.denied = error
        except LimitReachedError:
            result.over_limit = True
        except ListingDeniedError:
            self.by_scan = True

    def _work(self, shard: Shard, slots: Sequence[int], orders: Orders, tally: Tally) -> None:
        """Sweep one primary's open slots, on a thread of its own."""
        link = self._links.get(shard.address)
        tally.times = Times(link)
        try:
            self._sweep(link, shard, slots, orders, tally)
            if orders.delete and shard.replicas:
                await_replica(link, orders, tally)
        except UnreachableError:
            self._links.drop(shard.address)
            tally.broken = True
            # A restarted server may have lost the deletes, and WAIT counts only those of its own connection.
            if orders.delete:
                tally.unsure.append(f"the connection to {link.name} was lost, so its last deletes may be undone")
            raise
        finally:
            tally.times.end()

    def _sweep(self, link: Link, shard: Shard, slots: Sequence[int], orders: Orders, tally: Tally) -> None:
        window = self._links.window(shard.address)
        scan = ScanSweep(link, orders, tally, self.topology.clustered, window)
        if self.by_scan:
            scan.run(slots)
            return
        self._imports.read(shard.address, link)
        sweep = SlotSweep(link, orders, tally, self._sizes, window)
        sweep.run(slots)
        for slot in sweep.moving:
            if orders.remaining() > 0:
                self._sweep_moving(link, shard, slot, orders, tally)
        if sweep.fat and orders.remaining() > 0:
            scan.run_fat(sweep.fat)

    def _sweep_moving(self, source: Link, shard: Shard, slot: int, orders: Orders, tally: Tally) -> None:
        named = where_to(source, slot, orders)
        if named is None:
            return
        address = Address(named.host if named.host not in {"", "?"} else shard.address.host, named.port)
        try:
            target = self._links.get(address)
            MovingSlot(source, target, named, slot, orders, tally, self._links.window(address)).sweep()
            if orders.delete and any(each.replicas for each in self.topology.shards if each.address == address):
                await_replica(target, orders, tally)
        except UnreachableError as error:
            if source.closed:
                raise
            self._links.drop(address)  # the primary's other slots do not depend on that node
            tally.trouble[slot] = str(error)
