"""Clients without the token cannot stop the endpoint, fill its memory or fill its log."""

import http.client
import json
import resource
import time
from collections.abc import Iterator

import pytest

from tests.endpoint.flood import Flood, Kind
from tests.endpoint.served import Served, memory, peak_memory, served

MOST_MEMORY = 160 * 1024
MOST_LOG = 1_000_000 / 60
"""Bytes a second."""

pytestmark = pytest.mark.usefixtures("unmeasured")  # coverage makes each request slow, and its data grows


@pytest.fixture
def limited(url: str) -> Iterator[Served]:
    """An endpoint that may have 160 MiB more than at its start; the stacks of its threads count, and so are small."""
    with served(url, "--probe-listen", "127.0.0.1:0", limits=["--stack=1048576:1048576"]) as endpoint:
        pid = endpoint.process.pid
        most = (memory(pid, "VmData:") + 160 * 1024) * 1024
        resource.prlimit(pid, resource.RLIMIT_DATA, (most, most))
        yield endpoint


def probe(endpoint: Served) -> int:
    (listening,) = endpoint.events("listening")
    connection = http.client.HTTPConnection("127.0.0.1", listening["probe_port"], timeout=60)
    connection.request("GET", "/healthz")
    status = connection.getresponse().status
    connection.close()
    return status


def asked(endpoint: Served, times: int) -> tuple[set[int], set[int]]:
    """Return the statuses for a client with the token and for a probe."""
    return {endpoint.post({"dry_run": True}).code for _ in range(times)}, {probe(endpoint) for _ in range(times)}


@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.name)
def test_a_flood(limited: Served, kind: Kind) -> None:
    """Under a flood, a client with the token and a probe get their answers; memory and log stay small."""
    with Flood(limited.port, kind, 1500).running():
        begun, lines = time.monotonic(), len(limited.lines)
        assert asked(limited, 10) == ({200}, {200})
        seconds = time.monotonic() - begun
        log = [
            json.dumps(line) for line in limited.lines[lines:] if line.get("code") != 200 and not line.get("token_name")
        ]
        assert sum(map(len, log)) < MOST_LOG * (seconds + 1)
    assert peak_memory(limited.process.pid) < MOST_MEMORY
    assert asked(limited, 1) == ({200}, {200})


def test_few_descriptors(url: str) -> None:
    """With fewer descriptors than connections, each new connection finds one, and the log has no traceback."""
    with served(url, "--probe-listen", "127.0.0.1:0", limits=["--nofile=1024:1024"]) as endpoint:
        with Flood(endpoint.port, Kind.IDLE, 1100).running():
            assert asked(endpoint, 10) == ({200}, {200})
        assert not [line for line in endpoint.lines if "traceback" in line or line["event"] == "HTTP server problem"]


def test_a_flood_from_everywhere(limited: Served) -> None:
    """A flood from many addresses cannot displace a client that sends its request at once."""
    sources = [f"127.0.{number // 250}.{number % 250 + 1}" for number in range(1000)]
    with Flood(limited.port, Kind.IDLE, 3000, sources).running():
        assert asked(limited, 10) == ({200}, {200})
    assert peak_memory(limited.process.pid) < MOST_MEMORY
