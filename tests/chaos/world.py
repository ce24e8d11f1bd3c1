"""Stands for production: a cluster that is harmed during a sweep, and the facts that must then be true."""

import os
import random
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from redis import exceptions

from k6_sweep.cluster.link import Connect, Link
from k6_sweep.cluster.slots import ALL_SLOTS, key_slot, parse_ranges
from k6_sweep.cluster.topology import Shard, read_topology
from k6_sweep.demo.keys import all_keys, write_keys
from k6_sweep.demo.servers import CLUSTER_OPTIONS, LocalCluster, Node, start_server, stop
from k6_sweep.errors import RedisError
from k6_sweep.settings.values import Address
from k6_sweep.sweep.result import SweepReport
from tests.support import Pipeline, step_between

NODE_TIMEOUT = 2.0
"""The seconds of silence after which the cluster marks a node as failed."""
OPTIONS = CLUSTER_OPTIONS | {
    "cluster-node-timeout": f"{NODE_TIMEOUT * 1000:.0f}",
    "appendonly": "yes",  # a killed node comes back with all acknowledged writes
    "appendfsync": "no",
}
PATTERNS = ("test:*", "queue:*", "tmp:[a-z]*")
_PATIENCE = 60.0


class World:
    """A cluster of three primaries with one replica each, its keys, and the ways to harm it."""

    def __init__(
        self, cluster: LocalCluster, binary: str, options: Mapping[str, str], chance: random.Random, keys: int
    ) -> None:
        self.chance = chance
        self.nodes: list[Node] = list(cluster.nodes)
        """Node 3 is node 0's replica, 4 is 1's, and 5 is 2's; nodes after these have joined later."""
        self.lost: set[int] = set()
        """Slots whose keys are lost with their nodes."""
        self.halfway: set[int] = set()
        """Slots that stay half-migrated, so that some of their keys cannot be written."""
        self.matching: set[bytes] = set()
        self.others: set[bytes] = set()
        self._folder = cluster.folder
        self._binary = binary
        self._options = options
        self._paused: set[int] = set()
        self.write(keys)

    def write(self, count: int) -> None:
        """Write matching and other keys, some of them in one common slot."""
        mine: set[bytes] = set()
        others: set[bytes] = set()
        for _ in range(count):
            kind = self.chance.choice((b"test:", b"queue:", b"tmp:x", b"user:", b"tests:"))
            tag = b"{%d}" % self.chance.randrange(count // 20 + 1) if self.chance.random() < 0.2 else b""
            key = b"%b%b%b" % (kind, tag, self.chance.randbytes(6))
            if key_slot(key) not in (self.halfway | self.lost):
                (others if kind in {b"user:", b"tests:"} else mine).add(key)
        self.add(mine - self.others, others)

    def add(self, matching: Iterable[bytes], others: Iterable[bytes] = ()) -> None:
        """Write more keys, and wait until the replicas have all of them."""
        matching, others = set(matching), set(others)
        self.matching |= matching
        self.others |= others
        living = tuple(node for node in self.nodes if node.process.poll() is None)
        write_keys(LocalCluster(self._folder, living), sorted(matching | others))
        for node in living:
            if (role := node.ask("ROLE"))[0] == b"master":
                until(lambda: self._replicas_have(node, role[1]))  # noqa: B023  # called at once

    @staticmethod
    def _replicas_have(node: Node, offset: int) -> bool:
        role, _, replicas = node.ask("ROLE")[:3]
        return bool(role != b"master" or all(int(replica[2]) >= offset for replica in replicas))

    def forget_the_past(self) -> None:
        """Count all present keys as foreign ones."""
        self.others |= self.matching
        self.matching = set()

    def pair(self) -> tuple[Node, Node]:
        """Choose a primary, and return it with its replica."""
        index = self.chance.randrange(3)
        return self.nodes[index], self.nodes[index + 3]

    def kill(self, *nodes: Node) -> None:
        """Kill processes without warning."""
        stop(nodes)

    def pause(self, *nodes: Node) -> None:
        """Stop processes with SIGSTOP."""
        for node in nodes:
            os.kill(node.process.pid, signal.SIGSTOP)
            self._paused.add(node.process.pid)

    def wake(self, *nodes: Node) -> None:
        """Let paused processes continue."""
        for node in nodes:
            os.kill(node.process.pid, signal.SIGCONT)
            self._paused.discard(node.process.pid)

    def start(self, node: Node) -> Node:
        """Start a dead node again with its address and data."""
        fresh = start_server(self._binary, self._folder, self._options, port=node.port)
        self.nodes[self.nodes.index(node)] = replace(node, process=fresh.process)
        return fresh

    def join(self) -> Node:
        """Add an empty primary."""
        node = start_server(self._binary, self._folder, self._options)
        self.nodes.append(node)
        self.tool("add-node", f"127.0.0.1:{node.port}", self.seed())
        until(lambda: all(len(each.ask("CLUSTER", "NODES").splitlines()) == len(self.nodes) for each in self.nodes))
        until(lambda: b"cluster_state:ok" in node.ask("CLUSTER", "INFO"))
        return node

    def seed(self) -> str:
        """Return the address of a running node."""
        return str(next(node.address for node in self.nodes if node.process.poll() is None))

    def id_of(self, node: Node) -> str:
        return bytes(node.ask("CLUSTER", "MYID")).decode()

    def reshard(self, source: Node, target: Node, slots: int) -> None:
        """Move slots as operators do, with redis-cli."""
        self.agree()
        ends = ("--cluster-from", self.id_of(source), "--cluster-to", self.id_of(target))
        self.tool("reshard", self.seed(), *ends, "--cluster-slots", str(slots), "--cluster-yes")

    def begin_atomic_move(self, source: Node, target: Node, slots: range) -> None:
        """Let the servers move slots by themselves (Redis 8.4 and Valkey 9, and newer)."""
        self.agree()
        first, last = slots[0], slots[-1]
        if self._is_valkey():
            source.ask("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", first, last, "NODE", self.id_of(target))
        else:
            target.ask("CLUSTER", "MIGRATION", "IMPORT", first, last)

    def cancel_atomic_moves(self) -> None:
        """Cancel the moves that are not complete yet."""
        if not self._is_valkey():
            self.nodes[1].ask("CLUSTER", "MIGRATION", "CANCEL", "ALL")
            return
        try:
            self.nodes[0].ask("CLUSTER", "CANCELSLOTMIGRATIONS")
        except exceptions.ResponseError as error:
            assert "No migrations ongoing" in str(error)  # noqa: PT017  # it may be complete already

    def _is_valkey(self) -> bool:
        return b"valkey_version" in self.nodes[0].ask("INFO", "server")

    def tool(self, *arguments: str) -> None:
        """Run redis-cli --cluster."""
        program = shutil.which("redis-cli")
        assert program
        done = subprocess.run(
            [program, "--cluster", *arguments], capture_output=True, text=True, timeout=_PATIENCE, check=False
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-500:]

    def wait_for_promotion(self, replica: Node) -> None:
        """Wait until a replica is a primary."""
        until(lambda: replica.ask("ROLE")[0] == b"master")

    def shards(self) -> tuple[Shard, ...]:
        """Return the primaries from a running node's view."""
        for node in self.nodes:
            if node.process.poll() is None:
                link = node.link()
                try:
                    return read_topology(link, node.address).shards
                finally:
                    link.close()
        raise AssertionError("no node lives")

    def heal(self) -> None:
        """Wake paused nodes, and wait until all running nodes agree."""
        for node in self.nodes:
            if node.process.pid in self._paused:
                self.wake(node)
        if self.lost:
            time.sleep(3 * NODE_TIMEOUT)
            return
        self.agree()

    def agree(self) -> None:
        """Wait until all running nodes have the same view."""
        living = [node for node in self.nodes if node.process.poll() is None]
        until(lambda: all(b"cluster_state:ok" in node.ask("CLUSTER", "INFO") for node in living))
        until(lambda: len({self._view(node) for node in living}) == 1)

    def _view(self, node: Node) -> tuple[tuple[int, str], ...]:
        link = node.link()
        try:
            shards = read_topology(link, node.address).shards
            return tuple(sorted((slot, shard.node_id) for shard in shards for slot in shard.slots))
        except RedisError:
            return ()
        finally:
            link.close()

    def present(self) -> set[bytes]:
        """Return all keys of the running primaries that serve slots."""
        living = {node.port: node for node in self.nodes if node.process.poll() is None}
        dead = {slot for shard in self.shards() if shard.address.port not in living for slot in shard.slots}
        assert dead <= self.lost, "a primary is dead, and nobody has taken its place"
        ports = {shard.address.port for shard in self.shards()} & living.keys()
        return {key for port in ports for key in all_keys(living[port])}

    def end(self) -> None:
        """End all nodes."""
        stop([node for node in self.nodes if node.process.poll() is None])


class Meddling:
    """Connects like the real function, counts topology queries, and starts the harm at the n-th write."""

    def __init__(self, real: Connect, moment: int, harm: Callable[[], None]) -> None:
        self._real = real
        self._left = moment
        self._lock = threading.Lock()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(harm,), daemon=True)
        self._done = threading.Event()
        self._finished = threading.Event()
        self.topology_queries = 0

    def _run(self, harm: Callable[[], None]) -> None:
        try:
            harm()
        except BaseException as error:  # noqa: BLE001  # `finish` raises it again
            self._failure = error
        self._done.set()
        self._finished.wait()  # the servers end with the thread that started them

    def __call__(self, address: Address) -> Link:
        return step_between(self._real(address), self._around)

    def _around(self, pipeline: Pipeline, commands: Sequence[bytes]) -> list[Any]:
        with self._lock:
            self._left -= 1
            self.topology_queries += commands[0].endswith(b"SLOTS\r\n")
            if self._left == 0:
                self._thread.start()
        return pipeline(commands)

    @property
    def done(self) -> bool:
        """Whether the harm is complete."""
        return self._done.is_set()

    def finish(self) -> None:
        """Wait for the end of the harm, and raise its error if it failed."""
        if self._left <= 0:
            assert self._done.wait(_PATIENCE), "the harm comes to no end"
        if self._failure:
            raise self._failure

    def close(self) -> None:
        """End the servers that the harm started."""
        self._finished.set()


