"""What many tests need: settings in a line, a sweep in a call, the keys of a whole cluster."""

import io
import time
from collections.abc import Callable, Iterable, Sequence

from sidecar.demo.keys import all_keys
from sidecar.demo.servers import Node
from sidecar.log import Log, open_log
from sidecar.options import Parser
from sidecar.parse import parse
from sidecar.settings import Settings
from sidecar.sweep.link import Connect, Connector
from sidecar.sweep.result import Progress, SweepReport
from sidecar.sweep.sweeper import sweep

KINDS = ("stream", "dedupe", "waiting_token", "reservation_token", "idempotency", "ratelimit", "queue")


def settings_for(url: str, *options: str, patterns: Iterable[str] = ("test:*",), command: str = "run") -> Settings:
    words = [word for pattern in patterns for word in ("--pattern", pattern)]
    settings, problems = parse(command, Parser(), ["--redis-url", url, *words, *options], {})
    assert not problems
    return settings


def quiet_log() -> Log:
    return open_log("json", "debug", io.StringIO())


def sweep_now(
    settings: Settings,
    connect: Connect | None = None,
    seconds: float = 30.0,
    on_progress: Callable[[Progress], None] = lambda _: None,
    log: Log | None = None,
) -> SweepReport:
    deadline = time.monotonic() + seconds
    return sweep(
        settings, connect or Connector(settings), lambda: deadline - time.monotonic(), log or quiet_log(), on_progress
    )


def keys_of(nodes: Sequence[Node]) -> set[bytes]:
    return {key for node in nodes for key in all_keys(node)}
