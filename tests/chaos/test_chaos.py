"""The report of a sweep is true, whatever happens to the cluster during it.

To repeat a run, give its number: K6_SWEEP_CHAOS_FIRST=17 K6_SWEEP_CHAOS_RUNS=1.
"""

import os
import random
import re
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from k6_sweep.cluster.connector import Connector
from k6_sweep.demo.servers import local_cluster
from k6_sweep.sweep.sweeper import take_snapshot
from tests.chaos.scenarios import SCENARIOS, Scenario, nothing
from tests.chaos.world import OPTIONS, PATTERNS, Meddling, World, judge
from tests.conftest import all_server_binaries, server_binaries
from tests.support import limited, quiet_log, settings_for, snapshot_settings_for, sweep_now

RUNS = int(os.environ.get("K6_SWEEP_CHAOS_RUNS", "0"))
"""The number of runs with randomly chosen scenarios; 0 runs each scenario once."""
FIRST = int(os.environ.get("K6_SWEEP_CHAOS_FIRST", "1"))
KEYS = int(os.environ.get("K6_SWEEP_CHAOS_KEYS", "20000"))
_SNAPSHOT_SECONDS = 20.0
_MOST_QUERIES = 60
"""The limit for about 20 seconds of trouble; a storm of queries would be thousands."""


def _runs() -> Iterator[tuple[int, str, str]]:
    """Yield the number, the scenario and the server of each run."""
    every = all_server_binaries()
    atomic = [binary for binary in every if moves_atomically(binary)]
    fitting = {name: atomic if scenario.atomic else every for name, scenario in SCENARIOS.items()}
    names = sorted(name for name, binaries in fitting.items() if binaries)
    if RUNS:
        for number in range(FIRST, FIRST + RUNS):
            name = random.Random(number).choice(names)
            yield number, name, fitting[name][number % len(fitting[name])]
        return
    for number, (name, scenario) in enumerate(SCENARIOS.items()):
        one = fitting[name][number % len(fitting[name]) :][:1] if fitting[name] else []
        newest = atomic if scenario.atomic else server_binaries()
        for binary in newest if scenario.on_every_server else one:
            yield FIRST + number, name, binary


def moves_atomically(binary: str) -> bool:
    """Whether the server can move slots by itself, as a transaction: from Redis 8.4 and Valkey 9."""
    version = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.match(r"(Redis|Valkey) server v=(\d+)\.(\d+)", version)
    return found is not None and (int(found[2]), int(found[3])) >= ((8, 4) if found[1] == "Redis" else (9, 0))


pytestmark = pytest.mark.usefixtures("unmeasured")


@pytest.fixture(scope="module")
def outcomes() -> Iterator[Counter[str]]:
    counts: Counter[str] = Counter()
    yield counts
    print("\nchaos:", ", ".join(f"{outcome} {count}" for outcome, count in sorted(counts.items())))  # noqa: T201  # pytest -s shows it


@pytest.mark.parametrize(
    ("number", "name", "binary"),
    [pytest.param(*run, id=f"{run[0]}-{run[1]}-{Path(run[2]).name}") for run in _runs()],
)
def test_the_report_is_true(number: int, name: str, binary: str, tmp_path: Path, outcomes: Counter[str]) -> None:
    """A sweep deletes no foreign key, `complete` means that no key is left, and `exact` that the count is right."""
    if SCENARIOS[name].by_redis_cli and not shutil.which("redis-cli"):
        pytest.skip("needs redis-cli (Debian: redis-tools)")
    chance = random.Random(number)
    options = OPTIONS | {"cluster-require-full-coverage": chance.choice(("yes", "no"))}
    with local_cluster(binary, primaries=3, replicas=3, options=options) as cluster:
        world = World(cluster, binary, options, chance, KEYS)
        with ExitStack() as at_the_end:
            at_the_end.callback(world.end)
            outcomes[_one_run(world, SCENARIOS[name], tmp_path, at_the_end)] += 1


def _one_run(world: World, scenario: Scenario, folder: Path, at_the_end: ExitStack) -> str:
    chance = world.chance
    scenario.before(world)
    harm = scenario.harm
    words = ["--settle", str(scenario.settle)]
    if chance.random() < 0.5:
        words += ["--max-rate", str(chance.choice((20_000, 60_000)))]
    if chance.random() < 0.4 or scenario.during_snapshot:
        during = chance.random() < 0.5 and not scenario.loses_keys
        harm_now, harm = (harm, nothing) if during or scenario.during_snapshot else (nothing, harm)
        _take_snapshot(world, harm_now, folder / "snapshot", at_the_end)
        words += ["--preserve-existing", str(folder / "snapshot")]
    settings = settings_for(f"redis://{world.seed()}", *words, patterns=PATTERNS)
    meddling = Meddling(Connector(settings), chance.randrange(1, 250), lambda: harm(world))
    at_the_end.callback(meddling.close)
    report = sweep_now(settings, meddling, seconds=scenario.seconds)
    late = not meddling.done
    meddling.finish()
    world.heal()
    judge(world, report, late)
    assert meddling.topology_queries < _MOST_QUERIES
    return f"{report.status}{', exact' if report.exact else ''}{', late' if late else ''}"


def _take_snapshot(world: World, harm: Callable[[World], None], file: Path, at_the_end: ExitStack) -> None:
    """Take a snapshot, with or without harm during it, and then write the test's own keys."""
    settings = snapshot_settings_for(f"redis://{world.seed()}", file, patterns=PATTERNS)
    meddling = Meddling(Connector(settings), world.chance.randrange(1, 150), lambda: harm(world))
    at_the_end.callback(meddling.close)
    deadline = time.monotonic() + _SNAPSHOT_SECONDS
    snapshot, _ = take_snapshot(
        settings, meddling, limited(lambda: deadline - time.monotonic()), quiet_log(), lambda _: None
    )
    snapshot.write(file)
    meddling.finish()
    world.heal()
    world.forget_the_past()
    world.write(KEYS // 2)
