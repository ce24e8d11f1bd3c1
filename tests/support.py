"""Stands for a caller of the sweep: settings in one line, a sweep in one call, the keys of a whole cluster."""

import contextlib
import io
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from k6_sweep.cluster.connector import Connector
from k6_sweep.cluster.link import Connect, Link, Sent
from k6_sweep.cluster.own_keys import MARK
from k6_sweep.demo.keys import all_keys
from k6_sweep.demo.servers import Node, find_redis_server, start_server, stop
from k6_sweep.errors import SweepError
from k6_sweep.log import Log, open_log
from k6_sweep.settings.all import Settings
from k6_sweep.settings.parse import parse
from k6_sweep.settings.read import Parser
from k6_sweep.settings.snapshot import SnapshotSettings
from k6_sweep.sweep.result import Progress, SweepReport
from k6_sweep.sweep.sweeper import sweep
from k6_sweep.sweep.time_limit import End, TimeLimit

KINDS = ("stream", "dedupe", "waiting_token", "reservation_token", "idempotency", "ratelimit", "queue")


def settings_for(url: str, *options: str, patterns: Iterable[str] = ("test:*",), command: str = "run") -> Settings:
    settings, problems = parse(Settings, command, Parser(), [*_needed(url, patterns), *options], {})
    assert not problems
    return settings


def snapshot_settings_for(
    url: str, file: Path, *options: str, patterns: Iterable[str] = ("test:*",)
) -> SnapshotSettings:
    words = [*_needed(url, patterns), "--out", str(file), *options]
    settings, problems = parse(SnapshotSettings, "snapshot", Parser(), words, {})
    assert not problems
    return settings


def _needed(url: str, patterns: Iterable[str]) -> list[str]:
    return ["--redis-url", url, *(word for pattern in patterns for word in ("--pattern", pattern))]


def quiet_log() -> Log:
    return open_log("json", "debug", stream=io.StringIO())


STOPPED = "stopped by the test's time limit"


def limited(remaining: Callable[[], float]) -> TimeLimit:
    """Return a time limit with this rest."""
    return TimeLimit(lambda: [End(time.monotonic() + remaining(), STOPPED)])


def sweep_now(
    settings: Settings,
    connect: Connect | None = None,
    seconds: float = 120.0,
    on_progress: Callable[[Progress], None] = lambda _: None,
    log: Log | None = None,
) -> SweepReport:
    deadline = time.monotonic() + seconds
    limit = limited(lambda: deadline - time.monotonic())
    return sweep(settings, connect or Connector(settings, limit.remaining), limit, log or quiet_log(), on_progress)


def sweep_until(settings: Settings, enough: Callable[[Progress], bool], connect: Connect | None = None) -> SweepReport:
    """Run a sweep that can never complete; its deadline comes once `enough` returns true."""
    deadline = time.monotonic() + 120

    def look(progress: Progress) -> None:
        nonlocal deadline
        if enough(progress):
            deadline = min(deadline, time.monotonic())

    limit = limited(lambda: deadline - time.monotonic())
    return sweep(settings, connect or Connector(settings, limit.remaining), limit, quiet_log(), look)


Pipeline = Callable[[Sequence[bytes]], list[Any]]


def step_between(link: Link, around: Callable[[Pipeline, Sequence[bytes]], list[Any]]) -> Link:
    """Give each write of a link to `around`, which sends it with the function that it gets."""
    send = link.send

    def stepping(commands: Sequence[bytes]) -> Sent:
        sent = Sent(link, len(commands))
        sent.received = around(lambda changed: send(changed).replies(), commands)
        return sent

    link.send = stepping  # type: ignore[method-assign]  # only for this link
    return link


def start_tls_server(folder: Path, options: Mapping[str, str], port: int) -> Node:
    """Start a TLS server; skip the test if the machine's server is built without TLS."""
    try:
        return start_server(find_redis_server(), folder, options, port=port)
    except SweepError as error:
        pytest.skip(f"needs a redis-server that is built with TLS: {str(error).splitlines()[-1]}")


@contextlib.contextmanager
def running_redis(folder: Path, binary: str | None = None) -> Iterator[Node]:
    """Run a single server for one test or module."""
    node = start_server(binary or find_redis_server(), folder)
    try:
        yield node
    finally:
        stop([node])


def keys_of(nodes: Sequence[Node]) -> set[bytes]:
    """Return all keys, except the endpoint's list of sweeps, which stays for an hour."""
    return {key for node in nodes for key in all_keys(node) if MARK + b"sweeps" not in key}


def move_slot(slot: int, source: Node, target: Node, others: tuple[Node, ...] = (), keys: int = -1) -> None:
    """Move a slot as redis-cli does; with `keys`, stop after that number of keys."""
    ids = {node.port: node.ask("CLUSTER", "MYID") for node in (source, target)}
    target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source.port])
    source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target.port])
    left = keys if keys >= 0 else 10**9
    while left and (batch := source.ask("CLUSTER", "GETKEYSINSLOT", slot, min(left, 100))):
        source.ask("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *batch)
        left -= len(batch)
    if keys < 0:
        for node in (target, source, *others):
            node.ask("CLUSTER", "SETSLOT", slot, "NODE", ids[target.port])


def until(condition: Callable[[], bool], seconds: float = 120) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
