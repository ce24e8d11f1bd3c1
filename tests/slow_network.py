"""Puts a proxy before each node of a cluster that delays bytes, limits their rate and cuts connections.

A connection keeps the order of its bytes, as TCP does: bytes that are delayed also delay those behind them.
"""

import asyncio
import json
import random
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from k6_sweep.demo.servers import LocalCluster, Node, end_with_parent, free_port
from tests.support import until

_PIECE = 64 * 1024


@dataclass(frozen=True)
class Way:
    """How bytes travel between a client and a server, in each direction."""

    delay: float = 0.0
    """Seconds that each piece of data takes."""
    jitter: float = 0.0
    """It takes up to this number of seconds longer."""
    bandwidth: float | None = None
    """Bytes a second of one connection; None means unlimited."""
    lost_after: float | None = None
    """Each connection is cut at a random moment within this number of seconds; None means never."""


@contextmanager
def behind(cluster: LocalCluster, way: Way) -> Iterator[LocalCluster]:
    """Yield the cluster as a client sees it that reaches its nodes over this way; the nodes announce the proxies."""
    ports = {node.port: free_port() for node in cluster.nodes}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.slow_network", json.dumps(ports), json.dumps(asdict(way))],
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        preexec_fn=end_with_parent,  # noqa: PLW1509  # it makes one system call and takes no lock
    )
    try:
        assert process.stdout
        assert process.stdout.readline() == b"listening\n"
        _announce(cluster, ports)
        yield replace(
            cluster, nodes=tuple(Node(ports[node.port], node.process, node.primary) for node in cluster.nodes)
        )
    finally:
        _announce(cluster, {node.port: 0 for node in cluster.nodes})
        process.kill()
        process.communicate()  # closes the pipe, too


def _announce(cluster: LocalCluster, ports: dict[int, int]) -> None:
    """Let the nodes announce these ports (0: their own), and wait until all know it."""
    for node in cluster.nodes:
        node.ask("CONFIG", "SET", "cluster-announce-port", ports[node.port])
    announced = {announced or port for port, announced in ports.items()}

    def known(node: Node) -> bool:
        lines = node.ask("CLUSTER", "NODES").decode().splitlines()
        return {int(line.split()[1].split(":")[1].split("@")[0]) for line in lines} == announced

    until(lambda: all(known(node) for node in cluster.nodes))


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Way) -> None:
    """Carry bytes in one direction until the connection ends."""
    loop = asyncio.get_running_loop()
    on_the_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def deliver() -> None:
        while True:
            arrival, data = await on_the_way.get()
            await asyncio.sleep(arrival - loop.time())
            if not data:
                writer.close()
                return
            writer.write(data)
            await writer.drain()

    delivery = asyncio.create_task(deliver())
    departed = arrival = 0.0
    try:
        while True:
            data = await reader.read(_PIECE)
            departed = max(loop.time(), departed) + (len(data) / way.bandwidth if way.bandwidth else 0.0)
            arrival = max(arrival, departed + way.delay + random.uniform(0, way.jitter))
            on_the_way.put_nowait((arrival, data))
            if not data:
                break
        await delivery
    finally:
        delivery.cancel()


async def _serve(ports: dict[int, int], way: Way) -> None:
    def for_node(port: int) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
        async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            to_node, from_node = None, None
            try:
                to_node, from_node = await asyncio.open_connection("127.0.0.1", port)
                both = asyncio.gather(_carry(reader, from_node, way), _carry(to_node, writer, way))
                end = None if way.lost_after is None else random.uniform(0, way.lost_after)
                await asyncio.wait_for(both, end)
            except (OSError, TimeoutError):
                pass
            finally:
                for each in (writer, from_node):
                    if each:
                        each.transport.abort()

        return connect

    servers = [await asyncio.start_server(for_node(port), "127.0.0.1", mine) for port, mine in ports.items()]
    sys.stdout.write("listening\n")
    sys.stdout.flush()
    await asyncio.gather(*(server.serve_forever() for server in servers))


def round_trip(node: Node) -> float:
    """Return the shortest of some round trips to a node, in seconds."""
    with closing(node.link()) as link:

        def once() -> float:
            began = time.perf_counter()
            link.ask("PING")
            return time.perf_counter() - began

        return min(once() for _ in range(10))


if __name__ == "__main__":
    asyncio.run(
        _serve({int(port): mine for port, mine in json.loads(sys.argv[1]).items()}, Way(**json.loads(sys.argv[2])))
    )
