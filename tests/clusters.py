"""Stands for an operator who repairs a cluster: reverts a test's changes to the slots before the next test."""

from contextlib import ExitStack

from k6_sweep.cluster.slots import ALL_SLOTS
from k6_sweep.demo.servers import LocalCluster, Node, local_cluster
from tests.support import move_slot, until

OPTIONS = {"cluster-require-full-coverage": "no", "cluster-node-timeout": "2000"}


class Lent:
    """Three primaries that tests may break, one test after another."""

    def __init__(self, binary: str) -> None:
        self._binary = binary
        self._running = ExitStack()
        self._cluster: LocalCluster | None = None
        self._owners: dict[int, int] = {}

    def mended(self) -> LocalCluster:
        """Return them empty and with their original slots; lost nodes or slots mean a new cluster."""
        if self._cluster is None or not self._can_be_mended(self._cluster):
            self.end()
            self._cluster = self._running.enter_context(local_cluster(self._binary, primaries=3, options=OPTIONS))
            self._owners = owners_seen_by(self._cluster.nodes[0])
        self._mend(self._cluster)
        return self._cluster

    def end(self) -> None:
        self._running.close()

    @staticmethod
    def _can_be_mended(cluster: LocalCluster) -> bool:
        if any(node.process.poll() is not None for node in cluster.nodes):
            return False
        views = [owners_seen_by(node) for node in cluster.nodes]
        ports = {node.port for node in cluster.nodes}
        known = [node.ask("CLUSTER", "NODES").count(b"\n") for node in cluster.nodes]
        return all(view.keys() == set(ALL_SLOTS) and set(view.values()) <= ports for view in views) and known == [3] * 3

    def _mend(self, cluster: LocalCluster) -> None:
        by_port = {node.port: node for node in cluster.nodes}
        for node in cluster.nodes:
            node.ask("FLUSHALL")
            for slot in open_slots(node):
                node.ask("CLUSTER", "SETSLOT", slot, "STABLE")
        for node in cluster.nodes:
            for slot, port in owners_seen_by(node).items():
                if port != self._owners[slot]:
                    move_slot(slot, by_port[port], by_port[self._owners[slot]], cluster.nodes)
        until(lambda: all(owners_seen_by(node) == self._owners for node in cluster.nodes))


def owners_seen_by(node: Node) -> dict[int, int]:
    """Return the port of each slot's owner, from this node's view."""
    ranges = node.ask("CLUSTER", "SLOTS")
    return {slot: owner[1] for first, last, owner, *_ in ranges for slot in range(first, last + 1)}


def open_slots(node: Node) -> list[int]:
    """Return the slots that move from or to this node."""
    (line,) = (line for line in node.ask("CLUSTER", "NODES").splitlines() if b"myself" in line)
    return [int(word[1:].split(b"-")[0]) for word in line.split() if word.startswith(b"[")]
