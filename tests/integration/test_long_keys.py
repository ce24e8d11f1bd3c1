"""Keys with very long names, against a memory limit."""

import itertools
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence

import pytest

from k6_sweep.demo.keys import write_keys
from k6_sweep.demo.servers import LocalCluster
from tests.reports import report_in
from tests.support import keys_of

MIB = 1 << 20


def long_keys(count: int, length: int, tag: str) -> Iterator[bytes]:
    return (b"test:%b%d:" % (tag.encode(), number) + b"x" * length for number in range(count))


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize("command", ["run", "dry run", "check"])
@pytest.mark.parametrize(
    ("count", "length", "tag"),
    [(2000, 64 * 1024, "{a}"), (150, MIB, "{a}"), (150, MIB, "")],
    ids=["64 KiB", "1 MiB", "spread"],
)
def test_long_names_fit_into_the_memory_of_the_chart(
    small_cluster: LocalCluster, command: str, count: int, length: int, tag: str
) -> None:
    """Lists and deletes are bounded by the bytes of the keys, too: 150 MB of names fit into much less memory."""
    keys = long_keys(count, length, tag)
    while part := list(itertools.islice(keys, 16)):
        write_keys(small_cluster, part)
    words = ["run", "--dry-run"] if command == "dry run" else [command]
    report, peak = run_measured([*words, "--redis-url", small_cluster.url, "--pattern", "test:*"])
    assert peak < 140 * MIB
    if command == "check":
        assert report["status"] == "ready"
        return
    assert report["matched"] == count
    assert sum(1 for _ in keys_of(small_cluster.primaries)) == (count if "--dry-run" in words else 0)


def run_measured(words: Sequence[str]) -> tuple[dict[str, object], int]:
    """Run k6-sweep; return its report and its peak RSS in bytes."""
    starter = (
        "import json, resource, subprocess, sys;"
        "done = subprocess.run([sys.executable, '-m', 'k6_sweep', *sys.argv[1:]], capture_output=True, text=True);"
        "print(json.dumps([done.stdout, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss]))"
    )
    done = subprocess.run([sys.executable, "-c", starter, *words], capture_output=True, text=True, check=True)
    report, peak = json.loads(done.stdout)
    return report_in(report), peak * 1024
