"""Stand-ins for the rest of a sweep in tests of its parts: orders, a tally, and one primary with a few keys."""

from collections.abc import Callable, Sequence
from typing import Any

from k6_sweep.patterns import Pattern
from k6_sweep.sweep.matcher import Matcher
from k6_sweep.sweep.orders import Allowance, Orders, Pace, Tally
from k6_sweep.sweep.probes import Probes
from tests.unit.cluster.fake_redis import Answer


def orders_for(
    *globs: str,
    delete: bool = True,
    remaining: Callable[[], float] = lambda: 60.0,
    limit: int | None = None,
    keep: str | None = None,
    on_found: Callable[[Sequence[bytes]], None] | None = None,
) -> Orders:
    patterns = [Pattern(glob) for glob in globs or ("test:*",)]
    return Orders(
        matcher=Matcher(patterns, [] if keep is None else [Pattern(keep)]),
        probes=Probes(patterns, b"nonce"),
        delete=delete,
        most_at_once=5000,
        remaining=remaining,
        pace=Pace(None),
        allowance=Allowance(limit),
        on_found=on_found,
    )


def tally(patterns: int = 1) -> Tally:
    return Tally([0] * patterns)


class FakePrimary:
    """Keys in the slots that a test chooses, deleted as a server does; `troubles` may answer in the server's place."""

    def __init__(self, keys: dict[int, list[bytes]], troubles: Answer = lambda _: None) -> None:
        self.keys = keys
        self._troubles = troubles

    def __call__(self, command: list[bytes]) -> Any:
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


class Deadline:
    """The remaining time: a minute, and 0 after `come`."""

    def __init__(self) -> None:
        self.left = 60.0

    def __call__(self) -> float:
        return self.left

    def come(self) -> None:
        self.left = 0.0