def judge(world: World, report: SweepReport, late: bool) -> None:
    """Assert that the report is true.

    Args:
        world: The healed cluster.
        report: The sweep's report.
        late: Whether the harm went on after the sweep's end: then deleted keys may be back.
    """
    present = world.present()
    missing = {key for key in world.others - present if key_slot(key) not in world.lost}
    assert not missing, f"{len(missing)} keys of others are gone, such as {sorted(missing)[:3]}"
    left = world.matching & present
    if report.status == "complete":
        assert late or not left, f"complete, but {len(left)} keys are left in slots {slots_of(left)[:10]}"
    else:
        said = " ".join(report.errors)
        named = {
            slot
            for text in re.findall(r"(?:not swept completely|incomplete for them): ([\d,-]+)", said)
            for slot in parse_ranges(text)
        }
        assert said, "incomplete, but it does not say why"
        assert late or "stopped by" in said or set(slots_of(left)) <= named, (slots_of(left), said)
    assert report.deleted <= len(world.matching) or not report.exact
    if report.exact:
        gone = len(world.matching) - len(left)
        lost = sum(key_slot(key) in world.lost for key in world.matching)
        assert gone - lost <= report.deleted <= gone, f"exact, but deleted {report.deleted} of {gone}"
    if report.slots_done is not None:
        assert report.status != "complete" or report.slots_done == report.slots_asked == len(ALL_SLOTS)


def slots_of(keys: Iterable[bytes]) -> list[int]:
    """Return the slots of some keys, in order."""
    return sorted({key_slot(key) for key in keys})


def until(condition: Callable[[], bool], seconds: float = _PATIENCE) -> None:
    """Wait for a condition; a server that does not answer counts as false."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if condition():
                return
        except (RedisError, OSError, IndexError):
            pass
        assert time.monotonic() < deadline, "the cluster did not come to rest"
        time.sleep(0.05)
