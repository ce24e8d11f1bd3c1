"""Sends commands on the endpoint's own keys, which match one of its patterns: its user may write nowhere else."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from k6_sweep.cluster.link import Connect, pack
from k6_sweep.cluster.own_keys import MARK, ask_owner, own_key, reused
from k6_sweep.cluster.replies import ReplyKind, denial, judge
from k6_sweep.cluster.sentinel import seeds
from k6_sweep.cluster.slots import key_slot
from k6_sweep.cluster.topology import discover
from k6_sweep.errors import UnreachableError
from k6_sweep.patterns import Pattern
from k6_sweep.settings.all import Settings

PATIENCE: Final = 2.0
"""Seconds that Redis may take for each step while a client waits for its answer."""
LAST_PATIENCE: Final = 0.5
"""The same beside a sweep and at its end, which may have to finish before a SIGKILL."""

Command = tuple[str, bytes, *tuple[bytes | str | int, ...]]
"""A word, a key, and more."""


class FullError(UnreachableError):
    """Redis has no memory for the key; the application may free some.

    Source: https://redis.io/docs/latest/develop/reference/eviction/ (noeviction)
    """


def endpoint_key(patterns: Sequence[Pattern], name: bytes) -> bytes:
    """Return an own key that a pattern matches; if no pattern has a star, one next to the first pattern's."""
    keys = (own_key(pattern, name) for pattern in patterns)
    return next((key for key in keys if key is not None), patterns[0].raw + b":" + MARK + name)


class EndpointKeys:
    """The endpoint's own keys. All of them are in one slot, because their names differ only after the mark."""

    def __init__(self, settings: Settings, connect_within: Callable[[float], Connect]) -> None:
        """Prepare; `connect_within(seconds)` returns a `Connect` with this time limit for each step of its links."""
        self._url = settings.redis_url
        self._patterns = settings.pattern
        self._connect_within = connect_within

    def key(self, name: bytes) -> bytes:
        """Return the key of this name."""
        return endpoint_key(self._patterns, name)

    def ask(self, what: str, patience: float, *commands: Command) -> list[Any]:
        """Send commands to the node that owns the keys; return the replies.

        Args:
            what: What the keys are for, as a part of an error's sentence.
            patience: Seconds that Redis may take for each step.
            commands: One or more.

        Raises:
            FullError: Redis has no memory.
            UnreachableError: Redis does not answer now.
            DeniedError: The user may not use the command or the key.
        """
        connect = self._connect_within(patience)
        topology = discover(connect, seeds(self._url, connect))
        slot = key_slot(commands[0][1])
        with reused(connect) as links:
            answers = ask_owner(links, topology, slot, [pack(command) for command in commands])
        for command, reply in zip(commands, answers.replies, strict=True):
            if (trouble := judge(reply)) is None:
                continue
            refusal = f"{answers.node} does not accept {command[0]} on the {what}: {trouble.text}"
            if trouble.text.startswith("OOM"):
                raise FullError(refusal)
            if trouble.kind is ReplyKind.DENIED:
                raise denial(answers.node, f"{trouble.text} (the {what} needs SET and GET)")
            raise UnreachableError(refusal)
        return list(answers.replies)
