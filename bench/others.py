"""Other ways to delete a load test's keys, as people write them: `others.py WAY PORT…`, a port for each primary."""

import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import redis
from redis.cluster import ClusterNode, RedisCluster

from bench.measuring import PATTERNS

LUA = """
local cursor, deleted = ARGV[1], 0
local page = redis.call('SCAN', cursor, 'COUNT', 1000)
local doomed = {}
for _, key in ipairs(page[2]) do
  for index = 2, #ARGV do
    if string.sub(key, 1, #ARGV[index]) == ARGV[index] then
      doomed[#doomed + 1] = key
      break
    end
  end
end
for _, key in ipairs(doomed) do deleted = deleted + redis.call('UNLINK', key) end
return {page[1], deleted}
"""


def idiom(ports: Sequence[int]) -> None:
    """Use redis-py in the usual way: scan_iter for each pattern, a cluster pipeline for each thousand keys."""
    cluster = RedisCluster(startup_nodes=[ClusterNode("127.0.0.1", port) for port in ports])
    for pattern in PATTERNS:
        batch = []
        for key in cluster.scan_iter(match=pattern, count=1000):
            batch.append(key)
            if len(batch) == 1000:
                _unlink(cluster, batch)
                batch = []
        _unlink(cluster, batch)


def _unlink(cluster: RedisCluster, batch: Sequence[bytes]) -> None:
    pipeline = cluster.pipeline()
    for key in batch:
        pipeline.unlink(key)
    pipeline.execute()


def pipelines(ports: Sequence[int]) -> None:
    """Use one thread for each primary: SCAN MATCH for each pattern, pipelined UNLINK."""

    def sweep(port: int) -> None:
        server = redis.Redis(host="127.0.0.1", port=port)
        for pattern in PATTERNS:
            cursor = 0
            while True:
                cursor, page = server.scan(cursor, match=pattern, count=1000)
                pipeline = server.pipeline(transaction=False)
                for key in page:
                    pipeline.unlink(key)
                pipeline.execute()
                if not cursor:
                    break

    _everywhere(sweep, ports)


def lua(ports: Sequence[int]) -> None:
    """Use one thread for each primary, with a script that scans a thousand keys and unlinks those with a prefix."""

    def sweep(port: int) -> None:
        server = redis.Redis(host="127.0.0.1", port=port)
        script = server.register_script(LUA)
        cursor = b"0"
        while True:
            cursor, _ = script(args=[cursor, *(pattern[:-1] for pattern in PATTERNS)])
            if cursor == b"0":
                return

    _everywhere(sweep, ports)


def floor(ports: Sequence[int]) -> None:
    """Show the lowest possible cost of a sweep: list every slot's keys once, then drop everything with FLUSHDB."""

    def sweep(port: int) -> None:
        server = redis.Redis(host="127.0.0.1", port=port)
        slots = server.execute_command("CLUSTER SLOTS")
        ((first, last),) = ((first, last) for first, last, primary, *_ in slots if primary[1] == port)
        for start in range(first, last + 1, 16):
            pipeline = server.pipeline(transaction=False)
            for slot in range(start, min(start + 16, last + 1)):
                pipeline.execute_command("CLUSTER GETKEYSINSLOT", slot, 5000)
            pipeline.execute()
        server.flushdb()

    _everywhere(sweep, ports)


def _everywhere(sweep: Callable[[int], None], ports: Sequence[int]) -> None:
    with ThreadPoolExecutor(len(ports)) as pool:
        list(pool.map(sweep, ports))


WAYS = {"idiom": idiom, "pipelines": pipelines, "lua": lua, "floor": floor}

if __name__ == "__main__":
    WAYS[sys.argv[1]]([int(port) for port in sys.argv[2:]])
