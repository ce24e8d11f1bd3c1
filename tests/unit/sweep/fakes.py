"""A server for unit tests: it answers commands from a script of replies."""

from collections.abc import Callable, Sequence
from typing import Any

import hiredis

from k6_sweep.cluster.link import Link
from k6_sweep.patterns import Pattern
from k6_sweep.sweep.matcher import Matcher
from k6_sweep.sweep.orders import Allowance, Orders, Pace, Tally
from k6_sweep.sweep.probes import Probes

Answer = Callable[[list[bytes]], Any]


class FakeLink(Link):
    """A link whose server is a function from a command to its reply."""

    def __init__(self, answer: Answer, name: str = "redis-0:6379") -> None:
        self.name = name
        self.closed = False
        self.sent: list[list[bytes]] = []
        self._answer = answer

    def close(self) -> None:
        self.closed = True

    def pipeline(self, commands: Sequence[bytes]) -> list[Any]:
        reader = hiredis.Reader()
        for command in commands:
            reader.feed(command)
        words = [reader.gets() for _ in commands]
        self.sent += words
        return [self._answer(command) for command in words]


def orders_for(
    *globs: str, delete: bool = True, remaining: Callable[[], float] = lambda: 60.0, limit: int | None = None
) -> Orders:
    patterns = [Pattern(glob) for glob in globs or ("test:*",)]
    return Orders(
        matcher=Matcher(patterns),
        probes=Probes(patterns, b"nonce"),
        delete=delete,
        most_at_once=5000,
        remaining=remaining,
        pace=Pace(None),
        allowance=Allowance(limit),
    )


def tally(patterns: int = 1) -> Tally:
    return Tally([0] * patterns)


class FakeCluster:
    """The keys of some slots, deleted as they are by a server; `troubles` answers instead where it has an answer."""

    def __init__(self, keys: dict[int, list[bytes]], troubles: Answer = lambda _: None) -> None:
        self.keys = keys
        self._troubles = troubles

    def __call__(self, command: list[bytes]) -> Any:  # noqa: ANN401  # any reply
        trouble = self._troubles(command)
        if trouble is not None:
            return trouble
        match command:
            case [b"CLUSTER", b"COUNTKEYSINSLOT", slot]:
                return len(self.keys.get(int(slot), []))
            case [b"CLUSTER", b"GETKEYSINSLOT", slot, limit]:
                return self.keys.get(int(slot), [])[: int(limit)]
            case [b"UNLINK", *doomed]:
                gone = 0
                for held in self.keys.values():
                    gone += len([key for key in held if key in doomed])
                    held[:] = [key for key in held if key not in doomed]
                return gone
            case [b"EXISTS", key]:
                return sum(key in held for held in self.keys.values())
            case _:
                raise AssertionError(command)
