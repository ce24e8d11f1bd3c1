"""The settings of a sweep: its Redis, its keys, its guards and its pace."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from k6_sweep.patterns import MIN_LITERAL_START, Pattern
from k6_sweep.settings.options import TakenBy, flag, option
from k6_sweep.settings.redis_url import IamCache, RedisUrl, Secret
from k6_sweep.settings.values import pattern_of, positive_seconds, readable_file, seconds, whole_number

SETTLE_AFTER_K6: Final = 2.0

_REDIS = "Redis"
_KEYS = "What to delete"
_GUARDS = "Guards: each refuses (exit 4) before the first delete"
_SWEEP = "How to sweep"


@dataclass(frozen=True, kw_only=True)
class SweepSettings:
    """The settings of a sweep. Durations are in seconds; `None` means that a feature is off."""

    redis_url: RedisUrl = option(
        _REDIS,
        TakenBy.ALL,
        "One address of Redis: redis://HOST[:PORT][/DB], rediss://… for TLS, unix:///PATH, or "
        "redis+sentinel://HOST:PORT,HOST:PORT/MASTER. One node, or the configuration endpoint, is enough to find a "
        "whole cluster.",
        parse=RedisUrl.parse,
        metavar="URL",
        required=True,
    )
    redis_username: str | None = option(_REDIS, TakenBy.ALL, "The ACL user to log in as.", metavar="NAME")
    redis_password: Secret | None = option(
        _REDIS, TakenBy.IN_PLACE, "The password. A file (below) is safer.", parse=Secret, secret=True
    )
    redis_password_file: Path | None = option(
        _REDIS,
        TakenBy.IN_PLACE,
        "A file that holds the password; read again at each login, so it may be rotated.",
        parse=readable_file,
        metavar="FILE",
    )
    redis_ca_file: Path | None = option(
        _REDIS,
        TakenBy.IN_PLACE,
        "The authorities (PEM) to trust for TLS, instead of the system's.",
        parse=readable_file,
        metavar="FILE",
    )
    redis_cert_file: Path | None = option(
        _REDIS,
        TakenBy.IN_PLACE,
        "Our own certificate (PEM), where the server asks for one.",
        parse=readable_file,
        metavar="FILE",
    )
    redis_key_file: Path | None = option(
        _REDIS, TakenBy.IN_PLACE, "The certificate's key (PEM).", parse=readable_file, metavar="FILE", default=None
    )
    redis_iam: IamCache | None = option(
        _REDIS,
        TakenBy.IN_PLACE,
        "Log in to a cache of AWS by IAM: elasticache:NAME, elasticache-serverless:NAME or memorydb:NAME. Needs "
        "k6-sweep[aws].",
        parse=IamCache.parse,
        metavar="CACHE",
    )
    redis_tls_insecure: bool = flag(
        _REDIS, TakenBy.ALL, "Don't check the server's certificate. Whoever sits between can then read the password."
    )

    pattern: tuple[Pattern, ...] = option(
        _KEYS,
        TakenBy.ALL,
        "A key pattern of the test's data, as Redis's MATCH reads it (repeatable). Nothing is deleted by default.",
        parse=pattern_of,
        metavar="GLOB",
        many=True,
        required=True,
    )
    keep: tuple[Pattern, ...] = option(
        _KEYS,
        TakenBy.SWEEPING_OR_CHECK,
        "Spare what this pattern matches, whatever the others say (repeatable).",
        parse=pattern_of,
        metavar="GLOB",
        many=True,
    )
    dry_run: bool = flag(_KEYS, TakenBy.SWEEPING, "Count, and delete nothing.")

    allow_broad_patterns: bool = flag(
        _GUARDS, TakenBy.ALL, f"Accept patterns with fewer than {MIN_LITERAL_START} literal leading characters."
    )
    allowed_namespace: tuple[str, ...] = option(
        _GUARDS,
        TakenBy.ALL,
        "Sweep only in a Kubernetes namespace that this glob matches (repeatable). An unknown one is not allowed.",
        metavar="GLOB",
        many=True,
    )
    require_marker: str | None = option(
        _GUARDS, TakenBy.ALL, "Sweep only a Redis that holds this key. The key itself is never swept.", metavar="KEY"
    )
    preserve_existing: Path | None = option(
        _GUARDS,
        TakenBy.SWEEPING_IN_PLACE,
        "Spare the keys in this file of `k6-sweep snapshot`: delete only what came after it.",
        parse=Path,
        metavar="FILE",
    )
    max_keys: int | None = option(
        _GUARDS,
        TakenBy.SWEEPING_OR_CHECK,
        "Refuse if more keys than this match; they are counted first.",
        parse=whole_number(1),
        metavar="N",
    )

    timeout: float = option(
        _SWEEP,
        TakenBy.ALL,
        "The longest that the whole sweep may take.",
        parse=positive_seconds,
        metavar="SECONDS",
        default=60.0,
    )
    settle: float | None = option(
        _SWEEP,
        TakenBy.SWEEPING,
        "Sweep on until nothing new has appeared for so long: requests behind an ended k6 may still be in flight.",
        parse=seconds,
        metavar="SECONDS",
        shown_default=f"{SETTLE_AFTER_K6:g} in watch, else 0",
    )
    no_verify: bool = flag(_SWEEP, TakenBy.SWEEPING, "Leave out the second pass that proves that nothing remains.")
    batch_size: int = option(
        _SWEEP,
        TakenBy.ALL,
        "At most so many keys in one UNLINK and in one group of slots.",
        parse=whole_number(1, 10_000),
        metavar="N",
        default=1000,
    )
    max_rate: int | None = option(
        _SWEEP,
        TakenBy.SWEEPING,
        "Delete at most so many keys a second, over all shards.",
        parse=whole_number(1),
        metavar="N",
    )

    latency_budget: float = option(
        _SWEEP,
        TakenBy.ALL,
        "How long one write may keep a server busy, which is what its other clients feel: with longer round trips, "
        "fewer keys go into a write.",
        parse=positive_seconds,
        metavar="SECONDS",
        default=0.005,
    )
    max_shards: int = option(
        _SWEEP, TakenBy.ALL, "At most so many primaries at once.", parse=whole_number(1, 1000), metavar="N", default=16
    )

    @property
    def username(self) -> str | None:
        """The user to log in as, from --redis-username or the URL."""
        return self.redis_username or self.redis_url.username

    @property
    def broad_patterns(self) -> tuple[Pattern, ...]:
        """The patterns that are too broad; none with --allow-broad-patterns."""
        return () if self.allow_broad_patterns else tuple(pattern for pattern in self.pattern if pattern.is_broad)
