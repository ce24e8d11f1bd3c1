"""The settings of a sweep: its keys, its guards and its pace."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from k6_sweep.patterns import MIN_LITERAL_START, Pattern
from k6_sweep.settings.options import Role, TakenBy, flag, option
from k6_sweep.settings.redis import RedisSettings
from k6_sweep.settings.values import (
    keep_of,
    name_of,
    namespace_glob,
    one_of,
    pattern_of,
    positive_seconds,
    seconds,
    whole_number,
)

SETTLE_AFTER_K6: Final = 2.0

_KEYS = "Keys to delete"
_GUARDS = "Guards (if one refuses, nothing is deleted; exit code 4)"
_SWEEP = "Sweep"


@dataclass(frozen=True, kw_only=True)
class SweepSettings(RedisSettings):
    """The settings of a sweep. Durations are in seconds; `None` means that a feature is off."""

    pattern: tuple[Pattern, ...] = option(
        _KEYS,
        TakenBy.ALL,
        "Pattern of the test's keys, in the syntax of Redis's MATCH (repeatable). Nothing is deleted by default.",
        role=Role.SELECTS,
        why="Only you know which keys are test data.",
        parse=pattern_of,
        metavar="GLOB",
        many=True,
        required=True,
    )
    keep: tuple[Pattern, ...] = option(
        _KEYS,
        TakenBy.SWEEPING_OR_CHECK,
        "Pattern of keys to spare, even if they match --pattern (repeatable). Those of the option and of the variable "
        "count together.",
        role=Role.PROTECTS,
        why="Good patterns match test data only; this is for exceptions.",
        parse=keep_of,
        metavar="GLOB",
        many=True,
        unites=True,
    )
    dry_run: bool = flag(
        _KEYS,
        TakenBy.SWEEPING,
        "Only count the matching keys; delete nothing.",
        role=Role.PROTECTS,
        why="k6-sweep is there to delete; the patterns and the guards limit what it deletes.",
    )
    show_keys: int | None = option(
        _KEYS,
        TakenBy.RUN,
        "With --dry-run: print the names of up to this number of keys for each pattern, on the terminal only.",
        why="Names of keys may be personal data.",
        role=Role.NEITHER,
        parse=whole_number(1, 1000),
        metavar="COUNT",
    )

    allow_broad_patterns: bool = flag(
        _GUARDS,
        TakenBy.ALL,
        f"Accept patterns with fewer than {MIN_LITERAL_START} literal leading characters.",
        role=Role.PROTECTS,
        why="A pattern such as `*` also matches keys that are not the test's.",
    )
    allowed_namespace: tuple[str, ...] = option(
        _GUARDS,
        TakenBy.ALL,
        "Sweep only from a Kubernetes namespace that matches this glob (repeatable). An unknown namespace does not "
        "match.",
        role=Role.PROTECTS,
        why="k6-sweep cannot know which namespaces are for tests. inject and the chart ask for at least one guard.",
        parse=namespace_glob,
        metavar="GLOB",
        many=True,
    )
    require_marker: str | None = option(
        _GUARDS,
        TakenBy.ALL,
        "Sweep only a Redis that contains this key. k6-sweep never deletes this key.",
        role=Role.PROTECTS,
        why="You must first put such a key into each Redis that k6-sweep may sweep.",
        parse=name_of,
        metavar="KEY",
    )
    preserve_existing: Path | None = option(
        _GUARDS,
        TakenBy.SWEEPING_IN_PLACE,
        "File written by `k6-sweep snapshot`. The keys in it are spared: only keys that came after it are deleted.",
        role=Role.PROTECTS,
        why="It needs a command before the test, and a test with its own key prefix does not need it.",
        parse=Path,
        metavar="FILE",
    )
    snapshot_max_age: float = option(
        _GUARDS,
        TakenBy.SWEEPING_IN_PLACE,
        "Refuse a snapshot that is older than this, in seconds, when `watch` starts to wait or another command to "
        "sweep. The pod that took it may use it at any age.",
        role=Role.PROTECTS,
        why="Few tests take a day, and a snapshot of an earlier test does not spare the keys that came after it.",
        parse=positive_seconds,
        metavar="SECONDS",
        default=86400.0,
    )
    max_keys: int | None = option(
        _GUARDS,
        TakenBy.SWEEPING_OR_CHECK,
        "Refuse to sweep if more keys than this match. k6-sweep counts them first.",
        role=Role.PROTECTS,
        why="How many keys are normal depends on the test.",
        parse=whole_number(1),
        metavar="N",
    )

    coordinate: str = option(
        _GUARDS,
        TakenBy.SWEEPING_OR_CHECK,
        "Whether tests that share a Redis know of each other. auto: `watch` enters its test in a register in Redis, "
        "and no sweep deletes keys of a registered test; if the register cannot be used, k6-sweep warns, and sweeps. "
        "require: it then refuses to sweep. off: do not use the register.",
        role=Role.PROTECTS,
        why="A sweep must not disturb another test, but many users have no permission for the register yet.",
        parse=one_of("auto", "require", "off"),
        metavar="WHEN",
        default="auto",
    )
    even_during_tests: bool = flag(
        _GUARDS,
        TakenBy.ON_REQUEST,
        "Sweep even if a test is registered that uses keys of these patterns.",
        role=Role.PROTECTS,
        why="The sweep would delete keys of a running test.",
    )

    timeout: float = option(
        _SWEEP,
        TakenBy.ALL,
        "Time limit for the whole sweep or snapshot, in seconds. Raise it if it makes a sweep `incomplete`.",
        role=Role.NEITHER,
        why="A sweep of 10,000,000 keys took 14.9 s ([redis.md](redis.md#what-it-costs-the-server)); the rest is for "
        "failovers and retries.",
        parse=positive_seconds,
        metavar="SECONDS",
        default=60.0,
    )
    settle: float | None = option(
        _SWEEP,
        TakenBy.SWEEPING,
        "Keep sweeping until no new matching key has appeared for this many seconds: the application may still be "
        "processing k6's last requests.",
        role=Role.NEITHER,
        why="When `watch` begins its sweep, k6 has just ended. The other commands are started later.",
        parse=seconds,
        metavar="SECONDS",
        shown_default=f"{SETTLE_AFTER_K6:g} in watch, otherwise 0",
    )
    no_verify: bool = flag(
        _SWEEP,
        TakenBy.SWEEPING,
        "Skip the second pass, which proves that no key remains.",
        role=Role.NEITHER,
        why="Only this pass finds keys that were written during the first one.",
    )
    batch_size: int = option(
        _SWEEP,
        TakenBy.ALL,
        "Maximum keys per UNLINK and per group of slots.",
        role=Role.NEITHER,
        why="Cleanups written by hand use 1,000, too. If Redis is slow, --latency-budget makes it fewer.",
        parse=whole_number(1, 10_000),
        metavar="N",
        default=1000,
    )
    max_rate: int | None = option(
        _SWEEP,
        TakenBy.SWEEPING,
        "Maximum keys deleted per second, over all shards.",
        role=Role.NEITHER,
        why="--latency-budget already protects the other clients of Redis.",
        parse=whole_number(1),
        metavar="N",
    )

    latency_budget: float = option(
        _SWEEP,
        TakenBy.ALL,
        "How long one write may keep a Redis server busy, in seconds. Its other clients wait for that long. If the "
        "server needs longer, k6-sweep puts fewer keys into a write.",
        role=Role.NEITHER,
        why="In our measurements with it, another client's 99th percentile was at most 4.5 ms "
        "([redis.md](redis.md#what-it-costs-the-server)).",
        parse=positive_seconds,
        metavar="SECONDS",
        default=0.005,
    )
    max_shards: int = option(
        _SWEEP,
        TakenBy.ALL,
        "Maximum primaries swept in parallel.",
        role=Role.NEITHER,
        why="Each primary takes a thread, and a cluster may have hundreds of primaries.",
        parse=whole_number(1, 1000),
        metavar="N",
        default=16,
    )

    @property
    def broad_patterns(self) -> tuple[Pattern, ...]:
        """The patterns that are too broad; none with --allow-broad-patterns."""
        return () if self.allow_broad_patterns else tuple(pattern for pattern in self.pattern if pattern.is_broad)
