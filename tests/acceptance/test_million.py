"""A million keys, one command, and a check of every key that remains."""

import random
import subprocess
import sys
from collections.abc import Iterator

import pytest

from k6_sweep.demo.keys import write_keys
from k6_sweep.demo.servers import find_redis_server, local_cluster
from tests.reports import report_in
from tests.support import keys_of

COUNT = 1_000_000
SWEPT = ["queue:*", "strea[ml]:*", "dedupe:?*", "token:*:*"]
KEPT = ["queue:keep*", "*:vip"]


def keys() -> Iterator[bytes]:
    """Yield keys with any bytes, some with hash tags, some that miss a pattern by one letter."""
    chance = random.Random(9)
    starts = [
        b"queue:",
        b"queue:keep",
        b"queues:",
        b"stream:",
        b"streak:",
        b"dedupe:",
        b"token:{a}:",
        b"token:",
        b"user:",
        b"\xff",
    ]
    for number in range(COUNT):
        end = b":vip" if number % 97 == 0 else b""
        yield chance.choice(starts) + chance.randbytes(chance.randrange(4)) + b"%d" % number + end


def goes(key: bytes) -> bool:
    """Return whether a key must be gone, without k6-sweep's matcher."""
    if key.startswith(b"queue:keep") or key.endswith(b":vip"):
        return False
    start, _, rest = key.partition(b":")
    return start in {b"queue", b"stream"} or (start == b"dedupe" and bool(rest)) or (start == b"token" and b":" in rest)


@pytest.mark.usefixtures("unmeasured")
def test_exactly_the_right_keys_of_a_million_are_gone() -> None:
    """`k6-sweep run` deletes exactly the matching, unprotected keys of a million, and counts them correctly."""
    with local_cluster(find_redis_server()) as cluster:
        everything = set(keys())
        write_keys(cluster, everything)
        words = [word for glob in SWEPT for word in ("--pattern", glob)] + [
            word for glob in KEPT for word in ("--keep", glob)
        ]
        command = [sys.executable, "-m", "k6_sweep", "run", "--redis-url", cluster.url, *words]
        done = subprocess.run(command, capture_output=True, check=True)
        left = keys_of(cluster.primaries)
    expected = {key for key in everything if not goes(key)}
    assert left - expected == set()
    assert expected - left == set()
    report = report_in(done.stdout)
    assert (report["status"], report["remaining"], report["exact"]) == ("complete", 0, True)
    assert report["deleted"] == report["matched"] == sum(report["patterns"].values()) == len(everything) - len(expected)
